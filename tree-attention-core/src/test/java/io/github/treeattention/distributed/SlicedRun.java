package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequenceSlice;
import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.Ranks;
import io.github.treeattention.collective.Traffic;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.WholeProblem;
import java.nio.FloatBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** A whole problem computed by {@link RingAttention} over threads that each hold a slice, put together again. */
final class SlicedRun {
    final float[] state;
    final float[] dq;
    final float[] dk;
    final float[] dv;
    final List<Traffic> forward = new ArrayList<>();
    final List<Traffic> backward = new ArrayList<>();
    final List<Long> heldForward = new ArrayList<>();
    final List<Long> heldBackward = new ArrayList<>();
    int hops;

    private final WholeProblem problem;
    private final SequenceSplit queries;
    private final SequenceSplit keys;
    private final KvType type;
    private final long[] documentStarts;

    private SlicedRun(
            WholeProblem problem, SequenceSplit queries, SequenceSplit keys, KvType type, long[] documentStarts) {
        this.type = type;
        this.documentStarts = documentStarts;
        this.problem = problem;
        this.queries = queries;
        this.keys = keys;
        state = new float[problem.stateGradient().length];
        dq = new float[problem.queries().length];
        dk = new float[problem.keys().length];
        dv = new float[problem.values().length];
    }

    /** One rank's part. */
    private record Part(
            AttentionState state,
            AttentionGradients gradients,
            Traffic forward,
            Traffic backward,
            long heldForward,
            long heldBackward,
            int hops) {}

    static SlicedRun of(AttentionKernel kernel, WholeProblem problem, SequenceSplit queries, SequenceSplit keys)
            throws Exception {
        return of(kernel, problem, queries, keys, KvType.F32);
    }

    /**
     * @param documentStarts of a packed problem, for the ring to make its mask of; none for the problem's own mask
     */
    static SlicedRun of(
            AttentionKernel kernel,
            WholeProblem problem,
            SequenceSplit queries,
            SequenceSplit keys,
            KvType type,
            long... documentStarts)
            throws Exception {
        SlicedRun run = new SlicedRun(problem, queries, keys, type, documentStarts);
        int worldSize = keys.worldSize();
        List<Communicator> members = Communicators.inProcess(worldSize, Duration.ofSeconds(30));
        List<Part> parts = Ranks.run(worldSize, rank -> {
            try (Communicator member = members.get(rank)) {
                Part part = run.part(kernel, member);
                member.barrier();
                return part;
            }
        });
        for (int rank = 0; rank < worldSize; rank++) {
            run.collect(rank, parts.get(rank));
        }
        return run;
    }

    private Part part(AttentionKernel kernel, Communicator member) {
        int rank = member.rank();
        int batch = problem.batch();
        int heads = problem.spec().heads();
        int kvHeads = problem.spec().kvHeads();
        int headDim = problem.spec().headDim();
        int valueDim = problem.spec().valueDim();
        SequenceSlice mine = queries.slice(rank);
        SequenceSlice myKeys = keys.slice(rank);
        AttentionInputs inputs = new AttentionInputs(
                batch,
                take(problem.queries(), batch * heads, problem.queryCount(), headDim, mine, problem.firstQuery()),
                take(problem.keys(), batch * kvHeads, problem.keyCount(), headDim, myKeys, 0),
                take(problem.values(), batch * kvHeads, problem.keyCount(), valueDim, myKeys, 0),
                problem.mask(Arrays.stream(mine.positions())
                        .mapToInt(position -> (int) (position - problem.firstQuery()))
                        .toArray()),
                List.of());
        if (documentStarts.length > 0) {
            inputs = inputs.withMask(AttentionMask.NONE).withDocuments(documentStarts);
        }
        AttentionState state = AttentionState.empty(batch, heads, mine.length(), valueDim);
        AttentionState stateGradient = AttentionState.empty(batch, heads, mine.length(), valueDim);
        FloatBuffer gradient = take(
                problem.stateGradient(), batch * heads, problem.queryCount(), valueDim + 1, mine, problem.firstQuery());
        stateGradient.rows().put(0, gradient, 0, gradient.capacity());
        RingAttention ring = new RingAttention(kernel, member, problem.spec(), queries, keys, type);
        ring.forward(inputs, state);
        Traffic forward = member.traffic();
        long held = ring.heldBytes();
        AttentionGradients gradients = zeros(batch, heads * mine.length() * headDim, kvHeads * myKeys.length());
        ring.backward(inputs, state, stateGradient, gradients);
        return new Part(
                state, gradients, forward, member.traffic().since(forward), held, ring.heldBytes(), ring.hops());
    }

    private AttentionGradients zeros(int batch, int queryFloats, int keyRows) {
        List<FloatBuffer> keyGradients = new ArrayList<>();
        List<FloatBuffer> valueGradients = new ArrayList<>();
        for (int b = 0; b < batch; b++) {
            keyGradients.add(Queries.allocate(keyRows * problem.spec().headDim()));
            valueGradients.add(Queries.allocate(keyRows * problem.spec().valueDim()));
        }
        return new AttentionGradients(Queries.allocate(batch * queryFloats), keyGradients, valueGradients);
    }

    private void collect(int rank, Part part) {
        int batch = problem.batch();
        int heads = problem.spec().heads();
        int kvHeads = problem.spec().kvHeads();
        SequenceSlice mine = queries.slice(rank);
        SequenceSlice myKeys = keys.slice(rank);
        long first = problem.firstQuery();
        int count = problem.queryCount();
        put(part.state.rows(), state, batch * heads, 0, count, problem.spec().valueDim() + 1, mine, first);
        put(
                part.gradients.queries(),
                dq,
                batch * heads,
                0,
                count,
                problem.spec().headDim(),
                mine,
                first);
        for (int b = 0; b < batch; b++) {
            int row = b * kvHeads;
            put(
                    part.gradients.keys(b),
                    dk,
                    kvHeads,
                    row,
                    problem.keyCount(),
                    problem.spec().headDim(),
                    myKeys,
                    0);
            put(
                    part.gradients.values(b),
                    dv,
                    kvHeads,
                    row,
                    problem.keyCount(),
                    problem.spec().valueDim(),
                    myKeys,
                    0);
        }
        forward.add(part.forward);
        backward.add(part.backward);
        heldForward.add(part.heldForward);
        heldBackward.add(part.heldBackward);
        hops = part.hops;
    }

    /** Rows of a slice out of {@code [outer][total][width]}, where column 0 stands at a position. */
    private static FloatBuffer take(
            float[] whole, int outer, int total, int width, SequenceSlice slice, long firstPosition) {
        FloatBuffer part = Queries.allocate(outer * slice.length() * width);
        for (int o = 0; o < outer; o++) {
            for (long position : slice.positions()) {
                part.put(whole, (o * total + (int) (position - firstPosition)) * width, width);
            }
        }
        return part;
    }

    private static void put(
            FloatBuffer part,
            float[] whole,
            int outer,
            int firstOuter,
            int total,
            int width,
            SequenceSlice slice,
            long firstPosition) {
        FloatBuffer from = part.duplicate().clear();
        for (int o = 0; o < outer; o++) {
            for (long position : slice.positions()) {
                from.get(whole, ((firstOuter + o) * total + (int) (position - firstPosition)) * width, width);
            }
        }
    }
}
