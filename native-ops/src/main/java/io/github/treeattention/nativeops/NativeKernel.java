package io.github.treeattention.nativeops;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.List;

/**
 * The C++ kernel of one instruction-set tier. Uses the library's thread pool; the result does not depend on its size. Calls
 * with a mask or dropout go to the Java kernel, for the C++ kernels do not know them yet.
 */
final class NativeKernel implements AttentionKernel {
    private static final AttentionKernel JAVA = AttentionKernels.named("java");

    private final int isa;

    NativeKernel(int isa) {
        this.isa = isa;
    }

    @Override
    public String description() {
        return "native (" + Isa.of(isa == Bindings.ISA_ACTIVE ? Bindings.activeIsa() : isa) + ")";
    }

    @Override
    public void partial(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state) {
        AttentionKernel.requireMatching(spec, queries, shards, state);
        if (needsJava(spec, queries)) {
            JAVA.partial(spec, queries, shards, state);
            return;
        }
        Pages pages = Pages.of(shards);
        Bindings.check(Bindings.partial(
                shape(spec, queries, shards),
                spec.scale(),
                spec.softCap(),
                queries.values(),
                firstPositions(queries),
                pages.keys,
                pages.values,
                pages.places,
                pages.counts,
                state.rows()));
    }

    @Override
    public void backward(
            AttentionSpec spec,
            Queries queries,
            List<KvShard> shards,
            AttentionState state,
            AttentionState stateGradient,
            AttentionGradients gradients) {
        AttentionKernel.requireMatching(spec, queries, shards, state, stateGradient, gradients);
        if (needsJava(spec, queries)) {
            JAVA.backward(spec, queries, shards, state, stateGradient, gradients);
            return;
        }
        Pages pages = Pages.of(shards);
        FloatBuffer[] outputs = new FloatBuffer[1 + 2 * shards.size()];
        outputs[0] = gradients.queries();
        for (int b = 0; b < shards.size(); b++) {
            outputs[1 + b] = gradients.keys(b);
            outputs[1 + shards.size() + b] = gradients.values(b);
        }
        Bindings.check(Bindings.backward(
                shape(spec, queries, shards),
                spec.scale(),
                spec.softCap(),
                queries.values(),
                firstPositions(queries),
                pages.keys,
                pages.values,
                pages.places,
                pages.counts,
                state.rows(),
                stateGradient.rows(),
                outputs));
    }

    private static boolean needsJava(AttentionSpec spec, Queries queries) {
        return queries.mask() != AttentionMask.NONE || spec.dropout().isActive();
    }

    private static long[] firstPositions(Queries queries) {
        long[] firstPositions = new long[queries.batch()];
        for (int b = 0; b < firstPositions.length; b++) {
            firstPositions[b] = queries.firstPosition(b);
        }
        return firstPositions;
    }

    private int[] shape(AttentionSpec spec, Queries queries, List<KvShard> shards) {
        int[] fixed = {
            isa,
            queries.batch(),
            spec.heads(),
            spec.kvHeads(),
            queries.count(),
            spec.headDim(),
            spec.valueDim(),
            typeCode(shards.get(0).layout().type()),
            spec.causal() ? 1 : 0,
            spec.slidingWindow()
        };
        int[] shape = new int[fixed.length + shards.size()];
        System.arraycopy(fixed, 0, shape, 0, fixed.length);
        for (int b = 0; b < shards.size(); b++) {
            shape[fixed.length + b] = shards.get(b).layout().pageSize();
        }
        return shape;
    }

    /** The type's {@code ta_kv_type}. */
    private static int typeCode(KvType type) {
        return switch (type) {
            case F32 -> 0;
            case BF16 -> 1;
            case F16 -> 2;
        };
    }

    /** The pages of all shards, one after another. */
    private static final class Pages {
        final ByteBuffer[] keys;
        final ByteBuffer[] values;
        final long[] places; // [page][start, length, key offset, value offset]
        final int[] counts; // [shard]

        private Pages(int pages, int shards) {
            keys = new ByteBuffer[pages];
            values = new ByteBuffer[pages];
            places = new long[4 * pages];
            counts = new int[shards];
        }

        static Pages of(List<KvShard> shards) {
            int total = 0;
            for (KvShard shard : shards) {
                total += shard.pageCount();
            }
            Pages pages = new Pages(total, shards.size());
            int at = 0;
            for (int b = 0; b < shards.size(); b++) {
                KvShard shard = shards.get(b);
                pages.counts[b] = shard.pageCount();
                for (int page = 0; page < shard.pageCount(); page++, at++) {
                    pages.keys[at] = shard.keyPage(page);
                    pages.values[at] = shard.valuePage(page);
                    pages.places[4 * at] = shard.start(page);
                    pages.places[4 * at + 1] = shard.length(page);
                    pages.places[4 * at + 2] = shard.keyOffset();
                    pages.places[4 * at + 3] = shard.valueOffset();
                }
            }
            return pages;
        }
    }
}
