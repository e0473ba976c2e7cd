package io.github.treeattention.examples.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.examples.Ranks;
import io.github.treeattention.examples.TestData;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.model.RopeStyle;
import io.github.treeattention.examples.model.TensorShape;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.testkit.Safetensors;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The loss and every weight's gradient of a real model, computed by another system in float64. */
class GradientTest {
    private static final double LOSS = 1.806389044533064;
    /**
     * A gradient's error, as a part of its norm. Float32 sums: some 13000 roundings on the longest way (five layers there
     * and back over rows of 64, 172 and 512), so 2^-24 * sqrt(13000) = 7e-6. The reference's rotary tables, float32 too,
     * are off by up to p * 2^-24 at position p, 1.5e-5 on average for the fastest pair; ours are double. (With the
     * reference's own tables in place of ours, errors fell to a half or a third.)
     */
    private static final double TOLERANCE = 2e-5;

    /** Names in the reference of the tensors of a layer, in the order of {@link TensorShape#ofLayer}. */
    private static final String[] LAYER = {"attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1", "w3", "w2"};

    @ParameterizedTest
    @CsvSource({
        "1,false,INTERLEAVED",
        "1,false,HALF_SPLIT",
        "2,true,INTERLEAVED",
        "4,false,HALF_SPLIT",
        "4,true,INTERLEAVED"
    })
    void shouldGiveTheGradientsOfStories(int worldSize, boolean sharded, RopeStyle style) throws Exception {
        Path stories = TestData.shared("stories260K");
        LlamaModel model = ModelLoader.load(stories.resolve("stories260K.bin"));
        int[] ids = TestData.ids(
                TestData.json(stories.resolve("grad_tinystories512.json")).get("ids"));
        Safetensors wanted = Safetensors.read(stories.resolve("grad_tinystories512_fp64.safetensors"));
        Ranks.run(worldSize, communicator -> {
            check(model, style, Sequence.of(ids), wanted, sharded, communicator);
            return null;
        });
    }

    private static void check(
            LlamaModel model,
            RopeStyle style,
            Sequence sequence,
            Safetensors wanted,
            boolean sharded,
            Communicator communicator) {
        LlamaConfig config = withStyle(model.config(), style);
        WeightLayout layout = new WeightLayout(config, communicator.worldSize());
        WeightStore store = sharded ? new ShardedWeights(layout, communicator) : new WholeWeights(layout, communicator);
        ModelWeights.copy(model, store);
        for (int layer = 0; style == RopeStyle.HALF_SPLIT && layer < config.layers(); layer++) {
            store.write(layer, WeightStore.Kind.WEIGHTS, turned(store, layer, config));
        }
        SequenceSplit split = SequenceSplit.zigzag(sequence.tokens().length, communicator.worldSize());
        // Blocks that fit nothing: 33 rows of 64 to 512, 200 tokens of 512.
        SequencePass pass =
                new SequencePass(config, communicator, AttentionKernels.choose(), store, split, new Blocks(33, 200));
        int targets = sequence.targetCount();
        double expected = pass.loss(sequence);
        double loss = pass.backward(sequence, 1.0 / targets);
        assertEquals(expected, loss, "with and without gradients");
        assertEquals(LOSS, loss / targets, 1e-6);
        store.reduce();
        double worst = 0;
        for (int layer = 0; layer < config.layers(); layer++) {
            for (int tensor = 0; tensor < LAYER.length; tensor++) {
                double[] all = wanted.values(LAYER[tensor]);
                int count = all.length / config.layers();
                double[] values = Arrays.copyOfRange(all, layer * count, (layer + 1) * count);
                if (style == RopeStyle.HALF_SPLIT && (tensor == 1 || tensor == 2)) {
                    values = turned(values, config);
                }
                worst = Math.max(worst, check(LAYER[tensor] + " of layer " + layer, values, store, layer, tensor));
            }
        }
        worst = Math.max(worst, check("embeddings", wanted.values("tok_embeddings"), store, layout.outside(), 0));
        worst = Math.max(worst, check("norm", wanted.values("norm"), store, layout.outside(), 1));
        if (communicator.rank() == 0) {
            System.out.println("largest error of a gradient on " + communicator.worldSize() + " ranks: " + worst);
        }
    }

    private static double check(String name, double[] wanted, WeightStore store, int unit, int tensor) {
        FloatBuffer gradients = store.readGradients(unit).asFloatBuffer();
        int from = store.layout().unit(unit).offset(tensor);
        double error = 0;
        double norm = 0;
        for (int i = 0; i < wanted.length; i++) {
            error += Math.pow(gradients.get(from + i) - wanted[i], 2);
            norm += wanted[i] * wanted[i];
        }
        double relative = Math.sqrt(error / norm);
        assertTrue(relative <= TOLERANCE, name + " is off by " + relative);
        return relative;
    }

    private static LlamaConfig withStyle(LlamaConfig config, RopeStyle style) {
        return new LlamaConfig(
                config.dim(),
                config.hiddenDim(),
                config.layers(),
                config.heads(),
                config.kvHeads(),
                config.headDim(),
                config.vocabSize(),
                config.maxPositions(),
                config.rmsNormEps(),
                config.ropeTheta(),
                style,
                config.tiedEmbeddings(),
                config.bosId(),
                config.eosIds());
    }

    /** A layer whose queries and keys are half-split instead of interleaved: the same model. */
    private static ByteBuffer turned(WeightStore store, int layer, LlamaConfig config) {
        ByteBuffer source = store.read(layer, WeightStore.Kind.WEIGHTS);
        ByteBuffer copy = ByteBuffer.allocateDirect(source.capacity()).order(ByteOrder.LITTLE_ENDIAN);
        copy.put(source.duplicate().clear()).clear();
        FloatBuffer values = copy.asFloatBuffer();
        for (int tensor = 1; tensor <= 2; tensor++) {
            int from = store.layout().unit(layer).offset(tensor);
            double[] rows = new double
                    [(int) store.layout().unit(layer).tensors().get(tensor).count()];
            Arrays.setAll(rows, i -> values.get(from + i));
            double[] turned = turned(rows, config);
            for (int i = 0; i < turned.length; i++) {
                values.put(from + i, (float) turned[i]);
            }
        }
        return copy;
    }

    private static double[] turned(double[] rows, LlamaConfig config) {
        double[] turned = new double[rows.length];
        int half = config.headDim() / 2;
        for (int row = 0; row < rows.length / config.dim(); row++) {
            int within = row % config.headDim();
            int to = row - within + within / 2 + (within % 2) * half;
            System.arraycopy(rows, row * config.dim(), turned, to * config.dim(), config.dim());
        }
        return turned;
    }
}
