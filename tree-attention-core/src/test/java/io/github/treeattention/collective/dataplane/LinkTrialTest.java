package io.github.treeattention.collective.dataplane;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.InProcessTransports;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Ranks;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.TransportException;
import io.github.treeattention.collective.dataplane.LinkTrial.Choice;
import io.github.treeattention.collective.dataplane.LinkTrial.Times;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The choice, with transports of which it is known which is the better one. */
@Timeout(60)
class LinkTrialTest {
    private static final List<String> HOSTS = List.of("a", "a", "b", "c");
    private static final Duration TIMEOUT = Duration.ofSeconds(30);
    private static final Duration LONG = Duration.ofSeconds(20);
    private static final Duration SHORT = Duration.ofSeconds(1);
    /** In-process links take some microseconds, a thousand on a busy machine. */
    private static final long SLOW_NANOS = 3_000_000;

    /** The answers of all members, which must be one. */
    private static Choice choose(Duration limit, UnaryOperator<Transport> tcp, UnaryOperator<Transport> udp)
            throws Exception {
        return choose(limit, AbortSignal.NEVER, tcp, Collections.nCopies(HOSTS.size(), udp));
    }

    private static Choice choose(
            Duration limit, AbortSignal abort, UnaryOperator<Transport> tcp, List<UnaryOperator<Transport>> udp)
            throws Exception {
        InProcessTransports overTcp = new InProcessTransports();
        InProcessTransports overUdp = new InProcessTransports();
        List<Choice> choices = Ranks.run(HOSTS.size(), rank -> {
            ProcessGroup group = new ProcessGroup(rank, HOSTS, 1, 1);
            Transport far = new FarOnly(rank, overUdp.join(group));
            LinkTrial trial = new LinkTrial(group, tcp.apply(overTcp.join(group)), TIMEOUT, limit, abort);
            return trial.choose(udp.get(rank).apply(far));
        });
        assertEquals(1, choices.stream().distinct().count(), choices::toString);
        return choices.get(0);
    }

    @Test
    void shouldTakeTheFasterOne() throws Exception {
        assertEquals(Choice.TCP, choose(LONG, tcp -> tcp, Slow::new));
        assertEquals(Choice.UDP, choose(LONG, Slow::new, udp -> udp));
    }

    @Test
    void shouldTakeTcpWhereUdpSwallowsLongFrames() throws Exception {
        assertEquals(Choice.UDP_FAILS, choose(SHORT, Slow::new, udp -> new Swallowing(udp, 1_000)));
    }

    /** Not only between the two members whose link is measured. */
    @Test
    void shouldTakeTcpWhereUdpFailsForOneMemberOnly() throws Exception {
        List<UnaryOperator<Transport>> lastSwallows =
                List.of(udp -> udp, udp -> udp, udp -> udp, udp -> new Swallowing(udp, 1_000));
        assertEquals(Choice.UDP_FAILS, choose(SHORT, AbortSignal.NEVER, Slow::new, lastSwallows));
        List<UnaryOperator<Transport>> lastHasNone = List.of(udp -> udp, udp -> udp, udp -> udp, udp -> null);
        assertEquals(Choice.UDP_FAILS, choose(LONG, AbortSignal.NEVER, Slow::new, lastHasNone));
    }

    /** Then only those two know. */
    @Test
    void shouldTakeTcpWhereUdpFailsWhileTheFirstTwoMeasure() throws Exception {
        List<UnaryOperator<Transport>> firstBreaks =
                List.of(udp -> new Breaking(udp, 20), udp -> udp, udp -> udp, udp -> udp);
        assertEquals(Choice.UDP_FAILS, choose(SHORT, AbortSignal.NEVER, Slow::new, firstBreaks));
    }

    @Test
    void shouldTakeTcpWhereUdpIsSoSlowThatTheTrialEnds() throws Exception {
        assertEquals(Choice.UDP_FAILS, choose(Duration.ofMillis(100), tcp -> tcp, udp -> new Swallowing(udp, 0)));
    }

    /** A failure of the group is none of UDP. */
    @Test
    void shouldEndWithTheGroup() {
        AtomicBoolean failed = new AtomicBoolean();
        AbortSignal abort = () -> failed.get() ? Optional.of(new AbortSignal.Failure(3, "gone")) : Optional.empty();
        UnaryOperator<Transport> failing = udp -> {
            failed.set(true);
            return new Swallowing(udp, 0);
        };
        CollectiveException failure = assertThrows(
                CollectiveException.class,
                () -> choose(LONG, abort, tcp -> tcp, Collections.nCopies(HOSTS.size(), failing)));
        assertTrue(failure.getMessage().contains("gone"), failure.getMessage());
    }

