package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class HostServicesTest {

    private static RankEnvironment environment() throws Exception {
        int port = FreePorts.next();
        return RankEnvironment.from(new HashMap<>(Map.of(
                "RANK", "0",
                "WORLD_SIZE", "2",
                "LOCAL_RANK", "0",
                "LOCAL_WORLD_SIZE", "2",
                "MASTER_ADDR", "127.0.0.1",
                "MASTER_PORT", Integer.toString(port),
                "TREEATTN_TOKEN", "secret " + port)));
    }

    @Test
    void shouldLeaveNothingBehindWhenItsThreadWasInterrupted() throws Exception {
        RankEnvironment environment = environment();
        HostServices services = HostServices.start(environment, ControlSettings.defaults());
        Path directory = environment.aeronDirectory().getParent();
        assertTrue(Files.exists(directory));
        Thread.currentThread().interrupt();
        services.close();
        assertTrue(Thread.interrupted(), "the interrupt is kept for the caller");
        assertFalse(Files.exists(directory), () -> directory + " is left");
        // Its port is free again.
        new ServerSocket(environment.masterPort(), 1, InetAddress.getLoopbackAddress()).close();
    }

    @Test
    void shouldRefuseACallDeadlineThatIsNoneBeforeItTouchesTheNetwork() throws Exception {
        RankEnvironment environment = environment();
        IllegalArgumentException failure = assertThrows(
                IllegalArgumentException.class, () -> RankSession.join(environment, Map.of(), Duration.ZERO));
        assertTrue(failure.getMessage().contains("collectiveDeadline must be positive"), failure.getMessage());
        assertFalse(Files.exists(environment.aeronDirectory().getParent()));
    }
}
