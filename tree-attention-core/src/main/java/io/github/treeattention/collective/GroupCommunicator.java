package io.github.treeattention.collective;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;

/** Collectives over a transport: checks the arguments, picks a plan, runs it, and stays broken once it failed. */
final class GroupCommunicator implements Communicator {
    private static final ByteBuffer EMPTY = ByteBuffer.allocateDirect(0);

    private final ProcessGroup group;
    private final Transport transport;
    private final Duration deadline;
    private final AllReduceAlgorithm wanted;
    private final HostLayout hosts;
    private final Counters counters;
    private final Exchange exchange;
    private final Planner planner;
    private CostModel costs;

    /** Whether a call runs; after closing it is never free again. */
    private final AtomicBoolean busy = new AtomicBoolean();

    private volatile boolean closed;
    private long sequence;
    private CollectiveException broken;

    GroupCommunicator(
            ProcessGroup group,
            Transport transport,
            AbortSignal abort,
            Duration deadline,
            AllReduceAlgorithm algorithm) {
        this.group = Objects.requireNonNull(group, "group");
        this.transport = Objects.requireNonNull(transport, "transport");
        this.deadline = Objects.requireNonNull(deadline, "deadline");
        Objects.requireNonNull(abort, "abort");
        wanted = Objects.requireNonNull(algorithm, "algorithm");
        if (deadline.isNegative() || deadline.isZero()) {
            throw new IllegalArgumentException("deadline must be positive: got " + deadline);
        }
        int mostRanks = FrameHeader.MAX_SENDER + 1;
        if (group.worldSize() > mostRanks) {
            throw new IllegalArgumentException("worldSize must be at most " + mostRanks + ": got " + group.worldSize());
        }
        if (transport.maxFrameLength() <= FrameHeader.LENGTH) {
            throw new IllegalArgumentException("maxFrameLength must exceed the header's " + FrameHeader.LENGTH
                    + " bytes: got " + transport.maxFrameLength());
        }
        hosts = new HostLayout(group);
        AbortSignal abortOrClosed = () -> closed ? closedWhileWaiting() : abort.failure();
        counters = new Counters(hosts);
        exchange = new Exchange(group, transport, abortOrClosed, deadline, counters);
        planner = new Planner(hosts, exchange.maxPayload());
        costs = new CostModel(hosts, exchange.maxPayload(), null);
    }

    private Optional<AbortSignal.Failure> closedWhileWaiting() {
        return Optional.of(new AbortSignal.Failure(group.rank(), "closed by another thread of its process"));
    }

    @Override
    public ProcessGroup group() {
        return group;
    }

    @Override
    public Duration deadline() {
        return deadline;
    }

    @Override
    public Statistics statistics() {
        return counters.snapshot();
    }

    @Override
    public void allReduce(ByteBuffer message, ReduceOp op) {
        allReduce(message, op, wanted);
    }

    @Override
    public void allReduce(ByteBuffer message, ReduceOp op, AllReduceAlgorithm by) {
        Messages.checkWritable("message", message);
        int length = message.remaining();
        Messages.checkBlocks("message", length, op.blockLength(), exchange.maxPayload());
        AllReduceAlgorithm algorithm = AlgorithmChoice.resolve(by, hosts, op.commutative(), length, costs);
        Plan plan = planner.allReduce(algorithm, length, op.blockLength());
        run(Operation.ALL_REDUCE, algorithm, plan, Exchange.Buffers.inPlace(message), op);
    }

    @Override
    public Route route(int length, ReduceOp op) {
        Messages.checkBlocks("length", length, op.blockLength(), exchange.maxPayload());
        AllReduceAlgorithm algorithm = AlgorithmChoice.resolve(wanted, hosts, op.commutative(), length, costs);
        Plan plan = planner.allReduce(algorithm, length, op.blockLength());
        return new Route(algorithm, plan.describe());
    }

    @Override
    public Calibration calibrate() {
        Statistics before = statistics();
        Calibration measured = new Calibrator(this, hosts).measure();
        counters.restore(before);
        costs = new CostModel(hosts, exchange.maxPayload(), measured);
        return measured;
    }

    /** A message from one member to another and back; all others do nothing, but count it. */
    void pingPong(ByteBuffer message, int from, int to) {
        Plan plan = planner.pingPong(message.remaining(), from, to);
        run(Operation.SEND_RECV, AllReduceAlgorithm.AUTO, plan, Exchange.Buffers.inPlace(message), null);
    }

    @Override
    public void reduce(ByteBuffer message, ReduceOp op, int root) {
        Messages.checkWritable("message", message);
        Messages.checkBlocks("message", message.remaining(), op.blockLength(), exchange.maxPayload());
        Messages.checkRank("root", root, worldSize());
        Plan plan = planner.reduce(root, message.remaining(), op);
        run(Operation.REDUCE, AllReduceAlgorithm.AUTO, plan, Exchange.Buffers.inPlace(message), op);
    }

    @Override
    public void broadcast(ByteBuffer message, int root) {
        Messages.checkRank("root", root, worldSize());
        if (root == rank()) {
            Messages.check("message", message);
        } else {
            Messages.checkWritable("message", message);
        }
        Plan plan = planner.broadcast(root, message.remaining());
        run(Operation.BROADCAST, AllReduceAlgorithm.AUTO, plan, Exchange.Buffers.inPlace(message), null);
    }

