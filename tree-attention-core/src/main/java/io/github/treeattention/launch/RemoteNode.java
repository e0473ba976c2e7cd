package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.collective.CollectiveException;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Another host's part of a run: an ssh process here, {@link NodeMain} there. The same paths of JDK and class path must
 * exist there. Everything secret goes through standard input.
 */
final class RemoteNode implements Node {
    private static final Logger LOG = LoggerFactory.getLogger(RemoteNode.class);
    private static final int MAX_GREETING = 64 << 10;
    private static final int MAX_LINES = 20;
    /** Above what the other side takes to kill its ranks and to stop its driver. */
    private static final Duration CLOSE_DEADLINE = Duration.ofSeconds(8);
    /** Where nothing but a login has begun. */
    private static final Duration START_DEADLINE = Duration.ofSeconds(2);

    private final String name;
    private final Duration grace;
    private final Process ssh;
    private final DataOutputStream out;
    private final List<String> printed = new ArrayList<>();
    private final OutputPump errors;
    private final CompletableFuture<String> ready = new CompletableFuture<>();
    private final CompletableFuture<Failure> failure = new CompletableFuture<>();
    private final Map<Integer, RemoteRank> ranks = new ConcurrentHashMap<>();
    private volatile RankOutput output = (rank, stream, line) -> {};
    private volatile boolean closing;

    private RemoteNode(String name, Duration grace, Process ssh) {
        this.name = name;
        this.grace = grace;
        this.ssh = ssh;
        this.out = new DataOutputStream(new BufferedOutputStream(ssh.getOutputStream()));
        this.errors = OutputPump.start("treeattn-ssh-" + name, ssh.getErrorStream(), this::print);
    }

    /**
     * Connects to a host; it is not ready yet.
     *
     * @param command ssh with its options; host and command line are added
     */
    static RemoteNode open(List<String> command, String host, NodePlan plan) throws IOException {
        List<String> remote = JavaCommand.of(
                List.of("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-XX:-UsePerfData"),
                plan.program().classPath(),
                NodeMain.class,
                List.of());
        List<String> line = new ArrayList<>(command);
        line.add(host);
        line.add("exec " + remote.stream().map(RemoteNode::quote).collect(Collectors.joining(" ")));
        RemoteNode node = new RemoteNode(host, plan.gracePeriod(), new ProcessBuilder(line).start());
        DaemonThreads.named("treeattn-node-" + host)
                .newThread(() -> node.converse(plan))
                .start();
        return node;
    }

    /** As one word of a POSIX shell. */
    private static String quote(String word) {
        return "'" + word.replace("'", "'\\''") + "'";
    }

    private void print(String line) {
        LOG.warn("{}: {}", name, line);
        remember(line);
    }

    private synchronized void remember(String line) {
        if (printed.size() < MAX_LINES && !line.isBlank()) {
            printed.add(line);
        }
    }

    private void converse(NodePlan plan) {
        String reason;
        try {
            plan.write(out);
            DataInputStream in = new DataInputStream(new BufferedInputStream(ssh.getInputStream()));
            skipGreeting(in);
            while (true) {
                hear(NodeFrame.read(in));
            }
        } catch (IOException e) {
            reason = e.getMessage();
        }
        lost(reason);
    }

    private void skipGreeting(InputStream in) throws IOException {
        StringBuilder line = new StringBuilder();
        for (int count = 0; count < MAX_GREETING; count++) {
            int next = in.read();
            if (next < 0) {
                throw new IOException("it ended before it was there");
            }
            if (next != '\n') {
                line.append((char) next);
            } else if (line.toString().equals(NodeFrame.MARKER)) {
                return;
            } else {
                remember(new String(line.toString().getBytes(StandardCharsets.ISO_8859_1), StandardCharsets.UTF_8));
                line.setLength(0);
            }
        }
        throw new IOException("its shell prints too much at login");
    }

