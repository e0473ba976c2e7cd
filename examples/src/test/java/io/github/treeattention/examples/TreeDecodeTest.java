package io.github.treeattention.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.Communicators;
import io.github.treeattention.launch.LaunchResult;
import io.github.treeattention.launch.Launcher;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The README's ten lines, as processes. */
class TreeDecodeTest {
    @Test
    @Timeout(value = 2, unit = TimeUnit.MINUTES)
    void shouldPrintTheSameBitsOnEveryRank() throws Exception {
        Set<Integer> ranks = new ConcurrentSkipListSet<>();
        Set<String> lines = new ConcurrentSkipListSet<>();
        LaunchResult result = Launcher.builder(3, TreeDecode.class.getName())
                .jvmFlags(List.of("-Xmx512m"))
                .output((rank, stream, line) -> {
                    ranks.add(rank);
                    lines.add(line);
                })
                .build()
                .run();
        assertTrue(result.succeeded(), result::toString);
        assertEquals(Set.of(0, 1, 2), ranks);
        assertEquals(1, lines.size(), lines::toString);

        double[] several = numbers(lines.iterator().next());
        double[] one = numbers(TreeDecode.attend(Communicators.single()));
        assertEquals(one[0], several[0], 1e-6);
        assertEquals(one[1], several[1], 1e-5);
        assertTrue(one[1] > 11 && one[1] < 12, "log of 100000 keys with small scores: " + one[1]);
    }

    private static double[] numbers(String line) {
        String[] parts = line.replace("out[0] = ", "").split(", lse = ", -1);
        return new double[] {Double.parseDouble(parts[0]), Double.parseDouble(parts[1])};
    }
}
