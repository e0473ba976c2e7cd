package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.dataplane.DataPlaneOptions.Links;
import io.github.treeattention.examples.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;

class LinkOptionsTest {
    @TempDir
    private Path directory;

    private static LinkOptions options(String... arguments) {
        LinkOptions options = new LinkOptions();
        new CommandLine(CommandLine.Model.CommandSpec.forAnnotatedObject(options)).parseArgs(arguments);
        return options;
    }

    private LinkOptions rankFile(String text) throws IOException {
        return options(
                "--rank-file",
                Files.writeString(directory.resolve("ranks"), text).toString());
    }

    @Test
    void shouldPlaceRanksAsTheFileSays() throws Exception {
        LinkOptions options =
                rankFile("# which rank runs where\n2 beta\n\n0 alpha   # the first\n1\tme@beta.example\n3 [::1]\n");
        assertEquals(List.of("alpha", "me@beta.example", "beta", "[::1]"), options.placement(9));
        assertEquals(4, options.ranks(9));
        assertEquals(1, options.mostRanksOnAHost(9));
        assertEquals(2, rankFile("0 a\n1 b\n2 a\n").mostRanksOnAHost(9));
        assertEquals(List.of("a", "a", "b"), options("--hosts", "a:2,b").placement(9));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "0 a\n2 b\n",
                "0 a\n0 b\n",
                "1 a\n",
                "0\n",
                "a 0\n",
                "0 -oProxyCommand=x\n",
                "0 a b\n",
                "0 a;b\n",
                "",
                "-1 a\n"
            })
    void shouldRefuseAFileThatDoesNotPlaceEveryRankOnce(String text) {
        InputException failure =
                assertThrows(InputException.class, () -> rankFile(text).placement(1));
        assertTrue(failure.getMessage().startsWith("--rank-file must"), failure.getMessage());
    }

    @Test
    void shouldRefuseMoreRanksThanARunHas() {
        String many = IntStream.range(0, 65).mapToObj(rank -> rank + " a\n").collect(Collectors.joining());
        assertTrue(assertThrows(InputException.class, () -> rankFile(many).placement(1))
                .getMessage()
                .contains("at most 64 ranks"));
        assertThrows(InputException.class, () -> options("--hosts", "a", "--rank-file", "x")
                .placement(1));
    }

    @ParameterizedTest
    @CsvSource({"auto, AUTO", "udp, UDP", "tcp, TCP", "tcp-only, TCP_ONLY"})
    void shouldTakeTheLinksThatAreAskedFor(String name, Links links) {
        assertEquals(links, options("--transport", name).dataPlane().links());
    }

    @Test
    void shouldRefuseTlsOverUdpAsBadInput() {
        InputException failure =
                assertThrows(InputException.class, () -> options("--transport", "udp", "--tls-keystore", "k.p12")
                        .dataPlane());
        assertTrue(failure.getMessage().contains("TLS is for TCP"), failure.getMessage());
    }
}
