package io.github.treeattention.examples.cli;

import io.github.treeattention.cache.KvType;
import io.github.treeattention.examples.DecoderOptions;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.kernel.AttentionKernelProvider;
import io.github.treeattention.kernel.AttentionKernels;
import java.util.List;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** How many processes, and how they attend together. */
final class RankOptions {
    static final int MAX_RANKS = 8;
    /** Small enough that even short prompts reach every rank, large enough that kernels stream. */
    static final int PAGE_SIZE = 64;

    @Mixin
    private LinkOptions links;

    @Option(
            names = "--strategy",
            paramLabel = "tree|ring|ring-reference",
            defaultValue = "tree",
            converter = DashedNames.Strategies.class,
            description =
                    "tree: ranks exchange attention states, one all-reduce a layer. ring: keys and values go round,"
                            + " the baseline. ring-reference: as published comparisons have it, copied for every query"
                            + " head and with a barrier a hop. Default: ${DEFAULT-VALUE}.")
    private RankSettings.Strategy strategy;

    @Option(
            names = "--prefill",
            paramLabel = "auto|queries|keys|whole",
            defaultValue = "auto",
            converter = DashedNames.Prefills.class,
            description =
                    "How a tree's ranks share a prompt. Each has a part of every chunk's tokens; queries: their queries"
                            + " go to all ranks' keys and states come back. keys: keys and values go round. auto: by"
                            + " bytes, call by call. whole: every rank computes all tokens. Default: ${DEFAULT-VALUE}.")
    private DecoderOptions.Prefill prefill;

    @Option(
            names = "--kv-dtype",
            paramLabel = "f32|bf16|f16",
            defaultValue = "f32",
            description = "How keys and values are stored. Default: ${DEFAULT-VALUE}.")
    private KvType kvType;

    @Option(
            names = "--kernel",
            paramLabel = "NAME",
            description = "Attention kernel, java or native; see 'treeattn info'. Default: the best usable one.")
    private String kernel;

    @Option(
            names = "--deadline",
            paramLabel = "SECONDS",
            defaultValue = "30",
            description =
                    "How long one exchange between ranks may take before the run fails. Default: ${DEFAULT-VALUE}.")
    private int deadlineSeconds;

    /** The number of ranks asked for by {@code --ranks}, or by {@code --hosts} where that is given. */
    int checkedRanks(int ranks) {
        int wanted = links.ranks(ranks);
        if (wanted < 1 || wanted > MAX_RANKS) {
            throw new InputException("--ranks must be 1.." + MAX_RANKS + ": got " + wanted);
        }
        if (deadlineSeconds < 1) {
            throw new InputException("--deadline must be at least 1 second: got " + deadlineSeconds);
        }
        return wanted;
    }

    LinkOptions links() {
        return links;
    }

    GenerationJob job(String model, List<Integer> promptIds, int maxTokens, SamplingOptions sampling) {
        return new GenerationJob(
                model, promptIds, maxTokens, sampling.temperature(), sampling.topP(), sampling.seed(), settings());
    }

    RankSettings settings() {
        return new RankSettings(strategy, prefill, kvType, checkedKernel(), PAGE_SIZE, deadlineSeconds);
    }

    private String checkedKernel() {
        return checkedKernel(kernel);
    }

    /** A kernel that is usable here, or null for the best one. */
    static String checkedKernel(String kernel) {
        String name = kernel != null ? kernel : System.getProperty(AttentionKernels.PROPERTY);
        if (name == null || name.isEmpty()) {
            return null;
        }
        List<String> known = AttentionKernels.providers().stream()
                .map(AttentionKernelProvider::name)
                .toList();
        if (!known.contains(name)) {
            throw new InputException("--kernel must be one of " + known + ": got '" + name + "'");
        }
        try {
            AttentionKernels.named(name);
        } catch (IllegalStateException unusable) {
            throw new InputException("--kernel: " + unusable.getMessage(), unusable);
        }
        return name;
    }
}
