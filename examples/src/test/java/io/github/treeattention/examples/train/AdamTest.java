package io.github.treeattention.examples.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.RopeStyle;
import io.github.treeattention.testkit.Seeds;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class AdamTest {
    private static final LlamaConfig CONFIG =
            new LlamaConfig(8, 6, 1, 2, 1, 4, 10, 16, 1e-5, 1e4, RopeStyle.HALF_SPLIT, true, 0, List.of());
    private static final WeightLayout.Unit LAYER = new WeightLayout(CONFIG, 1).unit(0);
    private static final double RATE = 0.01;

    /** Steps with one gradient g: both moments divided by their biases are g and g*g, so a weight moves by the rate. */
    @Test
    void shouldMoveByTheRateAgainstASteadyGradient() {
        int count = LAYER.floats();
        FloatBuffer weights = FloatBuffer.allocate(count);
        FloatBuffer first = FloatBuffer.allocate(count);
        FloatBuffer second = FloatBuffer.allocate(count);
        double[] wanted = new double[count];
        SplittableRandom random = Seeds.random("shouldMoveByTheRateAgainstASteadyGradient");
        FloatBuffer gradients = FloatBuffer.allocate(count);
        for (int i = 0; i < count; i++) {
            weights.put(i, (float) random.nextGaussian());
            wanted[i] = weights.get(i);
            gradients.put(i, (float) ((i % 2 == 0 ? 1 : -1) * (1 + Math.abs(random.nextGaussian()))));
        }
        for (int step = 1; step <= 5; step++) {
            Adam.withDecay(0.5)
                    .update(new Adam.Share(LAYER, 0, count), step, RATE, 0.25, weights, gradients, first, second);
            for (int i = 0; i < count; i++) {
                boolean norm = i < 8 || (i >= LAYER.offset(5) && i < LAYER.offset(5) + 8);
                wanted[i] -= (norm ? 0 : RATE * 0.5 * wanted[i]) + RATE * Math.signum(gradients.get(i));
                assertEquals(wanted[i], weights.get(i), 1e-5, "weight " + i + " after step " + step);
                double scaled = 0.25 * gradients.get(i);
                assertEquals(1, first.get(i) / (scaled * (1 - Math.pow(0.9, step))), 1e-5, "first moment");
                assertEquals(1, second.get(i) / (scaled * scaled * (1 - Math.pow(0.95, step))), 1e-5, "second moment");
            }
        }
    }

    /** A gradient as small as epsilon moves a weight by half the rate. */
    @Test
    void shouldHardlyMoveWhereThereIsHardlyAGradient() {
        int count = LAYER.floats();
        FloatBuffer weights = FloatBuffer.allocate(count);
        FloatBuffer gradients = FloatBuffer.allocate(count);
        for (int i = 0; i < count; i++) {
            gradients.put(i, 1e-8f);
        }
        FloatBuffer first = FloatBuffer.allocate(count);
        Adam.withDecay(0)
                .update(
                        new Adam.Share(LAYER, 0, count),
                        1,
                        RATE,
                        1,
                        weights,
                        gradients,
                        first,
                        FloatBuffer.allocate(count));
        for (int i = 0; i < count; i++) {
            assertEquals(-RATE / 2, weights.get(i), 1e-6, "weight " + i);
        }
    }

    /** Shares that cut through tensors. */
    @Test
    void shouldUpdateSharesAsItUpdatesTheWhole() {
        int count = LAYER.floats();
        float[][] whole = run(new int[] {0, count});
        float[][] shares = run(new int[] {0, 5, 8, 100, 101, count - 3, count});
        for (int kind = 0; kind < whole.length; kind++) {
            assertArrayEquals(whole[kind], shares[kind]);
        }
    }

    private static float[][] run(int[] borders) {
        int count = LAYER.floats();
        float[][] arrays = new float[4][count];
        SplittableRandom random = new SplittableRandom(1);
        for (int i = 0; i < count; i++) {
            arrays[0][i] = (float) random.nextGaussian();
            arrays[1][i] = (float) random.nextGaussian();
        }
        for (int step = 1; step <= 3; step++) {
            for (int part = 0; part + 1 < borders.length; part++) {
                int from = borders[part];
                int length = borders[part + 1] - from;
                FloatBuffer[] views = new FloatBuffer[4];
                for (int kind = 0; kind < 4; kind++) {
                    views[kind] = FloatBuffer.wrap(arrays[kind]).slice(from, length);
                }
                Adam.withDecay(0.1)
                        .update(
                                new Adam.Share(LAYER, from, length),
                                step,
                                RATE,
                                1,
                                views[0],
                                views[1],
                                views[2],
                                views[3]);
            }
        }
        return arrays;
    }

    @Test
    void shouldRiseAndFallAsTheScheduleSays() {
        Schedule schedule = new Schedule(0.5, 0.1, 4, 12);
        assertEquals(0.125, schedule.rate(1), 1e-12);
        assertEquals(0.5, schedule.rate(4), 1e-12);
        assertEquals(0.5 * (0.1 + 0.9 * (1 + Math.sqrt(0.5)) / 2), schedule.rate(6), 1e-12, "a quarter of the way");
        assertEquals(0.5 * 0.55, schedule.rate(8), 1e-12);
        assertEquals(0.05, schedule.rate(12), 1e-12);
    }
}
