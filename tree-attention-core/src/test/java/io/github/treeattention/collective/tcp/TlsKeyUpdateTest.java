package io.github.treeattention.collective.tcp;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Ranks;
import io.github.treeattention.collective.aeron.ChildProcess;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * TLS changes its keys after 2^37 bytes, in the middle of what is sent, both sides at the same byte. Here it does so all
 * the time, in a JVM of its own, since the JDK reads the limit once.
 */
@Timeout(120)
class TlsKeyUpdateTest {
    private static final String LIMIT = "jdk.tls.keyLimits=AES/GCM/NoPadding KeyUpdate 2^17";
    private static final int LONG_BYTES = 16 << 20;
    private static final int SHORT_MESSAGES = 2_000;
    private static final int SHORT_BYTES = 1_000;

    @Test
    void shouldChangeKeysOnBothSidesWhilePipesAreFull(@TempDir Path directory) throws Exception {
        Path security = Files.writeString(directory.resolve("security"), LIMIT);
        ChildProcess child = ChildProcess.java(
                "-Djava.security.properties=" + security,
                "-Djavax.net.debug=ssl:handshake", // prints each change
                TlsKeyUpdateTest.class.getName(),
                TlsFiles.keystore(directory, "treeattn").toString());
        try {
            String output = child.readAll();
            assertEquals(0, child.awaitExit(), output);
            long changes = output.lines()
                    .filter(line -> line.contains("Produced KeyUpdate"))
                    .count();
            // Each change is asked for by one side and answered by the other.
            assertTrue(changes >= LONG_BYTES >> 17, changes + " changes of keys");
        } finally {
            child.kill();
        }
    }

    /** The child. */
    public static void main(String[] args) throws Exception {
        Tls tls = TlsFiles.tls(Path.of(args[0]));
        readWhileNothingLeaves(tls);
        TcpGroups groups = new TcpGroups(Optional.of(tls));
        Ranks.run(2, rank -> {
            exchange(groups, rank, 1, SHORT_MESSAGES, SHORT_BYTES);
            exchange(groups, rank, 2, 1, LONG_BYTES);
            return null;
        });
    }

    /** A side that cannot answer a change, since its own pipe is full, must go on to read: the other may wait for that. */
    private static void readWhileNothingLeaves(Tls tls) throws Exception {
        try (ServerSocketChannel server =
                        ServerSocketChannel.open().bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
                SocketChannel one = SocketChannel.open(server.getLocalAddress());
                SocketChannel two = server.accept()) {
            one.configureBlocking(false);
            two.configureBlocking(false);
            ByteBuffer nothing = TcpGroups.direct(0);
            ByteBuffer piece = TcpGroups.direct(60_000);
            Wire sender = tls.wire(one, true, piece.capacity());
            Wire stuck = tls.wire(two, false, piece.capacity());
            for (boolean open = false; !open; ) {
                boolean senderIsOpen = sender.open();
                open = stuck.open() && senderIsOpen;
            }
            long start = System.nanoTime();
            // The sender does not read; the kernel goes on for a moment after it has said that there is no room.
            for (long moved = start; System.nanoTime() - moved < 200_000_000L; ) {
                if (stuck.flush()) {
                    stuck.send(nothing, piece.clear());
                    moved = System.nanoTime();
                }
            }
            ByteBuffer target = TcpGroups.direct(1 << 16);
            long total = 10L * piece.capacity();
            long sent = 0;
            long read = 0;
            while (read < total) {
                if (sender.flush() && sent < total) {
                    sender.send(nothing, piece.clear());
                    sent += piece.capacity();
                }
                read += stuck.read(target.clear());
                if (System.nanoTime() - start > 20_000_000_000L) {
                    throw new IllegalStateException("stuck after " + read + " bytes");
                }
            }
        }
    }

    private static void exchange(TcpGroups groups, int rank, int epoch, int messages, int length) throws Exception {
        ProcessGroup group = new ProcessGroup(rank, List.of("a", "b"), epoch, epoch);
        try (Communicator communicator =
                Communicators.over(group, groups.join(group), AbortSignal.NEVER, Duration.ofSeconds(30))) {
            ByteBuffer received = TcpGroups.direct(length);
            for (int message = 0; message < messages; message++) {
                communicator.sendRecv(random(rank, message, length), 1 - rank, received, 1 - rank);
                if (!random(1 - rank, message, length).equals(received)) {
                    throw new IllegalStateException("message " + message + " of " + length + " bytes was changed");
                }
            }
        }
    }

    private static ByteBuffer random(int rank, int message, int length) {
        byte[] bytes = new byte[length];
        new Random(2L * message + rank).nextBytes(bytes);
        return TcpGroups.direct(length).put(0, bytes);
    }
}
