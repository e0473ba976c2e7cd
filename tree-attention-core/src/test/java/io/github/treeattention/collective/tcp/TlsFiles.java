package io.github.treeattention.collective.tcp;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Keystores as a user makes them: with the JDK's keytool. */
final class TlsFiles {
    static final String PASSWORD = "changeit";

    private TlsFiles() {}

    /** A new self-signed certificate. */
    static Path keystore(Path directory, String name) throws IOException, InterruptedException {
        Path file = directory.resolve(name + ".p12");
        Process keytool = new ProcessBuilder(List.of(
                        Path.of(System.getProperty("java.home"), "bin", "keytool")
                                .toString(),
                        "-genkeypair",
                        "-keyalg",
                        "EC",
                        "-alias",
                        name,
                        "-keystore",
                        file.toString(),
                        "-storepass",
                        PASSWORD,
                        "-dname",
                        "CN=" + name,
                        "-validity",
                        "2"))
                .inheritIO()
                .start();
        assertEquals(true, keytool.waitFor(60, TimeUnit.SECONDS));
        assertEquals(0, keytool.exitValue());
        return file;
    }

    static Tls tls(Path keystore) throws IOException {
        return Tls.fromKeystore(keystore, PASSWORD.toCharArray());
    }
}
