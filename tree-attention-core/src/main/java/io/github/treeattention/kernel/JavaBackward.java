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
 * The gradients of one key/value head's keys and of the query rows that read it, tile by tile: probabilities come back
 * from lse, {@code dS = P * (dOut.v - (rowsum(dOut * out) - dLse))}. Written like {@link JavaKernel}, tiles transposed.
 */
final class JavaBackward {
    private static final int TILE = 128;

    private final AttentionSpec spec;
    private final float scale;
    private final float[] keys; // [headDim][TILE]
    private final float[] values; // [valueDim][TILE]
    private final float[] dKeys; // [headDim][TILE]
    private final float[] dValues; // [valueDim][TILE]
    private final float[] weight = new float[TILE]; // scores, then probabilities
    private final float[] slope = new float[TILE]; // dOut.v, then d loss / d score
    private final float[] outer = new float[TILE]; // d score / d (q.k)
    private final float[] kept = new float[TILE]; // what dropout makes of a weight of 1
    private final float[] query;
    private final float[] dQuery;
    private final float[] out;
    private final float[] dOut;
    private boolean finite; // whether all keys of the tile are

    JavaBackward(AttentionSpec spec) {
        this.spec = spec;
        this.scale = (float) spec.scale();
        this.keys = new float[spec.headDim() * TILE];
        this.values = new float[spec.valueDim() * TILE];
        this.dKeys = new float[spec.headDim() * TILE];
        this.dValues = new float[spec.valueDim() * TILE];
        this.query = new float[spec.headDim()];
        this.dQuery = new float[spec.headDim()];
        this.out = new float[spec.valueDim()];
        this.dOut = new float[spec.valueDim()];
    }

    /** Adds what one batch row and key/value head contribute. */
    void run(
            Queries queries,
            KvShard shard,
            int b,
            int kvHead,
            StridedRows rows,
            StridedRows rowGradients,
            AttentionGradients gradients) {
        int keysBefore = 0;
        int allKeys = (int) shard.totalLength();
        for (int page = 0; page < shard.pageCount(); page++) {
            for (int from = 0; from < shard.length(page); from += TILE) {
                int length = Math.min(TILE, shard.length(page) - from);
                loadTile(shard, page, kvHead, from, length);
                for (int row = 0; row < spec.groupSize() * queries.count(); row++) {
                    int head = kvHead * spec.groupSize() + row / queries.count();
                    Row place = new Row(spec, queries, b, head, row % queries.count());
                    addRow(queries, rows, rowGradients, gradients, place, shard.start(page) + from, length);
                }
                int first = kvHead * allKeys + keysBefore + from;
                addTile(dKeys, gradients.keys(b), first, spec.headDim(), length);
                addTile(dValues, gradients.values(b), first, spec.valueDim(), length);
            }
            keysBefore += shard.length(page);
        }
    }

    private void loadTile(KvShard shard, int page, int kvHead, int from, int length) {
        KvLayout layout = shard.layout();
        int size = layout.type().bytes();
        int keyAt = shard.keyOffset() + (kvHead * layout.pageSize() + from) * layout.headDim() * size;
        int valueAt = shard.valueOffset() + (kvHead * layout.pageSize() + from) * layout.valueDim() * size;
        transpose(shard.keyPage(page), keyAt, layout.type(), layout.headDim(), length, keys);
        transpose(shard.valuePage(page), valueAt, layout.type(), layout.valueDim(), length, values);
        Arrays.fill(dKeys, 0);
        Arrays.fill(dValues, 0);
        float check = 0; // becomes NaN
        for (int d = 0; d < spec.headDim(); d++) {
            for (int j = 0; j < length; j++) {
                check += 0 * keys[d * TILE + j];
            }
        }
        finite = check == 0;
    }

    private static void transpose(ByteBuffer memory, int at, KvType type, int dim, int length, float[] tile) {
        int next = at;
        for (int j = 0; j < length; j++) {
            for (int d = 0; d < dim; d++, next += type.bytes()) {
                tile[d * TILE + j] = type == KvType.F32 ? memory.getFloat(next) : type.decode16(memory.getShort(next));
            }
        }
    }

