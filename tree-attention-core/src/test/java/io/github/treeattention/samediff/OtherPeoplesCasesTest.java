package io.github.treeattention.samediff;

import static io.github.treeattention.testkit.ArrayDifference.difference;
import static io.github.treeattention.testkit.ArrayDifference.largest;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.testkit.Safetensors;
import io.github.treeattention.testkit.SharedData;
import io.github.treeattention.testkit.Skips;
import java.io.IOException;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import onnx.Onnx.TensorProto;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/** The operations against results that other people's programs computed: PyTorch, the ONNX node tests, a course's tests. */
@Timeout(120)
class OtherPeoplesCasesTest {
    private static final double EXACT = 2e-6; // their results are float32, of values around 1

    private static Path data(String name) {
        return SharedData.find(name).orElseGet(() -> {
            Skips.skip("no shared test data '" + name + "'");
            return null;
        });
    }

    private static JsonNode json(Path file) throws IOException {
        return new ObjectMapper().readTree(file.toFile());
    }

    private static INDArray array(Safetensors tensors, String name, DataType type, long... shape) {
        return Nd4j.createFromArray(tensors.values(name)).castTo(type).reshape(shape);
    }

    /** Attention and its gradient as a graph, in both types, against PyTorch's float64. */
    @Test
    void shouldAttendAndDifferentiateAsPyTorchDoes() throws IOException {
        Path folder = data("torch");
        int cases = 0;
        for (JsonNode index : json(folder.resolve("index.json"))) {
            Safetensors tensors =
                    Safetensors.read(folder.resolve(index.get("name").asText() + ".safetensors"));
            for (DataType type : List.of(DataType.DOUBLE, DataType.FLOAT)) {
                compare(index, tensors, type);
                cases++;
            }
        }
        assertTrue(cases > 0);
    }

    private static void compare(JsonNode index, Safetensors tensors, DataType type) {
        long batch = index.get("B").asLong();
        long heads = index.get("Hq").asLong();
        long kvHeads = index.get("Hkv").asLong();
        long queries = index.get("N").asLong();
        long keys = index.get("M").asLong();
        long dim = index.get("D").asLong();
        long valueDim = index.get("Dv").asLong();
        AttentionOptions options = AttentionOptions.defaults()
                .withScale(index.get("scale").asDouble())
                .withCausal(index.get("causal").asBoolean())
                .withQueryOffset(index.get("q_offset").asLong());
        SameDiff graph = SameDiff.create();
        SDVariable out = TreeAttentionOps.attention(
                graph.var("q", array(tensors, "q", type, batch, heads, queries, dim)),
                graph.var("k", array(tensors, "k", type, batch, kvHeads, keys, dim)),
                graph.var("v", array(tensors, "v", type, batch, kvHeads, keys, valueDim)),
                null,
                options);
        out.rename("out");
        out.mul(graph.constant(array(tensors, "dout", type, batch, heads, queries, valueDim)))
                .sum()
                .rename("total");
        graph.setLossVariables("total");
        // q, k and v are float32 in both runs; a double's error is rounding, a float's grows with the sums' lengths
        double tolerance = type == DataType.DOUBLE ? 1e-12 : 2e-7 * (dim + keys);
        close(tensors, "out", graph.outputSingle(Map.of(), "out"), tolerance, index);
        Map<String, INDArray> gradients = graph.calculateGradients(Map.of(), "q", "k", "v");
        for (String name : gradients.keySet()) {
            close(tensors, "d" + name, gradients.get(name), tolerance, index);
        }
    }

    /** Relative to the largest element. */
    private static void close(Safetensors tensors, String name, INDArray got, double tolerance, JsonNode index) {
        INDArray wanted = array(tensors, name, DataType.DOUBLE, got.shape());
        double size = Math.max(1, largest(wanted));
        assertEquals(0, difference(wanted, got) / size, tolerance, () -> index.get("name") + " " + name);
    }

    @Test
    void shouldNormaliseAsOnnxDoes() throws IOException {
        Path folder = data("onnx-node-tests");
        int cases = 0;
        for (JsonNode index : json(folder.resolve("cases.json"))) {
            if (index.get("op").asText().equals("RMSNormalization")) {
                List<INDArray> inputs = onnx(folder, index, "input");
                double epsilon = index.get("attrs").path("epsilon").asDouble(1e-5);
                SameDiff graph = SameDiff.create();
                SDVariable gain = graph.var("gain", inputs.get(1));
                INDArray got = TreeAttentionOps.rmsNorm(graph.var("x", inputs.get(0)), gain, epsilon)
                        .eval();
                INDArray wanted = onnx(folder, index, "output").get(0);
                assertEquals(
                        0, difference(wanted, got), EXACT, index.get("name").asText());
                cases++;
            }
        }
        assertEquals(19, cases);
    }

