package io.github.treeattention.nativeops.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** That the PTX in the jar is that of the sources beside it. The profile {@code cuda-compile} compiles it afresh and compares. */
class ShippedPtxTest {
    private static final Path SOURCES = Path.of("src", "main", "cuda");
    private static final String ADVICE =
            "; compile again: sh native-ops/src/main/cuda/compile.sh LIBNVRTC WORK_DIR, then copy attention.ptx";

    @Test
    void shouldCarryTheHashOfItsSourceAndOptions() throws IOException, GeneralSecurityException {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        digest.update(Tool.run(List.of("sh", SOURCES.resolve("sources.sh").toString()))
                .getBytes(StandardCharsets.UTF_8));
        digest.update(Files.readAllBytes(SOURCES.resolve("options.txt")));
        String wanted = HexFormat.of().formatHex(digest.digest());
        String second = KernelSource.ptx().lines().skip(1).findFirst().orElseThrow();
        assertEquals(
                "// sha256 of source and options: " + wanted, second, "the PTX is not that of its source" + ADVICE);
    }

    /** Drivers from 510 on take PTX 7.6; sm_80 has what the kernels use. */
    @Test
    void shouldAskForNoMoreThanItNeeds() {
        String ptx = KernelSource.ptx();
        assertTrue(ptx.contains("\n.version 7.6\n"), "PTX version");
        assertTrue(ptx.contains("\n.target sm_80\n"), "PTX target");
        assertEquals(-1, ptx.indexOf('\0'), "a NUL in the PTX");
    }

    /** What Java writes and what the kernels read are one layout. */
    @Test
    void shouldTakeParametersAsLongAsJavaWritesThem() {
        Matcher parameters = Pattern.compile("\\.entry (\\w+)\\(\\s*\\.param \\.align 8 \\.b8 \\w+\\[(\\d+)\\]\\s*\\)")
                .matcher(KernelSource.ptx());
        int kernels = 0;
        while (parameters.find()) {
            int wanted = parameters.group(1).equals("merge") ? Problem.MERGE_BYTES : Problem.BYTES;
            assertEquals(wanted, Integer.parseInt(parameters.group(2)), parameters.group(1));
            kernels++;
        }
        assertEquals(entries().size(), kernels, "entry points with one struct as their parameter: " + entries());
    }

    /** Every kernel that a plan can name, and none that no plan does. */
    @Test
    void shouldHoldTheKernelsThatPlansName() {
        assertEquals(LaunchPlanTest.everyKernel().stream().sorted().toList(), entries());
    }

    private static List<String> entries() {
        return Pattern.compile("\\.entry (\\w+)\\(")
                .matcher(KernelSource.ptx())
                .results()
                .map(found -> found.group(1))
                .sorted()
                .collect(Collectors.toList());
    }
}
