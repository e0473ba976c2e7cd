package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.SequenceSlice;
import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.kernel.WholeProblem;
import java.nio.ByteBuffer;
import java.nio.DoubleBuffer;

/**
 * One rank of a ring in float64: the schedule of {@link RingAttention}, its hops, its skipping and its messages, with plain
 * loops in the place of kernels. A block is {@code [batch][kvHeads][slice][headDim + valueDim]}. Rows of the whole problem
 * that are not this rank's stay 0.
 */
final class DoubleRing implements RingCargo {
    final double[] state;
    final double[] dq;
    final double[] dk;
    final double[] dv;

    private final WholeProblem problem;
    private final AttentionSpec spec;
    private final SequenceSplit split;
    private final int rank;
    private final RingBlocks ring;
    private final int hops;
    private final int width;

    DoubleRing(WholeProblem problem, SequenceSplit split, Communicator member) {
        this.problem = problem;
        this.spec = problem.spec();
        this.split = split;
        this.rank = member.rank();
        this.ring = new RingBlocks(member);
        this.hops = new RingAttention(AttentionKernels.named("java"), member, spec, split).hops();
        this.width = spec.headDim() + spec.valueDim();
        state = new double[problem.stateGradient().length];
        dq = new double[problem.queries().length];
        dk = new double[problem.keys().length];
        dv = new double[problem.values().length];
    }

    private interface Pair {
        /** A query's row of the whole, and a key's position, batch row, head and place in the block. */
        void meet(int row, int kvRow, int blockRow, int position, double bias);
    }

    void forward() {
        for (int row = 0; row < state.length / (spec.valueDim() + 1); row++) {
            state[row * (spec.valueDim() + 1) + spec.valueDim()] = Double.NEGATIVE_INFINITY;
        }
        ring.begin(this, hops, false);
        for (int hop = 0; hop <= hops; hop++) {
            ring.passKeysAndValues(hop);
            DoubleBuffer block = ring.current().asDoubleBuffer();
            int holder = ring.holder(hop);
            ring.compute(() -> pairs(holder, (row, kvRow, blockRow, position, bias) -> {
                double score = score(row, block, blockRow) + bias;
                merge(row, score, problem.kept(row)[position], block, blockRow);
            }));
            ring.turn(hop);
        }
        ring.end();
    }

    void backward() {
        ring.begin(this, hops, true);
        for (int hop = 0; hop <= hops; hop++) {
            ring.passWithGradients(hop);
            DoubleBuffer block = ring.current().asDoubleBuffer();
            int holder = ring.holder(hop);
            DoubleBuffer own = ring.clearedGradients(hop).asDoubleBuffer();
            ring.compute(() -> pairs(
                    holder,
                    (row, kvRow, blockRow, position, bias) -> slope(row, blockRow, position, bias, block, own)));
            ring.addGradients(hop);
            ring.turn(hop);
        }
        ring.sendGradientsHome();
        ring.end();
    }

    /** All pairs of own queries and a block's keys that a mask leaves; runs that see nothing are skipped as they are there. */
    private void pairs(int holder, Pair pair) {
        SequenceSlice keys = split.slice(holder);
        long[] positions = keys.positions();
        for (int outer = 0; outer < problem.batch() * spec.heads(); outer++) {
            int b = outer / spec.heads();
            int kvHead = outer % spec.heads() / spec.groupSize();
            for (SequenceSlice.Run run : split.slice(rank).runs()) {
                for (int i = 0; Reach.sees(spec, run, keys) && i < run.length(); i++) {
                    int row = outer * problem.queryCount() + (int) (run.start() + (long) i * run.step());
                    float[] biases = problem.biases(row);
                    for (int j = 0; j < positions.length; j++) {
                        int position = (int) positions[j];
                        if (biases[position] > Float.NEGATIVE_INFINITY) {
                            int kvRow = b * spec.kvHeads() + kvHead;
                            pair.meet(row, kvRow, (kvRow * positions.length + j) * width, position, biases[position]);
                        }
                    }
                }
            }
        }
    }

