package io.github.treeattention.samediff;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.javacpp.LongPointer;
import org.nd4j.jita.allocator.Allocator;
import org.nd4j.jita.allocator.pointers.CudaPointer;
import org.nd4j.jita.allocator.pointers.cuda.cudaStream_t;
import org.nd4j.jita.flow.FlowController;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.jcublas.context.CudaContext;

/** Which calls {@link CudaMemory} makes, in a process that has nd4j-cuda's classes. Prints "all is well". */
final class CudaMemoryCheck {
    private static final long HANDLE = 0x7777;
    private static final long DEVICE = 0x10000;

    private final List<String> calls = new ArrayList<>();
    private final INDArray q = Nd4j.ones(2, 3);
    private final INDArray state = Nd4j.ones(2, 4);
    private final CudaContext context = new CudaContext();

    private CudaMemoryCheck() {}

    public static void main(String[] arguments) {
        new CudaMemoryCheck().run();
        System.out.println("all is well");
    }

    private void run() {
        LongPointer stored = new LongPointer(1).put(HANDLE); // ND4J holds a stream as a pointer to its handle
        context.setOldStream(new cudaStream_t(stored));
        FlowController flow = proxy(FlowController.class, (self, method, given) -> {
            calls.add(method.getName() + names(given));
            return method.getName().startsWith("prepare") ? context : null;
        });
        Allocator allocator = proxy(Allocator.class, (self, method, given) -> switch (method.getName()) {
            case "getFlowController" -> flow;
            case "getDeviceContext" -> context;
            case "getPointer" -> {
                assertEquals(context, given[1]);
                yield new CudaPointer(DEVICE + (given[0] == q ? 0 : 0x100));
            }
            default -> throw new UnsupportedOperationException(method.toString());
        });
        CudaMemory memory = new CudaMemory(allocator);
        assertEquals(HANDLE, memory.begin(List.of(q), List.of(state)), "the stream's handle");
        assertEquals(List.of("prepareActionAllWrite[state]", "prepareAction[null, q]"), calls);
        assertEquals(DEVICE, memory.address(q));
        assertEquals(DEVICE + 0x100, memory.address(state));
        calls.clear();
        memory.end(List.of(state));
        assertEquals(List.of("registerActionAllWrite[state]"), calls, "ticks a device write of each");
    }

    private String names(Object[] given) {
        List<String> names = new ArrayList<>();
        for (Object argument : given) {
            if (argument instanceof INDArray[] arrays) {
                Arrays.stream(arrays).map(this::name).forEach(names::add);
            } else if (argument != context) {
                names.add(name(argument));
            }
        }
        return names.toString();
    }

    private String name(Object array) {
        return array == q ? "q" : array == state ? "state" : String.valueOf(array);
    }

    private static <T> T proxy(Class<T> type, InvocationHandler handler) {
        return type.cast(Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, handler));
    }
}
