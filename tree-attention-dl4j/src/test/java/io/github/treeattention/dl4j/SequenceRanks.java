package io.github.treeattention.dl4j;

import static io.github.treeattention.dl4j.Nets.sequence;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.deeplearning4j.nn.conf.MultiLayerConfiguration;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.indexing.NDArrayIndex;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.learning.config.IUpdater;

/** Ranks that are threads, each with a network of its own, and the slices that they get. */
final class SequenceRanks {
    static final int TIME = 9;
    static final int STEPS = 10;

    private SequenceRanks() {}

    interface Rank<T> {
        T run(Communicator communicator) throws Exception;
    }

    static <T> List<T> onRanks(int worldSize, Rank<T> body) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(worldSize);
        try {
            List<Future<T>> futures = new ArrayList<>();
            for (Communicator member : Communicators.inProcess(worldSize, Duration.ofSeconds(60))) {
                futures.add(threads.submit(() -> body.run(member)));
            }
            List<T> results = new ArrayList<>();
            for (Future<T> future : futures) {
                results.add(future.get());
            }
            return results;
        } finally {
            threads.shutdownNow();
        }
    }

    static MultiLayerConfiguration configuration() {
        return configuration(new Adam(0.01));
    }

    static MultiLayerConfiguration configuration(IUpdater updater) {
        TreeSelfAttentionLayer.Builder second = Nets.ours().softCap(3).attentionDropout(0.3);
        second.l2(0.1); // a penalty counts once, not once a rank
        MultiLayerConfiguration configuration = sequence(
                updater,
                WorkspaceMode.ENABLED,
                Nets.ours().causal(true).kvHeads(1).rope(100).build(),
                second.build());
        configuration.getConfs().forEach(conf -> conf.getLayer().setDataType(DataType.DOUBLE));
        return configuration;
    }

    /** Uneven slices: the first rank takes what the others leave. */
    static int[] borders(int worldSize) {
        int[] borders = new int[worldSize + 1];
        for (int rank = worldSize; rank > 0; rank--) {
            borders[rank] = TIME - 2 * (worldSize - rank);
        }
        return borders;
    }

    static INDArray slice(INDArray array, int from, int to) {
        return array == null
                ? null
                : array.rank() == 3
                        ? array.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.interval(from, to))
                        : array.get(NDArrayIndex.all(), NDArrayIndex.interval(from, to));
    }

    static DataSet slice(DataSet data, int from, int to) {
        return new DataSet(
                slice(data.getFeatures(), from, to).dup(),
                slice(data.getLabels(), from, to).dup(),
                slice(data.getFeaturesMaskArray(), from, to),
                slice(data.getLabelsMaskArray(), from, to));
    }
}
