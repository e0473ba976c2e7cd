package io.github.treeattention.collective;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * What one member does in one operation: transfers of ranges of the operation's message, each cut into chunks, and which
 * transfer waits for which. Immutable.
 *
 * <p>Chunk {@code c} of a step may move once its predecessor in the chain of its range has moved chunk {@code c}, so
 * chunks flow through an algorithm like through a pipeline. On each directed link steps run strictly one after another, in
 * the order in which the plan lists them; the other end's plan lists them in the same order.
 */
final class Plan {

    /** What a step does with a chunk. */
    enum Action {
        SEND,
        /** Receive over what was there. */
        COPY,
        /** Receive and reduce; the peer's data comes from higher ranks. */
        REDUCE_HIGHER,
        /** Receive and reduce; the peer's data comes from lower ranks. */
        REDUCE_LOWER,
        /** Take this member's own contribution out of the source buffer. */
        COPY_OWN,
        /** Reduce it instead; it counts as from higher ranks. */
        REDUCE_OWN
    }

    /**
     * One transfer.
     *
     * @param offset where its range starts in the operation's message
     * @param length of its range; may be 0, it is one empty chunk then
     * @param chunks how many chunks the range has, at least 1
     * @param after index of the step whose chunks must move first, or -1
     * @param before index of the step before it on the same directed link, or -1
     */
    record Step(Action action, int peer, int offset, int length, int chunks, int after, int before) {}

    private final Step[] steps;
    private final int chunkLength;

    private Plan(List<Step> steps, int chunkLength) {
        this.steps = steps.toArray(Step[]::new);
        this.chunkLength = chunkLength;
    }

    int size() {
        return steps.length;
    }

    Step step(int index) {
        return steps[index];
    }

    /** The steps in words. */
    List<String> describe() {
        return Arrays.stream(steps)
                .map(step -> switch (step.action) {
                    case SEND -> "send to rank " + step.peer;
                    case COPY -> "take what rank " + step.peer + " sends";
                    case REDUCE_HIGHER, REDUCE_LOWER -> "reduce what rank " + step.peer + " sends";
                    case COPY_OWN, REDUCE_OWN -> "reduce its own";
                })
                .toList();
    }

    int chunkOffset(Step step, int chunk) {
        return step.offset + chunk * chunkLength;
    }

    int chunkLength(Step step, int chunk) {
        return Math.min(chunkLength, step.length - chunk * chunkLength);
    }

    /** Collects the steps of one member in the order in which its links run them. */
    static final class Builder {
        private final int rank;
        private final int chunkLength;
        private final List<Step> steps = new ArrayList<>();
        private final int[] lastSend;
        private final int[] lastReceive;

        Builder(int rank, int worldSize, int chunkLength) {
            this.rank = rank;
            this.chunkLength = chunkLength;
            lastSend = new int[worldSize];
            lastReceive = new int[worldSize];
            Arrays.fill(lastSend, -1);
            Arrays.fill(lastReceive, -1);
        }

        /** A range of the message whose steps wait for each other. */
        Chain chain(int offset, int length) {
            return new Chain(this, offset, length);
        }

        Plan build() {
            return new Plan(steps, chunkLength);
        }
    }

    /** Appends steps that move one range of the message. */
    static final class Chain {
        private final Builder builder;
        private final int offset;
        private final int length;
        private int last = -1;
        private int lastChange = -1;

        private Chain(Builder builder, int offset, int length) {
            this.builder = builder;
            this.offset = offset;
            this.length = length;
        }

        boolean isEmpty() {
            return length == 0;
        }

        void send(int peer) {
            // Sends of the same data do not wait for each other: one slow peer must not hold up the rest.
            builder.lastSend[peer] = add(Action.SEND, peer, lastChange, builder.lastSend[peer]);
        }

        void copy(int peer) {
            receive(Action.COPY, peer);
        }

        /** Receives and reduces; the ranks decide the order of the operands. */
        void reduce(int peer) {
            receive(peer > builder.rank ? Action.REDUCE_HIGHER : Action.REDUCE_LOWER, peer);
        }

        /** Receives and reduces what comes from higher ranks than everything in the chain so far. */
        void reduceHigher(int peer) {
            receive(Action.REDUCE_HIGHER, peer);
        }

        /** Takes this member's contribution in, as the first or after lower ranks'. */
        void own(boolean first) {
            lastChange = add(first ? Action.COPY_OWN : Action.REDUCE_OWN, builder.rank, last, -1);
        }

        private void receive(Action action, int peer) {
            lastChange = add(action, peer, last, builder.lastReceive[peer]);
            builder.lastReceive[peer] = lastChange;
        }

        private int add(Action action, int peer, int after, int before) {
            int chunkLength = builder.chunkLength;
            int chunks = Math.max(1, (int) (((long) length + chunkLength - 1) / chunkLength));
            builder.steps.add(new Step(action, peer, offset, length, chunks, after, before));
            last = builder.steps.size() - 1;
            return last;
        }
    }
}
