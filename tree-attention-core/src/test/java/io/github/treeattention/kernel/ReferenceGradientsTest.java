package io.github.treeattention.kernel;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.testkit.Seeds;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** The oracle of backward against finite differences of the oracle of forward. */
class ReferenceGradientsTest {
    private static final float STEP = 0x1p-10f;

    @Test
    void shouldMatchFiniteDifferences() {
        SplittableRandom random = Seeds.random("shouldMatchFiniteDifferences");
        for (double softCap : new double[] {0, 3}) {
            AttentionSpec spec = AttentionSpec.of(4, 2, 5).withValueDim(3).withCausal(true);
            AttentionCase c = new RandomCase(random)
                    .spec(spec.withSlidingWindow(9).withSoftCap(softCap))
                    .type(KvType.F32)
                    .sizes(2, 7, 13)
                    .build();
            float[] stateGradient = new float[c.batch() * 4 * c.queries * 4];
            for (int i = 0; i < stateGradient.length; i++) {
                stateGradient[i] = (float) (2 * random.nextDouble() - 1);
            }
            ReferenceGradients gradients = ReferenceGradients.float64(c, stateGradient);
            requireSlopes(c, stateGradient, c.q, gradients.dq);
            for (int b = 0; b < c.batch(); b++) {
                requireSlopes(c, stateGradient, c.keys.get(b).k, gradients.dk.get(b));
                requireSlopes(c, stateGradient, c.keys.get(b).v, gradients.dv.get(b));
            }
        }
    }

    private static void requireSlopes(AttentionCase c, float[] stateGradient, float[] input, double[] gradient) {
        for (int i = 0; i < input.length; i++) {
            float before = input[i];
            float up = before + STEP;
            float down = before - STEP;
            input[i] = up;
            double above = loss(c, stateGradient);
            input[i] = down;
            double below = loss(c, stateGradient);
            input[i] = before;
            assertEquals((above - below) / ((double) up - down), gradient[i], 2e-5, "element " + i + " of " + c);
        }
    }

    private static double loss(AttentionCase c, float[] stateGradient) {
        ReferenceAttention state = ReferenceAttention.float64(c);
        int dim = c.spec.valueDim();
        double sum = 0;
        for (int i = 0; i < state.out.length; i++) {
            sum += stateGradient[i / dim * (dim + 1) + i % dim] * state.out[i];
        }
        for (int row = 0; row < state.lse.length; row++) {
            if (state.lse[row] > Double.NEGATIVE_INFINITY) {
                sum += stateGradient[row * (dim + 1) + dim] * state.lse[row];
            }
        }
        return sum;
    }
}
