package io.github.treeattention.distributed;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvCache;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequencePartition;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.testkit.Seeds;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Attention over several ranks is attention over one, whatever lies where. */
@Timeout(value = 1, unit = TimeUnit.MINUTES)
class DistributedAttentionTest {
    private static final AttentionKernel KERNEL = AttentionKernels.named("java");
    private static final int HEADS = 6;
    private static final int KV_HEADS = 2;
    private static final int KEY_DIM = 12;
    private static final int VALUE_DIM = 20;
    private static final int COUNT = 3;
    private static final int PAGE = 8;

    /** Two sequences of different length; with many ranks the short one leaves some of them without keys. */
    private static final int[] LENGTHS = {130, 13};

    private final SplittableRandom random = Seeds.random("DistributedAttentionTest");
    private final List<FloatBuffer> keys =
            List.of(floats(LENGTHS[0] * KV_HEADS * KEY_DIM), floats(13 * KV_HEADS * KEY_DIM));
    private final List<FloatBuffer> values =
            List.of(floats(LENGTHS[0] * KV_HEADS * VALUE_DIM), floats(13 * KV_HEADS * VALUE_DIM));
    private final FloatBuffer queryValues = floats(2 * HEADS * COUNT * KEY_DIM);
    private AttentionSpec spec = spec();
    private AttentionMask mask = AttentionMask.NONE;

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 8})
    void treeShouldEqualOneRank(int worldSize) throws Exception {
        shouldEqualOneRank(worldSize, KvType.F32, TreeAttention::new);
        shouldEqualOneRank(worldSize, KvType.BF16, TreeAttention::new);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 8})
    void ringShouldEqualOneRank(int worldSize) throws Exception {
        shouldEqualOneRank(worldSize, KvType.F32, RingDecode::new);
        shouldEqualOneRank(worldSize, KvType.F16, RingDecode::new);
    }

    /** Masks name global positions, and so does dropout; the second batch row sees few keys, one head of it none. */
    @ParameterizedTest
    @ValueSource(ints = {2, 3, 5})
    void masksAndDropoutShouldNotDependOnTheRanks(int worldSize) throws Exception {
        FloatBuffer bias = floats(2 * HEADS * LENGTHS[0]);
        boolean[][] padding = new boolean[2][LENGTHS[0]];
        for (int j = 0; j < LENGTHS[0]; j++) {
            bias.put((HEADS + 1) * LENGTHS[0] + j, Float.NEGATIVE_INFINITY);
            padding[0][j] = random.nextInt(4) > 0;
            padding[1][j] = j > 2;
        }
        mask = AttentionMask.NONE
                .withKeys(padding)
                .withBias(bias, 2, HEADS, 1, LENGTHS[0])
                .withRanges(1, COUNT, 0, 100, 3, 128, 1, 1000);
        spec = spec().withDropout(Dropout.of(0.3, random.nextLong(), 2));
        shouldEqualOneRank(worldSize, KvType.F32, TreeAttention::new);
        shouldEqualOneRank(worldSize, KvType.F32, RingDecode::new);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 8})
    void theReferenceRingShouldEqualOneRank(int worldSize) throws Exception {
        shouldEqualOneRank(worldSize, KvType.F32, RingDecode::reference);
        shouldEqualOneRank(worldSize, KvType.BF16, RingDecode::reference);
    }

    @Test
    void treeShouldSendStatesAndRingShouldSendKeys() throws Exception {
        long rows = 2L * HEADS * COUNT * (VALUE_DIM + 1) * Float.BYTES;
        List<Communicator> tree = run(4, KvType.F32, TreeAttention::new, new ArrayList<>());
        long sent = 0;
        for (Communicator member : tree) {
            sent += member.traffic().payloadBytes();
        }
        assertEquals(6 * rows, sent, "three ranks up, three down");

        List<Communicator> ring = run(4, KvType.F32, RingDecode::new, new ArrayList<>());
        int pageBytes = PAGE * KV_HEADS * (KEY_DIM + VALUE_DIM) * Float.BYTES;
        int pages = 17 + 2;
        int header = 8 + 2 * 8; // the message's length, then a page count per sequence
        long ringSent = 0;
        for (Communicator member : ring) {
            ringSent += member.traffic().payloadBytes();
        }
        assertEquals(3L * (pages * (pageBytes + 16) + 4 * header), ringSent, "every page makes three hops");

        long expanded = 0;
        for (Communicator member : run(4, KvType.F32, RingDecode::reference, new ArrayList<>())) {
            expanded += member.traffic().payloadBytes();
        }
        int group = HEADS / KV_HEADS;
        int lengths = 3 * 8 + 2 * 8; // of three messages, then a page count per sequence
        assertEquals(3L * (pages * (group * pageBytes + 16) + 4 * lengths), expanded, "once for every query head");
    }

    @Test
    void shouldRefuseShapesThatDisagreeBeforeAnythingIsSent() {
        try (KvCache cache = cache(0, 1, 0, KvType.F32)) {
            Communicator alone = Communicators.single();
            AttentionState wrong = AttentionState.empty(1, HEADS, COUNT + 1, VALUE_DIM);
            Queries queries = new Queries(queryValues, 1, HEADS, COUNT, KEY_DIM, 127);
            for (DistributedAttention attention :
                    List.of(new TreeAttention(KERNEL, alone), new RingDecode(KERNEL, alone))) {
                assertThrows(
                        IllegalArgumentException.class,
                        () -> attention.attend(spec(), queries, List.of(cache.shard(0)), wrong));
            }
        }
    }

    @Test
    void shouldRefuseMalformedShardMessages() {
        try (KvCache cache = cache(0, 1, 0, KvType.F32)) {
            List<KvShard> shards = List.of(cache.shard(0));
            ByteBuffer message = ShardMessage.encode(shards, ByteBuffer.allocate(0));
            assertEquals(
                    shards.get(0).totalLength(),
                    ShardMessage.decode(message, shards, 3).get(0).totalLength());

            refused("its pages take", message.duplicate().limit(message.limit() - 1), shards);
            refused("it ends in its header", message.duplicate().limit(7), shards);
            refused("it announces -1 pages", copy(message).putLong(0, -1), shards);
            refused("it announces 9223372036854775807 pages", copy(message).putLong(0, Long.MAX_VALUE), shards);
            refused("its pages take", copy(message).putLong(0, 16), shards); // a page less than there are
            refused("one of its has 0", copy(message).putLong(16, 0), shards);
            refused("one of its has 4294967297", copy(message).putLong(16, (1L << 32) + 1), shards);
            refused("one that starts at -1", copy(message).putLong(8, -1), shards);
            refused("one that starts at 9223372036854775807", copy(message).putLong(8, Long.MAX_VALUE), shards);
            refused("one that starts at 0 comes after", copy(message).putLong(24, 0), shards); // the second page
        }
    }

    /** What a peer announces is looked at before memory is taken for it, and the peer is named. */
    @Test
    void shouldRefuseLengthsThatNoShardHas() {
        for (long announced : new long[] {-1, 7, 8 + 100, 1L << 31, 1L << 62, Long.MIN_VALUE}) {
            Communicator liar = (Communicator) Proxy.newProxyInstance(
                    getClass().getClassLoader(), new Class<?>[] {Communicator.class}, (proxy, method, args) -> {
                        if (method.getName().equals("sendRecv")) {
                            ByteBuffer receive = (ByteBuffer) args[2];
                            for (int at = 0; at < receive.limit(); at += Long.BYTES) {
                                receive.putLong(at, announced);
                            }
                        }
                        return switch (method.getName()) {
                            case "worldSize" -> 2;
                            case "rank" -> 0;
                            default -> null;
                        };
                    });
            for (Factory ring : List.<Factory>of(RingDecode::new, RingDecode::reference)) {
                CollectiveException failure =
                        assertThrows(CollectiveException.class, () -> attend(liar, KvType.F32, ring));
                assertEquals(1, failure.failedRank());
                assertTrue(failure.getMessage().contains("announces " + announced), failure.getMessage());
            }
        }
    }

    /** Lengths that shards have, and places that no page has: the reference form, whose keys and places come apart. */
    @Test
    void shouldNameThePeerWhosePlacesAreWrong() {
        AtomicInteger call = new AtomicInteger();
        Communicator liar = (Communicator) Proxy.newProxyInstance(
                getClass().getClassLoader(), new Class<?>[] {Communicator.class}, (proxy, method, args) -> {
                    if (method.getName().equals("sendRecv")) {
                        ByteBuffer send = (ByteBuffer) args[0];
                        ByteBuffer receive = (ByteBuffer) args[2];
                        receive.put(0, send, send.position(), send.remaining());
                        if (call.incrementAndGet() == 2) { // lengths, places, keys, values
                            receive.putLong(16, 0);
                        }
                    }
                    return switch (method.getName()) {
                        case "worldSize" -> 2;
                        case "rank" -> 0;
                        default -> null;
                    };
                });
        CollectiveException failure =
                assertThrows(CollectiveException.class, () -> attend(liar, KvType.F32, RingDecode::reference));
        assertEquals(1, failure.failedRank());
        assertTrue(failure.getMessage().contains("one of its has 0"), failure.getMessage());
    }

    private static void refused(String why, ByteBuffer message, List<KvShard> shards) {
        CollectiveException failure =
                assertThrows(CollectiveException.class, () -> ShardMessage.decode(message, shards, 3));
        assertEquals(3, failure.failedRank());
        assertTrue(failure.getMessage().contains(why), failure.getMessage());
    }

    private static ByteBuffer copy(ByteBuffer message) {
        ByteBuffer copy = ByteBuffer.allocateDirect(message.remaining()).order(ByteOrder.LITTLE_ENDIAN);
        return copy.put(message.duplicate()).flip();
    }

    private interface Factory {
        DistributedAttention make(AttentionKernel kernel, Communicator communicator);
    }

    private void shouldEqualOneRank(int worldSize, KvType type, Factory factory) throws Exception {
        List<float[]> one = new ArrayList<>();
        run(1, type, TreeAttention::new, one);
        List<float[]> several = new ArrayList<>();
        run(worldSize, type, factory, several);
        for (float[] state : several) {
            assertArrayEquals(several.get(0), state, "the same bits on every rank");
            for (int i = 0; i < state.length; i++) {
                boolean same = one.get(0)[i] == state[i]; // -inf
                assertTrue(same || Math.abs(one.get(0)[i] - state[i]) <= 2e-6, one.get(0)[i] + " and " + state[i]);
            }
        }
    }

    private List<Communicator> run(int worldSize, KvType type, Factory factory, List<float[]> states) throws Exception {
        List<Communicator> members = Communicators.inProcess(worldSize, Duration.ofSeconds(20));
        ExecutorService threads = Executors.newFixedThreadPool(worldSize);
        try {
            List<Future<float[]>> results = new ArrayList<>();
            for (Communicator member : members) {
                results.add(threads.submit(() -> attend(member, type, factory)));
            }
            for (Future<float[]> result : results) {
                states.add(result.get());
            }
        } finally {
            threads.shutdownNow();
        }
        return members;
    }

    private float[] attend(Communicator member, KvType type, Factory factory) {
        try (KvCache first = cache(0, member.worldSize(), member.rank(), type);
                KvCache second = cache(1, member.worldSize(), member.rank(), type)) {
            Queries queries = new Queries(queryValues.duplicate(), 2, HEADS, COUNT, KEY_DIM, 127, 5).withMask(mask);
            AttentionState state = AttentionState.empty(2, HEADS, COUNT, VALUE_DIM);
            factory.make(KERNEL, member).attend(spec, queries, List.of(first.shard(0), second.shard(0)), state);
            float[] rows = new float[state.rows().capacity()];
            state.rows().get(0, rows);
            return rows;
        }
    }

    private KvCache cache(int sequence, int worldSize, int rank, KvType type) {
        KvLayout layout = new KvLayout(1, KV_HEADS, KEY_DIM, VALUE_DIM, type, PAGE);
        KvCache cache = new KvCache(layout, new SequencePartition(PAGE, worldSize), rank, 1L << 30);
        cache.append(0, LENGTHS[sequence], keys.get(sequence), values.get(sequence));
        return cache;
    }

    private static AttentionSpec spec() {
        return AttentionSpec.of(HEADS, KV_HEADS, KEY_DIM)
                .withValueDim(VALUE_DIM)
                .withCausal(true);
    }

    private FloatBuffer floats(int count) {
        FloatBuffer floats = Queries.allocate(count);
        for (int i = 0; i < count; i++) {
            floats.put(i, (float) (2 * random.nextDouble() - 1));
        }
        return floats;
    }
}
