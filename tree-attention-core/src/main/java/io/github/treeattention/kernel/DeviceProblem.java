package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionMask;
import java.util.Objects;

/**
 * Queries, keys and values in a device's memory, float32, dense and row-major. The key at index {@code j} is at global position
 * {@code j}.
 *
 * @param firstPosition global position of the first query, of every batch row
 * @param mask in host memory, by global positions
 * @param queriesAt address of {@code [batch, heads, queries, headDim]}
 * @param keysAt address of {@code [batch, kvHeads, keys, headDim]}
 * @param valuesAt address of {@code [batch, kvHeads, keys, valueDim]}
 * @param stream the device's queue to work in, whose earlier work made the arrays; 0 for its default one
 */
public record DeviceProblem(
        int batch,
        int queries,
        int keys,
        long firstPosition,
        AttentionMask mask,
        long queriesAt,
        long keysAt,
        long valuesAt,
        long stream) {

    /** @throws IllegalArgumentException if there is nothing to compute, or an address is that of no float */
    public DeviceProblem {
        Objects.requireNonNull(mask, "mask");
        if (batch < 1 || queries < 1 || keys < 1) {
            throw new IllegalArgumentException("batch, queries and keys must be at least 1: got batch=" + batch
                    + ", queries=" + queries + ", keys=" + keys);
        }
        for (long address : new long[] {queriesAt, keysAt, valuesAt}) {
            if (address == 0 || address % Float.BYTES != 0) {
                throw new IllegalArgumentException("arrays lie at addresses of floats, multiples of " + Float.BYTES
                        + " that are not 0: got " + address);
            }
        }
        mask.requireKeys(keys);
    }
}