    @Override
    public void allGather(ByteBuffer send, ByteBuffer receive) {
        Messages.check("send", send);
        Messages.checkWritable("receive", receive);
        Messages.checkParts("receive", receive.remaining(), "send", send.remaining(), worldSize());
        requireUsable(Operation.ALL_GATHER);
        int part = send.remaining();
        receive.put(receive.position() + rank() * part, send, send.position(), part);
        Exchange.Buffers buffers = Exchange.Buffers.inPlace(receive);
        run(Operation.ALL_GATHER, AllReduceAlgorithm.AUTO, planner.allGather(part), buffers, null);
    }

    @Override
    public void reduceScatter(ByteBuffer send, ByteBuffer receive, ReduceOp op) {
        Messages.check("send", send);
        Messages.checkWritable("receive", receive);
        int part = receive.remaining();
        Messages.checkBlocks("receive", part, op.blockLength(), exchange.maxPayload());
        Messages.checkParts("send", send.remaining(), "receive", part, worldSize());
        Plan plan = planner.reduceScatter(part, op.blockLength());
        Exchange.Buffers buffers = new Exchange.Buffers(send, receive, rank() * part);
        run(Operation.REDUCE_SCATTER, AllReduceAlgorithm.AUTO, plan, buffers, op);
    }

    @Override
    public void sendRecv(ByteBuffer send, int destination, ByteBuffer receive, int source) {
        Messages.check("send", send);
        Messages.checkWritable("receive", receive);
        Messages.checkRank("destination", destination, worldSize());
        Messages.checkRank("source", source, worldSize());
        if (destination != rank() && source != rank()) {
            Plan plan = planner.sendRecv(send.remaining(), destination, receive.remaining(), source);
            run(Operation.SEND_RECV, AllReduceAlgorithm.AUTO, plan, new Exchange.Buffers(send, receive, 0), null);
            return;
        }
        Messages.checkSelf(rank(), destination, source);
        Messages.checkParts("receive", receive.remaining(), "send", send.remaining(), 1);
        run(Operation.SEND_RECV, AllReduceAlgorithm.AUTO, planner.nothing(), Exchange.Buffers.inPlace(receive), null);
        receive.put(receive.position(), send, send.position(), send.remaining());
    }

    @Override
    public void barrier() {
        AllReduceAlgorithm algorithm = AlgorithmChoice.resolve(AllReduceAlgorithm.AUTO, hosts, true, 0, costs);
        run(Operation.BARRIER, algorithm, planner.barrier(algorithm), Exchange.Buffers.inPlace(EMPTY), null);
    }

    private void run(
            Operation operation, AllReduceAlgorithm algorithm, Plan plan, Exchange.Buffers buffers, ReduceOp op) {
        if (!busy.compareAndSet(false, true)) {
            requireUsable(operation);
            throw new IllegalStateException("one thread at a time may use a communicator: " + operation + " by rank "
                    + rank() + " overlaps another call");
        }
        try {
            requireUsable(operation);
            sequence++;
            CollectiveEvent event = new CollectiveEvent();
            if (event.isEnabled()) {
                runRecorded(event, operation, algorithm, plan, buffers, op);
            } else {
                runOrBreak(operation, algorithm, plan, buffers, op);
            }
            if (worldSize() > 1) {
                counters.called();
            }
        } finally {
            busy.set(false);
            if (closed) {
                closeTransport();
            }
        }
    }

    private void runRecorded(
            CollectiveEvent event,
            Operation operation,
            AllReduceAlgorithm algorithm,
            Plan plan,
            Exchange.Buffers buffers,
            ReduceOp op) {
        Statistics before = statistics();
        event.begin();
        try {
            runOrBreak(operation, algorithm, plan, buffers, op);
        } finally {
            event.end();
            if (event.shouldCommit()) {
                Statistics after = statistics();
                event.rank = rank();
                event.epoch = group.epoch();
                event.operation = operation.toString();
                event.algorithm = algorithm.name();
                event.sequence = sequence;
                event.sentBytes =
                        after.traffic().payloadBytes() - before.traffic().payloadBytes();
                event.waited = after.totalWaitedNanos() - before.totalWaitedNanos();
                event.failure = broken == null ? null : broken.getMessage();
                event.commit();
            }
        }
    }

    private void runOrBreak(
            Operation operation, AllReduceAlgorithm algorithm, Plan plan, Exchange.Buffers buffers, ReduceOp op) {
        try {
            exchange.run(operation, algorithm, sequence, plan, buffers, op);
        } catch (CollectiveException failure) {
            broken = failure;
        } catch (RuntimeException | Error failure) {
            // The caller's reduction threw, most likely: this member is out of step with the others for good.
            broken = exchange.failure(rank(), failure.toString(), failure);
        }
        if (broken != null) {
            exchange.sayFarewell();
            throw broken;
        }
    }

    private void requireUsable(Operation operation) {
        if (closed) {
            throw new IllegalStateException("communicator is closed: " + operation + " by rank " + rank());
        }
        if (broken != null) {
            throw new CollectiveException(
                    broken.failedRank(),
                    broken.failedHost(),
                    operation.toString(),
                    sequence + 1,
                    "the group is broken since " + broken.getMessage(),
                    broken);
        }
    }

    @Override
    public void close() {
        closed = true;
        closeTransport();
    }

    /** Leaves it to the running call if there is one: a link must not go away under it. */
    private void closeTransport() {
        if (busy.compareAndSet(false, true)) {
            transport.close();
        }
    }
}
