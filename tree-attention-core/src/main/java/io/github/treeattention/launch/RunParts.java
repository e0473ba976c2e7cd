package io.github.treeattention.launch;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** What a run is made of beside its ranks: a coordinator, and a part on every host. Whoever runs it decides when it ends. */
final class RunParts implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(RunParts.class);
    /** For the media drivers, and for logging in elsewhere. */
    private static final Duration READY_DEADLINE = Duration.ofSeconds(60);

    private final Placement placement;
    /** By number of the host; null where another launcher starts them. */
    private final List<Node> nodes = new ArrayList<>();
    /** Null in a launcher of several that is not the first. */
    private Coordinator coordinator;

    RunParts(Placement placement) {
        this.placement = placement;
    }

    void coordinate(Coordinator running) {
        coordinator = running;
    }

    /** Null where another launcher of the run has it. */
    Coordinator coordinator() {
        return coordinator;
    }

    /** @param node the part on the next host; null where another launcher has it */
    void add(Node node) {
        nodes.add(node);
    }

    /** Returns when ranks can be started on all hosts. */
    void awaitReady() throws IOException, InterruptedException {
        for (Node node : nodes) {
            if (node != null) {
                node.awaitReady(READY_DEADLINE);
            }
        }
    }

    /** Whether a rank is started from here. */
    boolean starts(int rank) {
        return nodes.get(placement.node(rank)) != null;
    }

    RankProcess start(int rank, RankOutput output) throws IOException {
        return nodes.get(placement.node(rank)).start(rank, placement.localRank(rank), output);
    }

    /** This host's part. */
    LocalNode here() {
        return nodes.stream()
                .filter(LocalNode.class::isInstance)
                .map(LocalNode.class::cast)
                .findFirst()
                .orElseThrow();
    }

    /** Ends and removes everything; each host takes a while, so all at once. */
    @Override
    public void close() {
        closeQuietly(coordinator);
        CompletableFuture.allOf(nodes.stream()
                        .filter(Objects::nonNull)
                        .map(node -> CompletableFuture.runAsync(
                                () -> closeQuietly(node), task -> DaemonThreads.named("treeattn-launcher-close")
                                        .newThread(task)
                                        .start()))
                        .toArray(CompletableFuture[]::new))
                .join();
    }

    private static void closeQuietly(AutoCloseable resource) {
        try {
            if (resource != null) {
                resource.close();
            }
        } catch (Exception e) {
            LOG.warn("A part of a run did not close", e);
        }
    }
}
