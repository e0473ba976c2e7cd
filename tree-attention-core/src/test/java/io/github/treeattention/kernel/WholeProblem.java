package io.github.treeattention.kernel;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequenceSplit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;

/**
 * An attention problem for tests outside this package that compute it in pieces: plain arrays, and a check of the whole
 * result by the rule of {@link AttentionKernelContract} and {@link AttentionBackwardContract}, with one floor for each
 * piece whose state was merged.
 */
public final class WholeProblem {
    private static final double ROUNDING = 0x1p-24;

    private final AttentionCase c;
    private final Tables tables;
    private final float[] stateGradient;
    private final ReferenceAttention truth;
    private final ReferenceAttention naive;
    private final ReferenceGradients trueGradients;
    private final ReferenceGradients naiveGradients;

    /** Tables of a mask over all queries and keys, each null where there is none. */
    private static final class Tables {
        static final Tables NONE = new Tables(null, null, null);

        final boolean[][] keys; // [batch][keys]
        final long[] ranges; // [batch][queries][2]
        final float[] bias; // [heads][queries][keys]

        Tables(boolean[][] keys, long[] ranges, float[] bias) {
            this.keys = keys;
            this.ranges = ranges;
            this.bias = bias;
        }
    }

    private WholeProblem(AttentionCase c, Tables tables, float[] stateGradient) {
        this.c = c;
        this.tables = tables;
        this.stateGradient = stateGradient;
        truth = ReferenceAttention.float64(c);
        naive = ReferenceAttention.naiveFloat32(c);
        trueGradients = ReferenceGradients.float64(c, stateGradient);
        naiveGradients = ReferenceGradients.naiveFloat32(c, stateGradient);
    }

    /** Keys at positions from 0 on, float32, no mask but the spec's. */
    public static WholeProblem random(
            SplittableRandom random, AttentionSpec spec, int batch, int queries, long firstQuery, int keys) {
        return build(random, spec, batch, queries, firstQuery, keys, Tables.NONE, KvType.F32);
    }

    /** Self-attention whose keys and values are numbers that a type can hold. */
    public static WholeProblem ofType(SplittableRandom random, AttentionSpec spec, int batch, int length, KvType type) {
        return build(random, spec, batch, length, 0, length, Tables.NONE, type);
    }

    /** Self-attention of packed documents, the same in every batch row. */
    public static WholeProblem packed(
            SplittableRandom random, AttentionSpec spec, int batch, int length, long... documentStarts) {
        long[] one = SequenceSplit.zigzag(length, 1).slice(0).documentRanges(documentStarts);
        long[] ranges = new long[batch * one.length];
        for (int b = 0; b < batch; b++) {
            System.arraycopy(one, 0, ranges, b * one.length, one.length);
        }
        return build(random, spec, batch, length, 0, length, new Tables(null, ranges, null), KvType.F32);
    }

    /** The same with padding, ranges of packed documents and a bias, some of them. */
    public static WholeProblem masked(
            SplittableRandom random,
            AttentionSpec spec,
            int batch,
            int queries,
            long firstQuery,
            int keys,
            boolean withBias) {
        boolean[][] visible = new boolean[batch][keys];
        for (boolean[] row : visible) {
            int from = random.nextInt(keys);
            int to = random.nextInt(from, keys + 1);
            for (int j = 0; j < keys; j++) {
                row[j] = j >= from && j < to && random.nextInt(5) > 0;
            }
        }
        long[] ranges = new long[2 * batch * queries];
        int document = 1 + random.nextInt(keys);
        for (int i = 0; i < batch * queries; i++) {
            ranges[2 * i] = (firstQuery + i % queries) / document * document;
            ranges[2 * i + 1] = random.nextInt(9) == 0 ? Long.MAX_VALUE : ranges[2 * i] + document;
        }
        float[] bias = floats(random, spec.heads() * queries * keys);
        for (int i = 0; i < bias.length; i += 1 + random.nextInt(9)) {
            bias[i] = Float.NEGATIVE_INFINITY;
        }
        Tables tables = new Tables(
                random.nextBoolean() ? visible : null,
                random.nextBoolean() ? ranges : null,
                withBias && random.nextBoolean() ? bias : null);
        return build(random, spec, batch, queries, firstQuery, keys, tables, KvType.F32);
    }

