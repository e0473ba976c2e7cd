package io.github.treeattention.nativeops.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What the host does around the kernels. */
class CudaKernelTest {
    private static final int KEYS = 40;
    private static final int DIM = 64;

    /** Bytes that cross for one query with the bias of one query out of a table of so many, and the query's result. */
    private static long bytesFor(int tableQueries, int query, float[] result) {
        FloatBuffer table = Queries.allocate(tableQueries * KEYS);
        for (int i = 0; i < table.capacity(); i++) {
            table.put(i, i / KEYS == query ? i % 5 : 1e30f);
        }
        AttentionMask mask =
                AttentionMask.NONE.withBias(table, 1, 1, tableQueries, KEYS).slice(0, 1, query, 1);
        ByteBuffer keys = ByteBuffer.allocateDirect(KEYS * DIM * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < KEYS * DIM; i++) {
            keys.putFloat(i * Float.BYTES, i % 7);
        }
        KvShard shard = KvShard.dense(new KvLayout(1, 1, DIM, DIM, KvType.F32, KEYS), keys, keys, 0, KEYS);
        SimulatedDriver driver = new SimulatedDriver();
        AttentionState state = AttentionState.empty(1, 2, 1, DIM);
        Queries queries = new Queries(Queries.allocate(2 * DIM), 1, 2, 1, DIM, KEYS).withMask(mask);
        new CudaKernel(driver).partial(AttentionSpec.of(2, 1, DIM), queries, List.of(shard), state);
        state.rows().get(0, result);
        return driver.copiedIn();
    }

    @Test
    void shouldCopyOnlyTheRowsOfATableThatTheCallReaches() {
        float[] alone = new float[2 * (DIM + 1)];
        float[] sliced = new float[2 * (DIM + 1)];
        long few = bytesFor(1, 0, alone);
        assertEquals(few, bytesFor(1000, 600, sliced));
        for (int i = 0; i < alone.length; i++) {
            assertEquals(alone[i], sliced[i], "the same bias");
        }
    }
}
