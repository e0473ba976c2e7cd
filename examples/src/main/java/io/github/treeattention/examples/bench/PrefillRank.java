package io.github.treeattention.examples.bench;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Traffic;
import io.github.treeattention.distributed.AttentionInputs;
import io.github.treeattention.distributed.RingAttention;
import io.github.treeattention.distributed.RingHop;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.launch.RankEnvironment;
import io.github.treeattention.launch.RankSession;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.ToLongFunction;

/** Main class of the ranks of {@code treeattn bench prefill}: each prints one {@link Report} as a line of JSON. */
public final class PrefillRank {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration DEADLINE = Duration.ofMinutes(2);

    private final Job job;
    private final Communicator ranks;
    private final AttentionKernel kernel = AttentionKernels.choose();

    private PrefillRank(Job job, Communicator ranks) {
        this.job = job;
        this.ranks = ranks;
    }

    /** How the sequence is cut. */
    public enum Split {
        CONTIGUOUS,
        ZIGZAG,
        STRIPED;

        public SequenceSplit of(long length, int ranks) {
            return switch (this) {
                case CONTIGUOUS -> SequenceSplit.contiguous(length, ranks);
                case ZIGZAG -> SequenceSplit.zigzag(length, ranks);
                case STRIPED -> SequenceSplit.striped(length, ranks);
            };
        }
    }

    /**
     * One case, causal.
     *
     * @param length positions on all ranks
     * @param longest whether to look for the longest context that fits the JVM's limit of direct memory instead, in
     *     steps of a quarter from {@code length} on
     */
    public record Job(int heads, int kvHeads, int dim, long length, Split split, int runs, boolean longest) {
        public String toJson() throws JsonProcessingException {
            return JSON.writeValueAsString(this);
        }
    }

    /**
     * What one rank has measured.
     *
     * @param seconds median of a forward pass
     * @param computeSeconds median of the same with nothing sent: what computation alone takes
     * @param exchangeSeconds of the last timed pass, all hops
     * @param exposedSeconds of it, what this rank only waited for
     * @param sentBytes of a pass
     * @param directBytes that queries, keys, values, the state and the ring's buffers take together
     */
    public record Report(
            int rank,
            Job job,
            double seconds,
            double computeSeconds,
            double exchangeSeconds,
            double exposedSeconds,
            long sentBytes,
            long directBytes) {
        /** The report in a line that a rank has printed, or null if the line is something else. */
        public static Report parse(String line) {
            return BenchMemory.parse(JSON, line, Report.class);
        }
    }

    /**
     * Runs a rank.
     *
     * @param args jobs as JSON
     */
    public static void main(String[] args) throws Exception {
        try (RankSession session = RankSession.join(RankEnvironment.current(), Map.of(), DEADLINE)) {
            for (String arg : args) {
                PrefillRank rank = new PrefillRank(JSON.readValue(arg, Job.class), session.communicator());
                Report report = rank.job.longest ? rank.longest() : rank.time(rank.job.length);
                System.out.println(JSON.writeValueAsString(report));
                session.communicator().barrier();
            }
        }
    }

    /** A rank's slice, and the ring over it. */
    private record Part(AttentionInputs inputs, AttentionState state, RingAttention ring) {}

    private Part part(long length, Communicator communicator, AttentionKernel by) {
        AttentionSpec spec = AttentionSpec.of(job.heads, job.kvHeads, job.dim).withCausal(true);
        SequenceSplit split = job.split.of(length, ranks.worldSize());
        int rows = split.slice(ranks.rank()).length();
        AttentionInputs inputs = new AttentionInputs(
                1,
                random(job.heads, rows, job.dim),
                random(job.kvHeads, rows, job.dim),
                random(job.kvHeads, rows, job.dim));
        AttentionState state = AttentionState.empty(1, job.heads, rows, job.dim);
        return new Part(inputs, state, new RingAttention(by, communicator, spec, split));
    }

    private Report time(long length) {
        long before = BenchMemory.directBytes();
        Part part = part(length, ranks, kernel);
        double seconds = median(part);
        long directBytes = BenchMemory.directBytesNow() - before;
        Traffic start = ranks.traffic();
        part.ring.forward(part.inputs, part.state);
        long sent = ranks.traffic().since(start).payloadBytes();
        List<RingHop> trace = part.ring.trace();
        double alone = median(part(length, silent(), kernel));
        return new Report(
                ranks.rank(),
                job,
                seconds,
                alone,
                sum(trace, hop -> hop.exchangeEnd() - hop.exchangeStart()),
                sum(trace, RingHop::exposed),
                sent,
                directBytes);
    }

