package io.github.treeattention.samediff;

import static io.github.treeattention.samediff.RewriteBounds.assertNear;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.SeededArrays;
import java.io.File;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * Graphs that spell attention out, operation for operation as ND4J's ONNX importer leaves a transformer's (heads split by
 * reshape and permute, keys permuted once more, a division by a constant, a mask that is added) and as people write it.
 */
@ExtendWith(SeededArrays.class)
@Timeout(120)
class WrittenAttentionTest {
    static final int BATCH = 2;
    static final int HEADS = 3;
    static final int TIME = 7;
    static final int SIZE = 4;
    static final int WIDTH = HEADS * SIZE;

    private static INDArray bounded(DataType type, long... shape) {
        return Nd4j.rand(DataType.DOUBLE, shape).muli(2).subi(1).castTo(type);
    }

    /** {@code [batch * time, width] -> [batch, heads, time, size]}, or with the last two axes exchanged. */
    private static SDVariable heads(SameDiff graph, SDVariable x, String weights, DataType type, int... order) {
        SDVariable projected = graph.mmul(x, graph.var(weights, bounded(type, WIDTH, WIDTH)));
        return graph.permute(graph.reshape(projected, -1, TIME, HEADS, SIZE), order);
    }

    /** A block as an exported BERT has it: {@code mask [batch, time]} of 0 and 1 becomes what is added. */
    static SameDiff imported(DataType type) {
        SameDiff graph = SameDiff.create();
        SDVariable x = graph.placeHolder("x", type, -1, WIDTH);
        SDVariable seen = graph.placeHolder("mask", type, -1, TIME);
        SDVariable added = graph.constant("one", Nd4j.scalar(type, 1))
                .sub(graph.expandDims(graph.expandDims(seen, 1), 1))
                .mul(graph.constant("low", Nd4j.scalar(type, -10000)));
        SDVariable q = heads(graph, x, "Wq", type, 0, 2, 1, 3);
        SDVariable k = heads(graph, x, "Wk", type, 0, 2, 3, 1);
        SDVariable v = heads(graph, x, "Wv", type, 0, 2, 1, 3);
        SDVariable scores = graph.mmul(q, k).div(graph.constant("root", Nd4j.scalar(type, 2)));
        SDVariable weights = graph.nn.softmax("weights", scores.add("masked", added), 3);
        SDVariable joined = graph.reshape(graph.permute(graph.mmul(weights, v), 0, 2, 1, 3), -1, WIDTH);
        graph.mmul("out", joined, graph.var("Wo", bounded(type, WIDTH, WIDTH)));
        graph.math.square("squares", graph.getVariable("out")).sum().rename("total");
        graph.setLossVariables("total");
        return graph;
    }

    static Map<String, INDArray> feed(DataType type) {
        INDArray mask = Nd4j.create(new double[][] {{1, 1, 1, 1, 1, 1, 1}, {1, 1, 0, 1, 1, 0, 0}});
        return Map.of("x", bounded(type, BATCH * TIME, WIDTH), "mask", mask.castTo(type));
    }

