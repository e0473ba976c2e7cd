package io.github.treeattention.samediff;

import java.util.List;
import java.util.Optional;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.autodiff.samediff.VariableType;
import org.nd4j.autodiff.samediff.internal.SameDiffOp;
import org.nd4j.linalg.api.ops.DynamicCustomOp;
import org.nd4j.linalg.api.ops.impl.reduce.Mmul;
import org.nd4j.linalg.api.ops.impl.shape.Permute;
import org.nd4j.linalg.api.ops.impl.shape.Reshape;
import org.nd4j.linalg.api.ops.impl.shape.Transpose;
import org.nd4j.linalg.api.ops.impl.transforms.custom.SoftMax;

/** Finds its way in a graph: who writes a variable, who reads it, what it is. Changes nothing. */
final class GraphReader {
    private final SameDiff graph;

    GraphReader(SameDiff graph) {
        this.graph = graph;
    }

    /** The only number that a constant holds. */
    Optional<Double> number(String name) {
        SDVariable variable = graph.getVariable(name);
        return variable.getVariableType() == VariableType.CONSTANT
                        && variable.getArr().length() == 1
                ? Optional.of(variable.getArr().getDouble(0))
                : Optional.empty();
    }

    /** How many axes a variable has; -1 if the graph does not say. */
    int rank(String variable) {
        long[] shape = graph.getVariable(variable).getShape();
        if (shape != null && shape.length > 0) {
            return shape.length;
        }
        SameDiffOp op = writer(variable);
        if (op == null) {
            return -1;
        }
        boolean axes =
                op.getOp() instanceof Permute || op.getOp() instanceof Transpose || op.getOp() instanceof Reshape;
        if (axes && op.getInputsToOp().size() > 1) { // the order or the shape, as importers leave it
            return entries(op.getInputsToOp().get(1));
        }
        if (op.getOp() instanceof Permute permute && permute.numIArguments() > 0) {
            return permute.numIArguments();
        }
        if (axes) {
            return -1;
        }
        return op.getInputsToOp().size() <= 2
                ? op.getInputsToOp().stream().mapToInt(this::rank).max().orElse(-1)
                : -1;
    }

    /** How many numbers a constant vector holds; -1 if it is none. */
    private int entries(String name) {
        SDVariable variable = graph.getVariable(name);
        return variable.getVariableType() == VariableType.CONSTANT
                ? (int) variable.getArr().length()
                : -1;
    }

    /** Null for what is not computed. */
    SameDiffOp writer(String variable) {
        String op = graph.getVariables().get(variable).getOutputOfOp();
        return op == null ? null : graph.getOps().get(op);
    }

    List<SameDiffOp> readers(String variable) {
        List<String> names = graph.getVariables().get(variable).getInputsForOp();
        return names == null
                ? List.of()
                : names.stream().distinct().map(graph.getOps()::get).toList();
    }

    static boolean isProduct(SameDiffOp op) {
        return op.getOp() instanceof Mmul;
    }

    static boolean transposes(SameDiffOp product, int index) {
        DynamicCustomOp op = (DynamicCustomOp) product.getOp();
        return op.numIArguments() > index && op.getIArgument(index) != 0;
    }

    static String name(SameDiffOp op) {
        return op.getName() + " (" + op.getOp().opName() + ")";
    }

    /** Whether an operation is where to look. */
    static boolean isSoftmax(SameDiffOp op) {
        return op.getOp() instanceof SoftMax;
    }
}
