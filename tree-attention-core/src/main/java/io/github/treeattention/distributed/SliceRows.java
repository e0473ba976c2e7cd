package io.github.treeattention.distributed;

import java.nio.FloatBuffer;

/**
 * Rows {@code first .. first + count - 1} of every outer row of an array {@code [outer][total][width]}: a run within a
 * slice.
 */
record SliceRows(int outer, int total, int first, int count) {

    /** Whether the run is the slice, so that nothing needs to be copied. */
    boolean whole() {
        return count == total;
    }

    /** Copies the rows alone, {@code [outer][count][width]}. */
    void gather(FloatBuffer array, int width, FloatBuffer rows) {
        for (int o = 0; o < outer; o++) {
            rows.put(o * count * width, array, (o * total + first) * width, count * width);
        }
    }

    /** Copies rows back to their place. */
    void scatter(FloatBuffer rows, FloatBuffer array, int width) {
        for (int o = 0; o < outer; o++) {
            array.put((o * total + first) * width, rows, o * count * width, count * width);
        }
    }
}
