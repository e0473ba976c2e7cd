package io.github.treeattention.collective;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Every reachable state of small groups, whichever member goes on next, however late a link delivers (so that frames of
 * different links overtake each other), whenever it refuses, and whenever a member dies: the real progress engine, step
 * by step. A run ends where it meets a state that an earlier one has left; a state that nothing leaves is a deadlock.
 */
@Timeout(120)
class ModelCheckTest {
    private static final Duration DEADLINE = Duration.ofDays(1);

    /**
     * A world to explore.
     *
     * @param operations all-reduces, one after another
     * @param chunks of each message
     * @param whims of each link: how often it may be late and how often it may refuse
     * @param deaths how many members may die, at any moment
     */
    private record World(
            AllReduceAlgorithm algorithm, int ranks, int operations, int chunks, int capacity, int whims, int deaths) {

        ReduceOp op() {
            return algorithm == AllReduceAlgorithm.RING ? new IntSumOp() : new MatrixOp();
        }

        /** Of a message; a ring cuts it into a segment for each rank. */
        int length() {
            return chunks * op().blockLength() * (algorithm == AllReduceAlgorithm.RING ? ranks : 1);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "STAR, 2, 2, 2, 1, 1",
        "RECURSIVE_DOUBLING, 2, 2, 2, 1, 1",
        "CHAIN, 2, 2, 2, 1, 1",
        "STAR, 3, 2, 1, 1, 1",
        "RECURSIVE_DOUBLING, 3, 2, 1, 1, 1",
        "CHAIN, 3, 1, 2, 1, 1",
        "RECURSIVE_DOUBLING, 4, 1, 1, 1, 0",
        "BINOMIAL_TREE, 4, 1, 2, 1, 0",
        "TWO_LEVEL, 4, 1, 1, 1, 0",
        "RING, 2, 1, 2, 1, 1",
        "RING, 3, 1, 1, 1, 0",
    })
    void shouldReduceInRankOrderWhateverHappensFirst(
            AllReduceAlgorithm algorithm, int ranks, int operations, int chunks, int capacity, int whims) {
        explore(new World(algorithm, ranks, operations, chunks, capacity, whims, 0));
    }

    @ParameterizedTest
    @CsvSource({
        "STAR, 2, 2, 1",
        "RECURSIVE_DOUBLING, 2, 2, 1",
        "STAR, 3, 1, 0",
        "BINOMIAL_TREE, 3, 1, 0",
        "RECURSIVE_DOUBLING, 3, 1, 0",
        "CHAIN, 3, 1, 0",
        "RECURSIVE_DOUBLING, 4, 1, 0",
    })
    void shouldEndOnAllMembersWheneverOneDies(AllReduceAlgorithm algorithm, int ranks, int chunks, int whims) {
        explore(new World(algorithm, ranks, 1, chunks, 1, whims, 1));
    }

    private static void explore(World world) {
        Choices choices = new Choices();
        Map<String, Boolean> left = new HashMap<>(); // whether another state follows
        int runs = 0;
        do {
            new Run(world, choices, left).go();
            runs++;
        } while (choices.next());
        System.err.printf("%s: %d states, %d runs%n", world, left.size(), runs);
        left.forEach((state, isLeft) -> assertTrue(isLeft, () -> "deadlock in " + world + ": " + state));
        assertTrue(left.size() > 10, "the world must have states: " + left.size());
    }

    /** One run, from the beginning. */
    private static final class Run {
        private final World world;
        private final Choices choices;
        private final Map<String, Boolean> left;
        private final ModelNetwork network;
        private final List<Player> players = new ArrayList<>();
        private int deaths;

        Run(World world, Choices choices, Map<String, Boolean> left) {
            this.world = world;
            this.choices = choices;
            this.left = left;
            network = new ModelNetwork(
                    choices, world.ranks, FrameHeader.LENGTH + world.op().blockLength(), world.capacity, world.whims);
            deaths = world.deaths;
            for (int rank = 0; rank < world.ranks; rank++) {
                players.add(new Player(world, network, rank));
            }
        }

