package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequenceSlice;
import io.github.treeattention.cache.SequenceSlice.Run;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * Where things lie in the message that carries a slice's keys and values round the ring, and in the one that carries
 * their gradients home. Everybody knows every slice, so neither has a header.
 *
 * <pre>
 * keys and values: [batch][run] x | keys [kvHeads][longest run][headDim] | values [kvHeads][longest run][valueDim] |
 * gradients:       [batch] x | keys [kvHeads][slice][headDim] | values [kvHeads][slice][valueDim] |    float32
 * </pre>
 */
final class KvBlock {
    private final AttentionSpec spec;
    private final int batch;
    private final SequenceSlice slice;
    private final KvLayout layout;
    private final int length;

    KvBlock(AttentionSpec spec, int batch, SequenceSlice slice, KvType type) {
        this.spec = spec;
        this.batch = batch;
        this.slice = slice;
        this.length = slice.length();
        int longest = slice.runs().stream().mapToInt(Run::length).max().orElse(1);
        this.layout = new KvLayout(1, spec.kvHeads(), spec.headDim(), spec.valueDim(), type, longest);
        requireFit((long) batch * slice.runs().size() * layout.pageBytes());
        requireFit((long) batch * gradientFloats() * Float.BYTES);
    }

    private void requireFit(long bytes) {
        if (bytes > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(
                    "a rank's keys and values, and their gradients, must fit 2 GiB each to go"
                            + " round the ring, so use more ranks or a smaller batch: bytes=" + bytes);
        }
    }

    SequenceSlice slice() {
        return slice;
    }

    /** Bytes of the keys and values. */
    int bytes() {
        return batch * slice.runs().size() * layout.pageBytes();
    }

    /** Bytes of the gradients. */
    int gradientBytes() {
        return (int) (batch * gradientFloats() * Float.BYTES);
    }

    private long gradientFloats() {
        return (long) spec.kvHeads() * length * (spec.headDim() + spec.valueDim());
    }

    /** Writes keys and values {@code [batch][kvHeads][slice][dim]} to the message's start. */
    void encode(FloatBuffer keys, FloatBuffer values, ByteBuffer message) {
        for (int b = 0; b < batch; b++) {
            int row = 0;
            for (int run = 0; run < slice.runs().size(); run++) {
                int page = pageAt(b, run);
                int rows = slice.runs().get(run).length();
                for (int head = 0; head < spec.kvHeads(); head++) {
                    int from = (b * spec.kvHeads() + head) * length + row;
                    int to = head * layout.pageSize();
                    write(keys, from, rows, spec.headDim(), message, page + layout.keyOffset(0), to);
                    write(values, from, rows, spec.valueDim(), message, page + layout.valueOffset(0), to);
                }
                row += rows;
            }
        }
    }

    private void write(FloatBuffer source, int from, int rows, int dim, ByteBuffer message, int base, int to) {
        KvType type = layout.type();
        int at = base + to * dim * type.bytes();
        if (type == KvType.F32) {
            FloatBuffer target = message.slice(at, rows * dim * Float.BYTES)
                    .order(ByteOrder.LITTLE_ENDIAN)
                    .asFloatBuffer();
            target.put(0, source, from * dim, rows * dim);
            return;
        }
        for (int i = 0; i < rows * dim; i++) {
            message.putShort(at + 2 * i, type.encode16(source.get(from * dim + i)));
        }
    }

    /** The keys and values in a message, as views of it, with each run at the position given. */
    List<KvShard> shards(ByteBuffer message, List<Long> starts) {
        long[] pageStarts = starts.stream().mapToLong(Long::longValue).toArray();
        int[] lengths = slice.runs().stream().mapToInt(Run::length).toArray();
        List<KvShard> shards = new ArrayList<>();
        for (int b = 0; b < batch; b++) {
            List<ByteBuffer> pages = new ArrayList<>();
            for (int run = 0; run < lengths.length; run++) {
                pages.add(message.slice(pageAt(b, run), layout.pageBytes()).order(ByteOrder.LITTLE_ENDIAN));
            }
            shards.add(KvShard.ofPages(layout, 0, pages, pageStarts, lengths));
        }
        return shards;
    }

    private int pageAt(int b, int run) {
        return (b * slice.runs().size() + run) * layout.pageBytes();
    }

    /** The gradients of each batch row's keys in a message, as views of it. */
    List<FloatBuffer> keyGradients(ByteBuffer message) {
        return gradients(message, 0, spec.headDim());
    }

    /** The gradients of each batch row's values in a message, as views of it. */
    List<FloatBuffer> valueGradients(ByteBuffer message) {
        return gradients(message, spec.headDim(), spec.valueDim());
    }

    private List<FloatBuffer> gradients(ByteBuffer message, int dimsBefore, int dim) {
        if (length == 0) {
            return Collections.nCopies(
                    batch, message.slice(0, 0).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer());
        }
        int rows = spec.kvHeads() * length * Float.BYTES;
        List<FloatBuffer> views = new ArrayList<>();
        for (int b = 0; b < batch; b++) {
            int at = b * rows * (spec.headDim() + spec.valueDim()) + rows * dimsBefore;
            views.add(
                    message.slice(at, rows * dim).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer());
        }
        return views;
    }
}
