package io.github.treeattention.nativeops;

import static org.junit.jupiter.api.Assertions.assertEquals;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.testkit.Seeds;
import io.github.treeattention.testkit.SharedData;
import io.github.treeattention.testkit.Skips;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Fresh random problems that ONNX Runtime solves beside us: by its own Attention operator in float32 (grouped heads,
 * causal, with a past), and in float64 by a graph of matrix products (a bias of any kind, and the lse).
 */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class OnnxRuntimeTest {
    private static final int[] SIZES = {1, 2, 7, 13, 33, 127, 257};
    private static final int[] DIMS = {1, 7, 8, 16, 33, 64, 128};

    private final SplittableRandom random = Seeds.random("OnnxRuntimeTest");
    private final AttentionKernel kernel = new NativeKernel(Bindings.ISA_ACTIVE);
    private Path models;

    @BeforeEach
    void findModels() {
        Tiers.requireLibrary();
        models = SharedData.find("oracles").orElse(null);
        if (models == null) {
            Skips.skip("no models for ONNX Runtime");
        }
    }

    @Test
    void shouldAgreeWithTheAttentionOperator() throws OrtException {
        for (String model : new String[] {
            "attention_4d_full_f32",
            "attention_4d_causal_f32",
            "attention_4d_full_past_f32",
            "attention_4d_causal_past_f32"
        }) {
            try (OrtSession session = open(model)) {
                for (int trial = 0; trial < 25; trial++) {
                    Problem p = new Problem(model.contains("causal"), model.contains("past"), 1 + random.nextInt(4));
                    float[] wanted = p.attention(session);
                    AttentionState state = p.attend(AttentionMask.NONE);
                    for (int i = 0; i < wanted.length; i++) {
                        float got = state.rows().get(i / p.valueDim * state.rowLength() + i % p.valueDim);
                        // Both are float32: each may be off by what its sums round.
                        assertEquals(wanted[i], got, 2 * p.rounding(), "element " + i + " of " + model + ", " + p);
                    }
                }
            }
        }
    }

    @Test
    void shouldAgreeWithFloat64UnderAnyBias() throws OrtException {
        try (OrtSession session = open("attention_lse_f64")) {
            for (int trial = 0; trial < 60; trial++) {
                Problem p = new Problem(false, false, 1);
                FloatBuffer bias = p.randomBias();
                double[][] wanted = p.products(session, bias);
                AttentionState state = p.attend(AttentionMask.NONE.withBias(bias, 1, 1, p.queries, p.keys));
                for (int row = 0; row < wanted[1].length; row++) {
                    for (int d = 0; d < p.dim; d++) {
                        float got = state.rows().get(row * state.rowLength() + d);
                        assertEquals(wanted[0][row * p.dim + d], got, p.rounding(), "row " + row + ", " + p);
                    }
                    float lse = state.rows().get(row * state.rowLength() + p.dim);
                    assertEquals(wanted[1][row], lse, 2 * p.rounding(), "lse of row " + row + ", " + p);
                }
            }
        }
    }

    private OrtSession open(String model) throws OrtException {
        return OrtEnvironment.getEnvironment()
                .createSession(models.resolve(model + ".onnx").toString());
    }

    /** Float32 numbers in [-1, 1); as many value as key dimensions where the model wants that. */
    private final class Problem {
        final int batch = 1 + random.nextInt(2);
        final int kvHeads = 1 + random.nextInt(3);
        final int heads;
        final int dim = pick(DIMS);
        final int valueDim;
        final int queries = pick(SIZES);
        final int past;
        final int keys;
        final boolean causal;
        final FloatBuffer q;
        final FloatBuffer k; // [batch][kvHeads][keys][dim], the past first
        final FloatBuffer v;

        Problem(boolean causal, boolean withPast, int group) {
            this.causal = causal;
            heads = kvHeads * group;
            valueDim = withPast || causal || group > 1 ? pick(DIMS) : dim;
            past = withPast ? pick(SIZES) : 0;
            keys = past + (withPast && causal ? queries : pick(SIZES));
            q = random(batch * heads * queries * dim);
            k = random(batch * kvHeads * keys * dim);
            v = random(batch * kvHeads * keys * valueDim);
        }

        /** A worst case of float32: every product and every sum rounds, in one direction. Numbers are at most 1. */
        double rounding() {
            double score = Math.sqrt(dim); // |q . k| / sqrt(dim) at most
            return 0x1p-24 * (score * (dim + 8) + keys + 16);
        }

        AttentionState attend(AttentionMask mask) {
            AttentionSpec spec =
                    AttentionSpec.of(heads, kvHeads, dim).withValueDim(valueDim).withCausal(causal);
            KvLayout layout = new KvLayout(1, kvHeads, dim, valueDim, KvType.F32, keys);
            List<KvShard> shards = new ArrayList<>();
            long[] first = new long[batch];
            for (int b = 0; b < batch; b++) {
                first[b] = past;
                shards.add(KvShard.dense(layout, row(k, b), row(v, b), 0, keys));
            }
            AttentionState state = AttentionState.empty(batch, heads, queries, valueDim);
            kernel.partial(spec, new Queries(q, batch, heads, queries, dim, first).withMask(mask), shards, state);
            return state;
        }

        /** The operator's {@code Y}: {@code [batch][heads][queries][valueDim]}. */
        float[] attention(OrtSession session) throws OrtException {
            Map<String, OnnxTensor> inputs = new HashMap<>();
            inputs.put("Q", tensor(q, heads, queries, dim));
            inputs.put("K", tensor(part(k, dim, past, keys), kvHeads, keys - past, dim));
            inputs.put("V", tensor(part(v, valueDim, past, keys), kvHeads, keys - past, valueDim));
            if (past > 0) {
                inputs.put("past_key", tensor(part(k, dim, 0, past), kvHeads, past, dim));
                inputs.put("past_value", tensor(part(v, valueDim, 0, past), kvHeads, past, valueDim));
            }
            try (OrtSession.Result result = session.run(inputs)) {
                FloatBuffer y = ((OnnxTensor) result.get("Y").orElseThrow()).getFloatBuffer();
                float[] all = new float[y.remaining()];
                y.get(all);
                return all;
            } finally {
                inputs.values().forEach(OnnxTensor::close);
            }
        }

        /** {@code Y} and {@code LSE} of the graph of products. */
        double[][] products(OrtSession session, FloatBuffer bias) throws OrtException {
            Map<String, OnnxTensor> inputs = new HashMap<>();
            inputs.put("Q", doubles(q, batch, heads, queries, dim));
            inputs.put("K", doubles(k, batch, kvHeads, keys, dim));
            inputs.put("V", doubles(v, batch, kvHeads, keys, valueDim));
            inputs.put("mask", doubles(bias, queries, keys));
            inputs.put("scale", scalar(1 / Math.sqrt(dim)));
            try (OrtSession.Result result = session.run(inputs)) {
                double[][] both = new double[2][];
                for (int i = 0; i < 2; i++) {
                    DoubleBuffer numbers =
                            ((OnnxTensor) result.get(i == 0 ? "Y" : "LSE").orElseThrow()).getDoubleBuffer();
                    both[i] = new double[numbers.remaining()];
                    numbers.get(both[i]);
                }
                return both;
            } finally {
                inputs.values().forEach(OnnxTensor::close);
            }
        }

        /** {@code [queries][keys]}, some of it -inf, but not a whole row: ONNX's graph makes that NaN. */
        FloatBuffer randomBias() {
            FloatBuffer bias = random(queries * keys);
            for (int i = 0; i < bias.capacity(); i++) {
                if (i % keys > 0 && random.nextInt(3) == 0) {
                    bias.put(i, Float.NEGATIVE_INFINITY);
                }
            }
            return bias;
        }

        private OnnxTensor tensor(FloatBuffer values, int ofHeads, int rows, int ofDim) throws OrtException {
            return OnnxTensor.createTensor(
                    OrtEnvironment.getEnvironment(), values, new long[] {batch, ofHeads, rows, ofDim});
        }

        /** Rows {@code from..to-1} of every head. */
        private FloatBuffer part(FloatBuffer all, int rowLength, int from, int to) {
            FloatBuffer some = Queries.allocate(batch * kvHeads * (to - from) * rowLength);
            for (int h = 0; h < batch * kvHeads; h++) {
                some.put(h * (to - from) * rowLength, all, (h * keys + from) * rowLength, (to - from) * rowLength);
            }
            return some;
        }

        private ByteBuffer row(FloatBuffer all, int b) {
            int length = all.capacity() / batch;
            ByteBuffer bytes = ByteBuffer.allocateDirect(length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
            bytes.asFloatBuffer().put(0, all, b * length, length);
            return bytes;
        }

        @Override
        public String toString() {
            return "batch=" + batch + ", heads=" + heads + "/" + kvHeads + ", dims=" + dim + "/" + valueDim
                    + ", queries=" + queries + ", past=" + past + ", keys=" + keys + ", causal=" + causal;
        }
    }

    private static OnnxTensor doubles(FloatBuffer values, long... shape) throws OrtException {
        double[] numbers = new double[values.capacity()];
        for (int i = 0; i < numbers.length; i++) {
            numbers[i] = values.get(i);
        }
        return OnnxTensor.createTensor(OrtEnvironment.getEnvironment(), DoubleBuffer.wrap(numbers), shape);
    }

    private static OnnxTensor scalar(double value) throws OrtException {
        return OnnxTensor.createTensor(OrtEnvironment.getEnvironment(), value);
    }

    private FloatBuffer random(int count) {
        FloatBuffer buffer = Queries.allocate(count);
        for (int i = 0; i < count; i++) {
            buffer.put(i, (float) (2 * random.nextDouble() - 1));
        }
        return buffer;
    }

    private int pick(int[] from) {
        return from[random.nextInt(from.length)];
    }
}
