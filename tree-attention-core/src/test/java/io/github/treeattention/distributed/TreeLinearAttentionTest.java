package io.github.treeattention.distributed;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.treeattention.attention.EnergyCase;
import io.github.treeattention.attention.LinearAttention;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.Ranks;
import io.github.treeattention.testkit.Seeds;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Linear attention over ranks is linear attention over one. */
@Timeout(value = 1, unit = TimeUnit.MINUTES)
class TreeLinearAttentionTest {
    private static final int HEADS = 2;
    private static final int DIM = 5;
    private static final int VALUE_DIM = 3;
    private static final int STEPS = 61;
    private static final double EXACT = 1e-12;

    private final SplittableRandom random = Seeds.random("TreeLinearAttentionTest");
    private final LinearAttention attention = new LinearAttention(DIM, VALUE_DIM, 0.3, 8, 0.95, 0.6);
    private final double[] q = EnergyCase.normal(random, HEADS * STEPS * DIM);
    private final double[] k = EnergyCase.normal(random, HEADS * STEPS * DIM);
    private final double[] v = EnergyCase.normal(random, HEADS * STEPS * VALUE_DIM);
    private final double[] dOut = EnergyCase.normal(random, v.length);

    private static double[] slice(double[] rows, int dim, int from, int to) {
        double[] slice = new double[HEADS * (to - from) * dim];
        for (int head = 0; head < HEADS; head++) {
            System.arraycopy(rows, (head * STEPS + from) * dim, slice, head * (to - from) * dim, (to - from) * dim);
        }
        return slice;
    }

    /** Uneven slices, some empty. */
    private int[] borders(int worldSize) {
        int[] borders = new int[worldSize + 1];
        Arrays.setAll(borders, i -> i == 0 ? 0 : i == worldSize ? STEPS : random.nextInt(STEPS + 1));
        Arrays.sort(borders);
        return borders;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8})
    void slicesShouldEqualOneProcessForwardAndBackward(int worldSize) throws Exception {
        double[] empty = attention.emptyState();
        double[] wanted = attention.forward(q, k, v, attention.emptyState());
        LinearAttention.Gradients wantedGradients = attention.backward(q, k, v, empty, dOut, empty);
        int[] borders = borders(worldSize);
        List<Communicator> members = Communicators.inProcess(worldSize, Duration.ofSeconds(20));
        Ranks.run(worldSize, rank -> {
            int from = borders[rank];
            int to = borders[rank + 1];
            TreeLinearAttention tree = new TreeLinearAttention(attention, members.get(rank));
            double[] ownQ = slice(q, DIM, from, to);
            double[] ownK = slice(k, DIM, from, to);
            double[] ownV = slice(v, VALUE_DIM, from, to);
            assertArrayEquals(slice(wanted, VALUE_DIM, from, to), tree.forward(ownQ, ownK, ownV), EXACT);
            LinearAttention.Gradients got = tree.backward(ownQ, ownK, ownV, slice(dOut, VALUE_DIM, from, to));
            assertArrayEquals(slice(wantedGradients.queries(), DIM, from, to), got.queries(), EXACT);
            assertArrayEquals(slice(wantedGradients.keys(), DIM, from, to), got.keys(), EXACT);
            assertArrayEquals(slice(wantedGradients.values(), VALUE_DIM, from, to), got.values(), EXACT);
            return null;
        });
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8})
    void decodingWithScatteredKeysShouldEqualOneProcess(int worldSize) throws Exception {
        double[] wanted = attention.forward(q, k, v, attention.emptyState());
        int[] owners = random.ints(STEPS, 0, worldSize).toArray();
        List<Communicator> members = Communicators.inProcess(worldSize, Duration.ofSeconds(20));
        List<double[]> lasts = Ranks.run(worldSize, rank -> {
            TreeLinearAttention tree = new TreeLinearAttention(attention, members.get(rank));
            double[] state = attention.emptyState();
            double[] out = null;
            for (int i = 0; i < STEPS; i++) {
                boolean own = owners[i] == rank;
                out = tree.decode(
                        slice(q, DIM, i, i + 1),
                        own ? slice(k, DIM, i, i + 1) : null,
                        own ? slice(v, VALUE_DIM, i, i + 1) : null,
                        state);
                assertArrayEquals(slice(wanted, VALUE_DIM, i, i + 1), out, EXACT);
            }
            return out;
        });
        for (double[] last : lasts) {
            assertArrayEquals(lasts.get(0), last, "the same bits on every rank");
        }
    }

    @Test
    void shouldRefuseAKeyWithoutItsValue() {
        TreeLinearAttention tree = new TreeLinearAttention(attention, Communicators.single());
        double[] row = new double[HEADS * DIM];
        assertEquals(
                "a step's key and value stay together: got key=some, value=none",
                assertThrows(IllegalArgumentException.class, () -> tree.decode(row, row, null, attention.emptyState()))
                        .getMessage());
    }
}
