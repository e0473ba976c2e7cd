package io.github.treeattention.samediff;

import static io.github.treeattention.testkit.ArrayDifference.difference;
import static io.github.treeattention.testkit.ArrayDifference.largest;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.attention.AttentionEnergy;
import io.github.treeattention.attention.AttentionEnergy.Order;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.EnergyState;
import io.github.treeattention.testkit.Safetensors;
import io.github.treeattention.testkit.SeededArrays;
import io.github.treeattention.testkit.SharedData;
import io.github.treeattention.testkit.Skips;
import java.io.File;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;
import org.nd4j.linalg.ops.transforms.Transforms;

/**
 * The energy three ways: as our SameDiff functions, as {@link AttentionEnergy}, and from ND4J's own operations, whose
 * automatic derivative in the source is attention by nobody's attention code.
 */
@ExtendWith(SeededArrays.class)
class AttentionEnergyOpsTest {
    private static final double EXACT = 1e-12;
    private static final AttentionOptions CAUSAL =
            AttentionOptions.defaults().withCausal(true).withQueryOffset(3).withScale(0.7);
    private static final String[] NAMES = {"q", "k", "v", "zeta"};

    private final INDArray q = Nd4j.randn(DataType.DOUBLE, 2, 4, 5, 3);
    private final INDArray k = Nd4j.randn(DataType.DOUBLE, 2, 2, 13, 3);
    private final INDArray v = Nd4j.randn(DataType.DOUBLE, 2, 2, 13, 2);
    private final INDArray zeta = Nd4j.randn(DataType.DOUBLE, 2, 4, 5, 2);

    private record Graph(SameDiff graph, SDVariable q, SDVariable k, SDVariable v, SDVariable zeta) {
        static Graph of(INDArray q, INDArray k, INDArray v, INDArray zeta) {
            SameDiff graph = SameDiff.create();
            return new Graph(graph, graph.var("q", q), graph.var("k", k), graph.var("v", v), graph.var("zeta", zeta));
        }

        Map<String, INDArray> gradients(SDVariable energy) {
            energy.sum().rename("total");
            graph.setLossVariables("total");
            return graph.calculateGradients(Map.of(), NAMES);
        }

        /** The energy from ND4J's matrix product, exponential, sum and logarithm; {@code hidden} is added to scores. */
        SDVariable stockEnergy(double scale, INDArray hidden) {
            SDVariable scores = scores(scale).add(graph.constant(hidden.castTo(q.dataType())));
            SDVariable max = graph.constant(scores.eval().max(true, 3)); // a constant shift changes no gradient
            SDVariable sum = graph.sum(graph.math.exp(scores.sub(max)), true, 3);
            return graph.squeeze(graph.math.log(sum).add(max), 3);
        }

        SDVariable scores(double scale) {
            return graph.mmul(q, repeatHeads(k), false, true, false)
                    .mul(scale)
                    .add(graph.mmul(zeta, repeatHeads(v), false, true, false));
        }

        private SDVariable repeatHeads(SDVariable heads) {
            long[] shape = heads.getShape();
            long times = q.getShape()[1] / shape[1];
            SDVariable[] copies = new SDVariable[(int) times];
            Arrays.fill(copies, graph.expandDims(heads, 2));
            SDVariable all = times == 1 ? copies[0] : graph.concat(2, copies);
            return graph.reshape(all, shape[0], shape[1] * times, shape[2], shape[3]);
        }
    }

    /** What hides a key from a query: -1e9. */
    private static INDArray hidden(boolean causal, long offset, long queries, long keys) {
        INDArray hidden = Nd4j.zeros(DataType.DOUBLE, 1, 1, queries, keys);
        for (long i = 0; causal && i < queries; i++) {
            for (long j = offset + i + 1; j < keys; j++) {
                hidden.putScalar(new long[] {0, 0, i, j}, -1e9);
            }
        }
        return hidden;
    }

    @Test
    void energyAndAllGradientsShouldBeThoseOfStockOperations() {
        for (boolean causal : new boolean[] {false, true}) {
            AttentionOptions options = CAUSAL.withCausal(causal);
            Graph ours = Graph.of(q, k, v, zeta);
            SDVariable energy = AttentionEnergyOps.energy(ours.q, ours.k, ours.v, ours.zeta, null, options);
            Graph stock = Graph.of(q, k, v, zeta);
            SDVariable wanted = stock.stockEnergy(0.7, hidden(causal, 3, 5, 13));
            assertEquals(0, difference(wanted.eval(), energy.eval()), EXACT);
            Map<String, INDArray> wantedGradients = stock.gradients(wanted);
            Map<String, INDArray> gradients = ours.gradients(energy);
            for (String name : NAMES) {
                assertEquals(0, difference(wantedGradients.get(name), gradients.get(name)), EXACT, name);
            }
            SDVariable mean = AttentionEnergyOps.sourceGradient(ours.q, ours.k, ours.v, ours.zeta, null, options);
            assertEquals(0, difference(gradients.get("zeta"), mean.eval()), EXACT);
            SDVariable key = AttentionEnergyOps.queryGradient(ours.q, ours.k, ours.v, ours.zeta, null, options);
            assertEquals(0, difference(gradients.get("q"), key.eval()), EXACT);
        }
    }

