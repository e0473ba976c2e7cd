package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.InputException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import picocli.CommandLine.Option;

/** {@code --hosts}: so far, this host. */
final class HostsOption {
    private static final Pattern THIS_HOST = Pattern.compile("(?:localhost|127\\.0\\.0\\.1)(?::(\\d{1,2}))?");

    @Option(
            names = "--hosts",
            paramLabel = "a:2,b:2",
            description = "Hosts and ranks on each. This version starts ranks on this host only: localhost:N.")
    private String hosts;

    /** The number of ranks that {@code --hosts} names, or {@code otherwise} where it names none. */
    int ranks(int otherwise) {
        if (hosts == null) {
            return otherwise;
        }
        Matcher matcher = THIS_HOST.matcher(hosts);
        if (!matcher.matches()) {
            throw new InputException("--hosts: this version starts ranks on this host only: want localhost or"
                    + " localhost:N, got '" + hosts + "'");
        }
        return matcher.group(1) == null ? otherwise : Integer.parseInt(matcher.group(1));
    }
}
