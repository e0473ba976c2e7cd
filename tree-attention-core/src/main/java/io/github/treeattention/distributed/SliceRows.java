package io.github.treeattention.distributed;

import io.github.treeattention.attention.Queries;
import java.nio.FloatBuffer;

/**
 * Rows {@code first .. first + count - 1} of every outer row of an array {@code [outer][total][width]}: a run within a
 * slice.
 */
record SliceRows(int outer, int total, int first, int count) {

    /** The rows alone, {@code [outer][count][width]}: the array itself if that is all of it, else a copy. */
    FloatBuffer gather(FloatBuffer array, int width) {
        if (count == total) {
            return array;
        }
        FloatBuffer rows = Queries.allocate(Math.multiplyExact(outer * count, width));
        for (int o = 0; o < outer; o++) {
            rows.put(o * count * width, array, (o * total + first) * width, count * width);
        }
        return rows;
    }

    /** Writes rows back to their place; nothing to do where {@link #gather} made no copy. */
    void scatter(FloatBuffer rows, FloatBuffer array, int width) {
        for (int o = 0; count != total && o < outer; o++) {
            array.put((o * total + first) * width, rows, o * count * width, count * width);
        }
    }
}
