package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.cache.KvType;
import java.util.SplittableRandom;

/**
 * One random problem of given sizes against float64, at the tolerances of {@link AttentionKernelContract} and
 * {@link AttentionBackwardContract}: for kernels that are too slow for those contracts as a whole.
 *
 * @param spec what is computed
 * @param type of keys and values
 * @param sizes batch, queries, the most keys of a batch row
 * @param masked whether tables of a mask are drawn too
 */
public record KernelTrial(AttentionSpec spec, KvType type, Sizes sizes, boolean masked) {

    /** Of a problem; a batch row after the first has a random number of keys, and positions may have gaps. */
    public record Sizes(int batch, int queries, int keys, int pageSize) {}

    /** Checks out and lse of one fresh problem. */
    public void forward(AttentionKernel kernel, SplittableRandom random) {
        AttentionCase c = build(random);
        KernelCheck.requireClose(kernel, c, run(kernel, c), 1);
    }

    /** The same, where each query has one channel ten thousand times as large as others, in which keys are 0. */
    public void forwardBesideAnOutlier(AttentionKernel kernel, SplittableRandom random) {
        AttentionCase c = build(random);
        float[] q = c.q.clone();
        for (int i = 0; i < q.length; i += spec.headDim()) {
            q[i] *= 10_000;
        }
        for (AttentionCase.Keys row : c.keys) {
            for (int i = 0; i < row.k.length; i += spec.headDim()) {
                row.k[i] = 0;
            }
        }
        AttentionCase outlier = c.withQueries(q);
        KernelCheck.requireClose(kernel, outlier, run(kernel, outlier), 1);
    }

    /** Checks the gradients of one fresh problem. */
    public void backward(AttentionKernel kernel, SplittableRandom random) {
        AttentionCase c = build(random);
        AttentionState gradient = AttentionState.empty(c.batch(), c.spec.heads(), c.queries, c.spec.valueDim());
        float[] values = new float[gradient.rows().capacity()];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) (2 * random.nextDouble() - 1);
        }
        gradient.rows().put(0, values);
        AttentionGradients gradients = AttentionGradients.zeros(c.spec, c.toQueries(), c.shards());
        AttentionState state = run(AttentionKernels.named("java"), c);
        kernel.backward(c.spec, c.toQueries(), c.shards(), state, gradient, gradients);
        KernelCheck.requireClose(kernel, c, values, gradients);
    }

    private AttentionCase build(SplittableRandom random) {
        return new RandomCase(random)
                .spec(spec)
                .type(type)
                .sizes(sizes.batch(), sizes.queries(), sizes.keys())
                .pageSize(sizes.pageSize())
                .masked(masked)
                .build();
    }

    private static AttentionState run(AttentionKernel kernel, AttentionCase c) {
        AttentionState state = AttentionState.empty(c.batch(), c.spec.heads(), c.queries, c.spec.valueDim());
        state.rows().put(0, new float[state.rows().capacity()]);
        kernel.partial(c.spec, c.toQueries(), c.shards(), state);
        return state;
    }
}
