package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.examples.DecoderOptions;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.ModelLoader;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code treeattn plan}. */
@Command(
        name = "plan",
        mixinStandardHelpOptions = true,
        description = {
            "Says, before anything is started, what a context takes: memory of each process by number of ranks, what a",
            "tree and a ring send for each new token, and what moves while a long prompt is read. Formulas, no",
            "measurement, and without the shared memory that links take (info --ranks measures); a model's files are not needed where its shape is given."
        },
        footer = {
            "",
            "Examples:",
            "  treeattn plan --model models/kjv-llama --context 8192",
            "  treeattn plan --layers 32 --heads 32 --kv-heads 8 --head-dim 128 --parameters 8.03e9 --context 131072,"
                    + "1048576 --kv-dtype bf16 --memory 64e9"
        })
final class PlanCommand implements Callable<Integer> {
    @Option(names = "--model", paramLabel = "PATH", description = "A model whose shape is taken.")
    private Path model;

    @Option(names = "--layers", paramLabel = "N", description = "Layers, without a model.")
    private Integer layers;

    @Option(names = "--heads", paramLabel = "N", description = "Query heads, without a model.")
    private Integer heads;

    @Option(names = "--kv-heads", paramLabel = "N", description = "Key/value heads, without a model.")
    private Integer kvHeads;

    @Option(names = "--head-dim", paramLabel = "N", description = "Head dimension, without a model.")
    private Integer headDim;

    @Option(
            names = "--parameters",
            paramLabel = "N",
            description = "Weights in all, without a model; every rank holds them as float32. Default: 0.")
    private Double parameters;

    @Option(
            names = "--context",
            split = ",",
            paramLabel = "N",
            required = true,
            description = "Tokens of the prompt and of the answer.")
    private List<Long> contexts;

    @Option(
            names = "--ranks",
            split = ",",
            paramLabel = "N",
            defaultValue = "1,2,4,8",
            description = "Processes. Default: ${DEFAULT-VALUE}.")
    private List<Integer> ranks;

    @Option(
            names = "--kv-dtype",
            paramLabel = "f32|bf16|f16",
            defaultValue = "f32",
            description = "How keys and values are stored. Default: ${DEFAULT-VALUE}.")
    private KvType kvType;

    @Option(
            names = "--memory",
            paramLabel = "BYTES",
            description = "What one process may take, such as 64e9: says which rows fit and how many ranks would do.")
    private Double memory;

    @Option(names = "--json", description = "Print one JSON object.")
    private boolean json;

    @Spec
    private CommandSpec spec;

    /** Everything that is printed; {@code fewestRanks} by context where there is a limit: 0 where no number is enough. */
    private record Report(long weightBytes, List<ContextPlan> plans, List<Integer> fewestRanks) {}

    @Override
    public Integer call() throws IOException {
        AttentionSpec shape;
        KvLayout layout;
        long weightBytes;
        try {
            if (model != null) {
                requireNoShape();
                LlamaConfig config = ModelLoader.loadConfig(model);
                shape = AttentionSpec.of(config.heads(), config.kvHeads(), config.headDim());
                layout = layout(config.layers(), shape);
                weightBytes = config.parameters() * Float.BYTES;
            } else {
                requireShape();
                shape = AttentionSpec.of(heads, kvHeads, headDim);
                layout = layout(layers, shape);
                weightBytes = parameters == null ? 0 : (long) (parameters * Float.BYTES);
            }
        } catch (IllegalArgumentException wrong) {
            throw new InputException(wrong.getMessage(), wrong);
        }
        requireSane();
        List<ContextPlan> plans = new ArrayList<>();
        List<Integer> fewest = new ArrayList<>();
        try {
            for (long context : contexts) {
                for (int count : ranks) {
                    plans.add(plan(shape, layout, weightBytes, context, count));
                }
                if (memory != null) {
                    fewest.add(fewestRanks(shape, layout, weightBytes, context));
                }
            }
        } catch (ArithmeticException overflow) {
            throw new InputException("--context is beyond what 64 bits of bytes can say: got " + contexts, overflow);
        }
        print(new Report(weightBytes, plans, fewest));
        return ExitCode.DONE;
    }

