package io.github.treeattention.dl4j;

import static io.github.treeattention.dl4j.Nets.features;
import static io.github.treeattention.dl4j.Nets.labels;
import static io.github.treeattention.dl4j.Nets.mask;
import static io.github.treeattention.dl4j.Nets.network;
import static io.github.treeattention.dl4j.SequenceRanks.TIME;
import static io.github.treeattention.dl4j.SequenceRanks.borders;
import static io.github.treeattention.dl4j.SequenceRanks.configuration;
import static io.github.treeattention.dl4j.SequenceRanks.onRanks;
import static io.github.treeattention.dl4j.SequenceRanks.slice;
import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.deeplearning4j.datasets.iterator.utilty.SingletonDataSetIterator;
import org.deeplearning4j.earlystopping.EarlyStoppingConfiguration;
import org.deeplearning4j.earlystopping.EarlyStoppingResult;
import org.deeplearning4j.earlystopping.saver.InMemoryModelSaver;
import org.deeplearning4j.earlystopping.scorecalc.DataSetLossCalculator;
import org.deeplearning4j.earlystopping.scorecalc.ScoreCalculator;
import org.deeplearning4j.earlystopping.termination.MaxEpochsTerminationCondition;
import org.deeplearning4j.earlystopping.termination.ScoreImprovementEpochTerminationCondition;
import org.deeplearning4j.earlystopping.trainer.EarlyStoppingTrainer;
import org.deeplearning4j.nn.api.Model;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.nd4j.evaluation.classification.Evaluation;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;

/** Ranks evaluate and stop as one process does. */
@Timeout(240)
class SequenceParallelEvaluationTest {
    /** What is compared includes decisions, so the data is always the same. */
    @BeforeEach
    void seed() {
        Nd4j.getRandom().setSeed(5);
    }

    @Test
    void shouldEvaluateLikeOneProcess() throws Exception {
        INDArray mask = mask(TIME, TIME, 5, 2);
        DataSet data = new DataSet(features(3, TIME), labels(3, TIME), mask, mask);
        Evaluation wanted = network(configuration()).evaluate(new SingletonDataSetIterator(data));
        int[] borders = borders(3);
        for (Evaluation whole : onRanks(3, communicator -> {
            MultiLayerNetwork net = network(configuration());
            SequenceParallel.attach(net, communicator);
            DataSet own = slice(data, borders[communicator.rank()], borders[communicator.rank() + 1]);
            Evaluation part = net.evaluate(new SingletonDataSetIterator(own));
            assertTrue(part.getNumRowCounter() < wanted.getNumRowCounter());
            return SequenceParallel.merge(part, communicator);
        })) {
            assertEquals(TIME + 5 + 2, whole.getNumRowCounter());
            assertEquals(wanted.getConfusion(), whole.getConfusion());
            assertEquals(wanted.accuracy(), whole.accuracy());
        }
    }

    private static EarlyStoppingResult<MultiLayerNetwork> stopEarly(
            MultiLayerNetwork net, ScoreCalculator<? extends Model> calculator, DataSet training) {
        EarlyStoppingConfiguration<MultiLayerNetwork> configuration = new EarlyStoppingConfiguration.Builder<
                        MultiLayerNetwork>()
                .modelSaver(new InMemoryModelSaver<>())
                .scoreCalculator(calculator)
                .epochTerminationConditions(
                        new MaxEpochsTerminationCondition(60), new ScoreImprovementEpochTerminationCondition(2))
                .build();
        return new EarlyStoppingTrainer(configuration, net, new SingletonDataSetIterator(training)).fit();
    }

    @Test
    void shouldStopEarlyLikeOneProcess() throws Exception {
        DataSet training = new DataSet(features(1, TIME), labels(1, TIME));
        DataSet held = new DataSet(features(2, TIME), labels(2, TIME));
        MultiLayerNetwork alone = network(configuration());
        INDArray initial = alone.params().dup();
        EarlyStoppingResult<MultiLayerNetwork> wanted =
                stopEarly(alone, new DataSetLossCalculator(new SingletonDataSetIterator(held), true), training);
        assertTrue(wanted.getTotalEpochs() < 60, "it must stop because the score no longer improves");
        int[] borders = borders(2);
        for (EarlyStoppingResult<MultiLayerNetwork> result : onRanks(2, communicator -> {
            MultiLayerNetwork net = network(configuration());
            net.setParams(initial);
            SequenceParallel.attach(net, communicator);
            int from = borders[communicator.rank()];
            int to = borders[communicator.rank() + 1];
            ScoreCalculator<MultiLayerNetwork> calculator =
                    SequenceParallel.scoreCalculator(new SingletonDataSetIterator(slice(held, from, to)), communicator);
            return stopEarly(net, calculator, slice(training, from, to));
        })) {
            assertEquals(wanted.getTotalEpochs(), result.getTotalEpochs());
            assertEquals(wanted.getBestModelEpoch(), result.getBestModelEpoch());
            assertEquals(wanted.getBestModelScore(), result.getBestModelScore(), 1e-10);
            assertEquals(
                    0,
                    difference(
                            wanted.getBestModel().params(),
                            result.getBestModel().params()),
                    1e-9);
        }
    }
}
