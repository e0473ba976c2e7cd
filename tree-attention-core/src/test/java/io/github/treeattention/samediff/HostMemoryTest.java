package io.github.treeattention.samediff;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Isolated;
import org.nd4j.linalg.api.buffer.DataBuffer;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.concurrency.AffinityManager;
import org.nd4j.linalg.api.concurrency.BasicAffinityManager;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * Where ND4J keeps arrays on a device too, the host's copies must be brought up to date before they are read, and marked where
 * they are written. The CPU backend does nothing with these calls: here they are written down.
 */
@Isolated // replaces ND4J's affinity manager
class HostMemoryTest {

    private static final class Recorder extends BasicAffinityManager {
        final List<INDArray> read = new ArrayList<>();
        final List<INDArray> marked = new ArrayList<>();

        @Override
        public void touch(INDArray array) {
            throw new UnsupportedOperationException();
        }

        @Override
        public void touch(DataBuffer buffer) {
            throw new UnsupportedOperationException();
        }

        @Override
        public void ensureLocation(INDArray array, Location location) {
            assertEquals(Location.HOST, location);
            read.add(array);
        }

        @Override
        public void tagLocation(INDArray array, Location location) {
            assertEquals(Location.HOST, location);
            assertTrue(holds(read, array), "brought up to date before: it may be written in part");
            marked.add(array);
        }
    }

    private static boolean holds(List<INDArray> arrays, INDArray wanted) {
        return arrays.stream().anyMatch(array -> array == wanted);
    }

    private static Recorder recording(Runnable action) throws ReflectiveOperationException {
        Field field = Nd4j.class.getDeclaredField("affinityManager");
        field.setAccessible(true);
        AffinityManager before = Nd4j.getAffinityManager();
        Recorder recorder = new Recorder();
        field.set(null, recorder);
        try {
            action.run();
        } finally {
            field.set(null, before);
        }
        return recorder;
    }

    @Test
    void shouldBringInputsToTheHostAndMarkResults() throws Exception {
        for (DataType type : new DataType[] {DataType.FLOAT, DataType.DOUBLE}) {
            INDArray q = Nd4j.rand(type, 1, 2, 3, 4);
            INDArray k = Nd4j.rand(type, 1, 2, 5, 4);
            INDArray v = Nd4j.rand(type, 1, 2, 5, 4);
            AttentionOptions options = AttentionOptions.defaults();
            ArrayAttention.Result[] result = new ArrayAttention.Result[1];
            Recorder forward = recording(() -> result[0] = ArrayAttention.forward(q, k, v, null, options));
            for (INDArray input : new INDArray[] {q, k, v}) {
                assertTrue(holds(forward.read, input), type.toString());
                assertTrue(!holds(forward.marked, input), type.toString());
            }
            assertTrue(
                    holds(forward.marked, result[0].out()) && holds(forward.marked, result[0].lse()), type.toString());

            INDArray dOut = Nd4j.rand(type, 1, 2, 3, 4);
            ArrayAttention.Gradients[] gradients = new ArrayAttention.Gradients[1];
            Recorder backward = recording(
                    () -> gradients[0] = ArrayAttention.backward(q, k, v, null, options, result[0], dOut, null));
            for (INDArray input : new INDArray[] {q, k, v, dOut, result[0].out(), result[0].lse()}) {
                assertTrue(holds(backward.read, input), type.toString());
                assertTrue(!holds(backward.marked, input), type.toString());
            }
            for (INDArray output : new INDArray[] {gradients[0].dQ(), gradients[0].dK(), gradients[0].dV()}) {
                assertTrue(holds(backward.marked, output), type.toString());
            }
        }
    }
}
