package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.kernel.AttentionGradients;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;

/** The keys and values of a batch as they go round, and their gradients in float32. Not thread-safe. */
final class KvCargo implements RingCargo {
    private final int rank;
    private final int batch;
    private final List<KvBlock> blocks = new ArrayList<>();
    private AttentionInputs inputs;
    private AttentionGradients gradients;

    KvCargo(AttentionSpec spec, int batch, SequenceSplit keys, KvType type, int rank) {
        this.rank = rank;
        this.batch = batch;
        for (int holder = 0; holder < keys.worldSize(); holder++) {
            blocks.add(new KvBlock(spec, batch, keys.slice(holder), type));
        }
    }

    /**
     * Starts a call.
     *
     * @param newGradients where those of this rank's slice are added to; null in forward
     */
    void load(AttentionInputs newInputs, AttentionGradients newGradients) {
        inputs = newInputs;
        gradients = newGradients;
    }

    KvBlock block(int holder) {
        return blocks.get(holder);
    }

    @Override
    public int bytes(int holder) {
        return blocks.get(holder).bytes();
    }

    @Override
    public int gradientBytes(int holder) {
        return blocks.get(holder).gradientBytes();
    }

    @Override
    public void encode(ByteBuffer message) {
        blocks.get(rank).encode(inputs.keys(), inputs.values(), message);
    }

    @Override
    public void add(ByteBuffer addend, ByteBuffer sum) {
        add(floats(addend), floats(sum));
    }

    @Override
    public void deliver(ByteBuffer message) {
        for (int b = 0; b < batch; b++) {
            add(blocks.get(rank).keyGradients(message).get(b), gradients.keys(b));
            add(blocks.get(rank).valueGradients(message).get(b), gradients.values(b));
        }
    }

    private static FloatBuffer floats(ByteBuffer buffer) {
        return buffer.slice().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
    }

    private static void add(FloatBuffer addend, FloatBuffer sum) {
        for (int i = 0, n = addend.capacity(); i < n; i++) {
            sum.put(i, sum.get(i) + addend.get(i));
        }
    }
}
