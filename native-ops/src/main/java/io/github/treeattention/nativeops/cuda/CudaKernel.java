package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.DeviceKernel;
import io.github.treeattention.kernel.DeviceProblem;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.List;

/**
 * Attention by the kernels of the PTX in this jar. Host memory goes to the device with every call and the state comes back; arrays of
 * the device are used where they lie.
 */
final class CudaKernel implements DeviceKernel {
    private static final int PINNED_BYTES = 4 << 20;
    /** What the tuned kernels copy at once, aligned to as much; {@link LaunchPlan#plain} reads floats. */
    private static final int COPY_BYTES = 16;

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
            DeviceKeys keys = DeviceKeys.upload(memory, spec, queries, shards, null);
            Problem problem = Problem.upload(memory, spec, queries, keys);
            LaunchPlan plan = LaunchPlan.of(device, spec, type, queries.batch(), queries.count(), keys.mostTiles);
            long result = memory.allocate((long) state.rows().capacity() * Float.BYTES);
            if (!run(plan, memory, problem, result, 0)) {
                plan = LaunchPlan.plain(device, spec, type, queries.batch(), queries.count(), keys.mostTiles);
                run(plan, memory, problem, result, 0);
            }
            memory.read(result, state.rows(), state.rows().capacity());
        }
    }

    @Override
    public synchronized void partial(AttentionSpec spec, DeviceProblem there, long state) {
        try (CallMemory memory = new CallMemory(driver, pinned)) {
            DeviceKeys keys = DeviceKeys.inPlace(memory, spec, there, 0, 0);
            Problem problem = Problem.inPlace(memory, spec, there, keys);
            boolean aligned = (there.keysAt() | there.valuesAt()) % COPY_BYTES == 0; // a view may begin anywhere
            LaunchPlan plan = aligned
                    ? LaunchPlan.of(device, spec, KvType.F32, there.batch(), there.queries(), keys.mostTiles)
                    : LaunchPlan.plain(device, spec, KvType.F32, there.batch(), there.queries(), keys.mostTiles);
            run(plan, memory, problem, state, there.stream()); // no kernel for float32 needs finite values
            driver.synchronize(); // before the call's memory goes
        }
    }

    /** False if the result is void, since the kernel cannot serve values that are not finite and there are some. */
    private boolean run(LaunchPlan plan, CallMemory memory, Problem problem, long result, long stream) {
        long bytes = (long) problem.rowCount() * problem.rowLength() * Float.BYTES;
        long parts = plan.splits() == 1 ? result : memory.allocate(plan.splits() * bytes);
        FloatBuffer flag = Queries.allocate(1); // an int 0
        long notFinite = plan.needsFiniteValues() ? memory.upload(flag, 0, 1) : 0;
        launch(plan, problem.forward(parts, notFinite, plan.splits(), plan.valueChunks()), stream);
        if (plan.splits() > 1) {
            int rows = problem.rowCount();
            Launch merge = new Launch(rows, 1, 1, 128, 1, plan.splits() * Float.BYTES);
            launch(
                    new LaunchPlan("merge", 1, 1, merge),
                    Problem.merge(parts, result, rows, problem.rowLength(), plan.splits()),
                    stream);
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
            DeviceKeys keys = DeviceKeys.upload(memory, spec, queries, shards, sums);
            Problem problem = Problem.upload(memory, spec, queries, keys);
            long whole = memory.upload(state.rows(), 0, state.rows().capacity());
            long gradient =
                    memory.upload(stateGradient.rows(), 0, stateGradient.rows().capacity());
            if (keys.mostTiles == 0) {
                return;
            }
            runBackward(
                    memory, spec, type, queries.batch(), queries.count(), keys, problem, whole, gradient, sums[0], 0);
            for (int i = 0; i < sums.length; i++) {
                memory.read(sums[i], host[i], floats[i]);
            }
        }
    }

    @Override
    public synchronized void backward(
            AttentionSpec spec,
            DeviceProblem there,
            long state,
            long stateGradient,
            long queryGradients,
            long keyGradients,
            long valueGradients) {
        try (CallMemory memory = new CallMemory(driver, pinned)) {
            DeviceKeys keys = DeviceKeys.inPlace(memory, spec, there, keyGradients, valueGradients);
            if (keys.mostTiles == 0) {
                return;
            }
            Problem problem = Problem.inPlace(memory, spec, there, keys);
            runBackward(
                    memory,
                    spec,
                    KvType.F32,
                    there.batch(),
                    there.queries(),
                    keys,
                    problem,
                    state,
                    stateGradient,
                    queryGradients,
                    there.stream());
            driver.synchronize(); // before the call's memory goes
        }
    }

    private void runBackward(
            CallMemory memory,
            AttentionSpec spec,
            KvType type,
            int batch,
            int queries,
            DeviceKeys keys,
            Problem problem,
            long state,
            long stateGradient,
            long queryGradients,
            long stream) {
        long deltas = memory.allocate((long) problem.rowCount() * Float.BYTES);
        ByteBuffer parameter = problem.backward(state, stateGradient, queryGradients, deltas);
        for (LaunchPlan plan : LaunchPlan.backward(spec, type, batch, queries, keys.mostTiles)) {
            launch(plan, parameter, stream);
        }
    }

    private void launch(LaunchPlan plan, ByteBuffer parameter, long stream) {
        driver.launch(driver.function(module, plan.kernel()), plan.launch(), parameter, stream);
    }
}
