package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.function.DoubleUnaryOperator;

/**
 * Gradients of {@code sum(stateGradient * state)} by the formulas of backward, in float64, or with every operation
 * rounded to float32: the truth, and the error that float32 arithmetic cannot be blamed for.
 */
final class ReferenceGradients {
    final double[] dq; // [batch][heads][queries][headDim]
    final List<double[]> dk = new ArrayList<>(); // [batch] of [kvHeads][keys][headDim]
    final List<double[]> dv = new ArrayList<>(); // [batch] of [kvHeads][keys][valueDim]

    /** The largest that any element of dq, dk, dv would be without cancellation: what rounding errors are relative to. */
    double largestTerms;

    private final AttentionCase c;
    private final AttentionSpec spec;
    private final ReferenceAttention forward;
    private final float[] stateGradient;
    private final DoubleUnaryOperator round;

    /** @param stateGradient {@code [batch][heads][queries][valueDim + 1]} */
    private ReferenceGradients(
            AttentionCase c, ReferenceAttention forward, float[] stateGradient, DoubleUnaryOperator round) {
        this.c = c;
        this.spec = c.spec;
        this.forward = forward;
        this.stateGradient = stateGradient;
        this.round = round;
        dq = new double[c.q.length];
        int row = 0;
        for (int b = 0; b < c.batch(); b++) {
            dk.add(new double[c.keys.get(b).k.length]);
            dv.add(new double[c.keys.get(b).v.length]);
            double[] keyTerms = new double[spec.kvHeads() * c.keys.get(b).count()];
            for (int head = 0; head < spec.heads(); head++) {
                for (int i = 0; i < c.queries; i++, row++) {
                    addRow(b, head / spec.groupSize(), row, keyTerms);
                }
            }
        }
    }

    static ReferenceGradients float64(AttentionCase c, float[] stateGradient) {
        return new ReferenceGradients(c, ReferenceAttention.float64(c), stateGradient, x -> x);
    }

    static ReferenceGradients naiveFloat32(AttentionCase c, float[] stateGradient) {
        return new ReferenceGradients(c, ReferenceAttention.naiveFloat32(c), stateGradient, x -> (float) x);
    }

    private void addRow(int b, int kvHead, int row, double[] keyTerms) {
        AttentionCase.Keys keys = c.keys.get(b);
        int headDim = spec.headDim();
        int valueDim = spec.valueDim();
        double lse = round.applyAsDouble(forward.lse[row]);
        if (lse == Double.NEGATIVE_INFINITY) {
            return;
        }
        float[] biases = ReferenceAttention.biases(c, row);
        double[] keptWeights = ReferenceAttention.kept(c, row);
        int gradientAt = row * (valueDim + 1);
        double delta = 0;
        double slopes = 0;
        double largestKey = 0;
        double largestQuery = 0;
        double largestGradient = 0;
        for (int d = 0; d < valueDim; d++) {
            largestGradient = Math.max(largestGradient, Math.abs(stateGradient[gradientAt + d]));
        }
        for (int d = 0; d < headDim; d++) {
            largestQuery = Math.max(largestQuery, Math.abs(c.q[row * headDim + d]));
        }
        for (int d = 0; d < valueDim; d++) {
            double out = round.applyAsDouble(forward.out[row * valueDim + d]);
            delta = addProduct(delta, stateGradient[gradientAt + d], out);
        }
        delta = round.applyAsDouble(delta - stateGradient[gradientAt + valueDim]);
        for (int j = 0; j < keys.count(); j++) {
            if (biases[j] == Float.NEGATIVE_INFINITY) {
                continue;
            }
            double kept = round.applyAsDouble(keptWeights[j]);
            int keyAt = (kvHead * keys.count() + j) * headDim;
            int valueAt = (kvHead * keys.count() + j) * valueDim;
            double score = 0;
            for (int d = 0; d < headDim; d++) {
                score = addProduct(score, c.q[row * headDim + d], keys.k[keyAt + d]);
            }
            double scale = round.applyAsDouble(spec.scale());
            score = round.applyAsDouble(score * scale);
            double slope = scale;
            if (spec.softCap() > 0) {
                double bent = round.applyAsDouble(Math.tanh(round.applyAsDouble(score / spec.softCap())));
                score = round.applyAsDouble(spec.softCap() * bent);
                slope = round.applyAsDouble(slope * round.applyAsDouble(1 - round.applyAsDouble(bent * bent)));
            }
            score = round.applyAsDouble(score + biases[j]);
            double p = round.applyAsDouble(Math.exp(round.applyAsDouble(score - lse)));
            double weight = round.applyAsDouble(p * kept);
            double dp = 0;
            double dpTerms = Math.abs(delta);
            for (int d = 0; d < valueDim; d++) {
                dpTerms += Math.abs(stateGradient[gradientAt + d] * keys.v[valueAt + d] * kept);
                dp = addProduct(dp, stateGradient[gradientAt + d], keys.v[valueAt + d]);
                dv.get(b)[valueAt + d] = addProduct(dv.get(b)[valueAt + d], weight, stateGradient[gradientAt + d]);
            }
            slopes += p * dpTerms * Math.abs(slope);
            keyTerms[kvHead * keys.count() + j] +=
                    Math.max(p * dpTerms * Math.abs(slope) * largestQuery, weight * largestGradient);
            largestTerms = Math.max(largestTerms, keyTerms[kvHead * keys.count() + j]);
            double ds = round.applyAsDouble(
                    round.applyAsDouble(p * round.applyAsDouble(round.applyAsDouble(dp * kept) - delta)) * slope);
            for (int d = 0; d < headDim; d++) {
                largestKey = Math.max(largestKey, Math.abs(keys.k[keyAt + d]));
                dq[row * headDim + d] = addProduct(dq[row * headDim + d], ds, keys.k[keyAt + d]);
                dk.get(b)[keyAt + d] = addProduct(dk.get(b)[keyAt + d], ds, c.q[row * headDim + d]);
            }
        }
        largestTerms = Math.max(largestTerms, slopes * largestKey);
    }

    private double addProduct(double sum, double a, double b) {
        return round.applyAsDouble(sum + round.applyAsDouble(a * b));
    }
}
