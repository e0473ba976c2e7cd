package io.github.treeattention.collective;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Measures one link of each kind by messages that go there and back. All members run it in step. */
final class Calibrator {
    private static final int SHORT_LENGTH = 8;
    private static final int LONG_LENGTH = 256 * 1024;
    /** How many messages tell how many more there is time for. */
    private static final int NEAR_TRIES = 20;

    private static final int FAR_TRIES = 1;
    private static final int MOST_SHORT = 300;
    private static final int MOST_LONG = 20;
    /** For one kind of link and length, about; slower links get fewer messages. */
    private static final double BUDGET_SECONDS = 0.02;

    private final GroupCommunicator group;
    private final HostLayout hosts;
    private final ByteBuffer figure = ByteBuffer.allocateDirect(Double.BYTES).order(ByteOrder.LITTLE_ENDIAN);

    Calibrator(GroupCommunicator group, HostLayout hosts) {
        this.group = group;
        this.hosts = hosts;
    }

    Calibration measure() {
        List<Calibration.Link> links = new ArrayList<>();
        int[] neighbours = hosts.firstNeighbours();
        if (neighbours.length == 2) {
            links.add(link(Calibration.Kind.SAME_HOST, neighbours[0], neighbours[1]));
        }
        if (hosts.severalHosts()) {
            links.add(link(Calibration.Kind.OTHER_HOST, hosts.leaders()[0], hosts.leaders()[1]));
        }
        int cores = (int) agreed(0, Runtime.getRuntime().availableProcessors());
        return new Calibration(links, cores);
    }

    private Calibration.Link link(Calibration.Kind kind, int from, int to) {
        int tries = kind == Calibration.Kind.SAME_HOST ? NEAR_TRIES : FAR_TRIES;
        double latency = oneWay(SHORT_LENGTH, from, to, tries, MOST_SHORT);
        double longer = oneWay(LONG_LENGTH, from, to, FAR_TRIES, MOST_LONG);
        // A busy machine may let the short message take longer than the long one.
        double perByte = Math.max(longer - latency, longer / 100) / LONG_LENGTH;
        return new Calibration.Link(kind, latency, 1 / perByte);
    }

    /** Half a round trip in seconds, as fast as the fastest quarter: what delays the rest is seldom the link. */
    private double oneWay(int length, int from, int to, int tries, int most) {
        ByteBuffer message = ByteBuffer.allocateDirect(length).order(ByteOrder.LITTLE_ENDIAN);
        double first = agreed(from, pingPongs(message, from, to, tries));
        int count = (int) Math.max(1, Math.min(most, BUDGET_SECONDS / (2 * first)));
        return agreed(from, pingPongs(message, from, to, count));
    }

    private double pingPongs(ByteBuffer message, int from, int to, int count) {
        long[] nanos = new long[count];
        for (int i = 0; i < count; i++) {
            long start = System.nanoTime();
            group.pingPong(message, from, to);
            nanos[i] = System.nanoTime() - start;
        }
        Arrays.sort(nanos);
        return Math.max(1, nanos[count / 4]) / 2e9;
    }

    private double agreed(int root, double value) {
        figure.putDouble(0, value);
        group.broadcast(figure, root);
        return figure.getDouble(0);
    }
}
