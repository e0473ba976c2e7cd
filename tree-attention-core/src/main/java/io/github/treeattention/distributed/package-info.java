/** Attention over the shards of all ranks: the only package that knows both kernels and collectives. */
package io.github.treeattention.distributed;
