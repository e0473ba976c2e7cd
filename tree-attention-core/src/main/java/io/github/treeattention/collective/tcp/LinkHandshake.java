package io.github.treeattention.collective.tcp;

import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Token;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.function.Predicate;

/**
 * How both ends of a new connection prove that they hold the run's token, without showing it, and agree on whose link it
 * is. All messages have a fixed length, so a stranger cannot make either side allocate anything. Big-endian:
 *
 * <pre>
 * dialer     magic u32, version u16, its rank u16, the acceptor's rank u16, epoch u32, group id u64, nonce of 32 bytes
 * acceptor   magic u32, version u16, nonce of 32 bytes
 * dialer     proof of 32 bytes
 * acceptor   verdict u8, proof of 32 bytes
 * </pre>
 */
final class LinkHandshake {
    /** Every change of a byte on the wire raises it. */
    static final int VERSION = 1;

    static final int MAGIC = 0x54414c4b; // "TALK"
    private static final int PREAMBLE = Integer.BYTES + Short.BYTES;
    static final int INTRODUCTION_LENGTH = PREAMBLE + 2 * Short.BYTES + Integer.BYTES + Long.BYTES + Token.NONCE_LENGTH;
    static final int ANSWER_LENGTH = PREAMBLE + Token.NONCE_LENGTH;

    private static final byte ADMITTED = 1;
    private static final byte WRONG_TOKEN = 0;
    private static final byte NOT_WANTED = 2;

    private LinkHandshake() {}

    /** Whose link a connection is. */
    record Identity(long groupId, int epoch, int dialer, int acceptor) {
        static Identity of(ProcessGroup group, int acceptor) {
            return new Identity(group.groupId(), group.epoch(), group.rank(), acceptor);
        }

        private static Identity decode(ByteBuffer introduction) {
            int dialer = Short.toUnsignedInt(introduction.getShort());
            int acceptor = Short.toUnsignedInt(introduction.getShort());
            int epoch = introduction.getInt();
            return new Identity(introduction.getLong(), epoch, dialer, acceptor);
        }
    }

    /** The side that has asked for the connection. */
    static void dial(HandshakeIo io, Token token, Identity identity) throws IOException {
        byte[] introduction = ByteBuffer.allocate(INTRODUCTION_LENGTH)
                .putInt(MAGIC)
                .putShort((short) VERSION)
                .putShort((short) identity.dialer())
                .putShort((short) identity.acceptor())
                .putInt(identity.epoch())
                .putLong(identity.groupId())
                .put(Token.nonce())
                .array();
        io.write(introduction);
        byte[] answer = io.read(ANSWER_LENGTH);
        checkPreamble(ByteBuffer.wrap(answer));
        io.write(token.derive("link-dialer", introduction, answer));
        byte[] verdict = io.read(1 + Token.MAC_LENGTH);
        if (verdict[0] == NOT_WANTED) {
            throw new LinkRefusedException("it does not want this link: it is in a later epoch");
        }
        if (verdict[0] != ADMITTED) {
            throw new LinkRefusedException("it holds another token");
        }
        byte[] proof = Arrays.copyOfRange(verdict, 1, verdict.length);
        if (!MessageDigest.isEqual(token.derive("link-acceptor", introduction, answer), proof)) {
            throw new LinkRefusedException("what answers there does not hold the token");
        }
    }

    /**
     * The other side.
     *
     * @param wanted whether a link is, asked once its peer has proved itself
     */
    static Identity accept(HandshakeIo io, Token token, Predicate<Identity> wanted) throws IOException {
        byte[] introduction = io.read(INTRODUCTION_LENGTH);
        byte[] answer = ByteBuffer.allocate(ANSWER_LENGTH)
                .putInt(MAGIC)
                .putShort((short) VERSION)
                .put(Token.nonce())
                .array();
        io.write(answer); // before the version is checked: it tells the peer which one we have
        ByteBuffer content = ByteBuffer.wrap(introduction);
        checkPreamble(content);
        Identity identity = Identity.decode(content);
        byte[] proof = io.read(Token.MAC_LENGTH);
        byte[] verdict = new byte[1 + Token.MAC_LENGTH];
        if (!MessageDigest.isEqual(token.derive("link-dialer", introduction, answer), proof)) {
            verdict[0] = WRONG_TOKEN;
            io.write(verdict);
            throw new LinkRefusedException("it does not hold the token");
        }
        boolean admitted = wanted.test(identity);
        verdict[0] = admitted ? ADMITTED : NOT_WANTED;
        System.arraycopy(token.derive("link-acceptor", introduction, answer), 0, verdict, 1, Token.MAC_LENGTH);
        io.write(verdict);
        if (!admitted) {
            throw new LinkRefusedException("the link " + identity + " is not wanted");
        }
        return identity;
    }

    private static void checkPreamble(ByteBuffer message) throws LinkRefusedException {
        if (message.getInt() != MAGIC) {
            throw new LinkRefusedException("it does not speak the link protocol of tree-attention");
        }
        int version = Short.toUnsignedInt(message.getShort());
        if (version != VERSION) {
            throw new LinkRefusedException("link protocol version must match: wanted " + VERSION + ", got " + version);
        }
    }
}
