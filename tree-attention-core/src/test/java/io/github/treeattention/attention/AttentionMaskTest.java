package io.github.treeattention.attention;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class AttentionMaskTest {
    private static final float HIDDEN = Float.NEGATIVE_INFINITY;

    @Test
    void shouldShareAxesOfLengthOne() {
        AttentionMask mask = AttentionMask.NONE
                .withKeys(new boolean[] {true, true, false})
                .withBias(bias(1, 2, 3, 4, 5, HIDDEN), 1, 2, 1, 3);
        assertEquals(1, mask.bias(1, 0, 7, 0));
        assertEquals(2, mask.bias(0, 0, 0, 1));
        assertEquals(HIDDEN, mask.bias(0, 0, 0, 2));
        assertEquals(5, mask.bias(3, 1, 9, 1));
        assertEquals(HIDDEN, mask.bias(3, 1, 9, 2));
    }

    @Test
    void shouldHoldTogether() {
        ByteBuffer pairs =
                ByteBuffer.allocateDirect(4).put(new byte[] {1, 0, -1, 1}).flip();
        AttentionMask mask = AttentionMask.NONE
                .withVisible(pairs, 1, 1, 2, 2)
                .withKeys(new boolean[] {true, true}, new boolean[] {false, true})
                .withRanges(1, 2, 0, 1, 1, 2);
        assertEquals(0, mask.bias(0, 0, 0, 0));
        assertEquals(HIDDEN, mask.bias(0, 0, 0, 1));
        assertEquals(HIDDEN, mask.bias(1, 0, 1, 0));
        assertEquals(0, mask.bias(1, 0, 1, 1));
        assertEquals(1, mask.from(1, 1));
        assertEquals(2, mask.to(1, 1));
    }

    @Test
    void shouldSliceBatchRowsAndQueries() {
        float[] numbers = new float[2 * 2 * 3 * 2];
        for (int i = 0; i < numbers.length; i++) {
            numbers[i] = i;
        }
        AttentionMask mask =
                AttentionMask.NONE.withBias(bias(numbers), 2, 2, 3, 2).withRanges(1, 3, 0, 1, 2, 3, 4, 5);
        AttentionMask part = mask.slice(1, 1, 1, 2);
        for (int head = 0; head < 2; head++) {
            for (int i = 0; i < 2; i++) {
                assertEquals(mask.bias(1, head, i + 1, 1), part.bias(0, head, i, 1));
            }
        }
        assertEquals(4, part.from(0, 1));
        assertEquals(
                part.bias(0, 1, 1, 0), part.slice(0, 1, 1, 1).slice(5, 1, 5, 1).bias(5, 1, 5, 0));
        assertThrows(IllegalArgumentException.class, () -> mask.slice(1, 2, 0, 1));
        assertThrows(IllegalArgumentException.class, () -> part.slice(0, 1, 1, 2));
    }

    @Test
    void shouldHideNothingAtFirst() {
        assertEquals(0, AttentionMask.NONE.bias(9, 9, 9, Long.MAX_VALUE));
        assertEquals(Long.MIN_VALUE, AttentionMask.NONE.from(9, 9));
        assertEquals(Long.MAX_VALUE, AttentionMask.NONE.to(9, 9));
        assertFalse(AttentionMask.NONE.namesKeys());
    }

    @Test
    void shouldRefuseWhatMeansNothing() {
        refused(
                "a bias must be finite, or -inf to hide a key: got NaN at element 1",
                () -> AttentionMask.NONE.withBias(bias(0, Float.NaN), 1, 1, 1, 2));
        refused(
                "a bias must be finite, or -inf to hide a key: got Infinity at element 0",
                () -> AttentionMask.NONE.withBias(bias(Float.POSITIVE_INFINITY), 1, 1, 1, 1));
        refused(
                "a mask needs batch*heads*queries*keys elements: batch=1, heads=1, queries=2, keys=2 want 4, got 3",
                () -> AttentionMask.NONE.withBias(bias(0, 0, 0), 1, 1, 2, 2));
        refused(
                "rows of a key mask must have one length: got 1 and 2",
                () -> AttentionMask.NONE.withKeys(new boolean[1], new boolean[2]));
        refused(
                "a mask must lie in a direct little-endian buffer: direct=false, little-endian=true",
                () -> AttentionMask.NONE.withVisible(ByteBuffer.allocate(4), 1, 1, 2, 2));
        Queries queries = new Queries(Queries.allocate(3), 1, 1, 3, 1, 0);
        refused(
                "the mask's ranges must have batch, heads and queries of the call, or 1: want 1, 1, 3, got 1, 1, 2",
                () -> queries.withMask(AttentionMask.NONE.withRanges(1, 2, 0, 1, 0, 1)));
    }

    private static void refused(String message, Executable call) {
        assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
    }

    private static FloatBuffer bias(float... numbers) {
        return Queries.allocate(numbers.length).put(0, numbers);
    }
}
