package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.eval.PassKeyPrompt;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.TextStream;
import io.github.treeattention.examples.text.Tokenizer;
import io.github.treeattention.examples.text.Tokenizers;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.Arrays;
import java.util.Locale;
import java.util.OptionalDouble;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code treeattn demo}. */
@Command(
        name = "demo",
        mixinStandardHelpOptions = true,
        description = {
            "Hides a random pass key in a long excerpt of the King James Bible, spreads that context over several",
            "processes, asks the model that ships with the project for the key, and compares with one process."
        },
        footer = {
            "",
            "Examples:",
            "  treeattn demo",
            "  treeattn demo --tokens 8000 --ranks 3",
            "  treeattn demo --prompt 'And Jesus said unto them,'"
        })
final class DemoCommand implements Callable<Integer> {
    private static final int ANSWER_TOKENS = 8;
    private static final int TEXT_TOKENS = 64;

    @Option(
            names = "--tokens",
            paramLabel = "N",
            defaultValue = "4096",
            description = "Tokens of context; the model is reliable to about 8000. Default: ${DEFAULT-VALUE}.")
    private int tokens;

    @Option(
            names = "--ranks",
            paramLabel = "N",
            defaultValue = "4",
            description = "Processes that share the context, 1..8. Default: ${DEFAULT-VALUE}.")
    private int ranks;

    @Option(
            names = "--prompt",
            paramLabel = "TEXT",
            description = "Ends the context with this text instead of the question for the key, and continues it.")
    private String prompt;

    @Option(
            names = "--demo-seed",
            paramLabel = "S",
            description = "Repeats the excerpt, key and place of an earlier demo, which printed it.")
    private Long demoSeed;

    @Mixin
    private SamplingOptions sampling;

    @Mixin
    private RankOptions rankOptions;

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() throws IOException {
        int worldSize = rankOptions.checkedRanks(ranks);
        Path model = shippedModel();
        LlamaConfig config = ModelLoader.loadConfig(model);
        Tokenizer tokenizer = Tokenizers.load(model, config);
        long seed = demoSeed != null ? demoSeed : new SecureRandom().nextInt(1_000_000);
        PassKeyPrompt passKey = PassKeyPrompt.make(
                Files.readString(model.resolve("kjv-excerpt.txt")),
                tokenizer,
                tokens,
                prompt,
                OptionalDouble.empty(),
                new SplittableRandom(seed));
        int[] ids = tokenizer.encode(passKey.text());
        GenerationJob job = rankOptions.job(
                model.toString(),
                Arrays.stream(ids).boxed().toList(),
                prompt == null ? ANSWER_TOKENS : TEXT_TOKENS,
                sampling);

        PrintWriter out = spec.commandLine().getOut();
        out.printf(
                "%d tokens of the King James Bible over %d processes; pass key %s hidden in line %d of %d%n",
                ids.length, worldSize, passKey.key(), passKey.line(), passKey.lines());
        out.printf("(repeat with: treeattn demo --tokens %d --ranks %d --demo-seed %d)%n", tokens, worldSize, seed);
        out.flush();
        try (Console console = new Console()) {
            RunReport spread = runSpread(job, config, worldSize, console, tokenizer, out);
            RunReport single =
                    worldSize == 1 ? spread : Runner.run(job, config, 1, new LinkOptions(), console, id -> {});
            out.print(DemoTable.of(spread, single, prompt == null ? passKey : null, tokenizer));
            out.flush();
            return spread.ids().equals(single.ids()) ? ExitCode.DONE : ExitCode.FAILED;
        }
    }

    private RunReport runSpread(
            GenerationJob job,
            LlamaConfig config,
            int worldSize,
            Console console,
            Tokenizer tokenizer,
            PrintWriter out) {
        TextStream stream = tokenizer.stream();
        String question = prompt == null ? PassKeyPrompt.QUESTION : prompt;
        boolean[] begun = new boolean[1];
        RunReport report = Runner.run(job, config, worldSize, rankOptions.links(), console, id -> {
            if (!begun[0]) {
                begun[0] = true;
                out.print("> " + question);
            }
            out.print(stream.accept(id));
            out.flush();
        });
        out.println(stream.finish());
        return report;
    }

    private static Path shippedModel() {
        String home = System.getProperty("treeattention.home", "");
        Path model = Path.of(home, "models", "kjv-llama").toAbsolutePath().normalize();
        if (!Files.isDirectory(model)) {
            throw new InputException(String.format(
                    Locale.ROOT, "the demo needs the model that ships with the project: %s is not there", model));
        }
        return model;
    }
}
