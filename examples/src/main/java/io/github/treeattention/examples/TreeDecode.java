package io.github.treeattention.examples;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvCache;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequencePartition;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.distributed.TreeAttention;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.launch.RankEnvironment;
import io.github.treeattention.launch.RankSession;
import java.nio.FloatBuffer;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;

/**
 * The library in ten lines: one query over 100000 keys that are spread over the processes of a run. Start it with
 * {@code treeattn launch -n 4 -- io.github.treeattention.examples.TreeDecode}.
 */
public final class TreeDecode {
    private static final int HEADS = 8;
    private static final int KV_HEADS = 2;
    private static final int DIM = 64;
    private static final int KEYS = 100_000;

    private TreeDecode() {}

    public static void main(String[] args) {
        try (RankSession session = RankSession.join(RankEnvironment.current(), Map.of(), Duration.ofSeconds(30))) {
            System.out.println(attend(session.communicator()));
        }
    }

    /** Every rank returns the same bits: the first output of head 0, and its lse. */
    static String attend(Communicator ranks) {
        KvLayout layout = new KvLayout(1, KV_HEADS, DIM, DIM, KvType.BF16, 64);
        SequencePartition partition = new SequencePartition(64, ranks.worldSize());
        try (KvCache cache = new KvCache(layout, partition, ranks.rank(), 1L << 30)) {
            FloatBuffer keys = random(1, KEYS * KV_HEADS * DIM);
            cache.append(0, KEYS, keys, keys); // every rank appends all positions, each stores its own
            AttentionSpec spec = AttentionSpec.of(HEADS, KV_HEADS, DIM).withCausal(true);
            Queries queries = new Queries(random(2, HEADS * DIM), 1, HEADS, 1, DIM, KEYS);
            AttentionState state = AttentionState.empty(1, HEADS, 1, DIM);
            new TreeAttention(AttentionKernels.choose(), ranks).attend(spec, queries, List.of(cache.shard(0)), state);
            return "out[0] = " + state.out(0, 0, 0, 0) + ", lse = " + state.lse(0, 0, 0);
        }
    }

    private static FloatBuffer random(long seed, int count) {
        SplittableRandom random = new SplittableRandom(seed);
        FloatBuffer floats = Queries.allocate(count);
        for (int i = 0; i < count; i++) {
            floats.put(i, (float) (2 * random.nextDouble() - 1));
        }
        return floats;
    }
}
