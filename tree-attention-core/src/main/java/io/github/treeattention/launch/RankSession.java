package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Token;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.dataplane.DataPlane;
import java.io.IOException;
import java.net.InetAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

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
 * {@link RankEnvironment#exitAfterAbort}, unless the launcher was told to let runs survive the loss of a rank
 * ({@link Launcher.Builder#whenRankIsLost}): then survivors go on with {@link #reform}.
 */
public final class RankSession implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(RankSession.class);
    private static final Duration MOST_PATIENCE = Duration.ofDays(1);

    private final RankEnvironment environment;
    private final Duration collectiveDeadline;
    /** Where no launcher has started them; these three are set before anybody else sees this session. */
    private HostServices services;

    private DataPlane links;

    private ControlConnection control;
    private volatile Communicator communicator;
    private SessionBean bean;

    private RankSession(RankEnvironment environment, Duration collectiveDeadline) {
        this.environment = environment;
        this.collectiveDeadline = collectiveDeadline;
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
        if (collectiveDeadline.isNegative() || collectiveDeadline.isZero()) {
            throw new IllegalArgumentException("collectiveDeadline must be positive: got " + collectiveDeadline);
        }
        RankSession session = new RankSession(environment, collectiveDeadline);
        Path jobDirectory = environment.aeronDirectory().toAbsolutePath().getParent();
        try {
            if (!environment.launched()) {
                session.services = HostServices.start(environment, settings);
            } else if (environment.dataPlane().usesSharedMemory()) {
                JobDirectory.requirePrivate(jobDirectory);
            }
        } catch (IOException e) {
            throw new CollectiveException(environment.rank(), "", "join", 0, e.getMessage(), e);
        }
        Map<String, String> all = new HashMap<>(fingerprint);
        all.put("links", environment.dataPlane().fingerprint());
        Hello hello = Hello.of(environment, HostIdentity.of(jobDirectory), all);
        try {
            session.control = ControlConnection.join(environment, hello, settings, session::openLinks);
            session.enter(session.control.epoch(), settings.joinDeadline());
            session.bean = SessionBean.register(session, environment);
        } catch (RuntimeException e) {
            session.closeQuietly();
            throw e;
        }
        return session;
    }

    private String openLinks(InetAddress local) throws IOException {
        links = DataPlane.open(
                environment.dataPlane(),
                environment.aeronDirectory(),
                Token.of(environment.token()),
                local,
                environment.localWorldSize(),
                environment.worldSize());
        return links.endpoints();
    }

    /** Connects to the other members of an epoch. */
    private void enter(Epoch epoch, Duration connectDeadline) {
        control.onAbort(() ->
                SelfDestruct.after(environment.exitAfterAbort(), "its group has failed", () -> control.isFinal(epoch)));
        try {
            Transport transport = links.connect(epoch.group(), epoch.endpoints(), connectDeadline, epoch);
            communicator = new ReportingCommunicator(
                    Communicators.over(epoch.group(), transport, epoch, collectiveDeadline),
                    failure -> control.report(epoch, failure));
            ProcessGroup group = epoch.group();
            LOG.debug(
                    "Rank {} of {} is in epoch {} on {}",
                    group.rank(),
                    group.worldSize(),
                    group.epoch(),
                    group.host(group.rank()));
        } catch (RuntimeException e) {
            control.abort(epoch, "it could not connect to the others: " + e.getMessage());
            throw e;
        }
    }

    /**
     * Goes on after a failure: closes the communicator, and returns when the next epoch has formed and
     * {@link #communicator} is one of it. All survivors must call it, with the same {@code how}. What the lost rank held
     * is lost: keys and values of its shard must be computed again. Rank and world size may be others than before.
     *
     * @param patience how long to wait for the other survivors and for new processes. A survivor that has not called it
     *     by then is shut out under {@link Reform#SHRINK}; a lost rank without a successor makes {@link Reform#REPLACE}
     *     fail, and survivors may still shrink
     * @throws IllegalStateException if the group has not failed
     * @throws CollectiveException if the next epoch does not form; the message says why
     */
    public void reform(Reform how, Duration patience) {
        Objects.requireNonNull(how, "how");
        if (patience.toMillis() < 1 || patience.compareTo(MOST_PATIENCE) > 0) {
            throw new IllegalArgumentException("patience must be 1 ms to " + MOST_PATIENCE + ": got " + patience);
        }
        Epoch failed = control.epoch();
        if (failed.failure().isEmpty()) {
            throw new IllegalStateException("only a group that has failed can be formed anew: epoch "
                    + failed.group().epoch() + " is whole");
        }
        LOG.warn(
                "Rank {}: epoch {} has failed: {}; asking for the next one, {}",
                failed.group().rank(),
                failed.group().epoch(),
                failed.failure().orElseThrow().reason(),
                how);
        communicator.close();
        enter(control.reform(how, patience), patience);
    }

    /** That of the current epoch: {@link #reform} replaces it. */
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

    /** Why the current epoch has failed; empty while it is whole. */
    Optional<AbortSignal.Failure> failure() {
        return control.epoch().failure();
    }

    /** Ends the group for everybody because of this rank: their calls fail with this reason. */
    public void abort(String reason) {
        control.abort(control.epoch(), reason);
    }

    /** Leaves in good order. The others go on without this rank as long as no call needs it. */
    @Override
    public void close() {
        LOG.debug("Rank {} leaves: {}", communicator.rank(), communicator.statistics());
        bean.close();
        try {
            communicator.close();
        } finally {
            closeQuietly();
        }
    }

    private void closeQuietly() {
        if (links != null) {
            links.close();
        }
        if (control != null) {
            control.close();
        }
        if (services != null) {
            services.close();
        }
    }
}
