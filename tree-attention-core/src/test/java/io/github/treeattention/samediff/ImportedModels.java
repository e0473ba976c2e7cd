package io.github.treeattention.samediff;

import static io.github.treeattention.samediff.WrittenAttentionTest.BATCH;
import static io.github.treeattention.samediff.WrittenAttentionTest.HEADS;
import static io.github.treeattention.samediff.WrittenAttentionTest.SIZE;
import static io.github.treeattention.samediff.WrittenAttentionTest.TIME;
import static io.github.treeattention.samediff.WrittenAttentionTest.WIDTH;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.SplittableRandom;
import onnx.Onnx;
import org.nd4j.shade.protobuf.ByteString;
import org.tensorflow.framework.AttrValue;
import org.tensorflow.framework.DataType;
import org.tensorflow.framework.GraphDef;
import org.tensorflow.framework.NodeDef;
import org.tensorflow.framework.TensorProto;
import org.tensorflow.framework.TensorShapeProto;

/**
 * The block of {@link WrittenAttentionTest} as files of other frameworks: {@code x [batch * time, width]} and {@code mask
 * [batch, time]} in, {@code out [batch * time, width]}, weights {@code Wq}, {@code Wk}, {@code Wv}, {@code Wo}.
 */
final class ImportedModels {
    private static final List<String> WEIGHTS = List.of("Wq", "Wk", "Wv", "Wo");

    private ImportedModels() {}

