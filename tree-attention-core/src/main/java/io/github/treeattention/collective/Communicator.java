package io.github.treeattention.collective;

import java.nio.ByteBuffer;
import java.time.Duration;

/**
 * Collective operations of one member. All members call the same operations in the same order with equal lengths. Every
 * call ends within its deadline: with the result, or with a {@link CollectiveException}; after an exception the
 * communicator is broken and every further call fails at once with the same cause.
 *
 * <p>Buffers are direct and little-endian; the message is what lies from position to limit, and both are left as they
 * were. One thread at a time may use a communicator.
 */
public interface Communicator extends AutoCloseable {

    ProcessGroup group();

    default int rank() {
        return group().rank();
    }

    default int worldSize() {
        return group().worldSize();
    }

    /** Reduces all members' messages, in rank order, into the same bits at every member; in place. */
    void allReduce(ByteBuffer message, ReduceOp op);

    /**
     * The same by a given algorithm, whatever the communicator was made with. All members must name the same.
     *
     * @throws IllegalArgumentException if the reduction does not allow it
     */
    void allReduce(ByteBuffer message, ReduceOp op, AllReduceAlgorithm algorithm);

    /** Copies the root's message over everybody else's; in place. */
    void broadcast(ByteBuffer message, int root);

    /**
     * Sends one message to a member and receives another, of the buffer's exact length, from a member, at the same
     * time. Everybody may send first without deadlock.
     */
    void sendRecv(ByteBuffer send, int destination, ByteBuffer receive, int source);

    /**
     * Reduces all members' messages, in rank order, into the root's. Elsewhere the message's content is lost: it may hold
     * partial results.
     */
    void reduce(ByteBuffer message, ReduceOp op, int root);

    /**
     * Collects everybody's message, in rank order.
     *
     * @param receive as long as all messages together; must not overlap {@code send}
     */
    void allGather(ByteBuffer send, ByteBuffer receive);

    /**
     * Reduces all members' messages, in rank order, and leaves the r-th part of the result at rank r.
     *
     * @param send as many equal parts as members, each of whole blocks; left as it was
     * @param receive one part; must not overlap {@code send}
     */
    void reduceScatter(ByteBuffer send, ByteBuffer receive, ReduceOp op);

    /** Returns when every member has called it. */
    void barrier();

    /**
     * Measures the group's links, for not much longer than 0.1 s, so that {@link AllReduceAlgorithm#AUTO} knows them. It
     * chooses then among algorithms that give the same bits as the one it would have chosen without. A collective
     * operation: all members call it. {@link #traffic} does not count it.
     */
    Calibration calibrate();

    /** How an all-reduce of so many bytes that names no algorithm would go. Sends nothing. */
    Route route(int length, ReduceOp op);

    /** What this member has counted so far. Any thread may ask. */
    Statistics statistics();

    /** What this member has sent so far. */
    default Traffic traffic() {
        return statistics().traffic();
    }

    /** How long one call may take. */
    Duration deadline();

    /** Leaves the group. Members inside a call that needs this one fail; so does a call of this member in another thread. */
    @Override
    void close();
}
