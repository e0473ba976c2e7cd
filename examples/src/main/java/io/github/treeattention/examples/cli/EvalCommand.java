package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.eval.EvaluationCase;
import io.github.treeattention.examples.eval.EvaluationPlan;
import io.github.treeattention.examples.eval.LineTask;
import io.github.treeattention.examples.eval.PassKeyTask;
import io.github.treeattention.examples.eval.PerplexityTask;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Tokenizer;
import io.github.treeattention.examples.text.Tokenizers;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code treeattn eval}. */
@Command(
        name = "eval",
        mixinStandardHelpOptions = true,
        description = "Tests what a model does with a long context that is spread over the ranks.",
        footer = {
            "",
            "Tasks:",
            "  passkey  five digits hidden in a text, at several depths of texts of growing length",
            "  lines    LongEval's line retrieval: one of many named numbers; drawn here, or LongEval's own cases",
            "  ppl      likelihood of a text, read in windows",
            "",
            "Examples:",
            "  treeattn eval --model models/kjv-llama --task passkey --lengths 1000,4000,8000 --plot passkey.png",
            "  treeattn eval --model models/kjv-llama --task lines --cases-file longeval_200_lines.jsonl --ranks 4",
            "  treeattn eval --model models/kjv-llama --task ppl --skip 42 --windows 40"
        })
final class EvalCommand implements Callable<Integer> {
    private static final int MAX_DEPTHS = 100;
    private static final int MAX_CASES = 100_000;

    /** What is tested. */
    enum Task {
        PASSKEY,
        LINES,
        PPL
    }

    @Option(names = "--model", required = true, paramLabel = "PATH", description = "The model's file or folder.")
    private Path model;

    @Option(names = "--task", required = true, paramLabel = "passkey|lines|ppl", description = "What is tested.")
    private Task task;

    @Option(
            names = "--lengths",
            split = ",",
            paramLabel = "N",
            description = "Columns of the table: tokens of context (passkey), lines (lines), tokens of a window (ppl)."
                    + " Default: 512,1024,2048,4096; 10,20,50,100; 1000.")
    private List<Integer> lengths;

    @Option(
            names = "--depths",
            defaultValue = "5",
            description = "Rows of the table: places of the key or line. Default: ${DEFAULT-VALUE}.")
    private int depths;

    @Option(names = "--cases", defaultValue = "2", description = "Cases in each cell. Default: ${DEFAULT-VALUE}.")
    private int cases;

    @Option(
            names = "--cases-file",
            paramLabel = "FILE.jsonl",
            description = "LongEval's own cases instead of drawn ones; --cases is then how many to take in all.")
    private Path casesFile;

    @Option(
            names = "--text",
            paramLabel = "FILE",
            description = "UTF-8 text that keys are hidden in, or whose likelihood is taken."
                    + " Default: kjv-excerpt.txt beside the model.")
    private Path text;

    @Option(names = "--skip", defaultValue = "0", description = "ppl: tokens to leave out at the text's start.")
    private int skip;

    @Option(
            names = "--windows",
            defaultValue = "40",
            description = "ppl: the most windows of each length. Default: ${DEFAULT-VALUE}.")
    private int windows;

    @Option(names = "--seed", defaultValue = "0", description = "Seed of the cases that are drawn.")
    private long seed;

    @Option(
            names = "--ranks",
            paramLabel = "N",
            defaultValue = "1",
            description = "Processes that share the context, 1..8. Default: ${DEFAULT-VALUE}.")
    private int ranks;

    @Mixin
    private RankOptions rankOptions;

    @Option(names = "--json", description = "Print one JSON object: table, answers and counters.")
    private boolean json;

    @Option(names = "--plot", paramLabel = "FILE.png", description = "Also draw the table as a heat map.")
    private Path plot;

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() throws IOException {
        int worldSize = rankOptions.checkedRanks(ranks);
        check();
        LlamaConfig config = ModelLoader.loadConfig(model);
        Tokenizer tokenizer = Tokenizers.load(model, config);
        EvaluationPlan plan = plan(tokenizer);
        RankSettings settings = rankOptions.settings();
        ContextSize.of(settings, plan.positions(), config, worldSize)
                .requireMemory(rankOptions.links().mostRanksOnAHost(worldSize));
        EvaluationJob job = new EvaluationJob(model.toAbsolutePath().toString(), plan.cases(), settings);
        EvaluationReport report = new EvaluationReport(plan);
        List<RankEvent.Evaluated> ends;
        try (Console console = new Console()) {
            if (plan.positions() > config.maxPositions()) {
                console.note("note: the longest case has " + plan.positions() + " tokens; the model was made for "
                        + config.maxPositions() + " positions");
            }
            int total = plan.cases().size();
            console.progress("evaluating", "cases", 0, total);
            ends = Runner.run(job, worldSize, rankOptions.links(), console, RankEvent.Evaluated.class, event -> {
                if (event instanceof RankEvent.Answer answer) {
                    add(report, plan.cases().get(answer.index()), answer, tokenizer);
                    console.progress("evaluating", "cases", answer.index() + 1L, total);
                }
            });
        }
        PrintWriter out = spec.commandLine().getOut();
        out.print(json ? report.json(model.toString(), ends) + System.lineSeparator() : report.text());
        out.flush();
        if (plot != null) {
            PlotFile.save(report.heatMap(), plot);
        }
        return ExitCode.DONE;
    }

    private static void add(EvaluationReport report, EvaluationCase one, RankEvent.Answer answer, Tokenizer tokenizer) {
        if (one.likelihood()) {
            report.add(one, "", answer.nll());
        } else {
            String said = tokenizer.decode(
                    answer.ids().stream().mapToInt(Integer::intValue).toArray());
            report.add(one, said, one.score(said));
        }
    }

    private void check() {
        PlotFile.check(plot);
        requireRange("--depths", depths, 1, MAX_DEPTHS);
        requireRange("--cases", cases, 1, MAX_CASES);
        requireRange("--windows", windows, 1, MAX_CASES);
        requireRange("--skip", skip, 0, Integer.MAX_VALUE);
        if (lengths == null) {
            lengths = switch (task) {
                case PASSKEY -> List.of(512, 1024, 2048, 4096);
                case LINES -> List.of(10, 20, 50, 100);
                case PPL -> List.of(1000);
            };
        }
        int most = task == Task.LINES ? LineTask.MOST_DRAWN : Integer.MAX_VALUE / 8;
        for (int length : lengths) {
            requireRange("--lengths", length, task == Task.LINES ? depths : 1, most);
        }
        if (casesFile != null && task != Task.LINES) {
            throw new InputException("--cases-file is for --task lines: got " + task);
        }
    }

    private static void requireRange(String option, int value, int least, int most) {
        if (value < least || value > most) {
            throw new InputException(option + " must be " + least + ".." + most + ": got " + value);
        }
    }

    private EvaluationPlan plan(Tokenizer tokenizer) {
        return switch (task) {
            case PASSKEY -> PassKeyTask.plan(readText(), tokenizer, lengths, depths, cases, seed);
            case LINES ->
                casesFile == null
                        ? LineTask.draw(tokenizer, lengths, depths, cases, seed)
                        : LineTask.read(
                                TextFile.read("--cases-file", casesFile).lines().toList(), tokenizer, depths, cases);
            case PPL -> PerplexityTask.plan(readText(), tokenizer, lengths, skip, windows);
        };
    }

    private String readText() {
        Path folder = Files.isDirectory(model) ? model : model.toAbsolutePath().getParent();
        return TextFile.read("--text", text != null ? text : folder.resolve("kjv-excerpt.txt"));
    }
}
