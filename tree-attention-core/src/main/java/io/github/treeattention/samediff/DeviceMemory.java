package io.github.treeattention.samediff;

import java.util.List;
import org.nd4j.linalg.api.ndarray.INDArray;

/** ND4J's arrays in the memory of its device. One call at a time in a thread. */
interface DeviceMemory {
    /**
     * Brings what is read to the device, and readies what is written.
     *
     * @return the queue of the device that ND4J works in
     */
    long begin(List<INDArray> read, List<INDArray> written);

    /** Where an array's first element lies, between {@link #begin} and {@link #end}. */
    long address(INDArray array);

    /** What was written counts from here on, and its copy in host memory does not. */
    void end(List<INDArray> written);

    /** An executioner of ND4J's whose arrays lie on a device. */
    interface Executioner {
        DeviceMemory deviceMemory();
    }
}
