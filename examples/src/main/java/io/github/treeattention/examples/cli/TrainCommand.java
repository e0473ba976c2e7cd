package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.model.RopeStyle;
import io.github.treeattention.examples.text.ByteTokenizer;
import io.github.treeattention.examples.train.Training;
import io.github.treeattention.examples.train.TrainingPlan;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalLong;
import java.util.concurrent.Callable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code treeattn train}. */
@Command(
        name = "train",
        mixinStandardHelpOptions = true,
        description = {
            "Trains a LLaMA-style model on a text, each sequence spread over the ranks (Ring Attention), and leaves it in",
            "Hugging Face's layout in OUT/model, where 'treeattn generate' and other tools read it."
        },
        footer = {
            "",
            "From nothing, tokens are bytes, or those of another model (--tokenizer); --model goes on with a trained one.",
            "Checkpoints lie in OUT; after a crash the same command with --resume goes on from the newest, on as many ranks",
            "to the same bits.",
            "",
            "Examples:",
            "  treeattn train --text book.txt --out run --ranks 2 --length 2048 --steps 2000 --plot loss.png",
            "  treeattn train --text book.txt --out run --tokenizer models/kjv-llama --lr 3e-3",
            "  treeattn train --text book.txt --out tuned --model models/kjv-llama --lr 1e-4 --steps 200 --shard --ranks 4"
        })
final class TrainCommand implements Callable<Integer> {
    /** Roughly what a JVM with ND4J takes besides. */
    private static final long PROCESS_BYTES = 250_000_000;

    @Option(names = "--text", required = true, paramLabel = "FILE", description = "UTF-8 text to learn from.")
    private Path text;

    @Option(
            names = "--out",
            required = true,
            paramLabel = "DIR",
            description = "Folder for checkpoints, losses and the model; made if it is not there.")
    private Path out;

    @ArgGroup
    private Origin origin = new Origin();

    /** What a run begins with. */
    static final class Origin {
        @Option(names = "--model", paramLabel = "DIR", description = "Go on with a model in Hugging Face's layout.")
        private Path model;

        @Option(
                names = "--tokenizer",
                paramLabel = "DIR",
                description = "Begin from nothing with the tokens of the model in this folder.")
        private Path tokenizer;
    }

    @Option(names = "--resume", description = "Go on from the newest checkpoint in OUT.")
    private boolean resume;

    @Mixin
    private PlanOptions planOptions;

    @Mixin
    private ShapeOptions shape;

    @Option(
            names = "--ranks",
            paramLabel = "N",
            defaultValue = "1",
            description = "Processes that share each sequence, 1..8. Default: ${DEFAULT-VALUE}.")
    private int ranks;

    @Option(
            names = "--checkpoint-every",
            paramLabel = "STEPS",
            defaultValue = "100",
            description = "Steps between checkpoints. Default: ${DEFAULT-VALUE}.")
    private int checkpointEvery;

    @Option(
            names = "--export-dtype",
            paramLabel = "f32|bf16|f16",
            defaultValue = "f32",
            description = "How the finished model's weights are stored. Default: ${DEFAULT-VALUE}.")
    private KvType exportType;

    @Option(names = "--kernel", paramLabel = "NAME", description = "Attention kernel. Default: the best usable one.")
    private String kernel;

    @Option(
            names = "--deadline",
            paramLabel = "SECONDS",
            defaultValue = "60",
            description = "How long one exchange between ranks may take. Default: ${DEFAULT-VALUE}.")
    private int deadlineSeconds;

    @Option(names = "--plot", paramLabel = "FILE.png", description = "Draw the loss.")
    private Path plot;

    @Option(names = "--json", description = "Print one JSON object: losses and measurements.")
    private boolean json;

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() throws IOException {
        PlotFile.check(plot);
        if (ranks < 1 || ranks > RankOptions.MAX_RANKS) {
            throw new InputException("--ranks must be 1.." + RankOptions.MAX_RANKS + ": got " + ranks);
        }
        if (checkpointEvery < 1 || deadlineSeconds < 1) {
            throw new InputException("--checkpoint-every and --deadline must be at least 1: got " + checkpointEvery
                    + " and " + deadlineSeconds);
        }
        TrainingPlan plan = planOptions.plan();
        LlamaConfig config = config();
        requireMemory(Training.bytes(plan, config, ranks) + PROCESS_BYTES);
        TrainingJob job = job(plan, config);
        LossHistory history = new LossHistory(RunFolder.losses(out));
        List<RankEvent.Trained> ends;
        try (Console console = new Console()) {
            ends = Runner.run(
                    job,
                    ranks,
                    new LinkOptions(),
                    console,
                    RankEvent.Trained.class,
                    event -> tell(event, history, plan, console));
        } catch (RankFailedException failure) {
            throw failure.exitCode() != ExitCode.PEER_FAILED
                    ? failure
                    : new RankFailedException(
                            failure.getMessage()
                                    + "\nGo on from the newest checkpoint with the same command and --resume.",
                            failure.exitCode());
        }
        PrintWriter output = spec.commandLine().getOut();
        output.print(json ? json(history, ends) : table(history, ends, plan));
        output.flush();
        if (plot != null) {
            PlotFile.save(history.chart(), plot);
        }
        return ExitCode.DONE;
    }

