package io.github.treeattention.collective;

import java.nio.ByteBuffer;

/** Links between threads of one JVM: one bounded queue per pair and direction. */
final class InProcessNetwork {
    static final int DEFAULT_FRAME_LENGTH = 32 * 1024;
    static final int DEFAULT_CAPACITY = 8;

    private final FrameQueue[][] queues;
    private final int maxFrameLength;

    /** @param capacity frames that a link holds before its sender feels back pressure */
    InProcessNetwork(int worldSize, int maxFrameLength, int capacity) {
        this.maxFrameLength = maxFrameLength;
        queues = new FrameQueue[worldSize][worldSize];
        for (int from = 0; from < worldSize; from++) {
            for (int to = 0; to < worldSize; to++) {
                if (from != to) {
                    queues[from][to] = new FrameQueue(capacity, maxFrameLength);
                }
            }
        }
    }

    Transport transport(int rank) {
        return new Member(rank);
    }

    private final class Member implements Transport {
        private final int rank;

        Member(int rank) {
            this.rank = rank;
        }

        @Override
        public int maxFrameLength() {
            return maxFrameLength;
        }

        @Override
        public boolean offer(int destination, ByteBuffer header, ByteBuffer payload) {
            return queues[rank][destination].offer(header, payload);
        }

        @Override
        public boolean poll(int source, FrameHandler handler) {
            return queues[source][rank].poll(handler);
        }

        @Override
        public void close() {
            for (int peer = 0; peer < queues.length; peer++) {
                if (peer != rank) {
                    queues[rank][peer].leaveAsSender();
                    queues[peer][rank].leaveAsReceiver();
                }
            }
        }
    }
}
