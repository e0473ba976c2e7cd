package io.github.treeattention.collective;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.Arrays;

/**
 * Links of one thread that plays all members: what a link does where a real one may do this or that is a choice. A frame
 * may be late, so that frames of different links overtake each other, and a link may refuse a frame though it has room.
 */
final class ModelNetwork {
    private final Choices choices;
    private final int maxFrameLength;
    private final int capacity;
    private final Link[][] links;

    /** @param whims how often each link may be late, and how often it may refuse */
    ModelNetwork(Choices choices, int worldSize, int maxFrameLength, int capacity, int whims) {
        this.choices = choices;
        this.maxFrameLength = maxFrameLength;
        this.capacity = capacity;
        links = new Link[worldSize][worldSize];
        for (Link[] row : links) {
            Arrays.setAll(row, to -> new Link(whims));
        }
    }

    private static final class Link {
        private final ArrayDeque<ByteBuffer> frames = new ArrayDeque<>();
        private int sent;
        private int delays;
        private int refusals;
        private boolean senderLeft;
        private boolean receiverLeft;

        Link(int whims) {
            delays = whims;
            refusals = whims;
        }
    }

    Transport transport(int rank) {
        return new Member(rank);
    }

    boolean isEmpty() {
        return Arrays.stream(links).flatMap(Arrays::stream).allMatch(link -> link.frames.isEmpty());
    }

    /** All that decides what can happen next. */
    String state() {
        StringBuilder state = new StringBuilder();
        for (Link[] row : links) {
            for (Link link : row) {
                state.append(link.sent).append(',').append(link.frames.size()).append(',');
                state.append(link.delays).append(',').append(link.refusals);
                state.append(link.senderLeft ? 's' : '-').append(link.receiverLeft ? 'r' : '-');
            }
        }
        return state.toString();
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
            Link link = links[rank][destination];
            if (link.receiverLeft) {
                throw new TransportException("the member has left the group", null);
            }
            if (link.frames.size() == capacity) {
                return false;
            }
            if (link.refusals > 0 && choices.choose(2) == 1) {
                link.refusals--;
                return false;
            }
            ByteBuffer frame = ByteBuffer.allocateDirect(header.remaining() + payload.remaining())
                    .order(ByteOrder.LITTLE_ENDIAN);
            frame.put(header.duplicate()).put(payload.duplicate()).flip();
            link.frames.add(frame);
            link.sent++;
            return true;
        }

        @Override
        public boolean poll(int source, FrameHandler handler) {
            Link link = links[source][rank];
            if (link.frames.isEmpty()) {
                if (link.senderLeft) {
                    throw new TransportException("the member has left the group", null);
                }
                return false;
            }
            if (link.delays > 0 && choices.choose(2) == 1) {
                link.delays--;
                return false;
            }
            handler.onFrame(link.frames.remove());
            return true;
        }

        @Override
        public void close() {
            for (int peer = 0; peer < links.length; peer++) {
                links[rank][peer].senderLeft = true;
                links[peer][rank].receiverLeft = true;
            }
        }
    }
}
