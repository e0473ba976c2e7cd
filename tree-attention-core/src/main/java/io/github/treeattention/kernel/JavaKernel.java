package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.List;

/**
 * Online softmax over tiles of keys in plain Java: float32 products and sums in a fixed order, the weights' own sum in
 * float64. One thread; loops are written so that C2 vectorises them (keys transposed to {@code [headDim][tile]}, so that
 * a tile's scores grow side by side).
 */
final class JavaKernel implements AttentionKernel {
    private static final int TILE = 128;
    private static final int QUERY_BLOCK = 32;

    @Override
    public String description() {
        return "java";
    }

    @Override
    public void partial(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state) {
        AttentionKernel.requireMatching(spec, queries, shards, state);
        for (int b = 0; b < queries.batch(); b++) {
            for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
                Pass pass = new Pass(spec, shards.get(b).layout());
                int rows = spec.groupSize() * queries.count();
                for (int first = 0; first < rows; first += QUERY_BLOCK) {
                    pass.run(queries, shards.get(b), state, b, kvHead, first, Math.min(QUERY_BLOCK, rows - first));
                }
            }
        }
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
        JavaBackward pass = new JavaBackward(spec);
        for (int b = 0; b < queries.batch(); b++) {
            for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
                pass.run(queries, shards.get(b), b, kvHead, state, stateGradient, gradients);
            }
        }
    }

    /** Working memory of one KV head: some query rows of its group against all its keys. */
    private static final class Pass {
        private final AttentionSpec spec;
        private final float scale;
        private final float[] keys; // [headDim][TILE]
        private final float[] values; // [TILE][valueDim]
        private final float[] scores = new float[TILE];
        private final float[] query; // [QUERY_BLOCK][headDim]
        private final float[] tileOut; // [valueDim], of one row and tile
        private final float[] out; // [QUERY_BLOCK][valueDim]
        private final float[] max = new float[QUERY_BLOCK];
        private final double[] sum = new double[QUERY_BLOCK]; // float32 would be off by 1e-4 after 65536 like weights
        private final Row[] rows = new Row[QUERY_BLOCK];
        private boolean finite; // whether all values of the tile are

        Pass(AttentionSpec spec, KvLayout layout) {
            this.spec = spec;
            this.scale = (float) spec.scale();
            this.keys = new float[layout.headDim() * TILE];
            this.values = new float[TILE * layout.valueDim()];
            this.query = new float[QUERY_BLOCK * layout.headDim()];
            this.tileOut = new float[layout.valueDim()];
            this.out = new float[QUERY_BLOCK * layout.valueDim()];
        }

        /** Rows are numbered head by head within the group: {@code row = head * count + query}. */
        void run(Queries queries, KvShard shard, AttentionState state, int b, int kvHead, int first, int count) {
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
            store(state, queries.count(), b, kvHead, first, count);
        }

        private void load(Queries queries, int b, int kvHead, int first, int count) {
            FloatBuffer source = queries.values();
            for (int row = 0; row < count; row++) {
                int head = kvHead * spec.groupSize() + (first + row) / queries.count();
                int i = (first + row) % queries.count();
                source.get(
                        ((b * queries.heads() + head) * queries.count() + i) * spec.headDim(),
                        query,
                        row * spec.headDim(),
                        spec.headDim());
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
            for (int j = 0; j < length; j++) {
                for (int d = 0; d < layout.headDim(); d++, keyAt += size) {
                    keys[d * TILE + j] = read(keyMemory, keyAt, layout.type());
                }
            }
            float check = 0; // becomes NaN
            for (int i = 0, n = length * layout.valueDim(); i < n; i++, valueAt += size) {
                values[i] = read(valueMemory, valueAt, layout.type());
                check += 0 * values[i];
            }
            finite = check == 0;
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
            int dim = spec.headDim();
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

        private void store(AttentionState state, int queries, int b, int kvHead, int first, int count) {
            FloatBuffer rows = state.rows();
            int dim = spec.valueDim();
            for (int row = 0; row < count; row++) {
                int head = kvHead * spec.groupSize() + (first + row) / queries;
                int at = state.rowIndex(b, head, (first + row) % queries);
                boolean empty = sum[row] == 0;
                float factor = empty ? 0 : (float) (spec.dropout().keptScale() / sum[row]);
                for (int i = 0; i < dim; i++) {
                    rows.put(at + i, empty ? 0 : out[row * dim + i] * factor);
                }
                rows.put(at + dim, empty ? Float.NEGATIVE_INFINITY : (float) (max[row] + Math.log(sum[row])));
            }
        }
    }
}
