package io.github.treeattention.samediff;

import io.github.treeattention.attention.Dropout;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/** Attention by its definition, in float64, element by element: what the tests compare with. */
final class NaiveAttention {
    private NaiveAttention() {}

    static ArrayAttention.Result forward(
            INDArray q, INDArray k, INDArray v, INDArray keyMask, AttentionOptions options) {
        int heads = (int) q.size(1);
        int queries = (int) q.size(2);
        int keys = (int) k.size(2);
        int valueDim = (int) v.size(3);
        double scale = Double.isNaN(options.scale()) ? 1 / Math.sqrt((double) q.size(3)) : options.scale();
        int headDim = (int) q.size(3);
        int kvHeads = (int) k.size(1);
        double[] qs = values(q);
        double[] ks = values(k);
        double[] vs = values(v);
        INDArray out = Nd4j.zeros(DataType.DOUBLE, q.size(0), heads, queries, valueDim);
        INDArray lse = Nd4j.zeros(DataType.DOUBLE, q.size(0), heads, queries);
        for (int b = 0; b < q.size(0); b++) {
            for (int h = 0; h < heads; h++) {
                int kvHead = h / (heads / kvHeads);
                for (int i = 0; i < queries; i++) {
                    double sum = 0;
                    double[] row = new double[valueDim];
                    for (int j = 0; j < keys; j++) {
                        long position = options.queryOffset() + i;
                        float bias = options.mask().bias(b, h, i, j);
                        boolean seen = bias > Float.NEGATIVE_INFINITY
                                && j >= options.mask().from(b, i)
                                && j < options.mask().to(b, i)
                                && (keyMask == null || keyMask.getDouble(b, j) > 0)
                                && (!options.causal() || j <= position)
                                && (options.slidingWindow() == 0 || j > position - options.slidingWindow());
                        if (!seen) {
                            continue;
                        }
                        double score = 0;
                        for (int d = 0; d < headDim; d++) {
                            score += qs[((b * heads + h) * queries + i) * headDim + d]
                                    * ks[((b * kvHeads + kvHead) * keys + j) * headDim + d];
                        }
                        score *= scale;
                        if (options.softCap() > 0) {
                            score = options.softCap() * Math.tanh(score / options.softCap());
                        }
                        double weight = Math.exp(score + bias);
                        sum += weight;
                        Dropout dropout = options.dropout();
                        boolean keeps = dropout.keeps(dropout.rowKey(b, h, position), j);
                        double kept = keeps ? 1 / (1 - dropout.rate()) : 0;
                        for (int d = 0; d < valueDim; d++) {
                            row[d] += weight * kept * vs[((b * kvHeads + kvHead) * keys + j) * valueDim + d];
                        }
                    }
                    for (int d = 0; d < valueDim; d++) {
                        out.putScalar(new int[] {b, h, i, d}, sum == 0 ? 0 : row[d] / sum);
                    }
                    lse.putScalar(new int[] {b, h, i}, Math.log(sum));
                }
            }
        }
        return new ArrayAttention.Result(out, lse);
    }

    private static double[] values(INDArray array) {
        return array.castTo(DataType.DOUBLE).dup('c').data().asDouble();
    }
}
