package io.github.treeattention.collective;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** A member with a fault: what it sends to one other member, from one frame on, goes wrong. */
final class FaultyTransport implements Transport {

    /** What goes wrong. */
    enum Fault {
        /** One frame is lost. */
        DROP,
        /** One frame comes twice. */
        DUPLICATE,
        /** One frame is held back for many offers, then sent. */
        DELAY,
        /** One frame loses its last bytes. */
        TRUNCATE,
        /** One frame is changed by {@link #patch}. */
        PATCH,
        /** The member falls silent for good: it neither sends nor reads, and does not know it. */
        SILENCE,
        /** The member goes on sending and never reads. */
        NEVER_READ,
        /** The member closes its links. */
        LEAVE
    }

    /** Changes a frame. */
    @FunctionalInterface
    interface Patch {
        void apply(ByteBuffer frame);
    }

    private static final ByteBuffer NOTHING = ByteBuffer.allocateDirect(0);
    private static final int DELAYED_OFFERS = 1_000;

    private final Transport delegate;
    private final Fault fault;
    private final int destination;
    private final int frame;
    private final Patch patch;
    private int sent;
    private int held;
    private boolean silent;

    /** @param frame number of the frame to the destination at which the fault strikes, from 0 */
    FaultyTransport(Transport delegate, Fault fault, int destination, int frame, Patch patch) {
        this.delegate = delegate;
        this.fault = fault;
        this.destination = destination;
        this.frame = frame;
        this.patch = patch;
    }

    @Override
    public int maxFrameLength() {
        return delegate.maxFrameLength();
    }

    @Override
    public boolean offer(int peer, ByteBuffer header, ByteBuffer payload) {
        if (silent) {
            return true;
        }
        if (peer != destination || sent != frame) {
            boolean taken = delegate.offer(peer, header, payload);
            sent += taken && peer == destination ? 1 : 0;
            return taken;
        }
        boolean taken = offerFaulty(peer, header, payload);
        sent += taken ? 1 : 0;
        return taken;
    }

    private boolean offerFaulty(int peer, ByteBuffer header, ByteBuffer payload) {
        switch (fault) {
            case DROP -> {
                return true;
            }
            case DUPLICATE -> {
                if (!delegate.offer(peer, header, payload)) {
                    return false;
                }
                while (!delegate.offer(peer, header, payload)) {
                    Thread.onSpinWait();
                }
                return true;
            }
            case DELAY -> {
                return ++held > DELAYED_OFFERS && delegate.offer(peer, header, payload);
            }
            case SILENCE -> {
                silent = true;
                return true;
            }
            case LEAVE -> {
                delegate.close();
                throw new TransportException("injected: left the group", null);
            }
            case TRUNCATE, PATCH -> {
                return delegate.offer(peer, faulty(header, payload), NOTHING);
            }
            default -> {
                return delegate.offer(peer, header, payload);
            }
        }
    }

    private ByteBuffer faulty(ByteBuffer header, ByteBuffer payload) {
        ByteBuffer copy = ByteBuffer.allocateDirect(header.remaining() + payload.remaining())
                .order(ByteOrder.LITTLE_ENDIAN);
        copy.put(0, header, header.position(), header.remaining());
        copy.put(header.remaining(), payload, payload.position(), payload.remaining());
        if (fault == Fault.TRUNCATE) {
            return copy.limit(copy.capacity() - 4);
        }
        patch.apply(copy);
        return copy;
    }

    @Override
    public boolean poll(int source, FrameHandler handler) {
        return !silent && fault != Fault.NEVER_READ && delegate.poll(source, handler);
    }

    @Override
    public void close() {
        delegate.close();
    }
}
