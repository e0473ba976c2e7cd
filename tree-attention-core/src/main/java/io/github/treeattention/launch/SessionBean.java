package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Statistics;
import java.lang.management.ManagementFactory;
import javax.management.JMException;
import javax.management.ObjectName;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A session as JMX sees it. */
final class SessionBean implements RankSessionMXBean, AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(SessionBean.class);

    private final RankSession session;
    private final ObjectName name;

    private SessionBean(RankSession session, ObjectName name) {
        this.session = session;
        this.name = name;
    }

    /** Registers a session; a platform that does not allow it costs nothing but the bean. */
    static SessionBean register(RankSession session, RankEnvironment environment) {
        ObjectName name = null;
        try {
            name = new ObjectName("io.github.treeattention:type=RankSession,job=" + environment.jobId() + ",rank="
                    + environment.rank());
            SessionBean bean = new SessionBean(session, name);
            ManagementFactory.getPlatformMBeanServer().registerMBean(bean, name);
            return bean;
        } catch (JMException e) {
            LOG.debug("Rank {} is not to be seen over JMX as {}", environment.rank(), name, e);
            return new SessionBean(session, null);
        }
    }

    @Override
    public void close() {
        try {
            if (name != null) {
                ManagementFactory.getPlatformMBeanServer().unregisterMBean(name);
            }
        } catch (JMException e) {
            LOG.debug("{} was not registered any more", name, e);
        }
    }

    private ProcessGroup group() {
        return session.communicator().group();
    }

    private Statistics statistics() {
        return session.communicator().statistics();
    }

    @Override
    public int getRank() {
        return group().rank();
    }

    @Override
    public int getWorldSize() {
        return group().worldSize();
    }

    @Override
    public int getEpoch() {
        return group().epoch();
    }

    @Override
    public String getFailure() {
        return session.failure().map(Failure::reason).orElse("");
    }

    @Override
    public long getCalls() {
        return statistics().traffic().calls();
    }

    @Override
    public long getMessages() {
        return statistics().traffic().messages();
    }

    @Override
    public long getSameHostBytes() {
        return statistics().sameHostBytes();
    }

    @Override
    public long getOtherHostBytes() {
        return statistics().otherHostBytes();
    }

    @Override
    public long getWaits() {
        return statistics().waits();
    }

    @Override
    public long getWaitedNanos() {
        return statistics().totalWaitedNanos();
    }

    @Override
    public long[] getWaitedNanosByRank() {
        return statistics().waitedNanos().stream().mapToLong(Long::longValue).toArray();
    }

    @Override
    public int getStraggler() {
        return statistics().straggler();
    }
}
