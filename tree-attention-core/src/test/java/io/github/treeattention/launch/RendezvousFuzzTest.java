package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.collective.Token;
import io.github.treeattention.collective.dataplane.DataPlaneOptions;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Whatever bytes come in place of what the control plane says: they are refused in its own words, or they are understood,
 * and then saying it again gives the same.
 */
@Tag("fuzz")
class RendezvousFuzzTest {
    private static final Hello HELLO =
            new Hello("1.2.3", "job", 3, 8, "höst", "tcp=1.2.3.4/5", 47, new TreeMap<>(Map.of("model", "abc")));
    private static final Verdict.Members MEMBERS =
            new Verdict.Members(2, 1, -42L, List.of("a", "hôst", "c"), List.of("", "tcp=::1/99", "x"));

    /** Reads what a payload says. */
    @FunctionalInterface
    private interface Decoder<T> {
        T decode(byte[] payload) throws IOException;
    }

    /** Writes it. */
    @FunctionalInterface
    private interface Encoder<T> {
        byte[] encode(T said) throws IOException;
    }

    private static <T> void check(byte[] payload, Decoder<T> decoder, Encoder<T> encoder) throws IOException {
        T said;
        try {
            said = decoder.decode(payload);
        } catch (ProtocolException refused) {
            return;
        }
        assertEquals(said, decoder.decode(encoder.encode(said)));
    }

    static Stream<byte[]> hellos() {
        return Stream.of(HELLO.encode(), Arrays.copyOf(HELLO.encode(), 20), new byte[0]);
    }

    @MethodSource("hellos")
    @FuzzTest(maxDuration = "60s")
    void hello(byte[] payload) throws IOException {
        check(payload, Hello::decode, Hello::encode);
    }

    static Stream<byte[]> welcomes() {
        return Stream.of(MEMBERS.encode(), Arrays.copyOf(MEMBERS.encode(), 30), new byte[20]);
    }

    @MethodSource("welcomes")
    @FuzzTest(maxDuration = "60s")
    void welcome(byte[] payload) throws IOException {
        check(payload, Verdict.Members::decode, Verdict.Members::encode);
    }

    static Stream<byte[]> verdicts() {
        return Stream.of(
                new Verdict.Abort(7, new Failure(7, "größer")).encode(),
                new Verdict.Rhythm(Duration.ofMillis(250), Duration.ofSeconds(5), true).encode(),
                new Verdict.Rhythm(Duration.ZERO, Duration.ofSeconds(5), true).encode(),
                new Verdict.Rhythm(Duration.ofMillis(250), Duration.ofMillis(250), true).encode(),
                new Verdict.Rhythm(Duration.ofMillis(250), Duration.ofDays(2), true).encode(),
                new ReformRequest(3, Reform.REPLACE, Duration.ofSeconds(1)).encode(),
                new byte[0]);
    }

    @MethodSource("verdicts")
    @FuzzTest(maxDuration = "60s")
    void verdict(byte[] payload) throws IOException {
        check(payload, Verdict.Abort::decode, Verdict.Abort::encode);
        check(payload, ReformRequest::decode, ReformRequest::encode);
        check(
                payload,
                bytes -> {
                    Verdict.Rhythm rhythm = Verdict.Rhythm.decode(bytes);
                    assertTrue(rhythm.interval().toMillis() > 0, rhythm::toString);
                    assertTrue(rhythm.limit().compareTo(rhythm.interval()) > 0, rhythm::toString);
                    assertTrue(rhythm.limit().toDays() <= 1, rhythm::toString);
                    return rhythm;
                },
                Verdict.Rhythm::encode);
    }

    static Stream<byte[]> plans() throws IOException {
        NodePlan plan = new NodePlan(
                "job",
                1,
                "token",
                4,
                2,
                "10.0.0.1",
                29500,
                Duration.ofSeconds(3),
                DataPlaneOptions.defaults(),
                new Program("Main", List.of("a"), "/c", List.of("-Xmx1g"), Map.of("A", "b"), new byte[3]));
        ByteArrayOutputStream written = new ByteArrayOutputStream();
        plan.write(new DataOutputStream(written));
        byte[] bytes = written.toByteArray();
        String text = new String(bytes, StandardCharsets.ISO_8859_1);
        byte[] unknownTransport = text.replace("\3tcp", "\3tcq").getBytes(StandardCharsets.ISO_8859_1);
        byte[] noRanks = bytes.clone();
        ByteBuffer.wrap(noRanks).putInt(text.indexOf("token") + 5 + Integer.BYTES, 0);
        ByteArrayOutputStream frame = new ByteArrayOutputStream();
        new NodeFrame(NodeFrame.Type.EXITED, 3, "137").write(new DataOutputStream(frame));
        return Stream.of(bytes, Arrays.copyOf(bytes, 40), unknownTransport, noRanks, frame.toByteArray());
    }

    /** What a launcher and its part on another host tell each other. */
    @MethodSource("plans")
    @FuzzTest(maxDuration = "60s")
    void plan(byte[] stream) {
        try {
            NodePlan plan = NodePlan.read(new DataInputStream(new ByteArrayInputStream(stream)));
            assertTrue(plan.localWorldSize() > 0 && plan.neededBytes() >= 0, plan::toString);
        } catch (IOException refused) {
            // In words.
        }
        try {
            NodeFrame.read(new DataInputStream(new ByteArrayInputStream(stream)))
                    .value();
        } catch (IOException refused) {
            // In words.
        }
    }

    static Stream<byte[]> strangers() {
        byte[] preamble = ByteBuffer.allocate(4 + 2 + Token.NONCE_LENGTH + Token.MAC_LENGTH)
                .putInt(Handshake.MAGIC)
                .putShort((short) Handshake.PROTOCOL_VERSION)
                .array();
        return Stream.of(preamble, Arrays.copyOf(preamble, 10), new byte[0]);
    }

    /** Whoever does not hold the token gets a nonce and no proof, as a rank and as a coordinator. */
    @MethodSource("strangers")
    @FuzzTest(maxDuration = "60s")
    void stranger(byte[] stream) {
        Token token = Token.of("secret");
        long deadline = System.nanoTime() + Duration.ofMinutes(10).toNanos();
        Script coordinators = new Script(stream);
        assertThrows(IOException.class, () -> Handshake.asCoordinator(coordinators, token, deadline));
        byte[] answer = coordinators.written.toByteArray();
        int preamble = 4 + 2 + Token.NONCE_LENGTH;
        assertTrue(answer.length == 0 || answer.length == preamble || answer.length == preamble + 1 + Token.MAC_LENGTH);
        for (int i = preamble; i < answer.length; i++) {
            assertEquals(0, answer[i], "no proof for a stranger");
        }
        assertThrows(IOException.class, () -> Handshake.asRank(new Script(stream), token, deadline));
    }

    /** A peer that has said all it will, and what it is told. */
    private static final class Script extends Socket {
        private final InputStream said;
        private final ByteArrayOutputStream written = new ByteArrayOutputStream();

        Script(byte[] said) {
            this.said = new ByteArrayInputStream(said);
        }

        @Override
        public InputStream getInputStream() {
            return said;
        }

        @Override
        public OutputStream getOutputStream() {
            return written;
        }

        @Override
        public void setSoTimeout(int millis) {
            // It never waits.
        }
    }
}
