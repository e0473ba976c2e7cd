package io.github.treeattention.examples.train;

import io.github.treeattention.collective.Communicator;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/**
 * Every rank holds an equal share of each unit: weights, gradients and moments. A layer's weights are gathered when they are
 * needed and forgotten with the next layer's; its gradients are summed into the shares as soon as they are complete (as
 * the paper trains, under FSDP). A rank holds {@code 16 / worldSize} bytes a weight, and the largest layer and what exists
 * once whole, twice each.
 */
final class ShardedWeights implements WeightStore {
    private final WeightLayout layout;
    private final Communicator communicator;
    private final Map<Kind, List<ByteBuffer>> shares = new EnumMap<>(Kind.class);
    private final List<ByteBuffer> gradientShares = new ArrayList<>();
    private final ByteBuffer layerWeights;
    private final ByteBuffer layerGradients;
    private final ByteBuffer outsideWeights;
    private final ByteBuffer outsideGradients;
    private final ByteBuffer summed;
    private int layerThere = -1;
    private boolean outsideThere;
    private long bytes;

    ShardedWeights(WeightLayout layout, Communicator communicator) {
        this.layout = layout;
        this.communicator = communicator;
        for (Kind kind : Kind.values()) {
            shares.put(kind, new ArrayList<>());
        }
        for (WeightLayout.Unit unit : layout.units()) {
            gradientShares.add(allocate(share(unit)));
            for (List<ByteBuffer> arrays : shares.values()) {
                arrays.add(allocate(share(unit)));
            }
        }
        int outside = layout.unit(layout.outside()).padded();
        layerWeights = allocate(layout.longestLayer());
        layerGradients = allocate(layout.longestLayer());
        outsideWeights = allocate(outside);
        outsideGradients = allocate(outside);
        summed = allocate(Math.max(outside, layout.longestLayer()) / communicator.worldSize());
    }

    /** What {@link #bytes()} will be. */
    static long bytes(WeightLayout layout, int ranks) {
        long outside = layout.unit(layout.outside()).padded();
        long whole = 2L * layout.longestLayer() + 2 * outside;
        return Float.BYTES * (4 * layout.padded() / ranks + whole + Math.max(outside, layout.longestLayer()) / ranks);
    }

    private ByteBuffer allocate(int floats) {
        bytes += (long) floats * Float.BYTES;
        return ByteBuffer.allocateDirect(floats * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    }

    private int share(WeightLayout.Unit unit) {
        return unit.padded() / communicator.worldSize();
    }

    @Override
    public WeightLayout layout() {
        return layout;
    }

    @Override
    public ByteBuffer weights(int unit) {
        boolean outside = unit == layout.outside();
        if (outside ? !outsideThere : layerThere != unit) {
            communicator.allGather(
                    shares.get(Kind.WEIGHTS).get(unit), whole(outside ? outsideWeights : layerWeights, unit));
            outsideThere |= outside;
            layerThere = outside ? layerThere : unit;
        }
        return whole(outside ? outsideWeights : layerWeights, unit);
    }

    private ByteBuffer whole(ByteBuffer buffer, int unit) {
        return buffer.slice(0, layout.unit(unit).padded() * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    }

    @Override
    public ByteBuffer gradients(int unit) {
        return whole(unit == layout.outside() ? outsideGradients : layerGradients, unit);
    }

    @Override
    public void finish(int unit) {
        ByteBuffer whole = gradients(unit);
        ByteBuffer part = summed.clear().limit(share(layout.unit(unit)) * Float.BYTES);
        communicator.reduceScatter(whole, part, Sum.FLOATS);
        Sum.FLOATS.reduce(gradientShares.get(unit), part);
        WholeWeights.clear(whole);
    }

    @Override
    public double reduce() {
        double squares = 0;
        for (ByteBuffer part : gradientShares) {
            squares += WholeWeights.squares(part);
        }
        return Sum.of(communicator, squares);
    }

    @Override
    public ByteBuffer readGradients(int unit) {
        return gather(gradientShares.get(unit), unit);
    }

    @Override
    public void update(Adam adam, int step, double rate, double scale) {
        for (int unit = 0; unit < layout.count(); unit++) {
            int count = share(layout.unit(unit));
            adam.update(
                    new Adam.Share(layout.unit(unit), communicator.rank() * count, count),
                    step,
                    rate,
                    scale,
                    shares.get(Kind.WEIGHTS).get(unit).asFloatBuffer(),
                    gradientShares.get(unit).asFloatBuffer(),
                    shares.get(Kind.FIRST_MOMENT).get(unit).asFloatBuffer(),
                    shares.get(Kind.SECOND_MOMENT).get(unit).asFloatBuffer());
            WholeWeights.clear(gradientShares.get(unit));
        }
        forget();
    }

    private void forget() {
        layerThere = -1;
        outsideThere = false;
    }

    @Override
    public ByteBuffer read(int unit, Kind kind) {
        if (kind == Kind.WEIGHTS) {
            return weights(unit);
        }
        return gather(shares.get(kind).get(unit), unit);
    }

    /** Into the room of weights, which are forgotten. */
    private ByteBuffer gather(ByteBuffer share, int unit) {
        forget();
        ByteBuffer whole = whole(unit == layout.outside() ? outsideWeights : layerWeights, unit);
        communicator.allGather(share, whole);
        return whole;
    }

    @Override
    public void write(int unit, Kind kind, ByteBuffer whole) {
        int length = share(layout.unit(unit)) * Float.BYTES;
        shares.get(kind).get(unit).put(0, whole, communicator.rank() * length, length);
        forget();
    }

    @Override
    public long bytes() {
        return bytes;
    }
}
