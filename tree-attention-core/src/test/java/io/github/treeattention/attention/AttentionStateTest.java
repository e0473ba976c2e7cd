package io.github.treeattention.attention;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.Seeds;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class AttentionStateTest {
    private static final int DIM = 5;
    private static final float EMPTY = Float.NEGATIVE_INFINITY;

    @Test
    void shouldBeTheIdentityWhenEmpty() {
        AttentionState state = state(new float[] {1, 2, 3, 4, 5}, 0.25f);
        float[] before = floats(state);
        state.merge(AttentionState.empty(1, 1, 1, DIM));
        assertArrayEquals(before, floats(state));

        AttentionState empty = AttentionState.empty(1, 1, 1, DIM);
        empty.merge(state);
        assertArrayEquals(before, floats(empty));
    }

    @Test
    void shouldStayEmptyWhenBothAreEmpty() {
        AttentionState state = AttentionState.empty(2, 3, 4, DIM);
        state.merge(AttentionState.empty(2, 3, 4, DIM));
        for (int row = 0; row < 2 * 3 * 4; row++) {
            for (int i = 0; i < DIM; i++) {
                assertEquals(0f, state.rows().get(row * (DIM + 1) + i));
            }
            assertEquals(EMPTY, state.rows().get(row * (DIM + 1) + DIM));
        }
    }

    @Test
    void shouldGiveTheSameBitsWhicheverSideComesFirst() {
        SplittableRandom random = Seeds.random("shouldGiveTheSameBitsWhicheverSideComesFirst");
        for (int trial = 0; trial < 1000; trial++) {
            float[] a = row(random);
            float[] b = row(random);
            AttentionState ab = wrap(a);
            ab.merge(wrap(b));
            AttentionState ba = wrap(b);
            ba.merge(wrap(a));
            assertArrayEquals(floats(ab), floats(ba));
        }
    }

    /** The central theorem: any partition of the keys, merged in any order and association, is the whole. */
    @Test
    void shouldEqualOnePassOverAnyPartitionInAnyOrder() {
        SplittableRandom random = Seeds.random("shouldEqualOnePassOverAnyPartitionInAnyOrder");
        for (int trial = 0; trial < 500; trial++) {
            int keys = 1 + random.nextInt(40);
            double spread = new double[] {0.1, 1, 30, 1e4}[random.nextInt(4)];
            double[] scores = new double[keys];
            double[][] values = new double[keys][DIM];
            for (int k = 0; k < keys; k++) {
                // The score must survive its trip through a float32 lse, so it is one.
                scores[k] = random.nextInt(8) == 0 ? EMPTY : (float) ((random.nextDouble() * 2 - 1) * spread);
                for (int i = 0; i < DIM; i++) {
                    values[k][i] = (float) (random.nextDouble() * 2 - 1);
                }
            }
            List<AttentionState> parts = partition(random, scores, values);
            while (parts.size() > 1) {
                AttentionState left = parts.remove(random.nextInt(parts.size()));
                AttentionState right = parts.remove(random.nextInt(parts.size()));
                left.merge(right);
                parts.add(left);
            }
            assertClose(attend(scores, values), floats(parts.get(0)), spread);
        }
    }

    /** One rounding for all: against float64 over the very numbers that the states hold. */
    @Test
    void shouldMergeManyWithOneRounding() {
        SplittableRandom random = Seeds.random("shouldMergeManyWithOneRounding");
        for (int trial = 0; trial < 500; trial++) {
            int parts = 1 + random.nextInt(9);
            double spread = new double[] {0.1, 1, 30, 1e4}[random.nextInt(4)];
            double[] lses = new double[parts];
            double[][] outs = new double[parts][DIM];
            List<AttentionState> states = new ArrayList<>();
            for (int part = 0; part < parts; part++) {
                float[] row = row(random);
                row[DIM] = random.nextInt(4) == 0 ? EMPTY : (float) ((random.nextDouble() * 2 - 1) * spread);
                for (int i = 0; i < DIM; i++) {
                    row[i] = row[DIM] == EMPTY ? 0 : row[i];
                    outs[part][i] = row[i];
                }
                lses[part] = row[DIM];
                states.add(wrap(row));
            }
            double[] wanted = attend(lses, outs);
            AttentionState merged = states.remove(0);
            merged.mergeAll(states);
            float[] got = floats(merged);
            for (int i = 0; i <= DIM; i++) {
                double oneRounding = 0x1.001p-24 * Math.abs(wanted[i]) + 1e-13; // and float64's own, of terms up to 10
                assertEquals(wanted[i], got[i], wanted[i] == EMPTY ? 0 : oneRounding, "element " + i);
            }
        }
    }

    @Test
    void shouldRefuseOtherShapesAmongMany() {
        AttentionState state = state(new float[] {1, 2, 3, 4, 5}, 0);
        float[] before = floats(state);
        List<AttentionState> others =
                List.of(state(new float[] {9, 9, 9, 9, 9}, 0), AttentionState.empty(1, 1, 2, DIM));
        assertThrows(IllegalArgumentException.class, () -> state.mergeAll(others));
        assertArrayEquals(before, floats(state));
    }

    @Test
    void shouldSurviveHugeAndTinyLogits() {
        AttentionState low = state(new float[] {1, 1, 1, 1, 1}, -1e4f);
        low.merge(state(new float[] {2, 2, 2, 2, 2}, 1e4f));
        assertArrayEquals(new float[] {2, 2, 2, 2, 2, 1e4f}, floats(low));

        AttentionState equal = state(new float[] {1, 1, 1, 1, 1}, 1e4f);
        equal.merge(state(new float[] {3, 3, 3, 3, 3}, 1e4f));
        assertArrayEquals(new float[] {2, 2, 2, 2, 2, (float) (1e4 + Math.log(2))}, floats(equal));
    }

    @Test
    void shouldRefuseOtherShapes() {
        AttentionState state = AttentionState.empty(1, 2, 3, DIM);
        var error = assertThrows(IllegalArgumentException.class, () -> state.merge(AttentionState.empty(1, 2, 4, DIM)));
        assertEquals(
                "states must have the same shape: AttentionState[batch=1, heads=2, queries=3, valueDim=5]"
                        + " and AttentionState[batch=1, heads=2, queries=4, valueDim=5]",
                error.getMessage());
    }

    @Test
    void shouldRefuseToMergeAnotherValueDim() {
        AttentionState state = AttentionState.empty(1, 2, 1, DIM);
        var refused =
                assertThrows(IllegalArgumentException.class, () -> state.merge(AttentionState.empty(1, 2, 1, DIM + 1)));
        assertTrue(refused.getMessage().startsWith("states must have the same shape"), refused.getMessage());
    }

    @Test
    void shouldRefuseRowsThatAreNotWhole() {
        FloatBuffer accumulator = FloatBuffer.allocate(DIM + 2);
        var refused = assertThrows(
                IllegalArgumentException.class,
                () -> AttentionState.mergeRows(accumulator, FloatBuffer.allocate(DIM + 2), DIM));
        assertTrue(refused.getMessage().startsWith("not whole rows"), refused.getMessage());
    }

    @Test
    void shouldMergeRowsFromEachBuffersOwnPosition() {
        SplittableRandom random = Seeds.random("shouldMergeRowsFromEachBuffersOwnPosition");
        float[] left = row(random);
        float[] right = row(random);
        AttentionState wanted = wrap(left);
        wanted.merge(wrap(right));
        FloatBuffer accumulator = FloatBuffer.allocate(3 * (DIM + 1)).put(DIM + 1, left);
        FloatBuffer incoming = FloatBuffer.allocate(4 * (DIM + 1)).put(2 * (DIM + 1), right);
        AttentionState.mergeRows(
                accumulator.position(DIM + 1).limit(2 * (DIM + 1)),
                incoming.position(2 * (DIM + 1)).limit(3 * (DIM + 1)),
                DIM);
        float[] got = new float[DIM + 1];
        accumulator.get(DIM + 1, got);
        assertArrayEquals(floats(wanted), got);
    }

    @Test
    void shouldRefuseAStateOfMoreThanTwoGibibytes() {
        int most = (1 << 28) - 1; // rows of 2 floats: 8 bytes each
        assertEquals(Integer.MAX_VALUE - 7, AttentionState.byteLength(1, 1, most, 1));
        var refused = assertThrows(IllegalArgumentException.class, () -> AttentionState.byteLength(1, 1, most + 1, 1));
        assertEquals(
                "a state must fit 2 GiB, so use fewer queries a call: want 2147483648 bytes", refused.getMessage());
    }

    @Test
    void shouldRefuseMemoryThatIsTooSmallOrOnTheHeap() {
        assertThrows(IllegalArgumentException.class, () -> AttentionState.wrap(ByteBuffer.allocate(1000), 1, 1, 1, 3));
        assertThrows(
                IllegalArgumentException.class, () -> AttentionState.wrap(ByteBuffer.allocateDirect(15), 1, 1, 1, 3));
        assertThrows(IllegalArgumentException.class, () -> AttentionState.byteLength(1 << 10, 1 << 10, 1 << 10, 64));
    }

    private static List<AttentionState> partition(SplittableRandom random, double[] scores, double[][] values) {
        int parts = 1 + random.nextInt(9);
        List<AttentionState> states = new ArrayList<>();
        int[] owner = random.ints(scores.length, 0, parts).toArray();
        for (int part = 0; part < parts; part++) {
            double[] partScores = new double[scores.length];
            for (int k = 0; k < scores.length; k++) {
                partScores[k] = owner[k] == part ? scores[k] : EMPTY;
            }
            double[] whole = attend(partScores, values);
            float[] row = new float[DIM + 1];
            for (int i = 0; i <= DIM; i++) {
                row[i] = (float) whole[i];
            }
            states.add(wrap(row));
        }
        return states;
    }

    /** Output row and lse in float64, one pass. */
    private static double[] attend(double[] scores, double[][] values) {
        double max = EMPTY;
        for (double score : scores) {
            max = Math.max(max, score);
        }
        double[] result = new double[DIM + 1];
        if (max == EMPTY) {
            result[DIM] = EMPTY;
            return result;
        }
        double sum = 0;
        for (int k = 0; k < scores.length; k++) {
            double weight = Math.exp(scores[k] - max);
            sum += weight;
            for (int i = 0; i < DIM; i++) {
                result[i] += weight * values[k][i];
            }
        }
        for (int i = 0; i < DIM; i++) {
            result[i] /= sum;
        }
        result[DIM] = max + Math.log(sum);
        return result;
    }

    private static void assertClose(double[] wanted, float[] got, double spread) {
        if (wanted[DIM] == EMPTY) {
            assertEquals(EMPTY, got[DIM]);
            return;
        }
        // A float32 lse near 1e4 has an ulp of 1e-3, and weights are its exponential.
        double lseError = Math.max(1e-6, Math.abs(spread) * 0x1p-22);
        assertEquals(wanted[DIM], got[DIM], lseError);
        for (int i = 0; i < DIM; i++) {
            assertTrue(
                    Math.abs(wanted[i] - got[i]) <= 2e-6 + 8 * lseError, "out " + i + ": " + wanted[i] + ", " + got[i]);
        }
    }

    private static float[] row(SplittableRandom random) {
        float[] row = new float[DIM + 1];
        for (int i = 0; i <= DIM; i++) {
            row[i] = (float) (random.nextDouble() * 20 - 10);
        }
        return row;
    }

    private static AttentionState state(float[] out, float lse) {
        float[] row = new float[DIM + 1];
        System.arraycopy(out, 0, row, 0, DIM);
        row[DIM] = lse;
        return wrap(row);
    }

    private static AttentionState wrap(float[] row) {
        AttentionState state = AttentionState.empty(1, 1, 1, DIM);
        state.rows().put(0, row);
        return state;
    }

    private static float[] floats(AttentionState state) {
        FloatBuffer rows = state.rows();
        float[] floats = new float[rows.capacity()];
        rows.get(0, floats);
        return floats;
    }
}
