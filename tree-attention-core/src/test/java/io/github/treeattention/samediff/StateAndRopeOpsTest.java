package io.github.treeattention.samediff;

import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.SeededArrays;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.INDArrayIndex;
import org.nd4j.linalg.indexing.NDArrayIndex;
import org.nd4j.linalg.ops.transforms.Transforms;

/** States, merging, RoPE and RMSNorm as operations of a graph. */
@ExtendWith(SeededArrays.class)
@Timeout(120)
class StateAndRopeOpsTest {
    private static final int KEYS = 13;
    private static final AttentionOptions CAUSAL =
            AttentionOptions.defaults().withCausal(true).withQueryOffset(6).withSoftCap(2);

    /** Within -2 and 2, so that third derivatives, and with them the error of differences, are bounded. */
    private static INDArray random(DataType type, long... shape) {
        return Nd4j.rand(DataType.DOUBLE, shape).muli(4).subi(2).castTo(type);
    }

    private static void checkGradient(SameDiff graph, String... variables) {
        Map<String, INDArray> got = graph.calculateGradients(Map.of(), variables);
        for (String name : variables) {
            INDArray values = graph.getVariable(name).getArr().dup('c');
            INDArray numeric = Nd4j.zeros(DataType.DOUBLE, values.shape());
            for (long i = 0; i < values.length(); i++) {
                double at = values.getDouble(i);
                double[] losses = new double[2];
                for (int side = 0; side < 2; side++) {
                    values.putScalar(i, at + (side == 0 ? 1e-5 : -1e-5));
                    graph.associateArrayWithVariable(values, graph.getVariable(name));
                    losses[side] = graph.outputSingle(Map.of(), "total").getDouble(0);
                }
                values.putScalar(i, at);
                graph.associateArrayWithVariable(values, graph.getVariable(name));
                numeric.putScalar(i, (losses[0] - losses[1]) / 2e-5);
            }
            assertEquals(0, difference(numeric, got.get(name)), 1e-7, name);
        }
    }

    /** The loss weighs all elements differently, so that a wrong gradient can't hide in a sum. */
    private static void loss(SameDiff graph, SDVariable out, long... shape) {
        SDVariable weights = graph.constant("weights", random(out.dataType(), shape));
        out.mul(weights).sum().rename("total");
        graph.setLossVariables("total");
    }

    /** Keys cut into parts, uneven and, for early queries, of no use; their states merged are attention over all. */
    private static SameDiff parts(INDArray q, INDArray k, INDArray v, INDArray mask, int... ends) {
        SameDiff graph = SameDiff.create();
        SDVariable query = graph.var("q", q.dup());
        List<SDVariable> states = new ArrayList<>();
        int from = 0;
        for (int end : ends) {
            var part = NDArrayIndex.interval(from, end);
            var all = NDArrayIndex.all();
            SDVariable keys = graph.var("k" + from, k.get(all, all, part, all).dup());
            SDVariable values = graph.var("v" + from, v.get(all, all, part, all).dup());
            SDVariable visible =
                    mask == null ? null : graph.constant(mask.get(all, part).dup());
            states.add(TreeAttentionOps.partialAttention(
                    query, keys, values, visible, CAUSAL.withQueryOffset(CAUSAL.queryOffset() - from)));
            from = end;
        }
        TreeAttentionOps.mergeStates(states.toArray(new SDVariable[0])).rename("state");
        TreeAttentionOps.stateOut(graph.getVariable("state")).rename("out");
        return graph;
    }

    @Test
    void shouldMergeStatesOfAnyCut() {
        for (DataType type : List.of(DataType.DOUBLE, DataType.FLOAT)) {
            INDArray q = random(type, 2, 4, 5, 3);
            INDArray k = random(type, 2, 2, KEYS, 3);
            INDArray v = random(type, 2, 2, KEYS, 4);
            INDArray mask = Nd4j.ones(DataType.DOUBLE, 2, KEYS);
            mask.get(NDArrayIndex.point(1), NDArrayIndex.interval(0, 9)).assign(0); // some rows see nothing at all
            for (INDArray visible : new INDArray[] {null, mask}) {
                ArrayAttention.Result wanted = NaiveAttention.forward(q, k, v, visible, CAUSAL);
                for (int[] ends : List.of(new int[] {7, 13}, new int[] {1, 2, 9, 13}, new int[] {12, 13})) {
                    SameDiff graph = parts(q, k, v, visible, ends);
                    FloatBounds bounds = FloatBounds.forward(q, k, v, CAUSAL).merged(v, ends.length);
                    boolean exact = type == DataType.DOUBLE;
                    INDArray out = graph.outputSingle(Map.of(), "out");
                    assertEquals(0, difference(wanted.out(), out), exact ? 1e-13 : bounds.out());
                    INDArray state = graph.outputSingle(Map.of(), "state");
                    INDArray lse = state.get(
                            NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.point(4));
                    assertEquals(0, difference(wanted.lse(), lse), exact ? 1e-13 : bounds.lse());
                }
            }
        }
    }