    private void addRow(
            Queries queries,
            StridedRows rows,
            StridedRows rowGradients,
            AttentionGradients gradients,
            Row row,
            long tileStart,
            int length) {
        int from = row.from(tileStart, length);
        int to = row.to(tileStart, length);
        int index = (row.batchRow() * queries.heads() + row.head()) * queries.count() + row.query();
        float lse = rows.lse(index);
        if (from >= to || lse == Float.NEGATIVE_INFINITY) {
            return;
        }
        int queryAt = index * spec.headDim();
        queries.values().get(queryAt, query);
        rows.getOut(index, out);
        rowGradients.getOut(index, dOut);
        double delta = -rowGradients.lse(index);
        for (int d = 0; d < out.length; d++) {
            delta += (double) out[d] * dOut[d];
        }
        dots(query, keys, weight);
        dots(dOut, values, slope);
        differentiate(row, tileStart, from, to, lse, (float) delta);
        if (finite(query) && finite(dOut)) {
            addOuter(weight, dOut, dValues);
            addOuter(slope, query, dKeys);
        } else {
            addOuterSeen(weight, dOut, dValues);
            addOuterSeen(slope, query, dKeys);
        }
        gradients.queries().get(queryAt, dQuery);
        for (int d = 0; d < dQuery.length; d++) {
            float sum = 0;
            for (int j = from; j < to; j++) {
                if (finite || slope[j] != 0) {
                    sum += slope[j] * keys[d * TILE + j];
                }
            }
            dQuery[d] += sum;
        }
        gradients.queries().put(queryAt, dQuery);
    }

    /** {@code result[j] = row . tile[.][j]}. */
    private static void dots(float[] row, float[] tile, float[] result) {
        Arrays.fill(result, 0);
        for (int d = 0; d < row.length; d++) {
            float x = row[d];
            for (int j = 0; j < TILE; j++) {
                result[j] += x * tile[d * TILE + j];
            }
        }
    }

    /** Scores to weights, {@code dOut.v} to {@code d loss / d (q.k)}; 0 for keys that the row does not see. */
    private void differentiate(Row row, long tileStart, int from, int to, float lse, float delta) {
        for (int j = from; j < to; j++) {
            float score = weight[j] * scale;
            float capSlope = 1;
            if (spec.softCap() > 0) {
                double bent = Math.tanh(score / spec.softCap());
                score = (float) (spec.softCap() * bent);
                capSlope = (float) (1 - bent * bent);
            }
            weight[j] = score;
            outer[j] = capSlope * scale;
        }
        row.addBias(weight, tileStart, from, to);
        Arrays.fill(kept, from, to, (float) spec.dropout().keptScale());
        row.drop(kept, tileStart, from, to);
        for (int j = 0; j < TILE; j++) {
            boolean seen = j >= from && j < to && weight[j] != Float.NEGATIVE_INFINITY;
            float probability = seen ? (float) Math.exp(weight[j] - lse) : 0;
            boolean keeps = seen && kept[j] != 0; // what is dropped may be NaN
            weight[j] = keeps ? probability * kept[j] : 0;
            slope[j] = seen ? probability * ((keeps ? slope[j] * kept[j] : 0) - delta) * outer[j] : 0;
        }
    }

    /** {@code tile[d][j] += row[d] * factor[j]}. */
    private static void addOuter(float[] factor, float[] row, float[] tile) {
        for (int d = 0; d < row.length; d++) {
            float x = row[d];
            for (int j = 0; j < TILE; j++) {
                tile[d * TILE + j] += x * factor[j];
            }
        }
    }

    /** As {@link #addOuter} for a row that is not finite: factors of 0 leave it out. */
    private static void addOuterSeen(float[] factor, float[] row, float[] tile) {
        for (int d = 0; d < row.length; d++) {
            for (int j = 0; j < TILE; j++) {
                tile[d * TILE + j] += factor[j] == 0 ? 0 : row[d] * factor[j];
            }
        }
    }

    private static boolean finite(float[] row) {
        float check = 0; // becomes NaN
        for (float x : row) {
            check += 0 * x;
        }
        return check == 0;
    }

    private static void addTile(float[] tile, FloatBuffer sums, int firstRow, int dim, int length) {
        for (int j = 0; j < length; j++) {
            for (int d = 0; d < dim; d++) {
                int at = (firstRow + j) * dim + d;
                sums.put(at, sums.get(at) + tile[d * TILE + j]);
            }
        }
    }
}
