package io.github.treeattention.collective;

/**
 * Counters of one member since it joined. Immutable snapshot.
 *
 * @param payloadBytes bytes of callers' messages handed to the transport, without headers
 * @param wireBytes the same with frame headers
 * @param messages frames sent
 * @param calls collective operations completed
 */
public record Traffic(long payloadBytes, long wireBytes, long messages, long calls) {

    /** What was sent between an earlier snapshot and this one. */
    public Traffic since(Traffic earlier) {
        return new Traffic(
                payloadBytes - earlier.payloadBytes,
                wireBytes - earlier.wireBytes,
                messages - earlier.messages,
                calls - earlier.calls);
    }
}
