package io.github.treeattention.collective;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class FrameHeaderTest {
    private final FrameHeader sender =
            new FrameHeader(new ProcessGroup(1, List.of("a", "b"), 0x01020304, 0x11111111_22222222L));
    private final FrameHeader receiver =
            new FrameHeader(new ProcessGroup(0, List.of("a", "b"), 0x01020304, 0x11111111_22222222L));

    @Test
    void shouldLieInMemoryAsDocumented() {
        sender.begin(Operation.SEND_RECV, 4, 0x0a0b0c0d0e0fL);
        String bytes = HexFormat.of().formatHex(GroupTest.bytes(sender.encode(0x51525354, 0x61626364, true)));
        assertEquals(
                "54410103" + "04030201" + "0f0e0d0c0b0a0000" + "33333333" + "0100" + "01" + "04" + "54535251"
                        + "64636261",
                bytes);
    }

    @Test
    void shouldRefuseRandomBytesWithNothingButItsOwnExceptions() {
        long seed = System.nanoTime();
        Random random = new Random(seed);
        receiver.begin(Operation.ALL_REDUCE, 1, 7);
        sender.begin(Operation.ALL_REDUCE, 1, 7);
        for (int i = 0; i < 20_000; i++) {
            ByteBuffer frame = GroupTest.direct(random.nextInt(100));
            random.ints(frame.capacity()).forEach(b -> frame.put((byte) b));
            // Most are the true header with a few bytes changed, to get past the first fields.
            if (frame.capacity() >= FrameHeader.LENGTH && i % 4 != 0) {
                int length = frame.capacity() - FrameHeader.LENGTH;
                frame.put(0, sender.encode(0, length, true), 0, FrameHeader.LENGTH);
                for (int changes = 1 + random.nextInt(3); changes > 0; changes--) {
                    frame.put(random.nextInt(FrameHeader.LENGTH), (byte) random.nextInt(16));
                }
            }
            RuntimeException thrown = assertThrows(
                    RuntimeException.class,
                    () -> receiver.check(frame.clear(), 1, 64, 36, false),
                    () -> "seed " + seed);
            assertTrue(
                    thrown instanceof ProtocolException || thrown instanceof FarewellException,
                    () -> thrown + ", seed " + seed);
        }
    }

    @Test
    void shouldCarryAFarewell() {
        ByteBuffer frame = GroupTest.direct(FrameHeader.LENGTH + 5);
        sender.begin(Operation.BARRIER, 1, 3);
        receiver.begin(Operation.ALL_REDUCE, 1, 9);
        frame.put(0, sender.encodeFarewell(12, 5), 0, FrameHeader.LENGTH);
        frame.put(FrameHeader.LENGTH, new byte[] {'s', 'o', 'r', 'r', 'y'});
        FarewellException farewell = assertThrows(FarewellException.class, () -> receiver.check(frame, 1, 0, 0, true));
        assertEquals(12, farewell.blamedRank());
        assertEquals("sorry", farewell.getMessage());
    }
}
