package io.github.treeattention.collective;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLongArray;

/** What one member has counted. One thread writes, any may read. */
final class Counters {
    private static final int MESSAGES = 0;
    private static final int SAME_HOST_BYTES = 1;
    private static final int OTHER_HOST_BYTES = 2;
    private static final int CALLS = 3;
    private static final int WAITS = 4;
    /** From here on: nanoseconds waited for each rank. */
    private static final int WAITED = 5;

    private final HostLayout hosts;
    private final AtomicLongArray values;

    Counters(HostLayout hosts) {
        this.hosts = hosts;
        values = new AtomicLongArray(WAITED + hosts.worldSize());
    }

    void sent(int peer, int payloadBytes) {
        add(MESSAGES, 1);
        add(hosts.isLocal(peer) ? SAME_HOST_BYTES : OTHER_HOST_BYTES, payloadBytes);
    }

    void called() {
        add(CALLS, 1);
    }

    void waited(int peer, long nanos) {
        add(WAITS, 1);
        add(WAITED + peer, nanos);
    }

    /** Enough for one writer: whole values, seen by readers sooner or later. */
    private void add(int index, long amount) {
        values.setOpaque(index, values.getPlain(index) + amount);
    }

    Statistics snapshot() {
        List<Long> waited = new ArrayList<>();
        for (int rank = 0; rank < hosts.worldSize(); rank++) {
            waited.add(values.getOpaque(WAITED + rank));
        }
        long sameHost = values.getOpaque(SAME_HOST_BYTES);
        long otherHost = values.getOpaque(OTHER_HOST_BYTES);
        long messages = values.getOpaque(MESSAGES);
        long payload = sameHost + otherHost;
        Traffic traffic =
                new Traffic(payload, payload + FrameHeader.LENGTH * messages, messages, values.getOpaque(CALLS));
        return new Statistics(traffic, sameHost, otherHost, values.getOpaque(WAITS), waited);
    }

    /** Goes back to an earlier snapshot. */
    void restore(Statistics snapshot) {
        values.setOpaque(MESSAGES, snapshot.traffic().messages());
        values.setOpaque(SAME_HOST_BYTES, snapshot.sameHostBytes());
        values.setOpaque(OTHER_HOST_BYTES, snapshot.otherHostBytes());
        values.setOpaque(CALLS, snapshot.traffic().calls());
        values.setOpaque(WAITS, snapshot.waits());
        for (int rank = 0; rank < hosts.worldSize(); rank++) {
            values.setOpaque(WAITED + rank, snapshot.waitedNanos().get(rank));
        }
    }
}
