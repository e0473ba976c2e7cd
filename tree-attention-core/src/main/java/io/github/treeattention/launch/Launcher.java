package io.github.treeattention.launch;

import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * Starts the processes of a run on this host: a media driver and the ranks, each a JVM like this one. Immutable; every
 * call of {@link #run} is a run of its own.
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
            return copy;
        }
    }
}
