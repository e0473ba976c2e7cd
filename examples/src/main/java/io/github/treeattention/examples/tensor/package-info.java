/** Rows of float32 that Java and ND4J share, and the decoder's layers on them with their gradients. */
package io.github.treeattention.examples.tensor;
