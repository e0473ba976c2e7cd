package io.github.treeattention.launch;

import java.time.Duration;
import java.util.Objects;

/**
 * The rhythm of the control plane. The coordinator's settings hold for all ranks. Immutable.
 *
 * @param heartbeatInterval between two signs of life
 * @param heartbeatLimit of silence, after which a process counts as failed; above long garbage collections
 * @param joinDeadline until when all ranks must have joined, from the start of the coordinator
 * @param handshakeDeadline how long a connection may take to prove itself
 */
public record ControlSettings(
        Duration heartbeatInterval, Duration heartbeatLimit, Duration joinDeadline, Duration handshakeDeadline) {

    public ControlSettings {
        positive("heartbeatInterval", heartbeatInterval);
        positive("heartbeatLimit", heartbeatLimit);
        positive("joinDeadline", joinDeadline);
        positive("handshakeDeadline", handshakeDeadline);
        if (heartbeatLimit.compareTo(heartbeatInterval.multipliedBy(2)) < 0) {
            throw new IllegalArgumentException("heartbeatLimit must be at least two intervals: limit=" + heartbeatLimit
                    + ", interval=" + heartbeatInterval);
        }
    }

    /** Heartbeats every 250 ms with a limit of 5 s, 60 s to join, 10 s for a handshake. */
    public static ControlSettings defaults() {
        return new ControlSettings(
                Duration.ofMillis(250), Duration.ofSeconds(5), Duration.ofSeconds(60), Duration.ofSeconds(10));
    }

    public ControlSettings withHeartbeat(Duration interval, Duration limit) {
        return new ControlSettings(interval, limit, joinDeadline, handshakeDeadline);
    }

    public ControlSettings withJoinDeadline(Duration deadline) {
        return new ControlSettings(heartbeatInterval, heartbeatLimit, deadline, handshakeDeadline);
    }

    public ControlSettings withHandshakeDeadline(Duration deadline) {
        return new ControlSettings(heartbeatInterval, heartbeatLimit, joinDeadline, deadline);
    }

    private static void positive(String name, Duration value) {
        Objects.requireNonNull(value, name);
        if (value.toMillis() < 1) {
            throw new IllegalArgumentException(name + " must be at least 1 ms: got " + value);
        }
    }
}
