package io.github.treeattention.distributed;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.attention.AttentionEnergy;
import io.github.treeattention.attention.AttentionEnergy.Order;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.EnergyState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.attention.TopKeys;
import io.github.treeattention.cache.KvCache;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequencePartition;
import io.github.treeattention.collective.InProcessTransports;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.testkit.Seeds;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class InProcessTreeEnergyTest extends TreeEnergyContract {
    private final InProcessTransports transports = new InProcessTransports();

    @Override
    protected Transport join(ProcessGroup group) {
        return transports.join(group);
    }

    @Override
    protected int maxFrameLength() {
        return InProcessTransports.FRAME_LENGTH;
    }

    /** The float32 kernel's state over a paged cache is the energy and its gradient, to float32's accuracy. */
    @ParameterizedTest
    @EnumSource(KvType.class)
    void kernelStateShouldBeEnergyAndGradientOfTheSameCache(KvType type) {
        SplittableRandom random = Seeds.random("kernelStateShouldBeEnergyAndGradient");
        int count = 3;
        AttentionSpec spec = AttentionSpec.of(4, 2, 12).withValueDim(9).withCausal(true);
        KvLayout layout = new KvLayout(1, 2, 12, 9, type, 8);
        try (KvCache cache = new KvCache(layout, new SequencePartition(8, 3), 1, 1L << 20)) {
            cache.append(0, 130, floats(random, 130 * 2 * 12), floats(random, 130 * 2 * 9));
            FloatBuffer q = floats(random, 4 * count * 12);
            AttentionState kernel = AttentionState.empty(1, 4, count, 9);
            Queries queries = new Queries(q, 1, 4, count, 12, 127);
            AttentionKernels.named("java").partial(spec, queries, List.of(cache.shard(0)), kernel);
            double[] wide = new double[q.capacity()];
            for (int i = 0; i < wide.length; i++) {
                wide[i] = q.get(i);
            }
            EnergyState state = AttentionEnergy.of(spec, wide, count, 127)
                    .partial(TreeEnergy.keysOf(cache.shard(0)), Order.GRADIENT);
            for (int head = 0; head < 4; head++) {
                for (int i = 0; i < count; i++) {
                    assertEquals(state.value(head, i), kernel.lse(0, head, i), 2e-6);
                    for (int d = 0; d < 9; d++) {
                        assertEquals(state.sourceGradient(head, i, d), kernel.out(0, head, i, d), 2e-6);
                    }
                }
            }
        }
    }

    /** Six keys alike, the even positions at the later rank: the order is that of positions. */
    @Test
    void ofEqualScoresTheLowerPositionShouldComeFirst() throws Exception {
        AttentionEnergy energy = AttentionEnergy.of(AttentionSpec.of(1, 1, 2), new double[] {1, 2}, 1, 0);
        for (TopKeys top : group(2, member -> {
            long[] own = member.rank() == 0 ? new long[] {1, 3, 5} : new long[] {0, 2, 4};
            AttentionEnergy.Keys keys = AttentionEnergy.Keys.of(new double[6], new double[6], 1, 2, 2, own);
            return new TreeEnergy(member).top(energy, keys, 4);
        })) {
            for (int place = 0; place < 4; place++) {
                assertEquals(place, top.position(0, 0, place));
            }
        }
    }

    private static FloatBuffer floats(SplittableRandom random, int count) {
        FloatBuffer floats = Queries.allocate(count);
        for (int i = 0; i < count; i++) {
            floats.put(i, (float) (2 * random.nextDouble() - 1));
        }
        return floats;
    }
}
