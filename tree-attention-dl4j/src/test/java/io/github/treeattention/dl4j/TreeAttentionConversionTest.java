package io.github.treeattention.dl4j;

import static io.github.treeattention.dl4j.Nets.features;
import static io.github.treeattention.dl4j.Nets.labels;
import static io.github.treeattention.dl4j.Nets.mask;
import static io.github.treeattention.dl4j.Nets.network;
import static io.github.treeattention.dl4j.Nets.sequence;
import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.dl4j.TreeAttentionConversion.Converted;
import io.github.treeattention.dl4j.TreeAttentionConversion.GradientScale;
import io.github.treeattention.testkit.SeededArrays;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.ZipEntry;
import java.util.zip.ZipException;
import java.util.zip.ZipOutputStream;
import org.deeplearning4j.nn.api.Model;
import org.deeplearning4j.nn.conf.MultiLayerConfiguration;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.conf.layers.SelfAttentionLayer;
import org.deeplearning4j.nn.conf.layers.misc.FrozenLayerWithBackprop;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.deeplearning4j.optimize.listeners.CollectScoresIterationListener;
import org.deeplearning4j.util.ModelSerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.learning.config.Sgd;

@ExtendWith(SeededArrays.class)
@Timeout(120)
class TreeAttentionConversionTest {
    private static DataSet data() {
        INDArray mask = mask(6, 6, 3, 4);
        return new DataSet(features(3, 6), labels(3, 6), mask, mask);
    }

    @Test
    void shouldTrainASavedStockNetworkOnAsIfNothingHadHappened(@TempDir Path folder) throws IOException {
        MultiLayerNetwork stock = network(sequence(new Adam(0.01), WorkspaceMode.ENABLED, Nets.stock(), Nets.stock()));
        DataSet data = data();
        for (int i = 0; i < 3; i++) {
            stock.fit(data);
        }
        stock.incrementEpochCount();
        File file = folder.resolve("stock.zip").toFile();
        ModelSerializer.writeModel(stock, file, true);
        Converted<? extends Model> converted = TreeAttentionConversion.convert(file, GradientScale.STOCK);
        MultiLayerNetwork ours = assertInstanceOf(MultiLayerNetwork.class, converted.network());
        assertEquals(
                """
                        layer0: SelfAttentionLayer -> TreeSelfAttentionLayer
                        layer1: SelfAttentionLayer -> TreeSelfAttentionLayer
                        """,
                converted.report().toString());
        assertEquals(3, ours.getIterationCount());
        assertEquals(1, ours.getEpochCount());
        assertEquals(0, difference(stock.output(data.getFeatures()), ours.output(data.getFeatures())), 1e-13);
        for (int i = 0; i < 20; i++) {
            stock.fit(data);
            ours.fit(data);
        }
        assertEquals(0, difference(stock.params(), ours.params()), 1e-10);
        assertEquals(
                0,
                difference(
                        stock.getUpdater().getStateViewArray(),
                        ours.getUpdater().getStateViewArray()),
                1e-10);
        assertEquals(stock.getIterationCount(), ours.getIterationCount());
    }

    @Test
    void shouldConvertGraphsAndBack() {
        ComputationGraph stock = Nets.graph(new Adam(0.01), WorkspaceMode.ENABLED, Nets.stock());
        CollectScoresIterationListener listener = new CollectScoresIterationListener();
        stock.setListeners(listener);
        DataSet data = data();
        stock.fit(data);
        Converted<ComputationGraph> converted = TreeAttentionConversion.convert(stock, GradientScale.STOCK);
        assertEquals("attention", converted.report().swapped().get(0).name());
        ComputationGraph ours = converted.network();
        assertSame(listener, ours.getListeners().iterator().next());
        ComputationGraph back = TreeAttentionConversion.convertBack(ours).network();
        assertEquals(
                SelfAttentionLayer.class,
                back.getLayer("attention").conf().getLayer().getClass());
        assertEquals(stock.getConfiguration().toJson(), back.getConfiguration().toJson());
        for (int i = 0; i < 20; i++) {
            stock.fit(data);
            ours.fit(data);
            back.fit(data);
        }
        assertEquals(0, difference(stock.params(), ours.params()), 1e-10);
        assertEquals(0, difference(stock.params(), back.params()), 1e-10);
    }

