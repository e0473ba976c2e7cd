package io.github.treeattention.launch;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** A rank's process on another host, known by what that host's part of the launcher tells. */
final class RemoteRank implements RankProcess {
    private final int rank;
    private final RemoteNode node;
    private final CompletableFuture<Integer> exit = new CompletableFuture<>();
    private volatile long pid = -1;
    private volatile boolean killed;

    RemoteRank(int rank, RemoteNode node) {
        this.rank = rank;
        this.node = node;
    }

    void started(long itsPid) {
        pid = itsPid;
    }

    /** On its host; -1 until that is known. */
    long pid() {
        return pid;
    }

    void ended(int code) {
        exit.complete(code);
    }

    @Override
    public int rank() {
        return rank;
    }

    @Override
    public ProcessHandle handle() {
        return node.handle();
    }

    @Override
    public boolean is(String hostIdentity, long itsPid) {
        return pid == itsPid && hostIdentity.equals(node.host());
    }

    @Override
    public CompletableFuture<Integer> exit() {
        return exit;
    }

    @Override
    public boolean failed() {
        return !killed && exit.getNow(0) != 0;
    }

    @Override
    public int exitCode() {
        return exit.getNow(ExitCodes.KILLED);
    }

    @Override
    public void kill() {
        if (!exit.isDone()) {
            killed = true;
            node.kill(rank);
        }
    }

    /** Its end is told after all that it printed. */
    @Override
    public void drain(long deadlineNanos) {
        try {
            exit.get(Math.max(1, deadlineNanos - System.nanoTime()), TimeUnit.NANOSECONDS);
        } catch (TimeoutException | ExecutionException e) {
            return; // killed, and its host does not answer
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
