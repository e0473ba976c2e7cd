package io.github.treeattention.dl4j;

import io.github.treeattention.attention.Dropout;
import io.github.treeattention.samediff.AttentionOptions;
import java.util.Map;
import org.deeplearning4j.nn.conf.layers.samediff.SDLayerParams;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * Projections around attention, as DL4J's layers have them, without their containers: {@code Wq [heads, headSize, nIn]},
 * {@code Wk} and {@code Wv [kvHeads, headSize, nIn]}, {@code Wo [heads * headSize, nOut]}, no biases. Immutable.
 *
 * @param heads query heads
 * @param project whether there are projections; without them there is one head, the input's features
 * @param dropout share of the weights that training drops
 * @param options those without dropout
 */
record AttentionBlock(int heads, boolean project, Rope rope, double dropout, AttentionOptions options) {
    static final String QUERY = "Wq";
    static final String KEY = "Wk";
    static final String VALUE = "Wv";
    static final String OUT = "Wo";

    /**
     * A block of settings whose {@code kvHeads} are written out; they show in the parameters' shapes.
     *
     * @throws IllegalArgumentException if they don't fit each other
     */
    static AttentionBlock of(int heads, boolean project, AttentionSettings settings) {
        int kvHeads = settings.kvHeads();
        if (kvHeads < 1 || heads % kvHeads != 0) {
            throw new IllegalArgumentException("kvHeads must divide nHeads=" + heads + ": got " + kvHeads);
        }
        AttentionOptions options = AttentionOptions.defaults()
                .withCausal(settings.causal())
                .withSlidingWindow(settings.slidingWindow())
                .withSoftCap(settings.softCap())
                .withScale(settings.scale() == 0 ? Double.NaN : settings.scale());
        return new AttentionBlock(heads, project, new Rope(settings.ropeTheta()), settings.attentionDropout(), options);
    }

    /** The options of one pass; training with dropout draws anew, from ND4J's generator. */
    AttentionOptions options(boolean training, int layer) {
        return training && dropout > 0
                ? options.withDropout(Dropout.of(dropout, Nd4j.getRandom().nextLong(), layer))
                : options;
    }

    /** The four projections of one input. */
    static void defineParameters(SDLayerParams params, int heads, int kvHeads, long headSize, long nIn, long nOut) {
        params.addWeightParam(QUERY, heads, headSize, nIn);
        params.addWeightParam(KEY, kvHeads, headSize, nIn);
        params.addWeightParam(VALUE, kvHeads, headSize, nIn);
        params.addWeightParam(OUT, heads * headSize, nOut);
    }

    /** Queries {@code [batch, heads, time, headSize]}, turned, of a sequence whose first step is at {@code position}. */
    INDArray queries(INDArray sequence, Map<String, INDArray> parameters, long position) {
        INDArray queries = heads(sequence, parameters.get(QUERY));
        rope.turn(queries, position);
        return queries;
    }

    INDArray keys(INDArray sequence, Map<String, INDArray> parameters, long position) {
        INDArray keys = heads(sequence, parameters.get(KEY));
        rope.turn(keys, position);
        return keys;
    }

    INDArray values(INDArray sequence, Map<String, INDArray> parameters) {
        return heads(sequence, parameters.get(VALUE));
    }

    /** The layer's output {@code [batch, nOut, time]}, in memory that the scratch owns. */
    INDArray output(INDArray attended, Map<String, INDArray> parameters, Scratch scratch) {
        INDArray rows = Heads.join(attended, scratch);
        INDArray result = project ? scratch.own(rows.mmul(parameters.get(OUT), 'c')) : rows;
        return Heads.sequence(result, attended.size(0));
    }

    /**
     * From the output's gradient to that of what attention gave, {@code [batch, heads, time, headSize]}; adds the output
     * projection's gradient.
     */
    INDArray outputGradient(
            INDArray gradient, INDArray attended, Map<String, INDArray> parameters, Map<String, INDArray> sums) {
        try (Scratch scratch = new Scratch()) {
            INDArray rows = Heads.rows(gradient, scratch);
            if (!project) {
                return Heads.split(rows, gradient.size(0), 1);
            }
            INDArray attendedRows = Heads.join(attended, scratch);
            sums.get(OUT).addi(scratch.own(attendedRows.transpose().mmul(rows, 'c')));
            INDArray joined = scratch.own(rows.mmul(parameters.get(OUT).transpose(), 'c'));
            return Heads.split(joined, gradient.size(0), heads);
        }
    }

    /** From queries' gradient to their sequence's, {@code [batch, nIn, time]}; adds the projection's. Takes the argument. */
    INDArray queriesGradient(
            INDArray gradient,
            INDArray sequence,
            Map<String, INDArray> parameters,
            Map<String, INDArray> sums,
            long position,
            Scratch scratch) {
        rope.turnBack(gradient, position);
        return headsGradient(gradient, sequence, parameters.get(QUERY), sums.get(QUERY), scratch);
    }

    INDArray keysGradient(
            INDArray gradient,
            INDArray sequence,
            Map<String, INDArray> parameters,
            Map<String, INDArray> sums,
            long position,
            Scratch scratch) {
        rope.turnBack(gradient, position);
        return headsGradient(gradient, sequence, parameters.get(KEY), sums.get(KEY), scratch);
    }

    INDArray valuesGradient(
            INDArray gradient,
            INDArray sequence,
            Map<String, INDArray> parameters,
            Map<String, INDArray> sums,
            Scratch scratch) {
        return headsGradient(gradient, sequence, parameters.get(VALUE), sums.get(VALUE), scratch);
    }

    private INDArray heads(INDArray sequence, INDArray weights) {
        try (Scratch scratch = new Scratch()) {
            INDArray rows = Heads.rows(sequence, scratch);
            long batch = sequence.size(0);
            return project ? Heads.project(rows, weights, batch, scratch) : Heads.split(rows, batch, 1);
        }
    }

    private INDArray headsGradient(
            INDArray gradient, INDArray sequence, INDArray weights, INDArray sum, Scratch scratch) {
        INDArray joined = Heads.join(gradient, scratch);
        if (!project) {
            return Heads.sequence(joined, sequence.size(0));
        }
        INDArray rows = Heads.rows(sequence, scratch);
        sum.addi(scratch.own(joined.transpose().mmul(rows, 'c')).reshape('c', sum.shape()));
        return Heads.sequence(scratch.own(joined.mmul(Heads.matrix(weights), 'c')), sequence.size(0));
    }
}
