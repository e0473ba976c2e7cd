package io.github.treeattention.samediff;

import java.util.List;
import java.util.Map;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataBuffer;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.api.ops.DynamicCustomOp;
import org.nd4j.linalg.api.ops.OpContext;
import org.nd4j.linalg.api.shape.LongShapeDescriptor;
import org.nd4j.linalg.factory.Nd4j;

/**
 * An operation that runs in Java, which {@link TreeAttentionExecutioner} keeps from ND4J's native side. Re-entrant: one
 * operation of a graph serves many threads. What it is asked for lies in t and i arguments, never in fields, because
 * SameDiff copies operations through FlatBuffers.
 */
abstract class JavaOp extends DynamicCustomOp {
    private static final int NAME_HASH_SEED = 0x7431;

    JavaOp() {}

    JavaOp(SameDiff graph, SDVariable[] inputs) {
        super(null, graph, inputs, false);
    }

    JavaOp(INDArray[] inputs) {
        super(inputs, null);
    }

    /** Computes all outputs, which are dense, row-major, apart from the inputs, and hold anything before. */
    abstract void run(List<INDArray> inputs, List<INDArray> outputs);

    /** Shapes of the outputs, in their order. */
    abstract List<long[]> outputShapes(List<INDArray> inputs);

    /** Runs within a context whose outputs are allocated but not filled. */
    final INDArray[] runIn(OpContext context) {
        List<INDArray> inputs = context.getInputArrays();
        List<INDArray> outputs = context.getOutputArrays();
        List<INDArray> dense = outputs.stream()
                .map(output -> DenseArray.isDense(output) && inputs.stream().noneMatch(input -> share(input, output))
                        ? output
                        : Nd4j.createUninitialized(output.dataType(), output.shape(), 'c'))
                .toList();
        run(inputs, dense);
        for (int i = 0; i < outputs.size(); i++) {
            if (dense.get(i) != outputs.get(i)) {
                outputs.get(i).assign(dense.get(i));
            }
        }
        return outputs.toArray(new INDArray[0]);
    }

    /** Whether an output may lie in an input's memory, which is read while results are written. */
    private static boolean share(INDArray input, INDArray output) {
        return !input.isEmpty() && !output.isEmpty() && memory(input) == memory(output);
    }

    private static DataBuffer memory(INDArray array) {
        DataBuffer whole = array.data().originalDataBuffer();
        return whole == null ? array.data() : whole;
    }

    @Override
    public abstract String opName();

    /** Any number that is no native operation's hash; stock code would look the name up among native operations. */
    @Override
    public final long opHash() {
        return NAME_HASH_SEED * 31L + opName().hashCode();
    }

    /** Stock code asks the native side for this; all properties are in the arguments. */
    @Override
    public Map<String, Object> propertiesForFunction() {
        return Map.of();
    }

    @Override
    public final List<LongShapeDescriptor> calculateOutputShape() {
        return describe(inputArguments());
    }

    @Override
    public final List<LongShapeDescriptor> calculateOutputShape(OpContext context) {
        return describe(context == null ? inputArguments() : context.getInputArrays());
    }

    private List<LongShapeDescriptor> describe(List<INDArray> inputs) {
        DataType type = inputs.get(0).dataType();
        return outputShapes(inputs).stream()
                .map(shape -> LongShapeDescriptor.fromShape(shape, type))
                .toList();
    }
}
