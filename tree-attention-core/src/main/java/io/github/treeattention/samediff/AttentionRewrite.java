package io.github.treeattention.samediff;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.autodiff.samediff.internal.SameDiffOp;
import org.nd4j.autodiff.samediff.internal.Variable;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ops.DynamicCustomOp;
import org.nd4j.linalg.api.ops.impl.transforms.custom.DotProductAttention;
import org.nd4j.linalg.api.ops.impl.transforms.custom.MultiHeadDotProductAttention;

/**
 * Replaces the attention of a SameDiff graph by this project's, gradients included, in the graph and in its functions:
 * {@code dot_product_attention}, {@code multi_head_dot_product_attention}, and attention written out as {@code
 * matmul(softmax(factor * matmul(q, k) + mask), v)}, as models imported from ONNX have it. Memory becomes linear in the
 * sequence, apart from what the graph itself holds, a mask of pairs for example. Names, inputs, losses, arrays, training configuration and updater state stay; the gradient
 * function is made anew when it is next asked for.
 *
 * <p>Values stay, up to rounding, with two exceptions: a query whose keys are all masked gets 0, where ND4J weighs the
 * masked keys equally in FLOAT and as if there were no mask in DOUBLE; and a key mask is yes or no, above 0 is yes, where
 * ND4J adds {@code (mask - 1) * 1e9} to the scores. A mask that is added to written-out scores is read as float32, and
 * hides a key where it is below float32's range; gradients in it are 0, and one that is trained is left.
 */
public final class AttentionRewrite {
    /** What a report calls attention that is no operation of its own. */
    private static final String WRITTEN = "written-out attention";

    private final SameDiff graph;
    private final String prefix;
    private final List<RewriteReport.Replaced> replaced;
    private final List<RewriteReport.Left> left;

    private AttentionRewrite(
            SameDiff graph, String prefix, List<RewriteReport.Replaced> replaced, List<RewriteReport.Left> left) {
        this.graph = graph;
        this.prefix = prefix;
        this.replaced = replaced;
        this.left = left;
    }

    /**
     * Changes a graph in place. No other thread may use it meanwhile. A second call finds nothing more to do.
     *
     * @throws IllegalStateException as {@link TreeAttentionOps#init()} does
     */
    public static RewriteReport apply(SameDiff graph) {
        TreeAttentionOps.init();
        RewriteReport report = apply(graph, "");
        graph.setLossVariables(graph.getLossVariables().toArray(new String[0])); // drops the gradient function
        return report;
    }

    private static RewriteReport apply(SameDiff graph, String prefix) {
        AttentionRewrite rewrite = new AttentionRewrite(graph, prefix, new ArrayList<>(), new ArrayList<>());
        rewrite.run();
        return new RewriteReport(rewrite.replaced, rewrite.left);
    }

    private void run() {
        for (SameDiffOp each : List.copyOf(graph.getOps().values())) {
            if (each.getOp() instanceof DotProductAttention stock) {
                replace(each, stock, new TreeDotProductOp(options(stock), HeadLayout.STOCK));
            } else if (each.getOp() instanceof MultiHeadDotProductAttention stock) {
                replace(each, stock, new TreeMultiHeadOp(options(stock)));
            } else if (GraphReader.isSoftmax(each)) {
                WrittenAttention.around(graph, each).ifPresent(match -> replace(each, match));
            }
        }
        for (String function : graph.definedFunctionNames()) {
            if (!function.equals("grad")) {
                RewriteReport inner = apply(graph.getFunction(function), prefix + function + "/");
                replaced.addAll(inner.replaced());
                left.addAll(inner.left());
            }
        }
    }

    /** The first i argument of ND4J's operations asks for scores over the root of the features. */
    private static AttentionOptions options(DynamicCustomOp stock) {
        boolean scaled = stock.numIArguments() > 0 && stock.getIArgument(0) != 0;
        return AttentionOptions.defaults().withScale(scaled ? Double.NaN : 1);
    }

    private void replace(SameDiffOp node, DynamicCustomOp stock, JavaOp ours) {
        Optional<String> obstacle = obstacle(node);
        if (obstacle.isPresent()) {
            left.add(new RewriteReport.Left(prefix + node.getName(), stock.opName(), obstacle.get()));
            return;
        }
        ours.setSameDiff(graph);
        ours.setOwnName(node.getName());
        node.setOp(ours);
        replaced.add(new RewriteReport.Replaced(prefix + node.getName(), stock.opName(), ours.opName()));
    }

    private void replace(SameDiffOp softmax, WrittenAttention.Match match) {
        Optional<String> obstacle = Optional.ofNullable(match.obstacle())
                .or(() -> unlikeTypes(match.attention().inputs()));
        if (obstacle.isPresent()) {
            left.add(new RewriteReport.Left(prefix + softmax.getName(), WRITTEN, obstacle.get()));
            return;
        }
        WrittenAttention written = match.attention();
        SameDiffOp node = written.outer();
        List<String> inputs = written.inputs();
        List<SameDiffOp> gone = new ArrayList<>(written.inner());
        gone.add(node);
        gone.forEach(op -> op.getInputsToOp().forEach(input -> variable(input).setInputsForOp(without(input, op))));
        for (SameDiffOp op : written.inner()) {
            op.getOutputsOfOp().forEach(graph.getVariables()::remove);
            graph.getOps().remove(op.getName());
        }
        for (String input : inputs) {
            List<String> readers = without(input, node);
            readers.add(node.getName());
            variable(input).setInputsForOp(readers);
        }
        JavaOp ours = new TreeDotProductOp(written.options(), written.layout());
        ours.setSameDiff(graph);
        ours.setOwnName(node.getName());
        node.setInputsToOp(inputs);
        node.setOp(ours);
        replaced.add(new RewriteReport.Replaced(prefix + node.getName(), WRITTEN, ours.opName()));
    }

    private Variable variable(String name) {
        return graph.getVariables().get(name);
    }

    private List<String> without(String variable, SameDiffOp reader) {
        List<String> readers = new ArrayList<>();
        if (variable(variable).getInputsForOp() != null) {
            readers.addAll(variable(variable).getInputsForOp());
        }
        readers.removeIf(reader.getName()::equals);
        return readers;
    }

    private Optional<String> obstacle(SameDiffOp node) {
        if (node.getOutputsOfOp().size() > 1) {
            return Optional.of("the graph asks for its weights, which ours never hold");
        }
        return unlikeTypes(node.getInputsToOp());
    }

    private Optional<String> unlikeTypes(List<String> inputs) {
        for (String input : inputs) {
            SDVariable variable = graph.getVariable(input);
            DataType type = variable.dataType();
            if (type != DataType.FLOAT && type != DataType.DOUBLE) {
                return Optional.of("ours are offered for FLOAT and DOUBLE: " + input + " is " + type);
            }
        }
        return Optional.empty();
    }
}
