package io.github.treeattention.collective;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(120)
class FrameQueueTest {
    private static final int CAPACITY = 3;

    private final FrameQueue queue = new FrameQueue(CAPACITY, 16);

    private boolean offer(int number) {
        ByteBuffer header = GroupTest.direct(Integer.BYTES).putInt(0, number);
        return queue.offer(header, GroupTest.direct(0));
    }

    @Test
    void shouldHoldFramesInOrderUpToItsCapacity() {
        for (int round = 0; round < 5; round++) {
            for (int i = 0; i < CAPACITY; i++) {
                assertTrue(offer(CAPACITY * round + i));
            }
            assertFalse(offer(-1), "it is full");
            for (int i = 0; i < CAPACITY; i++) {
                int wanted = CAPACITY * round + i;
                assertTrue(queue.poll(frame -> assertEquals(wanted, frame.getInt(frame.position()))));
            }
            assertFalse(queue.poll(frame -> {}), "it is empty");
        }
    }

    @Test
    void shouldHandOverWhatWasSentBeforeItsSenderLeft() {
        List<Integer> got = new ArrayList<>();
        offer(1);
        offer(2);
        queue.leaveAsSender();
        assertTrue(queue.poll(frame -> got.add(frame.getInt(0))));
        assertTrue(queue.poll(frame -> got.add(frame.getInt(0))));
        assertThrows(TransportException.class, () -> queue.poll(frame -> {}));
        assertEquals(List.of(1, 2), got);
    }

    /** The sender writes its last frame and leaves at any moment of a poll: the frame must never be missed. */
    @Test
    void shouldNotMissTheLastFrameOfASenderThatLeavesMeanwhile() throws Exception {
        for (int round = 0; round < 2_000; round++) {
            FrameQueue one = new FrameQueue(1, 16);
            ByteBuffer frame = GroupTest.direct(8);
            Thread sender = new Thread(() -> {
                one.offer(frame, GroupTest.direct(0));
                one.leaveAsSender();
            });
            sender.start();
            while (!one.poll(got -> assertEquals(8, got.remaining()))) {
                Thread.onSpinWait();
            }
            sender.join();
        }
    }
}
