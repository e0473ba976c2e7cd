package io.github.treeattention.nativeops.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.nativeops.NativeOps;
import io.github.treeattention.testkit.Skips;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;

/**
 * The calls to CUDA's driver API, against a stand-in for the driver's library (fake_driver.c) in processes of their own: which are made,
 * with what, and what comes of their failures. Says nothing about a real driver.
 */
class LibCudaCallsTest {
    @TempDir
    static Path folder;

    private static boolean built;

    @BeforeAll
    static void build() throws Exception {
        if (NativeOps.isAvailable()) { // so there is a compiler, as a rule the same
            compile("driver.so");
            compile("old.so", "-DOLD");
            built = true;
        }
    }

    private static void compile(String library, String... options) throws Exception {
        String compiler = System.getenv("CC") == null ? "cc" : System.getenv("CC");
        List<String> command = new ArrayList<>(List.of(compiler, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"));
        command.addAll(List.of(options));
        command.addAll(List.of("-o", folder.resolve(library).toString(), "src/test/native/cuda/fake_driver.c"));
        Tool.run(command);
    }

    /** What the process prints. */
    private static List<String> run(String library, Path log, Map<String, String> environment, String... arguments)
            throws Exception {
        if (!built) {
            Skips.withoutNativeKernel(
                    NativeOps.unavailabilityCause().orElseThrow().getMessage());
        }
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-cp",
                System.getProperty("java.class.path"),
                "-D" + LibCuda.PATH_PROPERTY + "=" + folder.resolve(library),
                Calls.class.getName()));
        command.addAll(List.of(arguments));
        ProcessBuilder builder = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(log.resolveSibling("out").toFile());
        builder.environment().putAll(environment);
        builder.environment().put("FAKE_DRIVER_LOG", log.toString());
        Process process = builder.start();
        try {
            assertTrue(process.waitFor(100, TimeUnit.SECONDS), "the process ends");
            List<String> lines = Files.readAllLines(log.resolveSibling("out"));
            assertEquals(0, process.exitValue(), lines.toString());
            return lines;
        } finally {
            process.destroyForcibly();
        }
    }

    @Test
    void shouldMakeTheCallsOfTheDriverApi(@TempDir Path mine) throws Exception {
        Path log = mine.resolve("log");
        assertEquals(
                List.of(
                        "CudaDevice[name=Fake 40, computeCapability=86, multiprocessors=84, sharedBytesPerBlock=101376]"),
                run("driver.so", log, Map.of()));
        assertEquals(
                List.of(
                        "retain 40",
                        "load 'text'",
                        "launch 0x200, grid 2 3 4, block 128 5 1, shared 49152, stream (nil), 1 2 3",
                        "attribute 8 of 0x200: 49153",
                        "launch 0x200, grid 1 1 1, block 32 1 1, shared 49153, stream 0x77, 2 3",
                        "synchronize, depth 1"),
                Files.readAllLines(log));
    }

    /** As ND4J's CUDA backend leaves one. */
    @Test
    void shouldWorkInTheContextThatIsCurrent(@TempDir Path mine) throws Exception {
        Path log = mine.resolve("log");
        List<String> lines = run("driver.so", log, Map.of("FAKE_DRIVER_CURRENT", "1"));
        assertTrue(lines.get(0).startsWith("CudaDevice[name=Fake 47,"), lines.toString());
        assertEquals("load 'text'", Files.readAllLines(log).get(0), "no other context is made");
    }

    @Test
    void shouldSayWhyADeviceCannotBeUsed(@TempDir Path mine) throws Exception {
        Path log = mine.resolve("log");
        assertEquals(
                List.of("unavailable: the NVIDIA driver sees no device"),
                run("driver.so", log, Map.of("FAKE_DRIVER_DEVICES", "0"), "provider"));
        assertEquals(
                List.of("unavailable: the NVIDIA driver is too old: it has no cuFuncSetAttribute"),
                run("old.so", log, Map.of(), "provider"));
        assertEquals(
                List.of("unavailable: the CUDA kernels need compute capability 8.0 or more: Fake 40 has 7.5"),
                run("driver.so", log, Map.of("FAKE_DRIVER_CAPABILITY", "75"), "provider"));
    }

    /** Everything that a driver can be asked for, once; or, with an argument, why the kernels cannot be had. */
    static final class Calls {
        private Calls() {}

        public static void main(String[] arguments) {
            if (arguments.length > 0) {
                CudaKernelProvider provider = new CudaKernelProvider();
                String reason = provider.unavailabilityCause().orElseThrow().getMessage();
                IllegalStateException refused = assertThrows(IllegalStateException.class, provider::kernel);
                assertEquals(
                        "no CUDA device can be used: " + reason, refused.getMessage(), "told again, with the reason");
                System.out.println("unavailable: " + reason);
                return;
            }
            LibCuda driver = new LibCuda();
            System.out.println(driver.device());
            long module = driver.load("text");
            fails("cuModuleLoadDataEx: line 1: wrong: CUDA_ERROR_INVALID_PTX (218)", () -> driver.load("wrong"));
            long function = driver.function(module, "merge");
            fails(
                    "cuModuleGetFunction of nothing: CUDA_ERROR_NOT_FOUND (500)",
                    () -> driver.function(module, "nothing"));

            long address = driver.allocate(16);
            assertThrows(OutOfMemoryError.class, () -> driver.allocate(1L << 40));
            assertThrows(OutOfMemoryError.class, () -> driver.allocatePinned(Integer.MAX_VALUE));
            ByteBuffer pinned = driver.allocatePinned(8);
            pinned.putLong(0, 0x0102030405060708L);
            driver.copyToDevice(address + 4, pinned.position(2).limit(6));
            ByteBuffer back = ByteBuffer.allocateDirect(8);
            driver.copyToHost(back.position(3).limit(7), address + 4);
            back.clear();
            assertEquals(0x06, back.get(3), "little-endian, from the position on");
            assertEquals(0x03, back.get(6));
            assertEquals(0, back.get(7), "up to the limit");
            assertThrows(IllegalArgumentException.class, () -> driver.copyToDevice(address, ByteBuffer.allocate(4)));
            driver.freePinned(pinned.clear());
            driver.free(address);
            fails("cuMemFree: CUDA_ERROR_INVALID_VALUE (1)", () -> driver.free(0));

            ByteBuffer parameters =
                    ByteBuffer.allocateDirect(3).put(new byte[] {1, 2, 3}).flip();
            driver.launch(function, new Launch(2, 3, 4, 128, 5, 48 << 10), parameters, 0);
            driver.launch(function, new Launch(1, 1, 1, 32, 1, (48 << 10) + 1), parameters.position(1), 0x77);
            driver.synchronize();
        }

        private static void fails(String words, Executable call) {
            String message = assertThrows(IllegalStateException.class, call).getMessage();
            assertEquals("the CUDA driver failed in " + words, message);
        }
    }
}