    static void copyWeights(SameDiff from, SameDiff to) {
        for (SDVariable each : from.variables()) {
            if (each.name().startsWith("W")) {
                to.getVariable(each.name())
                        .setArray(
                                each.getArr().castTo(to.getVariable(each.name()).dataType()));
            }
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = DataType.class,
            names = {"FLOAT", "DOUBLE"})
    void shouldReplaceWhatAnImportedModelHas(DataType type, @TempDir Path folder) {
        SameDiff exact = imported(DataType.DOUBLE);
        SameDiff graph = imported(type);
        copyWeights(exact, graph);
        Map<String, INDArray> feed = feed(type);
        Map<String, INDArray> exactFeed = new HashMap<>();
        feed.forEach((name, array) -> exactFeed.put(name, array.castTo(DataType.DOUBLE)));
        String[] weights = {"Wq", "Wk", "Wv", "Wo"};
        INDArray wanted = exact.outputSingle(exactFeed, "out").dup();
        Map<String, INDArray> slopes = exact.calculateGradients(exactFeed, weights);
        INDArray stock = graph.outputSingle(feed, "out").dup(); // sessions exist before the graph changes
        Map<String, INDArray> stockSlopes = graph.calculateGradients(feed, weights);
        int before = graph.getOps().size();

        RewriteReport report = AttentionRewrite.apply(graph);
        assertEquals(1, report.replaced().size(), report.toString());
        assertEquals("written-out attention", report.replaced().get(0).from());
        assertEquals(List.of(), report.left());
        assertEquals(before - 4, graph.getOps().size(), "product, factor, mask and softmax are gone");
        assertFalse(graph.hasVariable("weights"));
        File file = folder.resolve("graph.fb").toFile();
        graph.save(file, false);
        for (SameDiff each : List.of(graph, SameDiff.load(file, false))) {
            assertNear(wanted, stock, each.outputSingle(feed, "out"), "out");
            Map<String, INDArray> got = each.calculateGradients(feed, weights);
            for (String name : weights) {
                assertNear(slopes.get(name), stockSlopes.get(name), got.get(name), name);
            }
        }
        assertEquals(List.of(), AttentionRewrite.apply(graph).replaced());
    }

    private record Plain(SameDiff graph, SDVariable q, SDVariable k, SDVariable v) {
        static Plain of(int rank) {
            SameDiff graph = SameDiff.create();
            long[] keys = rank == 4 ? new long[] {BATCH, HEADS, TIME, SIZE} : new long[] {BATCH, TIME, SIZE};
            return new Plain(
                    graph,
                    graph.var("q", bounded(DataType.DOUBLE, keys)),
                    graph.var("k", bounded(DataType.DOUBLE, keys)),
                    graph.var("v", bounded(DataType.DOUBLE, keys)));
        }

        /** The rest of attention over scores, and a loss. */
        SameDiff attend(SDVariable scores, UnaryOperator<SDVariable> weights) {
            graph.mmul("out", weights.apply(graph.nn.softmax(scores, -1)), v);
            graph.math.square("squares", graph.getVariable("out")).sum().rename("total");
            graph.setLossVariables("total");
            return graph;
        }

        SDVariable product() {
            return graph.mmul(q, k, false, true, false);
        }
    }

    private static void checkReplaced(SameDiff graph) {
        INDArray wanted = graph.outputSingle(Map.of(), "out").dup();
        Map<String, INDArray> slopes = graph.calculateGradients(Map.of(), "q", "k", "v");
        RewriteReport report = AttentionRewrite.apply(graph);
        assertEquals(1, report.replaced().size(), report.toString());
        assertNear(wanted, wanted, graph.outputSingle(Map.of(), "out"), "out");
        Map<String, INDArray> got = graph.calculateGradients(Map.of(), "q", "k", "v");
        for (String name : got.keySet()) {
            assertNear(slopes.get(name), slopes.get(name), got.get(name), name);
        }
    }

    @Test
    void shouldReplaceWhatPeopleWrite() {
        for (int rank : new int[] {3, 4}) {
            Plain bare = Plain.of(rank);
            checkReplaced(bare.attend(bare.product(), weights -> weights));
            Plain scaled = Plain.of(rank);
            checkReplaced(scaled.attend(scaled.product().mul(0.7), weights -> weights));
            Plain twice = Plain.of(rank);
            SDVariable three = twice.graph.constant(Nd4j.scalar(3.0));
            checkReplaced(twice.attend(three.mul(twice.product().div(2)), weights -> weights));
            for (long[] shape : new long[][] {
                {TIME}, {1}, {TIME, TIME}, {TIME, 1}, {BATCH, TIME, TIME}, {1, HEADS, TIME, TIME}, {BATCH, 1, TIME, 1}
            }) {
                if (shape.length > rank || (shape.length == 3 && rank == 4)) {
                    continue;
                }
                Plain masked = Plain.of(rank);
                SDVariable bias =
                        masked.graph.constant(bounded(DataType.FLOAT, shape).castTo(DataType.DOUBLE));
                checkReplaced(masked.attend(masked.product().mul(0.3).add(bias), weights -> weights));
                Plain turned = Plain.of(rank);
                SDVariable other = turned.graph.constant(Nd4j.ones(DataType.DOUBLE, shape));
                checkReplaced(turned.attend(other.add(turned.product()), weights -> weights));
            }
        }
        Plain crossed = Plain.of(4); // queries and values transposed by the products
        SDVariable q = crossed.graph.permute(crossed.q, 0, 1, 3, 2);
        SDVariable v = crossed.graph.permute(crossed.v, 0, 1, 3, 2);
        SDVariable weights = crossed.graph.nn.softmax(crossed.graph.mmul(q, crossed.k, true, true, false), -1);
        crossed.graph.mmul("out", weights, v, false, true, false).sum().rename("total");
        crossed.graph.setLossVariables("total");
        checkReplaced(crossed.graph);
    }

    @Test
    void shouldLeaveWhatItCannotKeepAndSayWhy() {
        Plain watched = Plain.of(4);
        SDVariable[] kept = new SDVariable[1];
        watched.attend(watched.product(), weights -> kept[0] = weights);
        kept[0].sum().rename("sparsity");
        assertLeft(watched.graph, "others read softmax too");

        Plain loss = Plain.of(4);
        loss.attend(loss.product(), weights -> weights.rename("weights"));
        loss.graph.setLossVariables("total", "weights");
        assertLeft(loss.graph, "others read weights too");

        Plain dropped = Plain.of(4);
        assertLeft(
                dropped.attend(dropped.product(), weights -> dropped.graph.math.square(weights)),
                "between its softmax and the values stands square (square)");

        Plain capped = Plain.of(4);
        assertLeft(
                capped.attend(capped.graph.math.tanh(capped.product()), weights -> weights),
                "between its scores and the softmax stands tanh (tanh)");

        Plain trained = Plain.of(4);
        SDVariable slope = trained.graph.var("slope", bounded(DataType.DOUBLE, 1, HEADS, 1, 1));
        SDVariable distance = trained.graph.constant(bounded(DataType.DOUBLE, 1, 1, TIME, TIME));
        assertLeft(
                trained.attend(trained.product().add("alibi", slope.mul(distance)), weights -> weights),
                "is trained, by slope");

        Plain late = Plain.of(4);
        SDVariable mask = late.graph.constant(Nd4j.zeros(DataType.DOUBLE, TIME));
        assertLeft(
                late.attend(late.product().add(mask).mul(0.5), weights -> weights),
                "its mask must be added once, after the scores are scaled");

        Plain learned = Plain.of(4);
        SDVariable temperature = learned.graph.var("temperature", Nd4j.scalar(0.5));
        assertLeft(
                learned.attend(learned.product().mul(temperature), weights -> weights),
                "its scores are scaled by temperature, which is not one constant number");

        Plain sideways = Plain.of(4);
        sideways.graph.mmul("out", sideways.graph.nn.softmax(sideways.product(), 2), sideways.v);
        assertLeft(sideways.graph, "its softmax is over axis 2, which is not known to be the last");

        Plain given = Plain.of(4);
        assertLeft(
                given.attend(given.graph.var("scores", bounded(DataType.DOUBLE, BATCH, HEADS, TIME, TIME)), w -> w),
                "its scores are not computed in the graph");
    }

    private static void assertLeft(SameDiff graph, String reason) {
        RewriteReport report = AttentionRewrite.apply(graph);
        assertEquals(List.of(), report.replaced());
        assertEquals(1, report.left().size(), report.toString());
        assertTrue(report.left().get(0).reason().contains(reason), report.toString());
    }

    @Test
    void shouldNotSpeakOfClassifiers() {
        SameDiff graph = SameDiff.create();
        SDVariable x = graph.var("x", bounded(DataType.DOUBLE, 2, 5));
        graph.nn.softmax("classes", graph.mmul(x, graph.var("W", bounded(DataType.DOUBLE, 5, 3))), -1);
        assertEquals(new RewriteReport(List.of(), List.of()), AttentionRewrite.apply(graph));
    }
}
