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

    /** What is added to the score of a row of {@link #lse} and a key of its batch row; -inf where it is hidden. */
    static float bias(AttentionCase c, int row, int j) {
        int b = row / (c.spec.heads() * c.queries);
        int i = row % c.queries;
        long query = c.firstPositions[b] + i;
        long key = c.keys.get(b).positions[j];
        boolean visible = key >= c.mask.from(b, i) && key < c.mask.to(b, i);
        if (c.spec.causal()) {
            visible &= key <= query && (c.spec.slidingWindow() == 0 || key > query - c.spec.slidingWindow());
        }
        return visible ? c.mask.bias(b, row / c.queries % c.spec.heads(), i, key) : Float.NEGATIVE_INFINITY;
    }

    /** What dropout makes of a weight of 1. */
    static double kept(AttentionCase c, int row, int j) {
        int b = row / (c.spec.heads() * c.queries);
        Dropout dropout = c.spec.dropout();
        long key = dropout.rowKey(b, row / c.queries % c.spec.heads(), c.firstPositions[b] + row % c.queries);
        return dropout.keeps(key, c.keys.get(b).positions[j]) ? dropout.keptScale() : 0;
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
        double max = Double.NEGATIVE_INFINITY;
        for (int j = 0; j < score.length; j++) {
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
            float bias = bias(c, row, j);
            boolean visible = bias > Float.NEGATIVE_INFINITY;
            score[j] = visible ? dot + bias : bias;
            largestLogit = visible ? Math.max(largestLogit, Math.max(Math.abs(dot), Math.abs(score[j]))) : largestLogit;
            largestLogitTerms = visible ? Math.max(largestLogitTerms, terms + Math.abs(bias)) : largestLogitTerms;
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
                double kept = kept(c, row, j);
                double share = Math.exp(score[j] - max) / sum * kept;
                for (int d = 0; d < c.spec.valueDim(); d++) {
                    double value = keys.v[(kvHead * keys.count() + j) * c.spec.valueDim() + d];
                    largestValue = Math.max(largestValue, Math.abs(kept * value));
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
        float max = Float.NEGATIVE_INFINITY;
        for (int j = 0; j < score.length; j++) {
            float dot = 0;
            for (int d = 0; d < dim; d++) {
                dot += c.q[row * dim + d] * keys.k[(kvHead * keys.count() + j) * dim + d];
            }
            dot *= scale;
            if (cap > 0) {
                dot = cap * (float) Math.tanh(dot / cap);
            }
            float bias = bias(c, row, j);
            score[j] = bias > Float.NEGATIVE_INFINITY ? dot + bias : bias;
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
            score[j] *= (float) kept(c, row, j);
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
