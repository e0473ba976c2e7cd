package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionSpec;

/**
 * A kernel that also works where arrays lie in its device's memory, so that none of their bytes crosses. What it computes is what
 * {@link AttentionKernel} says. Thread-safe. A call returns when the results are there.
 */
public interface DeviceKernel extends AttentionKernel {

    /**
     * {@link AttentionKernel#partial} of a problem on the device.
     *
     * @param state address of {@code [batch, heads, queries][valueDim + 1]} float32, overwritten
     */
    void partial(AttentionSpec spec, DeviceProblem problem, long state);

    /**
     * {@link AttentionKernel#backward} of a problem on the device: adds to the gradients.
     *
     * @param state address of {@code [batch, heads, queries][valueDim + 1]} float32, over all keys
     * @param stateGradient address of the same shape
     * @param queryGradients address of the queries' shape
     * @param keyGradients address of the keys' shape
     * @param valueGradients address of the values' shape
     */
    void backward(
            AttentionSpec spec,
            DeviceProblem problem,
            long state,
            long stateGradient,
            long queryGradients,
            long keyGradients,
            long valueGradients);
}
