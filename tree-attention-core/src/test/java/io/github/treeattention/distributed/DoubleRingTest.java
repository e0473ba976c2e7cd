package io.github.treeattention.distributed;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.cache.SequencePartition;
import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.Ranks;
import io.github.treeattention.kernel.WholeProblem;
import io.github.treeattention.testkit.Seeds;
import java.time.Duration;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The ring's schedule in float64 gives the definition's outputs and gradients to 1e-10: which blocks meet, what is
 * skipped, and where gradients end leave no error of their own behind float32's.
 */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class DoubleRingTest {
    private static final double CLOSE = 1e-10;

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8})
    void shouldEqualTheDefinition(int ranks) throws Exception {
        SplittableRandom random = Seeds.random("DoubleRingTest" + ranks);
        for (int length : new int[] {1, 7, 33}) {
            int[] uneven = new int[ranks];
            for (int i = 0; i < length; i++) {
                uneven[random.nextInt(1 + random.nextInt(ranks))]++; // the last ranks get few or none
            }
            List<SequenceSplit> splits = List.of(
                    SequenceSplit.zigzag(length, ranks),
                    SequenceSplit.contiguous(uneven),
                    SequenceSplit.striped(length, ranks),
                    SequenceSplit.interleaved(new SequencePartition(1 + random.nextInt(5), ranks), length));
            for (SequenceSplit split : splits) {
                boolean runs = split.slice(0).step() == 1; // what RingAttention grants striped slices
                check(
                        WholeProblem.masked(random, spec(random, runs), 1 + random.nextInt(2), length, 0, length, runs),
                        split);
                check(WholeProblem.random(random, spec(random, runs), 1, length, 0, length), split);
            }
        }
    }

    private static void check(WholeProblem problem, SequenceSplit split) throws Exception {
        int ranks = split.worldSize();
        List<Communicator> members = Communicators.inProcess(ranks, Duration.ofSeconds(30));
        List<DoubleRing> parts = Ranks.run(ranks, rank -> {
            try (Communicator member = members.get(rank)) {
                DoubleRing ring = new DoubleRing(problem, split, member);
                ring.forward();
                ring.backward();
                member.barrier();
                return ring;
            }
        });
        int valueDim = problem.spec().valueDim();
        double[] state = new double[problem.stateGradient().length];
        double[] dq = new double[problem.queries().length];
        double[] dk = new double[problem.keys().length];
        double[] dv = new double[problem.values().length];
        for (int rank = 0; rank < ranks; rank++) {
            DoubleRing part = parts.get(rank);
            for (int outer = 0; outer < problem.batch() * problem.spec().heads(); outer++) {
                for (long position : split.slice(rank).positions()) {
                    int at = (outer * problem.queryCount() + (int) position) * (valueDim + 1);
                    System.arraycopy(part.state, at, state, at, valueDim + 1);
                }
            }
            add(part.dq, dq);
            add(part.dk, dk);
            add(part.dv, dv);
        }
        String what = split + " of " + problem;
        assertArrayEquals(problem.exactState(), state, CLOSE, "state, " + what);
        assertArrayEquals(problem.exactGradients().get(0), dq, CLOSE, "dq, " + what);
        assertArrayEquals(problem.exactGradients().get(1), dk, CLOSE, "dk, " + what);
        assertArrayEquals(problem.exactGradients().get(2), dv, CLOSE, "dv, " + what);
    }

    /** Ranks fill rows of their own. */
    private static void add(double[] part, double[] whole) {
        for (int i = 0; i < part.length; i++) {
            whole[i] += part[i];
        }
    }

    private static AttentionSpec spec(SplittableRandom random, boolean runs) {
        boolean causal = random.nextInt(3) > 0;
        AttentionSpec spec = AttentionSpec.of(4, 2, 1 + random.nextInt(12))
                .withValueDim(1 + random.nextInt(12))
                .withCausal(causal)
                .withSoftCap(random.nextInt(4) == 0 ? 1 + random.nextInt(50) : 0);
        if (runs && random.nextBoolean()) {
            spec = spec.withDropout(Dropout.of(0.1 + 0.5 * random.nextDouble(), random.nextLong(), 3));
        }
        return causal && random.nextInt(3) == 0 ? spec.withSlidingWindow(1 + random.nextInt(20)) : spec;
    }
}
