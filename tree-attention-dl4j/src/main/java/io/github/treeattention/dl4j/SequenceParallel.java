package io.github.treeattention.dl4j;

import io.github.treeattention.collective.Communicator;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import org.deeplearning4j.earlystopping.scorecalc.ScoreCalculator;
import org.deeplearning4j.nn.api.Layer;
import org.deeplearning4j.nn.api.Model;
import org.deeplearning4j.nn.conf.layers.ActivationLayer;
import org.deeplearning4j.nn.conf.layers.DenseLayer;
import org.deeplearning4j.nn.conf.layers.DropoutLayer;
import org.deeplearning4j.nn.conf.layers.EmbeddingSequenceLayer;
import org.deeplearning4j.nn.conf.layers.RnnLossLayer;
import org.deeplearning4j.nn.conf.layers.RnnOutputLayer;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.graph.vertex.GraphVertex;
import org.deeplearning4j.nn.graph.vertex.impl.ElementWiseVertex;
import org.deeplearning4j.nn.graph.vertex.impl.InputVertex;
import org.deeplearning4j.nn.graph.vertex.impl.LayerVertex;
import org.deeplearning4j.nn.graph.vertex.impl.MergeVertex;
import org.deeplearning4j.nn.graph.vertex.impl.PreprocessorVertex;
import org.deeplearning4j.nn.graph.vertex.impl.ScaleVertex;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.deeplearning4j.optimize.api.BaseTrainingListener;
import org.deeplearning4j.optimize.api.TrainingListener;
import org.nd4j.evaluation.BaseEvaluation;
import org.nd4j.evaluation.IEvaluation;
import org.nd4j.linalg.dataset.api.iterator.DataSetIterator;

/**
 * Runs one network on a group of processes, each with its own slice of the time axis, rank 0 with the first: every rank
 * attaches its copy and then calls {@code fit} or {@code output} with its slice of the same batches, in the same order.
 * Training gives the same parameters as one process with the whole sequences, to rounding, and the same bits at every
 * rank. Slices may differ in length; masks are slices too.
 *
 * <p>{@link TreeSelfAttentionLayer}s collect the other ranks' keys and values; gradients and scores are summed over the
 * ranks before the updater sees them. Nothing of this is in the network's configuration: what is saved is the same for
 * any number of processes. Not thread-safe; a failed rank surfaces as the communicator's exception at every rank.
 */
public final class SequenceParallel {
    private static final Set<Class<?>> LAYERS = Set.of(
            TreeSelfAttentionLayer.class,
            RmsNormLayer.class,
            SwiGluLayer.class,
            DenseLayer.class,
            EmbeddingSequenceLayer.class,
            ActivationLayer.class,
            DropoutLayer.class,
            RnnOutputLayer.class,
            RnnLossLayer.class);
    private static final Set<Class<?>> VERTICES = Set.of(
            InputVertex.class,
            LayerVertex.class,
            ElementWiseVertex.class,
            MergeVertex.class,
            ScaleVertex.class,
            PreprocessorVertex.class);

    private SequenceParallel() {}

    /**
     * Makes a network one of a group's. Its parameters and updater state become rank 0's.
     *
     * @param communicator used by this network alone from now on
     * @throws IllegalArgumentException if a layer mixes time steps in a way that slices would break
     */
    public static void attach(MultiLayerNetwork network, Communicator communicator) {
        SequenceExchange exchange = new SequenceExchange(communicator);
        for (Layer layer : network.getLayers()) {
            distribute(layer, exchange);
        }
        exchange.broadcast(network.params());
        if (network.getUpdater().getStateViewArray() != null) {
            exchange.broadcast(network.getUpdater().getStateViewArray());
        }
        network.setListeners(withSum(network.getListeners(), new GradientSum(exchange)));
    }

    /** {@link #attach(MultiLayerNetwork, Communicator)} for a graph. */
    public static void attach(ComputationGraph network, Communicator communicator) {
        SequenceExchange exchange = new SequenceExchange(communicator);
        for (GraphVertex vertex : network.getVertices()) {
            if (!VERTICES.contains(vertex.getClass())) {
                throw refusal(vertex.getVertexName(), vertex.getClass());
            }
        }
        for (Layer layer : network.getLayers()) {
            distribute(layer, exchange);
        }
        exchange.broadcast(network.params());
        if (network.getUpdater().getStateViewArray() != null) {
            exchange.broadcast(network.getUpdater().getStateViewArray());
        }
        network.setListeners(withSum(network.getListeners(), new GradientSum(exchange)));
    }

    /**
     * Adds up what the ranks evaluated, each on its slice: the result of {@code network.evaluate(slices)}, or of any other
     * evaluation of ND4J's. Every rank calls this at the same point, and every rank gets the whole.
     *
     * @return a new evaluation; {@code own} stays as it is
     */
    public static <T extends IEvaluation<T>> T merge(T own, Communicator communicator) {
        @SuppressWarnings("unchecked") // its own class
        Class<T> type = (Class<T>) own.getClass();
        T whole = null;
        for (byte[] json :
                new SequenceExchange(communicator).gather(own.toJson().getBytes(StandardCharsets.UTF_8))) {
            T part = BaseEvaluation.fromJson(new String(json, StandardCharsets.UTF_8), type);
            if (whole == null) {
                whole = part;
            } else {
                whole.merge(part);
            }
        }
        return whole;
    }

    /**
     * The loss over whole sequences, for early stopping: every rank gives its slices of the same batches, and all ranks find
     * the same score, so that all stop after the same epoch and keep the same model. Conditions that look at a rank's own clock
     * may stop one rank alone, and must not be used.
     *
     * @param slices this rank's slices, in batches
     */
    public static <T extends Model> ScoreCalculator<T> scoreCalculator(
            DataSetIterator slices, Communicator communicator) {
        return new SequenceScore<>(slices, new SequenceExchange(communicator));
    }

    private static void distribute(Layer layer, SequenceExchange exchange) {
        Class<?> type = layer.conf().getLayer().getClass();
        if (!LAYERS.contains(type)) {
            throw refusal(layer.conf().getLayer().getLayerName(), type);
        }
        if (layer instanceof SelfAttentionRuntime attention) {
            attention.distribute(exchange);
        }
    }

    private static IllegalArgumentException refusal(String name, Class<?> type) {
        return new IllegalArgumentException("every layer but attention must treat time steps one by one, to run on"
                + " slices of a sequence: " + name + " is a " + type.getSimpleName());
    }

    private static List<TrainingListener> withSum(Collection<TrainingListener> listeners, GradientSum sum) {
        List<TrainingListener> all = new ArrayList<>();
        all.add(sum); // first, so that the others see the sums
        all.addAll(listeners);
        return all;
    }

    /** Sums gradients and scores over the ranks, between the backward pass and the updater. */
    private static final class GradientSum extends BaseTrainingListener {
        private final SequenceExchange exchange;

        GradientSum(SequenceExchange exchange) {
            this.exchange = exchange;
        }

        @Override
        public void onGradientCalculation(Model model) {
            exchange.allReduce(model.getGradientsViewArray());
            double score = SequenceScore.whole(model, model.score(), exchange);
            if (model instanceof MultiLayerNetwork network) {
                network.setScore(score);
            } else if (model instanceof ComputationGraph graph) {
                graph.setScore(score);
            }
        }
    }
}
