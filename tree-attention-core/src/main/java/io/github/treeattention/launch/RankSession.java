package io.github.treeattention.launch;

import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.aeron.AeronTransport;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;

/**
 * One rank's membership in a run: the one thing that a rank process opens, and closes when its work is done.
 *
 * <pre>{@code
 * try (RankSession session = RankSession.join(RankEnvironment.current(), Map.of("model", hash), Duration.ofSeconds(30))) {
 *     session.communicator().allReduce(message, op);
 * }
 * }</pre>
 *
 * <p>When another rank, the media driver or the launcher fails, the running call of the communicator and every later one
 * throw {@link CollectiveException}; all survivors name the same rank. To find it, a call that runs into its deadline may
 * take half a second longer. A process that the launcher started, and that goes on nevertheless, is halted after
 * {@link RankEnvironment#exitAfterAbort}.
 */
public final class RankSession implements AutoCloseable {
    private final ControlConnection control;
    private final Communicator communicator;

    private RankSession(ControlConnection control, Communicator communicator) {
        this.control = control;
        this.communicator = communicator;
    }

    /**
     * Joins the run, and returns when all ranks are there and connected to each other.
     *
     * @param fingerprint what must be equal on all ranks, by name: model hash, data type, shapes
     * @param collectiveDeadline how long one call of the communicator may take, waiting for late ranks included
     * @throws CollectiveException if the group does not form; the message says why, and names ranks and differences
     */
    public static RankSession join(
            RankEnvironment environment, Map<String, String> fingerprint, Duration collectiveDeadline) {
        return join(environment, fingerprint, collectiveDeadline, ControlSettings.defaults());
    }

    /** The same with a join deadline other than 60 s; heartbeats are the coordinator's to set. */
    public static RankSession join(
            RankEnvironment environment,
            Map<String, String> fingerprint,
            Duration collectiveDeadline,
            ControlSettings settings) {
        Path jobDirectory = environment.aeronDirectory().toAbsolutePath().getParent();
        try {
            JobDirectory.requirePrivate(jobDirectory);
        } catch (IOException e) {
            throw new CollectiveException(environment.rank(), "", "join", 0, e.getMessage(), e);
        }
        Hello hello = Hello.of(environment, HostIdentity.of(jobDirectory), fingerprint);
        ControlConnection control = ControlConnection.join(environment, hello, settings);
        control.onAbort(() -> SelfDestruct.after(environment.exitAfterAbort(), "its group has failed"));
        try {
            AeronTransport.Config config = new AeronTransport.Config(
                    environment.aeronDirectory(), control.group(), settings.joinDeadline(), control);
            Transport transport = AeronTransport.connect(config);
            Communicator communicator = Communicators.over(control.group(), transport, control, collectiveDeadline);
            return new RankSession(control, new ReportingCommunicator(communicator, control::report));
        } catch (RuntimeException e) {
            control.abort("it could not connect to the others: " + e.getMessage());
            control.close();
            throw e;
        }
    }

    public Communicator communicator() {
        return communicator;
    }

    /**
     * Runs a task, in a thread of its own, once the group has failed; at once if it has already. For computations that
     * should end early instead of at their next collective.
     */
    public void onAbort(Runnable task) {
        control.onAbort(task);
    }

    /** Ends the group for everybody because of this rank: their calls fail with this reason. */
    public void abort(String reason) {
        control.abort(reason);
    }

    /** Leaves in good order. The others go on without this rank as long as no call needs it. */
    @Override
    public void close() {
        try {
            communicator.close();
        } finally {
            control.close();
        }
    }
}
