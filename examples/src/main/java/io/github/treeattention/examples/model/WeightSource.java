package io.github.treeattention.examples.model;

import java.io.Closeable;
import java.nio.channels.FileChannel;
import java.nio.file.Path;

/** A checkpoint whose files have been checked against their configuration, but not read yet. */
interface WeightSource extends Closeable {

    LlamaConfig config();

    /** Where a tensor lies; {@code layer} is ignored for those that exist once. */
    Slice slice(Part part, int layer);

    /**
     * A tensor's values in a file, in row-major order.
     *
     * @param offset first byte; the tensor's end lies within the file
     */
    record Slice(Path file, FileChannel channel, long offset, StorageType type, long count) {}
}
