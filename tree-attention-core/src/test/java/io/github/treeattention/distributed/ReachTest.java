package io.github.treeattention.distributed;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.SequenceSlice;
import io.github.treeattention.cache.SequenceSlice.Run;
import io.github.treeattention.testkit.Seeds;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class ReachTest {

    /** The positions that kernels get leave the same pairs visible as the real ones. */
    @Test
    void shouldMaskLikeTheRealPositions() {
        SplittableRandom random = Seeds.random("ReachTest");
        for (int trial = 0; trial < 5000; trial++) {
            int step = 1 + random.nextInt(4);
            Run queries = new Run(random.nextInt(40), 1 + random.nextInt(8), step);
            Run keys = new Run(random.nextInt(40), 1 + random.nextInt(8), step);
            AttentionSpec spec = AttentionSpec.of(1, 1, 1)
                    .withCausal(true)
                    .withSlidingWindow(random.nextBoolean() ? 0 : 1 + random.nextInt(30));
            boolean any = false;
            for (int a = 0; a < queries.length(); a++) {
                for (int b = 0; b < keys.length(); b++) {
                    any |= visible(spec, queries.start() + (long) a * step, keys.start() + (long) b * step);
                }
            }
            String what = queries + " " + keys + " " + spec;
            assertEquals(any, Reach.sees(spec, queries, keys), what);
            if (!any) {
                continue;
            }
            Reach reach = Reach.of(spec, queries, new SequenceSlice(List.of(keys)));
            for (int a = 0; a < queries.length(); a++) {
                for (int b = 0; b < keys.length(); b++) {
                    assertEquals(
                            visible(spec, queries.start() + (long) a * step, keys.start() + (long) b * step),
                            visible(
                                    reach.spec(),
                                    reach.firstQuery() + a,
                                    reach.keyStarts().get(0) + b),
                            what + " " + reach);
                }
            }
        }
    }

    private static boolean visible(AttentionSpec spec, long query, long key) {
        return key <= query && (spec.slidingWindow() == 0 || key > query - spec.slidingWindow());
    }
}
