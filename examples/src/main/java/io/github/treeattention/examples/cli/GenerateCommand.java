package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.TextStream;
import io.github.treeattention.examples.text.Tokenizer;
import io.github.treeattention.examples.text.Tokenizers;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code treeattn generate}. */
@Command(
        name = "generate",
        mixinStandardHelpOptions = true,
        description = "Continues a text with a LLaMA-style model whose context is spread over the ranks.",
        footer = {
            "",
            "Models: llama2.c's .bin with its tokenizer (tok<vocab>.bin or tokenizer.bin) beside it, or a Hugging Face",
            "folder (config.json, model.safetensors in f32, f16 or bf16, tokenizer.json).",
            "",
            "Example:",
            "  treeattn generate --model models/kjv-llama --prompt 'In the beginning God created' --max-tokens 64"
                    + " --ranks 3"
        })
final class GenerateCommand implements Callable<Integer> {
    @Option(names = "--model", required = true, paramLabel = "PATH", description = "The model's file or folder.")
    private Path model;

    @ArgGroup(multiplicity = "1")
    private PromptSource prompt;

    @Option(
            names = "--max-tokens",
            paramLabel = "N",
            defaultValue = "256",
            description = "Most tokens to generate. Default: ${DEFAULT-VALUE}.")
    private int maxTokens;

    @Option(
            names = "--ranks",
            paramLabel = "N",
            defaultValue = "1",
            description = "Processes that share the context, 1..8. Default: ${DEFAULT-VALUE}.")
    private int ranks;

    @Mixin
    private SamplingOptions sampling;

    @Mixin
    private RankOptions rankOptions;

    @Option(names = "--print-ids", description = "Print the generated token ids on one line instead of text.")
    private boolean printIds;

    @Option(names = "--json", description = "Print one JSON object: ids, text and measurements.")
    private boolean json;

    @Spec
    private CommandSpec spec;

    /** Where the prompt comes from. */
    static final class PromptSource {
        @Option(names = "--prompt", required = true, paramLabel = "TEXT", description = "The text to continue.")
        private String text;

        @Option(
                names = "--prompt-file",
                required = true,
                paramLabel = "FILE",
                description = "A UTF-8 file with the text to continue.")
        private Path file;
    }

    @Override
    public Integer call() throws IOException {
        if (maxTokens < 1) {
            throw new InputException("--max-tokens must be at least 1: got " + maxTokens);
        }
        int checkedRanks = rankOptions.checkedRanks(ranks);
        String text = promptText();
        LlamaConfig config = ModelLoader.loadConfig(model);
        Tokenizer tokenizer = Tokenizers.load(model, config);
        List<Integer> ids = Arrays.stream(tokenizer.encode(text)).boxed().toList();
        GenerationJob job = rankOptions.job(model.toAbsolutePath().toString(), ids, maxTokens, sampling);
        PrintWriter out = spec.commandLine().getOut();
        TextStream stream = tokenizer.stream();
        boolean streaming = !printIds && !json;
        RunReport report;
        try (Console console = new Console()) {
            report = Runner.run(job, config, checkedRanks, rankOptions.links(), console, id -> {
                if (streaming) {
                    out.print(stream.accept(id));
                    out.flush();
                }
            });
        }
        print(out, report, tokenizer, stream, checkedRanks);
        out.flush();
        return ExitCode.DONE;
    }

    private String promptText() {
        return prompt.file == null ? prompt.text : TextFile.read("--prompt-file", prompt.file);
    }

    private void print(PrintWriter out, RunReport report, Tokenizer tokenizer, TextStream stream, int worldSize)
            throws IOException {
        if (json) {
            Map<String, Object> result = new LinkedHashMap<>();
            result.put("ids", report.ids());
            result.put(
                    "text",
                    tokenizer.decode(
                            report.ids().stream().mapToInt(Integer::intValue).toArray()));
            result.put("stopReason", report.stopReason());
            result.put("promptTokens", report.promptTokens());
            result.put("ranks", worldSize);
            result.put("kernel", report.kernel());
            result.put("prefillSeconds", report.prefillSeconds());
            result.put("decodeSeconds", report.decodeSeconds());
            result.put("decodeTokensPerSecond", report.decodeTokensPerSecond());
            result.put("perRank", report.ranks());
            out.println(new ObjectMapper().writeValueAsString(result));
        } else if (printIds) {
            out.println(report.ids().stream().map(String::valueOf).collect(Collectors.joining(" ")));
        } else {
            out.println(stream.finish());
        }
    }
}
