package io.github.treeattention.launch;

import io.github.treeattention.collective.dataplane.DataPlaneOptions;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * Starts the processes of a run, on this host or on several: a media driver for each host and the ranks, each a JVM like
 * this one. Immutable; every call of {@link #run} is a run of its own.
 *
 * <pre>{@code
 * LaunchResult result = Launcher.builder(4, Main.class.getName()).arguments(args).build().run();
 * }</pre>
 *
 * <p>The run ends when all ranks have ended, or soon after the first of them has failed, unless {@link
 * Builder#whenRankIsLost} says otherwise. Nothing is left behind: no
 * process and no file, not even when this process is killed.
 */
public final class Launcher {
    private final Builder config;

    private Launcher(Builder config) {
        this.config = config;
    }

    /**
     * A launcher of {@code ranks} processes that run a main class.
     *
     * @throws IllegalArgumentException if {@code ranks} is not 1..64
     */
    public static Builder builder(int ranks, String mainClass) {
        return new Builder(ranks, mainClass);
    }

    /**
     * Runs all ranks and waits until everything has ended and is cleaned up.
     *
     * @throws IOException if the run could not start; nothing is left of it then
     * @throws InterruptedException if this thread is interrupted; the run is ended then
     */
    public LaunchResult run() throws IOException, InterruptedException {
        try (RunningJob job = start()) {
            return job.await();
        }
    }

    RunningJob start() throws IOException, InterruptedException {
        return RunningJob.start(config);
    }

    /** Collects a launcher's settings. Not thread-safe. */
    public static final class Builder {
        final int ranks;
        final String mainClass;
        List<String> arguments = List.of();
        String classPath = System.getProperty("java.class.path");
        List<String> jvmFlags = List.of();
        Map<String, String> environment = Map.of();
        RankOutput output = RankOutput.prefixed();
        Duration gracePeriod = Duration.ofSeconds(3);
        ControlSettings control = ControlSettings.defaults();
        LostRank lostRank = LostRank.END_RUN;
        List<String> hosts = List.of();
        List<String> ssh =
                List.of("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=10");
        String masterAddress = "";
        DataPlaneOptions dataPlane = DataPlaneOptions.defaults();
        byte[] input = new byte[0];
        OneOfSeveral several;

        private Builder(int ranks, String mainClass) {
            if (ranks < 1 || ranks > RankEnvironment.MAX_WORLD_SIZE) {
                throw new IllegalArgumentException(
                        "ranks must be 1.." + RankEnvironment.MAX_WORLD_SIZE + ": got " + ranks);
            }
            this.ranks = ranks;
            this.mainClass = Objects.requireNonNull(mainClass, "mainClass");
        }

        /** What main is called with, on every rank. Others on this host can read it: no secrets. */
        public Builder arguments(List<String> arguments) {
            this.arguments = List.copyOf(arguments);
            return this;
        }

        /** The ranks' class path, instead of this JVM's own. It must contain this library. */
        public Builder classPath(String classPath) {
            this.classPath = Objects.requireNonNull(classPath, "classPath");
            return this;
        }

        /** JVM flags of the ranks, besides those that the launcher adds by itself. */
        public Builder jvmFlags(List<String> flags) {
            this.jvmFlags = List.copyOf(flags);
            return this;
        }

        /** Environment variables of the ranks, besides this process's own. */
        public Builder environment(Map<String, String> variables) {
            this.environment = Map.copyOf(variables);
            return this;
        }

        /** Who gets what the ranks print, instead of this process's own streams. */
        public Builder output(RankOutput output) {
            this.output = Objects.requireNonNull(output, "output");
            return this;
        }

        /** How long the ranks may take to end by themselves once the run has failed; 3 s. */
        public Builder gracePeriod(Duration period) {
            if (period.toMillis() < 1) {
                throw new IllegalArgumentException("gracePeriod must be at least 1 ms: got " + period);
            }
            this.gracePeriod = period;
            return this;
        }

        /** Heartbeats and deadlines. */
        public Builder control(ControlSettings settings) {
            this.control = Objects.requireNonNull(settings, "settings");
            return this;
        }

        /** What happens when a rank is lost; {@link LostRank#END_RUN}. The end of the media driver always ends the run. */
        public Builder whenRankIsLost(LostRank reaction) {
            this.lostRank = Objects.requireNonNull(reaction, "reaction");
            return this;
        }

        /**
         * Where each rank runs, instead of all on this host. Other hosts are reached by ssh, without a question; JDK, class
         * path and files must have the same paths there.
         *
         * @param hostOfRank a name or address for each rank, as ssh takes it
         * @throws IllegalArgumentException if there is not one for each rank
         */
        public Builder hosts(List<String> hostOfRank) {
            if (hostOfRank.size() != ranks) {
                throw new IllegalArgumentException(
                        "hosts must name one host for each of " + ranks + " ranks: got " + hostOfRank.size());
            }
            this.hosts = List.copyOf(hostOfRank);
            return this;
        }

        /** How to log in elsewhere, instead of ssh without questions; host and command line are added. */
        public Builder ssh(List<String> command) {
            if (command.isEmpty()) {
                throw new IllegalArgumentException("ssh must name a program: got nothing");
            }
            this.ssh = List.copyOf(command);
            return this;
        }

        /** At which address of this host the others reach it, instead of the one on the way to the first of them. */
        public Builder masterAddress(String nameOrAddress) {
            this.masterAddress = Objects.requireNonNull(nameOrAddress, "nameOrAddress");
            return this;
        }

        /**
         * Makes this one of several launchers, one per host, instead of reaching the other hosts by ssh. The first one's
         * ranks are those of {@link #hosts}' first host, and so on; there must be a launcher for each.
         *
         * @param node number of this launcher's host
         * @param master where the first launcher's coordinator listens
         * @param token secret of the run, the same in all; whoever has it may join
         */
        public Builder oneOfSeveral(int node, InetSocketAddress master, String token) {
            this.several = new OneOfSeveral(node, master, token);
            return this;
        }

        /** How ranks are linked, instead of by shared memory inside hosts and TCP between them. */
        public Builder dataPlane(DataPlaneOptions options) {
            this.dataPlane = Objects.requireNonNull(options, "options");
            return this;
        }

        /**
         * What ranks find, on every host, in a file that only this user can read and that goes with the run: its path is
         * in the environment variable {@code TREEATTN_INPUT}.
         */
        public Builder input(byte[] content) {
            this.input = content.clone();
            return this;
        }

        Placement placement() {
            return hosts.isEmpty() ? Placement.here(ranks) : new Placement(hosts);
        }

        Program program() {
            return new Program(mainClass, arguments, classPath, jvmFlags, environment, input);
        }

        InetAddress masterAddress(Placement placement) throws IOException {
            return masterAddress.isEmpty() ? placement.ownAddress() : InetAddress.getByName(masterAddress);
        }

        public Launcher build() {
            return new Launcher(copy());
        }

        private Builder copy() {
            Builder copy = new Builder(ranks, mainClass);
            copy.arguments = arguments;
            copy.classPath = classPath;
            copy.jvmFlags = jvmFlags;
            copy.environment = environment;
            copy.output = output;
            copy.gracePeriod = gracePeriod;
            copy.control = control;
            copy.lostRank = lostRank;
            copy.hosts = hosts;
            copy.ssh = ssh;
            copy.masterAddress = masterAddress;
            copy.dataPlane = dataPlane;
            copy.input = input;
            copy.several = several;
            return copy;
        }
    }
}
