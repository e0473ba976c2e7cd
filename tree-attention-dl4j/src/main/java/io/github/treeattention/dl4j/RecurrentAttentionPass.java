package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.ArrayAttention;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.nd4j.linalg.activations.IActivation;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;

/**
 * One forward pass of {@code out_t = f(W x_t + R attention(out_{t-1}, x) + b)} and what its backward pass needs: the
 * sequence's keys and values once, and per step a query and its attention. Owns its arrays until it is closed.
 */
final class RecurrentAttentionPass implements AutoCloseable {
    static final String WEIGHTS = "W";
    static final String RECURRENT = "RW";
    static final String BIAS = "b";

    private final AttentionBlock block;
    private final IActivation activation;
    private final Scratch owned = new Scratch();
    private final LocalKeys source;
    private final INDArray k;
    private final INDArray v;
    private final INDArray out; // [batch, nOut, time]
    private final INDArray before; // what goes into the activation, [time, batch, nOut]
    private final List<Step> steps = new ArrayList<>(); // from the second time step on

    /**
     * A step's attention.
     *
     * @param asked the output that asks, {@code [batch, nOut, 1]}
     * @param q its queries
     * @param attended what they see
     * @param answer what the output projection makes of it, {@code [batch, nOut]}
     */
    private record Step(INDArray asked, INDArray q, ArrayAttention.Result attended, INDArray answer) {}

    /**
     * @param x {@code [batch, nIn, time]}
     * @param source the sequence's own keys
     */
    RecurrentAttentionPass(
            AttentionBlock block,
            IActivation activation,
            INDArray x,
            LocalKeys source,
            Map<String, INDArray> parameters) {
        this.block = block;
        this.activation = activation;
        this.source = source;
        try {
            this.k = owned.own(block.keys(x, parameters, 0));
            this.v = owned.own(block.values(x, parameters));
            INDArray recurrent = parameters.get(RECURRENT);
            long time = x.size(2);
            this.out =
                    owned.own(Nd4j.createUninitialized(x.dataType(), new long[] {x.size(0), recurrent.size(1), time}));
            this.before =
                    owned.own(Nd4j.createUninitialized(x.dataType(), new long[] {time, x.size(0), recurrent.size(1)}));
            for (int t = 0; t < time; t++) {
                try (Scratch scratch = new Scratch()) {
                    INDArray sum = scratch.own(input(x, t, parameters));
                    if (t > 0) {
                        Step attention = attend(owned.own(column(out, t - 1).dup('c')), t, parameters);
                        steps.add(attention);
                        sum.addi(scratch.own(attention.answer.mmul(recurrent, 'c')));
                    }
                    row(before, t).assign(sum);
                    step(out, t).assign(activation.getActivation(sum, true));
                }
            }
        } catch (RuntimeException | Error failure) {
            owned.close();
            throw failure;
        }
    }

    /** {@code [batch, nOut, time]}. */
    INDArray output() {
        return out;
    }

