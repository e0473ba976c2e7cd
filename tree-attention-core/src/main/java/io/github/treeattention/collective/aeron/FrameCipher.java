package io.github.treeattention.collective.aeron;

import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Token;
import java.nio.ByteBuffer;
import java.security.GeneralSecurityException;
import javax.crypto.AEADBadTagException;
import javax.crypto.Cipher;
import javax.crypto.SecretKey;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;

/**
 * What makes a frame one of the run's, on one link in one direction: AES-256-GCM under a key of its own, which only
 * holders of the token can compute. Each message starts with the number that makes its encryption unique; the number of
 * the frame on the link is not sent but signed, so a frame can neither be changed nor taken for another one.
 */
final class FrameCipher {
    private static final int NUMBER_LENGTH = Long.BYTES;
    private static final int TAG_LENGTH = 16;
    /** What a message has besides its frame. */
    static final int OVERHEAD = NUMBER_LENGTH + TAG_LENGTH;

    private static final String ALGORITHM = "AES/GCM/NoPadding";
    private static final int IV_LENGTH = 12;

    private final Cipher cipher;
    private final SecretKey key;
    private final ByteBuffer iv = ByteBuffer.allocate(IV_LENGTH);
    private final ByteBuffer frameNumber = ByteBuffer.allocate(Long.BYTES);
    private long sealed;
    private long frames;

    FrameCipher(Token token, ProcessGroup group, int source, int destination) {
        key = new SecretKeySpec(token.derive("udp-frames", direction(group, source, destination)), "AES");
        try {
            cipher = Cipher.getInstance(ALGORITHM);
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException("every Java platform has " + ALGORITHM, e);
        }
    }

    /** A number that only holders of the token know: streams of other numbers are not even looked at. */
    static int sessionId(Token token, ProcessGroup group, int source, int destination) {
        return ByteBuffer.wrap(token.derive("udp-session", direction(group, source, destination)))
                .getInt();
    }

    private static byte[] direction(ProcessGroup group, int source, int destination) {
        return ByteBuffer.allocate(Long.BYTES + 3 * Integer.BYTES)
                .putLong(group.groupId())
                .putInt(group.epoch())
                .putInt(source)
                .putInt(destination)
                .array();
    }

    /** Writes the message of the next frame. The frame stays the next one until {@link #sent}. */
    void seal(ByteBuffer header, ByteBuffer payload, ByteBuffer message) {
        message.clear();
        message.putLong(sealed);
        try {
            begin(Cipher.ENCRYPT_MODE, sealed++);
            int headerPosition = header.position();
            int payloadPosition = payload.position();
            cipher.update(header, message);
            cipher.doFinal(payload, message);
            header.position(headerPosition);
            payload.position(payloadPosition);
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException("a frame could not be encrypted", e);
        }
        message.flip();
    }

    void sent() {
        frames++;
    }

    /**
     * Reads the message of the next frame.
     *
     * @return whether a holder of the token has made it, as this frame of this link
     */
    boolean open(ByteBuffer message, ByteBuffer frame) {
        frame.clear();
        if (message.remaining() < OVERHEAD) {
            return false;
        }
        try {
            begin(Cipher.DECRYPT_MODE, message.getLong());
            cipher.doFinal(message, frame);
        } catch (AEADBadTagException forged) {
            return false;
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException("a frame could not be decrypted", e);
        }
        frame.flip();
        frames++;
        return true;
    }

    private void begin(int mode, long number) throws GeneralSecurityException {
        iv.putLong(IV_LENGTH - NUMBER_LENGTH, number);
        cipher.init(mode, key, new GCMParameterSpec(8 * TAG_LENGTH, iv.array()));
        cipher.updateAAD(frameNumber.putLong(0, frames).array());
    }
}
