package io.github.treeattention.kernel;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.treeattention.attention.AttentionMask;
import org.junit.jupiter.api.Test;

class DeviceProblemTest {

    @Test
    void shouldRefuseWhatNoKernelCanRead() {
        new DeviceProblem(1, 2, 3, 0, AttentionMask.NONE, 256, 512, 1024, 0);
        assertEquals(
                "batch, queries and keys must be at least 1: got batch=1, queries=2, keys=0",
                refused(0, AttentionMask.NONE, 256));
        assertEquals(
                "arrays lie at addresses of floats, multiples of 4 that are not 0: got 0",
                refused(3, AttentionMask.NONE, 0));
        assertEquals(
                "arrays lie at addresses of floats, multiples of 4 that are not 0: got 258",
                refused(3, AttentionMask.NONE, 258));
        assertEquals(
                "the mask's keys must cover the positions of all keys: it ends before position 2, the keys before position 3",
                refused(3, AttentionMask.NONE.withKeys(new boolean[2]), 256));
    }

    private static String refused(int keys, AttentionMask mask, long keysAt) {
        return assertThrows(
                        IllegalArgumentException.class,
                        () -> new DeviceProblem(1, 2, keys, 0, mask, 256, keysAt, 1024, 0))
                .getMessage();
    }
}
