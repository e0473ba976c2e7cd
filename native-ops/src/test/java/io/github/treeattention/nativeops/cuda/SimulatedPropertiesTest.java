package io.github.treeattention.nativeops.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.testkit.Seeds;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** Laws that the kernels' results obey, in the simulator: they need no reference. */
class SimulatedPropertiesTest {
    private static final double ROUNDING = 0x1p-24;

    /** Two query heads, each with a KV head, keys at positions from 0 on. */
    private static final class Small {
        final int queries;
        final int keys;
        final int dim;
        final float[] q;
        final float[] k;
        final float[] v;

        Small(int queries, int keys, int dim, float[] q, float[] k, float[] v) {
            this.queries = queries;
            this.keys = keys;
            this.dim = dim;
            this.q = q;
            this.k = k;
            this.v = v;
        }

        static Small random(int queries, int keys, int dim, SplittableRandom random) {
            return new Small(
                    queries,
                    keys,
                    dim,
                    floats(2 * queries * dim, random),
                    floats(2 * keys * dim, random),
                    floats(2 * keys * dim, random));
        }

        AttentionSpec spec() {
            return AttentionSpec.of(2, 2, dim);
        }

        Queries toQueries() {
            return new Queries(direct(q).asFloatBuffer(), 1, 2, queries, dim, 0);
        }

        List<KvShard> shards() {
            KvLayout layout = new KvLayout(1, 2, dim, dim, KvType.F32, keys);
            return List.of(KvShard.dense(layout, direct(k), direct(v), 0, keys));
        }

        AttentionState run(CudaKernel kernel) {
            AttentionState state = AttentionState.empty(1, 2, queries, dim);
            kernel.partial(spec(), toQueries(), shards(), state);
            return state;
        }

        Small moved(double by, float[] dq, float[] dk, float[] dv) {
            return new Small(queries, keys, dim, moved(q, by, dq), moved(k, by, dk), moved(v, by, dv));
        }

        private static float[] moved(float[] from, double by, float[] way) {
            float[] to = from.clone();
            for (int i = 0; i < to.length; i++) {
                to[i] += (float) (by * way[i]);
            }
            return to;
        }
    }

