package io.github.treeattention.collective;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;

/**
 * Runs plans over a transport: the one progress engine of a member. It never waits in an offer: whatever can move, moves,
 * and only when nothing can does it pause, look at the clock and ask the abort signal. Not thread-safe.
 */
final class Exchange implements Transport.FrameHandler {
    /** Passes with progress between two looks at the clock. */
    private static final int CHECK_INTERVAL = 256;
    /** How long a failed member tries to say why. */
    private static final long FAREWELL_NANOS = 500_000_000;

    private final ProcessGroup group;
    private final Transport transport;
    private final AbortSignal abort;
    private final long deadlineNanos;
    private final Counters counters;
    private final FrameHeader header;
    private final Backoff backoff = new Backoff();
    private final ByteBuffer scratch;

    private final Progress progress = new Progress();
    private final Blame blame;

    private Plan plan;
    private ReduceOp op;
    private ByteBuffer source;
    private ByteBuffer target;
    private int targetBase;
    private int sourceStart;
    private int targetStart;
    /** The step that a frame is for. */
    private int current;

    private long startedAt;

    Exchange(ProcessGroup group, Transport transport, AbortSignal abort, Duration deadline, Counters counters) {
        this.counters = counters;
        this.group = group;
        this.transport = transport;
        this.abort = abort;
        deadlineNanos = deadline.toNanos();
        header = new FrameHeader(group);
        blame = new Blame(group);
        scratch = ByteBuffer.allocateDirect(maxPayload()).order(ByteOrder.LITTLE_ENDIAN);
    }

    int maxPayload() {
        return transport.maxFrameLength() - FrameHeader.LENGTH;
    }

    /**
     * Buffers of one operation. Offsets of the plan are places in the operation's message.
     *
     * @param source what is sent; its position is the message's start
     * @param target what is received into and reduced
     * @param targetBase place in the message of the target's position
     */
    record Buffers(ByteBuffer source, ByteBuffer target, int targetBase) {

        static Buffers inPlace(ByteBuffer message) {
            return new Buffers(message, message, 0);
        }
    }

    /**
     * Runs one operation to its end.
     *
     * @param reduction null where the plan reduces nothing
     * @throws CollectiveException if it cannot complete; nothing may be run afterwards
     */
    void run(
            Operation kind,
            AllReduceAlgorithm algorithm,
            long number,
            Plan steps,
            Buffers buffers,
            ReduceOp reduction) {
        begin(kind, algorithm, number, steps, buffers, reduction);
        try {
            checkHealth();
            moveAll();
        } finally {
            source = null;
            target = null;
        }
    }

    /** Prepares an operation, which {@link #pass} moves until it {@link #isDone}. */
    void begin(
            Operation kind,
            AllReduceAlgorithm algorithm,
            long number,
            Plan steps,
            Buffers buffers,
            ReduceOp reduction) {
        plan = steps;
        op = reduction;
        source = view(buffers.source);
        target = view(buffers.target);
        sourceStart = buffers.source.position();
        targetStart = buffers.target.position();
        targetBase = buffers.targetBase;
        startedAt = System.nanoTime();
        header.begin(kind, algorithm.code(), number);
        blame.begin(kind, number);
        progress.begin(steps);
        backoff.reset();
    }

    private static ByteBuffer view(ByteBuffer buffer) {
        return buffer.duplicate().order(ByteOrder.LITTLE_ENDIAN);
    }

    private void moveAll() {
        int passes = 0;
        while (!isDone()) {
            if (pass()) {
                backoff.reset();
                if (++passes % CHECK_INTERVAL == 0) {
                    checkHealth();
                }
            } else if (backoff.pause()) {
                checkHealth();
            }
        }
    }

    boolean isDone() {
        return progress.isDone();
    }

    /** Moves one chunk of each step that can move. Returns whether there was any. */
    boolean pass() {
        boolean moved = false;
        for (int i = progress.beginPass(); i < plan.size(); i++) {
            if (progress.isReady(i) && advance(i)) {
                if (!moved) {
                    noteWait(plan.step(i).peer());
                }
                moved = true;
            }
        }
        progress.endPass();
        return moved;
    }

    private void noteWait(int peer) {
        long waited = backoff.waitedNanos();
        if (waited > 0) {
            counters.waited(peer, waited);
        }
    }

