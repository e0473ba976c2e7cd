/**
 * The C++ kernels behind core's {@link io.github.treeattention.kernel.AttentionKernel}: the loader and the only native
 * methods. Core finds it through ServiceLoader and never imports it.
 */
package io.github.treeattention.nativeops;
