package io.github.treeattention.samediff;

import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.nativeops.cuda.SimulatedKernelProvider;
import io.github.treeattention.testkit.SeededArrays;
import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.api.ops.executioner.OpExecutioner;
import org.nd4j.linalg.factory.Nd4j;

/**
 * ND4J's arrays attended to on a device: by the CUDA kernels in the simulator, with a stand-in for ND4J's device memory that has
 * the arrays only between begin and end. What is not brought there is memory that nobody wrote, which the simulator refuses.
 */
@ExtendWith(SeededArrays.class)
class DeviceAttentionTest {
    private static final long STREAM = 0x5EED;

    private final Memory memory = new Memory();
    private OpExecutioner before;
    private String kernelBefore;

    /** Copies on the simulated device. */
    private static final class Memory implements DeviceMemory {
        final IdentityHashMap<INDArray, Long> addresses = new IdentityHashMap<>();
        final List<INDArray> marked = new ArrayList<>();
        long shift; // bytes from what the device allocates to where an array begins

        @Override
        public long begin(List<INDArray> read, List<INDArray> written) {
            assertTrue(addresses.isEmpty(), "one call at a time");
            for (INDArray array : read) {
                place(array);
                SimulatedKernelProvider.copyIn(addresses.get(array), bytes(DenseArray.of(array)));
            }
            written.forEach(this::place);
            return STREAM;
        }

        private void place(INDArray array) {
            assertTrue(DenseArray.isDense(array));
            addresses.computeIfAbsent(
                    array, a -> SimulatedKernelProvider.allocate(a.length() * Float.BYTES + shift) + shift);
        }

        private static ByteBuffer bytes(DenseArray array) {
            return array.bytes(0, array.array().length());
        }

        @Override
        public long address(INDArray array) {
            return addresses.get(array);
        }

        @Override
        public void end(List<INDArray> written) {
            for (INDArray array : written) {
                SimulatedKernelProvider.copyOut(bytes(DenseArray.ofResult(array)), addresses.get(array));
            }
            marked.addAll(written);
            addresses.values().forEach(address -> SimulatedKernelProvider.free(address - shift));
            addresses.clear();
        }
    }

    private static final class Executioner extends TreeAttentionExecutioner implements DeviceMemory.Executioner {
        private final Memory memory;

        Executioner(Memory memory) {
            this.memory = memory;
        }

        @Override
        public DeviceMemory deviceMemory() {
            return memory;
        }
    }

    @BeforeEach
    void install() throws ReflectiveOperationException {
        TreeAttentionOps.init();
        before = Nd4j.getExecutioner();
        kernelBefore = System.setProperty(AttentionKernels.PROPERTY, "simulated");
        executioner(new Executioner(memory));
    }

    @AfterEach
    void restore() throws ReflectiveOperationException {
        executioner(before);
        if (kernelBefore == null) {
            System.clearProperty(AttentionKernels.PROPERTY);
        } else {
            System.setProperty(AttentionKernels.PROPERTY, kernelBefore);
        }
    }

    private static void executioner(OpExecutioner executioner) throws ReflectiveOperationException {
        Field field = Nd4j.class.getDeclaredField("OP_EXECUTIONER_INSTANCE");
        field.setAccessible(true);
        field.set(null, executioner);
    }

    private static INDArray random(long... shape) {
        return Nd4j.rand(DataType.FLOAT, shape).muli(2).subi(1);
    }

    /** Runs forward and backward of one problem on the device, and in float64 on the host. */
    private void check(
            INDArray q, INDArray k, INDArray v, INDArray keyMask, AttentionOptions options, boolean withLse) {
        INDArray dOut = random(q.size(0), q.size(1), q.size(2), v.size(3));
        INDArray dLse = withLse ? random(q.size(0), q.size(1), q.size(2)) : null;
        int launches = SimulatedKernelProvider.kernels().size();
        ArrayAttention.Result got = ArrayAttention.forward(q, k, v, keyMask, options);
        assertEquals(1, memory.marked.size(), "the state is marked as written on the device");
        ArrayAttention.Gradients gradients = ArrayAttention.backward(q, k, v, keyMask, options, got, dOut, dLse);
        assertEquals(4, memory.marked.size(), "and the gradients");
        memory.marked.clear();
        assertTrue(SimulatedKernelProvider.kernels().size() >= launches + 4, "the kernels ran");
        assertEquals(Set.of(STREAM), SimulatedKernelProvider.streams(), "in ND4J's own queue");
        assertEquals(0, SimulatedKernelProvider.allocations(), "nothing is left on the device");

        INDArray q64 = q.castTo(DataType.DOUBLE);
        INDArray k64 = k.castTo(DataType.DOUBLE);
        INDArray v64 = v.castTo(DataType.DOUBLE);
        ArrayAttention.Result want = ArrayAttention.forward(q64, k64, v64, keyMask, options);
        INDArray dOut64 = dOut.castTo(DataType.DOUBLE);
        INDArray dLse64 = dLse == null ? null : dLse.castTo(DataType.DOUBLE);
        ArrayAttention.Gradients wanted =
                ArrayAttention.backward(q64, k64, v64, keyMask, options, want, dOut64, dLse64);
        FloatBounds bounds = FloatBounds.of(q64, k64, v64, options, dOut64, dLse64);
        assertEquals(0, difference(want.out(), got.out()), bounds.out());
        assertEquals(0, difference(want.lse(), got.lse()), bounds.lse());
        assertEquals(0, difference(wanted.dQ(), gradients.dQ()), bounds.dQ());
        assertEquals(0, difference(wanted.dK(), gradients.dK()), bounds.dK());
        assertEquals(0, difference(wanted.dV(), gradients.dV()), bounds.dV());
    }

