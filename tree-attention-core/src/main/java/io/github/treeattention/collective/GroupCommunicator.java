package io.github.treeattention.collective;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Objects;

/** Collectives over a transport: checks the arguments, picks a schedule, runs it, and stays broken once it failed. */
final class GroupCommunicator implements Communicator {
    private static final ByteBuffer EMPTY = ByteBuffer.allocateDirect(0);

    private final ProcessGroup group;
    private final Transport transport;
    private final Duration deadline;
    private final AllReduceAlgorithm wanted;
    private final Exchange exchange;

    private long sequence;
    private long calls;
    private boolean closed;
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
        wanted = Objects.requireNonNull(algorithm, "algorithm");
        if (deadline.isNegative() || deadline.isZero()) {
            throw new IllegalArgumentException("deadline must be positive: got " + deadline);
        }
        if (group.worldSize() > FrameHeader.MAX_SENDER + 1) {
            throw new IllegalArgumentException(
                    "worldSize must be at most " + (FrameHeader.MAX_SENDER + 1) + ": got " + group.worldSize());
        }
        if (transport.maxFrameLength() <= FrameHeader.LENGTH) {
            throw new IllegalArgumentException("maxFrameLength must exceed the header's " + FrameHeader.LENGTH
                    + " bytes: got " + transport.maxFrameLength());
        }
        exchange = new Exchange(group, transport, Objects.requireNonNull(abort, "abort"), deadline);
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
    public Traffic traffic() {
        return exchange.traffic(calls);
    }

    @Override
    public void allReduce(ByteBuffer message, ReduceOp op) {
        Messages.checkWritable("message", message);
        int length = message.remaining();
        Messages.checkBlocks("message", length, op.blockLength(), exchange.maxPayload());
        AllReduceAlgorithm algorithm = AlgorithmChoice.resolve(wanted, group, op.commutative());
        Plan plan = allReducePlan(algorithm, length, op.blockLength());
        run(Operation.ALL_REDUCE, algorithm, plan, Exchange.Buffers.inPlace(message), op);
    }

    @Override
    public void broadcast(ByteBuffer message, int root) {
        Messages.checkRank("root", root, worldSize());
        if (root == rank()) {
            Messages.check("message", message);
        } else {
            Messages.checkWritable("message", message);
        }
        Plan.Builder plan = builder(1);
        broadcast(plan.chain(0, message.remaining()), root);
        run(Operation.BROADCAST, AllReduceAlgorithm.AUTO, plan.build(), Exchange.Buffers.inPlace(message), null);
    }

    @Override
    public void sendRecv(ByteBuffer send, int destination, ByteBuffer receive, int source) {
        Messages.check("send", send);
        Messages.checkWritable("receive", receive);
        Messages.checkRank("destination", destination, worldSize());
        Messages.checkRank("source", source, worldSize());
        if (destination == rank() || source == rank()) {
            copyToSelf(send, destination, receive, source);
            return;
        }
        Plan.Builder plan = builder(1);
        plan.chain(0, send.remaining()).send(destination);
        plan.chain(0, receive.remaining()).copy(source);
        Exchange.Buffers buffers = new Exchange.Buffers(send, receive, 0);
        run(Operation.SEND_RECV, AllReduceAlgorithm.AUTO, plan.build(), buffers, null);
    }

    private void copyToSelf(ByteBuffer send, int destination, ByteBuffer receive, int source) {
        if (destination != source) {
            throw new IllegalArgumentException("a member that sends to itself must receive from itself: rank " + rank()
                    + ", destination=" + destination + ", source=" + source);
        }
        if (send.remaining() != receive.remaining()) {
            throw new IllegalArgumentException("receive must be as long as send: send=" + send.remaining()
                    + " bytes, receive=" + receive.remaining() + " bytes");
        }
        run(Operation.SEND_RECV, AllReduceAlgorithm.AUTO, builder(1).build(), Exchange.Buffers.inPlace(receive), null);
        receive.put(receive.position(), send, send.position(), send.remaining());
    }

    @Override
    public void barrier() {
        AllReduceAlgorithm algorithm = AlgorithmChoice.resolve(AllReduceAlgorithm.AUTO, group, true);
        Plan plan = allReducePlan(algorithm, 0, 1);
        run(Operation.BARRIER, algorithm, plan, Exchange.Buffers.inPlace(EMPTY), null);
    }

    private Plan.Builder builder(int blockLength) {
        int chunkLength = exchange.maxPayload() / blockLength * blockLength;
        return new Plan.Builder(rank(), worldSize(), chunkLength);
    }

    private Plan allReducePlan(AllReduceAlgorithm algorithm, int length, int blockLength) {
        Plan.Builder plan = builder(blockLength);
        int[] ranks = Schedules.all(group);
        switch (algorithm) {
            case STAR -> {
                Plan.Chain chain = plan.chain(0, length);
                Schedules.reduceStar(chain, ranks, rank());
                Schedules.broadcastStar(chain, ranks, rank(), 0);
            }
            case BINOMIAL_TREE -> {
                Plan.Chain chain = plan.chain(0, length);
                Schedules.reduceTree(chain, ranks, rank());
                Schedules.broadcastTree(chain, ranks, rank(), 0);
            }
            case RECURSIVE_DOUBLING -> Schedules.recursiveDoubling(plan.chain(0, length), ranks, rank());
            case RING -> Schedules.ring(plan, worldSize(), rank(), length, blockLength);
            case TWO_LEVEL -> Schedules.twoLevel(plan.chain(0, length), group);
            case AUTO -> throw new IllegalStateException("unresolved algorithm");
        }
        return plan.build();
    }

    private void broadcast(Plan.Chain chain, int root) {
        int[] ranks = Schedules.all(group);
        if (Schedules.leaders(group).length > 1) {
            Schedules.broadcastTwoLevel(chain, group, root);
        } else if (AlgorithmChoice.prefersStar(group)) {
            Schedules.broadcastStar(chain, ranks, rank(), root);
        } else {
            Schedules.broadcastTree(chain, ranks, rank(), root);
        }
    }

    private void run(
            Operation operation, AllReduceAlgorithm algorithm, Plan plan, Exchange.Buffers buffers, ReduceOp op) {
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
        sequence++;
        try {
            exchange.run(operation, algorithm, sequence, plan, buffers, op);
        } catch (CollectiveException failure) {
            broken = failure;
            throw failure;
        } catch (RuntimeException | Error failure) {
            // The caller's reduction threw, most likely: this member is out of step with the others for good.
            broken = new CollectiveException(
                    rank(), group.host(rank()), operation.toString(), sequence, failure.toString(), failure);
            throw broken;
        }
        if (worldSize() > 1) {
            calls++;
        }
    }

    @Override
    public void close() {
        if (!closed) {
            closed = true;
            transport.close();
        }
    }
}
