package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.PtxFault.Rule;

/**
 * Runs PTX on the CPU, one thread block after another, and checks every access and every barrier: the first fault throws and
 * names the lines of .cu and PTX, the thread and the byte. Not thread-safe. What it cannot show: see docs/cuda.md.
 */
public final class PtxSimulator {
    /** Warp instructions after which a block counts as endless. */
    private static final long LIMIT = 5_000_000;

    private static final int MAX_GRID_YZ = 65_535;
    private static final int MAX_THREADS = 1024;

    private final GlobalMemory memory = new GlobalMemory();
    private final Block.Clock clock = new Block.Clock();
    private final int maxSharedBytes;
    private final long seed;
    private final Arithmetic arithmetic;

    /**
     * @param maxSharedBytes the most shared memory that a block may have
     * @param seed of the order in which warps run; 0: each as long as it can
     */
    public PtxSimulator(int maxSharedBytes, long seed, Arithmetic arithmetic) {
        this.maxSharedBytes = maxSharedBytes;
        this.seed = seed;
        this.arithmetic = arithmetic;
    }

    public GlobalMemory memory() {
        return memory;
    }

    /** Runs a kernel to its end. {@code parameters} are the bytes of all its parameters as the driver lays them out. */
    public Counters launch(PtxModule module, String name, Dim grid, Dim block, int dynamicShared, byte[] parameters) {
        PtxKernel kernel = module.kernel(name);
        check(kernel, grid, block, dynamicShared, parameters);
        Counters counters = new Counters(kernel);
        Scheduler scheduler = new Scheduler(seed, LIMIT);
        PtxLaunch launch = new PtxLaunch(kernel, grid, block, dynamicShared, parameters.clone(), clock.next());
        for (int z = 0; z < grid.z(); z++) {
            for (int y = 0; y < grid.y(); y++) {
                for (int x = 0; x < grid.x(); x++) {
                    scheduler.run(new Block(launch, x, y, z, clock, memory, counters, arithmetic));
                }
            }
        }
        return counters;
    }

    private void check(PtxKernel kernel, Dim grid, Dim block, int dynamicShared, byte[] parameters) {
        require(
                parameters.length == kernel.parameterBytes,
                kernel.name + " takes " + kernel.parameterBytes + " bytes of parameters " + kernel.parameters + ", got "
                        + parameters.length);
        require(
                grid.x() > 0 && grid.y() > 0 && grid.z() > 0 && grid.y() <= MAX_GRID_YZ && grid.z() <= MAX_GRID_YZ,
                "grid " + grid);
        require(block.x() > 0 && block.y() > 0 && block.z() > 0 && block.z() <= 64, "block " + block);
        require(
                block.count() <= Math.min(MAX_THREADS, kernel.maxThreads),
                kernel.name + " takes at most " + kernel.maxThreads + " threads in a block, got " + block.count());
        require(
                dynamicShared >= 0 && kernel.staticShared + dynamicShared <= maxSharedBytes,
                kernel.name + " wants " + kernel.staticShared + " + " + dynamicShared
                        + " bytes of shared memory, the device has " + maxSharedBytes);
    }

    private static void require(boolean holds, String detail) {
        if (!holds) {
            throw new PtxFault(Rule.LAUNCH, detail);
        }
    }
}
