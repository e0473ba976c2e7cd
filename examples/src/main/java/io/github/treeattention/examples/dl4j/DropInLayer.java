package io.github.treeattention.examples.dl4j;

import io.github.treeattention.dl4j.TreeSelfAttentionLayer;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.conf.inputs.InputType;
import org.deeplearning4j.nn.conf.layers.RnnOutputLayer;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.nd4j.linalg.activations.Activation;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.lossfunctions.LossFunctions.LossFunction;

/**
 * A network with attention over its sequences, in ten lines: each step of a random sequence is to be labelled with the sign
 * of the step before it, which only attention can see. Start it with {@code treeattn launch -n 1 --
 * io.github.treeattention.examples.dl4j.DropInLayer}.
 */
public final class DropInLayer {
    private static final int STEPS = 20;

    private DropInLayer() {}

    public static void main(String[] args) {
        MultiLayerNetwork network = network();
        INDArray[] batch = batch();
        for (int i = 0; i <= 300; i++) {
            network.fit(batch[0], batch[1]);
            if (i % 100 == 0) {
                System.out.printf("after %d steps: loss %.3f per time step%n", i + 1, network.score() / STEPS);
            }
        }
    }

    static MultiLayerNetwork network() {
        MultiLayerNetwork network = new MultiLayerNetwork(new NeuralNetConfiguration.Builder()
                .seed(1)
                .updater(new Adam(0.01))
                .list()
                .layer(new TreeSelfAttentionLayer.Builder() // SelfAttentionLayer.Builder before
                        .nOut(16)
                        .nHeads(2)
                        .projectInput(true)
                        .causal(true)
                        .rope(10_000)
                        .build())
                .layer(new RnnOutputLayer.Builder(LossFunction.MCXENT)
                        .nOut(2)
                        .activation(Activation.SOFTMAX)
                        .build())
                .setInputType(InputType.recurrent(8))
                .build());
        network.init();
        return network;
    }

    /** Features {@code [32, 8, STEPS]}: a sign and a constant among them; labels {@code [32, 2, STEPS]}. */
    static INDArray[] batch() {
        Nd4j.getRandom().setSeed(1);
        INDArray features = Nd4j.rand(DataType.FLOAT, 32, 8, STEPS).subi(0.5);
        INDArray labels = Nd4j.zeros(DataType.FLOAT, 32, 2, STEPS);
        for (int row = 0; row < 32; row++) {
            for (int step = 0; step < STEPS; step++) {
                boolean positive = step > 0 && features.getDouble(row, 0, step - 1) > 0;
                labels.putScalar(row, positive ? 1 : 0, step, 1);
            }
        }
        return new INDArray[] {features, labels};
    }
}
