package io.github.treeattention.nativeops;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.kernel.KernelRun;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Loading and choosing, in JVMs of their own where the environment matters. */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class NativeOpsTest {
    @TempDir
    private Path directory;

    @BeforeEach
    void requireLibrary() {
        Tiers.requireLibrary();
    }

    /** Prints what {@link NativeOps} says in a child JVM. */
    static final class Report {
        private Report() {}

        @SuppressWarnings("SystemOut")
        public static void main(String[] arguments) throws IOException {
            System.out.println("available=" + NativeOps.isAvailable());
            System.out.println("cause="
                    + NativeOps.unavailabilityCause().map(Throwable::getMessage).orElse("none"));
            if (NativeOps.isAvailable()) {
                System.out.println("isa=" + NativeOps.activeIsa());
                System.out.println("threads=" + NativeOps.threads());
                AttentionSpec spec = AttentionSpec.of(4, 2, 32);
                KernelRun.of(new NativeKernel(Bindings.ISA_ACTIVE), spec, KvType.F32, 100, 1000, false, 1);
                System.out.println("workers=" + IdleThreadsTest.workers().size());
            }
            System.out.println("kernel=" + AttentionKernels.choose().description());
        }
    }

    @Test
    void shouldBeChosenBeforeTheJavaKernel() throws Exception {
        String report = report(Map.of());
        assertTrue(report.contains("kernel=native (" + NativeOps.activeIsa() + ")"), report);
    }

    @Test
    void shouldCapTheTierByEnvironment() throws Exception {
        String report = report(Map.of("TREE_ATTENTION_MAX_ISA", "generic"));
        assertTrue(report.contains("isa=generic"), report);
        assertTrue(report.contains("kernel=native (generic)"), report);
    }

    @Test
    void shouldTakeThreadsFromPropertyThenEnvironment() throws Exception {
        String environment = report(Map.of("TREE_ATTENTION_THREADS", "3"));
        assertTrue(environment.contains("threads=3"), environment);
        String property = report(Map.of("TREE_ATTENTION_THREADS", "3"), "-D" + NativeOps.THREADS_PROPERTY + "=5");
        assertTrue(property.contains("threads=5"), property);
    }

    /** Threads are counted after a call that is worth all of them. */
    @Test
    void shouldShareTheCoresAmongTheRanksOfAHost() throws Exception {
        int cores = Runtime.getRuntime().availableProcessors();
        assertTrue(report(Map.of()).contains("workers=" + (cores - 1)), "one process has all cores");
        String crowded = report(Map.of("LOCAL_WORLD_SIZE", "99999", "TREE_ATTENTION_THREADS", ""));
        assertTrue(crowded.contains("threads=1\n") && crowded.contains("workers=0"), crowded);
        String asked = report(Map.of("LOCAL_WORLD_SIZE", "99999", "TREE_ATTENTION_THREADS", "3"));
        assertTrue(asked.contains("workers=2"), asked);
    }

    @Test
    void shouldSayWhenASettingMeansNothing() throws Exception {
        String tier = report(Map.of("TREE_ATTENTION_MAX_ISA", "AVX2"));
        assertTrue(tier.contains("cause=TREE_ATTENTION_MAX_ISA must be generic, avx2 or avx512: got 'AVX2'"), tier);
        assertTrue(tier.contains("Kernel 'native' is not used: TREE_ATTENTION_MAX_ISA must be"), tier);
        assertTrue(tier.contains("kernel=java"), tier);
        String threads = report(Map.of(), "-D" + NativeOps.THREADS_PROPERTY + "=many");
        assertTrue(threads.contains("cause=treeattention.threads must be a number of threads, 1..9999"), threads);
        String variable = report(Map.of("TREE_ATTENTION_THREADS", "many"));
        String wanted = "cause=TREE_ATTENTION_THREADS must be a number of threads, 1..9999: got 'many'";
        assertTrue(variable.contains(wanted) && variable.contains("kernel=java"), variable);
    }

    @Test
    void shouldNotFallBackFromAPathThatIsForced() throws Exception {
        Path missing = directory.resolve("missing.so");
        String report = report(Map.of(), "-D" + NativeLibraryLoader.PATH_PROPERTY + "=" + missing);
        assertTrue(report.contains("available=false"), report);
        assertTrue(report.contains("cause=-Dtreeattention.native.path names no file: " + missing), report);
        assertTrue(report.contains("kernel=java"), report);
    }

    @Test
    void shouldLeaveNothingInItsDirectory() throws Exception {
        String report = report(Map.of(), "-D" + NativeLibraryLoader.DIRECTORY_PROPERTY + "=" + directory);
        assertTrue(report.contains("available=true"), report);
        try (Stream<Path> left = Files.list(directory)) {
            assertEquals(List.of(), left.toList());
        }
    }

    @Test
    void shouldNameTheLibraryBySystem() {
        assertEquals(
                "META-INF/native/linux-x86_64/libtreeattention-1.so",
                NativeLibraryLoader.resourceName("Linux", "amd64", "1"));
        assertEquals(
                "META-INF/native/linux-aarch64/libtreeattention-1.so",
                NativeLibraryLoader.resourceName("Linux", "aarch64", "1"));
    }

    @Test
    void shouldRefuseNoThreads() {
        assertEquals(
                "threads must be at least 1: got 0",
                assertThrows(IllegalArgumentException.class, () -> NativeOps.setThreads(0))
                        .getMessage());
    }

    @Test
    void shouldMeasureTheMachine() {
        double flops = MachineLimits.measureFlopsPerSecond();
        assertTrue(flops > 1e8 && flops < 1e15, "flops " + flops);
        double bytes = MachineLimits.measureReadBytesPerSecond(ByteBuffer.allocateDirect(1 << 24));
        assertTrue(bytes > 1e7 && bytes < 1e14, "bytes " + bytes);
    }

    private static String report(Map<String, String> environment, String... flags)
            throws IOException, InterruptedException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(List.of(flags));
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), Report.class.getName()));
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment()
                .keySet()
                .removeIf(name -> name.startsWith("TREE_ATTENTION_") || ThreadCount.RANKS_OF_HOST.contains(name));
        builder.environment().putAll(environment);
        Process process = builder.start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(0, process.waitFor(), output);
        return output;
    }
}
