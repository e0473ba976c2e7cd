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
 * @param prefill how ranks share the work on a chunk
 */
public record DecoderOptions(KvType kvType, int pageSize, long maxKvBytes, int chunk, Prefill prefill) {

    /** How ranks share the work on a chunk of a prompt. */
    public enum Prefill {
        /** Each has a run of the chunk's tokens; for attention, queries or keys move, whichever takes fewer bytes. */
        AUTO,
        /** Each has a run of the chunk's tokens, and its queries go to the keys. */
        QUERIES,
        /** Each has a run of the chunk's tokens, and keys and values go round the ring to the queries. */
        KEYS,
        /** Each computes all tokens, and attention alone is shared, as it is in decoding. */
        WHOLE
    }

    public DecoderOptions {
        Objects.requireNonNull(kvType, "kvType");
        Objects.requireNonNull(prefill, "prefill");
        if (pageSize < 1 || maxKvBytes < 1 || chunk < 1) {
            throw new IllegalArgumentException("pageSize, maxKvBytes and chunk must be at least 1: got " + pageSize
                    + ", " + maxKvBytes + " and " + chunk);
        }
    }

    /** Float32 pages of 128 positions without a limit of their own, prompts in chunks of 128. */
    public static DecoderOptions defaults() {
        return new DecoderOptions(KvType.F32, 128, Long.MAX_VALUE, 128, Prefill.AUTO);
    }

    public DecoderOptions withKvType(KvType newKvType) {
        return new DecoderOptions(newKvType, pageSize, maxKvBytes, chunk, prefill);
    }

    public DecoderOptions withPageSize(int newPageSize) {
        return new DecoderOptions(kvType, newPageSize, maxKvBytes, chunk, prefill);
    }

    public DecoderOptions withMaxKvBytes(long newMaxKvBytes) {
        return new DecoderOptions(kvType, pageSize, newMaxKvBytes, chunk, prefill);
    }

    public DecoderOptions withChunk(int newChunk) {
        return new DecoderOptions(kvType, pageSize, maxKvBytes, newChunk, prefill);
    }

    public DecoderOptions withPrefill(Prefill newPrefill) {
        return new DecoderOptions(kvType, pageSize, maxKvBytes, chunk, newPrefill);
    }
}
