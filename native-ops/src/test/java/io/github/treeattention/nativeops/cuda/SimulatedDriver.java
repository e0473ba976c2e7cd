package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.nativeops.ptx.Arithmetic;
import io.github.treeattention.nativeops.ptx.Counters;
import io.github.treeattention.nativeops.ptx.Dim;
import io.github.treeattention.nativeops.ptx.GlobalMemory;
import io.github.treeattention.nativeops.ptx.PtxModule;
import io.github.treeattention.nativeops.ptx.PtxSimulator;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.UnaryOperator;

/**
 * A driver whose device is the PTX simulator. A launch runs to its end before it returns, and throws what the kernel broke.
 * Thread-safe, as every driver.
 */
final class SimulatedDriver implements CudaDriver {
    /** What compute capability 8.6 and 8.9 can have at most in a block: the least of all that we compile for. */
    private static final int SHARED_BYTES = 99 << 10;

    private static final int MULTIPROCESSORS = 4;

    private static final Map<String, PtxModule> PARSED = new HashMap<>();

    private record Function(PtxModule module, String name) {}

    private final CudaDevice device;
    private final UnaryOperator<String> edit;
    private final PtxSimulator simulator;
    private final List<PtxModule> modules = new ArrayList<>();
    private final List<Function> functions = new ArrayList<>();
    private final List<Counters> launches = new ArrayList<>();
    private long copiedIn;
    private final Set<Long> streams = new HashSet<>();
    private final Set<ByteBuffer> pinned = Collections.newSetFromMap(new IdentityHashMap<>());

    SimulatedDriver() {
        this(0, Arithmetic.NEAREST);
    }

    SimulatedDriver(long seed, Arithmetic arithmetic) {
        this(seed, arithmetic, UnaryOperator.identity());
    }

    /** @param device as which it shows itself */
    SimulatedDriver(CudaDevice device) {
        this(device, 0, Arithmetic.NEAREST, UnaryOperator.identity());
    }

    /** @param edit what happens to PTX before it is loaded: planted bugs */
    SimulatedDriver(long seed, Arithmetic arithmetic, UnaryOperator<String> edit) {
        this(new CudaDevice("simulated", 80, MULTIPROCESSORS, SHARED_BYTES), seed, arithmetic, edit);
    }

    private SimulatedDriver(CudaDevice device, long seed, Arithmetic arithmetic, UnaryOperator<String> edit) {
        this.device = device;
        this.simulator = new PtxSimulator(SHARED_BYTES, seed, arithmetic);
        this.edit = edit;
    }

    @Override
    public CudaDevice device() {
        return device;
    }

    @Override
    public synchronized long load(String ptx) {
        String edited = edit.apply(ptx);
        modules.add(edited.equals(ptx) ? parsed(ptx) : PtxModule.parse(edited));
        return modules.size();
    }

    private static synchronized PtxModule parsed(String ptx) {
        return PARSED.computeIfAbsent(ptx, PtxModule::parse);
    }

    @Override
    public synchronized long function(long module, String name) {
        PtxModule loaded = modules.get(Math.toIntExact(module) - 1);
        if (!loaded.names().contains(name)) {
            throw new IllegalStateException("the module has no kernel " + name + ": " + loaded.names());
        }
        functions.add(new Function(loaded, name));
        return functions.size();
    }

    @Override
    public synchronized long allocate(long bytes) {
        return simulator.memory().allocate(bytes);
    }

    @Override
    public synchronized void free(long address) {
        simulator.memory().free(address);
    }

    @Override
    public synchronized ByteBuffer allocatePinned(int bytes) {
        ByteBuffer memory = ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
        pinned.add(memory);
        return memory;
    }

    @Override
    public synchronized void freePinned(ByteBuffer memory) {
        if (!pinned.remove(memory)) {
            throw new IllegalStateException("freePinned of memory that allocatePinned did not give, or twice");
        }
    }

    @Override
    public synchronized void copyToDevice(long to, ByteBuffer from) {
        requireDirect(from);
        copiedIn += from.remaining();
        simulator.memory().copyIn(to, from);
    }

    @Override
    public synchronized void copyToHost(ByteBuffer to, long from) {
        requireDirect(to);
        simulator.memory().copyOut(to, from);
    }

    @Override
    public synchronized void launch(long function, Launch launch, ByteBuffer parameters, long stream) {
        streams.add(stream);
        requireDirect(parameters);
        Function called = functions.get(Math.toIntExact(function) - 1);
        byte[] bytes = new byte[parameters.remaining()];
        parameters.duplicate().get(bytes);
        launches.add(simulator.launch(
                called.module(),
                called.name(),
                new Dim(launch.gridX(), launch.gridY(), launch.gridZ()),
                new Dim(launch.blockX(), launch.blockY(), 1),
                launch.sharedBytes(),
                bytes));
    }

    private static void requireDirect(ByteBuffer buffer) {
        if (!buffer.isDirect()) {
            throw new IllegalArgumentException("a driver takes direct buffers only");
        }
    }

    @Override
    public void synchronize() {
        // Nothing runs between calls.
    }

    /** What each launch so far did. */
    synchronized List<Counters> launches() {
        return List.copyOf(launches);
    }

    /** Bytes that crossed to the device so far. */
    synchronized long copiedIn() {
        return copiedIn;
    }

    /** The queues that launches went to. */
    synchronized Set<Long> streams() {
        return Set.copyOf(streams);
    }

    GlobalMemory memory() {
        return simulator.memory();
    }

    /** Pinned buffers that nobody freed. */
    synchronized int pinnedBuffers() {
        return pinned.size();
    }
}
