package io.github.treeattention.dl4j;

import java.util.ArrayList;
import java.util.List;
import org.nd4j.linalg.api.ndarray.INDArray;

/** Arrays to give back at once, not when the collector gets to it: off-heap memory is small on the heap. */
final class Scratch implements AutoCloseable {
    private final List<INDArray> arrays = new ArrayList<>();

    /** Takes ownership of an array that shares no memory with another, and returns it. */
    INDArray own(INDArray array) {
        arrays.add(array);
        return array;
    }

    @Override
    public void close() {
        for (INDArray array : arrays) {
            if (!array.wasClosed() && array.closeable()) {
                array.close();
            }
        }
        arrays.clear();
    }
}
