package io.github.treeattention.examples.text;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.Arrays;
import org.junit.jupiter.api.Test;

class SamplerTest {
    private static final float[] LOGITS = {1, 3, 2, 3, -40};

    @Test
    void shouldTakeTheLowestIdAmongEqualsWhenGreedy() {
        assertEquals(1, Sampler.greedy().next(LOGITS));
        assertEquals(1, Sampler.of(0, 0.5, 9).next(LOGITS));
    }

    @Test
    void shouldRepeatWithTheSeed() {
        assertEquals(draws(7, 1, 1), draws(7, 1, 1));
        assertNotEquals(draws(7, 1, 1), draws(8, 1, 1));
        // Fixed once, so that a change of the generator or its use does not go unseen.
        assertEquals("[1, 0, 3, 2, 1, 1, 2, 1]", Arrays.toString(Arrays.copyOf(drawn(7, 1, 1), 8)));
    }

    @Test
    void shouldDrawInProportionToTheSoftmax() {
        int[] counts = new int[LOGITS.length];
        for (int id : drawn(3, 2, 1)) {
            counts[id]++;
        }
        double total = 0;
        for (float logit : LOGITS) {
            total += Math.exp(logit / 2);
        }
        for (int id = 0; id < LOGITS.length; id++) {
            assertEquals(Math.exp(LOGITS[id] / 2) / total, counts[id] / 20_000.0, 0.015, "token " + id);
        }
    }

    @Test
    void shouldCutToTheLikeliest() {
        int[] counts = new int[LOGITS.length];
        for (int id : drawn(3, 1, 0.75)) {
            counts[id]++;
        }
        assertEquals(20_000, counts[1] + counts[3], Arrays.toString(counts));
        assertEquals(0.5, counts[1] / 20_000.0, 0.015);
        for (int id : drawn(3, 1, 1e-9)) {
            assertEquals(1, id);
        }
    }

    @Test
    void shouldRefuseBrokenLogitsAndSettings() {
        float[] broken = {1, Float.NaN};
        IllegalArgumentException failure = assertThrows(
                IllegalArgumentException.class, () -> Sampler.greedy().next(broken));
        assertEquals("logits must be finite: token 1 has NaN", failure.getMessage());
        assertThrows(IllegalArgumentException.class, () -> Sampler.of(-1, 1, 0));
        assertThrows(IllegalArgumentException.class, () -> Sampler.of(Double.NaN, 1, 0));
        assertThrows(IllegalArgumentException.class, () -> Sampler.of(1, 0, 0));
        assertThrows(IllegalArgumentException.class, () -> Sampler.of(1, 1.1, 0));
    }

    private static String draws(long seed, double temperature, double topP) {
        return Arrays.toString(drawn(seed, temperature, topP));
    }

    private static int[] drawn(long seed, double temperature, double topP) {
        Sampler sampler = Sampler.of(temperature, topP, seed);
        int[] ids = new int[20_000];
        Arrays.setAll(ids, i -> sampler.next(LOGITS));
        return ids;
    }
}
