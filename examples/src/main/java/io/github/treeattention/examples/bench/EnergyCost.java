package io.github.treeattention.examples.bench;

import io.github.treeattention.samediff.AttentionEnergyOps;
import io.github.treeattention.samediff.AttentionOptions;
import io.github.treeattention.samediff.TreeAttentionOps;
import java.util.Arrays;
import java.util.Map;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.factory.Nd4j;

/**
 * What the energy costs beside forward attention of the same shape, as a user of {@link AttentionEnergyOps} calls them in a
 * SameDiff graph: causal, as many queries as keys, float32, random values.
 *
 * @param heads query heads
 * @param kvHeads key/value heads
 * @param dim head dimension, of keys and values
 * @param length keys and queries
 */
public record EnergyCost(int heads, int kvHeads, int dim, int length) {
    /**
     * Medians of calls that took turns.
     *
     * @param forwardSeconds attention
     * @param gradientSeconds the energy at {@code zeta = 0} with its gradient in zeta, which is attention and its lse
     * @param sourceSeconds the energy with a source
     */
    public record Times(double forwardSeconds, double gradientSeconds, double sourceSeconds) {}

    /** Runs each once to warm up, then {@code runs} times in turn. */
    public Times time(int runs) {
        SameDiff graph = SameDiff.create();
        SDVariable q = random(graph, "q", heads);
        SDVariable k = random(graph, "k", kvHeads);
        SDVariable v = random(graph, "v", kvHeads);
        SDVariable zeta = random(graph, "zeta", heads);
        AttentionOptions causal = AttentionOptions.defaults().withCausal(true);
        SDVariable[] both = TreeAttentionOps.attentionWithLse(q, k, v, null, causal);
        String[][] calls = {
            {TreeAttentionOps.attention(q, k, v, null, causal).name()},
            {both[0].name(), both[1].name()},
            {AttentionEnergyOps.energy(q, k, v, zeta, null, causal).name()}
        };
        double[][] seconds = new double[calls.length][runs];
        for (int run = -1; run < runs; run++) {
            for (int call = 0; call < calls.length; call++) {
                long start = System.nanoTime();
                graph.output(Map.of(), calls[call]);
                if (run >= 0) {
                    seconds[call][run] = (System.nanoTime() - start) / 1e9;
                }
            }
        }
        for (double[] each : seconds) {
            Arrays.sort(each);
        }
        return new Times(seconds[0][runs / 2], seconds[1][runs / 2], seconds[2][runs / 2]);
    }

    private SDVariable random(SameDiff graph, String name, int of) {
        return graph.var(
                name, Nd4j.rand(DataType.FLOAT, 1, of, length, dim).muli(2).subi(1));
    }
}
