package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.ArrayAttention;
import io.github.treeattention.samediff.AttentionOptions;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * All keys are here.
 *
 * @param keyMask {@code [batch, keys]} or null
 */
record LocalKeys(INDArray keyMask, AttentionOptions options) implements KeySource {
    @Override
    public long position() {
        return 0;
    }

    @Override
    public long keyPosition() {
        return 0;
    }

    @Override
    public ArrayAttention.Result forward(INDArray q, INDArray k, INDArray v) {
        return ArrayAttention.forward(q, k, v, keyMask, options);
    }

    @Override
    public ArrayAttention.Gradients backward(
            INDArray q, INDArray k, INDArray v, ArrayAttention.Result attended, INDArray dAttended) {
        return ArrayAttention.backward(q, k, v, keyMask, options, attended, dAttended, null);
    }

    /** The same for queries the first of which is at another position. */
    LocalKeys from(long position) {
        return new LocalKeys(keyMask, options.withQueryOffset(position));
    }

    @Override
    public void close() {}
}
