package io.github.treeattention.collective.tcp;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Keystores as a user makes them: with the JDK's keytool. */
final class TlsFiles {
    static final String PASSWORD = "changeit";

    private TlsFiles() {}

    /** A new self-signed certificate. */
    static Path keystore(Path directory, String name) throws IOException, InterruptedException {
        Path file = directory.resolve(name + ".p12");
        keytool(file, "-genkeypair", "-keyalg", "EC", "-alias", name, "-dname", "CN=" + name, "-validity", "2");
        return file;
    }

    /** Makes one trust the other's certificate, which does not make the other trust it. */
    static void trust(Path keystore, Path other, String name) throws IOException, InterruptedException {
        Path certificate = keystore.resolveSibling(name + ".crt");
        keytool(other, "-exportcert", "-alias", name, "-file", certificate.toString());
        keytool(keystore, "-importcert", "-noprompt", "-alias", name, "-file", certificate.toString());
    }

    private static void keytool(Path keystore, String... arguments) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "keytool").toString()));
        command.addAll(List.of(arguments));
        command.addAll(List.of("-keystore", keystore.toString(), "-storepass", PASSWORD));
        Process keytool = new ProcessBuilder(command).inheritIO().start();
        assertTrue(keytool.waitFor(60, TimeUnit.SECONDS));
        assertEquals(0, keytool.exitValue());
    }

    static Tls tls(Path keystore) throws IOException {
        return Tls.fromKeystore(keystore, PASSWORD.toCharArray());
    }
}