    @Test
    void energyGradientAndHessianShouldBeThoseOfAttentionEnergy() {
        Graph g = Graph.of(q, k, v, zeta);
        INDArray energy =
                AttentionEnergyOps.energy(g.q, g.k, g.v, g.zeta, null, CAUSAL).eval();
        INDArray gradient = AttentionEnergyOps.sourceGradient(g.q, g.k, g.v, g.zeta, null, CAUSAL)
                .eval();
        INDArray hessian = AttentionEnergyOps.sourceHessian(g.q, g.k, g.v, g.zeta, null, CAUSAL)
                .eval();
        AttentionSpec spec =
                AttentionSpec.of(4, 2, 3).withValueDim(2).withCausal(true).withScale(0.7);
        long[] positions = LongStream.range(0, 13).toArray();
        for (int b = 0; b < 2; b++) {
            EnergyState state = AttentionEnergy.of(spec, row(q, b), 5, 3)
                    .withSource(row(zeta, b))
                    .partial(AttentionEnergy.Keys.of(row(k, b), row(v, b), 2, 3, 2, positions), Order.HESSIAN);
            for (int head = 0; head < 4; head++) {
                for (int i = 0; i < 5; i++) {
                    assertEquals(state.value(head, i), energy.getDouble(b, head, i), EXACT);
                    for (int d = 0; d < 2; d++) {
                        assertEquals(state.sourceGradient(head, i, d), gradient.getDouble(b, head, i, d), EXACT);
                        for (int e = 0; e < 2; e++) {
                            double got = hessian.getDouble(b, head, i, d, e);
                            assertEquals(state.sourceHessian(head, i, d, e), got, EXACT);
                        }
                    }
                }
            }
        }
    }

    /** On problems that PyTorch solved: attention and lse come out of the stock energy and its automatic gradient. */
    @Test
    void automaticGradientOfTheEnergyShouldBeAttentionOnTheTorchFixtures() throws Exception {
        Optional<Path> folder = SharedData.find("torch");
        if (folder.isEmpty()) {
            Skips.skip("no torch fixtures");
        }
        for (JsonNode entry :
                new ObjectMapper().readTree(folder.get().resolve("index.json").toFile())) {
            String name = entry.get("name").asText();
            Safetensors tensors = Safetensors.read(folder.get().resolve(name + ".safetensors"));
            long batch = entry.get("B").asLong();
            long heads = entry.get("Hq").asLong();
            long kvHeads = entry.get("Hkv").asLong();
            long queries = entry.get("N").asLong();
            long keys = entry.get("M").asLong();
            long dim = entry.get("D").asLong();
            long valueDim = entry.get("Dv").asLong();
            INDArray out = array(tensors, "out", batch, heads, queries, valueDim);
            INDArray lse = array(tensors, "lse", batch, heads, queries);
            INDArray queryRows = array(tensors, "q", batch, heads, queries, dim);
            INDArray keyRows = array(tensors, "k", batch, kvHeads, keys, dim);
            INDArray valueRows = array(tensors, "v", batch, kvHeads, keys, valueDim);
            double scale = entry.get("scale").asDouble();
            boolean causal = entry.get("causal").asBoolean();
            long offset = entry.get("q_offset").asLong();

            Graph stock = Graph.of(queryRows, keyRows, valueRows, out.mul(0));
            SDVariable energy = stock.stockEnergy(scale, hidden(causal, offset, queries, keys));
            assertEquals(0, difference(lse, energy.eval()), EXACT, name);
            assertEquals(0, difference(out, stock.gradients(energy).get("zeta")), EXACT, name);

            Graph ours = Graph.of(queryRows, keyRows, valueRows, out.mul(0));
            AttentionOptions options = AttentionOptions.defaults()
                    .withScale(scale)
                    .withCausal(causal)
                    .withQueryOffset(offset);
            SDVariable ourEnergy = AttentionEnergyOps.energy(ours.q, ours.k, ours.v, ours.zeta, null, options);
            assertEquals(0, difference(lse, ourEnergy.eval()), EXACT, name);
            assertEquals(0, difference(out, ours.gradients(ourEnergy).get("zeta")), EXACT, name);
        }
    }

