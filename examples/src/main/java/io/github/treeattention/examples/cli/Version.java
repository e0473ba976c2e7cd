package io.github.treeattention.examples.cli;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Properties;
import picocli.CommandLine.IVersionProvider;

/** Versions of what runs here. The build writes them into a resource. */
final class Version implements IVersionProvider {
    private static final Properties BUILD = load();

    @Override
    public String[] getVersion() {
        return new String[] {"treeattn " + of("treeattn")};
    }

    /** The version of a component named in {@code versions.properties}. */
    static String of(String component) {
        return BUILD.getProperty(component, "unknown");
    }

    private static Properties load() {
        Properties properties = new Properties();
        try (InputStream in = Version.class.getResourceAsStream("versions.properties")) {
            properties.load(in);
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
        return properties;
    }
}
