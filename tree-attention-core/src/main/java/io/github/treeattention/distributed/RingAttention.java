package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Objects;

/**
 * Ring Attention (Liu et al., arXiv 2310.01889, Algorithm 1) for prefill and training: each rank holds a slice of the
 * queries and a slice of the keys and values; queries stay, keys and values go round in one fused buffer a hop, heads not
 * expanded, and each rank merges the states of its queries over the blocks that come by. While a block is computed on, a
 * thread of the call's own passes it on and receives the next; it is gone when the call returns. No rank ever holds more
 * than two blocks. {@link #backward} sends keys and values round again, and with them the float32 sums of their gradients, which
 * end at the rank that owns the keys.
 *
 * <p>Blocks that a rank's queries cannot see are passed on without being computed, and the ring stops after the last hop
 * that any rank needs: with a sliding window or short documents that is soon. How work is shared under a causal mask is the
 * {@link SequenceSplit}'s matter.
 *
 * <p>Queries and keys may be split differently, and be of different length (cross attention, or a chunk of new queries
 * over a longer past), as long as a causal mask does not meet two different steps. Masks and dropout speak of global
 * positions, so they do not depend on the split; with striped slices only masks of keys and ranges can be used. All ranks must construct it with equal
 * arguments and call the same methods in the same order. Buffers are kept from call to call. Not thread-safe.
 */
public final class RingAttention {
    private final AttentionKernel kernel;
    private final AttentionSpec spec;
    private final SequenceSplit queries;
    private final SequenceSplit keys;
    private final int rank;
    private final int mostHops;
    private final KvType type;
    private final RingBlocks ring;
    private KvCargo cargo;
    private List<Long> documentStarts = List.of();
    private int lastHop;
    private int batch;
    private List<QueryRun> runs = List.of();
    private ByteBuffer scratch;

    /** Self-attention: queries and keys split alike. */
    public RingAttention(AttentionKernel kernel, Communicator communicator, AttentionSpec spec, SequenceSplit split) {
        this(kernel, communicator, spec, split, split);
    }

    /** Keys and values that travel in float32. */
    public RingAttention(
            AttentionKernel kernel,
            Communicator communicator,
            AttentionSpec spec,
            SequenceSplit queries,
            SequenceSplit keys) {
        this(kernel, communicator, spec, queries, keys, KvType.F32);
    }

    /**
     * @param queries where the queries stand
     * @param keys where the keys stand
     * @param type in which keys and values go round and are attended to: those given are rounded to it once, this rank's own
     *     too, so nothing changes where they were of that type before. Gradients stay float32
     * @throws IllegalArgumentException if a split is not for as many ranks as there are, or a causal mask is to compare
     *     positions that go up in different steps
     */
    public RingAttention(
            AttentionKernel kernel,
            Communicator communicator,
            AttentionSpec spec,
            SequenceSplit queries,
            SequenceSplit keys,
            KvType type) {
        this(kernel, spec, queries, keys, type, new RingBlocks(communicator));
    }

    private RingAttention(
            AttentionKernel kernel,
            AttentionSpec spec,
            SequenceSplit queries,
            SequenceSplit keys,
            KvType type,
            RingBlocks ring) {
        this.kernel = Objects.requireNonNull(kernel, "kernel");
        this.spec = Objects.requireNonNull(spec, "spec");
        this.queries = Objects.requireNonNull(queries, "queries");
        this.keys = Objects.requireNonNull(keys, "keys");
        this.ring = ring;
        this.rank = ring.rank();
        requireEqual("ranks of the queries' split and of the group", queries.worldSize(), ring.worldSize());
        requireEqual("ranks of the keys' split and of the group", keys.worldSize(), ring.worldSize());
        Reach.requireComparable(spec, queries, keys);
        this.mostHops = Reach.lastHop(spec, queries, keys, List.of());
        this.lastHop = mostHops;
        this.type = Objects.requireNonNull(type, "type");
    }

    /**
     * Another attention of the same group, in this one's buffers, which it enlarges where it must: for layers, batches and
     * draws of dropout that take turns. Neither may run while the other does, and {@link #trace} speaks of the latest call
     * of both.
     *
     * @throws IllegalArgumentException as the constructors do
     */
    public RingAttention with(AttentionSpec newSpec, SequenceSplit newQueries, SequenceSplit newKeys) {
        return new RingAttention(kernel, newSpec, newQueries, newKeys, type, ring);
    }

    /**
     * Computes the state of this rank's queries over the keys of all ranks.
     *
     * @param state {@code [batch, heads, slice of queries][valueDim + 1]}, overwritten
     * @throws IllegalArgumentException if shapes disagree; nothing is sent then
     * @throws io.github.treeattention.collective.CollectiveException if a peer dies or stalls
     */
    public void forward(AttentionInputs inputs, AttentionState state) {
        AttentionInputs whole = begin(inputs, state);
        state.clear();
        runs.forEach(run -> run.load(whole, state));
        cargo.load(whole, null);
        ring.begin(cargo, lastHop, false);
        try {
            for (int hop = 0; hop <= ring.lastHop(); hop++) {
                ring.passKeysAndValues(hop);
                KvBlock block = cargo.block(ring.holder(hop));
                ring.compute(() -> runs.forEach(run -> run.attend(block, ring.current(), scratch)));
                ring.turn(hop);
            }
        } finally {
            ring.end();
        }
        runs.forEach(QueryRun::storeState);
    }

