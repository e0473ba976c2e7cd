package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * FLOAT attention through the fastest kernel, straight from the arrays' memory. Kernels know no key mask: a row whose
 * visible keys are a prefix becomes a shorter shard, other rows have theirs gathered, which is exact as long as no mask
 * by position tells the gathered keys apart.
 */
final class KernelForward {
    private final AttentionProblem problem;
    private final AttentionKernel kernel;
    private final KvLayout layout;
    private final List<INDArray> gathered = new ArrayList<>();

    private KernelForward(AttentionProblem problem, AttentionKernel kernel) {
        AttentionSpec spec = problem.spec();
        this.problem = problem;
        this.kernel = kernel;
        this.layout = new KvLayout(1, spec.kvHeads(), spec.headDim(), spec.valueDim(), KvType.F32, problem.keys());
    }

    /** Whether {@link #run} can serve this problem. */
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

    /** Fills {@code out [batch, heads, queries, valueDim]} and {@code lse [batch, heads, queries]}. */
    static void run(AttentionProblem problem, DenseArray out, DenseArray lse) {
        KernelForward pass = new KernelForward(problem, AttentionKernels.choose());
        AttentionSpec spec = problem.spec();
        int rows = spec.heads() * problem.queries();
        long stateBytes = 4L * rows * (spec.valueDim() + 1);
        int atOnce = (int) Math.max(
                1, Math.min(problem.batch(), Integer.MAX_VALUE / Math.max(stateBytes, 4L * rows * spec.headDim())));
        for (int first = 0; first < problem.batch(); first += atOnce) {
            pass.batchRows(first, Math.min(atOnce, problem.batch() - first), out, lse);
        }
        pass.gathered.forEach(INDArray::close);
    }

    private void batchRows(int first, int count, DenseArray out, DenseArray lse) {
        AttentionSpec spec = problem.spec();
        long rows = (long) spec.heads() * problem.queries();
        FloatBuffer values = problem.q()
                .bytes(first * rows * spec.headDim(), count * rows * spec.headDim())
                .asFloatBuffer();
        long[] positions = new long[count];
        Arrays.fill(positions, problem.queryOffset());
        Queries queries = new Queries(values, count, spec.heads(), problem.queries(), spec.headDim(), positions);
        List<KvShard> shards = new ArrayList<>();
        for (int b = first; b < first + count; b++) {
            shards.add(shard(b));
        }
        INDArray memory = scratch(count * rows * (spec.valueDim() + 1));
        AttentionState state = AttentionState.wrap(
                DenseArray.of(memory).bytes(0, memory.length()),
                count,
                spec.heads(),
                problem.queries(),
                spec.valueDim());
        kernel.partial(spec, queries, shards, state);
        split(state.rows(), out, lse, first * rows, count * rows);
        memory.close();
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
                    0,
                    visible);
        }
        return KvShard.dense(
                layout,
                gather(problem.k(), b, spec.headDim()),
                gather(problem.v(), b, spec.valueDim()),
                mask.first(b),
                visible);
    }

    /** The visible rows of each head, moved to its front. */
    private ByteBuffer gather(DenseArray source, int b, int dim) {
        int kvHeads = problem.spec().kvHeads();
        int keys = problem.keys();
        INDArray copy = scratch((long) kvHeads * keys * dim);
        gathered.add(copy);
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

    private static void split(FloatBuffer rows, DenseArray out, DenseArray lse, long firstRow, long count) {
        int valueDim = (int) out.array().size(3);
        FloatBuffer outValues = out.bytes(firstRow * valueDim, count * valueDim).asFloatBuffer();
        FloatBuffer lseValues = lse.bytes(firstRow, count).asFloatBuffer();
        for (int row = 0; row < count; row++) {
            int at = row * (valueDim + 1);
            outValues.put(row * valueDim, rows, at, valueDim);
            lseValues.put(row, rows.get(at + valueDim));
        }
    }

    /** Outside of workspaces, so that closing it gives the memory back. */
    @SuppressWarnings("try") // the scope is there to be closed
    private static INDArray scratch(long length) {
        try (var ignored = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces()) {
            return Nd4j.createUninitialized(DataType.FLOAT, length);
        }
    }
}
