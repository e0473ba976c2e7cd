package io.github.treeattention.collective;

import java.util.List;
import java.util.Objects;

/**
 * How an all-reduce would go, as one member sees it. Immutable.
 *
 * @param algorithm what it uses, never {@link AllReduceAlgorithm#AUTO}
 * @param steps what this member does, in words and in order: {@code "reduce what rank 1 sends"}
 */
public record Route(AllReduceAlgorithm algorithm, List<String> steps) {

    public Route {
        Objects.requireNonNull(algorithm, "algorithm");
        steps = List.copyOf(steps);
    }
}