    @Test
    void shouldWeighShortAndLongMessagesAlike() {
        assertTrue(
                new Times(1e-5, 8e-4).beats(new Times(1e-4, 4e-4)), "much faster at short ones, slower at long ones");
        assertFalse(new Times(1e-5, 8e-4).beats(new Times(2e-5, 2e-4)), "a little faster, much slower");
        assertFalse(new Times(1e-5, 1e-3).beats(new Times(1e-5, 1e-3)), "TCP where both are alike");
    }

    @Test
    void shouldAskAll() throws Exception {
        for (int no = 0; no <= HOSTS.size(); no++) {
            int refuses = no;
            InProcessTransports transports = new InProcessTransports();
            List<Boolean> answers = Ranks.run(HOSTS.size(), rank -> {
                ProcessGroup group = new ProcessGroup(rank, HOSTS, 1, 1);
                return new LinkTrial(group, transports.join(group), TIMEOUT, LONG, AbortSignal.NEVER)
                        .allSay(rank != refuses);
            });
            assertEquals(Collections.nCopies(HOSTS.size(), refuses == HOSTS.size()), answers);
        }
    }

    /** A link between hosts reaches nobody on this one. */
    private record FarOnly(int rank, Transport delegate) implements Transport {
        @Override
        public int maxFrameLength() {
            return delegate.maxFrameLength();
        }

        @Override
        public boolean offer(int destination, ByteBuffer header, ByteBuffer payload) {
            check(destination);
            return delegate.offer(destination, header, payload);
        }

        @Override
        public boolean poll(int source, FrameHandler handler) {
            check(source);
            return delegate.poll(source, handler);
        }

        private void check(int peer) {
            if (HOSTS.get(peer).equals(HOSTS.get(rank))) {
                throw new TransportException("no link to rank " + peer, null);
            }
        }

        @Override
        public void close() {
            delegate.close();
        }
    }

    /** Takes no frame before it was offered for a while. */
    private static final class Slow implements Transport {
        private final Transport delegate;
        private final long[] since = new long[HOSTS.size()];

        Slow(Transport delegate) {
            this.delegate = delegate;
            Arrays.fill(since, Long.MIN_VALUE);
        }

        @Override
        public int maxFrameLength() {
            return delegate.maxFrameLength();
        }

        @Override
        public boolean offer(int destination, ByteBuffer header, ByteBuffer payload) {
            long now = System.nanoTime();
            if (since[destination] == Long.MIN_VALUE) {
                since[destination] = now;
            }
            if (now - since[destination] < SLOW_NANOS || !delegate.offer(destination, header, payload)) {
                return false;
            }
            since[destination] = Long.MIN_VALUE;
            return true;
        }

        @Override
        public boolean poll(int source, FrameHandler handler) {
            return delegate.poll(source, handler);
        }

        @Override
        public void close() {
            delegate.close();
        }
    }

    /** Says that it has sent longer frames, and has not. */
    private record Swallowing(Transport delegate, int longest) implements Transport {
        @Override
        public int maxFrameLength() {
            return delegate.maxFrameLength();
        }

        @Override
        public boolean offer(int destination, ByteBuffer header, ByteBuffer payload) {
            return header.remaining() + payload.remaining() > longest || delegate.offer(destination, header, payload);
        }

        @Override
        public boolean poll(int source, FrameHandler handler) {
            return delegate.poll(source, handler);
        }

        @Override
        public void close() {
            delegate.close();
        }
    }

    /** Sends so many frames, which are more than the probes need, and then nothing. */
    private static final class Breaking implements Transport {
        private final Transport delegate;
        private int frames;

        Breaking(Transport delegate, int frames) {
            this.delegate = delegate;
            this.frames = frames;
        }

        @Override
        public int maxFrameLength() {
            return delegate.maxFrameLength();
        }

        @Override
        public boolean offer(int destination, ByteBuffer header, ByteBuffer payload) {
            boolean taken = frames == 0 || delegate.offer(destination, header, payload);
            if (taken && frames > 0) {
                frames--;
            }
            return taken;
        }

        @Override
        public boolean poll(int source, FrameHandler handler) {
            return delegate.poll(source, handler);
        }

        @Override
        public void close() {
            delegate.close();
        }
    }
}
