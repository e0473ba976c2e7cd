package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.fail;

import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.launch.Verdict.Members;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/** Payloads survive the way there and back; anything else is refused as such. */
@Timeout(30)
class WireFormatTest {
    private static final Hello HELLO = new Hello(
            "1.2.3",
            "job",
            3,
            8,
            "host/ü",
            "tcp=1.2.3.4/5",
            4711,
            new TreeMap<>(Map.of("model", "abc", "dtype", "bf16")));
    private static final Members MEMBERS =
            new Members(2, 1, -42L, List.of("a", "hôst", "c"), List.of("", "tcp=::1/99", "x"));

    @Test
    void shouldReadBackWhatItWrites() throws Exception {
        assertEquals(HELLO, Hello.decode(HELLO.encode()));
        assertEquals(MEMBERS, Members.decode(MEMBERS.encode()));
        Failure failure = new Failure(7, "größer");
        Verdict.Abort abort = new Verdict.Abort(7, failure);
        assertEquals(abort, Verdict.Abort.decode(abort.encode()));
    }

    @Test
    void shouldRefuseEveryTruncation() {
        byte[] hello = HELLO.encode();
        for (int length = 0; length < hello.length; length++) {
            byte[] cut = Arrays.copyOf(hello, length);
            assertThrows(ProtocolException.class, () -> Hello.decode(cut), "length " + length);
        }
        byte[] members = MEMBERS.encode();
        for (int length = 0; length < members.length; length++) {
            byte[] cut = Arrays.copyOf(members, length);
            assertThrows(ProtocolException.class, () -> Members.decode(cut), "length " + length);
        }
        assertThrows(ProtocolException.class, () -> Hello.decode(Arrays.copyOf(hello, hello.length + 1)));
    }

    @Test
    void shouldNotStumbleOverChangedBytes() {
        long seed = System.nanoTime();
        Random random = new Random(seed);
        for (int i = 0; i < 20_000; i++) {
            byte[] hello = HELLO.encode();
            hello[random.nextInt(hello.length)] = (byte) random.nextInt();
            byte[] members = MEMBERS.encode();
            members[random.nextInt(members.length)] = (byte) random.nextInt();
            refuseOrAccept(() -> Hello.decode(hello), seed);
            refuseOrAccept(() -> Members.decode(members), seed);
        }
    }

    private static void refuseOrAccept(Executable decoding, long seed) {
        try {
            decoding.execute();
        } catch (ProtocolException e) {
            assertNotNull(e.getMessage());
        } catch (Throwable e) {
            fail("seed " + seed, e);
        }
    }

    @Test
    void shouldRefuseAFingerprintThatIsTooLarge() {
        Map<String, String> large = Map.of("shapes", "x".repeat(65_000), "more", "y".repeat(2_000));
        Hello hello = new Hello("1", "job", 0, 1, "host", "", 1, new TreeMap<>(large));
        Hello longer = new Hello("1", "job", 0, 1, "host", "", 1, new TreeMap<>(Map.of("a", "x".repeat(70_000))));
        assertThrows(IllegalArgumentException.class, longer::encode);
        assertEquals(
                "a fingerprint must have at most 256 entries and 65536 bytes (use hashes): got 2 and 67052",
                assertThrows(IllegalArgumentException.class, hello::encode).getMessage());
    }
}
