package io.github.treeattention.examples.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.examples.Ranks;
import io.github.treeattention.examples.TestData;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.model.RopeStyle;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a rank holds, counted as it is allocated, against formulas. */
class TrainingMemoryTest {
    private static final LlamaConfig KJV = ModelLoader.loadConfig(TestData.kjvLlama());
    private static final Blocks BLOCKS = new Blocks(64, 1000);

    /** All heads alike and {@code queryDim = dim = h}, as the paper counts. */
    private static LlamaConfig paper(int layers, int heads, int headDim) {
        int h = heads * headDim;
        return new LlamaConfig(
                h, 4 * h, layers, heads, heads, headDim, 100, 512, 1e-5, 1e4, RopeStyle.HALF_SPLIT, true, 0, List.of());
    }

    /**
     * The paper's block is a rank's slice of c rows, and its 6bch are Q, K, V, the incoming K and V, and the output. Ours,
     * in float32 and for forward and backward: per layer the input (1) and the output kept for backward (1); once for all
     * layers Q, K, V, output (the state's gradient), their three gradients, the residual gradient, the last output (9); an
     * lse a head; cosines and sines; and blocks of a fixed number of rows for the feed-forward layer. The incoming keys and
     * values are the ring's. So bytes are (2 * layers + 9) * c * h * 4 and what has no h in it, whatever the sequence's length.
     */
    @ParameterizedTest
    @ValueSource(ints = {1, 3})
    void shouldKeepAConstantNumberOfBlocks(int layers) {
        int heads = 3;
        int headDim = 8;
        long h = (long) heads * headDim;
        LlamaConfig config = paper(layers, heads, headDim);
        for (int c : new int[] {64, 65, 1000, 4096}) {
            long blocks = (2L * layers + 9) * c * h * Float.BYTES;
            long lse = (layers + 1L) * heads * c * Float.BYTES;
            long rotary = 2L * (headDim / 2) * c * Double.BYTES;
            long feedForward = BLOCKS.rows() * (4 * h + 3 * h + 2 * h + 4 * 4 * h + 100) * Float.BYTES;
            long counted = new Activations(config, c, BLOCKS).bytes();
            assertEquals(blocks + lse + rotary + feedForward, counted, "c=" + c);
            assertEquals(counted, Activations.bytes(config, c, BLOCKS), "told beforehand");
        }
    }

    /** Ranks and sequence grow together: a rank's activations stay what they are. */
    @Test
    void shouldNotGrowWithRanksAndSequence() {
        long one = Activations.bytes(KJV, 1024, BLOCKS);
        for (int ranks = 2; ranks <= 64; ranks *= 2) {
            int rows =
                    SequenceSplit.zigzag(1024L * ranks, ranks).slice(ranks - 1).length();
            assertEquals(one, new Activations(KJV, rows, BLOCKS).bytes(), ranks + " ranks");
        }
    }

    /** Formula of the class: 16 bytes a weight over the ranks, and the largest layer and the embeddings whole, twice each. */
    @Test
    void shouldHalveWhatARankHoldsOnFourRanks() throws Exception {
        long weights = KJV.parameters();
        List<Long> whole = Ranks.run(4, member -> new WholeWeights(new WeightLayout(KJV, 4), member).bytes());
        List<Long> sharded = Ranks.run(4, member -> new ShardedWeights(new WeightLayout(KJV, 4), member).bytes());
        long layer = 128L * (128 + 128 + 2 * 64) + 3L * 128 * 384 + 2 * 128;
        long outside = 1024L * 128 + 128;
        assertEquals(weights, 6 * layer + outside);
        for (int rank = 0; rank < 4; rank++) {
            assertEquals(16 * weights + layer, whole.get(rank));
            assertEquals(4 * weights + 8 * layer + 8 * outside + layer, sharded.get(rank));
            assertTrue(2 * sharded.get(rank) <= whole.get(rank), sharded.get(rank) + " of " + whole.get(rank));
        }
        System.out.println(
                "kjv-llama on 4 ranks: " + whole.get(0) + " bytes a rank whole, " + sharded.get(0) + " sharded");
        assertEquals(
                16 * weights,
                new WholeWeights(new WeightLayout(KJV, 1), Communicators.single()).bytes(),
                "one rank needs no room for shares");
    }
}
