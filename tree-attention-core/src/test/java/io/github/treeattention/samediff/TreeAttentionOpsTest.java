package io.github.treeattention.samediff;

import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.SeededArrays;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.autodiff.samediff.TrainingConfig;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.cpu.nativecpu.ops.NativeOpExecutioner;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.learning.config.Adam;

@ExtendWith(SeededArrays.class)
@Timeout(120)
class TreeAttentionOpsTest {
    private static final AttentionOptions OPTIONS = AttentionOptions.defaults()
            .withCausal(true)
            .withQueryOffset(2)
            .withSlidingWindow(5)
            .withSoftCap(3)
            .withScale(0.6);

    private final INDArray q = Nd4j.randn(DataType.DOUBLE, 2, 4, 5, 3);
    private final INDArray k = Nd4j.randn(DataType.DOUBLE, 2, 2, 7, 3);
    private final INDArray v = Nd4j.randn(DataType.DOUBLE, 2, 2, 7, 4);
    private final INDArray mask = Nd4j.create(new double[][] {{1, 1, 1, 1, 1, 1, 1}, {1, 0, 1, 1, 1, 0, 1}});

    @BeforeAll
    static void install() {
        TreeAttentionOps.init();
    }

    /** A graph whose loss uses out and, where asked, lse. */
    private SameDiff graph(boolean withLse, DataType type) {
        SameDiff graph = SameDiff.create();
        SDVariable q = graph.var("q", this.q.castTo(type));
        SDVariable k = graph.placeHolder("k", type, -1, 2, -1, 3);
        SDVariable v = graph.var("v", this.v.castTo(type));
        SDVariable mask = graph.placeHolder("mask", type, -1, -1);
        SDVariable out;
        if (withLse) {
            SDVariable[] both = TreeAttentionOps.attentionWithLse(q, k, v, mask, OPTIONS);
            out = both[0];
            both[1].rename("lse");
            graph.math.square("loss", out).sum().add(both[1].mul(0.5).sum()).rename("total");
        } else {
            out = TreeAttentionOps.attention(q, k, v, mask, OPTIONS);
            graph.math.square("loss", out).sum().rename("total");
        }
        out.rename("out");
        graph.setLossVariables("total");
        return graph;
    }

    private Map<String, INDArray> placeholders(DataType type) {
        return Map.of("k", k.castTo(type), "mask", mask.castTo(type));
    }

    /** ND4J lets an operation write where it reads; attention reads values that long. */
    @Test
    void shouldWriteOverAnInput() {
        for (DataType type : new DataType[] {DataType.FLOAT, DataType.DOUBLE}) {
            INDArray[] inputs = {
                Nd4j.randn(type, 1, 2, 257, 8), Nd4j.randn(type, 1, 2, 257, 8), Nd4j.randn(type, 1, 2, 257, 8)
            };
            INDArray wanted = Nd4j.exec(new TreeAttentionOp(inputs, AttentionOptions.defaults()))[0];
            TreeAttentionOp inPlace = new TreeAttentionOp(inputs, AttentionOptions.defaults());
            inPlace.addOutputArgument(inputs[2]);
            Nd4j.exec(inPlace);
            assertEquals(0, difference(wanted, inputs[2]), 0);
        }
    }

    @Test
    void shouldSayThatAnArrayIsEmpty() {
        INDArray none = Nd4j.create(DataType.DOUBLE, 2, 2, 0, 3);
        RuntimeException refused =
                assertThrows(RuntimeException.class, () -> TreeAttentionOps.exec(q, none, v, null, OPTIONS));
        assertEquals(
                "k must be [batch, heads, positions, dim]: got [2, 2, 0, 3]",
                refused.getCause().getMessage(),
                "ND4J wraps what an operation throws");
    }

    @Test
    void shouldRunInAGraphAndOutsideOfOne() {
        ArrayAttention.Result wanted = NaiveAttention.forward(q, k, v, mask, OPTIONS);
        INDArray[] eager = TreeAttentionOps.exec(q, k, v, mask, OPTIONS);
        assertEquals(0, difference(wanted.out(), eager[0]), 1e-13);
        assertEquals(0, difference(wanted.lse(), eager[1]), 1e-13);
        for (boolean withLse : new boolean[] {false, true}) {
            INDArray out = graph(withLse, DataType.DOUBLE).outputSingle(placeholders(DataType.DOUBLE), "out");
            assertEquals(0, difference(wanted.out(), out), 1e-13);
            INDArray single = graph(withLse, DataType.FLOAT).outputSingle(placeholders(DataType.FLOAT), "out");
            assertEquals(
                    0,
                    difference(wanted.out(), single),
                    FloatBounds.forward(q, k, v, OPTIONS).out());
        }
    }

