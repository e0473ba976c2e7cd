package io.github.treeattention.dl4j;

import io.github.treeattention.collective.Communicator;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;
import org.deeplearning4j.earlystopping.scorecalc.ScoreCalculator;
import org.deeplearning4j.nn.api.Layer;
import org.deeplearning4j.nn.api.Model;
import org.deeplearning4j.nn.conf.BackpropType;
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
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.api.iterator.DataSetIterator;

/**
 * Runs one network on a group of processes, each with its own slice of the time axis, rank 0 with the first: every rank
 * attaches its copy and then calls {@code fit} or {@code output} with its slice of the same batches, in the same order.
 * Training gives the same parameters as one process with the whole sequences, to rounding, and the same bits at every
 * rank. Slices may differ in length; masks are slices too.
 *
 * <p>{@link TreeSelfAttentionLayer}s, {@link TreeLearnedSelfAttentionLayer}s and {@link TreeAttentionVertex}es meet the
 * other ranks' keys and values. Learned queries are a sequence too: rank {@code r} of {@code p} asks, and gets labels for,
 * the queries from {@code nQueries * r / p} to {@code nQueries * (r + 1) / p}, exclusive. Gradients and scores are summed over the
 * ranks before the updater sees them. Nothing of this is in the network's configuration: what is saved is the same for
 * any number of processes. Not thread-safe; a failed rank surfaces as the communicator's exception at every rank.
 */
public final class SequenceParallel {
    private static final Set<Class<?>> LAYERS = Set.of(
            TreeSelfAttentionLayer.class,
            TreeLearnedSelfAttentionLayer.class,
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
            AttentionVertexRuntime.class,
            ElementWiseVertex.class,
            MergeVertex.class,
            ScaleVertex.class,
            PreprocessorVertex.class);

    private SequenceParallel() {}

    /**
     * Makes a network one of a group's. Its parameters, updater state, iteration and epoch counts become rank 0's.
     *
     * <p>Gradients are summed by a listener: add others by {@code addListeners}. {@code setListeners} would remove it, and the
     * next training step then fails. Attaching again is allowed, after a group has been formed anew for example. Clones and
     * converted networks are not attached.
     *
     * @param communicator used by this network alone from now on
     * @throws IllegalArgumentException if a layer mixes time steps in a way that slices would break, back-propagation is
     *     truncated, or the ranks' networks differ in size
     */
    public static void attach(MultiLayerNetwork network, Communicator communicator) {
        requireWhole(network.getLayerWiseConfigurations().getBackpropType());
        SequenceExchange exchange = exchange(network, network.getLayers(), communicator, network::getListeners);
        share(exchange, network.params(), network.getUpdater().getStateViewArray());
        distribute(network.getLayers(), exchange);
        long[] counts = exchange.gather(network.getIterationCount(), network.getEpochCount())
                .get(0);
        network.setIterationCount((int) counts[0]);
        network.setEpochCount((int) counts[1]);
        network.setListeners(withSum(network.getListeners(), new GradientSum(network, exchange)));
    }

    /** {@link #attach(MultiLayerNetwork, Communicator)} for a graph. */
    public static void attach(ComputationGraph network, Communicator communicator) {
        requireWhole(network.getConfiguration().getBackpropType());
        for (GraphVertex vertex : network.getVertices()) {
            if (!VERTICES.contains(vertex.getClass())) {
                throw refusal(vertex.getVertexName(), vertex.getClass());
            }
        }
        SequenceExchange exchange = exchange(network, network.getLayers(), communicator, network::getListeners);
        share(exchange, network.params(), network.getUpdater().getStateViewArray());
        distribute(network.getLayers(), exchange);
        distribute(network.getVertices(), exchange);
        long[] counts = exchange.gather(network.getIterationCount(), network.getEpochCount())
                .get(0);
        network.getConfiguration().setIterationCount((int) counts[0]);
        network.getConfiguration().setEpochCount((int) counts[1]);
        network.setListeners(withSum(network.getListeners(), new GradientSum(network, exchange)));
    }