    @Test
    void shouldDifferentiateThroughMergedStates() {
        INDArray q = random(DataType.DOUBLE, 1, 2, 3, 2);
        INDArray k = random(DataType.DOUBLE, 1, 1, KEYS, 2);
        INDArray v = random(DataType.DOUBLE, 1, 1, KEYS, 2);
        SameDiff graph = parts(q, k, v, null, 4, 5, 13);
        loss(graph, graph.getVariable("out"), 1, 2, 3, 2);
        checkGradient(graph, "q", "k0", "v0", "k4", "v4", "k5", "v5");
    }

    @Test
    void shouldDifferentiateTheMergeInEveryElementOfAState() {
        SameDiff graph = SameDiff.create();
        SDVariable a = graph.var("a", random(DataType.DOUBLE, 1, 2, 3, 4));
        SDVariable b = graph.var("b", random(DataType.DOUBLE, 1, 2, 3, 4));
        SDVariable c = graph.var("c", random(DataType.DOUBLE, 1, 2, 3, 4));
        loss(graph, TreeAttentionOps.mergeStates(a, b, c), 1, 2, 3, 4);
        checkGradient(graph, "a", "b", "c");
    }

    @Test
    void shouldMergeManyRowsFromViewsAndAnyOrder() {
        INDArray all = random(DataType.DOUBLE, 3, 2, 5, 70);
        INDArray a = all.permute(2, 1, 3, 0).get(NDArrayIndex.interval(1, 5));
        INDArray b = random(DataType.DOUBLE, 4, 2, 70, 3).dup('f');
        SameDiff graph = SameDiff.create();
        SDVariable merged = TreeAttentionOps.mergeStates(graph.var("a", a), graph.var("b", b));
        INDArray got = graph.outputSingle(Map.of(), merged.name());
        INDArray shareOfA = Transforms.sigmoid(last(a).sub(last(b)));
        INDArray wanted = a.get(outputs()).mul(shareOfA).add(b.get(outputs()).mul(shareOfA.rsub(1)));
        assertEquals(0, difference(wanted, got.get(outputs())), 1e-13);
    }

    private static INDArray last(INDArray state) {
        var all = NDArrayIndex.all();
        return state.get(all, all, all, NDArrayIndex.interval(2, 3));
    }

    private static INDArrayIndex[] outputs() {
        var all = NDArrayIndex.all();
        return new INDArrayIndex[] {all, all, all, NDArrayIndex.interval(0, 2)};
    }

    @Test
    void shouldTurnByPositionAndDifferentiate() {
        for (RotaryEmbedding.Pairs pairs : RotaryEmbedding.Pairs.values()) {
            RotaryEmbedding rope = new RotaryEmbedding(100, pairs);
            INDArray x = random(DataType.DOUBLE, 2, 3, 5, 6).permute(0, 1, 2, 3).dup('f');
            for (INDArray positions : List.of(
                    Nd4j.scalar(7L),
                    Nd4j.createFromArray(3L, 0L, 9L, 1L, 1_000_000L),
                    Nd4j.createFromArray(new long[][] {{0, 1, 2, 3, 4}, {9, 8, 7, 6, 5}}))) {
                SameDiff graph = SameDiff.create();
                SDVariable out = TreeAttentionOps.rope(graph.var("x", x), graph.constant(positions), rope);
                out.rename("out");
                assertEquals(0, difference(turned(x, positions, rope), graph.outputSingle(Map.of(), "out")), 1e-12);
                loss(graph, out, x.shape());
                checkGradient(graph, "x");
            }
        }
    }

