package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Optional;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class LauncherTest {

    @Test
    void shouldRunAllRanksToTheirEnd() throws Exception {
        ConcurrentLinkedQueue<String> lines = new ConcurrentLinkedQueue<>();
        long start = System.nanoTime();
        LaunchResult result = Launcher.builder(3, LaunchedRank.class.getName())
                .arguments(List.of("loop", "200"))
                .output((rank, stream, line) -> lines.add(rank + " " + stream + " " + line))
                .build()
                .run();
        System.err.println("run of 3 ranks: " + (System.nanoTime() - start) / 1_000_000 + " ms");
        assertEquals(new LaunchResult(List.of(0, 0, 0), Optional.empty()), result, lines::toString);
        for (int rank = 0; rank < 3; rank++) {
            assertTrue(lines.contains(rank + " STDOUT done 200"), lines::toString);
        }
    }
}
