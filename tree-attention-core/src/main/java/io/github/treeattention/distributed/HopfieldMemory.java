package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionEnergy;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.EnergyState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.ReduceOp;
import io.github.treeattention.kernel.AttentionKernel;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.Objects;
import java.util.stream.LongStream;

/**
 * An associative memory whose patterns are spread over the ranks: the modern continuous Hopfield network (Ramsauer et al.,
 * arXiv 2008.02217). A state {@code x} has the energy
 *
 * <pre>E(x) = -F(x) / beta + x.x / 2 + log(N) / beta + M^2 / 2,   F(x) = log sum_a exp(beta x.p_a)</pre>
 *
 * <p>over N patterns whose longest has length M, and the update {@code x <- dF/dx / beta = sum_a softmax_a p_a} is attention
 * with the patterns as keys and values. It never raises the energy: {@code F} is convex, so the update minimises an upper
 * bound that touches at {@code x}. {@code 0 <= E(x)} for {@code x} within the patterns' hull.
 *
 * <p>All ranks call the same methods in the same order with the same states, and get the same bits. Not thread-safe.
 */
public final class HopfieldMemory {
    private final int dim;
    private final double beta;
    private final double constant;
    private final Attention attention;

    /** Attention over all patterns, and F. */
    private interface Attention {
        void run(double[] states, int count, double[] out, double[] lse);
    }

    /**
     * One update of some states.
     *
     * @param states {@code [count][dim]}, after the update
     * @param energies of each state before the update
     */
    public record Update(
            @SuppressWarnings("ArrayRecordComponent") double[] states,
            @SuppressWarnings("ArrayRecordComponent") double[] energies) {}

