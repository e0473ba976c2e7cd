package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * A FLOAT problem as kernels take it, straight from the arrays' memory. Kernels know no key mask: a row whose visible
 * keys are a prefix becomes a shorter shard, other rows have theirs gathered, which is exact as long as no mask by
 * position tells the gathered keys apart. Owns scratch memory until it is closed.
 */
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
        if (largest > Integer.MAX_VALUE) {
            return false; // one batch row is beyond what buffers and pages can address
        }
        for (int b = 0; spec.causal() && b < problem.batch(); b++) {
            if (!problem.mask().isOneStretch(b)) {
                return false;
            }
        }
        return true;
    }

    /** How many batch rows fit one call. */
    int rowsAtOnce() {
        AttentionSpec spec = problem.spec();
        long rowBytes = 4L * spec.heads() * problem.queries() * Math.max(spec.headDim(), spec.valueDim() + 1);
        return (int) Math.max(1, Math.min(problem.batch(), Integer.MAX_VALUE / rowBytes));
    }

    Queries queries(int first, int count) {
        AttentionSpec spec = problem.spec();
        long rows = (long) spec.heads() * problem.queries();
        FloatBuffer values = problem.q()
                .bytes(first * rows * spec.headDim(), count * rows * spec.headDim())
                .asFloatBuffer();
        long[] positions = new long[count];
        Arrays.fill(positions, problem.queryOffset() + shift());
        return new Queries(values, count, spec.heads(), problem.queries(), spec.headDim(), positions);
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
                DenseArray.of(memory).bytes(0, memory.length()),
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
        KeyMask mask = problem.mask();
        int visible = mask.count(b);
        if (visible == 0 || (mask.first(b) == 0 && mask.isOneStretch(b))) {
            return KvShard.dense(
                    layout,
                    problem.k().bytes(b * keyLength, keyLength),
                    problem.v().bytes(b * valueLength, valueLength),
                    shift(),
                    visible);
        }
        return KvShard.dense(
                layout,
                gather(problem.k(), b, spec.headDim()),
                gather(problem.v(), b, spec.valueDim()),
                mask.first(b) + shift(),
                visible);
    }

    /** Where the first key is, so that the first query is at no negative position. */
    private long shift() {
        return Math.max(0, -problem.queryOffset());
    }

    /** The visible rows of each head, moved to its front. */
    private ByteBuffer gather(DenseArray source, int b, int dim) {
        int kvHeads = problem.spec().kvHeads();
        int keys = problem.keys();
        INDArray copy = allocate((long) kvHeads * keys * dim);
        ByteBuffer to = DenseArray.of(copy).bytes(0, copy.length());
        ByteBuffer from = source.bytes((long) b * copy.length(), copy.length());
        int rowBytes = dim * Float.BYTES;
        for (int head = 0; head < kvHeads; head++) {
            int at = head * keys * rowBytes;
            for (int key = 0; key < keys; key++) {
                if (problem.mask().sees(b, key)) {
                    to.put(at, from, (head * keys + key) * rowBytes, rowBytes);
                    at += rowBytes;
                }
            }
        }
        return to;
    }

    @Override
    public void close() {
        scratch.forEach(INDArray::close);
        scratch.clear();
    }
}
