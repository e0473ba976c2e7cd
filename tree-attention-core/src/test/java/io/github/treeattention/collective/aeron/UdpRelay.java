package io.github.treeattention.collective.aeron;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedSelectorException;
import java.nio.channels.DatagramChannel;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.util.HashMap;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;

/**
 * A bad network in front of one endpoint, both ways: it drops, repeats and delays datagrams, and what is delayed is
 * overtaken; or it swallows long ones. Answers go back to whoever sent first from an address, as through a router that
 * translates addresses.
 */
public final class UdpRelay implements AutoCloseable {
    private static final double DROPPED = 0.05;
    private static final double REPEATED = 0.05;
    private static final double DELAYED = 0.1;
    private static final int MOST_DELAY_NANOS = 5_000_000;

    private final InetSocketAddress target;
    private final Random random;
    private final int longest;
    private final double badness;
    private final Selector selector = Selector.open();
    private final DatagramChannel front = channel();
    private final Map<SocketAddress, DatagramChannel> ways = new HashMap<>();
    private final PriorityQueue<Late> late = new PriorityQueue<>();
    private final ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 16);
    private volatile boolean cut;
    private final AtomicLong faults = new AtomicLong();
    private final AtomicLong swallowed = new AtomicLong();
    private final AtomicLong forwarded = new AtomicLong();

    /** A datagram and when it goes where. */
    private record Late(long due, DatagramChannel by, SocketAddress to, ByteBuffer data) implements Comparable<Late> {
        @Override
        public int compareTo(Late other) {
            return Long.compare(due, other.due);
        }
    }

    UdpRelay(InetSocketAddress target, long seed) throws IOException {
        this(target, seed, 1, Integer.MAX_VALUE);
    }

    private UdpRelay(InetSocketAddress target, long seed, double badness, int longest) throws IOException {
        this.target = target;
        this.badness = badness;
        this.longest = longest;
        random = new Random(seed);
        front.register(selector, SelectionKey.OP_READ);
        Thread thread = new Thread(this::run, "udp-relay");
        thread.setDaemon(true);
        thread.start();
    }

    /** A network that is reliable and takes no datagram above a length. */
    public static UdpRelay narrow(InetSocketAddress target, int longest) throws IOException {
        return new UdpRelay(target, 0, 0, longest);
    }

    private static DatagramChannel channel() throws IOException {
        DatagramChannel channel = DatagramChannel.open();
        channel.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
        channel.configureBlocking(false);
        return channel;
    }

    public InetSocketAddress address() throws IOException {
        return (InetSocketAddress) front.getLocalAddress();
    }

    void cut() {
        cut = true;
    }

    long faults() {
        return faults.get();
    }

    /** Datagrams that were too long. */
    public long swallowed() {
        return swallowed.get();
    }

    /** Datagrams that were not, whatever happened to them then. */
    public long forwarded() {
        return forwarded.get();
    }

    private void run() {
        try {
            while (selector.isOpen()) {
                Late next = late.peek();
                long wait = next == null ? 100 : Math.max(1, (next.due - System.nanoTime()) / 1_000_000);
                selector.select(wait);
                for (SelectionKey key : selector.selectedKeys()) {
                    drain((DatagramChannel) key.channel(), (SocketAddress) key.attachment());
                }
                selector.selectedKeys().clear();
                while (!late.isEmpty() && late.peek().due - System.nanoTime() <= 0) {
                    Late due = late.poll();
                    due.by.send(due.data, due.to);
                }
            }
        } catch (ClosedSelectorException closed) {
            // The test is over.
        } catch (IOException e) {
            if (selector.isOpen()) {
                throw new UncheckedIOException(e);
            }
        }
    }

    /** @param back where answers go; null for the front, whose datagrams go to the target */
    private void drain(DatagramChannel channel, SocketAddress back) throws IOException {
        for (SocketAddress from = receive(channel); from != null; from = receive(channel)) {
            if (back == null) {
                forward(way(from), target);
            } else {
                forward(front, back);
            }
        }
    }

    private SocketAddress receive(DatagramChannel channel) throws IOException {
        return channel.receive(buffer.clear());
    }

    private DatagramChannel way(SocketAddress from) throws IOException {
        DatagramChannel way = ways.get(from);
        if (way == null) {
            way = channel();
            way.register(selector, SelectionKey.OP_READ, from);
            ways.put(from, way);
        }
        return way;
    }

    private void forward(DatagramChannel by, SocketAddress to) throws IOException {
        buffer.flip();
        if (buffer.remaining() > longest) {
            swallowed.incrementAndGet();
            return;
        }
        forwarded.incrementAndGet();
        if (cut || random.nextDouble() < badness * DROPPED) {
            faults.incrementAndGet();
            return;
        }
        if (random.nextDouble() < badness * REPEATED) {
            faults.incrementAndGet();
            by.send(buffer.duplicate(), to);
        }
        if (random.nextDouble() < badness * DELAYED) {
            faults.incrementAndGet();
            ByteBuffer copy =
                    ByteBuffer.allocate(buffer.remaining()).put(buffer).flip();
            late.add(new Late(System.nanoTime() + random.nextInt(MOST_DELAY_NANOS), by, to, copy));
        } else {
            by.send(buffer, to);
        }
    }

    @Override
    public void close() throws IOException {
        selector.close();
        front.close();
        for (DatagramChannel way : ways.values()) {
            way.close();
        }
    }
}