    private HopfieldMemory(Communicator communicator, double[] patterns, int dim, double beta, Attention attention) {
        this.dim = dim;
        this.beta = beta;
        this.attention = attention;
        double longest = 0;
        for (int at = 0; at < patterns.length; at += dim) {
            longest = Math.max(longest, dot(patterns, at, patterns, at, dim));
        }
        ByteBuffer sizes = ByteBuffer.allocateDirect(2 * Double.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        sizes.putDouble(0, patterns.length / (double) dim).putDouble(Double.BYTES, longest);
        if (communicator.worldSize() > 1) {
            communicator.allReduce(sizes, new CountAndLargest());
        }
        double count = sizes.getDouble(0);
        if (count == 0) {
            throw new IllegalArgumentException("a memory needs patterns: want at least 1 over all ranks, got 0 on "
                    + communicator.worldSize() + " ranks");
        }
        this.constant = Math.log(count) / beta + sizes.getDouble(Double.BYTES) / 2;
    }

    /**
     * In float64, for studies and as the kernels' measure.
     *
     * @param patterns this rank's, {@code [n][dim]}, not copied; may be empty on some ranks
     * @param beta inverse temperature, above 0; the larger, the closer to the one best pattern
     * @throws IllegalArgumentException if the length is no multiple of {@code dim}, or no rank has a pattern
     */
    public static HopfieldMemory exact(Communicator communicator, double[] patterns, int dim, double beta) {
        AttentionSpec spec = spec(patterns, dim, beta);
        long[] positions = LongStream.range(0, patterns.length / dim).toArray();
        AttentionEnergy.Keys keys = AttentionEnergy.Keys.of(patterns, patterns, 1, dim, dim, positions);
        TreeEnergy tree = new TreeEnergy(communicator);
        return new HopfieldMemory(communicator, patterns, dim, beta, (states, count, out, lse) -> {
            AttentionEnergy energy = AttentionEnergy.of(spec, states, count, 0);
            EnergyState state = tree.evaluate(energy, keys, AttentionEnergy.Order.GRADIENT);
            for (int i = 0; i < count; i++) {
                lse[i] = state.value(0, i);
                for (int d = 0; d < dim; d++) {
                    out[i * dim + d] = state.sourceGradient(0, i, d);
                }
            }
        });
    }

    /**
     * In float32 on an attention kernel, for many patterns.
     *
     * @param patterns this rank's, {@code [n][dim]}; kept as float32
     * @param beta as in {@link #exact}
     * @throws IllegalArgumentException as in {@link #exact}
     */
    public static HopfieldMemory onKernel(
            AttentionKernel kernel, Communicator communicator, double[] patterns, int dim, double beta) {
        AttentionSpec spec = spec(patterns, dim, beta);
        int length = patterns.length / dim;
        KvLayout layout = new KvLayout(1, 1, dim, dim, KvType.F32, Math.max(1, length));
        ByteBuffer memory = ByteBuffer.allocateDirect(Math.multiplyExact(patterns.length, Float.BYTES))
                .order(ByteOrder.LITTLE_ENDIAN);
        memory.asFloatBuffer().put(floats(patterns));
        KvShard shard = KvShard.dense(layout, memory, memory, 0, length);
        TreeAttention tree = new TreeAttention(kernel, communicator);
        return new HopfieldMemory(communicator, patterns, dim, beta, (states, count, out, lse) -> {
            FloatBuffer queries = Queries.allocate(states.length).put(0, floats(states));
            AttentionState state = AttentionState.empty(1, 1, count, dim);
            tree.attend(spec, new Queries(queries, 1, 1, count, dim, 0), List.of(shard), state);
            for (int i = 0; i < count; i++) {
                lse[i] = state.lse(0, 0, i);
                for (int d = 0; d < dim; d++) {
                    out[i * dim + d] = state.out(0, 0, i, d);
                }
            }
        });
    }

    /**
     * Moves each state to the mean of the patterns under the softmax of its similarities.
     *
     * @param states {@code [count][dim]}, the same on every rank, at least one
     * @throws IllegalArgumentException if the length is no multiple of {@code dim}; nothing is sent then
     */
    public Update update(double[] states) {
        if (states.length == 0 || states.length % dim != 0) {
            throw new IllegalArgumentException(
                    "states must be [count][dim], at least one: want a multiple of " + dim + ", got " + states.length);
        }
        int count = states.length / dim;
        double[] next = new double[states.length];
        double[] energies = new double[count];
        attention.run(states, count, next, energies);
        for (int i = 0; i < count; i++) {
            energies[i] = dot(states, i * dim, states, i * dim, dim) / 2 - energies[i] / beta + constant;
        }
        return new Update(next, energies);
    }

    /**
     * Updates until no element of any state moves by more than {@code tolerance}, or {@code mostUpdates} times.
     *
     * @param states {@code [count][dim]}, the same on every rank
     * @return the states' last positions, {@code [count][dim]}
     * @throws IllegalArgumentException as in {@link #update}
     */
    public double[] retrieve(double[] states, int mostUpdates, double tolerance) {
        double[] at = states.clone();
        for (int i = 0; i < mostUpdates; i++) {
            double[] next = update(at).states();
            double largest = 0;
            for (int d = 0; d < next.length; d++) {
                largest = Math.max(largest, Math.abs(next[d] - at[d]));
            }
            at = next;
            if (largest <= tolerance) {
                break;
            }
        }
        return at;
    }

    private static AttentionSpec spec(double[] patterns, int dim, double beta) {
        Objects.requireNonNull(patterns, "patterns");
        if (!(beta > 0) || Double.isInfinite(beta)) {
            throw new IllegalArgumentException("beta must be above 0 and finite: got " + beta);
        }
        if (dim < 1 || patterns.length % dim != 0) {
            throw new IllegalArgumentException("patterns must be [n][dim] with dim at least 1: want a multiple of dim="
                    + dim + ", got " + patterns.length + " elements");
        }
        return AttentionSpec.of(1, 1, dim).withScale(beta);
    }

    private static float[] floats(double[] values) {
        float[] floats = new float[values.length];
        for (int i = 0; i < values.length; i++) {
            floats[i] = (float) values[i];
        }
        return floats;
    }

    private static double dot(double[] a, int atA, double[] b, int atB, int length) {
        double sum = 0;
        for (int i = 0; i < length; i++) {
            sum += a[atA + i] * b[atB + i];
        }
        return sum;
    }

    /** Pairs of a count, which adds, and a size, of which the largest counts. */
    private record CountAndLargest() implements ReduceOp {
        @Override
        public int blockLength() {
            return 2 * Double.BYTES;
        }

        @Override
        public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
            int at = accumulator.position();
            int in = incoming.position();
            accumulator.putDouble(at, accumulator.getDouble(at) + incoming.getDouble(in));
            accumulator.putDouble(at + 8, Math.max(accumulator.getDouble(at + 8), incoming.getDouble(in + 8)));
        }
    }
}
