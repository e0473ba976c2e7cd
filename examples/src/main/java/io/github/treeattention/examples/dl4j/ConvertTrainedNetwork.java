package io.github.treeattention.examples.dl4j;

import io.github.treeattention.dl4j.TreeAttentionConversion;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.conf.inputs.InputType;
import org.deeplearning4j.nn.conf.layers.RnnOutputLayer;
import org.deeplearning4j.nn.conf.layers.SelfAttentionLayer;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.deeplearning4j.util.ModelSerializer;
import org.nd4j.linalg.activations.Activation;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.lossfunctions.LossFunctions.LossFunction;

/**
 * A saved network with DL4J's attention, read and trained on with ours: the outputs are the same. Start it with {@code
 * treeattn launch -n 1 -- io.github.treeattention.examples.dl4j.ConvertTrainedNetwork [network.zip]}; without a file it
 * makes a network of its own.
 */
public final class ConvertTrainedNetwork {
    private ConvertTrainedNetwork() {}

    public static void main(String[] args) throws IOException {
        if (args.length > 0) {
            System.out.print(TreeAttentionConversion.convert(new File(args[0])).report());
            return;
        }
        Path file = Files.createTempFile("stock", ".zip");
        try {
            MultiLayerNetwork stock = trained();
            ModelSerializer.writeModel(stock, file.toFile(), true);
            System.out.println(convert(stock, file.toFile()));
        } finally {
            Files.delete(file);
        }
    }

    /** Converts, compares and trains on. */
    static String convert(MultiLayerNetwork stock, File file) throws IOException {
        var converted = TreeAttentionConversion.convert(file);
        MultiLayerNetwork ours = (MultiLayerNetwork) converted.network();
        INDArray[] batch = DropInLayer.batch();
        double difference = Differences.largest(stock.output(batch[0]), ours.output(batch[0]));
        double before = ours.score(new org.nd4j.linalg.dataset.DataSet(batch[0], batch[1]));
        for (int i = 0; i < 50; i++) {
            ours.fit(batch[0], batch[1]);
        }
        double after = ours.score(new org.nd4j.linalg.dataset.DataSet(batch[0], batch[1]));
        return converted.report()
                + "largest difference of the outputs: " + difference + "\n"
                + "loss before training on: " + before + ", after: " + after;
    }

    static MultiLayerNetwork trained() {
        MultiLayerNetwork network = new MultiLayerNetwork(new NeuralNetConfiguration.Builder()
                .seed(1)
                .updater(new Adam(0.01))
                .list()
                .layer(new SelfAttentionLayer.Builder()
                        .nOut(16)
                        .nHeads(2)
                        .projectInput(true)
                        .build())
                .layer(new RnnOutputLayer.Builder(LossFunction.MCXENT)
                        .nOut(2)
                        .activation(Activation.SOFTMAX)
                        .build())
                .setInputType(InputType.recurrent(8))
                .build());
        network.init();
        INDArray[] batch = DropInLayer.batch();
        for (int i = 0; i < 20; i++) {
            network.fit(batch[0], batch[1]);
        }
        return network;
    }
}
