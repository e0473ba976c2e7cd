package io.github.treeattention.samediff;

import static io.github.treeattention.testkit.ArrayDifference.difference;
import static io.github.treeattention.testkit.ArrayDifference.largest;
import static org.junit.jupiter.api.Assertions.assertEquals;

import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/** How far a rewritten graph may be from float64. */
final class RewriteBounds {
    /**
     * The longest way through the graphs of these tests: two projections, scores, factor, softmax, weighed values and a
     * third projection, with sums of at most 12 + 4 + 7 + 7 + 12 terms and 20 operations on each, and back: twice 62
     * roundings, and the same for whom it is compared to. A square doubles them.
     */
    private static final int ROUNDINGS = 2 * 2 * 2 * 62;

    /** Terms of a sum may be this many times the largest result: a gradient sums both signs over 2 * 7 steps. */
    private static final int CANCELLED = 14;

    private RewriteBounds() {}

    /**
     * @param wanted in float64
     * @param stock of ND4J's operations, in the type of {@code got}
     */
    static void assertNear(INDArray wanted, INDArray stock, INDArray got, String name) {
        double unit = stock.dataType() == DataType.FLOAT ? 0x1p-24 : 0x1p-53;
        double stockError = difference(wanted, stock.castTo(DataType.DOUBLE));
        double tolerance = stockError + ROUNDINGS * CANCELLED * unit * largest(wanted);
        assertEquals(0, difference(wanted, got.castTo(DataType.DOUBLE)), tolerance, name);
    }
}