        void go() {
            String before = state();
            left.putIfAbsent(before, false);
            while (!isOver()) {
                move();
                String after = state();
                if (!after.equals(before)) {
                    left.put(before, true);
                }
                boolean known = left.putIfAbsent(after, isOver()) != null;
                if (known && choices.isNew()) {
                    return; // whatever follows has been or will be seen from there
                }
                before = after;
            }
            check();
        }

        private void move() {
            List<Player> awake = players.stream().filter(Player::isAwake).toList();
            int choice = choices.choose(awake.size() * (deaths > 0 ? 2 : 1));
            Player player = awake.get(choice % awake.size());
            if (choice >= awake.size()) {
                deaths--;
                player.die();
            } else {
                player.goOn();
            }
        }

        private boolean isOver() {
            return players.stream().noneMatch(Player::isAwake);
        }

        private String state() {
            StringBuilder state = new StringBuilder(network.state()).append(deaths);
            players.forEach(player -> state.append('|').append(player.state()));
            return state.toString();
        }

        private void check() {
            boolean anyDead = players.stream().anyMatch(player -> player.dead);
            assertEquals(deaths < world.deaths, anyDead);
            if (!anyDead) {
                players.forEach(player -> assertNull(player.failure, "nobody died"));
                assertTrue(network.isEmpty(), "nothing may be left on a link");
            }
            for (Player player : players) {
                if (player.failure != null) {
                    Player blamed = players.get(player.failure.failedRank());
                    assertTrue(blamed.dead || blamed.failure != null, player.failure::getMessage);
                } else if (!player.dead) {
                    player.checkResults();
                }
            }
        }
    }

    /** One member. */
    private static final class Player {
        private final World world;
        private final int rank;
        private final Transport transport;
        private final Exchange exchange;
        private final Planner planner;
        private final List<ByteBuffer> messages = new ArrayList<>();
        private int operation = -1;
        private boolean dead;
        private CollectiveException failure;

        Player(World world, ModelNetwork network, int rank) {
            this.world = world;
            this.rank = rank;
            transport = network.transport(rank);
            List<String> hosts = new ArrayList<>(Collections.nCopies(world.ranks, "a"));
            if (world.algorithm == AllReduceAlgorithm.TWO_LEVEL) {
                Collections.fill(hosts.subList(world.ranks / 2, world.ranks), "b");
            }
            ProcessGroup group = new ProcessGroup(rank, hosts, 1, 1);
            HostLayout layout = new HostLayout(group);
            exchange = new Exchange(group, transport, AbortSignal.NEVER, DEADLINE, new Counters(layout));
            planner = new Planner(layout, exchange.maxPayload());
            begin();
        }

        private void begin() {
            operation++;
            if (operation < world.operations) {
                int length = world.length();
                ByteBuffer message = GroupTest.random(100L * operation + rank, length);
                messages.add(message);
                exchange.begin(
                        Operation.ALL_REDUCE,
                        world.algorithm,
                        operation + 1,
                        planner.allReduce(world.algorithm, length, world.op().blockLength()),
                        Exchange.Buffers.inPlace(message),
                        world.op());
            }
        }

        boolean isAwake() {
            return !dead && failure == null && operation < world.operations;
        }

        void goOn() {
            try {
                exchange.pass();
                if (exchange.isDone()) {
                    begin();
                }
            } catch (CollectiveException e) {
                failure = e;
                transport.close();
            }
        }

        void die() {
            dead = true;
            transport.close();
        }

        String state() {
            StringBuilder state =
                    new StringBuilder().append(operation).append(dead ? 'd' : failure != null ? 'f' : '-');
            messages.forEach(message -> state.append(':').append(Arrays.hashCode(GroupTest.bytes(message))));
            return state.toString();
        }

        void checkResults() {
            for (int i = 0; i < world.operations; i++) {
                ByteBuffer wanted = GroupTest.random(100L * i, world.length());
                for (int other = 1; other < world.ranks; other++) {
                    world.op().reduce(wanted, GroupTest.random(100L * i + other, wanted.capacity()));
                }
                assertArrayEquals(GroupTest.bytes(wanted), GroupTest.bytes(messages.get(i)), "rank " + rank);
            }
        }
    }
}
