package io.github.treeattention.kernel;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.testkit.Skips;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
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
        Map<String, List<String>> notCompared = new TreeMap<>();
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
            c.notCompared.forEach(output -> notCompared
                    .computeIfAbsent(output, key -> new ArrayList<>())
                    .add(c.name));
        }
        assertEquals(CASES, cases.size());
        System.out.println("output Y of all " + CASES
                + " cases compared; out of scope, as no kernel returns them: the scores ("
                + notCompared.get("qk_matmul_output") + "); present_key and present_value are copies of inputs ("
                + notCompared.get("present_key").size() + " cases)");
    }
}
