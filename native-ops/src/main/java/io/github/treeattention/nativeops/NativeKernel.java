package io.github.treeattention.nativeops;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.MaskTable;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionRows;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.Optional;

/** The C++ kernel of one instruction-set tier. Uses the library's thread pool; the result does not depend on its size. */
final class NativeKernel implements AttentionKernel {
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
        forward(spec, queries, null, shards, true, state.rows(), state.rows());
    }

    @Override
    public void forward(
            AttentionSpec spec, Queries queries, FloatBuffer source, List<KvShard> shards, AttentionRows rows) {
        rows.requireResultOf(spec, queries, source, shards);
        forward(spec, queries, source, shards, false, rows.out(), rows.lse());
    }

    private void forward(
            AttentionSpec spec,
            Queries queries,
            FloatBuffer source,
            List<KvShard> shards,
            boolean joined,
            FloatBuffer out,
            FloatBuffer lse) {
        Pages pages = Pages.of(shards);
        Tables tables = new Tables(spec, queries.mask());
        Bindings.check(Bindings.partial(
                shape(spec, queries, shards, joined),
                new double[] {spec.scale(), spec.softCap(), spec.dropout().rate()},
                tables.integers,
                tables.buffers,
                queries.values(),
                firstPositions(queries),
                pages.keys,
                pages.values,
                pages.places,
                pages.counts,
                source,
                out,
                lse));
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
        FloatBuffer rows = state.rows();
        backward(spec, queries, shards, true, rows, rows, stateGradient.rows(), stateGradient.rows(), gradients);
    }

    @Override
    public void backward(
            AttentionSpec spec,
            Queries queries,
            List<KvShard> shards,
            AttentionRows rows,
            AttentionRows rowGradients,
            AttentionGradients gradients) {
        rows.requireInputOf(spec, queries, shards, rowGradients, gradients);
        backward(
                spec,
                queries,
                shards,
                false,
                rows.out(),
                rows.lse(),
                rowGradients.out(),
                rowGradients.lse(),
                gradients);
    }

    private void backward(
            AttentionSpec spec,
            Queries queries,
            List<KvShard> shards,
            boolean joined,
            FloatBuffer out,
            FloatBuffer lse,
            FloatBuffer outGradient,
            FloatBuffer lseGradient,
            AttentionGradients gradients) {
        Pages pages = Pages.of(shards);
        Tables tables = new Tables(spec, queries.mask());
        FloatBuffer[] outputs = new FloatBuffer[1 + 2 * shards.size()];
        outputs[0] = gradients.queries();
        for (int b = 0; b < shards.size(); b++) {
            outputs[1 + b] = gradients.keys(b);
            outputs[1 + shards.size() + b] = gradients.values(b);
        }
        Bindings.check(Bindings.backward(
                shape(spec, queries, shards, joined),
                new double[] {spec.scale(), spec.softCap(), spec.dropout().rate()},
                tables.integers,
                tables.buffers,
                queries.values(),
                firstPositions(queries),
                pages.keys,
                pages.values,
                pages.places,
                pages.counts,
                out,
                lse,
                outGradient,
                lseGradient,
                outputs));
    }

    private static long[] firstPositions(Queries queries) {
        long[] firstPositions = new long[queries.batch()];
        for (int b = 0; b < firstPositions.length; b++) {
            firstPositions[b] = queries.firstPosition(b);
        }
        return firstPositions;
    }

    /** @param joined whether an lse stands behind each row of out, as in a state, or in an array of its own */
    private int[] shape(AttentionSpec spec, Queries queries, List<KvShard> shards, boolean joined) {
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
            spec.slidingWindow(),
            spec.dropout().layer(),
            spec.dropout().firstBatchRow(),
            joined ? spec.valueDim() + 1 : spec.valueDim(),
            joined ? spec.valueDim() + 1 : 1,
            joined ? spec.valueDim() : 0
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

    /** The dropout's seed and the tables of a mask. */
    private static final class Tables {
        private static final int INTEGERS = 6; // of a table

        final Buffer[] buffers = new Buffer[4];
        final long[] integers = new long[1 + INTEGERS * buffers.length];

        Tables(AttentionSpec spec, AttentionMask mask) {
            integers[0] = spec.dropout().seed();
            add(0, mask.keys());
            add(1, mask.visible());
            add(2, mask.bias());
            add(3, mask.ranges());
        }

        private void add(int index, Optional<? extends MaskTable<?>> given) {
            given.ifPresent(table -> {
                buffers[index] = table.values();
                long[] mine = {
                    table.values().capacity(),
                    table.rowIndex(0, 0, 0),
                    table.stride(0),
                    table.stride(1),
                    table.stride(2),
                    table.keyCount()
                };
                System.arraycopy(mine, 0, integers, 1 + index * INTEGERS, INTEGERS);
            });
        }
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
