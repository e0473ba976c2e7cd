package io.github.treeattention.collective;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.BitSet;

/**
 * The last words of a member that has failed. Without them only its neighbours would notice in time, and the others would
 * sit out their deadline and blame somebody else.
 */
final class Farewell {
    private final Transport transport;
    private final ByteBuffer header;
    private final ByteBuffer reason;
    private final BitSet untold;
    private int polled;

    /** @param untold members that have not been told; changed as they are */
    Farewell(Transport transport, FrameHeader header, int blamedRank, String why, BitSet untold) {
        this.transport = transport;
        this.untold = untold;
        byte[] bytes = why.getBytes(StandardCharsets.UTF_8);
        int most = Math.min(FrameHeader.MAX_REASON_LENGTH, transport.maxFrameLength() - FrameHeader.LENGTH);
        int length = Math.min(bytes.length, most);
        reason =
                ByteBuffer.allocateDirect(length).order(ByteOrder.LITTLE_ENDIAN).put(0, bytes, 0, length);
        this.header = header.encodeFarewell(blamedRank, length);
    }

    /**
     * Sends it to everybody once, and again for a while where a link is full. Meanwhile it throws away what still comes
     * in: a peer that cannot send would never get to read.
     */
    void say(long patienceNanos, int silentRank, Backoff backoff) {
        long start = System.nanoTime();
        backoff.reset();
        tellAll();
        if (silentRank >= 0) {
            untold.clear(silentRank);
        }
        while (!untold.isEmpty() && System.nanoTime() - start < patienceNanos) {
            drainAll();
            tellAll();
            backoff.pause();
        }
    }

    private void tellAll() {
        for (int peer = untold.nextSetBit(0); peer >= 0; peer = untold.nextSetBit(peer + 1)) {
            try {
                if (transport.offer(peer, header, reason)) {
                    untold.clear(peer);
                }
            } catch (TransportException gone) {
                untold.clear(peer);
            }
        }
    }

    private void drainAll() {
        for (int peer = untold.nextSetBit(0); peer >= 0; peer = untold.nextSetBit(peer + 1)) {
            polled = peer;
            try {
                transport.poll(peer, this::discard);
            } catch (TransportException gone) {
                untold.clear(peer);
            }
        }
    }

    /** A peer that says farewell itself reads no more. */
    private void discard(ByteBuffer frame) {
        if (FrameHeader.isFarewell(frame)) {
            untold.clear(polled);
        }
    }
}
