package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.Arrays;

/**
 * Some query rows of a KV head's group against all its keys: online softmax over tiles of keys. Loops are written so that C2
 * vectorises them (keys transposed to {@code [scoreDim][tile]}, so that a tile's scores grow side by side).
 */
final class JavaForward {
    static final int QUERY_BLOCK = 32;
    private static final int TILE = 128;

    private final AttentionSpec spec;
    private final FloatBuffer source; // null for none
    private final boolean lseOnly;
    private final int scoreDim; // headDim, and valueDim more with a source
    private final float scale; // of scores; with a source the queries are scaled
    private final float[] keys; // [scoreDim][TILE]
    private final float[] values; // [TILE][valueDim]
    private final float[] scores = new float[TILE];
    private final float[] query; // [QUERY_BLOCK][scoreDim]
    private final float[] tileOut; // [valueDim], of one row and tile
    private final float[] out; // [QUERY_BLOCK][valueDim]
    private final float[] max = new float[QUERY_BLOCK];
    private final double[] sum = new double[QUERY_BLOCK]; // float32 would be off by 1e-4 after 65536 like weights
    private final Row[] rows = new Row[QUERY_BLOCK];
    private boolean finite; // whether all values of the tile are

    /**
     * @param source null for none
     * @param lseOnly whether nothing else is wanted
     */
    JavaForward(AttentionSpec spec, FloatBuffer source, boolean lseOnly) {
        this.spec = spec;
        this.source = source;
        this.lseOnly = lseOnly;
        this.scoreDim = source == null ? spec.headDim() : spec.headDim() + spec.valueDim();
        this.scale = source == null ? (float) spec.scale() : 1;
        this.keys = new float[scoreDim * TILE];
        this.values = new float[TILE * spec.valueDim()];
        this.query = new float[QUERY_BLOCK * scoreDim];
        this.tileOut = new float[spec.valueDim()];
        this.out = new float[QUERY_BLOCK * spec.valueDim()];
    }

    /** Rows are numbered head by head within the group: {@code row = head * count + query}. */
    void run(Queries queries, KvShard shard, int b, int kvHead, int first, int count) {
        load(queries, b, kvHead, first, count);
        for (int page = 0; page < shard.pageCount(); page++) {
            for (int from = 0; from < shard.length(page); from += TILE) {
                int length = Math.min(TILE, shard.length(page) - from);
                long start = shard.start(page) + from;
                if (Arrays.stream(rows, 0, count).anyMatch(row -> row.sees(start, length))) {
                    loadTile(shard, page, kvHead, from, length);
                    for (int row = 0; row < count; row++) {
                        attend(row, start, length);
                    }
                }
            }
        }
    }

    private void load(Queries queries, int b, int kvHead, int first, int count) {
        int dim = spec.headDim();
        for (int row = 0; row < count; row++) {
            int head = kvHead * spec.groupSize() + (first + row) / queries.count();
            int i = (first + row) % queries.count();
            int index = (b * queries.heads() + head) * queries.count() + i;
            int at = row * scoreDim;
            queries.values().get(index * dim, query, at, dim);
            if (source != null) {
                for (int d = at; d < at + dim; d++) {
                    query[d] *= (float) spec.scale();
                }
                source.get(index * spec.valueDim(), query, at + dim, spec.valueDim());
            }
            rows[row] = new Row(spec, queries, b, head, i);
            max[row] = Float.NEGATIVE_INFINITY;
            sum[row] = 0;
        }
        Arrays.fill(out, 0);
    }

    private void loadTile(KvShard shard, int page, int kvHead, int from, int length) {
        KvLayout layout = shard.layout();
        int size = layout.type().bytes();
        int keyAt = shard.keyOffset() + (kvHead * layout.pageSize() + from) * layout.headDim() * size;
        int valueAt = shard.valueOffset() + (kvHead * layout.pageSize() + from) * layout.valueDim() * size;
        ByteBuffer keyMemory = shard.keyPage(page);
        ByteBuffer valueMemory = shard.valuePage(page);
        transpose(keyMemory, keyAt, layout.type(), 0, layout.headDim(), length);
        if (source != null) {
            transpose(valueMemory, valueAt, layout.type(), layout.headDim(), layout.valueDim(), length);
        }
        if (lseOnly) {
            return;
        }
        float check = 0; // becomes NaN
        for (int i = 0, n = length * layout.valueDim(); i < n; i++, valueAt += size) {
            values[i] = read(valueMemory, valueAt, layout.type());
            check += 0 * values[i];
        }
        finite = check == 0;
    }

    /** Rows of {@code dim} elements to columns of the tile, from its row {@code to} on. */
    private void transpose(ByteBuffer memory, int at, KvType type, int to, int dim, int length) {
        for (int j = 0; j < length; j++) {
            for (int d = to; d < to + dim; d++, at += type.bytes()) {
                keys[d * TILE + j] = read(memory, at, type);
            }
        }
    }

