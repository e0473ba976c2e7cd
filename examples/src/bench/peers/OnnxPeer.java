import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OnnxValue;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtSession;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/** ONNX Runtime's GroupQueryAttention in float32, past and present keys in one buffer; a model of one node, written here. */
final class OnnxPeer implements Peer {
    private final int threads;

    OnnxPeer(int threads) {
        this.threads = threads;
    }

    @Override
    public String name() {
        return "ONNX Runtime 1.29";
    }

    @Override
    public boolean knows(Shapes s) {
        return s.bytes() == 4 && s.mode() != Shapes.Mode.TRAIN;
    }

    @Override
    public Call prepare(Shapes s, float[] q, float[] k, float[] v) throws Exception {
        OrtEnvironment environment = OrtEnvironment.getEnvironment();
        OrtSession.SessionOptions options = new OrtSession.SessionOptions();
        options.setIntraOpNumThreads(threads);
        OrtSession session = environment.createSession(model(s), options);
        int n = s.queries(), past = s.length() - n;
        Map<String, OnnxTensor> inputs = new LinkedHashMap<>();
        inputs.put("query", tensor(environment, byTokens(q, s.heads(), n, s.dim(), 0, n), 1, n, s.heads() * s.dim()));
        // The new tokens' own keys and values, token-major; those before them stand in the cache.
        inputs.put("key", tensor(environment, byTokens(k, s.kvHeads(), s.length(), s.dim(), past, n), 1, n, s.kvHeads() * s.dim()));
        inputs.put("value", tensor(environment, byTokens(v, s.kvHeads(), s.length(), s.dim(), past, n), 1, n, s.kvHeads() * s.dim()));
        inputs.put("past_key", tensor(environment, k, 1, s.kvHeads(), s.length(), s.dim()));
        inputs.put("past_value", tensor(environment, v, 1, s.kvHeads(), s.length(), s.dim()));
        inputs.put("seqlens_k", OnnxTensor.createTensor(environment, ints(s.length() - 1), new long[] {1}));
        inputs.put("total_sequence_length", OnnxTensor.createTensor(environment, ints(s.length()), new long[] {1}));
        Map<String, OnnxValue> pinned = new LinkedHashMap<>();
        OnnxTensor output = tensor(environment, new float[q.length], 1, n, s.heads() * s.dim());
        pinned.put("output", output);
        pinned.put("present_key", inputs.get("past_key"));
        pinned.put("present_value", inputs.get("past_value"));
        return new Call() {
            @Override
            public void run() throws Exception {
                session.run(inputs, Set.of(), pinned).close();
            }

            @Override
            public float[] result() throws Exception {
                run();
                float[] tokens = new float[q.length];
                output.getFloatBuffer().get(tokens);
                float[] result = new float[q.length];
                for (int h = 0; h < s.heads(); h++) {
                    for (int t = 0; t < n; t++) {
                        System.arraycopy(tokens, (t * s.heads() + h) * s.dim(), result, (h * n + t) * s.dim(), s.dim());
                    }
                }
                return result;
            }

            @Override
            public void close() throws Exception {
                inputs.values().forEach(OnnxTensor::close);
                output.close();
                session.close();
            }
        };
    }

    private static float[] byTokens(float[] heads, int count, int length, int dim, int from, int n) {
        float[] tokens = new float[n * count * dim];
        for (int t = 0; t < n; t++) {
            for (int h = 0; h < count; h++) {
                System.arraycopy(heads, (h * length + from + t) * dim, tokens, (t * count + h) * dim, dim);
            }
        }
        return tokens;
    }

    private static OnnxTensor tensor(OrtEnvironment environment, float[] values, long... shape) throws Exception {
        FloatBuffer buffer = ByteBuffer.allocateDirect(4 * values.length).order(ByteOrder.nativeOrder()).asFloatBuffer();
        return OnnxTensor.createTensor(environment, buffer.put(values).rewind(), shape);
    }

    private static IntBuffer ints(int value) {
        return ByteBuffer.allocateDirect(4).order(ByteOrder.nativeOrder()).asIntBuffer().put(0, value);
    }

    private static byte[] model(Shapes s) {
        Message node = new Message();
        String[] in = {"query", "key", "value", "past_key", "past_value", "seqlens_k", "total_sequence_length"};
        String[] out = {"output", "present_key", "present_value"};
        for (String name : in) {
            node.text(1, name);
        }
        for (String name : out) {
            node.text(2, name);
        }
        node.text(4, "GroupQueryAttention").text(7, "com.microsoft");
        node.message(5, new Message().text(1, "num_heads").number(3, s.heads()).number(20, 2));
        node.message(5, new Message().text(1, "kv_num_heads").number(3, s.kvHeads()).number(20, 2));
        Message graph = new Message().message(1, node).text(2, "g");
        for (String name : in) {
            boolean whole = name.startsWith("seq") || name.startsWith("total");
            graph.message(11, value(name, whole ? 6 : 1, whole ? 1 : name.startsWith("past") ? 4 : 3));
        }
        graph.message(12, value("output", 1, 3)).message(12, value("present_key", 1, 4)).message(12, value("present_value", 1, 4));
        Message model = new Message().number(1, 8).message(7, graph);
        model.message(8, new Message().text(1, "").number(2, 17));
        model.message(8, new Message().text(1, "com.microsoft").number(2, 1));
        return model.bytes.toByteArray();
    }

    /** A ValueInfoProto with unknown dimensions. */
    private static Message value(String name, int type, int rank) {
        Message shape = new Message();
        for (int i = 0; i < rank; i++) {
            shape.message(1, new Message().text(2, name + i));
        }
        return new Message().text(1, name).message(2, new Message().message(1, new Message().number(1, type).message(2, shape)));
    }

    /** Fields of a protobuf message. */
    private static final class Message {
        final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

        Message number(int field, long value) {
            varint((long) field << 3);
            varint(value);
            return this;
        }

        Message text(int field, String value) {
            return raw(field, value.getBytes(StandardCharsets.UTF_8));
        }

        Message message(int field, Message value) {
            return raw(field, value.bytes.toByteArray());
        }

        private Message raw(int field, byte[] value) {
            varint((long) field << 3 | 2);
            varint(value.length);
            bytes.writeBytes(value);
            return this;
        }

        private void varint(long value) {
            for (; value > 127; value >>>= 7) {
                bytes.write((int) (value & 127 | 128));
            }
            bytes.write((int) value);
        }
    }
}
