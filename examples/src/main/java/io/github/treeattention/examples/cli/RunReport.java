package io.github.treeattention.examples.cli;

import java.util.Comparator;
import java.util.List;

/**
 * What a run did.
 *
 * @param ids generated tokens, the prompt excluded
 * @param stopReason {@code stop_token}, {@code max_tokens} or {@code context_full}
 * @param promptTokens tokens of the prompt, begin-of-text included
 * @param prefillSeconds reading the prompt
 * @param decodeSeconds generating, after the first token
 * @param decodeSteps decoder steps in {@code decodeSeconds}
 * @param kernel description of rank 0's kernel
 * @param ranks counters of each rank, in rank order
 */
record RunReport(
        List<Integer> ids,
        String stopReason,
        int promptTokens,
        double prefillSeconds,
        double decodeSeconds,
        int decodeSteps,
        String kernel,
        List<Rank> ranks) {

    /**
     * Counters of one rank.
     *
     * @param kvBytes bytes of its KV pages at the end
     * @param prefillBytes payload bytes sent while reading the prompt
     * @param decodeBytes payload bytes sent while generating
     */
    record Rank(int rank, long kvBytes, long prefillBytes, long decodeBytes) {}

    RunReport {
        ids = List.copyOf(ids);
        ranks = ranks.stream().sorted(Comparator.comparingInt(Rank::rank)).toList();
    }

    double prefillTokensPerSecond() {
        return promptTokens / prefillSeconds;
    }

    /** Zero where nothing was decoded. */
    double decodeTokensPerSecond() {
        return decodeSteps == 0 ? 0 : decodeSteps / decodeSeconds;
    }

    long kvBytes() {
        return ranks.stream().mapToLong(Rank::kvBytes).sum();
    }

    /** Payload bytes that a rank sent per decoding step, on average over the ranks. */
    long bytesPerTokenAndRank() {
        long sent = ranks.stream().mapToLong(Rank::decodeBytes).sum();
        return decodeSteps == 0 ? 0 : sent / ((long) decodeSteps * ranks.size());
    }

    /**
     * What a rank would have sent per token had the keys and values gone round a ring: each of {@code p} shards makes
     * {@code p - 1} hops, so a rank sends {@code (p - 1) / p} of the whole cache for every token.
     */
    long ringBytesPerTokenAndRank() {
        return kvBytes() * (ranks.size() - 1) / ranks.size();
    }
}
