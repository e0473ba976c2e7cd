package io.github.treeattention.examples.dl4j;

import java.util.Arrays;
import org.nd4j.linalg.api.ndarray.INDArray;

/** How far two arrays are from each other, so that a NaN shows: ND4J's own {@code amaxNumber} passes over it. */
final class Differences {
    private Differences() {}

    /** The largest absolute difference of two elements; NaN if there is one in either. */
    static double largest(INDArray a, INDArray b) {
        double[] differences = a.sub(b).dup('c').data().asDouble();
        return Arrays.stream(differences).map(Math::abs).max().orElse(0);
    }
}