    /**
     * In float64 the stock gradient; in float32 at most twice as far from it as the stock operations in float32 are, plus the
     * kernels' floor: two roundings of the largest score's terms, times what a gradient would be if its terms did not cancel,
     * which is less than {@code scale * max |q|} for each of the 10 queries of a key.
     */
    @Test
    void energyShouldStandInALossWithAMaskAndInFloat() {
        INDArray mask = Nd4j.ones(DataType.DOUBLE, 2, 13);
        mask.putScalar(1, 4, 0);
        INDArray hidden = mask.sub(1).mul(1e9).reshape(2, 1, 1, 13);
        double scale = 1 / Math.sqrt(3);
        INDArray wanted = maskedKeyGradient(DataType.DOUBLE, scale, hidden, null);
        double stockError = difference(wanted, maskedKeyGradient(DataType.FLOAT, scale, hidden, null));
        double terms = Graph.of(Transforms.abs(q), Transforms.abs(k), Transforms.abs(v), Transforms.abs(zeta))
                .scores(scale)
                .eval()
                .maxNumber()
                .doubleValue();
        double floor = 2 * 0x1p-24 * (1 + terms) * 10 * scale * largest(q);
        for (DataType type : new DataType[] {DataType.DOUBLE, DataType.FLOAT}) {
            INDArray gradient = maskedKeyGradient(type, scale, null, mask);
            double tolerance = type == DataType.DOUBLE ? EXACT : 2 * stockError + floor;
            assertEquals(0, difference(wanted, gradient), tolerance);
            INDArray masked =
                    gradient.get(NDArrayIndex.point(1), NDArrayIndex.all(), NDArrayIndex.point(4), NDArrayIndex.all());
            assertEquals(0, masked.norm2Number().doubleValue());
            assertTrue(gradient.norm2Number().doubleValue() > 0.1);
        }
    }

    /** From stock operations where {@code hidden} is given, from ours where {@code mask} is. */
    private INDArray maskedKeyGradient(DataType type, double scale, INDArray hidden, INDArray mask) {
        Graph g = Graph.of(q.castTo(type), k.castTo(type), v.castTo(type), zeta.castTo(type));
        SDVariable energy = mask == null
                ? g.stockEnergy(scale, hidden)
                : AttentionEnergyOps.energy(g.q, g.k, g.v, g.zeta, g.graph.constant(mask), AttentionOptions.defaults());
        return g.gradients(energy).get("k");
    }

    @Test
    void withoutASourceTheEnergyShouldBeTheLseAndTheGraphShouldSaveAndLoad(@TempDir Path folder) throws Exception {
        SameDiff graph = SameDiff.create();
        AttentionOptions options = AttentionOptions.defaults().withSoftCap(2);
        AttentionEnergyOps.energy(graph.var("q", q), graph.var("k", k), graph.var("v", v), null, null, options)
                .rename("energy")
                .sum()
                .rename("total");
        graph.setLossVariables("total");
        ArrayAttention.Result result = ArrayAttention.forward(q, k, v, null, options);
        INDArray ones = Nd4j.ones(DataType.DOUBLE, 2, 4, 5);
        ArrayAttention.Gradients wanted = ArrayAttention.backward(
                q, k, v, null, options, result, result.out().mul(0), ones);
        File file = folder.resolve("graph.fb").toFile();
        graph.save(file, false);
        for (SameDiff each : new SameDiff[] {graph, SameDiff.load(file, false)}) {
            assertEquals(0, difference(result.lse(), each.outputSingle(Map.of(), "energy")), EXACT);
            Map<String, INDArray> got = each.calculateGradients(Map.of(), "q", "k");
            assertEquals(0, difference(wanted.dQ(), got.get("q")), EXACT);
            assertEquals(0, difference(wanted.dK(), got.get("k")), EXACT);
        }
    }

