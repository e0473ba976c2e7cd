package io.github.treeattention.cache;

import java.nio.ByteBuffer;

/**
 * Tells the operating system how a cache's memory will be used; found by {@link java.util.ServiceLoader}, optional.
 * tree-attention-native asks for huge pages, which decoding reads up to 1.4 times as fast.
 */
public interface MemoryAdvice {
    /**
     * Called once for a large block, before anything is written to it: it will be read from front to back, often. Must
     * leave its content as it is, all zeros. May do nothing, and must not throw where advice cannot be given.
     *
     * @param zeros direct, the whole block
     */
    void expectStreaming(ByteBuffer zeros);
}