    /** Multiples of 1/64 below 1, so that small steps to them are exact. */
    private static float[] floats(int count, SplittableRandom random) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = random.nextInt(-63, 64) / 64f;
        }
        return values;
    }

    private static ByteBuffer direct(float... values) {
        ByteBuffer bytes =
                ByteBuffer.allocateDirect(Float.BYTES * values.length).order(ByteOrder.LITTLE_ENDIAN);
        bytes.asFloatBuffer().put(values);
        return bytes;
    }

    /** The sums of 512 keys are exact, that of all would round down at each: an error of 2^-16, three quarters of what is there. */
    @Test
    void shouldSumLongRowsInTwoLevels() {
        int keys = 2048;
        Small ones = new Small(1, keys, 1, new float[2], new float[2 * keys], new float[2 * keys]);
        Arrays.fill(ones.v, 1 + 0x1p-15f);
        SimulatedDriver driver = new SimulatedDriver(new CudaDevice("one", 80, 1, 99 << 10));
        AttentionState state = ones.run(new CudaKernel(driver));
        assertEquals(
                List.of("plain_f32"),
                driver.launches().stream().map(c -> c.kernel()).toList(),
                "one split");
        assertEquals(1 + 0x1p-15, state.out(0, 0, 0, 0), 4 * ROUNDING, "four sums and a division round");
        assertEquals(Math.log(keys), state.lse(0, 0, 0), 4 * 8 * ROUNDING);
    }

    /** Parts of a state, {@code [splits][2 rows][dim + 1]}, merged by the kernel. */
    private static float[] merge(float[] parts, int splits, int dim) {
        SimulatedDriver driver = new SimulatedDriver();
        long module = driver.load(KernelSource.ptx());
        int length = 2 * (dim + 1);
        long result = driver.allocate((long) length * Float.BYTES);
        long from = driver.allocate((long) parts.length * Float.BYTES);
        driver.copyToDevice(from, direct(parts));
        driver.launch(
                driver.function(module, "merge"),
                new Launch(2, 1, 1, 128, 1, splits * Float.BYTES),
                Problem.merge(from, result, 2, dim + 1, splits),
                0);
        ByteBuffer merged = direct(new float[length]);
        driver.copyToHost(merged, result);
        float[] values = new float[length];
        merged.asFloatBuffer().get(values);
        return values;
    }

    private static float[] parts(SplittableRandom random, int splits, int dim) {
        float[] parts = floats(splits * 2 * (dim + 1), random);
        for (int row = 0; row < splits * 2; row++) {
            boolean empty = row % 2 == 0 && random.nextInt(4) == 0;
            parts[row * (dim + 1) + dim] = empty ? Float.NEGATIVE_INFINITY : random.nextInt(-4096, 4096) / 1024f;
            for (int d = 0; empty && d < dim; d++) {
                parts[row * (dim + 1) + d] = 0;
            }
        }
        return parts;
    }

    private static float[] block(float[] parts, int size, int first, int count) {
        return Arrays.copyOfRange(parts, first * size, (first + count) * size);
    }

    private static float[] join(float[] a, float[] b) {
        float[] both = Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, both, a.length, b.length);
        return both;
    }

    /**
     * In any order and any grouping. A weight's exponent is at most 8 and rounds three times, its exponential is good to 2^-22: 2^-19
     * of the weight; sums and quotients of outputs below 1 add a few roundings; and there are at most two merges on a way.
     */
    @Test
    void shouldMergeInAnyOrder() {
        SplittableRandom random = Seeds.random("shouldMergeInAnyOrder");
        double bound = 2 * 2 * 0x1p-19 + 16 * ROUNDING;
        for (int dim : new int[] {1, 13, 130}) {
            int size = 2 * (dim + 1);
            float[] three = parts(random, 3, dim);
            float[] want = merge(three, 3, dim);
            float[] a = block(three, size, 0, 1);
            float[] b = block(three, size, 1, 1);
            float[] c = block(three, size, 2, 1);
            same(want, merge(join(join(c, a), b), 3, dim), bound);
            same(want, merge(join(merge(join(a, b), 2, dim), c), 2, dim), bound);
            same(want, merge(join(a, merge(join(b, c), 2, dim)), 2, dim), bound);
            same(a, merge(a, 1, dim), bound);
        }
    }

    private static void same(float[] want, float[] got, double bound) {
        for (int i = 0; i < want.length; i++) {
            assertTrue(
                    want[i] == got[i] || Math.abs(want[i] - got[i]) <= bound * Math.max(1, Math.abs(want[i])),
                    "float " + i + ": " + want[i] + " and " + got[i]);
        }
    }

    /** All lse 64 greater, without a rounding: the same outputs bit for bit, and an lse 64 greater. */
    @Test
    void shouldMergeTheSameWhereAllLseAreShifted() {
        SplittableRandom random = Seeds.random("shouldMergeTheSameWhereAllLseAreShifted");
        int dim = 13;
        float[] low = parts(random, 5, dim);
        float[] high = low.clone();
        for (int at = dim; at < high.length; at += dim + 1) {
            high[at] += 64;
        }
        float[] from = merge(low, 5, dim);
        float[] to = merge(high, 5, dim);
        for (int i = 0; i < from.length; i++) {
            boolean lse = i % (dim + 1) == dim;
            assertEquals(lse ? from[i] + 64 : from[i], to[i], lse ? 64 * 2 * ROUNDING : 0, "float " + i);
        }
    }

    /**
     * The gradient along a random way equals a difference quotient of forward. Its error is taken from the quotient itself, of half the
     * step (fourth order), and from float32's roundings of the loss.
     */
    @Test
    void shouldDifferentiateWhatForwardComputes() {
        SplittableRandom random = Seeds.random("shouldDifferentiateWhatForwardComputes");
        CudaKernel kernel = new CudaKernel(new SimulatedDriver());
        for (int trial = 0; trial < 2; trial++) {
            Small small = Small.random(3, 9, 5, random);
            float[] dq = floats(small.q.length, random);
            float[] dk = floats(small.k.length, random);
            float[] dv = floats(small.v.length, random);
            float[] gradient = floats(2 * 3 * 6, random);
            AttentionState stateGradient = AttentionState.empty(1, 2, 3, 5);
            stateGradient.rows().put(0, gradient);
            AttentionGradients got = AttentionGradients.zeros(small.spec(), small.toQueries(), small.shards());
            kernel.backward(small.spec(), small.toQueries(), small.shards(), small.run(kernel), stateGradient, got);
            double slope = dot(got.queries(), dq) + dot(got.keys(0), dk) + dot(got.values(0), dv);
            double step = 0x1p-3;
            double wide = quotient(kernel, small, step, gradient, dq, dk, dv);
            double narrow = quotient(kernel, small, step / 2, gradient, dq, dk, dv);
            double loss = 0; // how far float32 may be off: outputs and lse below 4, good to 32 roundings
            for (float g : gradient) {
                loss += Math.abs(g) * 4 * 32 * ROUNDING;
            }
            double terms = 0; // and the gradients' own sums
            for (float[] way : new float[][] {dq, dk, dv}) {
                for (float w : way) {
                    terms += Math.abs(w) * 8 * 32 * ROUNDING;
                }
            }
            double bound = Math.abs(wide - narrow) + 4.5 * loss / step + terms;
            assertEquals(narrow, slope, bound, "quotients " + wide + ", " + narrow);
            assertTrue(bound < 0.02 * (1 + Math.abs(slope)), "a bound that says something: " + bound + " of " + slope);
        }
    }

    private static double quotient(
            CudaKernel kernel, Small small, double step, float[] gradient, float[] dq, float[] dk, float[] dv) {
        double sum = 0;
        int[] steps = {1, -1, 2, -2};
        double[] factors = {8, -8, -1, 1};
        for (int i = 0; i < 4; i++) {
            FloatBuffer rows =
                    small.moved(steps[i] * step, dq, dk, dv).run(kernel).rows();
            sum += factors[i] * dot(rows, gradient);
        }
        return sum / (12 * step);
    }

    private static double dot(FloatBuffer a, float[] b) {
        double sum = 0;
        for (int i = 0; i < b.length; i++) {
            sum += (double) a.get(i) * b[i];
        }
        return sum;
    }
}
