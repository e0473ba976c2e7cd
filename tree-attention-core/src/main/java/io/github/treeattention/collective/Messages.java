package io.github.treeattention.collective;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Checks of what callers hand in, before anything is sent. */
final class Messages {
    private Messages() {}

    static void check(String name, ByteBuffer buffer) {
        if (!buffer.isDirect()) {
            throw new IllegalArgumentException(name + " must be a direct buffer: got one on the heap");
        }
        if (buffer.order() != ByteOrder.LITTLE_ENDIAN) {
            throw new IllegalArgumentException(name + " must be little-endian: got " + buffer.order());
        }
    }

    static void checkWritable(String name, ByteBuffer buffer) {
        check(name, buffer);
        if (buffer.isReadOnly()) {
            throw new IllegalArgumentException(name + " must be writable: got a read-only buffer");
        }
    }

    static void checkBlocks(String name, int length, int blockLength, int maxPayload) {
        if (blockLength < 1 || blockLength > maxPayload) {
            throw new IllegalArgumentException(
                    "blockLength must be 1.." + maxPayload + " to fit in a frame: got " + blockLength);
        }
        if (length % blockLength != 0) {
            throw new IllegalArgumentException(
                    name + " must be whole blocks of " + blockLength + " bytes: got " + length + " bytes");
        }
    }

    static void checkRank(String name, int rank, int worldSize) {
        if (rank < 0 || rank >= worldSize) {
            throw new IllegalArgumentException(name + " must be 0.." + (worldSize - 1) + ": got " + rank);
        }
    }

    static void checkParts(String whole, int length, String part, int partLength, int parts) {
        if (length != (long) parts * partLength) {
            throw new IllegalArgumentException(whole + " must be " + parts + " times " + part + ": " + whole + "="
                    + length + " bytes, " + part + "=" + partLength + " bytes");
        }
    }

    static void checkSelf(int rank, int destination, int source) {
        if (destination != source) {
            throw new IllegalArgumentException("a member that sends to itself must receive from itself: rank " + rank
                    + ", destination=" + destination + ", source=" + source);
        }
    }
}