    /** Moves the next chunk of a step if the transport lets it. */
    private boolean advance(int index) {
        Plan.Step step = plan.step(index);
        current = index;
        boolean done;
        try {
            done = switch (step.action()) {
                case SEND -> send(step, progress.nextChunk(index));
                case COPY_OWN, REDUCE_OWN -> takeOwn(step, progress.nextChunk(index));
                default -> transport.poll(step.peer(), this);
            };
        } catch (FarewellException farewell) {
            throw blame.relayed(step.peer(), farewell);
        } catch (TransportException gone) {
            checkAbort(gone);
            checkLastWords(step.peer());
            throw blame.failure(step.peer(), gone.getMessage(), gone);
        } catch (ProtocolException failure) {
            checkAbort(failure);
            throw blame.failure(step.peer(), failure.getMessage(), failure);
        }
        if (done) {
            progress.advance(index);
        }
        return done;
    }

    private boolean send(Plan.Step step, int chunk) {
        int offset = plan.chunkOffset(step, chunk);
        int length = plan.chunkLength(step, chunk);
        select(source, sourceStart + offset, length);
        boolean last = chunk == step.chunks() - 1;
        if (!transport.offer(step.peer(), header.encode(offset, length, last), source)) {
            return false;
        }
        counters.sent(step.peer(), length);
        return true;
    }

    @Override
    public void onFrame(ByteBuffer frame) {
        Plan.Step step = plan.step(current);
        int chunk = progress.nextChunk(current);
        int offset = plan.chunkOffset(step, chunk);
        int length = plan.chunkLength(step, chunk);
        header.check(frame, step.peer(), offset, length, chunk == step.chunks() - 1);
        if (length == 0) {
            return;
        }
        frame.position(frame.position() + FrameHeader.LENGTH);
        int at = targetStart + offset - targetBase;
        select(target, at, length);
        switch (step.action()) {
            case COPY -> target.put(at, frame, frame.position(), length);
            case REDUCE_HIGHER -> op.reduce(target, frame);
            case REDUCE_LOWER -> {
                scratch.clear().limit(length);
                scratch.put(0, frame, frame.position(), length);
                op.reduce(scratch, target);
                target.put(at, scratch, 0, length);
            }
            default -> throw new IllegalStateException("not a receiving step: " + step);
        }
    }

    private boolean takeOwn(Plan.Step step, int chunk) {
        int offset = plan.chunkOffset(step, chunk);
        int length = plan.chunkLength(step, chunk);
        select(source, sourceStart + offset, length);
        select(target, targetStart + offset - targetBase, length);
        if (step.action() == Plan.Action.COPY_OWN) {
            target.put(target.position(), source, source.position(), length);
        } else if (length > 0) {
            op.reduce(target, source);
        }
        return true;
    }

    private static void select(ByteBuffer buffer, int position, int length) {
        buffer.limit(position + length).position(position);
    }

    private void checkHealth() {
        checkAbort(null);
        if (Thread.currentThread().isInterrupted()) {
            throw blame.failure(group.rank(), "the thread was interrupted", null);
        }
        long elapsed = System.nanoTime() - startedAt;
        if (elapsed > deadlineNanos) {
            throw silence(elapsed);
        }
    }

    /** The control plane sees the death itself; a link only sees that somebody is gone, perhaps for the same reason. */
    private void checkAbort(Throwable cause) {
        AbortSignal.Failure failure = abort.failure().orElse(null);
        if (failure != null) {
            throw blame.failure(failure.rank(), failure.reason(), cause);
        }
    }

    /** Blames the peer that is slowest; the others are in the message. */
    private CollectiveException silence(long elapsed) {
        return blame.silence(
                progress.slowestPeer(),
                "deadline of " + Duration.ofNanos(deadlineNanos) + " passed after " + elapsed / 1_000_000 + " ms: "
                        + progress.waits());
    }

    /** A member that has failed and left is not to blame if it said who is. */
    private void checkLastWords(int peer) {
        try {
            boolean more = true;
            while (more) {
                more = transport.poll(peer, frame -> header.checkOrigin(frame, peer));
            }
        } catch (FarewellException farewell) {
            throw blame.relayed(peer, farewell);
        } catch (TransportException | ProtocolException nothing) {
            // It left without a word.
        }
    }

    /** The exception for a failed operation, remembered for {@link #sayFarewell}. */
    CollectiveException failure(int rank, String why, Throwable cause) {
        return blame.failure(rank, why, cause);
    }

    /** Tells the others why this member has failed, unless the control plane has told everybody. */
    void sayFarewell() {
        boolean insist = abort.failure().isEmpty();
        blame.sayFarewell(transport, header, insist ? Math.min(FAREWELL_NANOS, deadlineNanos) : 0, backoff);
    }
}
