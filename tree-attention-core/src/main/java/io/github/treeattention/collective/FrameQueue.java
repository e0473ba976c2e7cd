package io.github.treeattention.collective;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** A bounded queue of frames from one thread to one other thread. Memory is allocated slot by slot as it is first used. */
final class FrameQueue {
    private final ByteBuffer[] slots;
    private final int slotLength;

    /** Frames written; the sender alone changes it, after it has filled the slot. */
    private volatile long written;
    /** Frames read; the receiver alone changes it, after it is done with the slot. */
    private volatile long read;

    private volatile boolean senderLeft;
    private volatile boolean receiverLeft;

    FrameQueue(int capacity, int slotLength) {
        slots = new ByteBuffer[capacity];
        this.slotLength = slotLength;
    }

    boolean offer(ByteBuffer header, ByteBuffer payload) {
        if (receiverLeft) {
            throw new TransportException("the member has left the group", null);
        }
        long position = written;
        if (position - read == slots.length) {
            return false;
        }
        int index = (int) (position % slots.length);
        ByteBuffer slot = slots[index];
        if (slot == null) {
            slot = ByteBuffer.allocateDirect(slotLength).order(ByteOrder.LITTLE_ENDIAN);
            slots[index] = slot;
        }
        slot.clear();
        slot.put(0, header, header.position(), header.remaining());
        slot.put(header.remaining(), payload, payload.position(), payload.remaining());
        slot.limit(header.remaining() + payload.remaining());
        written = position + 1;
        return true;
    }

    boolean poll(Transport.FrameHandler handler) {
        long position = read;
        // The order matters: frames written before the sender left must still be found.
        boolean left = senderLeft;
        if (position == written) {
            if (left) {
                throw new TransportException("the member has left the group", null);
            }
            return false;
        }
        try {
            handler.onFrame(slots[(int) (position % slots.length)]);
        } finally {
            read = position + 1;
        }
        return true;
    }

    void leaveAsSender() {
        senderLeft = true;
    }

    void leaveAsReceiver() {
        receiverLeft = true;
    }
}
