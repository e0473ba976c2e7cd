/**
 * The same attention on ND4J arrays and as SameDiff operations, with gradients. The only package of this module that
 * knows ND4J; it knows kernels but no network.
 */
package io.github.treeattention.samediff;
