package io.github.treeattention.kernel;

import io.github.treeattention.attention.Dropout;

/**
 * Attention by its definition, in float64, and as anyone would first write it, in float32: the truth, and the error that
 * float32 arithmetic cannot be blamed for.
 */
final class ReferenceAttention {
    final double[] out; // [batch][heads][queries][valueDim]
    final double[] lse; // [batch][heads][queries]
    private double largestLogit;
    private double largestLogitTerms;
    private double largestValue;

    private ReferenceAttention(AttentionCase c) {
        int rows = c.batch() * c.spec.heads() * c.queries;
        out = new double[rows * c.spec.valueDim()];
        lse = new double[rows];
    }

    static ReferenceAttention float64(AttentionCase c) {
        return compute(c, false);
    }

    static ReferenceAttention naiveFloat32(AttentionCase c) {
        return compute(c, true);
    }

    /** Largest |scaled, capped score| of a visible key. */
    double largestLogit() {
        return largestLogit;
    }

    /**
     * Largest {@code |scale| * sum |q_i k_i| + |bias|} of a visible key: what a score's rounding error is proportional to, for the
     * score itself may be the small rest of large terms.
     */
    double largestLogitTerms() {
        return largestLogitTerms;
    }

    /** Largest |element| of a visible value, times what dropout makes of its weight. */
    double largestValue() {
        return largestValue;
    }

    /** What is added to the scores of a row of {@link #lse}, key by key of its batch row; -inf where a key is hidden. */
    static float[] biases(AttentionCase c, int row) {
        int b = row / (c.spec.heads() * c.queries);
        int head = row / c.queries % c.spec.heads();
        int i = row % c.queries;
        long query = c.firstPositions[b] + i;
        long[] positions = c.keys.get(b).positions;
        float[] biases = new float[positions.length];
        for (int j = 0; j < biases.length; j++) {
            long key = positions[j];
            boolean visible = key >= c.mask.from(b, i) && key < c.mask.to(b, i);
            if (c.spec.causal()) {
                visible &= key <= query && (c.spec.slidingWindow() == 0 || key > query - c.spec.slidingWindow());
            }
            biases[j] = visible ? c.mask.bias(b, head, i, key) : Float.NEGATIVE_INFINITY;
        }
        return biases;
    }

    /** What dropout makes of the row's weights of 1, key by key. */
    static double[] kept(AttentionCase c, int row) {
        int b = row / (c.spec.heads() * c.queries);
        double[] kept = new double[c.keys.get(b).count()];
        Dropout dropout = c.spec.dropout();
        long key = dropout.rowKey(b, row / c.queries % c.spec.heads(), c.firstPositions[b] + row % c.queries);
        for (int j = 0; j < kept.length; j++) {
            boolean keeps = !dropout.isActive() || dropout.keeps(key, c.keys.get(b).positions[j]);
            kept[j] = keeps ? dropout.keptScale() : 0;
        }
        return kept;
    }

    private static ReferenceAttention compute(AttentionCase c, boolean float32) {
        ReferenceAttention result = new ReferenceAttention(c);
        for (int b = 0, row = 0; b < c.batch(); b++) {
            for (int head = 0; head < c.spec.heads(); head++) {
                for (int i = 0; i < c.queries; i++, row++) {
                    if (float32) {
                        result.rowFloat32(c, b, head / c.spec.groupSize(), row);
                    } else {
                        result.rowFloat64(c, b, head / c.spec.groupSize(), row);
                    }
                }
            }
        }
        return result;
    }

    private void rowFloat64(AttentionCase c, int b, int kvHead, int row) {
        AttentionCase.Keys keys = c.keys.get(b);
        int dim = c.spec.headDim();
        double[] score = new double[keys.count()];
        float[] biases = biases(c, row);
        double[] kept = kept(c, row);
        double max = Double.NEGATIVE_INFINITY;
        for (int j = 0; j < score.length; j++) {
            score[j] = biases[j];
            if (biases[j] == Float.NEGATIVE_INFINITY) {
                continue;
            }
            double dot = 0;
            double terms = 0;
            for (int d = 0; d < dim; d++) {
                double term = (double) c.q[row * dim + d] * keys.k[(kvHead * keys.count() + j) * dim + d];
                dot += term;
                terms += Math.abs(term);
            }
            dot *= c.spec.scale();
            terms *= Math.abs(c.spec.scale());
            if (c.spec.softCap() > 0) {
                dot = c.spec.softCap() * Math.tanh(dot / c.spec.softCap());
            }
            score[j] = dot + biases[j];
            largestLogit = Math.max(largestLogit, Math.max(Math.abs(dot), Math.abs(score[j])));
            largestLogitTerms = Math.max(largestLogitTerms, terms + Math.abs(biases[j]));
            max = Math.max(max, score[j]);
        }
        if (max == Double.NEGATIVE_INFINITY) {
            lse[row] = max;
            return;
        }
        double sum = 0;
        for (double s : score) {
            sum += Math.exp(s - max);
        }
        lse[row] = max + Math.log(sum);
        for (int j = 0; j < score.length; j++) {
            if (score[j] > Double.NEGATIVE_INFINITY) {
                double share = Math.exp(score[j] - max) / sum * kept[j];
                for (int d = 0; d < c.spec.valueDim(); d++) {
                    double value = keys.v[(kvHead * keys.count() + j) * c.spec.valueDim() + d];
                    largestValue = Math.max(largestValue, Math.abs(kept[j] * value));
                    out[row * c.spec.valueDim() + d] += share * value;
                }
            }
        }
    }

    private void rowFloat32(AttentionCase c, int b, int kvHead, int row) {
        AttentionCase.Keys keys = c.keys.get(b);
        int dim = c.spec.headDim();
        float scale = (float) c.spec.scale();
        float cap = (float) c.spec.softCap();
        float[] score = new float[keys.count()];
        float[] biases = biases(c, row);
        double[] kept = kept(c, row);
        float max = Float.NEGATIVE_INFINITY;
        for (int j = 0; j < score.length; j++) {
            score[j] = biases[j];
            if (biases[j] == Float.NEGATIVE_INFINITY) {
                continue;
            }
            float dot = 0;
            for (int d = 0; d < dim; d++) {
                dot += c.q[row * dim + d] * keys.k[(kvHead * keys.count() + j) * dim + d];
            }
            dot *= scale;
            if (cap > 0) {
                dot = cap * (float) Math.tanh(dot / cap);
            }
            score[j] = dot + biases[j];
            max = Math.max(max, score[j]);
        }
        if (max == Float.NEGATIVE_INFINITY) {
            lse[row] = max;
            return;
        }
        float sum = 0;
        for (int j = 0; j < score.length; j++) {
            score[j] = (float) Math.exp(score[j] - max);
            sum += score[j];
        }
        lse[row] = max + (float) Math.log(sum);
        for (int j = 0; j < score.length; j++) {
            score[j] *= (float) kept[j];
        }
        for (int d = 0; d < c.spec.valueDim(); d++) {
            float total = 0;
            for (int j = 0; j < score.length; j++) {
                if (score[j] > 0) {
                    total += score[j] * keys.v[(kvHead * keys.count() + j) * c.spec.valueDim() + d];
                }
            }
            out[row * c.spec.valueDim() + d] = total / sum;
        }
    }
}
