/**
 * Deeplearning4j's attention layers on this project's kernels: same parameters and JSON, memory linear in the sequence,
 * true gradients. Sequences come as DL4J has them, {@code [batch, features, time]}. Nothing of a transport may come in
 * here: a saved network knows no processes.
 */
package io.github.treeattention.dl4j;
