package io.github.treeattention.samediff;

import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * The projections of ND4J's {@code multi_head_dot_product_attention}: sequences {@code [batch, features, time]}, weights
 * {@code [heads, headSize, features]}, the output's {@code [heads * headSize, nOut]}; heads are {@code [batch, heads,
 * time, headSize]}.
 */
final class Projections {
    private Projections() {}

    static INDArray heads(INDArray sequence, INDArray weights) {
        return product(weights, sequence, new int[] {2}, new int[] {1}).permute(2, 0, 3, 1);
    }

    static INDArray sequenceGradient(INDArray dHeads, INDArray weights) {
        return product(dHeads, weights, new int[] {1, 3}, new int[] {0, 1}).permute(0, 2, 1);
    }

    static INDArray weightsGradient(INDArray dHeads, INDArray sequence) {
        return product(dHeads, sequence, new int[] {0, 2}, new int[] {0, 2});
    }

    /** {@code [batch, nOut, time]}. */
    static INDArray output(INDArray attended, INDArray outWeights) {
        return product(attended, perHead(outWeights, attended), new int[] {1, 3}, new int[] {0, 1})
                .permute(0, 2, 1);
    }

    static INDArray attendedGradient(INDArray dOutput, INDArray outWeights, INDArray attended) {
        return product(dOutput, perHead(outWeights, attended), new int[] {1}, new int[] {2})
                .permute(0, 2, 1, 3);
    }

    static INDArray outWeightsGradient(INDArray attended, INDArray dOutput) {
        INDArray perHead = product(attended, dOutput, new int[] {0, 2}, new int[] {0, 2});
        return perHead.reshape('c', perHead.size(0) * perHead.size(1), perHead.size(2));
    }

    private static INDArray perHead(INDArray outWeights, INDArray attended) {
        return outWeights.reshape('c', attended.size(1), attended.size(3), outWeights.size(1));
    }

    private static INDArray product(INDArray a, INDArray b, int[] axesOfA, int[] axesOfB) {
        return Nd4j.tensorMmul(a, b, new int[][] {axesOfA, axesOfB});
    }
}
