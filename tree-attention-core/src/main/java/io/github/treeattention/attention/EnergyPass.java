package io.github.treeattention.attention;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.util.Arrays;

/**
 * The energy over one set of keys: each tile becomes a state of its own, which the same merge joins that joins ranks. So
 * the reduction is one from the tile to the network.
 */
final class EnergyPass {
    private final ScoreTiles tiles;
    private final EnergyState state;
    private final EnergyLayout layout;
    private final DoubleBuffer tile; // one row
    private final double[] weights = new double[ScoreTiles.TILE];
    private final double[] means;
    private final double[] covariance;
    private final double[] centred;

    private EnergyPass(ScoreTiles tiles, EnergyState state) {
        this.tiles = tiles;
        this.state = state;
        this.layout = state.layout();
        this.tile = ByteBuffer.allocate(layout.rowLength() * Double.BYTES)
                .order(ByteOrder.LITTLE_ENDIAN)
                .asDoubleBuffer();
        this.means = new double[layout.means()];
        this.covariance = new double[layout.covariances()];
        this.centred = new double[layout.valueDim()];
    }

    /** Merges the state over these keys into {@code state}. */
    static void run(AttentionEnergy energy, AttentionEnergy.Keys keys, EnergyState state) {
        ScoreTiles tiles = new ScoreTiles(energy, keys);
        EnergyPass pass = new EnergyPass(tiles, state);
        tiles.run(pass::add);
    }

    private void add(int head, int query) {
        double max = Double.NEGATIVE_INFINITY;
        for (int j = 0; j < tiles.count(); j++) {
            max = Math.max(max, tiles.scores[j]);
        }
        if (max == Double.NEGATIVE_INFINITY) {
            return; // infinite keys can push every score down to -inf
        }
        double sum = 0;
        for (int j = 0; j < tiles.count(); j++) {
            weights[j] = Math.exp(tiles.scores[j] - max);
            sum += weights[j];
        }
        if (layout.means() > 0) {
            average(sum);
            tile.put(0, means);
        }
        if (layout.covariances() > 0) {
            correlate(sum);
            tile.put(layout.means(), covariance);
        }
        tile.put(layout.rowLength() - 1, max + Math.log(sum));
        layout.merge(state.rows(), layout.rowLength() * (head * state.queries() + query), tile, 0);
    }

    /** The tile's mean score, value, and derivative of the score in q. */
    private void average(double sum) {
        int headDim = layout.headDim();
        int valueDim = layout.valueDim();
        Arrays.fill(means, 0);
        for (int j = 0; j < tiles.count(); j++) {
            double share = weights[j] / sum;
            if (share == 0) {
                continue; // also a masked key, whose value may be NaN
            }
            means[0] += share * tiles.scores[j];
            for (int i = 0; i < valueDim; i++) {
                means[1 + i] += share * tiles.values[j * valueDim + i];
            }
            double slope = share * tiles.slopes[j];
            for (int i = 0; i < headDim; i++) {
                means[1 + valueDim + i] += slope * tiles.keys[j * headDim + i];
            }
        }
    }

    /** The tile's covariance of values, about the tile's own mean: nothing cancels. */
    private void correlate(double sum) {
        int dim = layout.valueDim();
        Arrays.fill(covariance, 0);
        for (int j = 0; j < tiles.count(); j++) {
            double share = weights[j] / sum;
            if (share == 0) {
                continue;
            }
            for (int i = 0; i < dim; i++) {
                centred[i] = tiles.values[j * dim + i] - means[1 + i];
            }
            for (int i = 0; i < dim; i++) {
                for (int l = 0; l < dim; l++) {
                    covariance[i * dim + l] += share * centred[i] * centred[l];
                }
            }
        }
    }
}
