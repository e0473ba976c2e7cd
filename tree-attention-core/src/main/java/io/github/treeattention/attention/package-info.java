/**
 * The vocabulary: what attention is asked for, and the (out, lse) state whose merge makes sharding exact. Nothing of
 * kernels, caches or networks may come in here.
 */
package io.github.treeattention.attention;
