package io.github.treeattention.kernel;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.testkit.Skips;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The 76 node tests of ONNX's operator Attention: 3-D and 4-D, grouped heads, masks, past keys, ragged lengths, soft caps. */
@Timeout(value = 60, unit = TimeUnit.SECONDS)
public abstract class OnnxAttentionContract {
    private static final int CASES = 76;

    /** Results are float32, as ours are: some roundings of numbers around 1. */
    private static final double FLOAT_ERROR = 2e-6;

    /** Some computed in float16 throughout: a score below 4 is rounded by 2^-10 at most, a weight by as much, a sum again. */
    private static final double HALF_ERROR = 0x1p-8;

    /** The kernel under test. */
    protected abstract AttentionKernel kernel();

    @Test
    @SuppressWarnings("SystemOut")
    void shouldComputeWhatOnnxWants() {
        List<OnnxAttention> cases = OnnxAttention.all();
        if (cases.isEmpty()) {
            Skips.skip("no ONNX node tests");
        }
        Map<String, Integer> compared = new TreeMap<>();
        for (OnnxAttention c : cases) {
            AttentionCase p = c.problem;
            AttentionState state = AttentionState.empty(p.batch(), p.spec.heads(), p.queries, p.spec.valueDim());
            kernel().partial(p.spec, p.toQueries(), p.shards(), state);
            for (int i = 0; i < c.wanted.length; i++) {
                int row = i / p.spec.valueDim();
                float got = state.rows().get(row * state.rowLength() + i % p.spec.valueDim());
                double tolerance = (c.half ? HALF_ERROR : FLOAT_ERROR) * Math.max(1, Math.abs(c.wanted[i]));
                assertEquals(c.wanted[i], got, tolerance, "element " + i + " of " + c.name);
            }
            c.otherOutputs.forEach((output, wanted) -> {
                float[] got =
                        switch (output) {
                            case "present_key" -> present(p, keys -> keys.k);
                            case "present_value" -> present(p, keys -> keys.v);
                            default -> scores(c, state);
                        };
                double tolerance = output.equals("qk_matmul_output") ? (c.half ? HALF_ERROR : FLOAT_ERROR) : 0;
                assertEquals(wanted.length, got.length, output + " of " + c.name);
                for (int i = 0; i < got.length; i++) {
                    double error = tolerance * Math.max(1, Math.abs(got[i]));
                    assertEquals(wanted[i], got[i], error, output + " of " + c.name + ", element " + i);
                }
                compared.merge(output, 1, Integer::sum);
            });
        }
        assertEquals(CASES, cases.size());
        System.out.println("compared: Y of all " + CASES + " cases; others by number of cases: " + compared);
    }

    /** What kernels are given as keys or values, which is what ONNX calls present: {@code [batch][kvHeads][keys][dim]}. */
    private static float[] present(AttentionCase p, Function<AttentionCase.Keys, float[]> rows) {
        FloatBuffer all = FloatBuffer.allocate(
                p.keys.stream().mapToInt(keys -> rows.apply(keys).length).sum());
        p.keys.forEach(keys -> all.put(rows.apply(keys)));
        return all.array();
    }

    /** Scores as kernels have them: the lse of one key alone; a softmax is its exponential relative to the lse of all. */
    private float[] scores(OnnxAttention c, AttentionState whole) {
        AttentionCase p = c.problem;
        AttentionSpec spec = c.scoresMode >= 2 ? p.spec : p.spec.withCausal(false);
        spec = c.scoresMode >= 1 ? spec : spec.withSoftCap(0);
        AttentionCase bare = c.scoresMode >= 2 ? p : p.with(AttentionMask.NONE, p.keys);
        int count = p.keys.get(0).count();
        int rows = p.batch() * spec.heads() * p.queries;
        float[] scores = new float[rows * count];
        for (int j = 0; j < count; j++) {
            List<KvShard> one = new ArrayList<>();
            for (AttentionCase.Keys keys : p.keys) {
                one.add(p.shard(keys, j, j + 1));
            }
            AttentionState state = AttentionState.empty(p.batch(), spec.heads(), p.queries, spec.valueDim());
            kernel().partial(spec, bare.toQueries(), one, state);
            for (int row = 0; row < rows; row++) {
                int at = row * state.rowLength() + spec.valueDim();
                float score = state.rows().get(at);
                boolean seen = score > Float.NEGATIVE_INFINITY;
                float weight =
                        seen ? (float) Math.exp((double) score - whole.rows().get(at)) : 0;
                scores[row * count + j] = c.scoresMode == 3 ? weight : score;
            }
        }
        return scores;
    }
}
