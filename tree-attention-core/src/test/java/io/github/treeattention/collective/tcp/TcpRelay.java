package io.github.treeattention.collective.tcp;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/**
 * A bad network in front of one endpoint, as TCP shows it: bytes come in pieces of any length, and now and then not for a
 * while, as when a packet is lost and sent again.
 */
final class TcpRelay implements AutoCloseable {
    private static final double STALLS = 0.05;
    private static final int MOST_STALL_MILLIS = 30;

    private final InetSocketAddress target;
    private final long seed;
    private final ServerSocket front;
    private final List<Socket> sockets = new CopyOnWriteArrayList<>();
    private final AtomicLong faults = new AtomicLong();
    private volatile boolean cut;

    TcpRelay(InetSocketAddress target, long seed) throws IOException {
        this.target = target;
        this.seed = seed;
        front = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        start(this::accept);
    }

    InetSocketAddress address() {
        return (InetSocketAddress) front.getLocalSocketAddress();
    }

    void cut() {
        cut = true;
    }

    long faults() {
        return faults.get();
    }

    private static void start(Runnable task) {
        Thread thread = new Thread(task, "tcp-relay");
        thread.setDaemon(true);
        thread.start();
    }

    private void accept() {
        try {
            while (true) {
                Socket in = front.accept();
                Socket out = new Socket(target.getAddress(), target.getPort());
                in.setTcpNoDelay(true);
                out.setTcpNoDelay(true);
                sockets.add(in);
                sockets.add(out);
                start(() -> pump(in, out, new Random(seed + sockets.size())));
                start(() -> pump(out, in, new Random(seed - sockets.size())));
            }
        } catch (IOException closed) {
            // The test is over.
        }
    }

    private void pump(Socket from, Socket to, Random random) {
        byte[] piece = new byte[8192];
        try {
            InputStream in = from.getInputStream();
            OutputStream out = to.getOutputStream();
            for (int n = in.read(piece); n >= 0; n = in.read(piece, 0, 1 + random.nextInt(piece.length))) {
                if (random.nextDouble() < STALLS) {
                    faults.incrementAndGet();
                    TimeUnit.MILLISECONDS.sleep(random.nextInt(MOST_STALL_MILLIS));
                }
                while (cut && !from.isClosed()) {
                    TimeUnit.MILLISECONDS.sleep(10); // as long as the connection is there, and it stays
                }
                out.write(piece, 0, n);
            }
            to.shutdownOutput();
        } catch (IOException | InterruptedException closed) {
            // The test is over.
        }
    }

    @Override
    public void close() throws IOException {
        front.close();
        for (Socket socket : sockets) {
            socket.close();
        }
    }
}