    private double median(Part part) {
        List<Double> seconds = new ArrayList<>();
        for (int run = -1; run < job.runs; run++) {
            ranks.barrier();
            long start = System.nanoTime();
            part.ring.forward(part.inputs, part.state);
            ranks.barrier(); // a pass takes as long as its slowest rank
            if (run >= 0) {
                seconds.add((System.nanoTime() - start) / 1e9);
            }
        }
        return BenchMemory.median(seconds);
    }

    private static double sum(List<RingHop> trace, ToLongFunction<RingHop> nanos) {
        return trace.stream().mapToLong(nanos).sum() / 1e9;
    }

    /**
     * Lengthens the context by a quarter until some rank lacks memory, then runs the last one that fits. Whether it fits is found out
     * by a pass that neither sends nor computes, so that no rank leaves the others waiting.
     */
    private Report longest() {
        AttentionKernel idle = (AttentionKernel) Proxy.newProxyInstance(
                PrefillRank.class.getClassLoader(),
                new Class<?>[] {AttentionKernel.class},
                (proxy, method, args) -> null);
        ByteBuffer mine = ByteBuffer.allocateDirect(1).order(ByteOrder.LITTLE_ENDIAN);
        ByteBuffer all = ByteBuffer.allocateDirect(ranks.worldSize()).order(ByteOrder.LITTLE_ENDIAN);
        long fits = 0;
        for (long length = job.length; fits(length, idle, mine, all); length = longer(length)) {
            fits = length;
        }
        if (fits == 0) {
            return new Report(ranks.rank(), withLength(0), 0, 0, 0, 0, 0, 0);
        }
        long before = BenchMemory.directBytes();
        Part part = part(fits, ranks, kernel);
        long start = System.nanoTime();
        part.ring.forward(part.inputs, part.state);
        double seconds = (System.nanoTime() - start) / 1e9;
        return new Report(ranks.rank(), withLength(fits), seconds, 0, 0, 0, 0, BenchMemory.directBytesNow() - before);
    }

    /** A quarter more, whole pieces for every rank. */
    private long longer(long length) {
        long piece = 2L * ranks.worldSize();
        return (length + length / 4) / piece * piece;
    }

    private Job withLength(long length) {
        return new Job(job.heads, job.kvHeads, job.dim, length, job.split, job.runs, true);
    }

    private boolean fits(long length, AttentionKernel idle, ByteBuffer mine, ByteBuffer all) {
        BenchMemory.directBytes();
        mine.put(0, (byte) 1);
        try {
            Part part = part(length, silent(), idle);
            part.ring.forward(part.inputs, part.state);
        } catch (OutOfMemoryError
                | IllegalArgumentException
                | ArithmeticException full) { // memory, or 2 GiB of a buffer
            mine.put(0, (byte) 0);
        }
        BenchMemory.directBytes();
        ranks.allGather(mine, all);
        for (int rank = 0; rank < ranks.worldSize(); rank++) {
            if (all.get(rank) == 0) {
                return false;
            }
        }
        return true;
    }

    /** This rank's communicator, except that blocks are neither sent nor received. */
    private Communicator silent() {
        return (Communicator) Proxy.newProxyInstance(
                PrefillRank.class.getClassLoader(), new Class<?>[] {Communicator.class}, (proxy, method, args) -> {
                    if (method.getName().equals("sendRecv")) {
                        return null;
                    }
                    try {
                        return method.invoke(ranks, args);
                    } catch (InvocationTargetException thrown) {
                        throw thrown.getCause();
                    }
                });
    }

    private static FloatBuffer random(int heads, int rows, int dim) {
        int count = Math.multiplyExact(Math.multiplyExact(heads, rows), dim);
        SplittableRandom random = new SplittableRandom(count);
        FloatBuffer floats = Queries.allocate(count);
        for (int i = 0; i < count; i++) {
            floats.put(i, (float) (2 * random.nextDouble() - 1));
        }
        return floats;
    }
}
