package io.github.treeattention.kernel;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/**
 * Long rows of like weights, where every addition of a plain float32 sum rounds in one direction: 65536 keys that repeat
 * with each page. With many heads no kernel has a reason to cut a row into pieces; with one it has, and merges them.
 *
 * <p>A sum in two levels, {@code m} terms a piece and {@code n / m} pieces, rounds {@code m + n / m} times at the size of
 * the whole; one sum of 65536 would 65536 times. The bounds say so for pieces of 128 to 512 terms, and for lse that pieces
 * are added in float64. {@code TERMS} is what a weight's own rounding errors add: its score's and its exponential's.
 */
final class LongSum {
    private static final int KEYS = 65536;
    private static final int PAGE = 512;
    private static final int DIM = 8;
    private static final double ROUNDING = 0x1p-24;
    private static final int TERMS = 4 * DIM;

    private LongSum() {}

    static void requireClose(AttentionKernel kernel, int heads, int queries) {
        AttentionSpec spec = AttentionSpec.of(heads, heads, DIM);
        KvLayout layout = new KvLayout(1, heads, DIM, DIM, KvType.F32, PAGE);
        ByteBuffer page = ByteBuffer.allocateDirect(layout.pageBytes()).order(ByteOrder.LITTLE_ENDIAN);
        for (int head = 0; head < heads; head++) {
            for (int i = 0; i < PAGE * DIM; i++) {
                page.putFloat(layout.keyOffset(0) + 4 * (head * PAGE * DIM + i), k(i));
                page.putFloat(layout.valueOffset(0) + 4 * (head * PAGE * DIM + i), v(i));
            }
        }
        int pages = KEYS / PAGE;
        long[] starts = new long[pages];
        int[] lengths = new int[pages];
        Arrays.setAll(starts, i -> (long) i * PAGE);
        Arrays.fill(lengths, PAGE);
        KvShard shard = KvShard.ofPages(layout, 0, Collections.nCopies(pages, page), starts, lengths);
        FloatBuffer q = Queries.allocate(heads * queries * DIM);
        for (int i = 0; i < q.capacity(); i++) {
            q.put(i, q(i % (queries * DIM)));
        }
        AttentionState state = AttentionState.empty(1, heads, queries, DIM);
        kernel.partial(spec, new Queries(q, 1, heads, queries, DIM, 0), List.of(shard), state);
        for (int query = 0; query < queries; query++) {
            double[] wanted = row(query);
            String what = kernel.description() + ", query " + query;
            for (int head : new int[] {0, heads - 1}) {
                assertEquals(wanted[DIM], state.lse(0, head, query), ROUNDING * (128 + TERMS), "lse of " + what);
                for (int d = 0; d < DIM; d++) {
                    double out = state.out(0, head, query, d);
                    assertEquals(wanted[d], out, ROUNDING * (512 + KEYS / 512 + TERMS), "out of " + what);
                }
            }
        }
    }

    /** Out and lse of one query, in float64; one page's keys say it all. */
    private static double[] row(int query) {
        double[] result = new double[DIM + 1];
        double sum = 0;
        for (int j = 0; j < PAGE; j++) {
            double score = 0;
            for (int d = 0; d < DIM; d++) {
                score += (double) q(query * DIM + d) * k(j * DIM + d);
            }
            double weight = Math.exp(score / Math.sqrt(DIM)); // scores are small
            sum += weight;
            for (int d = 0; d < DIM; d++) {
                result[d] += weight * v(j * DIM + d);
            }
        }
        for (int d = 0; d < DIM; d++) {
            result[d] /= sum;
        }
        result[DIM] = Math.log(sum * (KEYS / PAGE));
        return result;
    }

    private static float q(int i) {
        return (i % 17 - 8) / 16f;
    }

    private static float k(int i) {
        return (i % 29 - 14) / 28f;
    }

    /** Of one sign, so that errors cannot cancel; at most 1. */
    private static float v(int i) {
        return 1 - i % 7 / 14f;
    }
}
