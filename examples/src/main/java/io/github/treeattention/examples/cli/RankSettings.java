package io.github.treeattention.examples.cli;

import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.distributed.RingDecode;
import io.github.treeattention.examples.DecoderOptions;
import io.github.treeattention.examples.LlamaDecoder;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import java.util.Map;

/**
 * How the ranks of a run attend together; the same on all of them.
 *
 * @param strategy what crosses the network
 * @param prefill how the ranks of a tree share a prompt
 * @param kvType how keys and values are stored
 * @param kernel the attention kernel's name, or null for the best usable one
 * @param pageSize positions in a KV page
 * @param deadlineSeconds how long one collective call may take
 */
record RankSettings(
        Strategy strategy,
        DecoderOptions.Prefill prefill,
        KvType kvType,
        String kernel,
        int pageSize,
        int deadlineSeconds) {

    /** What crosses the network for attention. */
    enum Strategy {
        /** States: one all-reduce a layer. */
        TREE,
        /** Keys and values: worldSize - 1 hops a layer, the baseline. */
        RING,
        /** The same as the published comparison has it. */
        RING_REFERENCE
    }

    AttentionKernel loadKernel() {
        return kernel == null ? AttentionKernels.choose() : AttentionKernels.named(kernel);
    }

    LlamaDecoder decoder(LlamaModel model, Communicator communicator, AttentionKernel loaded, DecoderOptions options) {
        DecoderOptions shared = options.withPrefill(prefill);
        return switch (strategy) {
            case TREE -> new LlamaDecoder(model, communicator, loaded, shared);
            case RING -> new LlamaDecoder(model, communicator, new RingDecode(loaded, communicator), shared);
            case RING_REFERENCE ->
                new LlamaDecoder(model, communicator, RingDecode.reference(loaded, communicator), shared);
        };
    }

    KvLayout layout(LlamaConfig config) {
        return new KvLayout(config.layers(), config.kvHeads(), config.headDim(), config.headDim(), kvType, pageSize);
    }

    /** What ranks compare when they meet. */
    Map<String, String> fingerprint(LlamaModel model) {
        return Map.of(
                "version", Version.of("treeattn"),
                "model", model.fingerprint(),
                "kvType", kvType.name(),
                "strategy", strategy.name(),
                "prefill", prefill.name(),
                "pageSize", String.valueOf(pageSize));
    }
}
