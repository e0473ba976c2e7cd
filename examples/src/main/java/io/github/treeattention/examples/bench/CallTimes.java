package io.github.treeattention.examples.bench;

import java.util.Arrays;

/** What is said of the times of many calls. */
public record CallTimes(double p50Micros, double p99Micros) {

    static CallTimes of(long[] nanos) {
        long[] sorted = nanos.clone();
        Arrays.sort(sorted);
        return new CallTimes(sorted[sorted.length / 2] / 1e3, sorted[(int) (0.99 * sorted.length)] / 1e3);
    }
}
