package io.github.treeattention.collective;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Timeout(10)
class AlgorithmChoiceTest {

    private static AllReduceAlgorithm choose(List<String> hosts, boolean commutative) {
        HostLayout layout = new HostLayout(new ProcessGroup(0, hosts, 0, 0));
        return AlgorithmChoice.resolve(AllReduceAlgorithm.AUTO, layout, commutative);
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
}
