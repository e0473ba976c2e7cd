package io.github.treeattention.samediff;

import static io.github.treeattention.testkit.ArrayDifference.largest;

import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * How far attention in float32 may be from the same in float64, on these inputs: worst cases of its roundings, each at most
 * {@code U} of its result, to first order. Absolute.
 *
 * <p>A score's terms sum to at most {@code scale |q| |k|}; it is rounded once an input, once a product, sum and factor.
 * Weights are exponentials of differences of scores, so a score's error is a relative one of a weight. Sums over keys may be
 * rescaled at each key: a sum, a product and an exponential, good to 4 U.
 */
record FloatBounds(double out, double lse, double dQ, double dK, double dV) {
    private static final double U = 0x1p-24;

    static FloatBounds forward(INDArray q, INDArray k, INDArray v, AttentionOptions options) {
        return of(q, k, v, options, null, null);
    }

    /** @param dLse null where there is none */
    static FloatBounds of(INDArray q, INDArray k, INDArray v, AttentionOptions options, INDArray dOut, INDArray dLse) {
        double dim = q.size(3);
        double keys = k.size(2);
        double scale = Double.isNaN(options.scale()) ? 1 / Math.sqrt(dim) : options.scale();
        double keep = 1 / (1 - options.dropout().rate());
        double terms = scale * longest(q) * longest(k) + 1; // and a bias of at most 1
        double score = U * ((dim + 8) * terms + 4 * options.softCap());
        double weight = score + U * (2 * terms + 4);
        double sums = 6 * U * keys;
        double out = keep * largest(v) * (2 * (weight + sums) + 4 * U);
        double size = terms + Math.log(keys) + 1; // of an lse
        double lse = score + weight + sums + 4 * U * size;
        if (dOut == null) {
            return new FloatBounds(out, lse, Double.NaN, Double.NaN, Double.NaN);
        }
        double valueDim = v.size(3);
        double rows = (double) q.size(2) * q.size(1) / k.size(1); // that share a key
        double again = score + lse + U * (2 * size + 4); // a weight from the lse, relative
        double product = 2 * (keep * longest(dOut) * longest(v) + (dLse == null ? 0 : largest(dLse)));
        double cap = options.softCap() == 0 ? 0 : 2 * (score / options.softCap() + 4 * U);
        double inner = product * (again + cap + U * (valueDim + 6)) + longest(dOut) * Math.sqrt(valueDim) * out;
        return new FloatBounds(
                out,
                lse,
                scale * largest(k) * (inner + product * U * (keys + 4)),
                rows * scale * largest(q) * (inner + product * U * (rows + 4)),
                rows * keep * largest(dOut) * (again + U * (rows + 4)));
    }

    /** Of states over parts of the keys, merged: each part's share is an exponential of lse's. */
    FloatBounds merged(INDArray v, int parts) {
        double share = parts * (2 * lse + 8 * U);
        return new FloatBounds(out + 2 * largest(v) * share, lse + share, Double.NaN, Double.NaN, Double.NaN);
    }

    private static double longest(INDArray vectors) {
        return vectors.norm2(3).maxNumber().doubleValue();
    }
}
