package io.github.treeattention.collective;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.Seeds;
import java.util.Collections;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Timeout(60)
class AlgorithmChoiceTest {
    private static final int CHUNK = 32_000;

    private static AllReduceAlgorithm choose(List<String> hosts, boolean commutative) {
        HostLayout layout = new HostLayout(new ProcessGroup(0, hosts, 0, 0));
        return choose(layout, commutative, 1_000, null);
    }

    private static AllReduceAlgorithm choose(
            HostLayout layout, boolean commutative, int length, Calibration calibration) {
        CostModel costs = new CostModel(layout, CHUNK, calibration);
        return AlgorithmChoice.resolve(AllReduceAlgorithm.AUTO, layout, commutative, length, costs);
    }

    @ParameterizedTest
    @CsvSource({"1, STAR", "2, RECURSIVE_DOUBLING", "3, STAR", "8, STAR", "9, BINOMIAL_TREE", "64, BINOMIAL_TREE"})
    void shouldPreferFewMessagesInASmallHostAndFewHopsInALargeOne(int ranks, AllReduceAlgorithm wanted) {
        assertEquals(wanted, choose(Collections.nCopies(ranks, "a"), true));
        assertEquals(wanted, choose(Collections.nCopies(ranks, "a"), false));
    }

    @Test
    void shouldReduceInsideHostsFirst() {
        assertEquals(AllReduceAlgorithm.TWO_LEVEL, choose(List.of("a", "b"), true));
        assertEquals(AllReduceAlgorithm.TWO_LEVEL, choose(List.of("a", "a", "b", "b"), true));
        assertEquals(AllReduceAlgorithm.TWO_LEVEL, choose(List.of("a", "a", "b", "b"), false));
    }

    @Test
    void shouldKeepTheOrderWhereItMatters() {
        assertEquals(AllReduceAlgorithm.TWO_LEVEL, choose(List.of("a", "b", "a", "b"), true));
        assertEquals(AllReduceAlgorithm.STAR, choose(List.of("a", "b", "a", "b"), false));
    }

    @Test
    void shouldSendLongMessagesAlongAChainWhereEveryMemberHasACore() {
        HostLayout layout = new HostLayout(new ProcessGroup(0, Collections.nCopies(4, "a"), 0, 0));
        Calibration.Link link = new Calibration.Link(Calibration.Kind.SAME_HOST, 3e-6, 3e9);
        assertEquals(AllReduceAlgorithm.STAR, choose(layout, true, 16_512, null));
        assertEquals(AllReduceAlgorithm.CHAIN, choose(layout, true, 16_000_000, null));
        assertEquals(AllReduceAlgorithm.CHAIN, choose(layout, true, 16_000_000, new Calibration(List.of(link), 4)));
        assertEquals(
                AllReduceAlgorithm.STAR,
                choose(layout, true, 16_512, new Calibration(List.of(link), 4)),
                "few bytes, many hops");
        Calibration.Link slow = new Calibration.Link(Calibration.Kind.SAME_HOST, 1e-3, 3e9);
        assertEquals(AllReduceAlgorithm.STAR, choose(layout, true, 500_000, new Calibration(List.of(slow), 4)));
    }

    @Test
    void shouldNeverChooseOtherBitsBecauseOfWhatWasMeasured() {
        SplittableRandom random = Seeds.random("shouldNeverChooseOtherBitsBecauseOfWhatWasMeasured");
        for (int round = 0; round < 10_000; round++) {
            int ranks = 1 + random.nextInt(64);
            int hosts = 1 + random.nextInt(ranks);
            List<String> names = IntStream.range(0, ranks)
                    .mapToObj(rank -> "host" + random.nextInt(hosts))
                    .toList();
            HostLayout layout = new HostLayout(new ProcessGroup(0, names, 0, 0));
            boolean commutative = random.nextBoolean();
            int length = random.nextInt(1 << (1 + random.nextInt(30)));
            Calibration calibration = new Calibration(
                    List.of(link(Calibration.Kind.SAME_HOST, random), link(Calibration.Kind.OTHER_HOST, random)),
                    1 + random.nextInt(64));
            AllReduceAlgorithm usual = choose(layout, commutative, 0, null);
            AllReduceAlgorithm chosen = choose(layout, commutative, length, calibration);
            assertTrue(
                    AlgorithmChoice.sameBits(usual, ranks).contains(chosen)
                            || AlgorithmChoice.sameBits(chosen, ranks).contains(usual),
                    () -> usual + " became " + chosen + " for " + ranks + " ranks");
        }
    }

    private static Calibration.Link link(Calibration.Kind kind, SplittableRandom random) {
        return new Calibration.Link(kind, Math.exp(-random.nextInt(16)), Math.exp(random.nextInt(25)));
    }

    @Test
    void shouldCountTheCoresThatMembersShare() {
        HostLayout layout = new HostLayout(new ProcessGroup(0, Collections.nCopies(16, "a"), 0, 0));
        Calibration.Link link = new Calibration.Link(Calibration.Kind.SAME_HOST, 3e-6, 3e9);
        assertEquals(
                AllReduceAlgorithm.RECURSIVE_DOUBLING,
                choose(layout, true, 16_512, new Calibration(List.of(link), 16)));
        assertEquals(AllReduceAlgorithm.BINOMIAL_TREE, choose(layout, true, 16_512, new Calibration(List.of(link), 2)));
    }
}
