package io.github.treeattention.collective;

import java.util.List;
import java.util.Objects;

/**
 * What the members of a group have measured of their links; the same at all of them. Immutable.
 *
 * @param links one of each kind that the group has, measured between its first two members that have it
 * @param cores of rank 0's host, which its members share
 */
public record Calibration(List<Link> links, int cores) {

    public Calibration {
        links = List.copyOf(Objects.requireNonNull(links, "links"));
        if (cores < 1) {
            throw new IllegalArgumentException("cores must be at least 1: got " + cores);
        }
    }

    /** Where a link leads. */
    public enum Kind {
        SAME_HOST,
        OTHER_HOST
    }

    /**
     * What a link costs.
     *
     * @param latencySeconds from one member's call to the other's result, for a message of a few bytes
     * @param bytesPerSecond of a long message beyond that
     */
    public record Link(Kind kind, double latencySeconds, double bytesPerSecond) {

        public Link {
            Objects.requireNonNull(kind, "kind");
            if (!(latencySeconds > 0) || !(bytesPerSecond > 0)) {
                throw new IllegalArgumentException("latency and rate must be positive: got " + latencySeconds
                        + " s and " + bytesPerSecond + " bytes/s");
            }
        }

        double seconds(double bytes) {
            return latencySeconds + bytes / bytesPerSecond;
        }
    }
}