    @Test
    void shouldConvertSavedGraphsAndRefuseOtherFiles(@TempDir Path folder) throws IOException {
        ComputationGraph stock = Nets.graph(new Adam(0.01), WorkspaceMode.NONE, Nets.stock());
        Path file = folder.resolve("graph.zip");
        ModelSerializer.writeModel(stock, file.toFile(), false); // without the updater's state
        INDArray x = features(2, 5);
        ComputationGraph ours = assertInstanceOf(
                ComputationGraph.class,
                TreeAttentionConversion.convert(file.toFile()).network());
        assertEquals(0, difference(stock.outputSingle(x), ours.outputSingle(x)), 1e-13);
        Path text = Files.writeString(folder.resolve("text.zip"), "no archive");
        assertThrows(ZipException.class, () -> TreeAttentionConversion.convert(text.toFile()));
        Path other = folder.resolve("other.zip");
        for (String[] entry : new String[][] {{"readme", "{}"}, {"configuration.json", "{\"a\": 1}"}}) {
            try (ZipOutputStream zip = new ZipOutputStream(Files.newOutputStream(other))) {
                zip.putNextEntry(new ZipEntry(entry[0]));
                zip.write(entry[1].getBytes(StandardCharsets.UTF_8));
            }
            IllegalArgumentException refused =
                    assertThrows(IllegalArgumentException.class, () -> TreeAttentionConversion.convert(other.toFile()));
            String wanted = entry[0].equals("readme") ? "there is none in" : "has neither";
            assertTrue(refused.getMessage().contains(wanted), refused.getMessage());
        }
    }

    @Test
    void shouldLeaveTheOldNetworkAlone() {
        MultiLayerNetwork stock = network(sequence(new Adam(0.01), WorkspaceMode.ENABLED, Nets.stock()));
        INDArray before = stock.params().dup();
        MultiLayerNetwork ours = TreeAttentionConversion.convert(stock).network();
        ours.fit(data());
        assertEquals(0, difference(before, stock.params()));
        assertTrue(difference(before, ours.params()) > 0);
    }

    @Test
    void shouldConvertInsideWrappers() {
        MultiLayerNetwork stock = network(
                sequence(new Sgd(0.1), WorkspaceMode.ENABLED, Nets.stock(), new FrozenLayerWithBackprop(Nets.stock())));
        Converted<MultiLayerNetwork> converted = TreeAttentionConversion.convert(stock, GradientScale.STOCK);
        assertEquals(2, converted.report().swapped().size());
        DataSet data = data();
        for (int i = 0; i < 3; i++) {
            stock.fit(data);
            converted.network().fit(data);
        }
        assertEquals(0, difference(stock.params(), converted.network().params()), 1e-12);
    }

    /** A layer of somebody else's. */
    static final class Special extends SelfAttentionLayer {
        private static final long serialVersionUID = 1L;

        private Special() {
            super(new SelfAttentionLayer.Builder().nHeads(1).nOut(1).projectInput(true));
        }

        Special(Builder builder) {
            super(builder);
        }
    }

    @Test
    void shouldSayWhatItLeftAndWhy() {
        MultiLayerConfiguration configuration = sequence(
                new Sgd(0.1),
                WorkspaceMode.ENABLED,
                Nets.ours().causal(true).name("mine").build(),
                new Special(new SelfAttentionLayer.Builder().nHeads(1).nOut(4).projectInput(true)));
        Converted<MultiLayerNetwork> converted = TreeAttentionConversion.convert(network(configuration));
        assertEquals(
                """
                        mine: TreeSelfAttentionLayer left: it is one of ours already
                        layer1: Special left: it is a subclass, which may do something else
                        """,
                converted.report().toString());
        assertEquals(
                """
                        mine: TreeSelfAttentionLayer left: the stock layer has no causal mask
                        layer1: Special left: it is a subclass, which may do something else
                        """,
                TreeAttentionConversion.convertBack(converted.network())
                        .report()
                        .toString());
        MultiLayerNetwork options = network(sequence(
                new Sgd(0.1),
                WorkspaceMode.ENABLED,
                Nets.ours().kvHeads(1).build(),
                Nets.ours().softCap(2).build()));
        assertEquals(
                """
                        layer0: TreeSelfAttentionLayer left: the stock layer has no kvHeads: 1
                        layer1: TreeSelfAttentionLayer left: the stock layer has no softCap: 2.0
                        """,
                TreeAttentionConversion.convertBack(options).report().toString());
    }

    @Test
    void shouldConvertFloatNetworks() {
        MultiLayerConfiguration configuration = sequence(new Sgd(0.1), WorkspaceMode.ENABLED, Nets.stock());
        configuration.setDataType(DataType.FLOAT);
        configuration.getConfs().forEach(conf -> conf.getLayer().setDataType(DataType.FLOAT));
        MultiLayerNetwork stock = network(configuration);
        assertEquals(DataType.FLOAT, stock.params().dataType());
        MultiLayerNetwork ours = TreeAttentionConversion.convert(stock).network();
        assertInstanceOf(TreeSelfAttentionLayer.class, ours.getLayer(0).conf().getLayer());
        INDArray x = features(2, 5).castTo(DataType.FLOAT);
        assertEquals(0, difference(stock.output(x), ours.output(x)), 1e-6);
        INDArray mask = mask(5, 5, 2).castTo(DataType.FLOAT);
        assertEquals(0, difference(stock.output(x, false, mask, mask), ours.output(x, false, mask, mask)), 1e-6);
    }
}