    @Test
    void shouldDecodeWhereTheArraysLie() {
        AttentionOptions options = AttentionOptions.defaults().withCausal(true).withQueryOffset(69);
        check(random(2, 4, 1, 64), random(2, 2, 70, 64), random(2, 2, 70, 64), null, options, false);
        assertTrue(SimulatedKernelProvider.kernels().contains("decode_f32_d64_r4"));
    }

    /** ND4J's views begin at any element, and the tuned kernels copy 16 aligned bytes at once. */
    @Test
    void shouldTakeArraysThatBeginAnywhere() {
        memory.shift = Float.BYTES;
        int launches = SimulatedKernelProvider.kernels().size();
        AttentionOptions options = AttentionOptions.defaults().withCausal(true).withQueryOffset(69);
        check(random(1, 2, 1, 64), random(1, 1, 70, 64), random(1, 1, 70, 64), null, options, false);
        assertTrue(SimulatedKernelProvider.kernels()
                .subList(launches, launches + 1)
                .contains("plain_f32"));
    }

    /** Views, a key mask, a bias, a window, a soft-cap: batch rows and heads that differ in all of them. */
    @Test
    void shouldTakeMasksAndViews() {
        AttentionOptions options = AttentionOptions.defaults()
                .withCausal(true)
                .withSlidingWindow(30)
                .withSoftCap(4)
                .withQueryOffset(20);
        INDArray q = random(2, 7, 4, 13).permute(0, 2, 1, 3); // heads and queries swapped: a view that is not dense
        INDArray mask = Nd4j.rand(DataType.FLOAT, 2, 37).gt(0.2);
        check(q, random(2, 2, 37, 13), random(2, 2, 37, 20), mask, options, true);
    }

    @Test
    void shouldDropByPositionAndReadABias() {
        ByteBuffer bias = ByteBuffer.allocateDirect(2 * 3 * 33 * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        INDArray values = random(2, 3, 33);
        for (int i = 0; i < values.length(); i++) {
            bias.putFloat(values.getFloat(i));
        }
        AttentionOptions options = AttentionOptions.defaults()
                .withDropout(Dropout.of(0.3, 7, 1))
                .withMask(AttentionMask.NONE.withBias(bias.flip().asFloatBuffer(), 1, 2, 3, 33));
        check(random(1, 2, 3, 5), random(1, 1, 33, 5), random(1, 1, 33, 5), null, options, false);
    }

    /** Queries that stand before all keys see nothing; no kernel is launched for gradients that are zero. */
    @Test
    void shouldGiveEmptyRowsWithoutKeysInSight() {
        AttentionOptions options = AttentionOptions.defaults().withCausal(true).withQueryOffset(-9);
        INDArray q = random(1, 1, 2, 8);
        INDArray k = random(1, 1, 5, 8);
        ArrayAttention.Result got = ArrayAttention.forward(q, k, k, null, options);
        assertEquals(0, got.out().amaxNumber().doubleValue());
        assertEquals(Double.NEGATIVE_INFINITY, got.lse().maxNumber().doubleValue());
        ArrayAttention.Gradients gradients =
                ArrayAttention.backward(q, k, k, null, options, got, random(1, 1, 2, 8), null);
        assertEquals(0, gradients.dQ().amaxNumber().doubleValue());
        assertEquals(0, gradients.dK().amaxNumber().doubleValue());
        assertEquals(0, SimulatedKernelProvider.allocations());
    }

    /** A graph's operation, by way of the executioner; and float64, which the device's kernels do not have. */
    @Test
    void shouldServeGraphsAndLeaveFloat64ToTheHost() {
        SameDiff graph = SameDiff.create();
        INDArray x = random(1, 2, 5, 8);
        SDVariable in = graph.var("x", x);
        SDVariable loss = TreeAttentionOps.attention(in, in, in, null, AttentionOptions.defaults())
                .sum();
        graph.setLossVariables(loss);
        int launches = SimulatedKernelProvider.kernels().size();
        INDArray gradient = graph.calculateGradients(Map.of(), "x").get("x");
        assertTrue(SimulatedKernelProvider.kernels().size() > launches + 3);
        INDArray x64 = x.castTo(DataType.DOUBLE);
        launches = SimulatedKernelProvider.kernels().size();
        ArrayAttention.Result result = ArrayAttention.forward(x64, x64, x64, null, AttentionOptions.defaults());
        INDArray ones = Nd4j.ones(DataType.DOUBLE, 1, 2, 5, 8);
        ArrayAttention.Gradients want =
                ArrayAttention.backward(x64, x64, x64, null, AttentionOptions.defaults(), result, ones, null);
        assertEquals(launches, SimulatedKernelProvider.kernels().size());
        FloatBounds bounds = FloatBounds.of(x64, x64, x64, AttentionOptions.defaults(), ones, null);
        assertEquals(
                0,
                difference(want.dQ().add(want.dK()).add(want.dV()), gradient),
                bounds.dQ() + bounds.dK() + bounds.dV());
    }
}
