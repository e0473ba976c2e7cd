package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.List;

/** Attention by the kernels of the PTX in this jar. Host memory goes to the device with every call and the state comes back. */
final class CudaKernel implements AttentionKernel {
    private static final int PINNED_BYTES = 4 << 20;

    private final CudaDriver driver;
    private final CudaDevice device;
    private final long module;
    private final ByteBuffer pinned;

    CudaKernel(CudaDriver driver) {
        this.driver = driver;
        this.device = driver.device();
        this.module = driver.load(KernelSource.ptx());
        this.pinned = driver.allocatePinned(PINNED_BYTES);
    }

    @Override
    public String description() {
        return "cuda (" + device.name() + ")";
    }

    @Override
    public synchronized void partial(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state) {
        AttentionKernel.requireMatching(spec, queries, shards, state);
        KvType type = shards.get(0).layout().type();
        try (CallMemory memory = new CallMemory(driver, pinned)) {
            DeviceKeys keys = new DeviceKeys(memory, spec, queries, shards, null);
            Problem problem = new Problem(memory, spec, queries, keys);
            LaunchPlan plan = LaunchPlan.of(device, spec, type, queries.batch(), queries.count(), keys.mostTiles);
            long result = memory.allocate((long) state.rows().capacity() * Float.BYTES);
            if (!run(plan, memory, problem, state, result)) {
                plan = LaunchPlan.plain(device, spec, type, queries.batch(), queries.count(), keys.mostTiles);
                run(plan, memory, problem, state, result);
            }
            memory.read(result, state.rows(), state.rows().capacity());
        }
    }

    /** False if the result is void, since the kernel cannot serve values that are not finite and there are some. */
    private boolean run(LaunchPlan plan, CallMemory memory, Problem problem, AttentionState state, long result) {
        long bytes = (long) state.rows().capacity() * Float.BYTES;
        long parts = plan.splits() == 1 ? result : memory.allocate(plan.splits() * bytes);
        FloatBuffer flag = Queries.allocate(1); // an int 0
        long notFinite = plan.needsFiniteValues() ? memory.upload(flag, 0, 1) : 0;
        launch(plan, problem.forward(parts, notFinite, plan.splits(), plan.valueChunks()));
        if (plan.splits() > 1) {
            int rows = problem.rowCount();
            Launch merge = new Launch(rows, 1, 1, 128, 1, plan.splits() * Float.BYTES);
            launch(
                    new LaunchPlan("merge", 1, 1, merge),
                    Problem.merge(parts, result, rows, state.rowLength(), plan.splits()));
        }
        if (notFinite != 0) {
            memory.read(notFinite, flag, 1);
        }
        return Float.floatToRawIntBits(flag.get(0)) == 0;
    }

    @Override
    public synchronized void backward(
            AttentionSpec spec,
            Queries queries,
            List<KvShard> shards,
            AttentionState state,
            AttentionState stateGradient,
            AttentionGradients gradients) {
        AttentionKernel.requireMatching(spec, queries, shards, state, stateGradient, gradients);
        KvType type = shards.get(0).layout().type();
        try (CallMemory memory = new CallMemory(driver, pinned)) {
            int batch = shards.size();
            int[] floats = new int[1 + 2 * batch];
            FloatBuffer[] host = new FloatBuffer[floats.length];
            long[] sums = new long[floats.length];
            floats[0] = queries.batch() * queries.heads() * queries.count() * queries.headDim();
            host[0] = gradients.queries();
            for (int b = 0; b < batch; b++) {
                int rows = Math.multiplyExact(
                        spec.kvHeads(), Math.toIntExact(shards.get(b).totalLength()));
                floats[1 + b] = Math.multiplyExact(rows, spec.headDim());
                floats[1 + batch + b] = Math.multiplyExact(rows, spec.valueDim());
                host[1 + b] = gradients.keys(b);
                host[1 + batch + b] = gradients.values(b);
            }
            for (int i = 0; i < sums.length; i++) {
                sums[i] = memory.upload(host[i], 0, floats[i]);
            }
            DeviceKeys keys = new DeviceKeys(memory, spec, queries, shards, sums);
            Problem problem = new Problem(memory, spec, queries, keys);
            ByteBuffer parameter = problem.backward(
                    memory.upload(state.rows(), 0, state.rows().capacity()),
                    memory.upload(stateGradient.rows(), 0, stateGradient.rows().capacity()),
                    sums[0],
                    memory.allocate((long) problem.rowCount() * Float.BYTES));
            if (keys.mostTiles == 0) {
                return;
            }
            for (LaunchPlan plan : LaunchPlan.backward(spec, type, queries.batch(), queries.count(), keys.mostTiles)) {
                launch(plan, parameter);
            }
            for (int i = 0; i < sums.length; i++) {
                memory.read(sums[i], host[i], floats[i]);
            }
        }
    }

    private void launch(LaunchPlan plan, ByteBuffer parameter) {
        driver.launch(driver.function(module, plan.kernel()), plan.launch(), parameter);
    }
}