    private KvLayout layout(int layerCount, AttentionSpec shape) {
        return new KvLayout(
                layerCount, shape.kvHeads(), shape.headDim(), shape.valueDim(), kvType, RankOptions.PAGE_SIZE);
    }

    private static ContextPlan plan(AttentionSpec shape, KvLayout layout, long weightBytes, long context, int count) {
        return ContextPlan.of(
                shape, layout, weightBytes, context, DecoderOptions.defaults().chunk(), count);
    }

    /** The fewest ranks whose fullest process fits, or 0: more ranks never need more memory each. */
    private int fewestRanks(AttentionSpec shape, KvLayout layout, long weightBytes, long context) {
        if (plan(shape, layout, weightBytes, context, LinkOptions.MAX_RANKS).processBytes() > memory) {
            return 0;
        }
        int low = 1;
        for (int high = LinkOptions.MAX_RANKS; low < high; ) {
            int middle = (low + high) >>> 1;
            if (plan(shape, layout, weightBytes, context, middle).processBytes() <= memory) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        return low;
    }

    private void requireNoShape() {
        if (layers != null || heads != null || kvHeads != null || headDim != null || parameters != null) {
            throw new InputException("--model has a shape of its own: want it without --layers, --heads, --kv-heads,"
                    + " --head-dim and --parameters");
        }
    }

    private void requireShape() {
        if (layers == null || heads == null || kvHeads == null || headDim == null) {
            throw new InputException("a plan needs a shape: want --model PATH, or --layers, --heads, --kv-heads and"
                    + " --head-dim together");
        }
        if (parameters != null && !(parameters >= 0 && parameters < 1e15)) {
            throw new InputException("--parameters must be 0..1e15: got " + parameters);
        }
    }

    private void requireSane() {
        for (long context : contexts) {
            if (context < 1) {
                throw new InputException("--context must be at least 1: got " + context);
            }
        }
        for (int count : ranks) {
            if (count < 1 || count > LinkOptions.MAX_RANKS) {
                throw new InputException("--ranks must be 1.." + LinkOptions.MAX_RANKS + ": got " + count);
            }
        }
        if (memory != null && !(memory >= 1)) {
            throw new InputException("--memory must be at least 1 byte: got " + memory);
        }
    }

    private void print(Report report) throws IOException {
        PrintWriter out = spec.commandLine().getOut();
        if (json) {
            out.println(new ObjectMapper().writeValueAsString(report));
            out.flush();
            return;
        }
        out.println("weights, on every rank: " + Memory.human(report.weightBytes()) + "; keys and values in "
                + kvType.name().toLowerCase(Locale.ROOT) + ", pages of " + RankOptions.PAGE_SIZE);
        out.printf(
                "%n%12s %6s %12s %12s %6s %14s %14s %12s%n",
                "context", "ranks", "KV a rank", "a process", "fits", "tree, token", "ring, token", "prefill");
        for (ContextPlan plan : report.plans()) {
            out.printf(
                    Locale.ROOT,
                    "%12d %6d %12s %12s %6s %14s %14s %12s%n",
                    plan.context(),
                    plan.ranks(),
                    Memory.human(plan.kvBytesPerRank()),
                    Memory.human(plan.processBytes()),
                    memory == null ? "" : plan.processBytes() <= memory ? "yes" : "no",
                    plan.ranks() == 1 ? "" : Memory.human(plan.treeBytesPerToken()),
                    plan.ranks() == 1 ? "" : Memory.human(plan.ringBytesPerToken()),
                    plan.prefillMoves() == null
                            ? ""
                            : plan.prefillMoves().name().toLowerCase(Locale.ROOT));
        }
        for (int i = 0; i < report.fewestRanks().size(); i++) {
            int fewest = report.fewestRanks().get(i);
            out.println();
            out.print(contexts.get(i) + " tokens in " + Memory.human(memory.longValue()) + " a process: ");
            out.print(
                    fewest == 0
                            ? "no number of ranks up to " + LinkOptions.MAX_RANKS + " is enough"
                            : fewest == 1 ? "one process is enough" : fewest + " ranks or more");
        }
        if (!report.fewestRanks().isEmpty()) {
            out.println();
        }
        out.println();
        out.println(
                "tree, ring: what a rank sends for a new token on average. prefill: what moves while the prompt's last"
                        + " chunk is read.");
        out.flush();
    }
}
