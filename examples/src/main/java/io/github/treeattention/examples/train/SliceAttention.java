package io.github.treeattention.examples.train;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.distributed.AttentionInputs;
import io.github.treeattention.distributed.RingAttention;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import java.util.List;

/**
 * Causal attention of a rank's slice of a sequence over the whole of it, between the activations of a layer. All ranks call
 * it at the same time.
 */
final class SliceAttention {
    private final RingAttention ring;
    private final int rows;

    SliceAttention(LlamaConfig config, AttentionKernel kernel, Communicator communicator, SequenceSplit split) {
        AttentionSpec spec = AttentionSpec.of(config.heads(), config.kvHeads(), config.headDim())
                .withCausal(true);
        this.ring = new RingAttention(kernel, communicator, spec, split);
        this.rows = split.slice(communicator.rank()).length();
    }

    /** Rows of this rank's slice. */
    int rows() {
        return rows;
    }

    /** The state of the slice's queries. */
    void forward(Activations space, AttentionState state) {
        ring.forward(inputs(space), state);
    }

    /** Overwrites the gradients in queries, keys and values, given that in the state. */
    void backward(Activations space, AttentionState state) {
        space.queryGradient.clear();
        space.keyGradient.clear();
        space.valueGradient.clear();
        AttentionGradients gradients = new AttentionGradients(
                space.queryGradient.values(),
                List.of(space.keyGradient.values()),
                List.of(space.valueGradient.values()));
        ring.backward(inputs(space), state, space.stateGradient, gradients);
    }

    private static AttentionInputs inputs(Activations space) {
        return new AttentionInputs(1, space.queries.values(), space.keys.values(), space.values.values());
    }
}