    @Test
    void shouldDifferentiate() {
        for (boolean withLse : new boolean[] {false, true}) {
            ArrayAttention.Result result = ArrayAttention.forward(q, k, v, mask, OPTIONS);
            INDArray dLse = withLse ? Nd4j.valueArrayOf(new long[] {2, 4, 5}, 0.5, DataType.DOUBLE) : null;
            ArrayAttention.Gradients wanted = ArrayAttention.backward(
                    q, k, v, mask, OPTIONS, result, result.out().mul(2), dLse);
            Map<String, INDArray> got = graph(withLse, DataType.DOUBLE)
                    .calculateGradients(placeholders(DataType.DOUBLE), "q", "k", "v", "mask");
            assertEquals(0, difference(wanted.dQ(), got.get("q")), 1e-13);
            assertEquals(0, difference(wanted.dK(), got.get("k")), 1e-13);
            assertEquals(0, difference(wanted.dV(), got.get("v")), 1e-13);
            assertEquals(0, got.get("mask").norm2Number().doubleValue());
        }
    }

    @Test
    void shouldDifferentiateSelfAttentionOfOneVariable() {
        SameDiff graph = SameDiff.create();
        SDVariable x = graph.var("x", q);
        SDVariable out = TreeAttentionOps.attention(x, x, x, null, AttentionOptions.defaults());
        graph.math.square("loss", out).sum().rename("total");
        graph.setLossVariables("total");
        ArrayAttention.Result result = ArrayAttention.forward(q, q, q, null, AttentionOptions.defaults());
        ArrayAttention.Gradients parts = ArrayAttention.backward(
                q, q, q, null, AttentionOptions.defaults(), result, result.out().mul(2), null);
        INDArray wanted = parts.dQ().add(parts.dK()).add(parts.dV());
        assertEquals(
                0, difference(wanted, graph.calculateGradients(Map.of(), "x").get("x")), 1e-13);
    }

    @Test
    void shouldTrainSaveLoadAndTrainOn(@TempDir Path folder) throws IOException {
        for (boolean withLse : new boolean[] {false, true}) {
            SameDiff graph = graph(withLse, DataType.DOUBLE);
            graph.setTrainingConfig(TrainingConfig.builder()
                    .updater(new Adam(0.05))
                    .dataSetFeatureMapping("k")
                    .dataSetLabelMapping("mask")
                    .build());
            double before =
                    graph.outputSingle(placeholders(DataType.DOUBLE), "total").getDouble(0);
            for (int i = 0; i < 5; i++) {
                graph.fit(new DataSet(k, mask));
            }
            File file = folder.resolve("graph-" + withLse + ".fb").toFile();
            graph.save(file, true);
            SameDiff loaded = SameDiff.load(file, true);
            INDArray now = graph.outputSingle(placeholders(DataType.DOUBLE), "total");
            assertTrue(now.getDouble(0) < before, now + " after " + before);
            assertEquals(0, difference(now, loaded.outputSingle(placeholders(DataType.DOUBLE), "total")));
            graph.fit(new DataSet(k, mask));
            loaded.fit(new DataSet(k, mask));
            assertEquals(
                    0,
                    difference(
                            graph.getVariable("q").getArr(),
                            loaded.getVariable("q").getArr()),
                    1e-12);
        }
    }

    @Test
    void shouldLoadInAFreshJvm(@TempDir Path folder) throws Exception {
        File file = folder.resolve("graph.fb").toFile();
        SameDiff graph = graphOfEveryOperation();
        graph.calculateGradients(placeholders(DataType.DOUBLE), "q"); // saves the gradient function too
        graph.save(file, false);
        Nd4j.saveBinary(k, folder.resolve("k").toFile());
        Nd4j.saveBinary(mask, folder.resolve("mask").toFile());
        INDArray wanted = graph.outputSingle(placeholders(DataType.DOUBLE), "all");
        INDArray wantedGradient =
                graph.calculateGradients(placeholders(DataType.DOUBLE), "q").get("q");
        for (boolean byService : new boolean[] {false, true}) {
            ProcessBuilder fresh = new ProcessBuilder(
                            Path.of(System.getProperty("java.home"), "bin", "java")
                                    .toString(),
                            "-cp",
                            System.getProperty("java.class.path"),
                            FreshJvm.class.getName(),
                            folder.toString())
                    .redirectErrorStream(true)
                    .redirectOutput(folder.resolve("log").toFile());
            fresh.environment().put("TREEATTENTION_SAMEDIFF", String.valueOf(byService));
            Process process = fresh.start();
            assertTrue(process.waitFor(100, TimeUnit.SECONDS));
            assertEquals(0, process.exitValue(), () -> read(folder.resolve("log")));
            INDArray out = Nd4j.readBinary(folder.resolve("out").toFile());
            INDArray gradient = Nd4j.readBinary(folder.resolve("gradient").toFile());
            assertEquals(0, difference(wanted, out));
            assertEquals(0, difference(wantedGradient, gradient));
            Files.delete(folder.resolve("out"));
        }
    }