    /** The energy over keys that a mask leaves is that over these keys alone; what it hides is not read. */
    @Test
    void hiddenKeysShouldNotCount() {
        INDArray keyMask = Nd4j.ones(DataType.DOUBLE, 2, 13);
        INDArray hiddenKeys = k.dup();
        INDArray hiddenValues = v.dup();
        for (int j = 9; j < 13; j++) {
            keyMask.getColumn(j).assign(0);
            for (INDArray array : List.of(hiddenKeys, hiddenValues)) {
                array.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.point(j), NDArrayIndex.all())
                        .assign(Double.NaN);
            }
        }
        INDArray fewKeys =
                k.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.interval(0, 9), NDArrayIndex.all());
        INDArray fewValues =
                v.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.interval(0, 9), NDArrayIndex.all());
        AttentionOptions options = CAUSAL.withQueryOffset(8);
        for (INDArray source : new INDArray[] {zeta, null}) {
            INDArray alone = Nd4j.create(DataType.DOUBLE, 2, 4, 5);
            SourceEnergy.run(q, fewKeys, fewValues, source, null, options, alone);
            INDArray masked = Nd4j.create(DataType.DOUBLE, 2, 4, 5);
            SourceEnergy.run(q, hiddenKeys, hiddenValues, source, keyMask, options, masked);
            assertEquals(0, difference(alone, masked), EXACT);
        }
    }

    /** FLOAT runs on kernels, DOUBLE as attention over longer rows; views and orders are all the same. */
    @Test
    void floatShouldBeDouble() {
        for (int queries : new int[] {1, 31, 33, 64, 127}) {
            INDArray manyQueries = Nd4j.randn(DataType.DOUBLE, 2, 4, queries, 3);
            INDArray manySources = Nd4j.randn(DataType.DOUBLE, 2, 4, queries, 2);
            INDArray keyMask = Nd4j.ones(DataType.DOUBLE, 2, 13);
            keyMask.putScalar(1, 2, 0);
            AttentionOptions options = CAUSAL.withQueryOffset(0).withSlidingWindow(queries);
            for (INDArray source : new INDArray[] {manySources, null}) {
                INDArray inDouble = Nd4j.create(DataType.DOUBLE, 2, 4, queries);
                SourceEnergy.run(manyQueries, k, v, source, keyMask, options, inDouble);
                INDArray inFloat = Nd4j.create(DataType.FLOAT, 2, 4, queries);
                SourceEnergy.run(
                        manyQueries.castTo(DataType.FLOAT).dup('f'),
                        k.castTo(DataType.FLOAT),
                        v.castTo(DataType.FLOAT).dup('f'),
                        source == null ? null : source.castTo(DataType.FLOAT).dup('f'),
                        keyMask,
                        options,
                        inFloat);
                // a score has 5 terms, an lse 13; each rounding is of at most the largest score's terms, or of the
                // lse's
                // log
                double terms = 3 * 0.7 * largest(manyQueries) * largest(k) + 2 * largest(manySources) * largest(v) + 4;
                assertEquals(0, difference(inDouble, inFloat.castTo(DataType.DOUBLE)), 20 * 0x1p-24 * terms);
            }
        }
    }

    @Test
    void badInputShouldNameRuleWantedAndGot() {
        Graph g = Graph.of(q, k, v, zeta);
        AttentionOptions capped = CAUSAL.withSoftCap(4);
        assertEquals(
                "a source does not go with a soft-cap: want softCap=0 or zeta=null, got 4.0",
                refused(() -> AttentionEnergyOps.energy(g.q, g.k, g.v, g.zeta, null, capped)));
        assertEquals(
                "the gradient in q is the mean key only without a soft-cap: want softCap=0, got 4.0; differentiate"
                        + " energy(...) instead",
                refused(() -> AttentionEnergyOps.queryGradient(g.q, g.k, g.v, null, null, capped)));
        INDArray narrow = zeta.dup().reshape('c', 2, 4, 10, 1);
        assertEquals(
                "zeta must be [batch, heads, queries, valueDim]: want [2, 4, 5, 2], got [2, 4, 10, 1]",
                refused(() -> SourceEnergy.run(q, k, v, narrow, null, CAUSAL, Nd4j.create(DataType.DOUBLE, 2, 4, 5))));
        SDVariable open = g.graph.placeHolder("open", DataType.DOUBLE, -1, -1, -1, -1);
        assertEquals(
                "q's headDim, for the default scale, must be known while the graph is built: want [batch, heads,"
                        + " positions, dim], got [-1, -1, -1, -1] of open",
                refused(() -> AttentionEnergyOps.energy(open, g.k, g.v, g.zeta, null, AttentionOptions.defaults())));
    }

    private static String refused(Runnable use) {
        return assertThrows(IllegalArgumentException.class, use::run).getMessage();
    }

    private static double largest(INDArray array) {
        return Arrays.stream(array.dup('c').data().asDouble())
                .map(Math::abs)
                .max()
                .orElseThrow();
    }

    private static double[] row(INDArray array, int b) {
        INDArray row = array.get(NDArrayIndex.point(b), NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.all());
        return row.dup('c').data().asDouble();
    }

    private static INDArray array(Safetensors tensors, String name, long... shape) {
        return Nd4j.createFromArray(tensors.values(name)).reshape('c', shape);
    }
}
