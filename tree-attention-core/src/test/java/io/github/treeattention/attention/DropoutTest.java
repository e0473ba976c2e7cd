package io.github.treeattention.attention;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;

class DropoutTest {

    /** What is drawn is a convention (the numbers are from a second implementation of it): saved runs repeat. */
    @Test
    void shouldDrawWhatItAlwaysDrew() {
        Dropout dropout = Dropout.of(0.5, 42, 3);
        assertEquals(0x93ebd6b0725bc941L, dropout.rowKey(1, 2, 1000));
        StringBuilder kept = new StringBuilder();
        for (long key = (1L << 32) - 20; key < (1L << 32) + 20; key++) {
            kept.append(dropout.keeps(dropout.rowKey(1, 2, 1000), key) ? '1' : '0');
        }
        assertEquals("1100110111000011010001110110000100101001", kept.toString());
    }

    /** Of n weights a share of rate is dropped, within 6 standard deviations, for neighbours on every axis too. */
    @Test
    void shouldDropItsShare() {
        for (double rate : new double[] {0.1, 0.5, 0.9}) {
            Dropout dropout = Dropout.of(rate, 7, 0);
            int n = 1 << 16;
            double slack = 6 * Math.sqrt(n * rate * (1 - rate));
            int alongKeys = 0;
            int alongQueries = 0;
            int alongHeads = 0;
            int bothOfNeighbours = 0;
            long row = dropout.rowKey(0, 0, 0);
            for (int i = 0; i < n; i++) {
                alongKeys += dropout.keeps(row, i) ? 0 : 1;
                alongQueries += dropout.keeps(dropout.rowKey(0, 0, i), 5) ? 0 : 1;
                alongHeads += dropout.keeps(dropout.rowKey(0, i, 9), 5) ? 0 : 1;
                boolean first = dropout.keeps(dropout.rowKey(0, 0, i), 5);
                bothOfNeighbours += first || dropout.keeps(dropout.rowKey(0, 0, i + 1L), 5) ? 0 : 1;
            }
            assertEquals(n * rate, alongKeys, slack);
            assertEquals(n * rate, alongQueries, slack);
            assertEquals(n * rate, alongHeads, slack);
            assertEquals(n * rate * rate, bothOfNeighbours, 2 * slack);
        }
    }

    @Test
    void shouldDrawAnewForEveryPartOfItsKey() {
        long key = Dropout.of(0.5, 1, 2).rowKey(3, 4, 5);
        assertNotEquals(key, Dropout.of(0.5, 2, 2).rowKey(3, 4, 5));
        assertNotEquals(key, Dropout.of(0.5, 1, 3).rowKey(3, 4, 5));
        assertNotEquals(key, Dropout.of(0.5, 1, 2).rowKey(4, 4, 5));
        assertNotEquals(key, Dropout.of(0.5, 1, 2).rowKey(3, 5, 5));
        assertNotEquals(key, Dropout.of(0.5, 1, 2).rowKey(3, 4, 6));
        assertEquals(key, Dropout.of(0.5, 1, 2).withFirstBatchRow(2).rowKey(1, 4, 5));
    }

    @Test
    void shouldRefuseARateOfOne() {
        assertEquals(
                "the dropout rate must be at least 0 and below 1: got 1.0",
                assertThrows(IllegalArgumentException.class, () -> Dropout.of(1, 0, 0))
                        .getMessage());
    }
}
