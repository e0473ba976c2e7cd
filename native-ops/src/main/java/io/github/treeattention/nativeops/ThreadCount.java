package io.github.treeattention.nativeops;

import java.util.List;
import java.util.Map;

/** How many threads a kernel call uses where nobody has said: this process' part of the host's cores. */
final class ThreadCount {
    /** Set for each process by torchrun and our launcher, by Open MPI, by Slurm. */
    static final List<String> RANKS_OF_HOST =
            List.of("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "SLURM_NTASKS_PER_NODE");

    private ThreadCount() {}

    /**
     * An even part of the host's cores for each rank on it, but not more than the process may use: a starter that pins its
     * ranks to cores, and a container's limit, have made the parts already.
     *
     * @param usable cores that this process may use
     * @param cores the host's
     */
    static int of(Map<String, String> environment, int usable, int cores) {
        int ranks = RANKS_OF_HOST.stream()
                .map(name -> environment.getOrDefault(name, ""))
                .filter(value -> value.matches("[1-9]\\d{0,5}"))
                .findFirst()
                .map(Integer::parseInt)
                .orElse(1);
        return Math.max(1, Math.min(usable, cores / ranks));
    }
}
