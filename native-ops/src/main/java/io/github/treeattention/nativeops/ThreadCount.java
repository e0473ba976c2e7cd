package io.github.treeattention.nativeops;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** How many threads a kernel call uses: what somebody has said, else this process' part of the host's cores. */
final class ThreadCount {
    static final String VARIABLE = "TREE_ATTENTION_THREADS";

    /** Set for each process by torchrun and our launcher, by Open MPI, by Slurm. */
    static final List<String> RANKS_OF_HOST =
            List.of("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "SLURM_NTASKS_PER_NODE");

    private static final Pattern ALLOWED = Pattern.compile("(?m)^Cpus_allowed:\\s*([0-9a-f,]+)$");

    private ThreadCount() {}

    /** What a setting says; {@code name} is for the message where it is no number of threads. */
    static int parse(String name, String value) {
        if (!value.matches("[1-9]\\d{0,3}")) {
            throw new IllegalArgumentException(name + " must be a number of threads, 1..9999: got '" + value + "'");
        }
        return Integer.parseInt(value);
    }

    /**
     * An even part of the host's cores for each rank on it. Two things may leave less: cores that this process is pinned to
     * are taken as its own, since starters pin each rank; of a quota, which cgroups give to a container as a whole, each rank
     * takes an even part. A container that is confined to some cores ({@code --cpuset-cpus}) cannot be told from a pinned rank.
     *
     * @param pinned cores that this process may be scheduled on
     * @param usable cores that it may use: fewer than {@code pinned} where there is a quota
     * @param cores the host's
     */
    static int of(Map<String, String> environment, int pinned, int usable, int cores) {
        int ranks = RANKS_OF_HOST.stream()
                .map(name -> environment.getOrDefault(name, ""))
                .filter(value -> value.matches("[1-9]\\d{0,5}"))
                .findFirst()
                .map(Integer::parseInt)
                .orElse(1);
        return Math.max(1, usable < pinned ? usable / ranks : Math.min(pinned, cores / ranks));
    }

    /** Cores that this process may be scheduled on, or {@code otherwise} where the system does not tell. */
    static int pinned(int otherwise) {
        try {
            return pinned(Files.readString(Path.of("/proc/self/status")), otherwise);
        } catch (IOException untold) {
            return otherwise;
        }
    }

    static int pinned(String status, int otherwise) {
        Matcher allowed = ALLOWED.matcher(status);
        return allowed.find()
                ? allowed.group(1)
                        .chars()
                        .map(digit -> Integer.bitCount(Math.max(0, Character.digit(digit, 16))))
                        .sum()
                : otherwise;
    }
}
