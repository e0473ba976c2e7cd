package io.github.treeattention.distributed;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvCache;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequencePartition;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.Ranks;
import io.github.treeattention.distributed.ChunkAttention.Moves;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.kernel.WholeProblem;
import io.github.treeattention.testkit.Seeds;
import java.nio.FloatBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A chunk's queries on several ranks give what one process gives, whether they move or the keys do. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class ChunkAttentionTest {
    private static final AttentionKernel KERNEL = AttentionKernels.named("java");
    private static final Duration DEADLINE = Duration.ofSeconds(30);
    private static final int[][] HEADS = {{1, 1}, {4, 2}, {6, 2}, {3, 1}};
    private static final int[] DIMS = {1, 7, 8, 20};

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 8})
    void shouldEqualOneProcess(int ranks) throws Exception {
        SplittableRandom random = Seeds.random("ChunkAttentionTest.shouldEqualOneProcess" + ranks);
        for (int count : new int[] {1, 7, 13, 33}) {
            for (int past : new int[] {0, 1, 127, 257}) {
                AttentionSpec spec = spec(random);
                int batch = 1 + random.nextInt(2);
                WholeProblem problem =
                        WholeProblem.random(random, spec, batch, ranks * count, past, past + ranks * count);
                int pageSize = 1 + random.nextInt(40); // large pages leave ranks without keys
                for (Moves moves : Moves.values()) {
                    float[] state = new float[problem.stateGradient().length];
                    run(problem, ranks, pageSize, moves, state);
                    problem.checkState(moves + " on " + ranks + " ranks, pages of " + pageSize + ": ", state, ranks);
                }
            }
        }
    }

    /** Queries go to each other rank once, and a state comes back from each. */
    @Test
    void shouldSendWhatTheFormulaSays() throws Exception {
        AttentionSpec spec = AttentionSpec.of(6, 2, 8).withValueDim(12).withCausal(true);
        WholeProblem problem = WholeProblem.random(new SplittableRandom(1), spec, 2, 4 * 5, 44, 64);
        float[] state = new float[problem.stateGradient().length];
        for (long bytes : run(problem, 4, 8, Moves.QUERIES, state)) {
            assertEquals(3L * 2 * 5 * 6 * (8 + 12 + 1) * Float.BYTES, bytes, "batch, queries, heads, dimensions");
        }
        long pages = 8L * 2 * (8 + 12) * Float.BYTES * 2 * 2; // keys, KV heads, dimensions; two pages a row, two rows
        long tables = 8 + 2 * (8 + 2 * 16); // the message's length, then each row's count and pages
        for (long bytes : run(problem, 4, 8, Moves.KEYS, state)) {
            assertEquals(3 * (pages + tables), bytes);
        }
    }

    /** By the bytes: 2 ranks x 3 queries x 6 heads x 21 floats against keys x 2 heads x 20 elements. */
    @Test
    void shouldMoveWhatTakesFewerBytes() throws Exception {
        AttentionSpec spec = AttentionSpec.of(6, 2, 8).withValueDim(12).withCausal(true);
        long queryFloats = 6L * 6 * 21; // as many as 18.9 keys have
        assertEquals(Moves.KEYS, ChunkAttention.cheaper(spec, 6, 18, KvType.F32));
        assertEquals(Moves.QUERIES, ChunkAttention.cheaper(spec, 6, 19, KvType.F32));
        assertEquals(Moves.KEYS, ChunkAttention.cheaper(spec, 6, 37, KvType.BF16), "16-bit keys are half as long");
        assertEquals(Moves.QUERIES, ChunkAttention.cheaper(spec, 6, 38, KvType.BF16));
        assertEquals(
                Moves.KEYS,
                ChunkAttention.cheaper(AttentionSpec.of(1, 1, 3).withValueDim(4), 7, 8, KvType.F32),
                "a tie");
        assertEquals(Moves.QUERIES, ChunkAttention.cheaper(spec, 1L << 40, 1L << 43, KvType.F32), "no overflow");

        for (int past : new int[] {12, 13}) {
            WholeProblem problem = WholeProblem.random(new SplittableRandom(1), spec, 1, 6, past, past + 6);
            float[] state = new float[problem.stateGradient().length];
            List<Long> sent = run(problem, 2, 4, null, state);
            problem.checkState("past of " + past + ": ", state, 2);
            assertEquals(past == 13, sent.get(0) == queryFloats / 2 * Float.BYTES, "queries move after 13: " + sent);
        }
    }

    @Test
    void shouldRefuseWhatItCannotMove() throws Exception {
        AttentionSpec spec = AttentionSpec.of(2, 1, 4);
        ChunkAttention chunk =
                new ChunkAttention(KERNEL, Communicators.inProcess(2, DEADLINE).get(0));
        Queries queries = new Queries(Queries.allocate(2 * 3 * 4), 1, 2, 3, 4, 0);
        AttentionState state = AttentionState.empty(1, 2, 3, 4);
        try (KvCache cache =
                new KvCache(new KvLayout(1, 1, 4, 4, KvType.F32, 8), new SequencePartition(8, 2), 0, 1L << 20)) {
            List<KvShard> shards = List.of(cache.shard(0));
            Queries masked = queries.withMask(AttentionMask.NONE.withKeys(new boolean[9]));
            String noMask = refused(() -> chunk.attend(spec, masked, 0, shards, state));
            assertTrue(noMask.contains("want AttentionMask.NONE"), noMask);
            AttentionSpec dropping = spec.withDropout(Dropout.of(0.5, 1, 0));
            String noDropout = refused(() -> chunk.attend(dropping, queries, 0, shards, state));
            assertTrue(noDropout.contains("want Dropout.NONE"), noDropout);
            String shapes = refused(() -> chunk.attend(spec, queries, 0, shards, AttentionState.empty(1, 2, 4, 4)));
            assertTrue(shapes.contains("queries=3, state=4"), shapes);
        }
    }

    private static String refused(Runnable call) {
        return assertThrows(IllegalArgumentException.class, call::run).getMessage();
    }

    /** Runs it on threads; returns what each rank sent. */
    private static List<Long> run(WholeProblem problem, int ranks, int pageSize, Moves moves, float[] state)
            throws Exception {
        List<Communicator> members = Communicators.inProcess(ranks, DEADLINE);
        return Ranks.run(ranks, rank -> {
            try (Communicator member = members.get(rank)) {
                attend(problem, member, pageSize, moves, state);
                long sent = member.traffic().payloadBytes();
                member.barrier();
                return sent;
            }
        });
    }

    /** One rank's part; writes its rows of the whole state. */
    private static void attend(WholeProblem problem, Communicator member, int pageSize, Moves moves, float[] whole) {
        AttentionSpec spec = problem.spec();
        int batch = problem.batch();
        int heads = spec.heads();
        int all = problem.queryCount();
        int count = all / member.worldSize();
        int first = member.rank() * count;
        FloatBuffer mine = Queries.allocate(batch * heads * count * spec.headDim());
        for (int o = 0; o < batch * heads; o++) {
            mine.put(problem.queries(), (o * all + first) * spec.headDim(), count * spec.headDim());
        }
        KvLayout layout = new KvLayout(1, spec.kvHeads(), spec.headDim(), spec.valueDim(), KvType.F32, pageSize);
        List<KvCache> caches = new ArrayList<>();
        long[] positions = new long[batch];
        for (int b = 0; b < batch; b++) {
            KvCache cache =
                    new KvCache(layout, new SequencePartition(pageSize, member.worldSize()), member.rank(), 1L << 30);
            FloatBuffer keys = rows(problem.keys(), b, problem, spec.headDim());
            cache.append(0, problem.keyCount(), keys, rows(problem.values(), b, problem, spec.valueDim()));
            caches.add(cache);
            positions[b] = problem.firstQuery() + first;
        }
        AttentionState state = AttentionState.empty(batch, heads, count, spec.valueDim());
        Moves moved = new ChunkAttention(KERNEL, member, moves)
                .attend(
                        spec,
                        new Queries(mine, batch, heads, count, spec.headDim(), positions),
                        (long) batch * problem.keyCount(),
                        caches.stream().map(cache -> cache.shard(0)).toList(),
                        state);
        assertTrue(moves == null || moved == moves);
        caches.forEach(KvCache::close);
        int width = spec.valueDim() + 1;
        for (int o = 0; o < batch * heads; o++) {
            state.rows().get(o * count * width, whole, (o * all + first) * width, count * width);
        }
    }

    /** From {@code [batch][kvHeads][keys][dim]} one batch row as a cache takes it, {@code [keys][kvHeads][dim]}. */
    private static FloatBuffer rows(float[] all, int b, WholeProblem problem, int dim) {
        int kvHeads = problem.spec().kvHeads();
        int keys = problem.keyCount();
        FloatBuffer rows = Queries.allocate(kvHeads * keys * dim);
        for (int key = 0; key < keys; key++) {
            for (int head = 0; head < kvHeads; head++) {
                rows.put(all, ((b * kvHeads + head) * keys + key) * dim, dim);
            }
        }
        return rows;
    }

    private static AttentionSpec spec(SplittableRandom random) {
        int[] heads = HEADS[random.nextInt(HEADS.length)];
        boolean causal = random.nextInt(4) > 0;
        AttentionSpec spec = AttentionSpec.of(heads[0], heads[1], DIMS[random.nextInt(DIMS.length)])
                .withValueDim(DIMS[random.nextInt(DIMS.length)])
                .withCausal(causal);
        return causal && random.nextInt(3) == 0 ? spec.withSlidingWindow(1 + random.nextInt(200)) : spec;
    }
}
