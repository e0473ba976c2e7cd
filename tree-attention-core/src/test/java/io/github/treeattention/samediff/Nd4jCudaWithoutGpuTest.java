package io.github.treeattention.samediff;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.Skips;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * nd4j-cuda's Java classes on the class path, in processes of their own. Its native libraries are not there, which is one of the
 * ways in which it cannot run; no driver and no device are others, and end in the same place.
 */
class Nd4jCudaWithoutGpuTest {
    private static final String JARS = System.getProperty("treeattention.test.cuda.jars");
    private static final String FALLBACK =
            "nd4j-cuda is on the class path but cannot run here, so all runs on the CPU: ";

    private record Ended(int status, List<String> lines) {}

    @BeforeEach
    void requireJars() {
        if (JARS == null) {
            Skips.skip("Maven's surefire says where nd4j-cuda's jars are: not run by it");
        }
    }

    /** Runs a class with nd4j-cuda in front of the class path, which is how ND4J ranks it anyway. */
    private static Ended run(Class<?> main, boolean withCpu, Path log) throws Exception {
        List<String> path = new ArrayList<>(List.of(JARS.split(File.pathSeparator)));
        for (String jar : path) {
            assertTrue(Files.exists(Path.of(jar)), jar);
        }
        path.addAll(Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
                .filter(entry -> withCpu || !entry.contains("nd4j-native"))
                .toList());
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        String.join(File.pathSeparator, path),
                        main.getName())
                .redirectErrorStream(true)
                .redirectOutput(log.toFile())
                .start();
        try {
            assertTrue(process.waitFor(100, TimeUnit.SECONDS), "the process ends");
            return new Ended(process.exitValue(), Files.readAllLines(log));
        } finally {
            process.destroyForcibly();
        }
    }

    @Test
    void shouldRunOnTheCpuAndSayWhyInOneLine(@TempDir Path folder) throws Exception {
        Ended ended = run(Attends.class, true, folder.resolve("log"));
        String all = String.join("\n", ended.lines());
        assertEquals(0, ended.status(), all);
        List<String> told = ended.lines().stream()
                .filter(line -> line.contains("on the class path but cannot run"))
                .toList();
        assertEquals(1, told.size(), all);
        assertTrue(told.get(0).contains(FALLBACK) && told.get(0).contains("no jnicudart in"), told.get(0));
        assertTrue(all.contains("executioner " + TreeAttentionExecutioner.class.getName()), all);
    }

    /** Without nd4j-native there is nothing to fall back to. */
    @Test
    void shouldSayWhatIsMissingWhereThereIsNoCpuBackend(@TempDir Path folder) throws Exception {
        Ended ended = run(Starts.class, false, folder.resolve("log"));
        String all = String.join("\n", ended.lines());
        assertEquals(0, ended.status(), all);
        String told = ended.lines().stream()
                .filter(line -> line.startsWith("refused: "))
                .collect(Collectors.joining("\n"));
        assertTrue(
                told.startsWith("refused: ND4J has no backend that can run here: the one for CUDA fails (")
                        && told.contains("no jnicudart in"),
                all);
        assertTrue(told.endsWith("and nd4j-native, for the CPU, is not on the class path"), told);
    }

    /** The calls to ND4J's allocator, against stand-ins of its interfaces: ND4J's own needs a GPU to start. */
    @Test
    void shouldReadyAndMarkArraysByNd4jsAllocator(@TempDir Path folder) throws Exception {
        Ended ended = run(CudaMemoryCheck.class, true, folder.resolve("log"));
        assertEquals(0, ended.status(), String.join("\n", ended.lines()));
        assertTrue(ended.lines().contains("all is well"), String.join("\n", ended.lines()));
    }

    /** Computes something through the operations, twice. */
    static final class Attends {
        private Attends() {}

        public static void main(String[] arguments) {
            TreeAttentionOps.init();
            TreeAttentionOps.init();
            INDArray one = Nd4j.ones(1, 1, 2, 2);
            INDArray[] result = TreeAttentionOps.exec(one, one, one, null, AttentionOptions.defaults());
            if (result[0].sumNumber().doubleValue() != 4) {
                throw new AssertionError("wrong: " + result[0]);
            }
            System.out.println("executioner " + Nd4j.getExecutioner().getClass().getName());
        }
    }

    /** Must be refused. */
    static final class Starts {
        private Starts() {}

        public static void main(String[] arguments) {
            try {
                TreeAttentionOps.init();
            } catch (IllegalStateException refused) {
                System.out.println("refused: " + refused.getMessage());
                return;
            }
            throw new AssertionError("there is no backend");
        }
    }
}
