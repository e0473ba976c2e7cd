package io.github.treeattention.attention;

import java.nio.DoubleBuffer;

/**
 * A row of an {@link EnergyState}, and how two of them merge:
 *
 * <pre>| mean score | mean value [valueDim] | mean dscore/dq [headDim] | covariance [valueDim][valueDim] | lse |</pre>
 *
 * <p>Without gradients only the lse is there, without the Hessian no covariance.
 */
record EnergyLayout(AttentionEnergy.Order order, int headDim, int valueDim) {

    /** Elements that are averages. */
    int means() {
        return order == AttentionEnergy.Order.VALUE ? 0 : 1 + valueDim + headDim;
    }

    /** Elements of the covariance. */
    int covariances() {
        return order == AttentionEnergy.Order.HESSIAN ? valueDim * valueDim : 0;
    }

    int rowLength() {
        return means() + covariances() + 1;
    }

    /**
     * Merges the row at {@code in} into the row at {@code at}: means by their shares of the sum; covariances by the law of
     * total covariance, {@code s1 C1 + s2 C2 + s1 s2 (m1 - m2)(m1 - m2)'}, which needs the means from before.
     */
    void merge(DoubleBuffer rows, int at, DoubleBuffer incoming, int in) {
        int last = rowLength() - 1;
        double a = rows.get(at + last);
        double b = incoming.get(in + last);
        double max = Math.max(a, b);
        if (max == Double.NEGATIVE_INFINITY) {
            return; // both empty: (-inf) - (-inf) below would be NaN
        }
        // StrictMath: the same bits on every CPU, so that ranks on different hosts agree.
        double weightA = StrictMath.exp(a - max);
        double weightB = StrictMath.exp(b - max);
        double sum = weightA + weightB;
        double shareA = weightA / sum;
        double shareB = weightB / sum;
        int covariance = means();
        for (int i = 0, c = covariance; c < last; i++) {
            double gapI = rows.get(at + 1 + i) - incoming.get(in + 1 + i);
            for (int j = 0; j < valueDim; j++, c++) {
                double gapJ = rows.get(at + 1 + j) - incoming.get(in + 1 + j);
                rows.put(
                        at + c,
                        shareA * rows.get(at + c) + shareB * incoming.get(in + c) + shareA * shareB * gapI * gapJ);
            }
        }
        for (int i = 0; i < covariance; i++) {
            rows.put(at + i, shareA * rows.get(at + i) + shareB * incoming.get(in + i));
        }
        rows.put(at + last, max + StrictMath.log(sum));
    }
}