    private static WholeProblem build(
            SplittableRandom random,
            AttentionSpec spec,
            int batch,
            int queries,
            long firstQuery,
            int keys,
            Tables tables,
            KvType type) {
        long[] positions = new long[keys];
        Arrays.setAll(positions, j -> j);
        List<AttentionCase.Keys> rows = new ArrayList<>();
        for (int b = 0; b < batch; b++) {
            rows.add(new AttentionCase.Keys(
                    positions,
                    stored(floats(random, spec.kvHeads() * keys * spec.headDim()), type),
                    stored(floats(random, spec.kvHeads() * keys * spec.valueDim()), type)));
        }
        long[] firstPositions = new long[batch];
        Arrays.fill(firstPositions, firstQuery);
        float[] q = floats(random, batch * spec.heads() * queries * spec.headDim());
        AttentionMask mask = mask(
                tables, spec.heads(), queries, keys, IntStream.range(0, queries).toArray());
        AttentionCase c = new AttentionCase(spec, KvType.F32, queries, 64, q, firstPositions, rows, mask);
        return new WholeProblem(c, tables, floats(random, batch * spec.heads() * queries * (spec.valueDim() + 1)));
    }

    private static AttentionMask mask(Tables tables, int heads, int queries, int keys, int[] rows) {
        AttentionMask mask = AttentionMask.NONE;
        if (rows.length == 0) {
            return mask;
        }
        if (tables.keys != null) {
            mask = mask.withKeys(tables.keys);
        }
        if (tables.ranges != null) {
            int batch = tables.ranges.length / queries / 2;
            long[] some = new long[2 * batch * rows.length];
            for (int i = 0; i < batch * rows.length; i++) {
                System.arraycopy(
                        tables.ranges, 2 * (i / rows.length * queries + rows[i % rows.length]), some, 2 * i, 2);
            }
            mask = mask.withRanges(batch, rows.length, some);
        }
        if (tables.bias != null) {
            float[] some = new float[heads * rows.length * keys];
            for (int i = 0; i < heads * rows.length; i++) {
                System.arraycopy(
                        tables.bias, (i / rows.length * queries + rows[i % rows.length]) * keys, some, i * keys, keys);
            }
            mask = mask.withBias(AttentionCase.buffer(some), 1, heads, rows.length, keys);
        }
        return mask;
    }

    /** What PyTorch solved; none, with a printed reason, where the shared data is absent. */
    public static List<WholeProblem> torch() {
        List<WholeProblem> problems = new ArrayList<>();
        for (TorchFixture fixture : TorchFixture.all()) {
            int valueDim = fixture.problem.spec.valueDim();
            float[] dOut = fixture.tensors.floats("dout");
            float[] stateGradient = new float[dOut.length / valueDim * (valueDim + 1)];
            for (int i = 0; i < dOut.length; i++) {
                stateGradient[i / valueDim * (valueDim + 1) + i % valueDim] = dOut[i];
            }
            problems.add(new WholeProblem(fixture.problem, Tables.NONE, stateGradient));
        }
        return problems;
    }

    public AttentionSpec spec() {
        return c.spec;
    }

    public int batch() {
        return c.batch();
    }

    public int queryCount() {
        return c.queries;
    }

    public long firstQuery() {
        return c.firstPositions[0];
    }

    public int keyCount() {
        return c.keys.get(0).count();
    }

    /** {@code [batch][heads][queries][headDim]}. */
    public float[] queries() {
        return c.q;
    }

    /** {@code [batch][kvHeads][keys][headDim]}. */
    public float[] keys() {
        return join(c.keys.stream().map(row -> row.k).toList());
    }

    /** {@code [batch][kvHeads][keys][valueDim]}. */
    public float[] values() {
        return join(c.keys.stream().map(row -> row.v).toList());
    }

    /** The mask of some of the queries. */
    public AttentionMask mask(int[] rows) {
        return mask(tables, c.spec.heads(), c.queries, keyCount(), rows);
    }

    /** {@code [batch][heads][queries][valueDim + 1]}. */
    public float[] stateGradient() {
        return stateGradient;
    }

    /** The state by its definition in float64, {@code [batch][heads][queries][valueDim + 1]}. */
    public double[] exactState() {
        int dim = c.spec.valueDim();
        double[] rows = new double[truth.lse.length * (dim + 1)];
        for (int row = 0; row < truth.lse.length; row++) {
            System.arraycopy(truth.out, row * dim, rows, row * (dim + 1), dim);
            rows[row * (dim + 1) + dim] = truth.lse[row];
        }
        return rows;
    }

    /** The gradients in float64 of queries, keys and values, laid out like these. */
    public List<double[]> exactGradients() {
        return List.of(trueGradients.dq, joinDoubles(trueGradients.dk), joinDoubles(trueGradients.dv));
    }

