package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.AbortSignal.Failure;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(10)
class AccusationsTest {
    private final Accusations accusations = new Accusations();

    @Test
    void shouldFollowTheChainToWhoAccusesNobody() {
        accuse(3, 1, "c");
        accuse(1, 0, "b");
        accuse(0, 2, "a");
        assertTrue(accusations.areComplete(4));
        assertEquals(new Failure(2, "a (reported by rank 0)"), accusations.verdict(4));
    }

    @Test
    void shouldFollowTheChainWhileOthersHaveNotSpoken() {
        accuse(0, 1, "a");
        accuse(1, 3, "b");
        assertFalse(accusations.areComplete(5));
        assertEquals(new Failure(3, "b (reported by rank 1)"), accusations.verdict(5));
    }

    @Test
    void shouldBelieveASingleAccusation() {
        accuse(3, 1, "c");
        assertFalse(accusations.areComplete(4));
        assertEquals(new Failure(1, "c (reported by rank 3)"), accusations.verdict(4));
    }

    @Test
    void shouldBlameTheOnlySilentRankWhenTheChainIsACircle() {
        accuse(0, 1, "a");
        accuse(1, 0, "b");
        assertEquals(2, accusations.verdict(3).rank());
    }

    @Test
    void shouldNotTakeHearsayForAConfession() {
        Failure relayed = new Failure(0, "nothing from rank 0 (reported by rank 2)");
        assertFalse(Accusations.isConfession(0, relayed));
        assertTrue(Accusations.isConfession(0, new Failure(0, "out of memory")));
        accusations.add(0, relayed);
        accuse(2, 0, "nothing from rank 0");
        assertEquals(new Failure(1, "nothing from rank 0 (reported by rank 2)"), accusations.verdict(3));
    }

    @Test
    void shouldNotInventACulprit() {
        accuse(0, -1, "the driver is gone");
        assertEquals(new Failure(-1, "the driver is gone (reported by rank 0)"), accusations.verdict(3));
        accuse(1, 99, "nonsense");
        accuse(2, -1, "the same");
        assertEquals(-1, accusations.verdict(3).rank());
    }

    private void accuse(int reporter, int accused, String reason) {
        accusations.add(reporter, new Failure(accused, reason));
    }
}
