package io.github.treeattention.launch;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Objects;

/**
 * What a rank process is told at its start, by environment variables with the names that torchrun uses. Immutable;
 * {@link #toString} leaves the token out.
 *
 * @param rank this process's number, {@code 0..worldSize-1} ({@code RANK})
 * @param worldSize processes of the run ({@code WORLD_SIZE})
 * @param localRank this process's number on its host ({@code LOCAL_RANK})
 * @param localWorldSize processes of the run on this host ({@code LOCAL_WORLD_SIZE})
 * @param masterAddress where the coordinator listens ({@code MASTER_ADDR})
 * @param masterPort its TCP port ({@code MASTER_PORT})
 * @param jobId name of the run, of letters, digits, {@code .}, {@code _} and {@code -} ({@code TREEATTN_JOB_ID})
 * @param token secret that all processes of the run share ({@code TREEATTN_TOKEN})
 * @param aeronDirectory directory of this host's media driver ({@code TREEATTN_AERON_DIR})
 * @param exitAfterAbort how long the process may go on once its group has failed, then it ends itself; zero is for ever
 *     ({@code TREEATTN_EXIT_AFTER_ABORT_MS}, optional)
 */
public record RankEnvironment(
        int rank,
        int worldSize,
        int localRank,
        int localWorldSize,
        String masterAddress,
        int masterPort,
        String jobId,
        String token,
        Path aeronDirectory,
        Duration exitAfterAbort) {

    static final String RANK = "RANK";
    static final String WORLD_SIZE = "WORLD_SIZE";
    static final String LOCAL_RANK = "LOCAL_RANK";
    static final String LOCAL_WORLD_SIZE = "LOCAL_WORLD_SIZE";
    static final String MASTER_ADDR = "MASTER_ADDR";
    static final String MASTER_PORT = "MASTER_PORT";
    static final String JOB_ID = "TREEATTN_JOB_ID";
    static final String TOKEN = "TREEATTN_TOKEN";
    static final String AERON_DIR = "TREEATTN_AERON_DIR";
    static final String EXIT_AFTER_ABORT = "TREEATTN_EXIT_AFTER_ABORT_MS";

    /** The most ranks of a run: what the data plane's stream ids have room for. */
    static final int MAX_WORLD_SIZE = 64;

    public RankEnvironment {
        Objects.requireNonNull(masterAddress, "masterAddress");
        Objects.requireNonNull(jobId, "jobId");
        Objects.requireNonNull(token, "token");
        Objects.requireNonNull(aeronDirectory, "aeronDirectory");
        Objects.requireNonNull(exitAfterAbort, "exitAfterAbort");
        check(WORLD_SIZE, worldSize, 1, MAX_WORLD_SIZE);
        check(RANK, rank, 0, worldSize - 1);
        check(LOCAL_WORLD_SIZE, localWorldSize, 1, worldSize);
        check(LOCAL_RANK, localRank, 0, localWorldSize - 1);
        check(MASTER_PORT, masterPort, 1, 65535);
        // It becomes a part of a directory's name.
        if (!jobId.matches("[A-Za-z0-9._-]{1,64}")) {
            throw new IllegalArgumentException(
                    JOB_ID + " must be 1 to 64 letters, digits, '.', '_' or '-': got '" + jobId + "'");
        }
    }

    /** The environment of this process. */
    public static RankEnvironment current() {
        return from(System.getenv());
    }

    /**
     * Reads environment variables. Where {@code RANK} is not set, rank and sizes are taken from the variables of Open MPI,
     * Slurm, or an indexed job of Kubernetes.
     *
     * @throws IllegalArgumentException if one is missing or malformed; the message names it
     */
    public static RankEnvironment from(Map<String, String> variables) {
        Map<String, String> environment = SchedulerVariables.translate(variables);
        return new RankEnvironment(
                integer(environment, RANK),
                integer(environment, WORLD_SIZE),
                integer(environment, LOCAL_RANK),
                integer(environment, LOCAL_WORLD_SIZE),
                text(environment, MASTER_ADDR),
                integer(environment, MASTER_PORT),
                text(environment, JOB_ID),
                text(environment, TOKEN),
                Path.of(text(environment, AERON_DIR)),
                Duration.ofMillis(
                        environment.containsKey(EXIT_AFTER_ABORT) ? integer(environment, EXIT_AFTER_ABORT) : 0));
    }

    /** The variables that {@link #from} reads back to an equal value. */
    Map<String, String> toVariables() {
        return Map.ofEntries(
                Map.entry(RANK, Integer.toString(rank)),
                Map.entry(WORLD_SIZE, Integer.toString(worldSize)),
                Map.entry(LOCAL_RANK, Integer.toString(localRank)),
                Map.entry(LOCAL_WORLD_SIZE, Integer.toString(localWorldSize)),
                Map.entry(MASTER_ADDR, masterAddress),
                Map.entry(MASTER_PORT, Integer.toString(masterPort)),
                Map.entry(JOB_ID, jobId),
                Map.entry(TOKEN, token),
                Map.entry(AERON_DIR, aeronDirectory.toString()),
                Map.entry(EXIT_AFTER_ABORT, Long.toString(exitAfterAbort.toMillis())));
    }

    @Override
    public String toString() {
        return "rank " + rank + " of " + worldSize + ", job " + jobId + ", coordinator " + masterAddress + ":"
                + masterPort;
    }

    private static String text(Map<String, String> environment, String name) {
        String value = environment.get(name);
        if (value == null || value.isBlank()) {
            throw new IllegalArgumentException(name + " must be set in the environment: got "
                    + (value == null ? "nothing" : "an empty value")
                    + " (is this process started by 'treeattn launch'?)");
        }
        return value.strip();
    }

    private static int integer(Map<String, String> environment, String name) {
        String value = text(environment, name);
        try {
            return Integer.parseInt(value);
        } catch (NumberFormatException e) {
            throw new IllegalArgumentException(name + " must be a whole number: got '" + value + "'", e);
        }
    }

    private static void check(String name, int value, int least, int most) {
        if (value < least || value > most) {
            throw new IllegalArgumentException(name + " must be " + least + ".." + most + ": got " + value);
        }
    }
}