    private double score(int row, DoubleBuffer block, int at) {
        double dot = 0;
        for (int d = 0; d < spec.headDim(); d++) {
            dot += problem.queries()[row * spec.headDim() + d] * block.get(at + d);
        }
        dot *= spec.scale();
        return spec.softCap() > 0 ? spec.softCap() * Math.tanh(dot / spec.softCap()) : dot;
    }

    private void merge(int row, double score, double kept, DoubleBuffer block, int at) {
        int to = row * (spec.valueDim() + 1);
        double before = state[to + spec.valueDim()];
        double max = Math.max(before, score);
        double lse = max + Math.log(Math.exp(before - max) + Math.exp(score - max));
        for (int d = 0; d < spec.valueDim(); d++) {
            state[to + d] = Math.exp(before - lse) * state[to + d]
                    + Math.exp(score - lse) * kept * block.get(at + spec.headDim() + d);
        }
        state[to + spec.valueDim()] = lse;
    }

    private void slope(int row, int at, int position, double bias, DoubleBuffer block, DoubleBuffer own) {
        int valueDim = spec.valueDim();
        int stateAt = row * (valueDim + 1);
        double capped = score(row, block, at);
        double weight = Math.exp(capped + bias - state[stateAt + valueDim]);
        double kept = problem.kept(row)[position];
        double slope = problem.stateGradient()[stateAt + valueDim];
        for (int d = 0; d < valueDim; d++) {
            double dOut = problem.stateGradient()[stateAt + d];
            slope += dOut * (kept * block.get(at + spec.headDim() + d) - state[stateAt + d]);
            add(own, at + spec.headDim() + d, weight * kept * dOut);
        }
        double flat = spec.softCap() > 0 ? 1 - Math.pow(capped / spec.softCap(), 2) : 1;
        double ofDot = weight * slope * flat * spec.scale();
        for (int d = 0; d < spec.headDim(); d++) {
            dq[row * spec.headDim() + d] += ofDot * block.get(at + d);
            add(own, at + d, ofDot * problem.queries()[row * spec.headDim() + d]);
        }
    }

    private static void add(DoubleBuffer to, int at, double addend) {
        to.put(at, to.get(at) + addend);
    }

    @Override
    public int bytes(int holder) {
        return problem.batch() * spec.kvHeads() * split.slice(holder).length() * width * Double.BYTES;
    }

    @Override
    public int gradientBytes(int holder) {
        return bytes(holder);
    }

    @Override
    public void encode(ByteBuffer message) {
        DoubleBuffer to = message.asDoubleBuffer();
        for (int kvRow = 0; kvRow < problem.batch() * spec.kvHeads(); kvRow++) {
            for (long position : split.slice(rank).positions()) {
                int row = kvRow * problem.keyCount() + (int) position;
                for (int d = 0; d < spec.headDim(); d++) {
                    to.put(problem.keys()[row * spec.headDim() + d]);
                }
                for (int d = 0; d < spec.valueDim(); d++) {
                    to.put(problem.values()[row * spec.valueDim() + d]);
                }
            }
        }
    }

    @Override
    public void add(ByteBuffer addend, ByteBuffer sum) {
        for (int i = 0; i < addend.remaining(); i += Double.BYTES) {
            double both = sum.getDouble(sum.position() + i) + addend.getDouble(addend.position() + i);
            sum.putDouble(sum.position() + i, both);
        }
    }

    @Override
    public void deliver(ByteBuffer message) {
        DoubleBuffer from = message.asDoubleBuffer();
        for (int kvRow = 0; kvRow < problem.batch() * spec.kvHeads(); kvRow++) {
            for (long position : split.slice(rank).positions()) {
                int row = kvRow * problem.keyCount() + (int) position;
                from.get(dk, row * spec.headDim(), spec.headDim());
                from.get(dv, row * spec.valueDim(), spec.valueDim());
            }
        }
    }
}
