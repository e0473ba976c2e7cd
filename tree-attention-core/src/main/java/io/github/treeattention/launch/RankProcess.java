package io.github.treeattention.launch;

import java.util.concurrent.CompletableFuture;

/** One rank's process, on whatever host, as its launcher sees it. Thread-safe. */
interface RankProcess {
    int rank();

    /** The process of this host that stands for it: its own, or the one that connects to its host. */
    ProcessHandle handle();

    /** Whether it is this process on that host. */
    boolean is(String hostIdentity, long pid);

    /** Completes with the exit code. */
    CompletableFuture<Integer> exit();

    /** Whether it ended by itself, with an exit code other than 0. */
    boolean failed();

    /** The exit code; that of SIGKILL for a process that even this has not ended yet. */
    int exitCode();

    /** Kills it and what it has started, if it is alive. */
    void kill();

    /** Waits until all it has printed is handed over, or the deadline has passed. */
    void drain(long deadlineNanos);
}
