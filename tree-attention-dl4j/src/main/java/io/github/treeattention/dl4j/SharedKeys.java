package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.ArrayAttention;
import io.github.treeattention.samediff.AttentionOptions;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * Keys at all ranks, in the form that moves least, which shapes decide, and so all ranks alike: {@link StationaryKeys}
 * where queries are few, otherwise {@link RingKeys} in FLOAT and {@link GatheredKeys} in DOUBLE.
 */
final class SharedKeys implements KeySource {
    private final SequenceExchange exchange;
    private final Slices asked;
    private final Slices keys;
    private final INDArray keyMask;
    private final AttentionOptions options;
    private KeySource form;

    /**
     * @param asked everybody's queries
     * @param keys everybody's keys
     * @param keyMask of this rank's keys, {@code [batch, time]}, or null
     * @param options of one process
     */
    SharedKeys(SequenceExchange exchange, Slices asked, Slices keys, INDArray keyMask, AttentionOptions options) {
        this.exchange = exchange;
        this.asked = asked;
        this.keys = keys;
        this.keyMask = keyMask;
        this.options = options;
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
        form = form(q, k, v);
        return form.forward(q, k, v);
    }

    /** What is drawn depends on a key's place in the whole sequence, which keys that stay don't tell. */
    private KeySource form(INDArray q, INDArray k, INDArray v) {
        int ranks = asked.lengths().size();
        long queryNumbers = ranks * asked.total() * q.size(1) * (q.size(3) + v.size(3) + 1);
        long keyNumbers = keys.total() * k.size(1) * (k.size(3) + v.size(3));
        if (queryNumbers < keyNumbers && !options.dropout().isActive()) {
            return new StationaryKeys(exchange, asked, keys, keyMask, options);
        }
        INDArray whole = exchange.gatherMask(keyMask, k.size(0), keys);
        return q.dataType() == DataType.FLOAT
                ? new RingKeys(exchange, asked, keys, whole, options)
                : new GatheredKeys(exchange, asked, keys, whole, options);
    }

    /** Whether the latest pass left the keys where they are. */
    boolean queriesTravel() {
        return form instanceof StationaryKeys;
    }

    @Override
    public ArrayAttention.Gradients backward(
            INDArray q, INDArray k, INDArray v, ArrayAttention.Result attended, INDArray dAttended) {
        return form.backward(q, k, v, attended, dAttended);
    }

    @Override
    public void close() {
        if (form != null) {
            form.close();
        }
    }
}
