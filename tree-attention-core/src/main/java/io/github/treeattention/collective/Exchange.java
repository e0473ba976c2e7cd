package io.github.treeattention.collective;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Arrays;
import java.util.BitSet;

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

    private int[] moved = new int[16];
    /** The pass in which each step moved last: who has been silent for longest. */
    private long[] movedAt = new long[16];

    private long pass;
    private Operation operation;
    private long sequence;
    private Plan plan;
    private ReduceOp op;
    private ByteBuffer source;
    private ByteBuffer target;
    private int targetBase;
    private int sourceStart;
    private int targetStart;
    private int current;
    /** All steps before it are done. */
    private int first;

    private long startedAt;

    private int blamedRank;
    private String blamedFor;
    private int toldBy = CollectiveException.UNKNOWN_RANK;
    private int silentRank = CollectiveException.UNKNOWN_RANK;

    Exchange(ProcessGroup group, Transport transport, AbortSignal abort, Duration deadline, Counters counters) {
        this.counters = counters;
        this.group = group;
        this.transport = transport;
        this.abort = abort;
        deadlineNanos = deadline.toNanos();
        header = new FrameHeader(group);
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
        operation = kind;
        sequence = number;
        plan = steps;
        op = reduction;
        source = view(buffers.source);
        target = view(buffers.target);
        sourceStart = buffers.source.position();
        targetStart = buffers.target.position();
        targetBase = buffers.targetBase;
        startedAt = System.nanoTime();
        header.begin(kind, algorithm.code(), number);
        int size = plan.size();
        if (moved.length < size) {
            moved = new int[size];
            movedAt = new long[size];
        }
        Arrays.fill(moved, 0, size, 0);
        Arrays.fill(movedAt, 0, size, pass);
        first = 0;
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
        return first == plan.size();
    }

    /** Moves one chunk of each step that can move. Returns whether there was any. */
    boolean pass() {
        pass++;
        boolean progress = false;
        for (int i = first; i < plan.size(); i++) {
            if (isReady(i) && advance(i)) {
                if (!progress) {
                    noteWait(plan.step(i).peer());
                }
                progress = true;
            }
        }
        while (first < plan.size() && moved[first] == plan.step(first).chunks()) {
            first++;
        }
        return progress;
    }

    private void noteWait(int peer) {
        long waited = backoff.waitedNanos();
        if (waited > 0) {
            counters.waited(peer, waited);
        }
    }

    private boolean isReady(int index) {
        Plan.Step step = plan.step(index);
        int chunk = moved[index];
        return chunk < step.chunks()
                && (step.after() < 0 || moved[step.after()] > chunk)
                && (step.before() < 0
                        || moved[step.before()] == plan.step(step.before()).chunks());
    }

    /** Moves the next chunk of a step if the transport lets it. */
    private boolean advance(int index) {
        Plan.Step step = plan.step(index);
        current = index;
        boolean done;
        try {
            done = switch (step.action()) {
                case SEND -> send(step, moved[index]);
                case COPY_OWN, REDUCE_OWN -> takeOwn(step, moved[index]);
                default -> transport.poll(step.peer(), this);
            };
        } catch (FarewellException farewell) {
            throw relayed(step.peer(), farewell);
        } catch (TransportException gone) {
            checkAbort(gone);
            checkLastWords(step.peer());
            throw failure(step.peer(), gone.getMessage(), gone);
        } catch (ProtocolException failure) {
            checkAbort(failure);
            throw failure(step.peer(), failure.getMessage(), failure);
        }
        if (done) {
            moved[index]++;
            movedAt[index] = pass;
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
        int chunk = moved[current];
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
            throw failure(group.rank(), "the thread was interrupted", null);
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
            throw failure(failure.rank(), failure.reason(), cause);
        }
    }

    /** Blames the peer that could have moved something for longest and did not; the others are in the message. */
    private CollectiveException silence(long elapsed) {
        int blamed = CollectiveException.UNKNOWN_RANK;
        long since = Long.MAX_VALUE;
        StringBuilder waits = new StringBuilder();
        for (int i = 0; i < plan.size(); i++) {
            if (isReady(i)) {
                Plan.Step step = plan.step(i);
                if (readyAt(i) < since) {
                    since = readyAt(i);
                    blamed = step.peer();
                }
                waits.append(waits.length() == 0 ? "" : ", ")
                        .append(step.action() == Plan.Action.SEND ? "no room to send to rank " : "nothing from rank ")
                        .append(step.peer());
            }
        }
        silentRank = blamed;
        return failure(
                blamed,
                "deadline of " + Duration.ofNanos(deadlineNanos) + " passed after " + elapsed / 1_000_000 + " ms: "
                        + waits,
                null);
    }

    /** A member that has failed and left is not to blame if it said who is. */
    private void checkLastWords(int peer) {
        try {
            boolean more = true;
            while (more) {
                more = transport.poll(peer, frame -> header.checkOrigin(frame, peer));
            }
        } catch (FarewellException farewell) {
            throw relayed(peer, farewell);
        } catch (TransportException | ProtocolException nothing) {
            // It left without a word.
        }
    }

    /** The pass since which nothing but the peer keeps a step from moving. */
    private long readyAt(int index) {
        Plan.Step step = plan.step(index);
        long since = movedAt[index];
        if (step.after() >= 0 && moved[step.after()] == moved[index] + 1) {
            since = Math.max(since, movedAt[step.after()]);
        }
        return step.before() < 0 ? since : Math.max(since, movedAt[step.before()]);
    }

    private CollectiveException relayed(int sender, FarewellException farewell) {
        CollectiveException failure =
                failure(farewell.blamedRank(), farewell.getMessage() + " (reported by rank " + sender + ")", farewell);
        blamedFor = farewell.getMessage();
        toldBy = sender;
        return failure;
    }

    /** The exception for a failed operation, remembered for {@link #sayFarewell}. */
    CollectiveException failure(int rank, String why, Throwable cause) {
        boolean known = rank >= 0 && rank < group.worldSize();
        blamedRank = known ? rank : CollectiveException.UNKNOWN_RANK;
        blamedFor = why;
        String host = known ? group.host(rank) : "";
        return new CollectiveException(blamedRank, host, operation.toString(), sequence, why, cause);
    }

    /**
     * Tells the others why this member has failed. Nothing may be run afterwards. It does not insist where the control
     * plane has told everybody already, nor with a member that fell silent.
     */
    void sayFarewell() {
        BitSet untold = new BitSet();
        untold.set(0, group.worldSize());
        untold.clear(group.rank());
        if (toldBy >= 0) {
            untold.clear(toldBy);
        }
        boolean insist = abort.failure().isEmpty();
        Farewell farewell = new Farewell(transport, header, blamedRank, String.valueOf(blamedFor), untold);
        farewell.say(insist ? Math.min(FAREWELL_NANOS, deadlineNanos) : 0, silentRank, backoff);
    }
}
