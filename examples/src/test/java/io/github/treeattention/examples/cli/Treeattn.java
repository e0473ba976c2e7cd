package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.launch.SharedMemory;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/**
 * A finished call of the command in this JVM, and what it must leave behind: nothing.
 *
 * @param exitCode as the shell would see it
 * @param out standard output
 * @param err the command's own messages; progress and ranks' logs go to the real standard error
 */
record Treeattn(int exitCode, String out, String err) {

    static Treeattn run(String... args) throws IOException {
        StringWriter out = new StringWriter();
        StringWriter err = new StringWriter();
        int code = TreeAttn.execute(new PrintWriter(out), new PrintWriter(err), args);
        assertNothingIsLeft();
        return new Treeattn(code, out.toString(), err.toString());
    }

    /** Exit code 2, nothing on stdout, and a message that has all the parts. */
    void assertBadInput(String... parts) {
        assertEquals(ExitCode.BAD_INPUT, exitCode, this::toString);
        assertEquals("", out);
        for (String part : parts) {
            assertTrue(err.contains(part), "'" + part + "' is not in: " + err);
        }
    }

    /** No child process of this one, and no job directory of this process. */
    static void assertNothingIsLeft() throws IOException {
        List<Long> children =
                ProcessHandle.current().descendants().map(ProcessHandle::pid).toList();
        assertEquals(List.of(), children);
        assertEquals(List.of(), jobDirectories(ProcessHandle.current().pid()));
    }

    /** Directories of runs that this process launched. */
    static List<Path> jobDirectories(long launcherPid) throws IOException {
        try (Stream<Path> files = Files.list(SharedMemory.directory())) {
            return files.filter(file -> file.getFileName().toString().matches("treeattn-\\d+-.*"))
                    .filter(file -> isLaunchedBy(file.resolve("launcher.pid"), launcherPid))
                    .toList();
        }
    }

    private static boolean isLaunchedBy(Path pidFile, long launcherPid) {
        try {
            return Files.readString(pidFile).equals(String.valueOf(launcherPid));
        } catch (IOException anotherRunEnds) {
            return false;
        }
    }
}
