/** A simulator of PTX that checks what it runs: the CUDA kernels are tested with it, on machines without a GPU. */
package io.github.treeattention.nativeops.ptx;
