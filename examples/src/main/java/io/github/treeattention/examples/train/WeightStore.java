package io.github.treeattention.examples.train;

import java.nio.ByteBuffer;

/**
 * A rank's weights, their gradients and Adam's moments. All ranks call the same methods in the same order; buffers are
 * direct and little-endian, of a unit's padded length.
 */
interface WeightStore {

    /** What there is of each weight besides its gradient. */
    enum Kind {
        WEIGHTS(""),
        FIRST_MOMENT("adam_first."),
        SECOND_MOMENT("adam_second.");

        private final String prefix;

        Kind(String prefix) {
            this.prefix = prefix;
        }

        /** Before a tensor's name in a checkpoint. */
        String prefix() {
            return prefix;
        }
    }

    WeightLayout layout();

    /** A unit's weights, whole. A layer's are valid until another layer is asked for. */
    ByteBuffer weights(int unit);

    /** This rank's gradients in a unit, whole, to add to until {@link #finish}. */
    ByteBuffer gradients(int unit);

    /** This rank has added to a unit's gradients all that one sequence gives. */
    void finish(int unit);

    /** Sums the gradients over the ranks; the sum of their squares, the same bits on every rank. */
    double reduce();

    /** Collects a unit's gradients on every rank, after {@link #reduce}; valid until the next call. */
    ByteBuffer readGradients(int unit);

    /** One step of Adam with the gradients, which are 0 after it. */
    void update(Adam adam, int step, double rate, double scale);

    /** Collects a unit's values, without gradients, on every rank; valid until the next call. */
    ByteBuffer read(int unit, Kind kind);

    /** Sets a unit's values from the whole of them. */
    void write(int unit, Kind kind, ByteBuffer whole);

    /** Bytes that this rank holds for all of it, buffers that collectives work in included. */
    long bytes();
}
