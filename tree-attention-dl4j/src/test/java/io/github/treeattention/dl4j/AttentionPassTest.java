package io.github.treeattention.dl4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.samediff.ArrayAttention;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

class AttentionPassTest {
    /** Stands for a kernel or a peer that fails. */
    private static final class Failing implements KeySource {
        private final List<INDArray> seen = new ArrayList<>();
        private int closed;

        @Override
        public long position() {
            return 0;
        }

        @Override
        public long keyPosition() {
            return 0;
        }

        @Override
        public ArrayAttention.Result forward(INDArray q, INDArray k, INDArray v) {
            seen.addAll(List.of(q, k, v));
            throw new IllegalStateException("out of reach");
        }

        @Override
        public ArrayAttention.Gradients backward(
                INDArray q, INDArray k, INDArray v, ArrayAttention.Result attended, INDArray dAttended) {
            throw new AssertionError("never");
        }

        @Override
        public void close() {
            closed++;
        }
    }

    @Test
    void shouldGiveEverythingBackWhenAttentionFails() {
        AttentionBlock block = AttentionSettings.NONE.block(1, false, 3);
        INDArray x = Nd4j.ones(DataType.DOUBLE, 2, 3, 4);
        Failing source = new Failing();
        assertThrows(IllegalStateException.class, () -> new AttentionPass(block, source, x, x, x, Map.of()));
        assertEquals(1, source.closed);
        assertEquals(3, source.seen.size());
        source.seen.forEach(each -> assertTrue(each.wasClosed()));
    }
}
