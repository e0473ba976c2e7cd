package io.github.treeattention.launch;

import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Main class of a launcher's part on another host: does what it is told on standard input, and ends all that it has
 * started when that ends, which it does when the launcher or the connection dies.
 */
final class NodeMain {
    private static final Logger LOG = LoggerFactory.getLogger(NodeMain.class);
    private static final Duration DRIVER_DEADLINE = Duration.ofSeconds(30);
    private static final Duration OUTPUT_DEADLINE = Duration.ofSeconds(1);
    /** How long the launcher may say nothing after the last rank has ended. */
    private static final Duration SILENCE = Duration.ofSeconds(30);

    private static final Duration KILL_DEADLINE = Duration.ofSeconds(2);

    private final DataOutputStream out;
    private final NodePlan plan;
    private final LocalNode node;
    private final Map<Integer, RankProcess> ranks = new ConcurrentHashMap<>();
    private final AtomicInteger started = new AtomicInteger();

    private boolean ended;

    private NodeMain(DataOutputStream out, NodePlan plan, LocalNode node) {
        this.out = out;
        this.plan = plan;
        this.node = node;
    }

    /** Runs until standard input ends. */
    public static void main(String[] args) throws Exception {
        DataOutputStream out = new DataOutputStream(new BufferedOutputStream(new FileOutputStream(FileDescriptor.out)));
        System.setOut(System.err); // nobody else may write between the frames
        out.write(("\n" + NodeFrame.MARKER + "\n").getBytes(StandardCharsets.US_ASCII));
        out.flush();
        DataInputStream in = new DataInputStream(System.in);
        NodePlan plan = NodePlan.read(in);
        int code = 1;
        try {
            NodeMain main = new NodeMain(out, plan, LocalNode.open(plan));
            Runtime.getRuntime().addShutdownHook(new Thread(() -> main.end(Duration.ZERO), "treeattn-node-shutdown"));
            try {
                main.serve(in);
                code = 0;
            } finally {
                main.end(plan.gracePeriod());
            }
        } catch (IOException | InterruptedException | RuntimeException e) {
            LOG.debug("This host's part of the run has ended", e);
            new NodeFrame(NodeFrame.Type.FAILED, -1, String.valueOf(e.getMessage())).write(out);
        }
        System.exit(code);
    }

    private void serve(DataInputStream in) throws IOException, InterruptedException {
        node.onFailure(cause -> tell(NodeFrame.Type.FAILED, -1, cause.reason()));
        node.awaitReady(DRIVER_DEADLINE);
        tell(NodeFrame.Type.READY, plan.node(), node.host());
        while (true) {
            NodeFrame frame;
            try {
                frame = NodeFrame.read(in);
            } catch (EOFException e) {
                return;
            }
            switch (frame.type()) {
                case START -> start(frame.number(), frame.value());
                case KILL -> {
                    RankProcess rank = ranks.get(frame.number());
                    if (rank != null) {
                        rank.kill();
                    }
                }
                default -> throw new ProtocolException("a launcher must not say " + frame.type());
            }
        }
    }

    private void start(int rank, int localRank) throws IOException {
        RankProcess process = node.start(
                rank,
                localRank,
                (who, stream, line) -> tell(
                        stream == RankOutput.Stream.STDOUT ? NodeFrame.Type.STDOUT : NodeFrame.Type.STDERR, who, line));
        ranks.put(rank, process);
        int number = started.incrementAndGet();
        tell(NodeFrame.Type.STARTED, rank, Long.toString(process.handle().pid()));
        var unused = process.exit().thenAcceptAsync(code -> {
            process.drain(System.nanoTime() + OUTPUT_DEADLINE.toNanos());
            // First, for the telling may block where the network is cut.
            CompletableFuture.delayedExecutor(SILENCE.toMillis(), TimeUnit.MILLISECONDS)
                    .execute(() -> endIfForgotten(number));
            tell(NodeFrame.Type.EXITED, rank, Integer.toString(code));
        });
    }

    /** A connection that a cut network has killed ends on neither side for hours; the ranks end long before. */
    private void endIfForgotten(int startedThen) {
        boolean idle = ranks.values().stream().allMatch(rank -> rank.exit().isDone());
        if (idle && started.get() == startedThen) {
            System.exit(0); // the hook removes everything
        }
    }

    private void tell(NodeFrame.Type type, int number, String text) {
        try {
            new NodeFrame(type, number, text).write(out);
        } catch (IOException e) {
            LOG.debug("The launcher did not hear {}", type, e); // standard input ends too
        }
    }

    /** Ranks see themselves that the launcher has gone, and get time to end. */
    private synchronized void end(Duration patience) {
        if (ended) {
            return;
        }
        ended = true;
        awaitExits(patience);
        ranks.values().forEach(RankProcess::kill);
        awaitExits(KILL_DEADLINE);
        node.close();
    }

    private void awaitExits(Duration limit) {
        CompletableFuture<?>[] exits =
                ranks.values().stream().map(RankProcess::exit).toArray(CompletableFuture[]::new);
        try {
            CompletableFuture.allOf(exits).get(limit.toNanos(), TimeUnit.NANOSECONDS);
        } catch (TimeoutException | ExecutionException e) {
            LOG.debug("Not all ranks have ended by themselves", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
