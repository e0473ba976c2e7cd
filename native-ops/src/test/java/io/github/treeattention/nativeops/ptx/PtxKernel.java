package io.github.treeattention.nativeops.ptx;

import java.util.List;
import java.util.Map;

/** A parsed entry point. */
final class PtxKernel {
    final String name;
    final List<Parameter> parameters;
    /** Size of the block of parameters. */
    final int parameterBytes;
    /** Bytes of shared arrays with a size; dynamic shared memory starts here. */
    final int staticShared;
    /** The most threads of a block. */
    final int maxThreads;

    final Instruction[] code;
    final int predicates;
    /** The 32-bit and 64-bit registers as a warp starts. */
    final int[] image32;

    final long[] image64;
    /** Where %tid.x and its like lie in the 32-bit file. */
    final Map<String, Integer> specials;

    /** A parameter's place in the block of parameters. */
    record Parameter(String name, int offset, int bytes) {}

    PtxKernel(
            String name,
            List<Parameter> parameters,
            int parameterBytes,
            int staticShared,
            int maxThreads,
            Instruction[] code,
            Registers registers) {
        this.name = name;
        this.parameters = List.copyOf(parameters);
        this.parameterBytes = parameterBytes;
        this.staticShared = staticShared;
        this.maxThreads = maxThreads;
        this.code = code;
        this.predicates = registers.predicates();
        this.image32 = registers.image32();
        this.image64 = registers.image64();
        this.specials = registers.specials();
    }
}
