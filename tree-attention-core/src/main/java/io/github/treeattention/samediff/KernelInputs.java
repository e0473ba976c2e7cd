package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/** A FLOAT problem as kernels take it, straight from the arrays' memory. Owns scratch memory until it is closed. */
final class KernelInputs implements AutoCloseable {
    private final AttentionProblem problem;
    private final KvLayout layout;
    private final List<INDArray> scratch = new ArrayList<>();

    KernelInputs(AttentionProblem problem) {
        AttentionSpec spec = problem.spec();
        this.problem = problem;
        this.layout = new KvLayout(1, spec.kvHeads(), spec.headDim(), spec.valueDim(), KvType.F32, problem.keys());
    }

    /** Whether kernels can serve this problem. */
    static boolean serves(AttentionProblem problem) {
        if (problem.q().type() != DataType.FLOAT) {
            return false;
        }
        AttentionSpec spec = problem.spec();
        int longest = Math.max(spec.headDim(), spec.valueDim() + 1);
        long largest = 4L
                * longest
                * Math.max((long) spec.heads() * problem.queries(), (long) spec.kvHeads() * problem.keys() * 2);
        return largest <= Integer.MAX_VALUE; // else one batch row is beyond what buffers and pages can address
    }

    /** How many batch rows fit one call. */
    int rowsAtOnce() {
        AttentionSpec spec = problem.spec();
        long rowBytes = 4L * spec.heads() * problem.queries() * Math.max(spec.headDim(), spec.valueDim() + 1);
        return (int) Math.max(1, Math.min(problem.batch(), Integer.MAX_VALUE / rowBytes));
    }

    /** The problem's spec for a call whose batch row 0 is the problem's row {@code first}. */
    AttentionSpec spec(int first) {
        Dropout dropout = problem.spec().dropout();
        return problem.spec().withDropout(dropout.withFirstBatchRow(dropout.firstBatchRow() + first));
    }

    Queries queries(int first, int count) {
        AttentionSpec spec = problem.spec();
        long rows = (long) spec.heads() * problem.queries();
        FloatBuffer values = problem.q()
                .bytes(first * rows * spec.headDim(), count * rows * spec.headDim())
                .asFloatBuffer();
        long[] positions = new long[count];
        Arrays.fill(positions, problem.queryOffset());
        return new Queries(values, count, spec.heads(), problem.queries(), spec.headDim(), positions)
                .withMask(problem.mask().slice(first, count, 0, problem.queries()));
    }

    List<KvShard> shards(int first, int count) {
        List<KvShard> shards = new ArrayList<>();
        for (int b = first; b < first + count; b++) {
            shards.add(shard(b));
        }
        return shards;
    }

    /** A state of these batch rows; what it holds is left over. */
    AttentionState state(int count) {
        AttentionSpec spec = problem.spec();
        INDArray memory = allocate((long) count * spec.heads() * problem.queries() * (spec.valueDim() + 1));
        return AttentionState.wrap(
                DenseArray.ofResult(memory).bytes(0, memory.length()),
                count,
                spec.heads(),
                problem.queries(),
                spec.valueDim());
    }

    /** Scratch memory, outside of workspaces, so that closing this gives it back. */
    @SuppressWarnings("try") // the scope is there to be closed
    INDArray allocate(long length) {
        try (var ignored = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces()) {
            INDArray memory = Nd4j.createUninitialized(DataType.FLOAT, length);
            scratch.add(memory);
            return memory;
        }
    }

    private KvShard shard(int b) {
        AttentionSpec spec = problem.spec();
        long keyLength = (long) spec.kvHeads() * problem.keys() * spec.headDim();
        long valueLength = (long) spec.kvHeads() * problem.keys() * spec.valueDim();
        return KvShard.dense(
                layout,
                problem.k().bytes(b * keyLength, keyLength),
                problem.v().bytes(b * valueLength, valueLength),
                0,
                problem.keys());
    }

    @Override
    public void close() {
        scratch.forEach(INDArray::close);
        scratch.clear();
    }
}
