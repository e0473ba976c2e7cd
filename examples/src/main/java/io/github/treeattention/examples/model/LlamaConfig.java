package io.github.treeattention.examples.model;

import java.util.List;
import java.util.Objects;

/**
 * Shape of a LLaMA-style decoder. Immutable.
 *
 * @param dim width of the residual stream
 * @param hiddenDim width of the feed-forward layer
 * @param layers transformer layers
 * @param heads query heads
 * @param kvHeads key/value heads, a divisor of {@code heads}
 * @param headDim length of a head's row, even
 * @param vocabSize tokens
 * @param maxPositions positions the model was made for; more are computed all the same
 * @param rmsNormEps added to the mean square before its root
 * @param ropeTheta base of the rotary angles
 * @param ropeStyle which elements are rotated together
 * @param tiedEmbeddings whether the head uses the embedding matrix
 * @param bosId id of the token that begins a text
 * @param eosIds ids that end one; may be empty
 */
public record LlamaConfig(
        int dim,
        int hiddenDim,
        int layers,
        int heads,
        int kvHeads,
        int headDim,
        int vocabSize,
        int maxPositions,
        double rmsNormEps,
        double ropeTheta,
        RopeStyle ropeStyle,
        boolean tiedEmbeddings,
        int bosId,
        List<Integer> eosIds) {

    /** More than any model has; keeps products of two sizes within a long and loops over layers short. */
    private static final int MAX_SIZE = 1 << 24;

    private static final int MAX_LAYERS = 4096;

    public LlamaConfig {
        Objects.requireNonNull(ropeStyle, "ropeStyle");
        eosIds = List.copyOf(eosIds);
        requireSize("dim", dim, MAX_SIZE);
        requireSize("hiddenDim", hiddenDim, MAX_SIZE);
        requireSize("layers", layers, MAX_LAYERS);
        requireSize("heads", heads, MAX_SIZE);
        requireSize("kvHeads", kvHeads, MAX_SIZE);
        requireSize("headDim", headDim, MAX_SIZE);
        requireSize("vocabSize", vocabSize, MAX_SIZE);
        requireSize("maxPositions", maxPositions, Integer.MAX_VALUE);
        require(heads % kvHeads == 0, "kvHeads must divide heads=" + heads, kvHeads);
        require(headDim % 2 == 0, "headDim must be even, since RoPE turns pairs", headDim);
        require((long) heads * headDim <= MAX_SIZE, "heads*headDim must be at most " + MAX_SIZE, heads + "*" + headDim);
        require(rmsNormEps > 0 && rmsNormEps < 1, "rmsNormEps must be between 0 and 1", rmsNormEps);
        require(ropeTheta > 0 && Double.isFinite(ropeTheta), "ropeTheta must be positive and finite", ropeTheta);
        require(bosId >= 0 && bosId < vocabSize, "bosId must be 0.." + (vocabSize - 1), bosId);
        for (int eosId : eosIds) {
            require(eosId >= 0 && eosId < vocabSize, "eosIds must be 0.." + (vocabSize - 1), eosId);
        }
    }

    /** Length of all query heads' rows together: {@code heads * headDim}. */
    public int queryDim() {
        return heads * headDim;
    }

    /** Length of all key heads' rows together: {@code kvHeads * headDim}. */
    public int kvDim() {
        return kvHeads * headDim;
    }

    /** Weights in the model, the head counted once where it is tied. */
    public long parameters() {
        long attention = (long) dim * (2L * queryDim() + 2L * kvDim());
        long feedForward = 3L * dim * hiddenDim;
        long embeddings = (tiedEmbeddings ? 1L : 2L) * vocabSize * dim;
        return layers * (attention + feedForward + 2L * dim) + embeddings + dim;
    }

    private static void requireSize(String name, int value, int most) {
        require(value >= 1 && value <= most, name + " must be 1.." + most, value);
    }

    private static void require(boolean holds, String rule, Object got) {
        if (!holds) {
            throw new IllegalArgumentException(rule + ": got " + got);
        }
    }
}
