package io.github.treeattention.collective.tcp;

import java.io.IOException;
import java.io.InputStream;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.util.Collections;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLException;
import javax.net.ssl.TrustManagerFactory;

/**
 * Encryption of data links: TLS 1.3, both sides with a certificate. Immutable. Host names are not compared: who may join
 * is decided by certificate and token, not by address.
 */
public final class Tls {
    private static final String[] PROTOCOLS = {"TLSv1.3"};

    private final SSLContext context;

    private Tls(SSLContext context) {
        this.context = context;
    }

    /**
     * Keys and trust from one PKCS12 or JKS file: a private key with its certificate, and the certificates that are
     * trusted. With a self-signed certificate, the same file on every host is all that is needed.
     *
     * @throws IOException if the file cannot be read with this password, or holds no private key; says what to do
     */
    public static Tls fromKeystore(Path file, char[] password) throws IOException {
        try (InputStream in = Files.newInputStream(file)) {
            KeyStore store = KeyStore.getInstance("PKCS12"); // reads JKS too
            store.load(in, password);
            boolean hasKey = false;
            for (String alias : Collections.list(store.aliases())) {
                hasKey |= store.isKeyEntry(alias);
            }
            if (!hasKey) {
                throw new IOException("it has no private key; make one with 'keytool -genkeypair -keyalg EC -alias"
                        + " treeattn -keystore " + file + " -dname CN=treeattn -validity 365'");
            }
            KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            keys.init(store, password);
            TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(store);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
            return new Tls(context);
        } catch (IOException | GeneralSecurityException e) {
            throw new IOException(
                    "the TLS keystore " + file + " must be a readable PKCS12 or JKS file with a private key: "
                            + e.getMessage(),
                    e);
        }
    }

    Wire wire(SocketChannel channel, boolean dialer, int mostBytes) throws SSLException {
        SSLEngine engine = context.createSSLEngine();
        engine.setUseClientMode(dialer);
        engine.setEnabledProtocols(PROTOCOLS);
        if (!dialer) {
            engine.setNeedClientAuth(true);
        }
        return new TlsWire(channel, engine, mostBytes);
    }
}
