package io.github.treeattention.examples.cli;

import io.github.treeattention.cache.KvCacheFullException;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.examples.ContextFullException;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.model.ModelFormatException;
import java.io.UncheckedIOException;
import java.nio.file.FileSystemException;

/** Exit codes of every command. */
final class ExitCode {
    static final int DONE = 0;
    static final int FAILED = 1;
    static final int BAD_INPUT = 2;
    static final int PEER_FAILED = 3;

    private ExitCode() {}

    static int of(Throwable failure) {
        if (failure instanceof RankFailedException rankFailed) {
            return rankFailed.exitCode();
        }
        if (failure instanceof CollectiveException) {
            return PEER_FAILED;
        }
        if (failure instanceof UncheckedIOException && failure.getCause() instanceof FileSystemException) {
            return BAD_INPUT; // a file that is not there or may not be read
        }
        if (failure instanceof InputException
                || failure instanceof ContextFullException
                || failure instanceof ModelFormatException
                || failure instanceof KvCacheFullException) {
            return BAD_INPUT;
        }
        return FAILED;
    }
}
