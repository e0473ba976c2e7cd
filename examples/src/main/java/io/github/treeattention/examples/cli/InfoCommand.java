package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.kernel.AttentionKernelProvider;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.launch.SharedMemory;
import io.github.treeattention.nativeops.NativeOps;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code treeattn info}. */
@Command(
        name = "info",
        mixinStandardHelpOptions = true,
        description = "Shows which kernels are usable and why others are not, the machine, the place for Aeron's"
                + " shared memory, and versions. With --ranks also what so many ranks measure of each other.")
final class InfoCommand implements Callable<Integer> {
    @Option(names = "--json", description = "Print JSON.")
    private boolean json;

    @Option(
            names = "--ranks",
            paramLabel = "N",
            description = "Start N ranks on this host, let them measure their links, and show which way their"
                    + " all-reduces go.")
    private Integer ranks;

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() throws IOException, InterruptedException {
        if (ranks != null && (ranks < 1 || ranks > RankOptions.MAX_RANKS)) {
            throw new InputException("--ranks must be 1.." + RankOptions.MAX_RANKS + ": got " + ranks);
        }
        Map<String, Object> facts = facts();
        if (ranks != null) {
            facts.put("run", RunFacts.of(ranks));
        }
        PrintWriter out = spec.commandLine().getOut();
        if (json) {
            out.println(new ObjectMapper()
                    .enable(SerializationFeature.INDENT_OUTPUT)
                    .writeValueAsString(facts));
        } else {
            print(out, "", facts);
        }
        out.flush();
        return ExitCode.DONE;
    }

    private static Map<String, Object> facts() throws IOException {
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("treeattn", Version.of("treeattn"));
        facts.put("kernels", kernels());
        facts.put("chosen kernel", chosen());
        Map<String, Object> machine = new LinkedHashMap<>();
        machine.put("system", System.getProperty("os.name") + " " + System.getProperty("os.arch"));
        machine.put("cores", Runtime.getRuntime().availableProcessors());
        machine.put(
                "isa of native kernel",
                NativeOps.isAvailable() ? NativeOps.activeIsa() : "none: the native kernel is not usable");
        machine.put(
                "memory available",
                Memory.available().isPresent() ? Memory.human(Memory.available().getAsLong()) : "unknown");
        facts.put("machine", machine);
        facts.put("aeron", aeron());
        Map<String, Object> versions = new LinkedHashMap<>();
        versions.put("java", System.getProperty("java.version") + " (" + System.getProperty("java.vendor") + ")");
        versions.put("nd4j", Version.of("nd4j"));
        versions.put("aeron", Version.of("aeron"));
        facts.put("versions", versions);
        return facts;
    }

    private static Map<String, Object> kernels() {
        Map<String, Object> kernels = new LinkedHashMap<>();
        for (AttentionKernelProvider provider : AttentionKernels.providers()) {
            kernels.put(
                    provider.name(),
                    provider.unavailabilityCause()
                            .map(cause -> "not usable: " + cause.getMessage())
                            .orElseGet(() -> "usable: " + provider.kernel().description()));
        }
        return kernels;
    }

    private static String chosen() {
        try {
            return AttentionKernels.choose().description();
        } catch (IllegalStateException forced) {
            return "none: " + forced.getMessage();
        }
    }

    private static Map<String, Object> aeron() throws IOException {
        Path directory = SharedMemory.directory(4);
        Map<String, Object> aeron = new LinkedHashMap<>();
        aeron.put("directory", directory + "/treeattn-<uid>-<job> (one per run, removed when it ends)");
        aeron.put("free space", Memory.human(Files.getFileStore(directory).getUsableSpace()));
        aeron.put("needed for 4 ranks", Memory.human(SharedMemory.requiredBytes(4)));
        return aeron;
    }

    private static void print(PrintWriter out, String indent, Map<?, ?> facts) {
        for (Map.Entry<?, ?> fact : facts.entrySet()) {
            if (fact.getValue() instanceof Map<?, ?> nested) {
                out.println(indent + fact.getKey());
                print(out, indent + "  ", nested);
            } else {
                out.printf("%s%-" + (22 - indent.length()) + "s %s%n", indent, fact.getKey(), fact.getValue());
            }
        }
    }
}
