package io.github.treeattention.dl4j;

import org.deeplearning4j.earlystopping.scorecalc.ScoreCalculator;
import org.deeplearning4j.nn.api.Model;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.dataset.api.iterator.DataSetIterator;

/** The loss per example over sequences of which every rank has a slice; the same at every rank. */
final class SequenceScore<T extends Model> implements ScoreCalculator<T> {
    private static final long serialVersionUID = 1L;

    private final transient DataSetIterator slices;
    private final transient SequenceExchange exchange;

    SequenceScore(DataSetIterator slices, SequenceExchange exchange) {
        this.slices = slices;
        this.exchange = exchange;
    }

    @Override
    public double calculateScore(T network) {
        double sum = 0;
        long examples = 0;
        slices.reset();
        while (slices.hasNext()) {
            DataSet batch = slices.next();
            double own = network instanceof MultiLayerNetwork net
                    ? net.score(batch, false)
                    : graph(network).score(batch, false);
            sum += whole(network, own, exchange) * batch.numExamples();
            examples += batch.numExamples();
        }
        return sum / examples;
    }

    /** From a slice's score to the whole sequences': losses add up, the penalty on parameters counts once. */
    static double whole(Model model, double own, SequenceExchange exchange) {
        double penalty = model instanceof MultiLayerNetwork network
                ? network.calcRegularizationScore(true)
                : graph(model).calcRegularizationScore(true);
        return exchange.sum(own - penalty) + penalty;
    }

    private static ComputationGraph graph(Model model) {
        if (model instanceof ComputationGraph graph) {
            return graph;
        }
        throw new IllegalArgumentException("the model must be a MultiLayerNetwork or a ComputationGraph: got "
                + model.getClass().getName());
    }

    @Override
    public boolean minimizeScore() {
        return true;
    }
}
