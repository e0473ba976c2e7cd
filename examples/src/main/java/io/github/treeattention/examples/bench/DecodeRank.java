package io.github.treeattention.examples.bench;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvCache;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequencePartition;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Traffic;
import io.github.treeattention.distributed.DistributedAttention;
import io.github.treeattention.distributed.RingDecode;
import io.github.treeattention.distributed.TreeAttention;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.launch.RankEnvironment;
import io.github.treeattention.launch.RankSession;
import java.nio.FloatBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;

/** Main class of the ranks of {@code treeattn bench decode}: each prints one {@link Report} a case as a line of JSON. */
public final class DecodeRank {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final int APPENDED_AT_ONCE = 1024;
    private static final int WARM_UP_CALLS = 3;
    private static final Duration DEADLINE = Duration.ofMinutes(1);

    private DecodeRank() {}

    /** How ranks attend together. */
    public enum Form {
        /** States, one all-reduce. */
        TREE,
        /** Keys and values go round, tuned. */
        RING,
        /** The same as the published comparison has it. */
        RING_REFERENCE
    }

    /**
     * What is attended to, one layer of a decoder.
     *
     * @param keys on all ranks
     * @param forms to time, one after another
     */
    public record Job(
            int heads, int kvHeads, int dim, KvType type, int pageSize, long keys, int runs, List<Form> forms) {
        public String toJson() throws JsonProcessingException {
            return JSON.writeValueAsString(this);
        }
    }

    /**
     * One rank, one form.
     *
     * @param medianSeconds of a call
     * @param sentBytes of a call, as counted
     * @param cacheBytes that the rank's keys and values take
     * @param bufferBytes of direct memory that the form holds beside the cache
     */
    public record Report(
            int rank, Form form, long keys, double medianSeconds, long sentBytes, long cacheBytes, long bufferBytes) {
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
                run(JSON.readValue(arg, Job.class), session.communicator());
            }
        }
    }

    private static void run(Job job, Communicator ranks) throws JsonProcessingException {
        KvLayout layout = new KvLayout(1, job.kvHeads, job.dim, job.dim, job.type, job.pageSize);
        SequencePartition partition = new SequencePartition(job.pageSize, ranks.worldSize());
        try (KvCache cache = new KvCache(layout, partition, ranks.rank(), Long.MAX_VALUE)) {
            FloatBuffer some = random(APPENDED_AT_ONCE * job.kvHeads * job.dim);
            for (long at = 0; at < job.keys; at += APPENDED_AT_ONCE) {
                cache.append(0, (int) Math.min(APPENDED_AT_ONCE, job.keys - at), some, some);
            }
            for (Form form : job.forms) {
                System.out.println(JSON.writeValueAsString(time(job, form, cache, ranks)));
            }
            ranks.barrier();
        }
    }

    private static Report time(Job job, Form form, KvCache cache, Communicator ranks) {
        AttentionKernel kernel = AttentionKernels.choose();
        AttentionSpec spec = AttentionSpec.of(job.heads, job.kvHeads, job.dim).withCausal(true);
        Queries query = new Queries(random(job.heads * job.dim), 1, job.heads, 1, job.dim, job.keys);
        AttentionState state = AttentionState.empty(1, job.heads, 1, job.dim);
        List<KvShard> shards = List.of(cache.shard(0));
        long before = BenchMemory.directBytes();
        DistributedAttention attention =
                switch (form) {
                    case TREE -> new TreeAttention(kernel, ranks);
                    case RING -> new RingDecode(kernel, ranks);
                    case RING_REFERENCE -> RingDecode.reference(kernel, ranks);
                };
        List<Double> seconds = new ArrayList<>();
        Traffic sent = null;
        for (int run = -WARM_UP_CALLS; run < job.runs; run++) {
            ranks.barrier();
            Traffic start = ranks.traffic();
            long startNanos = System.nanoTime();
            attention.attend(spec, query, shards, state);
            if (run >= 0) {
                seconds.add((System.nanoTime() - startNanos) / 1e9);
            }
            sent = ranks.traffic().since(start);
        }
        return new Report(
                ranks.rank(),
                form,
                job.keys,
                BenchMemory.median(seconds),
                sent.payloadBytes(),
                cache.allocatedBytes(),
                BenchMemory.directBytesNow() - before);
    }

    private static FloatBuffer random(int count) {
        SplittableRandom random = new SplittableRandom(count);
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) (2 * random.nextDouble() - 1);
        }
        return Queries.allocate(count).put(0, values);
    }
}
