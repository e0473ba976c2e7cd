package io.github.treeattention.launch;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What other starters of processes call the variables of a {@link RankEnvironment}. A variable of our own name wins over
 * theirs; theirs are taken from one starter only, since they nest: a Slurm job may start Open MPI.
 */
final class SchedulerVariables {

    /** Names of one starter; a constant is written with a leading {@code =}. */
    private record Scheme(String rank, String worldSize, String localRank, String localWorldSize) {}

    /** Not one of Slurm's: worked out of two of them. */
    private static final String SLURM_LOCAL_SIZE = "SLURM_LOCAL_SIZE";

    private static final Pattern TASKS = Pattern.compile("(\\d{1,4})(?:\\(x(\\d{1,5})\\))?");

    private static final List<Scheme> SCHEMES = List.of(
            new Scheme(
                    "OMPI_COMM_WORLD_RANK",
                    "OMPI_COMM_WORLD_SIZE",
                    "OMPI_COMM_WORLD_LOCAL_RANK",
                    "OMPI_COMM_WORLD_LOCAL_SIZE"),
            new Scheme("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", SLURM_LOCAL_SIZE),
            // An indexed job knows no size: WORLD_SIZE goes into the pod's template. One rank a pod.
            new Scheme("JOB_COMPLETION_INDEX", RankEnvironment.WORLD_SIZE, "=0", "=1"));

    private SchedulerVariables() {}

    /** The environment with our names added where a scheduler has set its own. */
    static Map<String, String> translate(Map<String, String> environment) {
        if (environment.containsKey(RankEnvironment.RANK)) {
            return environment;
        }
        for (Scheme scheme : SCHEMES) {
            if (environment.containsKey(scheme.rank())) {
                Map<String, String> result = new HashMap<>();
                put(result, RankEnvironment.RANK, scheme.rank(), environment);
                put(result, RankEnvironment.WORLD_SIZE, scheme.worldSize(), environment);
                put(result, RankEnvironment.LOCAL_RANK, scheme.localRank(), environment);
                put(result, RankEnvironment.LOCAL_WORLD_SIZE, scheme.localWorldSize(), environment);
                result.putAll(environment);
                return result;
            }
        }
        return environment;
    }

    /** This node's number in lists such as {@code 2(x3),1}: three nodes with two tasks, one with one. */
    private static String slurmLocalSize(Map<String, String> environment) {
        String list = environment.getOrDefault("SLURM_STEP_TASKS_PER_NODE", environment.get("SLURM_TASKS_PER_NODE"));
        String node = environment.get("SLURM_NODEID");
        if (list == null || node == null || !node.matches("\\d{1,9}")) {
            return environment.get("SLURM_NTASKS_PER_NODE");
        }
        int left = Integer.parseInt(node);
        for (String part : list.split(",", -1)) {
            Matcher matcher = TASKS.matcher(part);
            if (!matcher.matches()) {
                return null;
            }
            left -= matcher.group(2) == null ? 1 : Integer.parseInt(matcher.group(2));
            if (left < 0) {
                return matcher.group(1);
            }
        }
        return null;
    }

    private static void put(Map<String, String> result, String name, String theirs, Map<String, String> environment) {
        String value = theirs.startsWith("=")
                ? theirs.substring(1)
                : theirs.equals(SLURM_LOCAL_SIZE) ? slurmLocalSize(environment) : environment.get(theirs);
        if (value != null) {
            result.put(name, value);
        }
    }
}
