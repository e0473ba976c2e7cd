package io.github.treeattention.testkit;

import java.util.SplittableRandom;

/** Random seeds that are printed, so that a failure can be replayed with {@code -Dtreeattention.seed=N}. */
public final class Seeds {
    private Seeds() {}

    /** A generator for one test; its seed is printed on standard output, where Surefire keeps it. */
    @SuppressWarnings("SystemOut")
    public static SplittableRandom random(String test) {
        long seed = Long.getLong("treeattention.seed", System.nanoTime());
        System.out.println(test + ": replay with -Dtreeattention.seed=" + seed);
        return new SplittableRandom(seed);
    }
}
