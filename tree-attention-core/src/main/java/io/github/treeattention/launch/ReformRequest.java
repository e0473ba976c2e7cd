package io.github.treeattention.launch;

import java.nio.ByteBuffer;
import java.time.Duration;

/**
 * Payload of REFORM: a survivor wants to go on.
 *
 * @param epoch the one that has failed
 * @param how who shall take part
 * @param patience how long the others may take; the shortest of all survivors' counts
 */
record ReformRequest(int epoch, Reform how, Duration patience) {
    private static final int LENGTH = 4 + 1 + 8;
    private static final long MOST_MILLIS = Duration.ofDays(1).toMillis();

    byte[] encode() {
        return ByteBuffer.allocate(LENGTH)
                .putInt(epoch)
                .put(how.code())
                .putLong(patience.toMillis())
                .array();
    }

    static ReformRequest decode(byte[] payload) throws ProtocolException {
        if (payload.length != LENGTH) {
            throw new ProtocolException("REFORM must have " + LENGTH + " bytes: got " + payload.length);
        }
        ByteBuffer in = ByteBuffer.wrap(payload);
        int epoch = in.getInt();
        Reform how = Reform.of(in.get());
        long millis = in.getLong();
        if (millis < 1 || millis > MOST_MILLIS) {
            throw new ProtocolException("REFORM's patience must be 1 ms to 1 day: got " + millis + " ms");
        }
        return new ReformRequest(epoch, how, Duration.ofMillis(millis));
    }
}
