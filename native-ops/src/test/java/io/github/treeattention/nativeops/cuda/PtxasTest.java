package io.github.treeattention.nativeops.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.Skips;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Assembles the shipped PTX for every target with NVIDIA's {@code ptxas}: no warning, no spill, and not more registers or
 * shared memory than {@code ptxas-budgets.txt} allows. What it needs is the program alone, not a GPU.
 */
class PtxasTest {
    private static final List<String> TARGETS = List.of("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120");
    private static final Pattern KERNEL = Pattern.compile(
            """
            Compiling entry function '(\\w+)' for 'sm_\\d+'
            (?:.*
            )*?.* (\\d+ bytes stack frame, \\d+ bytes spill stores, \\d+ bytes spill loads)
            .*Used (\\d+) registers(.*)""");
    private static final Pattern BUDGET = Pattern.compile("(?m)^(\\w+) (\\d+) (\\d+)$");
    private static final Pattern SHARED = Pattern.compile("(\\d+) bytes smem");

    /** Registers and shared bytes of a kernel on a target. */
    private record Use(int registers, int sharedBytes) {}

    @Test
    @SuppressWarnings("SystemOut") // the table, to be looked at and to make new budgets of
    void shouldStayWithinItsBudgets(@TempDir Path directory) throws IOException {
        Path ptxas = ptxas();
        Path ptx = Files.writeString(directory.resolve("attention.ptx"), KernelSource.ptx());
        Map<String, Map<String, Use>> measured = new ConcurrentHashMap<>();
        TARGETS.parallelStream().forEach(target -> measured.put(target, assemble(ptxas, ptx, target)));
        Map<String, Use> budgets = budgets();
        assertEquals(LaunchPlanTest.everyKernel().size(), budgets.size(), "a budget for each kernel");
        for (String target : TARGETS) {
            assertEquals(budgets.keySet(), measured.get(target).keySet(), "kernels on " + target);
        }
        for (Map.Entry<String, Use> budget : budgets.entrySet()) {
            StringBuilder line = new StringBuilder(budget.getKey());
            TARGETS.forEach(target -> line.append(' ')
                    .append(measured.get(target).get(budget.getKey()).registers()));
            System.out.println(line);
            for (String target : TARGETS) {
                Use use = measured.get(target).get(budget.getKey());
                String what = budget.getKey() + " on " + target + ": " + use + ", budget " + budget.getValue();
                assertTrue(use.registers() <= budget.getValue().registers(), what);
                assertEquals(budget.getValue().sharedBytes(), use.sharedBytes(), what);
            }
        }
    }

    private static Map<String, Use> assemble(Path ptxas, Path ptx, String target) {
        String log;
        try {
            log = Tool.run(List.of(
                    ptxas.toString(),
                    "-v",
                    "--warning-as-error",
                    "-arch=" + target,
                    "-o",
                    ptx.resolveSibling(target + ".cubin").toString(),
                    ptx.toString()));
        } catch (IOException failure) {
            throw new IllegalStateException("ptxas for " + target, failure);
        }
        Map<String, Use> uses = new TreeMap<>();
        Matcher kernels = KERNEL.matcher(log);
        while (kernels.find()) {
            assertEquals(
                    "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads",
                    kernels.group(2),
                    "spills of " + kernels.group(1) + " on " + target);
            Matcher shared = SHARED.matcher(kernels.group(4));
            int bytes = shared.find() ? Integer.parseInt(shared.group(1)) : 0;
            uses.put(kernels.group(1), new Use(Integer.parseInt(kernels.group(3)), bytes));
        }
        return uses;
    }

    /** Lines of a kernel's name, the most registers on any target, and its static shared bytes. */
    private static Map<String, Use> budgets() throws IOException {
        try (InputStream in = PtxasTest.class.getResourceAsStream("ptxas-budgets.txt")) {
            Map<String, Use> budgets = new TreeMap<>();
            Matcher lines = BUDGET.matcher(new String(in.readAllBytes(), StandardCharsets.US_ASCII));
            while (lines.find()) {
                budgets.put(
                        lines.group(1), new Use(Integer.parseInt(lines.group(2)), Integer.parseInt(lines.group(3))));
            }
            return budgets;
        }
    }

    private static Path ptxas() {
        String named = System.getenv("PTXAS");
        for (String candidate :
                named == null ? List.of("/usr/local/cuda/bin/ptxas", "/usr/bin/ptxas") : List.of(named)) {
            if (Files.isExecutable(Path.of(candidate))) {
                return Path.of(candidate);
            }
        }
        Skips.skip("no ptxas of CUDA 13 in /usr/local/cuda/bin or /usr/bin; PTXAS names another");
        throw new AssertionError("skipped");
    }
}
