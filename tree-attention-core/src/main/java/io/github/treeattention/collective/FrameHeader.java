package io.github.treeattention.collective;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/**
 * The 32 bytes before each frame's payload, little-endian:
 *
 * <pre>
 *   0       2       3       4               8                              16
 *  +-------+-------+-------+---------------+------------------------------+
 *  | magic |version| kind  |     epoch     |           sequence           |
 *  |  u16  |  u8   |  u8   |      u32      |             u64              |
 *  +-------+-------+-------+-------+-------+---------------+--------------+
 *  |   group tag   |sender | flags | algo- |    offset     |    length    |
 *  |      u32      |  u16  |  u8   | rithm |      u32      |     u32      |
 *  +---------------+-------+-------+-------+---------------+--------------+
 *  16              20      22      23      24              28            32
 * </pre>
 *
 * Sequence is the number of the operation in its epoch, the group tag a hash of the group's id, offset the place of the
 * payload in the operation's message, length the payload's bytes. Flag bit 0 marks the last frame of a transfer.
 * A receiver knows what each field of its next frame must be, so it compares and never trusts.
 */
final class FrameHeader {
    static final int LENGTH = 32;
    static final short MAGIC = 0x4154; // "TA" in memory
    static final byte VERSION = 1;
    static final byte LAST = 1;
    static final int MAX_SENDER = 0xFFFF;
    static final int MAX_REASON_LENGTH = 512;

    static final int MAGIC_AT = 0;
    static final int VERSION_AT = 2;
    static final int KIND_AT = 3;
    static final int EPOCH_AT = 4;
    static final int SEQUENCE_AT = 8;
    static final int GROUP_AT = 16;
    static final int SENDER_AT = 20;
    static final int FLAGS_AT = 22;
    static final int ALGORITHM_AT = 23;
    static final int OFFSET_AT = 24;
    static final int LENGTH_AT = 28;

    private final ByteBuffer bytes = ByteBuffer.allocateDirect(LENGTH).order(ByteOrder.LITTLE_ENDIAN);
    private final int epoch;
    private final int groupTag;

    private long sequence;
    private byte kind;
    private byte algorithm;

    FrameHeader(ProcessGroup group) {
        epoch = group.epoch();
        groupTag = Long.hashCode(group.groupId());
        bytes.putShort(MAGIC_AT, MAGIC);
        bytes.put(VERSION_AT, VERSION);
        bytes.putInt(EPOCH_AT, epoch);
        bytes.putInt(GROUP_AT, groupTag);
        bytes.putShort(SENDER_AT, (short) group.rank());
    }

    /** Fixes what all frames of one operation share, both those sent and those expected. */
    void begin(Operation operation, int algorithmCode, long number) {
        kind = operation.code();
        algorithm = (byte) algorithmCode;
        sequence = number;
        bytes.put(KIND_AT, kind);
        bytes.put(ALGORITHM_AT, algorithm);
        bytes.putLong(SEQUENCE_AT, sequence);
    }

    /** The header of the next frame to send; valid until the next call. */
    ByteBuffer encode(int offset, int length, boolean last) {
        bytes.put(FLAGS_AT, last ? LAST : 0);
        bytes.putInt(OFFSET_AT, offset);
        bytes.putInt(LENGTH_AT, length);
        return bytes;
    }

    /** The header of this member's last frame, in which it says whom it blames; nothing may be encoded afterwards. */
    ByteBuffer encodeFarewell(int blamedRank, int length) {
        bytes.put(KIND_AT, Operation.FAREWELL.code());
        return encode(blamedRank, length, true);
    }

    /**
     * Compares a received frame with the only one that may come now.
     *
     * @throws ProtocolException naming the first field that differs
     * @throws FarewellException if the sender has failed and says so
     */
    void check(ByteBuffer frame, int sender, int offset, int length, boolean last) {
        checkOrigin(frame, sender);
        int at = frame.position();
        checkOperation(frame, at);
        int itsOffset = frame.getInt(at + OFFSET_AT);
        require("offset must continue the message", itsOffset == offset, offset, itsOffset);
        int itsLength = frame.getInt(at + LENGTH_AT);
        require("payload length must match", itsLength == length, length, itsLength);
        int actual = frame.remaining() - LENGTH;
        require("payload must be complete", actual == length, length, actual);
        byte flags = frame.get(at + FLAGS_AT);
        require("messages must be equally long: last-frame flag", flags == (last ? LAST : 0), last ? LAST : 0, flags);
    }

    /**
     * Checks only that a frame is one of this group's member's.
     *
     * @throws ProtocolException naming the first field that differs
     * @throws FarewellException if the sender has failed and says so
     */
    void checkOrigin(ByteBuffer frame, int sender) {
        int at = frame.position();
        require("frame length must hold a header", frame.remaining() >= LENGTH, LENGTH, frame.remaining());
        short magic = frame.getShort(at + MAGIC_AT);
        require("magic must match", magic == MAGIC, MAGIC, magic);
        byte version = frame.get(at + VERSION_AT);
        require("protocol version must match", version == VERSION, VERSION, version);
        int group = frame.getInt(at + GROUP_AT);
        require("group must match", group == groupTag, groupTag, group);
        int itsEpoch = frame.getInt(at + EPOCH_AT);
        require("epoch must match", itsEpoch == epoch, epoch, itsEpoch);
        int itsSender = Short.toUnsignedInt(frame.getShort(at + SENDER_AT));
        require("sender must be the link's rank", itsSender == sender, sender, itsSender);
        if (isFarewell(frame)) {
            throw farewell(frame, at);
        }
    }

    private void checkOperation(ByteBuffer frame, int at) {
        byte itsKind = frame.get(at + KIND_AT);
        long itsSequence = frame.getLong(at + SEQUENCE_AT);
        if (itsKind != kind || itsSequence != sequence) {
            throw new ProtocolException(
                    "members must call the same operations in the same order",
                    Operation.describe(kind) + " #" + sequence,
                    Operation.describe(itsKind) + " #" + itsSequence);
        }
        byte itsAlgorithm = frame.get(at + ALGORITHM_AT);
        require("members must use the same algorithm", itsAlgorithm == algorithm, algorithm, itsAlgorithm);
    }

    /** Whether a frame, of whatever origin, says that it is somebody's last. */
    static boolean isFarewell(ByteBuffer frame) {
        return frame.remaining() >= LENGTH && frame.get(frame.position() + KIND_AT) == Operation.FAREWELL.code();
    }

    private static RuntimeException farewell(ByteBuffer frame, int at) {
        int length = frame.remaining() - LENGTH;
        if (length > MAX_REASON_LENGTH || frame.getInt(at + LENGTH_AT) != length) {
            return new ProtocolException("a farewell must be short and complete", MAX_REASON_LENGTH, length);
        }
        byte[] reason = new byte[length];
        frame.get(at + LENGTH, reason);
        return new FarewellException(frame.getInt(at + OFFSET_AT), new String(reason, StandardCharsets.UTF_8));
    }

    private static void require(String rule, boolean holds, int wanted, int got) {
        if (!holds) {
            throw new ProtocolException(rule, wanted, got);
        }
    }
}
