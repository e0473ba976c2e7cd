package io.github.treeattention.examples;

import io.github.treeattention.cache.KvType;
import java.util.Objects;

/**
 * How a {@link LlamaDecoder} keeps its context. All ranks of a group must have equal options. Immutable.
 *
 * @param kvType how keys and values are stored
 * @param pageSize consecutive positions on one rank, at least 1
 * @param maxKvBytes the most that one rank's keys and values may take
 * @param chunk tokens of a prompt that go through the layers together, at least 1
 */
public record DecoderOptions(KvType kvType, int pageSize, long maxKvBytes, int chunk) {

    public DecoderOptions {
        Objects.requireNonNull(kvType, "kvType");
        if (pageSize < 1 || maxKvBytes < 1 || chunk < 1) {
            throw new IllegalArgumentException("pageSize, maxKvBytes and chunk must be at least 1: got " + pageSize
                    + ", " + maxKvBytes + " and " + chunk);
        }
    }

    /** Float32 pages of 128 positions without a limit of their own, prompts in chunks of 128. */
    public static DecoderOptions defaults() {
        return new DecoderOptions(KvType.F32, 128, Long.MAX_VALUE, 128);
    }

    public DecoderOptions withKvType(KvType newKvType) {
        return new DecoderOptions(newKvType, pageSize, maxKvBytes, chunk);
    }

    public DecoderOptions withPageSize(int newPageSize) {
        return new DecoderOptions(kvType, newPageSize, maxKvBytes, chunk);
    }

    public DecoderOptions withMaxKvBytes(long newMaxKvBytes) {
        return new DecoderOptions(kvType, pageSize, newMaxKvBytes, chunk);
    }

    public DecoderOptions withChunk(int newChunk) {
        return new DecoderOptions(kvType, pageSize, maxKvBytes, newChunk);
    }
}