    private static void requireWhole(BackpropType type) {
        if (type != BackpropType.Standard) {
            throw new IllegalArgumentException(
                    "slices are of whole sequences, so back-propagation must be Standard: got " + type
                            + ", which would cut every slice into segments of its own");
        }
    }

    /** What a network that may be attached will send by; the network stays as it is. */
    private static SequenceExchange exchange(
            Model network,
            Layer[] layers,
            Communicator communicator,
            Supplier<Collection<TrainingListener>> listeners) {
        for (Layer layer : layers) {
            Class<?> type = layer.conf().getLayer().getClass();
            if (!LAYERS.contains(type)) {
                throw refusal(layer.conf().getLayer().getLayerName(), type);
            }
        }
        SequenceExchange exchange = new SequenceExchange(
                communicator, () -> listeners.get().stream().anyMatch(each -> GradientSum.isOf(network, each)));
        for (Layer layer : layers) {
            if (layer instanceof Distributable attention) {
                attention.requireFits(exchange);
            }
        }
        return exchange;
    }

    private static void distribute(Object[] parts, SequenceExchange exchange) {
        for (Object part : parts) {
            if (part instanceof Distributable attention) {
                attention.distribute(exchange);
            }
        }
    }

    private static void share(SequenceExchange exchange, INDArray parameters, INDArray updaterState) {
        List<long[]> sizes = exchange.gather(parameters.length(), updaterState == null ? 0 : updaterState.length());
        for (int rank = 1; rank < sizes.size(); rank++) {
            if (!Arrays.equals(sizes.get(0), sizes.get(rank))) {
                throw new IllegalArgumentException(
                        "all ranks must attach the same network: parameters and updater state"
                                + " are " + Arrays.toString(sizes.get(0)) + " numbers at rank 0, "
                                + Arrays.toString(sizes.get(rank)) + " at rank " + rank);
            }
        }
        exchange.broadcast(parameters);
        if (updaterState != null) {
            exchange.broadcast(updaterState);
        }
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
                new SequenceExchange(communicator).gatherBytes(own.toJson().getBytes(StandardCharsets.UTF_8))) {
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

    private static IllegalArgumentException refusal(String name, Class<?> type) {
        return new IllegalArgumentException("every layer but attention must treat time steps one by one, to run on"
                + " slices of a sequence: " + name + " is a " + type.getSimpleName());
    }

    /** Without the sum of an earlier group. */
    static List<TrainingListener> withoutSum(Collection<TrainingListener> listeners) {
        return listeners.stream().filter(each -> !(each instanceof GradientSum)).toList();
    }

    private static List<TrainingListener> withSum(Collection<TrainingListener> listeners, GradientSum sum) {
        List<TrainingListener> all = new ArrayList<>();
        all.add(sum); // first, so that the others see the sums
        all.addAll(withoutSum(listeners));
        return all;
    }

    /** Sums one network's gradients and scores over the ranks, between the backward pass and the updater. */
    private static final class GradientSum extends BaseTrainingListener {
        private final Model network;
        private final SequenceExchange exchange;

        GradientSum(Model network, SequenceExchange exchange) {
            this.network = network;
            this.exchange = exchange;
        }

        static boolean isOf(Model network, TrainingListener listener) {
            return listener instanceof GradientSum sum && sum.network == network;
        }

        @Override
        public void onGradientCalculation(Model model) {
            if (model != network) {
                throw new IllegalStateException(
                        "listeners of a network on several processes are its own: attach the other"
                                + " network, or give it other listeners");
            }
            exchange.allReduce(model.getGradientsViewArray());
            double score = SequenceScore.whole(model, model.score(), exchange);
            if (model instanceof MultiLayerNetwork layers) {
                layers.setScore(score);
            } else if (model instanceof ComputationGraph graph) {
                graph.setScore(score);
            }
        }
    }
}
