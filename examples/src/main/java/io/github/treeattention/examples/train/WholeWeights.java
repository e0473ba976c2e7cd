package io.github.treeattention.examples.train;

import io.github.treeattention.collective.Communicator;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/** Every rank holds everything: 16 bytes a weight, and all ranks make the same update. */
final class WholeWeights implements WeightStore {
    private final WeightLayout layout;
    private final Communicator communicator;
    private final Map<Kind, List<ByteBuffer>> values = new EnumMap<>(Kind.class);
    private final List<ByteBuffer> gradients = new ArrayList<>();
    private final ByteBuffer share;
    private long bytes;

    WholeWeights(WeightLayout layout, Communicator communicator) {
        this.layout = layout;
        this.communicator = communicator;
        int longest = 0;
        for (Kind kind : Kind.values()) {
            values.put(kind, new ArrayList<>());
        }
        for (WeightLayout.Unit unit : layout.units()) {
            longest = Math.max(longest, unit.padded());
            gradients.add(allocate(unit.padded()));
            for (List<ByteBuffer> arrays : values.values()) {
                arrays.add(allocate(unit.padded()));
            }
        }
        share = communicator.worldSize() == 1 ? null : allocate(longest / communicator.worldSize());
    }

    /** What {@link #bytes()} will be. */
    static long bytes(WeightLayout layout, int ranks) {
        int longest = layout.units().stream()
                .mapToInt(WeightLayout.Unit::padded)
                .max()
                .orElseThrow();
        return Float.BYTES * (4 * layout.padded() + (ranks == 1 ? 0 : longest / ranks));
    }

    private ByteBuffer allocate(int floats) {
        bytes += (long) floats * Float.BYTES;
        return ByteBuffer.allocateDirect(floats * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    }

    @Override
    public WeightLayout layout() {
        return layout;
    }

    @Override
    public ByteBuffer weights(int unit) {
        return values.get(Kind.WEIGHTS).get(unit);
    }

    @Override
    public ByteBuffer gradients(int unit) {
        return gradients.get(unit);
    }

    @Override
    public void finish(int unit) {
        // summed over ranks once a step
    }

    /** By way of shares, as {@link ShardedWeights} does it: then both give the same bits. */
    @Override
    public double reduce() {
        double squares = 0;
        for (ByteBuffer whole : gradients) {
            ByteBuffer part = whole;
            if (share != null) {
                part = share.clear().limit(whole.capacity() / communicator.worldSize());
                communicator.reduceScatter(whole, part, Sum.FLOATS);
                communicator.allGather(part, whole);
            }
            squares += squares(part);
        }
        return Sum.of(communicator, squares);
    }

    static double squares(ByteBuffer part) {
        FloatBuffer values = part.asFloatBuffer();
        double squares = 0;
        for (int i = 0; i < values.limit(); i++) {
            double value = values.get(i);
            squares += value * value;
        }
        return squares;
    }

    @Override
    public ByteBuffer readGradients(int unit) {
        return gradients.get(unit);
    }

    @Override
    public void update(Adam adam, int step, double rate, double scale) {
        for (int unit = 0; unit < layout.count(); unit++) {
            WeightLayout.Unit shape = layout.unit(unit);
            adam.update(
                    new Adam.Share(shape, 0, shape.floats()),
                    step,
                    rate,
                    scale,
                    floats(Kind.WEIGHTS, unit),
                    gradients.get(unit).asFloatBuffer(),
                    floats(Kind.FIRST_MOMENT, unit),
                    floats(Kind.SECOND_MOMENT, unit));
            clear(gradients.get(unit));
        }
    }

    static void clear(ByteBuffer buffer) {
        for (int at = 0; at < buffer.capacity(); at += Float.BYTES) {
            buffer.putFloat(at, 0);
        }
    }

    private FloatBuffer floats(Kind kind, int unit) {
        return values.get(kind).get(unit).asFloatBuffer();
    }

    @Override
    public ByteBuffer read(int unit, Kind kind) {
        return values.get(kind).get(unit);
    }

    @Override
    public void write(int unit, Kind kind, ByteBuffer whole) {
        values.get(kind).get(unit).put(0, whole, 0, layout.unit(unit).padded() * Float.BYTES);
    }

    @Override
    public long bytes() {
        return bytes;
    }
}
