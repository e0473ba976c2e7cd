package io.github.treeattention.cache;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

class SequenceSplitTest {

    @Test
    void everyPositionShouldBeInOneSlice() {
        for (int ranks = 1; ranks <= 9; ranks++) {
            for (int length = 0; length <= 60; length++) {
                List<SequenceSplit> splits = List.of(
                        SequenceSplit.contiguous(length, ranks),
                        SequenceSplit.zigzag(length, ranks),
                        SequenceSplit.striped(length, ranks),
                        SequenceSplit.interleaved(new SequencePartition(4, ranks), length));
                for (SequenceSplit split : splits) {
                    long[] all = positions(split.shifted(5));
                    Arrays.sort(all);
                    assertEquals(length, split.length());
                    assertEquals(length, all.length);
                    for (int i = 0; i < length; i++) {
                        assertEquals(5 + i, all[i], split.toString());
                    }
                }
            }
        }
    }

    private static long[] positions(SequenceSplit split) {
        List<Long> all = new ArrayList<>();
        for (int rank = 0; rank < split.worldSize(); rank++) {
            Arrays.stream(split.slice(rank).positions()).forEach(all::add);
        }
        return all.stream().mapToLong(Long::longValue).toArray();
    }

    @Test
    void slicesShouldBeWhatTheirNamesSay() {
        assertArrayEquals(
                new long[] {4, 5}, SequenceSplit.contiguous(6, 4).slice(3).positions());
        assertArrayEquals(
                new long[] {2, 3, 12, 13}, SequenceSplit.zigzag(16, 4).slice(1).positions());
        assertArrayEquals(
                new long[] {1, 5, 9}, SequenceSplit.striped(11, 4).slice(1).positions());
        SequencePartition pairs = new SequencePartition(2, 4);
        assertArrayEquals(
                new long[] {2, 3, 10},
                SequenceSplit.interleaved(pairs, 11).slice(1).positions());
        assertArrayEquals(
                new long[] {0, 1, 2},
                SequenceSplit.contiguous(new int[] {0, 3, 0}).slice(1).positions());
    }

    /** Pieces that touch are one run: kernels take fewer and larger ones. */
    @Test
    void touchingPiecesShouldBeOneRun() {
        assertEquals(
                List.of(new SequenceSlice.Run(0, 7, 1)),
                SequenceSplit.zigzag(7, 1).slice(0).runs());
        assertEquals(
                List.of(new SequenceSlice.Run(4, 4, 1)),
                SequenceSplit.zigzag(12, 3).slice(2).runs());
        assertEquals(1, SequenceSplit.striped(7, 1).slice(0).step());
    }

    /** Pairs of a query and a key that a causal mask leaves to each rank. */
    @Test
    void zigzagShouldBalanceCausalWork() {
        int ranks = 4;
        SequenceSplit split = SequenceSplit.zigzag(800, ranks);
        for (int rank = 0; rank < ranks; rank++) {
            long pairs =
                    Arrays.stream(split.slice(rank).positions()).map(p -> p + 1).sum();
            assertTrue(Math.abs(pairs - 800L * 801 / 2 / ranks) <= 100, "rank " + rank + ": " + pairs);
        }
    }

    @Test
    void shouldRefuseWhatMakesNoSense() {
        assertThrows(IllegalArgumentException.class, () -> SequenceSplit.zigzag(-1, 2));
        assertThrows(IllegalArgumentException.class, () -> SequenceSplit.contiguous(4, 0));
        assertThrows(IllegalArgumentException.class, () -> SequenceSplit.contiguous(new int[] {3, -1}));
        assertThrows(IllegalArgumentException.class, () -> new SequenceSlice.Run(0, 0, 1));
        SequenceSlice.Run first = new SequenceSlice.Run(0, 4, 1);
        SequenceSlice.Run overlapping = new SequenceSlice.Run(3, 4, 1);
        assertThrows(IllegalArgumentException.class, () -> new SequenceSlice(List.of(first, overlapping)));
        SequenceSlice.Run stepping = new SequenceSlice.Run(8, 4, 2);
        assertThrows(IllegalArgumentException.class, () -> new SequenceSlice(List.of(first, stepping)));
    }
}
