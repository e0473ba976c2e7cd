package io.github.treeattention.kernel;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.testkit.SharedData;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * One of ONNX's node tests of operator Attention (opsets 23 and 24), as a problem for kernels, with the outputs wanted of it.
 */
final class OnnxAttention {
    final String name;
    final AttentionCase problem;
    final float[] wanted; // [batch][heads][queries][valueDim]
    final boolean half;

    /** {@code present_key}, {@code present_value}, {@code qk_matmul_output}: those of them that the case has. */
    final Map<String, float[]> otherOutputs = new HashMap<>();

    /** What {@code qk_matmul_output} is: scores, 1: soft-capped, 2: with the mask added, 3: softmax. */
    final int scoresMode;

    private final Map<String, OnnxTensor> inputs = new HashMap<>();

    private OnnxAttention(JsonNode index, Path folder) {
        name = index.get("name").asText();
        Path files = folder.resolve(name).resolve("test_data_set_0");
        for (int i = 0; i < index.get("inputs").size(); i++) {
            inputs.put(
                    index.get("inputs").get(i).get(0).asText(), OnnxTensor.read(files.resolve("input_" + i + ".pb")));
        }
        for (int i = 1; i < index.get("outputs").size(); i++) {
            String output = index.get("outputs").get(i).get(0).asText();
            otherOutputs.put(output, OnnxTensor.read(files.resolve("output_" + i + ".pb")).values);
        }
        JsonNode attributes = index.get("attrs");
        scoresMode = attributes.path("qk_matmul_output_mode").asInt(0);
        OnnxTensor q = inputs.get("Q");
        half = q.isHalf();
        int heads =
                q.shape.length == 4 ? q.size(1) : attributes.get("q_num_heads").asInt();
        int kvHeads = q.shape.length == 4
                ? inputs.get("K").size(1)
                : attributes.get("kv_num_heads").asInt();
        int batch = q.size(0);
        int queries = q.shape.length == 4 ? q.size(2) : q.size(1);
        float[] query = q.byHead(heads);
        int headDim = query.length / (batch * heads * queries);
        float[] keys = withPast("past_key", inputs.get("K"), batch, kvHeads, headDim);
        float[] values = inputs.get("V").byHead(kvHeads);
        int newKeys = inputs.get("K").byHead(kvHeads).length / (batch * kvHeads * headDim);
        int valueDim = values.length / (batch * kvHeads * newKeys);
        values = withPast("past_value", inputs.get("V"), batch, kvHeads, valueDim);
        int total = keys.length / (batch * kvHeads * headDim);
        boolean causal = attributes.path("is_causal").asInt() == 1;
        AttentionSpec spec = new AttentionSpec(
                heads,
                kvHeads,
                headDim,
                valueDim,
                attributes.path("scale").asDouble(1 / Math.sqrt(headDim)),
                causal,
                0,
                (float) attributes.path("softcap").asDouble(0),
                Dropout.NONE);
        // Where the first query stands: after the past, or so that the last one is a row's last valid key.
        long[] first = new long[batch];
        int[] valid = new int[batch];
        OnnxTensor lengths = inputs.get("nonpad_kv_seqlen");
        for (int b = 0; b < batch; b++) {
            valid[b] = lengths == null ? total : (int) lengths.values[b];
            first[b] = lengths == null ? total - newKeys : valid[b] - queries;
        }
        // Positions count from 0 on: where a query stands before the first key, all move up.
        int shift = (int) Math.max(0, -Arrays.stream(first).min().orElse(0));
        List<AttentionCase.Keys> rows = new ArrayList<>();
        for (int b = 0; b < batch; b++) {
            first[b] += shift;
            long[] positions = new long[valid[b]];
            Arrays.setAll(positions, j -> shift + j);
            rows.add(new AttentionCase.Keys(
                    positions,
                    rows(keys, b * kvHeads, kvHeads, total, valid[b], headDim),
                    rows(values, b * kvHeads, kvHeads, total, valid[b], valueDim)));
        }
        problem = new AttentionCase(
                spec,
                half ? KvType.F16 : KvType.F32,
                queries,
                4,
                query,
                first,
                rows,
                mask(inputs.get("attn_mask"), shift));
        wanted = OnnxTensor.read(files.resolve("output_0.pb")).byHead(heads);
    }

    /** {@code [batch][kvHeads][past + new][dim]}. */
    private float[] withPast(String past, OnnxTensor added, int batch, int kvHeads, int dim) {
        float[] tail = added.byHead(kvHeads);
        if (!inputs.containsKey(past)) {
            return tail;
        }
        float[] head = inputs.get(past).values;
        int headRow = head.length / (batch * kvHeads);
        int tailRow = tail.length / (batch * kvHeads);
        if (headRow % dim != 0 || tailRow % dim != 0) {
            throw new IllegalArgumentException(name + ": " + past + " is no multiple of " + dim);
        }
        float[] all = new float[head.length + tail.length];
        for (int i = 0; i < batch * kvHeads; i++) {
            System.arraycopy(head, i * headRow, all, i * (headRow + tailRow), headRow);
            System.arraycopy(tail, i * tailRow, all, i * (headRow + tailRow) + headRow, tailRow);
        }
        return all;
    }

    /** The first {@code valid} of {@code total} rows of some heads. */
    private static float[] rows(float[] all, int firstHead, int heads, int total, int valid, int dim) {
        float[] kept = new float[heads * valid * dim];
        for (int h = 0; h < heads; h++) {
            System.arraycopy(all, (firstHead + h) * total * dim, kept, h * valid * dim, valid * dim);
        }
        return kept;
    }

    /** {@code [queries, keys]} or {@code [batch, heads, queries, keys]}, with {@code shift} columns more before the first. */
    private static AttentionMask mask(OnnxTensor mask, int shift) {
        if (mask == null) {
            return AttentionMask.NONE;
        }
        int axes = mask.shape.length;
        int columns = mask.size(axes - 1);
        int rows = mask.values.length / columns;
        int queries = mask.size(axes - 2);
        int heads = axes > 2 ? mask.size(axes - 3) : 1;
        int batch = axes > 3 ? mask.size(axes - 4) : 1;
        FloatBuffer bias = Queries.allocate(rows * (shift + columns));
        ByteBuffer visible = ByteBuffer.allocateDirect(bias.capacity());
        for (int i = 0; i < mask.values.length; i++) {
            int at = i / columns * (shift + columns) + shift + i % columns;
            bias.put(at, mask.values[i]);
            visible.put(at, (byte) mask.values[i]);
        }
        return mask.isBool()
                ? AttentionMask.NONE.withVisible(visible, batch, heads, queries, shift + columns)
                : AttentionMask.NONE.withBias(bias, batch, heads, queries, shift + columns);
    }

    /** All cases; none, with a printed reason, where the shared data is absent. */
    static List<OnnxAttention> all() {
        List<OnnxAttention> cases = new ArrayList<>();
        SharedData.find("onnx-node-tests").ifPresent(folder -> {
            try {
                for (JsonNode index :
                        new ObjectMapper().readTree(folder.resolve("cases.json").toFile())) {
                    if (index.get("op").asText().equals("Attention")) {
                        cases.add(new OnnxAttention(index, folder));
                    }
                }
            } catch (IOException failure) {
                throw new UncheckedIOException(failure);
            }
        });
        return cases;
    }
}
