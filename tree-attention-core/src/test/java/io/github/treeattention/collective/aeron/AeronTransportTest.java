package io.github.treeattention.collective.aeron;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Ranks;
import io.github.treeattention.collective.TransportException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class AeronTransportTest {
    private static final List<String> HOSTS = List.of("a", "a", "a");
    private static final Duration SHORT = Duration.ofSeconds(2);

    private static TestDriver driver;

    @BeforeAll
    static void startDriver() throws Exception {
        driver = TestDriver.launch();
    }

    @AfterAll
    static void stopDriver() throws Exception {
        driver.close();
    }

    private static AeronTransport connect(Path directory, ProcessGroup group, AbortSignal abort) {
        return AeronTransport.connect(new AeronTransport.Config(directory, group, SHORT, abort));
    }

    private static ByteBuffer direct(int length) {
        return ByteBuffer.allocateDirect(length).order(ByteOrder.LITTLE_ENDIAN);
    }

    @Test
    void shouldNameTheMembersThatDidNotJoin() throws Exception {
        List<Ranks.Outcome<Object>> outcomes = Ranks.outcomes(2, rank -> {
            connect(driver.directory(), new ProcessGroup(rank, HOSTS, 1, 1), AbortSignal.NEVER)
                    .close();
            return null;
        });
        for (Ranks.Outcome<Object> outcome : outcomes) {
            CollectiveException failure = (CollectiveException) outcome.failure();
            assertEquals("connect failed at rank 2 on a: it did not join within PT2S", failure.getMessage());
            assertEquals(2, failure.failedRank());
        }
        CollectiveException alone = assertThrows(
                CollectiveException.class,
                () -> connect(driver.directory(), new ProcessGroup(1, HOSTS, 2, 1), AbortSignal.NEVER));
        assertEquals("connect failed at rank 0 on a: ranks [0, 2] did not join within PT2S", alone.getMessage());
    }

    @Test
    void shouldNotMeetMembersOfAnotherEpoch() throws Exception {
        List<Ranks.Outcome<Object>> outcomes = Ranks.outcomes(2, rank -> {
            ProcessGroup group = new ProcessGroup(rank, HOSTS.subList(0, 2), 10 + rank, 1);
            connect(driver.directory(), group, AbortSignal.NEVER).close();
            return null;
        });
        assertTrue(outcomes.get(0).failure().getMessage().contains("did not join"));
        assertTrue(outcomes.get(1).failure().getMessage().contains("did not join"));
    }

    @Test
    void shouldStopConnectingWhenTheSignalFires() {
        AbortSignal abort = () -> Optional.of(new AbortSignal.Failure(2, "rank 2 was killed"));
        CollectiveException failure = assertThrows(
                CollectiveException.class, () -> connect(driver.directory(), new ProcessGroup(0, HOSTS, 3, 1), abort));
        assertEquals("connect failed at rank 2 on a: rank 2 was killed", failure.getMessage());
    }

    @Test
    void shouldSayThatThereIsNoDriver(@TempDir Path directory) {
        CollectiveException failure = assertThrows(
                CollectiveException.class,
                () -> connect(directory, new ProcessGroup(0, HOSTS, 4, 1), AbortSignal.NEVER));
        assertEquals("connect failed: no media driver runs in " + directory + " within PT2S", failure.getMessage());
    }

    @Test
    void shouldRefuseADirectoryThatIsALink(@TempDir Path parent) throws Exception {
        Path link = Files.createSymbolicLink(parent.resolve("link"), driver.directory());
        IllegalStateException failure = assertThrows(
                IllegalStateException.class, () -> connect(link, new ProcessGroup(0, HOSTS, 5, 1), AbortSignal.NEVER));
        assertEquals("the Aeron directory must be a directory, no link: got " + link, failure.getMessage());
    }

    @Test
    void shouldReachOnlyItsOwnHost() {
        ProcessGroup group = new ProcessGroup(0, List.of("a", "b"), 6, 1);
        try (AeronTransport transport = connect(driver.directory(), group, AbortSignal.NEVER)) {
            TransportException failure =
                    assertThrows(TransportException.class, () -> transport.offer(1, direct(32), direct(0)));
            assertEquals("rank 1 on b is on another host: shared memory does not reach it", failure.getMessage());
        }
    }

    @Test
    void shouldRefuseMoreRanksThanStreamsCanName() {
        ProcessGroup group = new ProcessGroup(0, Collections.nCopies(65, "a"), 7, 1);
        assertEquals(
                "worldSize must be at most 64 over Aeron: got 65",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> connect(driver.directory(), group, AbortSignal.NEVER))
                        .getMessage());
    }

    @Test
    void shouldFailALinkWhosePeerHasLeftAfterItsLastFrame() throws Exception {
        Ranks.run(2, rank -> {
            ProcessGroup group = new ProcessGroup(rank, HOSTS.subList(0, 2), 8, 1);
            try (AeronTransport transport = driver.join(group)) {
                if (rank == 0) {
                    assertTrue(transport.offer(1, direct(32), direct(40)));
                    return null;
                }
                while (!transport.poll(0, frame -> assertEquals(72, frame.remaining()))) {
                    Thread.onSpinWait();
                }
                TransportException failure = assertThrows(TransportException.class, () -> {
                    while (!transport.poll(0, frame -> {})) {
                        Thread.onSpinWait();
                    }
                });
                assertEquals("rank 0 on a has left the group", failure.getMessage());
                return null;
            }
        });
    }

    @Test
    void shouldTellAMemberThatLeavesAtOnceFromOneThatNeverCame() throws Exception {
        for (int round = 0; round < 10; round++) {
            int epoch = 100 + round;
            Ranks.run(5, rank -> {
                driver.join(new ProcessGroup(rank, Collections.nCopies(5, "a"), epoch, 1))
                        .close();
                return null;
            });
        }
    }

    @Test
    void shouldPushBackWhenNobodyReadsAndLoseNothing() throws Exception {
        int frames = Ranks.run(2, rank -> {
                    ProcessGroup group = new ProcessGroup(rank, HOSTS.subList(0, 2), 9, 1);
                    try (AeronTransport transport = driver.join(group)) {
                        return rank == 0 ? fill(transport) : 0;
                    }
                })
                .get(0);
        assertTrue(frames > 1 && frames * (long) IpcLink.MAX_FRAME_LENGTH <= 3L * IpcLink.TERM_LENGTH);
    }

    private static int fill(AeronTransport transport) {
        ByteBuffer header = direct(32);
        ByteBuffer payload = direct(transport.maxFrameLength() - 32);
        int frames = 0;
        try {
            while (transport.offer(1, header, payload)) {
                frames++;
            }
        } catch (TransportException peerHasLeft) {
            // It may close at any time: all that counts is that offers end.
            return Math.max(frames, 2);
        }
        return frames;
    }

    @Test
    void shouldThrowWhatTheHandlerThrows() throws Exception {
        Ranks.run(2, rank -> {
            ProcessGroup group = new ProcessGroup(rank, HOSTS.subList(0, 2), 10, 1);
            try (AeronTransport transport = driver.join(group)) {
                assertTrue(transport.offer(1 - rank, direct(32), direct(0)));
                ArithmeticException thrown = assertThrows(ArithmeticException.class, () -> {
                    while (!transport.poll(1 - rank, frame -> {
                        throw new ArithmeticException("mine");
                    })) {
                        Thread.onSpinWait();
                    }
                });
                assertEquals("mine", thrown.getMessage());
                return null;
            }
        });
    }

    @Test
    void shouldKnowHowMuchMemoryItNeeds() {
        long link = AeronDirectory.linkBytes();
        assertEquals(AeronTransport.requiredBytes(1) + 56 * link, AeronTransport.requiredBytes(8));
        assertThrows(IllegalArgumentException.class, () -> AeronTransport.requiredBytes(0));
    }

    @Test
    void shouldNameTheRemedyWhenMemoryIsShort(@TempDir Path directory) {
        IllegalStateException failure = assertThrows(
                IllegalStateException.class,
                () -> AeronDirectory.requireSpace(directory.resolve("not-yet"), Long.MAX_VALUE));
        assertTrue(failure.getMessage().contains("--shm-size=1g"), failure.getMessage());
        AeronDirectory.requireSpace(directory, 1);
    }

    @Test
    void shouldKeepStreamsOfEpochsAndPairsApart() {
        assertEquals(0x0003_1042, StreamIds.of(3, 1, 2));
        assertFalse(StreamIds.of(3, 1, 2) == StreamIds.of(4, 1, 2));
        assertFalse(StreamIds.of(3, 1, 2) == StreamIds.of(3, 2, 1));
    }
}
