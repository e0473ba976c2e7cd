package io.github.treeattention.cache;

/** A rank's part of the cache would outgrow what it may hold. Nothing was stored. */
public final class KvCacheFullException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    KvCacheFullException(int rank, long positions, long wantedBytes, long maxBytes) {
        super("the KV cache of rank " + rank + " must hold at most " + maxBytes + " bytes: " + positions
                + " positions need " + wantedBytes + "; use more ranks, a shorter context or a 16-bit KV type");
    }
}
