package io.github.treeattention.examples.cli;

import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.SequencePartition;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.model.LlamaConfig;
import java.util.Locale;
import java.util.OptionalLong;

/**
 * What a context takes.
 *
 * @param positions tokens of the prompt and of the answer
 * @param kvBytesPerRank bytes of the fullest rank's pages
 * @param kvBytes bytes of all ranks' pages
 * @param weightBytes bytes of the weights, which every rank holds
 */
record ContextSize(long positions, long kvBytesPerRank, long kvBytes, long weightBytes) {
    /** Roughly what a JVM with ND4J takes besides weights and KV. */
    private static final long PROCESS_BYTES = 250_000_000;

    static ContextSize of(RankSettings settings, long positions, LlamaConfig config, int ranks) {
        KvLayout layout = settings.layout(config);
        SequencePartition partition = new SequencePartition(settings.pageSize(), ranks);
        long pages = 0;
        for (int rank = 0; rank < ranks; rank++) {
            pages += partition.localPages(rank, positions);
        }
        return new ContextSize(
                positions,
                partition.localPages(0, positions) * layout.pageBytes(),
                pages * layout.pageBytes(),
                config.parameters() * Float.BYTES);
    }

    /** What a rank takes besides keys and values. */
    static long processBytes(long weightBytes) {
        return weightBytes + PROCESS_BYTES;
    }

    /** Fails if this host's memory cannot take so many of the ranks; says how much is needed and how much there is. */
    void requireMemory(int ranks) {
        OptionalLong available = Memory.available();
        long needed = Math.min(kvBytes, ranks * kvBytesPerRank) + ranks * processBytes(weightBytes);
        if (available.isPresent() && needed > available.getAsLong()) {
            throw new InputException(String.format(
                    Locale.ROOT,
                    "%d tokens (prompt and answer) on %d ranks of this host need %s: %s of keys and values, and %s a"
                            + " rank for weights and the process; there are %s free. Use a shorter prompt, fewer ranks or"
                            + " --kv-dtype bf16.",
                    positions,
                    ranks,
                    Memory.human(needed),
                    Memory.human(Math.min(kvBytes, ranks * kvBytesPerRank)),
                    Memory.human(processBytes(weightBytes)),
                    Memory.human(available.getAsLong())));
        }
    }
}
