package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionMask;

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
        long stream) {}
