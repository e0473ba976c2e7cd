package io.github.treeattention.launch;

import io.github.treeattention.collective.AllReduceAlgorithm;
import io.github.treeattention.collective.Calibration;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.ReduceOp;
import io.github.treeattention.collective.Route;
import io.github.treeattention.collective.Statistics;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.function.UnaryOperator;

/**
 * A communicator whose failures are reported before they are thrown, so that the control plane learns what only a call
 * can notice: a rank whose process lives while its program is stuck or has left.
 */
final class ReportingCommunicator implements Communicator {
    private final Communicator delegate;
    private final UnaryOperator<CollectiveException> report;

    ReportingCommunicator(Communicator delegate, UnaryOperator<CollectiveException> report) {
        this.delegate = delegate;
        this.report = report;
    }

    @Override
    public ProcessGroup group() {
        return delegate.group();
    }

    @Override
    public void allReduce(ByteBuffer message, ReduceOp op) {
        call(() -> delegate.allReduce(message, op));
    }

    @Override
    public void allReduce(ByteBuffer message, ReduceOp op, AllReduceAlgorithm algorithm) {
        call(() -> delegate.allReduce(message, op, algorithm));
    }

    @Override
    public void broadcast(ByteBuffer message, int root) {
        call(() -> delegate.broadcast(message, root));
    }

    @Override
    public void sendRecv(ByteBuffer send, int destination, ByteBuffer receive, int source) {
        call(() -> delegate.sendRecv(send, destination, receive, source));
    }

    @Override
    public void reduce(ByteBuffer message, ReduceOp op, int root) {
        call(() -> delegate.reduce(message, op, root));
    }

    @Override
    public void allGather(ByteBuffer send, ByteBuffer receive) {
        call(() -> delegate.allGather(send, receive));
    }

    @Override
    public void reduceScatter(ByteBuffer send, ByteBuffer receive, ReduceOp op) {
        call(() -> delegate.reduceScatter(send, receive, op));
    }

    @Override
    public void barrier() {
        call(delegate::barrier);
    }

    @Override
    public Calibration calibrate() {
        Calibration[] result = new Calibration[1];
        call(() -> result[0] = delegate.calibrate());
        return result[0];
    }

    @Override
    public Route route(int length, ReduceOp op) {
        return delegate.route(length, op);
    }

    @Override
    public Statistics statistics() {
        return delegate.statistics();
    }

    @Override
    public Duration deadline() {
        return delegate.deadline();
    }

    @Override
    public void close() {
        delegate.close();
    }

    private void call(Runnable operation) {
        try {
            operation.run();
        } catch (CollectiveException e) {
            throw report.apply(e);
        }
    }
}
