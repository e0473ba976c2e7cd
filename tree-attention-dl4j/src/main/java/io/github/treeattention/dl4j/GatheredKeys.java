package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.ArrayAttention;
import io.github.treeattention.samediff.AttentionOptions;
import org.nd4j.linalg.api.ndarray.INDArray;

/** Every rank has all ranks' keys and values while it needs them: for DOUBLE, which {@link RingKeys} do not serve. */
final class GatheredKeys implements KeySource {
    private final SequenceExchange exchange;
    private final Slices asked;
    private final Slices keys;
    private final INDArray keyMask;
    private final AttentionOptions options;
    private final Scratch whole = new Scratch();
    private INDArray allKeys;
    private INDArray allValues;

    /**
     * @param asked everybody's queries
     * @param keys everybody's keys
     * @param keyMask of all ranks' keys, {@code [batch, total time]}, or null
     * @param options of one process
     */
    GatheredKeys(SequenceExchange exchange, Slices asked, Slices keys, INDArray keyMask, AttentionOptions options) {
        this.exchange = exchange;
        this.asked = asked;
        this.keys = keys;
        this.keyMask = keyMask;
        this.options = options.withQueryOffset(asked.position());
    }

    @Override
    public long position() {
        return asked.position();
    }

    @Override
    public long keyPosition() {
        return keys.position();
    }

    @Override
    public ArrayAttention.Result forward(INDArray q, INDArray k, INDArray v) {
        allKeys = whole.own(exchange.gather(k, keys));
        allValues = whole.own(exchange.gather(v, keys));
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
                    exchange.scatterSum(scratch.own(parts.dK()), keys),
                    exchange.scatterSum(scratch.own(parts.dV()), keys));
        }
    }

    @Override
    public void close() {
        whole.close();
    }
}
