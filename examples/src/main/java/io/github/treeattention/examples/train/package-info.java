/**
 * Training of LLaMA-style models with the sequence spread over ranks: forward and backward by hand on products of
 * matrices, attention by the kernels, activations recomputed, weights and optimizer whole or sharded.
 */
package io.github.treeattention.examples.train;