    private static void tell(RankEvent event, LossHistory history, TrainingPlan plan, Console console) {
        if (event instanceof RankEvent.Began began) {
            if (began.rank() == 0) {
                history.goOnAfter(began.step());
            }
            console.note("rank " + began.rank() + ": " + Memory.human(began.weightBytes())
                    + " of weights, gradients and optimizer, " + Memory.human(began.activationBytes())
                    + " of activations" + (began.step() > 0 ? "; goes on after step " + began.step() : ""));
        } else if (event instanceof RankEvent.Stepped stepped) {
            Training.Step step = stepped.step();
            history.add(step);
            console.progress(
                    "training",
                    "steps",
                    step.step(),
                    plan.schedule().steps(),
                    String.format(Locale.ROOT, "loss %.3f, %.0f tokens/s", history.recent(), step.tokensPerSecond()));
        } else if (event instanceof RankEvent.Saved saved) {
            console.note("saved " + saved.file());
        }
    }

    private LlamaConfig config() {
        if (origin.model != null) {
            LlamaConfig config = ModelLoader.loadConfig(origin.model);
            if (config.ropeStyle() != RopeStyle.HALF_SPLIT) {
                throw new InputException("--model must be in Hugging Face's layout: " + origin.model + " is not");
            }
            return config;
        }
        if (origin.tokenizer != null) {
            LlamaConfig tokens = ModelLoader.loadConfig(origin.tokenizer);
            return shape.config(tokens.vocabSize(), tokens.bosId(), tokens.eosIds());
        }
        return shape.config(ByteTokenizer.VOCABULARY, ByteTokenizer.BOS, List.of(ByteTokenizer.EOS));
    }

    /** Prepares the folder. */
    private TrainingJob job(TrainingPlan plan, LlamaConfig config) throws IOException {
        TextFile.read("--text", text);
        Path newest = RunFolder.newestCheckpoint(out).orElse(null);
        if (resume && newest == null) {
            throw new InputException("--resume needs a checkpoint: there is none in " + out);
        }
        if (!resume && newest != null) {
            throw new InputException("--out must be a new run's folder, or --resume goes on with the run in it: "
                    + newest + " is there");
        }
        Files.createDirectories(out);
        Path source = origin.model != null ? origin.model : origin.tokenizer;
        Path tokenizer = RunFolder.tokenizer(out);
        if (!Files.isRegularFile(tokenizer)) {
            Files.write(
                    tokenizer,
                    source == null ? ByteTokenizer.json() : Files.readAllBytes(source.resolve("tokenizer.json")));
        }
        return new TrainingJob(
                text.toAbsolutePath().toString(),
                origin.model == null ? null : origin.model.toAbsolutePath().toString(),
                tokenizer.toAbsolutePath().toString(),
                config,
                plan,
                out.toAbsolutePath().toString(),
                resume ? newest.toAbsolutePath().toString() : null,
                checkpointEvery,
                exportType,
                RankOptions.checkedKernel(kernel),
                deadlineSeconds);
    }

    private void requireMemory(long bytesPerRank) {
        OptionalLong available = Memory.available();
        if (available.isPresent() && bytesPerRank * ranks > available.getAsLong()) {
            throw new InputException(ranks + " ranks of this host need " + Memory.human(bytesPerRank * ranks)
                    + "; there are " + Memory.human(available.getAsLong())
                    + " free. Use shorter sequences, --shard or a smaller model.");
        }
    }

    private String table(LossHistory history, List<RankEvent.Trained> ends, TrainingPlan plan) {
        StringBuilder table = new StringBuilder();
        RankEvent.Trained first = ends.get(0);
        row(table, "steps", String.valueOf(plan.schedule().steps()));
        row(table, "loss", String.format(Locale.ROOT, "%.4f nats/token, mean of the last steps", history.recent()));
        if (first.heldOutLoss() != null) {
            row(table, "held-out text", String.format(Locale.ROOT, "%.4f nats/token", first.heldOutLoss()));
        }
        row(
                table,
                "memory per rank",
                Memory.human(first.weightBytes()) + " of weights, gradients and optimizer, "
                        + Memory.human(first.activationBytes()) + " of activations");
        row(table, "model", RunFolder.model(out).toString());
        return table.toString();
    }

    private static void row(StringBuilder table, String name, String value) {
        table.append(String.format(Locale.ROOT, "%-16s %s%n", name, value));
    }

    private static String json(LossHistory history, List<RankEvent.Trained> ends) throws JsonProcessingException {
        Map<String, Object> result = new LinkedHashMap<>();
        result.put("losses", history.losses());
        result.put("heldOutLoss", ends.get(0).heldOutLoss());
        result.put("perRank", ends);
        return RankEvent.JSON.writeValueAsString(result) + System.lineSeparator();
    }
}
