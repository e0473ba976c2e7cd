package io.github.treeattention.samediff;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.autodiff.samediff.VariableType;
import org.nd4j.autodiff.samediff.internal.SameDiffOp;
import org.nd4j.linalg.api.ops.DynamicCustomOp;
import org.nd4j.linalg.api.ops.impl.scalar.ScalarDivision;
import org.nd4j.linalg.api.ops.impl.scalar.ScalarMultiplication;
import org.nd4j.linalg.api.ops.impl.transforms.pairwise.arithmetic.AddOp;
import org.nd4j.linalg.api.ops.impl.transforms.pairwise.arithmetic.DivOp;
import org.nd4j.linalg.api.ops.impl.transforms.pairwise.arithmetic.MulOp;

/**
 * Attention that a graph spells out, as models imported from ONNX do, found from its softmax: {@code matmul(softmax(factor *
 * matmul(q, k) + mask), v)}, where factor and mask may be missing, the factor is one number or several, and products may
 * transpose their inputs. Only reads the graph.
 */
final class WrittenAttention {
    private final SameDiff graph;
    private final GraphReader reader;
    private final SameDiffOp softmax;
    private final List<SameDiffOp> inner = new ArrayList<>();
    private SameDiffOp outer;
    private SameDiffOp scores;
    private double scale = 1;
    private String bias;

    /** Why this is attention, but not of a kind that can be replaced. */
    private static final class Obstacle extends Exception {
        private static final long serialVersionUID = 1L;

        Obstacle(String reason) {
            super(reason, null, false, false);
        }
    }

    private WrittenAttention(SameDiff graph, SameDiffOp softmax) {
        this.graph = graph;
        this.reader = new GraphReader(graph);
        this.softmax = softmax;
    }

    /**
     * What stands around a softmax.
     *
     * @param attention what can be replaced; null where {@code obstacle} says why not
     */
    record Match(WrittenAttention attention, String obstacle) {}

    /** Empty if the softmax weighs nothing, as a classifier's does. */
    static Optional<Match> around(SameDiff graph, SameDiffOp softmax) {
        WrittenAttention found = new WrittenAttention(graph, softmax);
        try {
            if (!found.findValues()) {
                return Optional.empty();
            }
            found.findScores();
            found.requireUntrainedBias();
            return Optional.of(new Match(found, null));
        } catch (Obstacle obstacle) {
            return Optional.of(new Match(null, obstacle.getMessage()));
        }
    }

    /** The product with the values; its output stays. */
    SameDiffOp outer() {
        return outer;
    }

    /** What goes away, from the softmax back to the product of queries and keys. */
    List<SameDiffOp> inner() {
        return inner;
    }

    /** {@code q, k, v[, bias]}. */
    List<String> inputs() {
        List<String> inputs = new ArrayList<>(scores.getInputsToOp());
        inputs.add(outer.getInputsToOp().get(1));
        if (bias != null) {
            inputs.add(bias);
        }
        return inputs;
    }

    AttentionOptions options() {
        return AttentionOptions.defaults().withScale(scale);
    }

    /** A product takes {@code k} as {@code [..., features, time]}, unless it transposes it. */
    HeadLayout layout() {
        return new HeadLayout(
                GraphReader.transposes(scores, 0),
                !GraphReader.transposes(scores, 1),
                GraphReader.transposes(outer, 1),
                false,
                bias != null);
    }

    private boolean findValues() throws Obstacle {
        String weights = softmax.getOutputsOfOp().get(0);
        List<SameDiffOp> readers = reader.readers(weights);
        Optional<SameDiffOp> product =
                readers.stream().filter(GraphReader::isProduct).findFirst();
        if (product.isEmpty()) {
            Optional<SameDiffOp> between = readers.stream()
                    .filter(each -> each.getOutputsOfOp().stream()
                            .flatMap(output -> reader.readers(output).stream())
                            .anyMatch(GraphReader::isProduct))
                    .findFirst();
            if (between.isPresent()) {
                throw new Obstacle("between its softmax and the values stands " + GraphReader.name(between.get()));
            }
            return false;
        }
        outer = product.get();
        requireSoleReader(softmax);
        if (!outer.getInputsToOp().get(0).equals(weights)
                || GraphReader.transposes(outer, 0)
                || GraphReader.transposes(outer, 2)) {
            throw new Obstacle("its weights must be the first factor of the product with the values, not transposed");
        }
        requirePlainProduct(outer);
        inner.add(softmax);
        return true;
    }

