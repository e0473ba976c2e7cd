package io.github.treeattention.nativeops.ptx;

/** A launch, as all of its blocks see it. */
final class PtxLaunch {
    final PtxKernel kernel;
    final Dim grid;
    final Dim block;
    final int dynamicShared;
    final byte[] parameters;
    /** The stamp at which it began. */
    final long start;

    PtxLaunch(PtxKernel kernel, Dim grid, Dim block, int dynamicShared, byte[] parameters, long start) {
        this.kernel = kernel;
        this.grid = grid;
        this.block = block;
        this.dynamicShared = dynamicShared;
        this.parameters = parameters;
        this.start = start;
    }
}
