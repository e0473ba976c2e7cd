package io.github.treeattention.samediff;

import java.lang.ref.Reference;
import java.util.Arrays;
import java.util.stream.IntStream;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * Rotary position embedding (Su et al., arXiv 2104.09864): pair {@code i} of a row's elements turns by {@code position *
 * theta^(-2i / dim)}. Angles are computed in double. Immutable and thread-safe.
 *
 * @param theta base of the wave lengths, usually 10000
 * @param pairs which elements make a pair
 */
public record RotaryEmbedding(double theta, Pairs pairs) {

    /** Which elements of a row turn with each other. */
    public enum Pairs {
        /** {@code i} and {@code i + dim / 2}, as in LLaMA checkpoints on Hugging Face. */
        HALVES,
        /** {@code 2i} and {@code 2i + 1}, as in the paper. */
        NEIGHBOURS
    }

    /** Elements of cosines and sines that are held at once. */
    private static final int TABLE = 1 << 17;

    /** Cosines and sines of {@code pairs} angles, {@code [positions][pairs]}; elements beyond {@code 2 * pairs} stay. */
    @SuppressWarnings("ArrayRecordComponent") // short-lived tables of numbers
    record Table(int pairs, double[] cos, double[] sin) {}

    public RotaryEmbedding {
        if (!(theta > 0) || theta == Double.POSITIVE_INFINITY) {
            throw new IllegalArgumentException("theta must be above 0: got " + theta);
        }
    }

    /**
     * Turns an array in place.
     *
     * @param rows {@code [..., time, dim]} of FLOAT or DOUBLE, dense and row-major; {@code dim} even
     * @param position where the first step is
     * @throws IllegalArgumentException if the array is another
     */
    public void turn(INDArray rows, long position) {
        turn(rows, position, 1);
    }

    /** Turns the other way, which is the gradient of {@link #turn}. */
    public void turnBack(INDArray rows, long position) {
        turn(rows, position, -1);
    }

    private void turn(INDArray rows, long position, int direction) {
        requireRows(rows);
        long[] positions = new long[time(rows)];
        Arrays.setAll(positions, t -> position + t);
        turn(rows, positions, direction);
    }

    /**
     * Turns in blocks of steps, so that the tables stay small however long the sequence.
     *
     * @param positions one a step, or one a batch row and step
     */
    void turn(INDArray rows, long[] positions, int direction) {
        int time = time(rows);
        if (time == 0) {
            return;
        }
        int dim = Math.toIntExact(rows.size(-1));
        int tables = positions.length / time;
        int block = Math.max(1, TABLE / (tables * dim));
        for (int first = 0; first < time; first += block) {
            int count = Math.min(block, time - first);
            long[] some = new long[tables * count];
            for (int each = 0; each < tables; each++) {
                System.arraycopy(positions, each * time + first, some, each * count, count);
            }
            apply(rows, table(some, dim, direction), first, count);
        }
    }

    private Table table(long[] positions, int dim, int direction) {
        int half = dim / 2;
        double[] frequencies = new double[half];
        Arrays.setAll(frequencies, i -> direction * Math.pow(theta, -(double) i / half));
        Table table = new Table(half, new double[positions.length * half], new double[positions.length * half]);
        IntStream.range(0, positions.length).parallel().forEach(t -> {
            for (int i = 0; i < half; i++) {
                table.cos[t * half + i] = Math.cos(positions[t] * frequencies[i]);
                table.sin[t * half + i] = Math.sin(positions[t] * frequencies[i]);
            }
        });
        return table;
    }

    /**
     * Turns the steps from {@code from} on by a table of {@code count} positions, or as many a batch row.
     *
     * @param rows {@code [..., time, dim]}, checked
     */
    void apply(INDArray rows, Table table, int from, int count) {
        int time = time(rows);
        if (time == 0) {
            return;
        }
        int dim = Math.toIntExact(rows.size(-1));
        int half = table.pairs;
        int sequences = Math.toIntExact(rows.length() / ((long) time * dim));
        int tables = Math.max(1, table.cos.length / Math.max(1, count * half));
        DenseArray memory = DenseArray.ofResult(rows);
        int first = pairs == Pairs.HALVES ? 1 : 2; // step from a pair's first element to the next pair's
        int second = pairs == Pairs.HALVES ? half : 1; // from a pair's first element to its second
        try {
            IntStream.range(0, sequences).parallel().forEach(s -> {
                DenseArray.Rows sequence = memory.rows((long) s * time * dim, time, dim);
                double[] row = new double[dim];
                for (int t = 0; t < count; t++) {
                    sequence.load(from + t, 1, row);
                    int at = (s / (sequences / tables) * count + t) * half;
                    for (int i = 0; i < half; i++) {
                        double a = row[i * first];
                        double b = row[i * first + second];
                        row[i * first] = a * table.cos[at + i] - b * table.sin[at + i];
                        row[i * first + second] = b * table.cos[at + i] + a * table.sin[at + i];
                    }
                    sequence.store(from + t, 1, row);
                }
            });
        } finally { // the rows in use know the memory's address only
            Reference.reachabilityFence(memory);
        }
    }

    static int time(INDArray rows) {
        return Math.toIntExact(rows.size(-2));
    }

    static void requireRows(INDArray rows) {
        if (rows.rank() < 2 || rows.size(-1) % 2 != 0) {
            throw new IllegalArgumentException(
                    "RoPE turns [..., time, dim] with an even dim: got " + Arrays.toString(rows.shape()));
        }
        if (rows.dataType() != DataType.FLOAT && rows.dataType() != DataType.DOUBLE) {
            throw new IllegalArgumentException("RoPE is offered for FLOAT and DOUBLE: got " + rows.dataType());
        }
    }
}
