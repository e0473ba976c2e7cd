package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionOptionsContract;

/** What masks and dropout promise, NaN included, of the PTX that ships, run by the simulator. */
class SimulatedOptionsTest extends AttentionOptionsContract {
    private static final CudaKernel KERNEL = new CudaKernel(new SimulatedDriver());

    @Override
    protected AttentionKernel kernel() {
        return KERNEL;
    }

    @Override
    protected int trials(int usual) {
        return usual / 6;
    }
}
