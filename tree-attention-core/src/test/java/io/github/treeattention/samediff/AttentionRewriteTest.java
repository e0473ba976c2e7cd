package io.github.treeattention.samediff;

import static io.github.treeattention.samediff.RewriteBounds.assertNear;
import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.SeededArrays;
import java.io.File;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.autodiff.samediff.TrainingConfig;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.api.ops.impl.transforms.custom.DotProductAttention;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.learning.config.Adam;

/** Graphs with ND4J's operations, whose own results before the rewrite are what the results after it must be. */
@ExtendWith(SeededArrays.class)
@Timeout(120)
class AttentionRewriteTest {
    private static final String[] DOT_INPUTS = {"q", "k", "v"};
    private static final String[] HEAD_INPUTS = {"x", "k", "v", "Wq", "Wk", "Wv", "Wo"};

    private final INDArray mask = Nd4j.create(new double[][] {{1, 1, 1, 1, 1, 0, 0}, {1, 0, 1, 1, 0, 0, 1}});

    private static SDVariable random(SameDiff graph, String name, DataType type, long... shape) {
        return graph.var(name, Nd4j.randn(DataType.DOUBLE, shape).castTo(type));
    }

    private SDVariable mask(SameDiff graph, boolean masked, DataType type) {
        return masked ? graph.placeHolder("mask", type, -1, 7) : null;
    }

    private Map<String, INDArray> placeholders(boolean masked, DataType type) {
        return masked ? Map.of("mask", mask.castTo(type)) : Map.of();
    }

    private SameDiff dotProduct(int rank, boolean scaled, boolean masked, DataType type) {
        SameDiff graph = SameDiff.create();
        SDVariable q = rank == 3 ? random(graph, "q", type, 2, 4, 5) : random(graph, "q", type, 2, 3, 4, 5);
        SDVariable k = rank == 3 ? random(graph, "k", type, 2, 4, 7) : random(graph, "k", type, 2, 3, 4, 7);
        SDVariable v = rank == 3 ? random(graph, "v", type, 2, 6, 7) : random(graph, "v", type, 2, 3, 6, 7);
        SDVariable out = graph.nn.dotProductAttention("out", q, k, v, mask(graph, masked, type), scaled);
        graph.math.square("squares", out).sum().rename("total");
        graph.setLossVariables("total");
        return graph;
    }

    private SameDiff multiHead(boolean scaled, boolean masked, DataType type) {
        SameDiff graph = SameDiff.create();
        SDVariable x = random(graph, "x", type, 2, 5, 6);
        SDVariable k = random(graph, "k", type, 2, 4, 7);
        SDVariable v = random(graph, "v", type, 2, 3, 7);
        SDVariable out = graph.nn.multiHeadDotProductAttention(
                "out",
                x,
                k,
                v,
                random(graph, "Wq", type, 2, 4, 5),
                random(graph, "Wk", type, 2, 4, 4),
                random(graph, "Wv", type, 2, 4, 3),
                random(graph, "Wo", type, 8, 9),
                mask(graph, masked, type),
                scaled);
        graph.math.square("squares", out).sum().rename("total");
        graph.setLossVariables("total");
        return graph;
    }

    private void checkSame(
            Function<DataType, SameDiff> make, DataType type, boolean masked, String[] inputs, String to) {
        SameDiff exact = make.apply(DataType.DOUBLE);
        SameDiff graph = make.apply(type);
        for (String input : inputs) { // rounded numbers for both
            graph.getVariable(input).setArray(exact.getVariable(input).getArr().castTo(type));
            exact.getVariable(input).setArray(graph.getVariable(input).getArr().castTo(DataType.DOUBLE));
        }
        Map<String, INDArray> placeholders = placeholders(masked, type);
        INDArray wanted =
                exact.outputSingle(placeholders(masked, DataType.DOUBLE), "out").dup();
        Map<String, INDArray> slopes = exact.calculateGradients(placeholders(masked, DataType.DOUBLE), inputs);
        INDArray stock = graph.outputSingle(placeholders, "out").dup();
        Map<String, INDArray> stockSlopes = graph.calculateGradients(placeholders, inputs);
        RewriteReport report = AttentionRewrite.apply(graph);
        assertEquals(1, report.replaced().size(), report.toString());
        assertEquals(to, report.replaced().get(0).to());
        assertEquals(List.of(), report.left());
        assertNear(wanted, stock, graph.outputSingle(placeholders, "out"), "out");
        Map<String, INDArray> gradients = graph.calculateGradients(placeholders, inputs);
        for (String input : inputs) {
            assertNear(slopes.get(input), stockSlopes.get(input), gradients.get(input), input);
        }
        assertEquals(List.of(), AttentionRewrite.apply(graph).replaced());
    }

