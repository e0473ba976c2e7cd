package io.github.treeattention.dl4j;

import java.io.File;
import java.io.IOException;
import org.deeplearning4j.nn.api.Model;
import org.deeplearning4j.nn.api.Updater;
import org.deeplearning4j.nn.conf.ComputationGraphConfiguration;
import org.deeplearning4j.nn.conf.MultiLayerConfiguration;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.deeplearning4j.nn.updater.graph.ComputationGraphUpdater;
import org.deeplearning4j.util.ModelSerializer;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * Swaps the attention layers of a trained network for ours, and back. The new network has copies of the parameters and
 * the updater's state, and the iteration and epoch counts and listeners of the old one, which stays as it is.
 */
public final class TreeAttentionConversion {
    private TreeAttentionConversion() {}

    /** Which gradients the layers that become ours return. */
    public enum GradientScale {
        /** The true ones. A carried updater state, of Adam for example, is still at the stock layers' doubled scale. */
        TRUE,
        /** Twice the true ones, as the stock layers do, to train on as if nothing had been swapped. */
        STOCK
    }

    /**
     * What a conversion gives.
     *
     * @param network a new network, ready to use
     * @param report what was swapped, and what was left and why
     */
    public record Converted<N>(N network, ConversionReport report) {}

    /** {@link #convert(MultiLayerNetwork, GradientScale)} with true gradients. */
    public static Converted<MultiLayerNetwork> convert(MultiLayerNetwork network) {
        return convert(network, GradientScale.TRUE);
    }

    /** {@link #convert(ComputationGraph, GradientScale)} with true gradients. */
    public static Converted<ComputationGraph> convert(ComputationGraph network) {
        return convert(network, GradientScale.TRUE);
    }

    /**
     * Swaps stock attention layers for ours.
     *
     * @param network an initialised network, which is only read
     */
    public static Converted<MultiLayerNetwork> convert(MultiLayerNetwork network, GradientScale scale) {
        DataType type = network.getLayerWiseConfigurations().getDataType();
        return swap(network, new LayerSwap(true, scale == GradientScale.STOCK, refusal(type)));
    }

    /**
     * Swaps stock attention layers and vertices for ours.
     *
     * @param network an initialised network, which is only read
     */
    public static Converted<ComputationGraph> convert(ComputationGraph network, GradientScale scale) {
        DataType type = network.getConfiguration().getDataType();
        return swap(network, new LayerSwap(true, scale == GradientScale.STOCK, refusal(type)));
    }

    /** {@link #convert(File, GradientScale)} with true gradients. */
    public static Converted<? extends Model> convert(File zip) throws IOException {
        return convert(zip, GradientScale.TRUE);
    }

    /**
     * Swaps the stock attention layers of a network that {@code ModelSerializer} saved, with its updater's state where the
     * file has one. A normalizer in the file is not read.
     *
     * @return a {@link MultiLayerNetwork} or a {@link ComputationGraph}, whichever the file holds
     * @throws IllegalArgumentException if the file holds neither
     */
    public static Converted<? extends Model> convert(File zip, GradientScale scale) throws IOException {
        return SavedNetwork.isGraph(zip)
                ? convert(ModelSerializer.restoreComputationGraph(zip, true), scale)
                : convert(ModelSerializer.restoreMultiLayerNetwork(zip, true), scale);
    }

    /** Swaps ours for stock ones, where those can do what ours are set to; their gradients are doubled again. */
    public static Converted<MultiLayerNetwork> convertBack(MultiLayerNetwork network) {
        return swap(network, new LayerSwap(false, false, null));
    }

    /** Swaps ours for stock ones, where those can do what ours are set to; their gradients are doubled again. */
    public static Converted<ComputationGraph> convertBack(ComputationGraph network) {
        return swap(network, new LayerSwap(false, false, null));
    }

    private static String refusal(DataType type) {
        return type == DataType.FLOAT || type == DataType.DOUBLE
                ? null
                : "our layers are offered for FLOAT and DOUBLE: the network is " + type;
    }

    private static Converted<MultiLayerNetwork> swap(MultiLayerNetwork old, LayerSwap swap) {
        String json = swap.apply(old.getLayerWiseConfigurations().toJson());
        MultiLayerNetwork network = new MultiLayerNetwork(MultiLayerConfiguration.fromJson(json));
        network.init(copy(old.params()), false);
        network.setIterationCount(old.getIterationCount());
        network.setEpochCount(old.getEpochCount());
        Updater updater = old.getUpdater(false);
        INDArray state = updater == null ? null : updater.getStateViewArray();
        if (state != null) {
            network.getUpdater().setStateViewArray(network, state.dup(), false);
        }
        network.setListeners(SequenceParallel.withoutSum(old.getListeners()));
        return new Converted<>(network, swap.report());
    }

    private static Converted<ComputationGraph> swap(ComputationGraph old, LayerSwap swap) {
        String json = swap.apply(old.getConfiguration().toJson());
        ComputationGraph network = new ComputationGraph(ComputationGraphConfiguration.fromJson(json));
        network.init(copy(old.params()), false);
        network.getConfiguration().setIterationCount(old.getIterationCount());
        network.getConfiguration().setEpochCount(old.getEpochCount());
        ComputationGraphUpdater updater = old.getUpdater(false);
        INDArray state = updater == null ? null : updater.getStateViewArray();
        if (state != null) {
            network.getUpdater().setStateViewArray(state.dup());
        }
        network.setListeners(SequenceParallel.withoutSum(old.getListeners()));
        return new Converted<>(network, swap.report());
    }

    private static INDArray copy(INDArray parameters) {
        if (parameters == null) {
            throw new IllegalArgumentException("the network must be initialised: call init() first");
        }
        return parameters.dup();
    }
}