    private void hear(NodeFrame frame) throws IOException {
        RemoteRank rank = ranks.get(frame.number());
        if (rank == null && frame.type() != NodeFrame.Type.READY && frame.type() != NodeFrame.Type.FAILED) {
            throw new ProtocolException(frame.type() + " of rank " + frame.number() + ", which does not run there");
        }
        switch (frame.type()) {
            case READY -> ready.complete(frame.text());
            case FAILED -> fail(frame.text());
            case STARTED -> rank.started(frame.value());
            case STDOUT -> output.line(frame.number(), RankOutput.Stream.STDOUT, frame.text());
            case STDERR -> output.line(frame.number(), RankOutput.Stream.STDERR, frame.text());
            case EXITED -> rank.ended(frame.value());
            default -> throw new ProtocolException("a host must not say " + frame.type());
        }
    }

    private void lost(String reason) {
        boolean over = !ranks.isEmpty()
                && ranks.values().stream().allMatch(rank -> rank.exit().isDone());
        if (!closing && !over) {
            String ending = ended(Duration.ofSeconds(1))
                    ? "the connection to it ended with " + ExitCodes.describe(ssh.exitValue())
                    : "the connection to it broke (" + reason + ")";
            fail(ending);
        }
        ranks.values().forEach(rank -> rank.ended(ExitCodes.KILLED));
    }

    private void fail(String reason) {
        errors.join(200); // what explains it best may still be on its way
        String words;
        synchronized (this) {
            words = printed.isEmpty() ? "" : "; it printed: " + String.join("\n", printed);
        }
        String why = "host " + name + ": " + reason + words;
        ready.completeExceptionally(new IOException(why));
        failure.complete(new Failure(CollectiveException.UNKNOWN_RANK, why));
    }

    private boolean ended(Duration limit) {
        try {
            return ssh.waitFor(limit.toMillis(), TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return !ssh.isAlive();
        }
    }

    ProcessHandle handle() {
        return ssh.toHandle();
    }

    /** Under which its ranks appear in the run; empty until it is ready. */
    String host() {
        return ready.isCompletedExceptionally() ? "" : ready.getNow("");
    }

    @Override
    public void onFailure(Consumer<Failure> listener) {
        var unused = failure.thenAccept(listener);
    }

    @Override
    public void awaitReady(Duration deadline) throws IOException, InterruptedException {
        try {
            ready.get(deadline.toNanos(), TimeUnit.NANOSECONDS);
        } catch (ExecutionException e) {
            throw new IOException(e.getCause().getMessage(), e);
        } catch (TimeoutException e) {
            throw new IOException(
                    "host " + name + ": this launcher's part there must be ready within " + deadline.toSeconds()
                            + " s; can '"
                            + String.join(" ", ssh.info().command().stream().toList())
                            + "' log in there without a question?",
                    e);
        }
    }

    @Override
    public RankProcess start(int rank, int localRank, RankOutput to) throws IOException {
        output = to;
        RemoteRank process = new RemoteRank(rank, this);
        ranks.put(rank, process);
        new NodeFrame(NodeFrame.Type.START, rank, Integer.toString(localRank)).write(out);
        return process;
    }

    void kill(int rank) {
        try {
            new NodeFrame(NodeFrame.Type.KILL, rank, "").write(out);
        } catch (IOException e) {
            LOG.debug("Host {} cannot be told to kill rank {}", name, rank, e);
        }
    }

    private void endConversation() {
        try {
            ssh.getOutputStream().close();
        } catch (IOException e) {
            LOG.debug("The connection to host {} is gone", name, e);
        }
    }

    @Override
    public void close() {
        closing = true;
        // In a thread of its own: where the other side does not read, the one that writes the plan holds the stream.
        DaemonThreads.named("treeattn-node-close")
                .newThread(this::endConversation)
                .start();
        boolean there = !host().isEmpty();
        if (!ended(there ? grace.plus(CLOSE_DEADLINE) : START_DEADLINE)) {
            LOG.warn("Host {} did not end its part of the run in time: disconnected", name);
            ssh.descendants().forEach(ProcessHandle::destroyForcibly);
            ssh.destroyForcibly();
            ended(CLOSE_DEADLINE);
        }
    }
}