    /** The input's gradient, in memory that the scratch owns; adds the parameters' to {@code sums}. */
    INDArray backward(
            INDArray x,
            INDArray gradient,
            Map<String, INDArray> parameters,
            Map<String, INDArray> sums,
            Scratch scratch) {
        INDArray dK = scratch.own(Nd4j.zeros(k.dataType(), k.shape()));
        INDArray dV = scratch.own(Nd4j.zeros(v.dataType(), v.shape()));
        INDArray dX = scratch.own(Nd4j.createUninitialized(x.dataType(), x.shape()));
        INDArray fromLater = scratch.own(Nd4j.zeros(x.dataType(), x.size(0), out.size(1))); // through its query
        for (int t = (int) x.size(2) - 1; t >= 0; t--) {
            try (Scratch inner = new Scratch()) {
                INDArray dOut = inner.own(step(gradient, t).add(fromLater));
                INDArray sum = inner.own(row(before, t).dup('c'));
                INDArray dSum =
                        inner.own(activation.backprop(sum, dOut).getFirst().dup('c'));
                INDArray input = inner.own(step(x, t).dup('c'));
                sums.get(WEIGHTS).addi(inner.own(input.transpose().mmul(dSum, 'c')));
                if (parameters.containsKey(BIAS)) {
                    INDArray bias = sums.get(BIAS);
                    bias.addi(inner.own(dSum.sum(0)).reshape(bias.shape()));
                }
                step(dX, t).assign(inner.own(dSum.mmul(parameters.get(WEIGHTS).transpose(), 'c')));
                if (t > 0) {
                    fromLater.assign(attendBackward(t, dSum, parameters, sums, new INDArray[] {dK, dV}, inner));
                }
            }
        }
        dX.addi(block.keysGradient(dK, x, parameters, sums, 0, scratch));
        return dX.addi(block.valuesGradient(dV, x, parameters, sums, scratch));
    }

    /** {@code W x_t + b}, {@code [batch, nOut]}. */
    static INDArray input(INDArray x, int t, Map<String, INDArray> parameters) {
        try (Scratch scratch = new Scratch()) {
            INDArray sum = scratch.own(step(x, t).dup('c')).mmul(parameters.get(WEIGHTS), 'c');
            return parameters.containsKey(BIAS) ? sum.addiRowVector(parameters.get(BIAS)) : sum;
        }
    }

    /** Step {@code t}'s attention: what is computed for a step asks at that step's position. */
    private Step attend(INDArray asked, int t, Map<String, INDArray> parameters) {
        INDArray q = owned.own(block.queries(asked, parameters, t));
        ArrayAttention.Result attended = source.from(t).forward(q, k, v);
        owned.own(attended.out());
        owned.own(attended.lse());
        try (Scratch scratch = new Scratch()) {
            INDArray answer = block.output(attended.out(), parameters, scratch);
            return new Step(asked, q, attended, owned.own(step(answer, 0).dup('c')));
        }
    }

    /** The gradient of the output that asked, {@code [batch, nOut]}; adds those of keys and values. */
    private INDArray attendBackward(
            int t,
            INDArray dSum,
            Map<String, INDArray> parameters,
            Map<String, INDArray> sums,
            INDArray[] dKeysAndValues,
            Scratch scratch) {
        Step step = steps.get(t - 1);
        sums.get(RECURRENT).addi(scratch.own(step.answer.transpose().mmul(dSum, 'c')));
        INDArray dAnswer = scratch.own(dSum.mmul(parameters.get(RECURRENT).transpose(), 'c'));
        INDArray dAttended = scratch.own(block.outputGradient(
                dAnswer.reshape('c', dAnswer.size(0), dAnswer.size(1), 1), step.attended.out(), parameters, sums));
        ArrayAttention.Gradients inner = source.from(t).backward(step.q, k, v, step.attended, dAttended);
        dKeysAndValues[0].addi(scratch.own(inner.dK()));
        dKeysAndValues[1].addi(scratch.own(inner.dV()));
        INDArray dAsked = block.queriesGradient(scratch.own(inner.dQ()), step.asked, parameters, sums, t, scratch);
        return step(dAsked, 0);
    }

    /** Step {@code t} of {@code [batch, features, time]}, {@code [batch, features]}, a view. */
    private static INDArray step(INDArray sequence, int t) {
        return sequence.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.point(t));
    }

    /** Step {@code t} of {@code [batch, features, time]}, {@code [batch, features, 1]}, a view. */
    private static INDArray column(INDArray sequence, int t) {
        return sequence.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.interval(t, t + 1));
    }

    private static INDArray row(INDArray array, int t) {
        return array.get(NDArrayIndex.point(t), NDArrayIndex.all(), NDArrayIndex.all());
    }

    @Override
    public void close() {
        owned.close();
    }
}
