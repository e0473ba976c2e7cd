package io.github.treeattention.launch;

import java.util.List;
import java.util.Optional;

/**
 * How a run ended. Immutable.
 *
 * @param exitCodes of each rank, of its last process where it was replaced; 128 + n is signal n, which after a failure may
 *     be the launcher's own
 * @param failure what failed first; empty if all ranks ended with 0, or one of them where the run outlives lost ranks
 */
public record LaunchResult(List<Integer> exitCodes, Optional<LaunchFailure> failure) {

    public LaunchResult {
        exitCodes = List.copyOf(exitCodes);
    }

    public boolean succeeded() {
        return failure.isEmpty();
    }
}
