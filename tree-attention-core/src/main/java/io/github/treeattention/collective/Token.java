package io.github.treeattention.collective;

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.SecureRandom;
import java.util.HexFormat;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * The secret of a run and what is derived from it: HMAC-SHA256 under different labels, so no proof serves as another.
 * Immutable; never printed.
 */
public final class Token {
    /** Bytes of a proof. */
    public static final int MAC_LENGTH = 32;
    /** Bytes of a nonce. */
    public static final int NONCE_LENGTH = 32;

    private static final SecureRandom RANDOM = new SecureRandom();

    private final byte[] key;

    private Token(byte[] key) {
        this.key = key;
    }

    /** A new secret of 256 random bits, in hex. */
    public static String random() {
        return HexFormat.of().formatHex(nonce());
    }

    /** The key of a secret. An empty secret is a valid one that everybody knows. */
    public static Token of(String secret) {
        // A keyed hash refuses an empty key, so the secret goes in as the message.
        return new Token(
                mac("treeattn-token".getBytes(StandardCharsets.US_ASCII), secret.getBytes(StandardCharsets.UTF_8)));
    }

    /** Random bytes that no handshake has used before. */
    public static byte[] nonce() {
        byte[] nonce = new byte[NONCE_LENGTH];
        RANDOM.nextBytes(nonce);
        return nonce;
    }

    /**
     * What only a holder of the secret can compute.
     *
     * @param label what it proves, and to whom
     * @param parts what it is about, each of a length that the protocol fixes; both sides' nonces among them
     */
    public byte[] derive(String label, byte[]... parts) {
        byte[][] all = new byte[parts.length + 1][];
        all[0] = label.getBytes(StandardCharsets.US_ASCII);
        System.arraycopy(parts, 0, all, 1, parts.length);
        return mac(key, all);
    }

    /** HMAC-SHA256 of parts one after another. */
    public static byte[] mac(byte[] key, byte[]... parts) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
            for (byte[] part : parts) {
                mac.update(part);
            }
            return mac.doFinal();
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException("every Java platform has HmacSHA256", e);
        }
    }
}
