package io.github.treeattention.launch;

import io.github.treeattention.collective.dataplane.DataPlaneOptions;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
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
 * @param launched whether a launcher has started what the ranks of a host share ({@code TREEATTN_AERON_DIR} is set); if not,
 *     {@link RankSession#join} does it
 * @param dataPlane how ranks are linked (variables of its own, optional)
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
        Duration exitAfterAbort,
        boolean launched,
        DataPlaneOptions dataPlane) {

    static final String RANK = "RANK";
    static final String WORLD_SIZE = "WORLD_SIZE";
    static final String LOCAL_RANK = "LOCAL_RANK";
    static final String LOCAL_WORLD_SIZE = "LOCAL_WORLD_SIZE";
    static final String MASTER_ADDR = "MASTER_ADDR";
    static final String MASTER_PORT = "MASTER_PORT";
    static final String JOB_ID = "TREEATTN_JOB_ID";
    static final String TOKEN = "TREEATTN_TOKEN";
    static final String AERON_DIR = "TREEATTN_AERON_DIR";
    /** File with what the launcher was given for the ranks; no part of this record. */
    static final String INPUT = "TREEATTN_INPUT";

    static final String EXIT_AFTER_ABORT = "TREEATTN_EXIT_AFTER_ABORT_MS";

    private static final int DEFAULT_MASTER_PORT = 29500;

    /** The most ranks of a run: what the data plane's stream ids have room for. */
    static final int MAX_WORLD_SIZE = 64;

    public RankEnvironment {
        Objects.requireNonNull(masterAddress, "masterAddress");
        Objects.requireNonNull(jobId, "jobId");
        Objects.requireNonNull(token, "token");
        Objects.requireNonNull(aeronDirectory, "aeronDirectory");
        Objects.requireNonNull(exitAfterAbort, "exitAfterAbort");
        Objects.requireNonNull(dataPlane, "dataPlane");
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
     * The file with what the launcher was given for all ranks ({@link Launcher.Builder#input}).
     *
     * @throws IllegalStateException if it was given nothing
     */
    public static Path input() {
        String path = System.getenv(INPUT);
        if (path == null) {
            throw new IllegalStateException(
                    INPUT + " must be set in the environment: this process is started by a launcher that has input");
        }
        return Path.of(path);
    }

    /**
     * Reads environment variables. Where {@code RANK} is not set, rank and sizes are taken from the variables of Open MPI,
     * Slurm, or an indexed job of Kubernetes. Without a launcher of ours, {@code MASTER_ADDR} (an address of rank 0's host) and
     * {@code TREEATTN_TOKEN} (a secret of this run) must be set all the same.
     *
     * @throws IllegalArgumentException if one is missing or malformed; the message names it
     */
    public static RankEnvironment from(Map<String, String> variables) {
        Map<String, String> environment = SchedulerVariables.translate(variables);
        boolean launched = environment.containsKey(AERON_DIR);
        int localWorldSize = integer(environment, LOCAL_WORLD_SIZE);
        int worldSize = integer(environment, WORLD_SIZE);
        DataPlaneOptions dataPlane = DataPlaneOptions.from(environment);
        String masterAddress = text(environment, MASTER_ADDR);
        int masterPort = launched || environment.containsKey(MASTER_PORT)
                ? integer(environment, MASTER_PORT)
                : DEFAULT_MASTER_PORT;
        String token = text(environment, TOKEN);
        String jobId = launched || environment.containsKey(JOB_ID)
                ? text(environment, JOB_ID)
                : OneOfSeveral.jobId(token, masterAddress, masterPort);
        return new RankEnvironment(
                integer(environment, RANK),
                worldSize,
                integer(environment, LOCAL_RANK),
                localWorldSize,
                masterAddress,
                masterPort,
                jobId,
                token,
                launched
                        ? Path.of(text(environment, AERON_DIR))
                        : JobDirectory.pathOf(jobId, dataPlane.requiredBytes(localWorldSize, worldSize))
                                .resolve("aeron"),
                Duration.ofMillis(
                        environment.containsKey(EXIT_AFTER_ABORT) ? integer(environment, EXIT_AFTER_ABORT) : 0),
                launched,
                dataPlane);
    }

    /** The variables that {@link #from} reads back to an equal value. */
    Map<String, String> toVariables() {
        Map<String, String> variables = new HashMap<>(dataPlane.toVariables());
        variables.putAll(Map.ofEntries(
                Map.entry(RANK, Integer.toString(rank)),
                Map.entry(WORLD_SIZE, Integer.toString(worldSize)),
                Map.entry(LOCAL_RANK, Integer.toString(localRank)),
                Map.entry(LOCAL_WORLD_SIZE, Integer.toString(localWorldSize)),
                Map.entry(MASTER_ADDR, masterAddress),
                Map.entry(MASTER_PORT, Integer.toString(masterPort)),
                Map.entry(JOB_ID, jobId),
                Map.entry(TOKEN, token),
                Map.entry(AERON_DIR, aeronDirectory.toString()),
                Map.entry(EXIT_AFTER_ABORT, Long.toString(exitAfterAbort.toMillis()))));
        return variables;
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
                    + " (is this process started by 'treeattn launch'? otherwise see docs/deployment.md)");
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
