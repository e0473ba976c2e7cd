package io.github.treeattention.collective;

/**
 * How long an all-reduce takes, to compare algorithms by: what lies on its longest path, or what all messages together ask
 * of the cores that the members share, whichever is more. Reductions are counted as a part of their message.
 */
final class CostModel {
    /** Assumed where nothing was measured: shared memory, and some cores. */
    private static final Calibration.Link NOMINAL = new Calibration.Link(Calibration.Kind.SAME_HOST, 3e-6, 3e9);

    private static final int NOMINAL_CORES = 8;

    private final HostLayout hosts;
    private final int chunkLength;
    private final Calibration.Link link;
    private final int cores;

    /** @param measured null where nothing was measured */
    CostModel(HostLayout hosts, int chunkLength, Calibration measured) {
        this.hosts = hosts;
        this.chunkLength = chunkLength;
        link = slowest(hosts, measured);
        int known = measured == null ? NOMINAL_CORES : measured.cores();
        cores = hosts.severalHosts() ? hosts.worldSize() : known;
    }

    private static Calibration.Link slowest(HostLayout hosts, Calibration measured) {
        Calibration.Kind kind = hosts.severalHosts() ? Calibration.Kind.OTHER_HOST : Calibration.Kind.SAME_HOST;
        return measured == null
                ? NOMINAL
                : measured.links().stream()
                        .filter(one -> one.kind() == kind)
                        .findFirst()
                        .orElse(NOMINAL);
    }

    double seconds(AllReduceAlgorithm algorithm, int length) {
        int n = hosts.worldSize();
        int hops = 32 - Integer.numberOfLeadingZeros(n - 1);
        boolean power = Integer.bitCount(n) == 1;
        double whole = link.seconds(length);
        double path;
        int messages;
        switch (algorithm) {
            case STAR -> {
                // All messages pass the first member, one after another; their latencies overlap.
                path = 2 * link.seconds((double) (n - 1) * length);
                messages = 2 * (n - 1);
            }
            case CHAIN -> {
                // The first chunk goes all the way up and down, the others follow it closely.
                int first = Math.min(length, chunkLength);
                path = 2 * (n - 1) * link.seconds(first) + 2 * (length - first) / link.bytesPerSecond();
                messages = 2 * (n - 1);
            }
            case BINOMIAL_TREE -> {
                path = 2 * hops * whole;
                messages = 2 * (n - 1);
            }
            case RECURSIVE_DOUBLING -> {
                int q = Integer.highestOneBit(n);
                path = (power ? hops : hops + 1) * whole;
                messages = q * Integer.numberOfTrailingZeros(q) + 2 * (n - q);
            }
            default -> throw new IllegalStateException("no cost of " + algorithm);
        }
        return Math.max(path, messages * whole / cores);
    }
}