    /**
     * Adds the gradients of a loss in this rank's queries, keys and values.
     *
     * @param inputs those of {@link #forward}
     * @param state what {@link #forward} left, or any equal state
     * @param stateGradient the loss's gradient in each element of this rank's state: {@code d loss / d out}, then
     *     {@code d loss / d lse} (0 where a loss does not read the lse)
     * @param gradients of this rank's slice, added to; keys and values of a batch row are
     *     {@code [kvHeads][slice of keys][dim]}
     * @throws IllegalArgumentException if shapes disagree; nothing is sent then
     * @throws io.github.treeattention.collective.CollectiveException if a peer dies or stalls
     */
    public void backward(
            AttentionInputs inputs, AttentionState state, AttentionState stateGradient, AttentionGradients gradients) {
        AttentionInputs whole = begin(inputs, state);
        requireMatching(whole, stateGradient);
        inputs.requireRoom(spec, queries.slice(rank), keys.slice(rank), gradients);
        runs.forEach(run -> run.load(whole, state, stateGradient, gradients.queries()));
        cargo.load(whole, gradients);
        ring.begin(cargo, lastHop, true);
        try {
            for (int hop = 0; hop <= ring.lastHop(); hop++) {
                ring.passWithGradients(hop);
                KvBlock block = cargo.block(ring.holder(hop));
                int here = hop;
                ring.compute(() -> {
                    ByteBuffer own = ring.clearedGradients(here);
                    runs.forEach(run -> run.backward(block, ring.current(), own));
                });
                ring.addGradients(hop);
                ring.turn(hop);
            }
            ring.sendGradientsHome();
        } finally {
            ring.end();
        }
        runs.forEach(QueryRun::storeGradients);
    }

    /** Checks a call's arguments, and finds out how far its ring goes; the inputs with documents in their mask. */
    private AttentionInputs begin(AttentionInputs inputs, AttentionState state) {
        AttentionInputs whole = inputs.documentStarts().isEmpty()
                ? inputs
                : new AttentionInputs(
                        inputs.batch(),
                        inputs.queries(),
                        inputs.keys(),
                        inputs.values(),
                        inputs.maskOf(queries.slice(rank)),
                        List.of());
        requireMatching(whole, state);
        if (!documentStarts.equals(inputs.documentStarts())) {
            lastHop = Reach.lastHop(spec, queries, keys, inputs.documentStarts());
            documentStarts = inputs.documentStarts();
        }
        fit(inputs.batch());
        return whole;
    }

    /** Runs, and a second state for the longest of them where there is more than one block to see. */
    private void fit(int newBatch) {
        if (batch != newBatch) {
            batch = newBatch;
            cargo = new KvCargo(spec, batch, keys, type, rank);
            runs = QueryRun.of(kernel, spec, batch, queries.slice(rank));
        }
        int longest = runs.stream().mapToInt(QueryRun::length).max().orElse(0);
        int bytes = mostHops == 0 ? 0 : AttentionState.byteLength(batch, spec.heads(), longest, spec.valueDim());
        scratch = ring.scratch(bytes);
    }

    /**
     * How many hops the keys and values make: at most {@code worldSize - 1}, fewer if a sliding window, or in the latest call
     * documents, end them sooner.
     */
    public int hops() {
        return lastHop;
    }

    /**
     * Bytes that it holds from call to call besides its caller's arrays, those that it shares included. They depend on the slice alone, so with a budget for each
     * rank the context grows with the ranks.
     */
    public long heldBytes() {
        return ring.bytes() + runs.stream().mapToLong(QueryRun::bytes).sum();
    }

    /** When the hops of the latest call ran, on this rank: whether exchange and computation overlapped. */
    public List<RingHop> trace() {
        return ring.trace();
    }

    private void requireMatching(AttentionInputs inputs, AttentionState state) {
        inputs.requireRoom(spec, queries.slice(rank), keys.slice(rank));
        inputs.requireMask(spec, queries.slice(rank), keys);
        requireEqual("batch of inputs and state", inputs.batch(), state.batch());
        requireEqual("heads of spec and state", spec.heads(), state.heads());
        requireEqual(
                "queries of this rank's slice and of the state",
                queries.slice(rank).length(),
                state.queries());
        requireEqual("valueDim of spec and state", spec.valueDim(), state.valueDim());
    }

    private static void requireEqual(String what, int a, int b) {
        if (a != b) {
            throw new IllegalArgumentException(what + " must be equal: got " + a + " and " + b);
        }
    }
}