    private static float[] random(SplittableRandom random, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) (random.nextDouble() * 2 - 1);
        }
        return values;
    }

    /** An ONNX file of operator set 13, as exporters write attention. */
    static byte[] onnx(SplittableRandom random, long softmaxAxis) {
        Onnx.GraphProto.Builder graph = Onnx.GraphProto.newBuilder().setName("attention");
        graph.addInput(onnxInput("x", BATCH * TIME, WIDTH)).addInput(onnxInput("mask", BATCH, TIME));
        graph.addOutput(onnxInput("out", BATCH * TIME, WIDTH));
        for (String each : WEIGHTS) {
            Onnx.TensorProto.Builder weights = onnxTensor(each, WIDTH, WIDTH).setDataType(1);
            for (float value : random(random, WIDTH * WIDTH)) {
                weights.addFloatData(value);
            }
            graph.addInitializer(weights);
        }
        graph.addInitializer(onnxTensor("one").setDataType(1).addFloatData(1));
        graph.addInitializer(onnxTensor("low").setDataType(1).addFloatData(-10000));
        graph.addInitializer(onnxTensor("root").setDataType(1).addFloatData(2));
        graph.addInitializer(onnxLongs("first", 1));
        graph.addInitializer(onnxLongs("split", BATCH, TIME, HEADS, SIZE));
        graph.addInitializer(onnxLongs("join", BATCH * TIME, WIDTH));
        for (String each : List.of("q", "k", "v")) {
            graph.addNode(onnxNode("MatMul", each + "-rows", "x", "W" + each));
            graph.addNode(onnxNode("Reshape", each + "-heads", each + "-rows", "split"));
            long[] order = each.equals("k") ? new long[] {0, 2, 3, 1} : new long[] {0, 2, 1, 3};
            graph.addNode(onnxNode("Transpose", each, each + "-heads").addAttribute(onnxInts("perm", order)));
        }
        graph.addNode(onnxNode("Unsqueeze", "mask3", "mask", "first"));
        graph.addNode(onnxNode("Unsqueeze", "mask4", "mask3", "first"));
        graph.addNode(onnxNode("Sub", "hidden", "one", "mask4"));
        graph.addNode(onnxNode("Mul", "bias", "hidden", "low"));
        graph.addNode(onnxNode("MatMul", "scores", "q", "k"));
        graph.addNode(onnxNode("Div", "scaled", "scores", "root"));
        graph.addNode(onnxNode("Add", "masked", "scaled", "bias"));
        graph.addNode(onnxNode("Softmax", "weights", "masked")
                .addAttribute(Onnx.AttributeProto.newBuilder()
                        .setName("axis")
                        .setType(Onnx.AttributeProto.AttributeType.INT)
                        .setI(softmaxAxis)));
        graph.addNode(onnxNode("MatMul", "attended", "weights", "v"));
        graph.addNode(onnxNode("Transpose", "turned", "attended").addAttribute(onnxInts("perm", 0, 2, 1, 3)));
        graph.addNode(onnxNode("Reshape", "joined", "turned", "join"));
        graph.addNode(onnxNode("MatMul", "out", "joined", "Wo"));
        return Onnx.ModelProto.newBuilder()
                .setIrVersion(7)
                .addOpsetImport(Onnx.OperatorSetIdProto.newBuilder().setVersion(13))
                .setGraph(graph)
                .build()
                .toByteArray();
    }

    private static Onnx.ValueInfoProto onnxInput(String name, long... shape) {
        Onnx.TensorShapeProto.Builder axes = Onnx.TensorShapeProto.newBuilder();
        for (long size : shape) {
            axes.addDim(Onnx.TensorShapeProto.Dimension.newBuilder().setDimValue(size));
        }
        Onnx.TypeProto.Tensor tensor =
                Onnx.TypeProto.Tensor.newBuilder().setElemType(1).setShape(axes).build();
        return Onnx.ValueInfoProto.newBuilder()
                .setName(name)
                .setType(Onnx.TypeProto.newBuilder().setTensorType(tensor))
                .build();
    }

    private static Onnx.TensorProto.Builder onnxTensor(String name, long... shape) {
        Onnx.TensorProto.Builder tensor = Onnx.TensorProto.newBuilder().setName(name);
        for (long size : shape) {
            tensor.addDims(size);
        }
        return tensor;
    }

    private static Onnx.TensorProto.Builder onnxLongs(String name, long... values) {
        Onnx.TensorProto.Builder tensor = onnxTensor(name, values.length).setDataType(7);
        for (long value : values) {
            tensor.addInt64Data(value);
        }
        return tensor;
    }

    private static Onnx.AttributeProto onnxInts(String name, long... values) {
        Onnx.AttributeProto.Builder attribute =
                Onnx.AttributeProto.newBuilder().setName(name).setType(Onnx.AttributeProto.AttributeType.INTS);
        for (long value : values) {
            attribute.addInts(value);
        }
        return attribute.build();
    }

    private static Onnx.NodeProto.Builder onnxNode(String operation, String output, String... inputs) {
        return Onnx.NodeProto.newBuilder()
                .setOpType(operation)
                .setName(output)
                .addOutput(output)
                .addAllInput(List.of(inputs));
    }

    /** A frozen TensorFlow graph. */
    static byte[] tensorFlow(SplittableRandom random) {
        GraphDef.Builder graph = GraphDef.newBuilder();
        graph.addNode(placeholder("x", BATCH * TIME, WIDTH)).addNode(placeholder("mask", BATCH, TIME));
        for (String each : WEIGHTS) {
            ByteBuffer bytes = ByteBuffer.allocate(WIDTH * WIDTH * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
            bytes.asFloatBuffer().put(random(random, WIDTH * WIDTH));
            graph.addNode(constant(each, DataType.DT_FLOAT, bytes, WIDTH, WIDTH));
        }
        graph.addNode(number("one", 1)).addNode(number("low", -10000)).addNode(number("factor", 0.5f));
        graph.addNode(integers("split", BATCH, TIME, HEADS, SIZE)).addNode(integers("join", BATCH * TIME, WIDTH));
        graph.addNode(integers("wide", BATCH, 1, 1, TIME)).addNode(integers("order", 0, 2, 1, 3));
        for (String each : List.of("q", "k", "v")) {
            graph.addNode(product("MatMul", each + "-rows", "x", "W" + each, "transpose_", false));
            graph.addNode(shaped("Reshape", each + "-heads", each + "-rows", "split", "Tshape"));
            graph.addNode(shaped("Transpose", each, each + "-heads", "order", "Tperm"));
        }
        graph.addNode(shaped("Reshape", "mask4", "mask", "wide", "Tshape"));
        graph.addNode(node("Sub", "hidden", "one", "mask4"));
        graph.addNode(node("Mul", "bias", "hidden", "low"));
        graph.addNode(product("BatchMatMulV2", "scores", "q", "k", "adj_", true));
        graph.addNode(node("Mul", "scaled", "scores", "factor"));
        graph.addNode(node("AddV2", "masked", "scaled", "bias"));
        graph.addNode(node("Softmax", "weights", "masked"));
        graph.addNode(product("BatchMatMulV2", "attended", "weights", "v", "adj_", false));
        graph.addNode(shaped("Transpose", "turned", "attended", "order", "Tperm"));
        graph.addNode(shaped("Reshape", "joined", "turned", "join", "Tshape"));
        graph.addNode(product("MatMul", "out", "joined", "Wo", "transpose_", false));
        return graph.build().toByteArray();
    }

    private static NodeDef.Builder node(String operation, String name, String... inputs) {
        return NodeDef.newBuilder()
                .setName(name)
                .setOp(operation)
                .addAllInput(List.of(inputs))
                .putAttr("T", type(DataType.DT_FLOAT));
    }

    private static NodeDef.Builder product(
            String operation, String name, String a, String b, String attribute, boolean transposed) {
        boolean batched = attribute.equals("adj_");
        return node(operation, name, a, b)
                .putAttr(attribute + (batched ? "x" : "a"), AttrValue.getDefaultInstance())
                .putAttr(
                        attribute + (batched ? "y" : "b"),
                        AttrValue.newBuilder().setB(transposed).build());
    }

    private static NodeDef.Builder shaped(String operation, String name, String a, String axes, String attribute) {
        return node(operation, name, a, axes).putAttr(attribute, type(DataType.DT_INT32));
    }

    private static NodeDef.Builder placeholder(String name, long... shape) {
        return NodeDef.newBuilder()
                .setName(name)
                .setOp("Placeholder")
                .putAttr("dtype", type(DataType.DT_FLOAT))
                .putAttr("shape", AttrValue.newBuilder().setShape(shape(shape)).build());
    }

    private static NodeDef.Builder number(String name, float value) {
        return constant(
                name,
                DataType.DT_FLOAT,
                ByteBuffer.allocate(Float.BYTES).order(ByteOrder.LITTLE_ENDIAN).putFloat(0, value));
    }

    private static NodeDef.Builder integers(String name, int... values) {
        ByteBuffer bytes = ByteBuffer.allocate(values.length * Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        bytes.asIntBuffer().put(values);
        return constant(name, DataType.DT_INT32, bytes, values.length);
    }

    private static NodeDef.Builder constant(String name, DataType type, ByteBuffer bytes, long... shape) {
        TensorProto tensor = TensorProto.newBuilder()
                .setDtype(type)
                .setTensorShape(shape(shape))
                .setTensorContent(ByteString.copyFrom(bytes))
                .build();
        return NodeDef.newBuilder()
                .setName(name)
                .setOp("Const")
                .putAttr("dtype", type(type))
                .putAttr("value", AttrValue.newBuilder().setTensor(tensor).build());
    }

    private static AttrValue type(DataType type) {
        return AttrValue.newBuilder().setType(type).build();
    }

    private static TensorShapeProto shape(long... sizes) {
        TensorShapeProto.Builder shape = TensorShapeProto.newBuilder();
        for (long size : sizes) {
            shape.addDim(TensorShapeProto.Dim.newBuilder().setSize(size));
        }
        return shape.build();
    }
}
