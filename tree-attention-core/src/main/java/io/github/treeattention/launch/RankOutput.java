package io.github.treeattention.launch;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/** Receives what the ranks of a run print, line by line. The launcher calls it from one thread at a time. */
@FunctionalInterface
public interface RankOutput {

    /** Where a rank printed. */
    enum Stream {
        STDOUT,
        STDERR
    }

    /**
     * Takes one line.
     *
     * @param rank who printed it
     * @param line without its end; a line of more than 65536 characters arrives in pieces
     */
    void line(int rank, Stream stream, String line);

    /** Copies lines to this process's own streams, each after its rank in brackets. */
    static RankOutput prefixed() {
        // The descriptors themselves, as a child that inherits them would write to.
        return prefixed(stream(FileDescriptor.out), stream(FileDescriptor.err));
    }

    /** Copies lines to two streams, each after its rank in brackets. */
    static RankOutput prefixed(PrintStream out, PrintStream err) {
        return (rank, stream, line) -> (stream == Stream.STDOUT ? out : err).println("[" + rank + "] " + line);
    }

    private static PrintStream stream(FileDescriptor descriptor) {
        return new PrintStream(new FileOutputStream(descriptor), true, StandardCharsets.UTF_8);
    }
}
