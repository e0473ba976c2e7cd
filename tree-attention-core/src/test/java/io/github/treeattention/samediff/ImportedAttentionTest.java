package io.github.treeattention.samediff;

import static io.github.treeattention.samediff.RewriteBounds.assertNear;
import static io.github.treeattention.testkit.ArrayDifference.largest;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.SeededArrays;
import io.github.treeattention.testkit.Seeds;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.autodiff.samediff.internal.SameDiffOp;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.api.ops.impl.reduce.Mmul;
import org.nd4j.samediff.frameworkimport.onnx.importer.OnnxFrameworkImporter;

/** Files of other frameworks, read by ND4J's importers, then rewritten. */
@ExtendWith(SeededArrays.class)
@Timeout(180)
class ImportedAttentionTest {
    private static final String[] WEIGHTS = {"Wq", "Wk", "Wv", "Wo"};

    /** ND4J's importer leaves what it did in the working directory. */
    @AfterAll
    static void tidy() throws IOException {
        for (String name : List.of("ops-added", "ops-imported", "ops-removed", "variables-added")) {
            Files.deleteIfExists(Path.of(name + "-old.txt"));
        }
    }

    /** ND4J M2.1 imports ONNX's MatMul as {@code 0 * product + 1 * result}, hence zeros; in docs/dl4j.md. */
    private static void mendProducts(SameDiff graph) {
        for (SameDiffOp each : graph.getOps().values()) {
            if (each.getOp() instanceof Mmul product) {
                assertEquals(List.of(0.0, 1.0), List.of(product.getTArgument(0), product.getTArgument(1)));
                product.removeTArgument(0.0);
                product.removeTArgument(1.0);
                product.addTArgument(1, 0);
            }
        }
    }

    @Test
    void shouldReplaceAttentionOfAnOnnxFile(@TempDir Path folder) throws IOException {
        SplittableRandom random = Seeds.random("onnx");
        OnnxFrameworkImporter importer = new OnnxFrameworkImporter();
        for (long axis : new long[] {-1, 3}) {
            Path file = Files.write(folder.resolve("model" + axis + ".onnx"), ImportedModels.onnx(random, axis));
            SameDiff graph = importer.runImport(file.toString(), Map.of(), false);
            assertEquals(0, largest(graph.outputSingle(feed(), "out")), "ND4J's import is mended: so may this test be");
            mendProducts(graph);
            checkReplaced(graph, WEIGHTS);
        }
    }

    /** Its outputs. Gradients of the file's transpositions fail in ND4J M2.1, which forgets their order, before and after. */
    @Test
    void shouldReplaceAttentionOfAFrozenTensorFlowGraph(@TempDir Path folder) throws IOException {
        Path file = Files.write(folder.resolve("model.pb"), ImportedModels.tensorFlow(Seeds.random("tensorflow")));
        SameDiff graph = SameDiff.importFrozenTF(file.toFile());
        checkReplaced(graph, new String[0]);
    }

    private static Map<String, INDArray> feed() {
        return WrittenAttentionTest.feed(DataType.FLOAT);
    }

    private static void checkReplaced(SameDiff graph, String[] trained) {
        graph.convertToVariables(
                List.of(WEIGHTS).stream().map(graph::getVariable).toList());
        SDVariable out = graph.getVariable("out");
        graph.math.square("squares", out).sum().rename("total");
        graph.setLossVariables("total");
        SameDiff exact = WrittenAttentionTest.imported(DataType.DOUBLE);
        WrittenAttentionTest.copyWeights(graph, exact);
        Map<String, INDArray> feed = feed();
        Map<String, INDArray> exactFeed = new HashMap<>();
        feed.forEach((input, array) -> exactFeed.put(input, array.castTo(DataType.DOUBLE)));
        INDArray wanted = exact.outputSingle(exactFeed, "out").dup();
        assertTrue(largest(wanted) > 0.1);
        Map<String, INDArray> slopes = gradients(exact, exactFeed, trained);
        INDArray stock = graph.outputSingle(feed, "out").dup();
        Map<String, INDArray> stockSlopes = gradients(graph, feed, trained);

        RewriteReport report = AttentionRewrite.apply(graph);
        assertEquals(List.of(), report.left(), report.toString());
        assertEquals(1, report.replaced().size(), report.toString());
        assertEquals("attended", report.replaced().get(0).operation());
        assertNear(wanted, stock, graph.outputSingle(feed, "out"), "out");
        Map<String, INDArray> got = gradients(graph, feed, trained);
        for (String weights : trained) {
            assertNear(slopes.get(weights), stockSlopes.get(weights), got.get(weights), weights);
        }
    }

    private static Map<String, INDArray> gradients(SameDiff graph, Map<String, INDArray> feed, String[] trained) {
        return trained.length == 0 ? Map.of() : graph.calculateGradients(feed, trained);
    }
}
