package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.ArrayAttention;
import io.github.treeattention.samediff.AttentionOptions;
import org.nd4j.linalg.api.ndarray.INDArray;

/** Every rank has all ranks' keys and values while it needs them: for DOUBLE, which {@link RingKeys} do not serve. */
final class GatheredKeys implements KeySource {
    private final SequenceExchange exchange;
    private final Slices slices;
    private final INDArray keyMask;
    private final AttentionOptions options;
    private final Scratch whole = new Scratch();
    private INDArray allKeys;
    private INDArray allValues;

    /**
     * @param keyMask of all ranks' keys, {@code [batch, total time]}, or null
     * @param options of one process
     */
    GatheredKeys(SequenceExchange exchange, Slices slices, INDArray keyMask, AttentionOptions options) {
        this.exchange = exchange;
        this.slices = slices;
        this.keyMask = keyMask;
        this.options = options.withQueryOffset(slices.position());
    }

    @Override
    public long position() {
        return slices.position();
    }

    @Override
    public ArrayAttention.Result forward(INDArray q, INDArray k, INDArray v) {
        allKeys = whole.own(exchange.gather(k, slices));
        allValues = whole.own(exchange.gather(v, slices));
        return ArrayAttention.forward(q, allKeys, allValues, keyMask, options);
    }

    @Override
    public ArrayAttention.Gradients backward(
            INDArray q, INDArray k, INDArray v, ArrayAttention.Result attended, INDArray dAttended) {
        ArrayAttention.Gradients parts =
                ArrayAttention.backward(q, allKeys, allValues, keyMask, options, attended, dAttended, null);
        try (Scratch scratch = new Scratch()) { // other ranks' queries saw these keys, and these queries saw theirs
            return new ArrayAttention.Gradients(
                    parts.dQ(),
                    exchange.scatterSum(scratch.own(parts.dK()), slices),
                    exchange.scatterSum(scratch.own(parts.dV()), slices));
        }
    }

    @Override
    public void close() {
        whole.close();
    }
}
