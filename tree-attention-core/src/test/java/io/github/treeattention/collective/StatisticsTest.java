package io.github.treeattention.collective;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What a member counts, and what Flight Recorder sees. */
@Timeout(60)
class StatisticsTest extends GroupTest {
    private static final IntSumOp SUM = new IntSumOp();

    @TempDir
    private Path directory;

    private final InProcessTransports transports = new InProcessTransports();

    @Override
    protected Transport join(ProcessGroup group) {
        return transports.join(group);
    }

    @Override
    protected int maxFrameLength() {
        return InProcessTransports.FRAME_LENGTH;
    }

    @Test
    void shouldCountBytesByWhereTheyGo() throws Exception {
        List<Statistics> all = group(List.of("a", "a", "b"), communicator -> {
            int next = (communicator.rank() + 1) % 3;
            communicator.sendRecv(direct(3_000), next, direct(3_000), (communicator.rank() + 2) % 3);
            return communicator.statistics();
        });
        assertEquals(3_000, all.get(0).sameHostBytes());
        assertEquals(0, all.get(0).otherHostBytes());
        for (int rank = 1; rank < 3; rank++) {
            assertEquals(0, all.get(rank).sameHostBytes());
            assertEquals(3_000, all.get(rank).otherHostBytes());
        }
        for (Statistics one : all) {
            assertEquals(new Traffic(3_000, 3_000 + FrameHeader.LENGTH, 1, 1), one.traffic());
        }
    }

    @Test
    void shouldNameTheStraggler() throws Exception {
        // A busy machine may keep the others from waiting; it cannot keep them for as long as this grows.
        List<Statistics> all = List.of();
        for (long late = 50; late < 10_000 && (all.isEmpty() || all.get(0).straggler() != 2); late *= 4) {
            long millis = late;
            all = group(4, communicator -> {
                communicator.barrier();
                if (communicator.rank() == 2) {
                    TimeUnit.MILLISECONDS.sleep(millis); // being late is what is tested
                }
                communicator.allReduce(direct(400), SUM);
                return communicator.statistics();
            });
        }
        Statistics root = all.get(0);
        assertEquals(2, root.straggler(), all::toString);
        assertTrue(
                root.waits() > 0
                        && root.totalWaitedNanos() >= root.waitedNanos().get(2),
                all::toString);
        for (int leaf = 1; leaf < 4; leaf++) {
            List<Long> waited = all.get(leaf).waitedNanos();
            assertEquals(all.get(leaf).totalWaitedNanos(), waited.get(0), () -> "a leaf waits for its root: " + waited);
        }
        assertEquals(
                CollectiveException.UNKNOWN_RANK, new Statistics(root.traffic(), 0, 0, 0, List.of(0L, 0L)).straggler());
    }

    @Test
    void shouldBeRecordedByFlightRecorder() throws Exception {
        Path file = directory.resolve("calls.jfr");
        try (Recording recording = new Recording()) {
            recording.enable(CollectiveEvent.class).withoutThreshold();
            recording.start();
            List<Ranks.Outcome<Object>> outcomes = outcomes(2, communicator -> {
                ByteBuffer message = direct(4_000);
                communicator.allReduce(message, SUM, AllReduceAlgorithm.STAR);
                if (communicator.rank() == 0) {
                    assertThrows(CollectiveException.class, () -> communicator.broadcast(direct(400), 1));
                }
                return null;
            });
            outcomes.forEach(outcome -> assertNull(outcome.failure()));
            recording.stop();
            recording.dump(file);
        }
        List<RecordedEvent> events = RecordingFile.readAllEvents(file).stream()
                .filter(event -> event.getEventType().getName().equals("treeattention.Collective"))
                .toList();
        assertEquals(3, events.size(), events::toString);
        for (RecordedEvent event : events) {
            boolean reduced = event.getString("operation").equals("allReduce");
            assertEquals(reduced ? "STAR" : "AUTO", event.getString("algorithm"));
            assertEquals(reduced ? 1 : 2, event.getLong("sequence"));
            if (reduced) {
                assertNull(event.getString("failure"));
                assertEquals(4_000, event.getLong("sentBytes"));
            } else {
                assertEquals(0, event.getInt("rank"));
                assertNotNull(event.getString("failure"));
            }
            assertTrue(event.getDuration("waited").compareTo(event.getDuration()) <= 0, event::toString);
        }
    }
}
