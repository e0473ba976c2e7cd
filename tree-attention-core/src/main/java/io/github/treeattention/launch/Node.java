package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import java.io.IOException;
import java.time.Duration;
import java.util.function.Consumer;

/** One host's part of a run, as its launcher sees it: what ranks there share, and how they are started. Thread-safe. */
interface Node extends AutoCloseable {

    /** Tells when it ends, or loses what its ranks share, without having been told to. */
    void onFailure(Consumer<Failure> listener);

    /** Returns when ranks can be started. */
    void awaitReady(Duration deadline) throws IOException, InterruptedException;

    RankProcess start(int rank, int localRank, RankOutput output) throws IOException;

    /** Ends and removes everything; returns when it is gone. */
    @Override
    void close();
}
