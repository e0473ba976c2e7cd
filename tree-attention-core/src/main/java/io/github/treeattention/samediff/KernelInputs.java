package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionSpec;
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

/** A FLOAT problem as kernels take it, straight from the arrays' memory, which must stay reachable. */
final class KernelInputs {
    private final AttentionProblem problem;
    private final KvLayout layout;

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
        FloatBuffer values = rows(problem.q(), spec.headDim(), first, count);
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

    /** These batch rows of {@code array [batch, heads, queries, columns]}; null for no array. */
    FloatBuffer rows(DenseArray array, int columns, int first, int count) {
        if (array == null) {
            return null;
        }
        long length = (long) problem.spec().heads() * problem.queries() * columns;
        return array.bytes(first * length, count * length).asFloatBuffer();
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
}
