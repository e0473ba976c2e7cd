package io.github.treeattention.testkit;

import static io.github.treeattention.testkit.ArrayDifference.difference;
import static io.github.treeattention.testkit.ArrayDifference.largest;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

class ArrayDifferenceTest {
    private final INDArray zeros = Nd4j.zeros(DataType.DOUBLE, 3, 5);

    @Test
    void shouldSeeNaNWhereverItIs() {
        for (int at = 0; at < zeros.length(); at++) {
            INDArray poisoned = zeros.dup().putScalar(at, Double.NaN);
            assertEquals(Double.NaN, difference(zeros, poisoned));
            assertEquals(Double.NaN, difference(poisoned, zeros));
            assertEquals(Double.NaN, difference(poisoned, poisoned));
            assertEquals(Double.NaN, largest(poisoned));
            assertEquals(Double.NaN, difference(zeros, poisoned.putScalar((at + 7) % 15, 3)), "and beside a number");
        }
    }

    @Test
    void shouldSeeEveryElementInAnyOrder() {
        for (int at = 0; at < zeros.length(); at++) {
            INDArray other = zeros.dup().putScalar(at, -2);
            assertEquals(2, difference(zeros, other));
            assertEquals(2, largest(other));
            assertEquals(
                    2, difference(zeros.dup('f'), other.transpose().dup('c').transpose()));
        }
        assertEquals(0, difference(zeros, zeros.castTo(DataType.FLOAT)));
    }

    @Test
    void shouldCompareInfinities() {
        INDArray low = zeros.dup().putScalar(4, Double.NEGATIVE_INFINITY);
        assertEquals(0, difference(low, low.dup()));
        assertEquals(Double.POSITIVE_INFINITY, difference(low, zeros));
    }

    @Test
    void shouldRefuseOtherShapes() {
        assertThrows(AssertionError.class, () -> difference(zeros, Nd4j.zeros(DataType.DOUBLE, 1, 5)));
        assertThrows(AssertionError.class, () -> difference(zeros, Nd4j.zeros(DataType.DOUBLE, 5, 3)));
    }
}
