package io.github.treeattention.launch;

import java.time.Duration;
import java.util.List;

/** A launcher that a test kills: prints what it has started, then waits for the end of its run. */
final class LaunchingProcess {
    private LaunchingProcess() {}

    /**
     * Runs a launcher.
     *
     * @param args grace period in milliseconds, number of ranks, then arguments of the ranks
     */
    public static void main(String[] args) throws Exception {
        int ranks = Integer.parseInt(args[1]);
        RunningJob job = Launcher.builder(ranks, LaunchedRank.class.getName())
                .arguments(List.of(args).subList(2, args.length))
                .jvmFlags(List.of("-Xmx64m", "-XX:TieredStopAtLevel=1"))
                .gracePeriod(Duration.ofMillis(Long.parseLong(args[0])))
                .control(ControlSettings.defaults()
                        .withHeartbeat(
                                Duration.ofMillis(100), Duration.ofMillis(Long.getLong("test.heartbeat.limit", 5_000))))
                .build()
                .start();
        StringBuilder pids = new StringBuilder("pids " + job.driver().handle().pid());
        job.ranks().forEach(rank -> pids.append(' ').append(rank.handle().pid()));
        System.out.println("directory " + job.directory().path());
        System.out.println(pids);
        LaunchResult result = job.await();
        System.out.println(result.failure().map(LaunchFailure::toString).orElse("all well"));
        System.exit(result.succeeded() ? 0 : ExitCodes.GROUP_FAILED);
    }
}
