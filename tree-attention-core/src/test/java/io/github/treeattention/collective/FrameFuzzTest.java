package io.github.treeattention.collective;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.code_intelligence.jazzer.junit.FuzzTest;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.provider.MethodSource;

/** Whatever bytes come in place of a frame: it is the only frame that may come now, or it is refused in the protocol's words. */
@Tag("fuzz")
class FrameFuzzTest {
    private static final int OFFSET = 64;
    private static final int LENGTH = 12;
    /** Frames lie anywhere in a log. */
    private static final int PLACE = 5;

    private static FrameHeader header(int rank) {
        FrameHeader header = new FrameHeader(new ProcessGroup(rank, List.of("a", "b"), 3, 0x1234_5678_9abcL));
        header.begin(Operation.ALL_REDUCE, AllReduceAlgorithm.STAR.code(), 7);
        return header;
    }

    private static byte[] frame(ByteBuffer header, int length) {
        return ByteBuffer.allocate(header.remaining() + length)
                .put(0, header, header.position(), header.remaining())
                .array();
    }

    static Stream<byte[]> seeds() {
        return Stream.of(
                frame(header(1).encode(OFFSET, LENGTH, false), LENGTH),
                frame(header(1).encode(OFFSET, LENGTH, true), LENGTH),
                frame(header(1).encodeFarewell(0, LENGTH), LENGTH),
                new byte[0]);
    }

    @MethodSource("seeds")
    @FuzzTest(maxDuration = "60s")
    void shouldAcceptTheWantedFrameAlone(byte[] bytes) {
        ByteBuffer frame =
                GroupTest.direct(PLACE + bytes.length).put(PLACE, bytes).position(PLACE);
        try {
            header(0).check(frame, 1, OFFSET, LENGTH, false);
            ByteBuffer wanted = header(1).encode(OFFSET, LENGTH, false);
            assertEquals(wanted, frame.slice(PLACE, FrameHeader.LENGTH));
            assertEquals(FrameHeader.LENGTH + LENGTH, bytes.length);
        } catch (FarewellException | ProtocolException refused) {
            assertEquals(PLACE, frame.position(), "the caller's view");
        }
    }
}