    @Test
    void shouldKeepWhatDotProductAttentionComputes() {
        for (DataType type : List.of(DataType.DOUBLE, DataType.FLOAT)) {
            for (int rank : new int[] {3, 4}) {
                for (boolean scaled : new boolean[] {false, true}) {
                    for (boolean masked : new boolean[] {false, true}) {
                        checkSame(
                                each -> dotProduct(rank, scaled, masked, each),
                                type,
                                masked,
                                DOT_INPUTS,
                                TreeDotProductOp.NAME);
                    }
                }
            }
        }
    }

    @Test
    void shouldKeepWhatMultiHeadAttentionComputes() {
        for (DataType type : List.of(DataType.DOUBLE, DataType.FLOAT)) {
            for (boolean scaled : new boolean[] {false, true}) {
                for (boolean masked : new boolean[] {false, true}) {
                    checkSame(each -> multiHead(scaled, masked, each), type, masked, HEAD_INPUTS, TreeMultiHeadOp.NAME);
                }
            }
        }
    }

    @Test
    void shouldTrainOnWithTheUpdaterStateOfBefore(@TempDir Path folder) throws IOException {
        SameDiff stock = multiHead(true, true, DataType.DOUBLE);
        stock.setTrainingConfig(TrainingConfig.builder()
                .updater(new Adam(0.01))
                .dataSetFeatureMapping("mask")
                .skipBuilderValidation(true)
                .build());
        DataSet data = new DataSet(mask, null);
        for (int i = 0; i < 3; i++) {
            stock.fit(data);
        }
        File file = folder.resolve("stock.fb").toFile();
        stock.save(file, true);
        SameDiff ours = SameDiff.load(file, true);
        assertEquals(1, AttentionRewrite.apply(ours).replaced().size());
        for (int i = 0; i < 3; i++) {
            stock.fit(data);
            ours.fit(data);
        }
        SameDiff loaded = saved(ours, folder.resolve("ours.fb").toFile());
        for (String name : HEAD_INPUTS) {
            INDArray wanted = stock.getVariable(name).getArr();
            assertEquals(0, difference(wanted, ours.getVariable(name).getArr()), 1e-9, name);
            assertEquals(0, difference(wanted, loaded.getVariable(name).getArr()), 1e-9, name);
        }
        stock.fit(data);
        loaded.fit(data);
        assertEquals(
                0,
                difference(
                        stock.getVariable("Wv").getArr(),
                        loaded.getVariable("Wv").getArr()),
                1e-9);
    }

    private static SameDiff saved(SameDiff graph, File file) {
        graph.save(file, true);
        return SameDiff.load(file, true);
    }

    @Test
    void shouldReachIntoFunctions() {
        SameDiff graph = SameDiff.create();
        SDVariable x = random(graph, "x", DataType.DOUBLE, 2, 4, 5);
        graph.putSubFunction("inner", dotProduct(3, true, false, DataType.DOUBLE));
        graph.nn.dotProductAttention("out", x, x, x, null, true);
        RewriteReport report = AttentionRewrite.apply(graph);
        assertEquals(
                List.of("dot_product_attention", "inner/dot_product_attention"),
                report.replaced().stream()
                        .map(RewriteReport.Replaced::operation)
                        .toList());
    }

    @Test
    void shouldLeaveWhatItCannotKeepAndSayWhy() {
        SameDiff graph = SameDiff.create();
        SDVariable x = random(graph, "x", DataType.DOUBLE, 2, 4, 5);
        SDVariable half = random(graph, "half", DataType.FLOAT16, 2, 4, 5);
        new DotProductAttention(graph, x, x, x, null, true, true).outputVariables();
        graph.nn.dotProductAttention("out", half, half, half, null, true);
        graph.nn.dotProductAttention("good", x, x, x, null, true);
        String report = AttentionRewrite.apply(graph).toString();
        assertTrue(
                report.contains("dot_product_attention: dot_product_attention left: the graph asks for its weights,"
                        + " which ours never hold\n"),
                report);
        assertTrue(
                report.contains("dot_product_attention_1: dot_product_attention left: ours are offered for FLOAT and"
                        + " DOUBLE: half is HALF\n"),
                report);
        assertTrue(
                report.contains("dot_product_attention_2: dot_product_attention -> tree_dot_product_attention\n"),
                report);
    }
}