    /** Their angles are not rotations, but tables of any numbers: the turning itself is what this compares. */
    @Test
    void shouldTurnAsOnnxDoes() throws IOException {
        Path folder = data("onnx-node-tests");
        int cases = 0;
        for (JsonNode index : json(folder.resolve("cases.json"))) {
            if (index.get("op").asText().equals("RotaryEmbedding")) {
                List<INDArray> inputs = onnx(folder, index, "input");
                JsonNode attributes = index.get("attrs");
                INDArray x = inputs.get(0);
                boolean flat = x.rank() == 3;
                if (flat) {
                    int heads = attributes.get("num_heads").asInt();
                    x = x.reshape(x.size(0), x.size(1), heads, x.size(2) / heads)
                            .permute(0, 2, 1, 3);
                }
                INDArray got = x.dup('c');
                new RotaryEmbedding(
                                100,
                                attributes.path("interleaved").asInt() == 1
                                        ? RotaryEmbedding.Pairs.NEIGHBOURS
                                        : RotaryEmbedding.Pairs.HALVES)
                        .apply(got, table(inputs), 0, RotaryEmbedding.time(got));
                INDArray wanted = onnx(folder, index, "output").get(0);
                got = flat ? got.permute(0, 2, 1, 3).dup('c').reshape(wanted.shape()) : got;
                assertEquals(
                        0, difference(wanted, got), EXACT, index.get("name").asText());
                cases++;
            }
        }
        assertEquals(8, cases);
    }

    private static RotaryEmbedding.Table table(List<INDArray> inputs) {
        INDArray cos = inputs.get(1);
        INDArray sin = inputs.get(2);
        if (inputs.size() > 3) {
            int[] positions =
                    inputs.get(3).castTo(DataType.INT32).dup('c').data().asInt();
            cos = Nd4j.pullRows(cos, 1, positions);
            sin = Nd4j.pullRows(sin, 1, positions);
        }
        int pairs = (int) cos.size(-1);
        return new RotaryEmbedding.Table(
                pairs, cos.dup('c').data().asDouble(), sin.dup('c').data().asDouble());
    }

    /** The arrays of a case, in order. */
    private static List<INDArray> onnx(Path folder, JsonNode index, String kind) throws IOException {
        Path files = folder.resolve(index.get("name").asText()).resolve("test_data_set_0");
        List<INDArray> arrays = new ArrayList<>();
        for (int i = 0; Files.exists(files.resolve(kind + "_" + i + ".pb")); i++) {
            TensorProto tensor = TensorProto.parseFrom(Files.readAllBytes(files.resolve(kind + "_" + i + ".pb")));
            long[] shape =
                    tensor.getDimsList().stream().mapToLong(Long::longValue).toArray();
            var raw = tensor.getRawData().asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
            if (tensor.getDataType() == TensorProto.DataType.INT64.getNumber()) {
                long[] values = new long[raw.remaining() / Long.BYTES];
                raw.asLongBuffer().get(values);
                arrays.add(Nd4j.createFromArray(values).reshape(shape));
            } else {
                float[] values = new float[raw.remaining() / Float.BYTES];
                raw.asFloatBuffer().get(values);
                arrays.add(Nd4j.createFromArray(values).reshape(shape));
            }
        }
        return arrays;
    }

    @Test
    void shouldTurnAsACourseDoes() {
        Safetensors tensors = Safetensors.read(data("cs336").resolve("cs336_inputs_and_expected.safetensors"));
        SameDiff graph = SameDiff.create();
        SDVariable turned = TreeAttentionOps.rope(
                graph.constant(array(tensors, "x", DataType.FLOAT, 4, 12, 64)),
                graph.constant(0L),
                new RotaryEmbedding(10_000, RotaryEmbedding.Pairs.NEIGHBOURS));
        assertEquals(0, difference(array(tensors, "expected_rope", DataType.DOUBLE, 4, 12, 64), turned.eval()), 1e-5);
    }
}