    /** Attention, its lse, states, merging, RoPE, and rewritten operations of ND4J, all of which the loss uses. */
    private SameDiff graphOfEveryOperation() {
        SameDiff graph = graph(true, DataType.DOUBLE);
        SDVariable q = graph.getVariable("q");
        SDVariable k = graph.getVariable("k");
        SDVariable v = graph.getVariable("v");
        SDVariable turned = TreeAttentionOps.rope(
                TreeAttentionOps.attention(q, k, v, null, OPTIONS),
                graph.constant(3L),
                new RotaryEmbedding(100, RotaryEmbedding.Pairs.HALVES));
        SDVariable state = TreeAttentionOps.mergeStates(
                TreeAttentionOps.partialAttention(q, k, v, null, OPTIONS),
                TreeAttentionOps.partialAttention(q, k, v, null, OPTIONS.withQueryOffset(9)));
        SDVariable x = q.sum(1);
        SDVariable weights = graph.constant(Nd4j.ones(DataType.DOUBLE, 1, 3, 5));
        SDVariable outWeights = graph.constant(Nd4j.ones(DataType.DOUBLE, 3, 2));
        SDVariable one = graph.nn.dotProductAttention(x, x, x, null, true);
        SDVariable many =
                graph.nn.multiHeadDotProductAttention(x, x, x, weights, weights, weights, outWeights, null, true);
        SDVariable sum = turned.sum().add(state.sum()).add(one.sum()).add(many.sum());
        graph.getVariable("total").add(sum).rename("all");
        graph.setLossVariables("all");
        assertEquals(2, AttentionRewrite.apply(graph).replaced().size());
        return graph;
    }

    @Test
    void shouldServeFourThreadsWithOneGraph() throws Exception {
        SameDiff graph = graph(false, DataType.FLOAT);
        INDArray wanted =
                graph.outputSingle(placeholders(DataType.FLOAT), "out").dup();
        ExecutorService threads = Executors.newFixedThreadPool(4);
        List<Future<Double>> worst = new ArrayList<>();
        for (int t = 0; t < 4; t++) {
            worst.add(threads.submit(() -> {
                double largest = 0;
                for (int i = 0; i < 30; i++) {
                    largest = Math.max(
                            largest, difference(wanted, graph.outputSingle(placeholders(DataType.FLOAT), "out")));
                }
                return largest;
            }));
        }
        for (Future<Double> each : worst) {
            assertEquals(0, each.get());
        }
        threads.shutdown();
    }

    @Test
    void shouldInstallOnceAndRefuseAForeignExecutioner() throws ReflectiveOperationException {
        var installed = Nd4j.getExecutioner();
        assertInstanceOf(TreeAttentionExecutioner.class, installed);
        TreeAttentionOps.init();
        assertSame(installed, Nd4j.getExecutioner());
        Field field = Nd4j.class.getDeclaredField("OP_EXECUTIONER_INSTANCE");
        field.setAccessible(true);
        try {
            field.set(null, new ForeignExecutioner());
            IllegalStateException refused = assertThrows(IllegalStateException.class, TreeAttentionOps::init);
            assertEquals(
                    "ND4J's executioner must be org.nd4j.linalg.cpu.nativecpu.ops.NativeOpExecutioner or "
                            + "org.nd4j.linalg.jcublas.ops.executioner.CudaExecutioner or extend "
                            + "io.github.treeattention.samediff.TreeAttentionExecutioner or "
                            + "io.github.treeattention.samediff.TreeAttentionCudaExecutioner: got "
                            + ForeignExecutioner.class.getName(),
                    refused.getMessage());
        } finally {
            field.set(null, installed);
        }
    }

    private static String read(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    private static final class ForeignExecutioner extends NativeOpExecutioner {}

    /** Loads the graph that the test saved, and writes what it computes. */
    static final class FreshJvm {
        private FreshJvm() {}

        public static void main(String[] arguments) throws IOException {
            Path folder = Path.of(arguments[0]);
            if (!Boolean.parseBoolean(System.getenv("TREEATTENTION_SAMEDIFF"))) {
                TreeAttentionOps.init();
            }
            SameDiff graph = SameDiff.load(folder.resolve("graph.fb").toFile(), false);
            Map<String, INDArray> placeholders = Map.of(
                    "k", Nd4j.readBinary(folder.resolve("k").toFile()),
                    "mask", Nd4j.readBinary(folder.resolve("mask").toFile()));
            Nd4j.saveBinary(
                    graph.outputSingle(placeholders, "all"),
                    folder.resolve("out").toFile());
            Nd4j.saveBinary(
                    graph.calculateGradients(placeholders, "q").get("q"),
                    folder.resolve("gradient").toFile());
        }
    }
}
