package io.github.treeattention.kernel;

import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.testkit.Seeds;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** Error against float64 by the number of pieces: merged pair by pair as a tree does, and one after another as a ring. */
class ErrorGrowthTest {
    private static final int KEYS = 4096;
    private static final int ROWS = 16;

    @Test
    @SuppressWarnings("SystemOut")
    void theErrorShouldNotGrowWithTheNumberOfPieces() {
        SplittableRandom random = Seeds.random("ErrorGrowthTest");
        for (double keySize : new double[] {1, 8}) { // flat and peaked softmax
            AttentionCase c = new RandomCase(random)
                    .spec(AttentionSpec.of(2, 1, 64))
                    .type(KvType.F32)
                    .keySize(keySize)
                    .sizes(1, ROWS, KEYS)
                    .build();
            ReferenceAttention truth = ReferenceAttention.float64(c);
            double rounding = 0x1p-24 * (1 + truth.largestLogitTerms()) * truth.largestValue();
            double naive = naiveError(c, truth);
            System.out.println("pieces  tree      ring      of a row's largest output error; naive float32 has "
                    + String.format(Locale.ROOT, "%.1e", naive));
            for (int pieces = 1; pieces <= 64; pieces *= 2) {
                List<AttentionState> states = partials(c, pieces);
                double ring = error(oneAfterAnother(states), truth);
                double tree = error(pairByPair(states), truth);
                System.out.printf(Locale.ROOT, "%6d  %.1e   %.1e%n", pieces, tree, ring);
                int levels = 32 - Integer.numberOfLeadingZeros(pieces);
                assertTrue(tree <= 2 * naive + levels * rounding, "tree of " + pieces + ": " + tree);
                assertTrue(ring <= 2 * naive + pieces * rounding, "ring of " + pieces + ": " + ring);
            }
        }
    }

    private static List<AttentionState> partials(AttentionCase c, int pieces) {
        List<AttentionState> states = new ArrayList<>();
        for (int piece = 0; piece < pieces; piece++) {
            List<KvShard> shard = List.of(c.shard(c.keys.get(0), KEYS / pieces * piece, KEYS / pieces * (piece + 1)));
            AttentionState state = AttentionState.empty(1, 2, ROWS, 64);
            AttentionKernels.named("java").partial(c.spec, c.toQueries(), shard, state);
            states.add(state);
        }
        return states;
    }

    private static AttentionState oneAfterAnother(List<AttentionState> states) {
        AttentionState all = AttentionState.empty(1, 2, ROWS, 64);
        states.forEach(all::merge);
        return all;
    }

    private static AttentionState pairByPair(List<AttentionState> states) {
        if (states.size() == 1) {
            return oneAfterAnother(states);
        }
        AttentionState left = pairByPair(states.subList(0, states.size() / 2));
        left.merge(pairByPair(states.subList(states.size() / 2, states.size())));
        return left;
    }

    private static double error(AttentionState state, ReferenceAttention truth) {
        double error = 0;
        for (int i = 0; i < truth.out.length; i++) {
            error = Math.max(error, Math.abs(state.rows().get(i / 64 * 65 + i % 64) - truth.out[i]));
        }
        return error;
    }

    private static double naiveError(AttentionCase c, ReferenceAttention truth) {
        ReferenceAttention naive = ReferenceAttention.naiveFloat32(c);
        double error = 0;
        for (int i = 0; i < truth.out.length; i++) {
            error = Math.max(error, Math.abs(naive.out[i] - truth.out[i]));
        }
        return error;
    }
}