    private static float read(ByteBuffer memory, int at, KvType type) {
        return type == KvType.F32 ? memory.getFloat(at) : type.decode16(memory.getShort(at));
    }

    private void attend(int row, long tileStart, int length) {
        int from = rows[row].from(tileStart, length); // visible keys of the tile: from..to
        int to = rows[row].to(tileStart, length);
        if (from >= to) {
            return;
        }
        score(row, length);
        rows[row].addBias(scores, tileStart, from, to);
        float tileMax = Float.NEGATIVE_INFINITY;
        for (int j = from; j < to; j++) {
            tileMax = Math.max(tileMax, scores[j]);
        }
        if (tileMax == Float.NEGATIVE_INFINITY) {
            return; // all are hidden, or infinite keys push every score down to -inf
        }
        float newMax = Math.max(max[row], tileMax);
        if (newMax != max[row]) {
            float correction = (float) Math.exp((double) max[row] - newMax);
            sum[row] *= correction;
            scaleRow(row, correction);
            max[row] = newMax;
        }
        double total = 0;
        for (int j = from; j < to; j++) {
            scores[j] = FastExp.exp(scores[j] - newMax);
            total += scores[j];
        }
        sum[row] += total;
        if (lseOnly) {
            return;
        }
        rows[row].drop(scores, tileStart, from, to);
        Arrays.fill(tileOut, 0);
        if (finite) {
            accumulate(from, to);
        } else {
            accumulateSeen(from, to);
        }
        for (int i = 0, at = row * spec.valueDim(); i < tileOut.length; i++) {
            out[at + i] += tileOut[i];
        }
    }

    private void score(int row, int length) {
        int dim = scoreDim;
        int at = row * dim;
        Arrays.fill(scores, 0);
        int d = 0;
        for (; d + 4 <= dim; d += 4) { // four at a time: a quarter of the loads and stores of scores
            addFour(query[at + d], query[at + d + 1], query[at + d + 2], query[at + d + 3], d * TILE);
        }
        for (; d < dim; d++) {
            float q = query[at + d];
            int key = d * TILE;
            for (int j = 0; j < TILE; j++) {
                scores[j] += q * keys[key + j];
            }
        }
        if (spec.softCap() > 0) {
            for (int j = 0; j < length; j++) {
                scores[j] = (float) (spec.softCap() * Math.tanh(scores[j] * scale / spec.softCap()));
            }
        } else {
            for (int j = 0; j < length; j++) {
                scores[j] *= scale;
            }
        }
    }

    private void addFour(float q0, float q1, float q2, float q3, int key) {
        for (int j = 0; j < TILE; j++) {
            scores[j] += q0 * keys[key + j]
                    + q1 * keys[key + TILE + j]
                    + q2 * keys[key + 2 * TILE + j]
                    + q3 * keys[key + 3 * TILE + j];
        }
    }

    private void scaleRow(int row, float factor) {
        for (int i = row * spec.valueDim(), end = i + spec.valueDim(); i < end; i++) {
            out[i] *= factor;
        }
    }

    private void accumulate(int from, int to) {
        int dim = spec.valueDim();
        int j = from;
        for (; j + 4 <= to; j += 4) {
            float w0 = scores[j];
            float w1 = scores[j + 1];
            float w2 = scores[j + 2];
            float w3 = scores[j + 3];
            int value = j * dim;
            for (int i = 0; i < dim; i++) {
                tileOut[i] += w0 * values[value + i]
                        + w1 * values[value + dim + i]
                        + w2 * values[value + 2 * dim + i]
                        + w3 * values[value + 3 * dim + i];
            }
        }
        for (; j < to; j++) {
            float weight = scores[j];
            int value = j * dim;
            for (int i = 0; i < dim; i++) {
                tileOut[i] += weight * values[value + i];
            }
        }
    }

    /** Leaves keys of weight 0 out: 0 times a value that is not finite would be NaN. */
    private void accumulateSeen(int from, int to) {
        for (int j = from; j < to; j++) {
            if (scores[j] != 0) {
                accumulate(j, j + 1);
            }
        }
    }

    /** Stores the rows of the last {@link #run}. */
    void store(StridedRows result, int queries, int b, int kvHead, int first, int count) {
        int dim = spec.valueDim();
        for (int row = 0; row < count; row++) {
            boolean empty = sum[row] == 0;
            float factor = empty ? 0 : (float) (spec.dropout().keptScale() / sum[row]);
            for (int i = row * dim; i < (row + 1) * dim; i++) {
                out[i] = empty ? 0 : out[i] * factor;
            }
            int head = kvHead * spec.groupSize() + (first + row) / queries;
            int index = (b * spec.heads() + head) * queries + (first + row) % queries;
            float lse = empty ? Float.NEGATIVE_INFINITY : (float) (max[row] + Math.log(sum[row]));
            result.put(index, out, row * dim, dim, lse);
        }
    }
}