    private void findScores() throws Obstacle {
        String at = softmax.getInputsToOp().get(0);
        requireLastAxis(at);
        while (true) {
            SameDiffOp op = reader.writer(at);
            if (op == null) {
                throw new Obstacle("its scores are not computed in the graph");
            }
            requireSoleReader(op);
            inner.add(op);
            if (GraphReader.isProduct(op)) {
                scores = op;
                requirePlainProduct(op);
                if (GraphReader.transposes(op, 2)) {
                    throw new Obstacle("the product of queries and keys is transposed");
                }
                return;
            }
            at = before(op);
        }
    }

    /** One step back towards the product, over a factor or the mask. */
    private String before(SameDiffOp op) throws Obstacle {
        List<String> inputs = op.getInputsToOp();
        if (op.getOp() instanceof ScalarMultiplication times) {
            scale *= times.scalar().getDouble(0);
            return inputs.get(0);
        }
        if (op.getOp() instanceof ScalarDivision over) {
            scale /= over.scalar().getDouble(0);
            return inputs.get(0);
        }
        if (op.getOp() instanceof MulOp || op.getOp() instanceof DivOp) {
            int other =
                    op.getOp() instanceof MulOp && reader.number(inputs.get(0)).isPresent() ? 0 : 1;
            double factor = reader.number(inputs.get(other))
                    .orElseThrow(() -> new Obstacle(
                            "its scores are scaled by " + inputs.get(other) + ", which is not one constant number"));
            scale = op.getOp() instanceof MulOp ? scale * factor : scale / factor;
            return inputs.get(1 - other);
        }
        if (op.getOp() instanceof AddOp) {
            if (bias != null || scale != 1) {
                throw new Obstacle("its mask must be added once, after the scores are scaled");
            }
            int other = leadsToProduct(inputs.get(0)) ? 1 : 0;
            bias = inputs.get(other);
            return inputs.get(1 - other);
        }
        throw new Obstacle("between its scores and the softmax stands " + GraphReader.name(op));
    }

    private boolean leadsToProduct(String variable) {
        SameDiffOp op = reader.writer(variable);
        for (int steps = 0; op != null && steps < 8; steps++) {
            if (GraphReader.isProduct(op)) {
                return true;
            }
            boolean factor = op.getOp() instanceof ScalarMultiplication
                    || op.getOp() instanceof ScalarDivision
                    || op.getOp() instanceof MulOp
                    || op.getOp() instanceof DivOp;
            if (!factor) {
                return false;
            }
            op = reader.writer(op.getInputsToOp()
                    .get(
                            op.getInputsToOp().size() > 1
                                            && reader.number(op.getInputsToOp().get(0))
                                                    .isPresent()
                                    ? 1
                                    : 0));
        }
        return false;
    }

    private void requireLastAxis(String input) throws Obstacle {
        DynamicCustomOp op = (DynamicCustomOp) softmax.getOp();
        long axis = op.numIArguments() == 0 ? -1 : op.getIArgument(0);
        if (axis != -1 && axis != reader.rank(input) - 1) {
            throw new Obstacle("its softmax is over axis " + axis + ", which is not known to be the last");
        }
    }

    /** Its gradient is not computed. */
    private void requireUntrainedBias() throws Obstacle {
        Deque<String> open = new ArrayDeque<>();
        Set<String> seen = new HashSet<>();
        if (bias != null) {
            open.add(bias);
        }
        while (!open.isEmpty()) {
            String name = open.pop();
            SDVariable variable = graph.getVariable(name);
            if (variable.getVariableType() == VariableType.VARIABLE) {
                throw new Obstacle("its mask " + bias + " is trained, by " + name);
            }
            SameDiffOp op = reader.writer(name);
            if (seen.add(name) && op != null && op.getInputsToOp() != null) {
                open.addAll(op.getInputsToOp());
            }
        }
    }

    private void requireSoleReader(SameDiffOp op) throws Obstacle {
        String output = op.getOutputsOfOp().get(0);
        boolean watched = graph.getLossVariables().contains(output);
        if (reader.readers(output).size() != 1 || watched) {
            throw new Obstacle("others read " + output + " too");
        }
        if (isNotEmpty(op.getControlDeps())
                || isNotEmpty(op.getControlDepFor())
                || isNotEmpty(op.getVarControlDeps())) {
            throw new Obstacle("control flow hangs on " + op.getName());
        }
    }

    private static boolean isNotEmpty(List<String> list) {
        return list != null && !list.isEmpty();
    }

    private static void requirePlainProduct(SameDiffOp product) throws Obstacle {
        DynamicCustomOp op = (DynamicCustomOp) product.getOp();
        boolean plain = op.numTArguments() < 2 || (op.getTArgument(0) == 1 && op.getTArgument(1) == 0);
        if (!plain) {
            throw new Obstacle("the product " + product.getName() + " has factors of its own");
        }
    }
}
