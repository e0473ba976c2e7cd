package io.github.treeattention.launch;

import io.github.treeattention.collective.Token;
import java.io.IOException;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.Arrays;

/**
 * How both sides of a new control connection prove that they hold the run's token, without showing it. All messages have
 * a fixed length, so a stranger cannot make either side allocate anything, and learns the protocol version only.
 *
 * <pre>
 * both          magic u32, protocol version u16, nonce of 32 bytes: alike in every version; the rank speaks first
 * rank          proof of 32 bytes
 * coordinator   verdict u8, proof of 32 bytes
 * </pre>
 */
final class Handshake {
    /** Version of the control protocol. Every change of a byte on the wire raises it. */
    static final int PROTOCOL_VERSION = 4;

    static final int MAGIC = 0x54415454; // "TATT"
    private static final int PREAMBLE_LENGTH = 4 + 2 + Token.NONCE_LENGTH;
    private static final byte ADMITTED = 1;
    private static final byte REFUSED = 0;

    private Handshake() {}

    /** The rank's side. */
    static ControlChannel asRank(Socket socket, Token token, long deadlineNanos) throws IOException {
        byte[] ours = Token.nonce();
        sendPreamble(socket, ours);
        ByteBuffer preamble = receivePreamble(socket, deadlineNanos);
        checkVersion(preamble, "coordinator", "rank");
        byte[] theirs = nonce(preamble);
        socket.getOutputStream().write(token.derive("rank", ours, theirs));
        byte[] answer =
                ControlChannel.readExactly(socket.getInputStream(), socket, 1 + Token.MAC_LENGTH, deadlineNanos);
        if (answer[0] != ADMITTED) {
            throw new ProtocolException("the coordinator refused the token: " + RankEnvironment.TOKEN
                    + " must be the same in the launcher and in every rank");
        }
        byte[] proof = Arrays.copyOfRange(answer, 1, answer.length);
        if (!MessageDigest.isEqual(token.derive("coordinator", ours, theirs), proof)) {
            throw new ProtocolException("what answers at the coordinator's address does not hold the token");
        }
        return new ControlChannel(socket, token.derive("session", ours, theirs), false);
    }

    /** The coordinator's side. */
    static ControlChannel asCoordinator(Socket socket, Token token, long deadlineNanos) throws IOException {
        ByteBuffer preamble = receivePreamble(socket, deadlineNanos); // who only connects and listens gets nothing
        byte[] ours = Token.nonce();
        sendPreamble(socket, ours); // before the version is checked: it tells the peer which one we have
        checkVersion(preamble, "rank", "coordinator");
        byte[] theirs = nonce(preamble);
        byte[] proof = ControlChannel.readExactly(socket.getInputStream(), socket, Token.MAC_LENGTH, deadlineNanos);
        byte[] answer = new byte[1 + Token.MAC_LENGTH];
        if (!MessageDigest.isEqual(token.derive("rank", theirs, ours), proof)) {
            answer[0] = REFUSED;
            socket.getOutputStream().write(answer);
            throw new ProtocolException("a peer does not hold the token");
        }
        answer[0] = ADMITTED;
        System.arraycopy(token.derive("coordinator", theirs, ours), 0, answer, 1, Token.MAC_LENGTH);
        socket.getOutputStream().write(answer);
        return new ControlChannel(socket, token.derive("session", theirs, ours), true);
    }

    private static void sendPreamble(Socket socket, byte[] nonce) throws IOException {
        ByteBuffer preamble = ByteBuffer.allocate(PREAMBLE_LENGTH);
        preamble.putInt(MAGIC).putShort((short) PROTOCOL_VERSION).put(nonce);
        socket.getOutputStream().write(preamble.array());
    }

    private static ByteBuffer receivePreamble(Socket socket, long deadlineNanos) throws IOException {
        ByteBuffer preamble = ByteBuffer.wrap(
                ControlChannel.readExactly(socket.getInputStream(), socket, PREAMBLE_LENGTH, deadlineNanos));
        if (preamble.getInt(0) != MAGIC) {
            throw new ProtocolException("the other side does not speak the control protocol of tree-attention");
        }
        return preamble;
    }

    private static byte[] nonce(ByteBuffer preamble) {
        byte[] nonce = new byte[Token.NONCE_LENGTH];
        preamble.get(PREAMBLE_LENGTH - nonce.length, nonce);
        return nonce;
    }

    private static void checkVersion(ByteBuffer preamble, String peer, String self) throws ProtocolException {
        int version = Short.toUnsignedInt(preamble.getShort(4));
        if (version != PROTOCOL_VERSION) {
            throw new ProtocolException("control protocol version must match: " + self + "=" + PROTOCOL_VERSION + ", "
                    + peer + "=" + version);
        }
    }
}