    /** Tables of cosines are made for blocks of steps, here of 32. */
    @Test
    void shouldTurnOverTheBordersOfTables() {
        RotaryEmbedding rope = new RotaryEmbedding(100, RotaryEmbedding.Pairs.HALVES);
        INDArray x = random(DataType.DOUBLE, 2, 1, 70, 2048);
        INDArray got = x.dup();
        rope.turn(got, 5);
        assertEquals(0, difference(turned(x, Nd4j.scalar(5L), rope), got), 1e-12);
        long[][] positions = new long[2][70];
        for (int t = 0; t < 70; t++) {
            positions[0][t] = 3L * t;
            positions[1][t] = 100L - t;
        }
        INDArray perRow = Nd4j.createFromArray(positions);
        SameDiff graph = SameDiff.create();
        SDVariable out = TreeAttentionOps.rope(graph.var("x", x), graph.constant(perRow), rope);
        assertEquals(0, difference(turned(x, perRow, rope), out.eval()), 1e-12);
    }

    /** By its definition, a pair as a complex number. */
    private static INDArray turned(INDArray x, INDArray positions, RotaryEmbedding rope) {
        INDArray result = x.dup();
        int half = (int) x.size(3) / 2;
        for (int b = 0; b < x.size(0); b++) {
            for (int h = 0; h < x.size(1); h++) {
                for (int t = 0; t < x.size(2); t++) {
                    long position = positions.length() == 1
                            ? positions.getLong(0) + t
                            : positions.rank() == 1 ? positions.getLong(t) : positions.getLong(b, t);
                    for (int i = 0; i < half; i++) {
                        boolean halves = rope.pairs() == RotaryEmbedding.Pairs.HALVES;
                        int first = halves ? i : 2 * i;
                        int second = halves ? i + half : 2 * i + 1;
                        double angle = position * Math.pow(rope.theta(), -2.0 * i / x.size(3));
                        double re = x.getDouble(b, h, t, first);
                        double im = x.getDouble(b, h, t, second);
                        result.putScalar(new int[] {b, h, t, first}, re * Math.cos(angle) - im * Math.sin(angle));
                        result.putScalar(new int[] {b, h, t, second}, re * Math.sin(angle) + im * Math.cos(angle));
                    }
                }
            }
        }
        return result;
    }

    @Test
    void shouldNormaliseWithStockOperationsAndDifferentiate() {
        SameDiff graph = SameDiff.create();
        SDVariable x = graph.var("x", random(DataType.DOUBLE, 2, 3, 5));
        SDVariable out = TreeAttentionOps.rmsNorm(x, graph.var("gain", random(DataType.DOUBLE, 5)), 0.1);
        loss(graph, out, 2, 3, 5);
        checkGradient(graph, "x", "gain");
        assertTrue(graph.getOps().values().stream().noneMatch(op -> op.getOp() instanceof JavaOp));
    }

    @Test
    void shouldSayWhatDoesNotFit() {
        SameDiff graph = SameDiff.create();
        SDVariable x = graph.var("x", random(DataType.DOUBLE, 1, 1, 2, 3));
        assertEquals(
                "merging takes two states or more: got 1",
                assertThrows(IllegalArgumentException.class, () -> TreeAttentionOps.mergeStates(x))
                        .getMessage());
        SDVariable other = graph.var("other", random(DataType.DOUBLE, 1, 1, 2, 4));
        refuses(TreeAttentionOps.mergeStates(x, other), "states to merge must be alike");
        RotaryEmbedding rope = new RotaryEmbedding(100, RotaryEmbedding.Pairs.HALVES);
        refuses(TreeAttentionOps.rope(x, graph.constant(1L), rope), "with an even dim: got [1, 1, 2, 3]");
        SDVariable positions = graph.constant(Nd4j.createFromArray(1L, 2L, 3L));
        refuses(TreeAttentionOps.rope(other, positions, rope), "positions must be one, the first step's, or [2], or");
    }

    private static void refuses(SDVariable output, String message) {
        Throwable failure = assertThrows(RuntimeException.class, output::eval);
        while (failure.getCause() != null) {
            failure = failure.getCause();
        }
        assertTrue(String.valueOf(failure.getMessage()).contains(message), String.valueOf(failure));
    }
}