    /**
     * What is added to each key's score, -inf where it is hidden.
     *
     * @param row of {@code [batch][heads][queries]}
     */
    public float[] biases(int row) {
        return ReferenceAttention.biases(c, row);
    }

    /** What dropout makes of each key's weight of 1, for a row of {@code [batch][heads][queries]}. */
    public double[] kept(int row) {
        return ReferenceAttention.kept(c, row);
    }

    /**
     * Checks a whole state.
     *
     * @param rows {@code [batch][heads][queries][valueDim + 1]}
     */
    public void checkState(String what, float[] rows, int pieces) {
        double floor = pieces * ROUNDING * (1 + truth.largestLogitTerms());
        int dim = c.spec.valueDim();
        double[] out = new double[truth.out.length];
        double[] lse = new double[truth.lse.length];
        for (int row = 0; row < lse.length; row++) {
            boolean empty = truth.lse[row] == Double.NEGATIVE_INFINITY;
            float got = rows[row * (dim + 1) + dim];
            assertEquals(empty, got == Float.NEGATIVE_INFINITY, "lse " + got + " of row " + row + ": " + what + c);
            lse[row] = empty ? 0 : got - truth.lse[row];
            for (int d = 0; d < dim; d++) {
                out[row * dim + d] = rows[row * (dim + 1) + d] - truth.out[row * dim + d];
            }
        }
        double lseNaive = 0;
        for (int row = 0; row < lse.length; row++) {
            lseNaive = Math.max(lseNaive, lse[row] == 0 ? 0 : Math.abs(naive.lse[row] - truth.lse[row]));
        }
        assertEquals(0, largest(lse), 2 * lseNaive + 4 * floor, "lse of " + what + c);
        double outBound = 2 * largest(difference(naive.out, truth.out)) + floor * truth.largestValue();
        assertEquals(0, largest(out), outBound, "out of " + what + c);
    }

    /**
     * Checks the gradients of {@code sum(stateGradient * state)}.
     *
     * @param dq {@code [batch][heads][queries][headDim]}
     * @param dk {@code [batch][kvHeads][keys][headDim]}
     * @param dv {@code [batch][kvHeads][keys][valueDim]}
     */
    public void checkGradients(String what, float[] dq, float[] dk, float[] dv, int pieces) {
        double floor = 2 * pieces * ROUNDING * (1 + truth.largestLogitTerms()) * trueGradients.largestTerms;
        requireClose("dq of " + what, dq, trueGradients.dq, naiveGradients.dq, floor);
        requireClose("dk of " + what, dk, joinDoubles(trueGradients.dk), joinDoubles(naiveGradients.dk), floor);
        requireClose("dv of " + what, dv, joinDoubles(trueGradients.dv), joinDoubles(naiveGradients.dv), floor);
    }

    private void requireClose(String what, float[] got, double[] wanted, double[] rough, double floor) {
        double[] errors = new double[wanted.length];
        for (int i = 0; i < errors.length; i++) {
            errors[i] = got[i] - wanted[i];
        }
        assertEquals(0, largest(errors), 2 * largest(difference(rough, wanted)) + floor, what + c);
    }

    private static double[] difference(double[] a, double[] b) {
        double[] difference = new double[a.length];
        Arrays.setAll(difference, i -> a[i] - b[i]);
        return difference;
    }

    /** NaN counts as infinite. */
    private static double largest(double[] errors) {
        double largest = 0;
        for (double error : errors) {
            largest = Math.max(largest, Double.isNaN(error) ? Double.POSITIVE_INFINITY : Math.abs(error));
        }
        return largest;
    }

    private static float[] stored(float[] values, KvType type) {
        for (int i = 0; type != KvType.F32 && i < values.length; i++) {
            values[i] = type.decode16(type.encode16(values[i]));
        }
        return values;
    }

    private static float[] floats(SplittableRandom random, int count) {
        float[] floats = new float[count];
        for (int i = 0; i < count; i++) {
            double sum = random.nextDouble() + random.nextDouble() + random.nextDouble() + random.nextDouble() - 2;
            floats[i] = (float) (sum * Math.sqrt(3)); // close to normal, variance 1
        }
        return floats;
    }

    private static float[] join(List<float[]> parts) {
        float[] all = new float[parts.stream().mapToInt(part -> part.length).sum()];
        int at = 0;
        for (float[] part : parts) {
            System.arraycopy(part, 0, all, at, part.length);
            at += part.length;
        }
        return all;
    }

    private static double[] joinDoubles(List<double[]> parts) {
        return parts.stream().flatMapToDouble(Arrays::stream).toArray();
    }

    @Override
    public String toString() {
        return c.toString();
    }
}
