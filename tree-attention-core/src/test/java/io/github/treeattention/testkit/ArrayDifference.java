package io.github.treeattention.testkit;

import java.util.Arrays;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/** How far two arrays are from each other. ND4J's own {@code amaxNumber} passes over NaN, and this does not. */
public final class ArrayDifference {
    private ArrayDifference() {}

    /** The largest absolute difference of two elements; NaN if there is one in either. Infinities of one sign are equal. */
    public static double difference(INDArray a, INDArray b) {
        if (!Arrays.equals(a.shape(), b.shape())) {
            throw new AssertionError("shapes " + Arrays.toString(a.shape()) + " and " + Arrays.toString(b.shape()));
        }
        double[] left = values(a);
        double[] right = values(b);
        double largest = 0;
        for (int i = 0; i < left.length; i++) {
            largest = Math.max(largest, left[i] == right[i] ? 0 : Math.abs(left[i] - right[i])); // NaN, if either is
        }
        return largest;
    }

    /** The largest absolute value; NaN if there is one. */
    public static double largest(INDArray array) {
        return Arrays.stream(values(array)).map(Math::abs).max().orElse(0);
    }

    private static double[] values(INDArray array) {
        return array.castTo(DataType.DOUBLE).dup('c').data().asDouble();
    }
}
