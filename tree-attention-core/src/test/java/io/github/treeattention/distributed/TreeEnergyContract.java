package io.github.treeattention.distributed;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionEnergy;
import io.github.treeattention.attention.AttentionEnergy.Order;
import io.github.treeattention.attention.EnergyCase;
import io.github.treeattention.attention.EnergyState;
import io.github.treeattention.attention.TopKeys;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.GroupTest;
import io.github.treeattention.testkit.Seeds;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The energy over several ranks is the energy by definition, over any transport. */
@Timeout(value = 1, unit = TimeUnit.MINUTES)
public abstract class TreeEnergyContract extends GroupTest {
    private static final double EXACT = 1e-12;
    private static final int CASES = 12;

    private final SplittableRandom random = Seeds.random(getClass().getSimpleName());

    private record Outcome(List<EnergyState> states, List<TopKeys> tops) {}

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8})
    public void valueGradientsAndHessianShouldBeThoseOfAllKeys(int worldSize) throws Exception {
        List<EnergyCase> cases = new ArrayList<>();
        List<int[]> owners = new ArrayList<>();
        for (int i = 0; i < CASES; i++) {
            cases.add(EnergyCase.random(random, 257));
            owners.add(cases.get(i).owners(random, worldSize));
        }
        List<Outcome> ranks = group(worldSize, member -> evaluate(member, cases, owners));
        for (int i = 0; i < CASES; i++) {
            EnergyCase c = cases.get(i);
            for (Outcome rank : ranks) {
                assertEquals(
                        ranks.get(0).states.get(i).bytes(), rank.states.get(i).bytes(), "the same bits on every rank");
                assertEquals(ranks.get(0).tops.get(i).bytes(), rank.tops.get(i).bytes());
            }
            checkState(c, ranks.get(0).states.get(i));
            checkTop(c, ranks.get(0).tops.get(i));
        }
    }

    private static Outcome evaluate(Communicator member, List<EnergyCase> cases, List<int[]> owners) {
        TreeEnergy tree = new TreeEnergy(member);
        Outcome outcome = new Outcome(new ArrayList<>(), new ArrayList<>());
        for (int i = 0; i < cases.size(); i++) {
            EnergyCase c = cases.get(i);
            AttentionEnergy energy = c.energy().withSource(c.zeta);
            AttentionEnergy.Keys own = c.keys(owners.get(i), member.rank());
            outcome.states.add(tree.evaluate(energy, own, Order.HESSIAN));
            EnergyState plain = tree.evaluate(c.energy(), own, Order.GRADIENT);
            for (int head = 0; head < c.spec.heads(); head++) {
                assertEquals(c.energy(head, 0, null), plain.value(head, 0), EXACT, "lse: " + c);
                double[] out = c.attention(head, 0, null);
                for (int d = 0; d < out.length; d++) {
                    assertEquals(out[d], plain.sourceGradient(head, 0, d), EXACT, "attention: " + c);
                }
            }
            outcome.tops.add(tree.top(energy, own, 5));
        }
        return outcome;
    }

    private static void checkState(EnergyCase c, EnergyState state) {
        EnergyState alone = c.energy().withSource(c.zeta).partial(c.keys(), Order.HESSIAN);
        for (int head = 0; head < c.spec.heads(); head++) {
            for (int i = 0; i < c.queries; i++) {
                assertEquals(c.energy(head, i, c.zeta), state.value(head, i), EXACT, c::toString);
                double[] mean = c.attention(head, i, c.zeta);
                for (int d = 0; d < mean.length; d++) {
                    assertEquals(mean[d], state.sourceGradient(head, i, d), EXACT, c::toString);
                    for (int l = 0; l < mean.length; l++) {
                        double hessian = alone.sourceHessian(head, i, d, l);
                        assertEquals(hessian, state.sourceHessian(head, i, d, l), EXACT, c::toString);
                    }
                }
                for (int d = 0; d < c.spec.headDim(); d++) {
                    assertEquals(alone.queryGradient(head, i, d), state.queryGradient(head, i, d), EXACT);
                }
                assertEquals(alone.entropy(head, i), state.entropy(head, i), 10 * EXACT, c::toString);
            }
        }
    }

    private static void checkTop(EnergyCase c, TopKeys top) {
        for (int head = 0; head < c.spec.heads(); head++) {
            int h = head;
            List<Integer> best = IntStream.range(0, c.count)
                    .filter(j -> c.sees(0, j))
                    .boxed()
                    .sorted(Comparator.comparingDouble(j -> -c.score(h, 0, j, c.zeta)))
                    .limit(5)
                    .toList();
            assertEquals(best.size(), top.count(head, 0), c::toString);
            for (int place = 0; place < best.size(); place++) {
                // By score: keys whose scores differ by rounding may change places.
                double wanted = c.score(head, 0, best.get(place), c.zeta);
                assertEquals(wanted, top.score(head, 0, place), EXACT, c::toString);
                double own = c.score(head, 0, (int) top.position(head, 0, place), c.zeta);
                assertTrue(Math.abs(own - wanted) <= EXACT, c::toString);
            }
        }
    }
}
