package io.github.treeattention.attention;

import java.util.Arrays;

/**
 * Scores of every query against every key, a tile of keys at a time, {@code softCap(scale * q.k) + zeta.v}, in float64.
 * Memory is a tile, whatever the number of keys.
 */
final class ScoreTiles {
    /** Keys in a tile. */
    static final int TILE = 128;

    private final AttentionEnergy energy;
    private final AttentionSpec spec;
    private final AttentionEnergy.Keys source;
    private final double[] keysTransposed; // [headDim][TILE]
    private final double[] valuesTransposed; // [valueDim][TILE]
    private int first;
    private int count;

    /** The tile's keys, {@code [TILE][headDim]}. */
    final double[] keys;
    /** The tile's values, {@code [TILE][valueDim]}. */
    final double[] values;
    /** One query's scores; -inf where it may not see a key. */
    final double[] scores = new double[TILE];
    /** The derivative of each score in {@code q.k}. */
    final double[] slopes = new double[TILE];

    /** What wants to see the scores. */
    interface Visitor {
        /** One query's scores of the tile are in {@link #scores}; at least one key is visible. */
        void visit(int head, int query);
    }

    ScoreTiles(AttentionEnergy energy, AttentionEnergy.Keys source) {
        this.energy = energy;
        this.spec = energy.spec();
        this.source = source;
        this.keys = new double[TILE * spec.headDim()];
        this.values = new double[TILE * spec.valueDim()];
        this.keysTransposed = new double[keys.length];
        this.valuesTransposed = new double[values.length];
    }

    /** Index of the tile's first key. */
    int first() {
        return first;
    }

    /** Keys in the tile. */
    int count() {
        return count;
    }

    /** Visits each query with each tile of which it sees a key: keys ascending, per key/value head. */
    void run(Visitor visitor) {
        for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
            for (first = 0; first < source.count(); first += TILE) {
                count = Math.min(TILE, source.count() - first);
                source.load(kvHead, first, count, keys, values);
                transpose(keys, spec.headDim(), keysTransposed);
                if (energy.source() != null) {
                    transpose(values, spec.valueDim(), valuesTransposed);
                }
                for (int member = 0; member < spec.groupSize(); member++) {
                    int head = kvHead * spec.groupSize() + member;
                    for (int query = 0; query < energy.count(); query++) {
                        if (score(head, query)) {
                            visitor.visit(head, query);
                        }
                    }
                }
            }
        }
    }

    /** Fills {@link #scores} and {@link #slopes}; whether any key is visible. */
    private boolean score(int head, int query) {
        long position = energy.firstPosition() + query;
        if (spec.causal() && source.position(first) > position) {
            return false;
        }
        int row = head * energy.count() + query;
        Arrays.fill(scores, 0);
        addProducts(energy.queries(), row * spec.headDim(), spec.headDim(), keysTransposed);
        double cap = spec.softCap();
        for (int j = 0; j < count; j++) {
            double scaled = scores[j] * spec.scale();
            double bent = cap > 0 ? Math.tanh(scaled / cap) : 0;
            scores[j] = cap > 0 ? cap * bent : scaled;
            slopes[j] = spec.scale() * (1 - bent * bent);
        }
        if (energy.source() != null) {
            addProducts(energy.source(), row * spec.valueDim(), spec.valueDim(), valuesTransposed);
        }
        boolean any = !spec.causal();
        for (int j = 0; spec.causal() && j < count; j++) {
            long key = source.position(first + j);
            boolean seen = key <= position && (spec.slidingWindow() == 0 || key > position - spec.slidingWindow());
            any |= seen;
            scores[j] = seen ? scores[j] : Double.NEGATIVE_INFINITY;
        }
        return any;
    }

    private void addProducts(double[] rows, int from, int dim, double[] transposed) {
        for (int d = 0; d < dim; d++) {
            double factor = rows[from + d];
            int at = d * TILE;
            for (int j = 0; j < TILE; j++) {
                scores[j] += factor * transposed[at + j];
            }
        }
    }

    private void transpose(double[] rows, int dim, double[] target) {
        for (int d = 0; d < dim; d++) {
            for (int j = 0; j < count; j++) {
                target[d * TILE + j] = rows[j * dim + d];
            }
            Arrays.fill(target, d * TILE + count, (d + 1) * TILE, 0);
        }
    }
}
