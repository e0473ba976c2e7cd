package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.ProcessGroup;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Payloads of the coordinator's answers. */
final class Verdict {
    private static final int MAX_REASON = 4096;

    private Verdict() {}

    /**
     * Payload of ACCEPTED: the coordinator's rhythm, which ranks follow.
     *
     * @param interval between two heartbeats
     * @param limit of silence
     * @param reforms whether survivors of a failure may form the next epoch
     */
    record Rhythm(Duration interval, Duration limit, boolean reforms) {
        private static final int LENGTH = 8 + 8 + 1;
        private static final long MOST_MILLIS = Duration.ofDays(1).toMillis();

        byte[] encode() {
            return ByteBuffer.allocate(LENGTH)
                    .putLong(interval.toMillis())
                    .putLong(limit.toMillis())
                    .put((byte) (reforms ? 1 : 0))
                    .array();
        }

        static Rhythm decode(byte[] payload) throws ProtocolException {
            if (payload.length != LENGTH) {
                throw new ProtocolException("ACCEPTED must have " + LENGTH + " bytes: got " + payload.length);
            }
            ByteBuffer in = ByteBuffer.wrap(payload);
            long interval = in.getLong();
            long limit = in.getLong();
            if (interval < 1 || limit <= interval || limit > MOST_MILLIS) {
                throw new ProtocolException("heartbeats must come every 1 ms or more, and sooner than their limit of at"
                        + " most a day: got every " + interval + " ms, limit " + limit + " ms");
            }
            return new Rhythm(Duration.ofMillis(interval), Duration.ofMillis(limit), in.get() != 0);
        }
    }

    /** Payload of WELCOME: the group, and the receiver's number in it. */
    record Members(int rank, int epoch, long groupId, List<String> hosts, List<String> endpoints) {
        static final int FIXED_LENGTH = 4 + 4 + 8 + 4;
        /** A text's length, before it. */
        static final int TEXT_OVERHEAD = 2;

        byte[] encode() {
            List<byte[]> names = new ArrayList<>();
            int length = FIXED_LENGTH;
            for (int member = 0; member < hosts.size(); member++) {
                for (String text : List.of(hosts.get(member), endpoints.get(member))) {
                    byte[] name = text.getBytes(StandardCharsets.UTF_8);
                    names.add(name);
                    length += TEXT_OVERHEAD + name.length;
                }
            }
            ByteBuffer out = ByteBuffer.allocate(length);
            out.putInt(rank).putInt(epoch).putLong(groupId).putInt(hosts.size());
            for (byte[] name : names) {
                out.putShort((short) name.length).put(name);
            }
            return out.array();
        }

        ProcessGroup group() {
            return new ProcessGroup(rank, hosts, epoch, groupId);
        }

        static Members decode(byte[] payload) throws ProtocolException {
            ByteBuffer in = ByteBuffer.wrap(payload);
            if (payload.length < FIXED_LENGTH) {
                throw new ProtocolException(
                        "WELCOME must have at least " + FIXED_LENGTH + " bytes: got " + payload.length);
            }
            int me = in.getInt();
            int epoch = in.getInt();
            long groupId = in.getLong();
            int size = in.getInt();
            List<String> hosts = new ArrayList<>();
            List<String> endpoints = new ArrayList<>();
            for (int rank = 0; rank < size; rank++) {
                hosts.add(text(in, rank));
                endpoints.add(text(in, rank));
            }
            if (me < 0 || me >= size || epoch < 0) {
                throw new ProtocolException("WELCOME must name a rank of 0.." + (size - 1) + " and an epoch: got rank "
                        + me + " and epoch " + epoch);
            }
            return new Members(me, epoch, groupId, hosts, endpoints);
        }

        private static String text(ByteBuffer in, int rank) throws ProtocolException {
            int length = in.remaining() < 2 ? -1 : Short.toUnsignedInt(in.getShort());
            if (length < 0 || length > in.remaining()) {
                throw new ProtocolException("WELCOME ends in the host of rank " + rank);
            }
            byte[] name = new byte[length];
            in.get(name);
            return new String(name, StandardCharsets.UTF_8);
        }
    }

    /** Payload of ABORT: which epoch has failed, and why. */
    record Abort(int epoch, AbortSignal.Failure failure) {
        private static final int FIXED_LENGTH = 4 + 4;

        byte[] encode() {
            byte[] reason = Verdict.encode(failure.reason());
            return ByteBuffer.allocate(FIXED_LENGTH + reason.length)
                    .putInt(epoch)
                    .putInt(failure.rank())
                    .put(reason)
                    .array();
        }

        static Abort decode(byte[] payload) throws ProtocolException {
            if (payload.length < FIXED_LENGTH) {
                throw new ProtocolException(
                        "ABORT must have at least " + FIXED_LENGTH + " bytes: got " + payload.length);
            }
            ByteBuffer in = ByteBuffer.wrap(payload);
            return new Abort(
                    in.getInt(),
                    new AbortSignal.Failure(
                            in.getInt(), decodeReason(Arrays.copyOfRange(payload, FIXED_LENGTH, payload.length))));
        }
    }

    /** Payload of REFUSED. */
    static byte[] encode(String reason) {
        return reason.substring(0, Math.min(reason.length(), MAX_REASON)).getBytes(StandardCharsets.UTF_8);
    }

    static String decodeReason(byte[] payload) {
        return new String(payload, StandardCharsets.UTF_8);
    }
}
