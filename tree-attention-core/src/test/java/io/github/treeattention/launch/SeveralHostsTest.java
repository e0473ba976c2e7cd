package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.dataplane.DataPlaneOptions;
import io.github.treeattention.launch.LaunchFailure.Kind;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * Runs over several hosts, played by one: instead of ssh, a script that runs the command line here. Each "host" has its own
 * part of the launcher, media driver and directory, so ranks of different ones share no memory.
 */
@Tag("multiprocess")
@Timeout(120)
class SeveralHostsTest {
    private static final List<String> HOSTS = List.of("treeattn-alpha", "treeattn-alpha", "treeattn-beta");

    private final Transcript transcript = new Transcript();
    private String jobId;

    @TempDir
    private Path directory;

    /** Directories and processes of the "other" hosts are to go, too. */
    @AfterEach
    void assertNothingLeft() throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
        while (System.nanoTime() - deadline < 0
                && !(left().isEmpty() && processes().isEmpty())) {
            TimeUnit.MILLISECONDS.sleep(10); // what a killed part leaves ends by itself, and nobody tells
        }
        assertEquals(List.of(), left());
        assertEquals(List.of(), processes());
    }

    private List<Path> left() throws IOException {
        try (Stream<Path> files = Files.list(SharedMemory.directory(3))) {
            return files.filter(file -> file.getFileName().toString().contains("-" + jobId + "."))
                    .toList();
        }
    }

    private RunningJob start(Launcher.Builder launcher) throws IOException, InterruptedException {
        RunningJob job = launcher.build().start();
        jobId = job.jobId();
        return job;
    }

    /** All that this test has started carries its directory in the environment. */
    private List<String> processes() {
        return ProcessHandle.allProcesses()
                .filter(process -> environment(process.pid()).contains("TREEATTN_TEST=" + directory))
                .map(process -> process.pid() + " " + process.info().command().orElse(""))
                .toList();
    }

    private static String environment(long pid) {
        try {
            return Files.readString(Path.of("/proc", Long.toString(pid), "environ"), StandardCharsets.ISO_8859_1);
        } catch (IOException ended) {
            return "";
        }
    }

    private List<String> ssh(String before) throws IOException {
        Path script = directory.resolve("ssh");
        Files.writeString(
                script,
                "#!/bin/sh\nexport TREEATTN_TEST=" + directory + "\nhost=$2\n" + before + "\nexec sh -c \"$3\"\n");
        Files.setPosixFilePermissions(script, PosixFilePermissions.fromString("rwx------"));
        return List.of(script.toString(), "-q");
    }

    private Launcher.Builder launcher(String... arguments) throws IOException {
        return launcherOf(LaunchedRank.class, arguments);
    }

    private Launcher.Builder launcherOf(Class<?> main, String... arguments) throws IOException {
        return Launcher.builder(HOSTS.size(), main.getName())
                .arguments(List.of(arguments))
                .jvmFlags(List.of("-Xmx64m", "-XX:TieredStopAtLevel=1"))
                .hosts(HOSTS)
                .ssh(ssh("echo 'Welcome to '$host; echo"))
                .masterAddress("127.0.0.1")
                .output(transcript);
    }

    @Test
    void shouldRunRanksOnSeveralHosts() throws Exception {
        RunningJob job = start(
                launcher("loop", "300", "say's \"so\" $HOME").input("for all of you".getBytes(StandardCharsets.UTF_8)));
        LaunchResult result = job.await();
        assertTrue(result.succeeded(), () -> result + "\n" + transcript);
        assertEquals(List.of(0, 0, 0), result.exitCodes());
        transcript.await("done 300", 3);
        transcript.await("argument say's \"so\" $HOME", 3);
        transcript.await("input for all of you", 3);
        transcript.await("2 hosts", 3);
    }

    @Test
    void shouldEndAllWhenARankOnAnotherHostIsKilled() throws Exception {
        try (RunningJob job = start(launcher("forever"))) {
            transcript.await("looping", 3);
            long pid = ((RemoteRank) job.ranks().get(2)).pid();
            long killed = System.currentTimeMillis();
            ProcessHandle.of(pid).orElseThrow().destroyForcibly();
            LaunchResult result = job.await();
            System.err.printf(
                    "kill -9 of a rank on another host: everything gone after %d ms%n",
                    System.currentTimeMillis() - killed);
            LaunchFailure failure = result.failure().orElseThrow();
            assertEquals(2, failure.rank(), failure::toString);
            assertEquals(137, result.exitCodes().get(2));
            transcript.failures().forEach(failed -> assertEquals(2, failed.failedRank(), failed::message));
            assertEquals(2, transcript.failures().size(), transcript::toString);
        }
    }

    @Test
    void shouldEndAllWhenTheConnectionToAHostIsLost() throws Exception {
        try (RunningJob job = start(launcher("forever"))) {
            transcript.await("looping", 3);
            long killed = System.currentTimeMillis();
            job.ranks().get(2).handle().destroyForcibly(); // here, the other host's part itself
            LaunchResult result = job.await();
            System.err.printf(
                    "kill -9 of another host's part of the launcher: the run ended after %d ms%n",
                    System.currentTimeMillis() - killed);
            LaunchFailure failure = result.failure().orElseThrow();
            assertTrue(
                    failure.kind() == Kind.HOST_LOST
                            || failure.kind() == Kind.GROUP_FAILED
                            || failure.kind() == Kind.RANK_EXITED,
                    failure::toString);
        }
    }

    @Test
    void shouldEndAllWhenARankOnAnotherHostIsStopped() throws Exception {
        Launcher.Builder launcher = launcher("forever")
                .control(ControlSettings.defaults().withHeartbeat(Duration.ofMillis(100), Duration.ofSeconds(3)));
        try (RunningJob job = start(launcher)) {
            transcript.await("looping", 3);
            String pid = Long.toString(((RemoteRank) job.ranks().get(2)).pid());
            long stopped = System.currentTimeMillis();
            assertEquals(0, new ProcessBuilder("kill", "-STOP", pid).start().waitFor());
            LaunchResult result = job.await();
            System.err.printf(
                    "SIGSTOP of a rank on another host, limit 3 s: everything gone after %d ms%n",
                    System.currentTimeMillis() - stopped);
            LaunchFailure failure = result.failure().orElseThrow();
            assertEquals(2, failure.rank(), failure::toString);
            assertTrue(failure.reason().contains("no sign of life for 3000 ms"), failure::toString);
        }
    }

    /** The survivors are on two hosts. */
    @Test
    void shouldGoOnWithoutARank() throws Exception {
        RunningJob job =
                start(launcherOf(ReformingRank.class, "SHRINK", "200", "2").whenRankIsLost(LostRank.GO_ON));
        transcript.await("looping in epoch 1", 3);
        kill(job, 0);
        LaunchResult result = job.await();
        assertEquals(new LaunchResult(List.of(137, 0, 0), Optional.empty()), result, transcript::toString);
        transcript.await("epoch 2 rank 0 of 2", 1);
        transcript.await("epoch 2 rank 1 of 2", 1);
    }

    private static void kill(RunningJob job, int rank) {
        long pid = ((RemoteRank) job.ranks().get(rank)).pid();
        ProcessHandle.of(pid).orElseThrow().destroyForcibly();
    }

    @Test
    void shouldReplaceARankOnItsHost() throws Exception {
        RunningJob job =
                start(launcherOf(ReformingRank.class, "REPLACE", "200", "2").whenRankIsLost(LostRank.REPLACE));
        transcript.await("looping in epoch 1", 3);
        kill(job, 2);
        LaunchResult result = job.await();
        assertEquals(new LaunchResult(List.of(0, 0, 0), Optional.empty()), result, transcript::toString);
        transcript.await("epoch 2 rank 2 of 3", 1);
        transcript.await("done", 3);
    }

    @Test
    void shouldSayWhatSshSaysWhenItCannotLogIn() throws Exception {
        IOException failure = assertThrows(IOException.class, () -> launcher("loop", "1")
                .ssh(ssh("[ $host = treeattn-beta ] && { echo 'Permission denied (publickey).' >&2; exit 255; }"))
                .build()
                .run());
        assertEquals(
                "host treeattn-beta: the connection to it ended with exit code 255; it printed: Permission denied"
                        + " (publickey).",
                failure.getMessage());
    }

    @Test
    void shouldNotWaitForAHostThatTakesNothingIn() throws Exception {
        byte[] moreThanAPipeHolds = new byte[1 << 20];
        NodePlan plan = new NodePlan(
                "job",
                1,
                "token",
                2,
                1,
                "127.0.0.1",
                1,
                Duration.ofSeconds(3),
                DataPlaneOptions.defaults(),
                new Program("Main", List.of(), "cp", List.of(), Map.of(), moreThanAPipeHolds));
        RemoteNode node = RemoteNode.open(ssh("sleep 1000"), "treeattn-beta", plan);
        assertThrows(IOException.class, () -> node.awaitReady(Duration.ofMillis(300)));
        ProcessHandle login = node.handle();
        node.close();
        login.onExit().get(20, TimeUnit.SECONDS);
    }

    @Test
    void shouldRunAsOneLauncherPerHostOverTcpAlone() throws Exception {
        InetSocketAddress master = new InetSocketAddress(InetAddress.getLoopbackAddress(), FreePorts.next());
        jobId = OneOfSeveral.jobId("a secret of both", "127.0.0.1", master.getPort());
        List<CompletableFuture<LaunchResult>> results = new ArrayList<>();
        for (int node = 0; node < 2; node++) {
            Launcher launcher = launcher("loop", "200")
                    .oneOfSeveral(node, master, "a secret of both")
                    .dataPlane(DataPlaneOptions.defaults().withLinks(DataPlaneOptions.Links.TCP_ONLY))
                    .build();
            results.add(CompletableFuture.supplyAsync(() -> {
                try {
                    return launcher.run();
                } catch (IOException | InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            }));
        }
        assertEquals(List.of(0, 0), results.get(0).get(60, TimeUnit.SECONDS).exitCodes(), transcript::toString);
        assertEquals(List.of(0), results.get(1).get(60, TimeUnit.SECONDS).exitCodes(), transcript::toString);
        transcript.await("2 hosts", 3);
        assertFalse(transcript.toString().contains("failed"), transcript::toString);
    }
}
