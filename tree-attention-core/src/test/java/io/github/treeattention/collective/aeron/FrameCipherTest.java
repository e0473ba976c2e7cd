package io.github.treeattention.collective.aeron;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Token;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import org.junit.jupiter.api.Test;

class FrameCipherTest {
    private static final Token TOKEN = Token.of("secret");
    private static final ProcessGroup GROUP = group(7, 3);

    private final ByteBuffer frame = buffer(1000);

    private static ProcessGroup group(long id, int epoch) {
        return new ProcessGroup(0, List.of("a", "b", "c"), epoch, id);
    }

    private static ByteBuffer buffer(int length) {
        return ByteBuffer.allocateDirect(length).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static FrameCipher cipher() {
        return new FrameCipher(TOKEN, GROUP, 0, 1);
    }

    private static ByteBuffer text(String text) {
        return buffer(text.length()).put(0, text.getBytes(java.nio.charset.StandardCharsets.US_ASCII));
    }

    private static ByteBuffer seal(FrameCipher cipher, String header, String payload) {
        ByteBuffer message = buffer(1000);
        cipher.seal(text(header), text(payload), message);
        return message;
    }

    private boolean opens(FrameCipher cipher, ByteBuffer message) {
        return cipher.open(message.duplicate().order(ByteOrder.LITTLE_ENDIAN), frame);
    }

    @Test
    void shouldHandOverWhatWasSentInOrder() {
        FrameCipher from = cipher();
        FrameCipher to = cipher();
        for (String payload : List.of("", "x", "a longer payload")) {
            ByteBuffer message = seal(from, "header", payload);
            assertEquals("header".length() + payload.length() + FrameCipher.OVERHEAD, message.remaining());
            assertTrue(opens(to, message));
            assertEquals(text("header" + payload), frame);
            from.sent();
        }
    }

    @Test
    void shouldTakeAFrameThatIsOfferedAgain() {
        FrameCipher from = cipher();
        seal(from, "h", "refused under back pressure");
        ByteBuffer again = seal(from, "h", "another");
        assertTrue(opens(cipher(), again));
    }

    @Test
    void shouldRefuseAMessageInWhichAnyBitIsChanged() {
        ByteBuffer message = seal(cipher(), "header", "payload");
        for (int bit = 0; bit < 8 * message.limit(); bit++) {
            ByteBuffer changed = buffer(message.limit()).put(0, message, 0, message.limit());
            changed.put(bit / 8, (byte) (changed.get(bit / 8) ^ (1 << (bit % 8))));
            assertFalse(opens(cipher(), changed), "bit " + bit);
        }
        for (int length = 0; length < message.limit(); length++) {
            assertFalse(opens(cipher(), message.duplicate().limit(length)), "length " + length);
        }
    }

    @Test
    void shouldRefuseReplaysAndFramesOutOfOrder() {
        FrameCipher from = cipher();
        ByteBuffer first = seal(from, "h", "first");
        from.sent();
        ByteBuffer second = seal(from, "h", "second");
        assertFalse(opens(cipher(), second), "the first is missing");
        FrameCipher to = cipher();
        assertTrue(opens(to, first));
        assertFalse(opens(to, first), "replay");
        assertTrue(opens(to, second));
    }

    @Test
    void shouldRefuseFramesOfOtherTokensGroupsEpochsAndDirections() {
        for (FrameCipher other : List.of(
                new FrameCipher(Token.of("another"), GROUP, 0, 1),
                new FrameCipher(TOKEN, group(8, 3), 0, 1),
                new FrameCipher(TOKEN, group(7, 4), 0, 1),
                new FrameCipher(TOKEN, GROUP, 1, 0),
                new FrameCipher(TOKEN, GROUP, 0, 2))) {
            assertFalse(opens(cipher(), seal(other, "h", "p")));
        }
    }

    @Test
    void shouldNumberSessionsSoThatOnlyMembersKnow() {
        int session = FrameCipher.sessionId(TOKEN, GROUP, 0, 1);
        assertEquals(session, FrameCipher.sessionId(TOKEN, GROUP, 0, 1));
        assertNotEquals(session, FrameCipher.sessionId(Token.of("another"), GROUP, 0, 1));
        assertNotEquals(session, FrameCipher.sessionId(TOKEN, GROUP, 1, 0));
    }
}
