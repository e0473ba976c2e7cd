package io.github.treeattention.attention;

import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.stream.IntStream;

/** A random energy problem, and the energy by its definition: every score, then one log-sum-exp. */
public final class EnergyCase {
    private static final int[] SIZES = {1, 7, 13, 33, 127, 257};
    private static final int[][] HEADS = {{1, 1}, {2, 2}, {4, 2}, {6, 2}, {3, 1}};

    public final AttentionSpec spec;
    public final int queries;
    public final int count;
    public final long firstPosition;
    public final double[] q;
    public final double[] k;
    public final double[] v;
    public final double[] zeta;

    private EnergyCase(AttentionSpec spec, int queries, int count, long firstPosition, SplittableRandom random) {
        this.spec = spec;
        this.queries = queries;
        this.count = count;
        this.firstPosition = firstPosition;
        this.q = normal(random, spec.heads() * queries * spec.headDim());
        this.k = normal(random, spec.kvHeads() * count * spec.headDim());
        this.v = normal(random, spec.kvHeads() * count * spec.valueDim());
        this.zeta = normal(random, spec.heads() * queries * spec.valueDim());
    }

    /** Awkward sizes, full or causal, grouped heads, sometimes a window or a soft-cap. */
    public static EnergyCase random(SplittableRandom random, int mostKeys) {
        int[] heads = HEADS[random.nextInt(HEADS.length)];
        int headDim = 1 + random.nextInt(20);
        boolean causal = random.nextBoolean();
        AttentionSpec spec = AttentionSpec.of(heads[0], heads[1], headDim)
                .withValueDim(1 + random.nextInt(9))
                .withCausal(causal)
                .withSlidingWindow(causal && random.nextInt(3) == 0 ? 1 + random.nextInt(40) : 0)
                .withSoftCap(random.nextInt(4) == 0 ? 1 + random.nextInt(9) : 0);
        int count = SIZES[random.nextInt(SIZES.length)];
        count = Math.min(count, mostKeys);
        int queries = 1 + random.nextInt(5);
        return new EnergyCase(spec, queries, count, random.nextInt(count + 3), random);
    }

    public static double[] normal(SplittableRandom random, int length) {
        double[] values = new double[length];
        Arrays.setAll(
                values,
                i -> Math.sqrt(3)
                        * (random.nextDouble() + random.nextDouble() + random.nextDouble() + random.nextDouble() - 2));
        return values;
    }

    public AttentionEnergy energy() {
        return AttentionEnergy.of(spec, q, queries, firstPosition);
    }

    public AttentionEnergy.Keys keys() {
        return keys(new boolean[count], false);
    }

    /** The keys that belong to a rank. */
    public AttentionEnergy.Keys keys(int[] owners, int rank) {
        boolean[] chosen = new boolean[count];
        for (int j = 0; j < count; j++) {
            chosen[j] = owners[j] == rank;
        }
        return keys(chosen, true);
    }

    /** Which rank holds each key: uneven, some ranks perhaps without any. */
    public int[] owners(SplittableRandom random, int ranks) {
        int[] owners = new int[count];
        int owner = random.nextInt(ranks);
        for (int j = 0; j < count; j++) {
            owner = random.nextInt(6) == 0 ? random.nextInt(ranks) : owner;
            owners[j] = owner;
        }
        return owners;
    }

    private AttentionEnergy.Keys keys(boolean[] chosen, boolean chosenValue) {
        int[] indices =
                IntStream.range(0, count).filter(j -> chosen[j] == chosenValue).toArray();
        return AttentionEnergy.Keys.of(
                rows(k, spec.headDim(), indices),
                rows(v, spec.valueDim(), indices),
                spec.kvHeads(),
                spec.headDim(),
                spec.valueDim(),
                Arrays.stream(indices).asLongStream().toArray());
    }

    private double[] rows(double[] all, int dim, int[] indices) {
        double[] rows = new double[spec.kvHeads() * indices.length * dim];
        for (int head = 0, to = 0; head < spec.kvHeads(); head++) {
            for (int index : indices) {
                System.arraycopy(all, (head * count + index) * dim, rows, to, dim);
                to += dim;
            }
        }
        return rows;
    }

    public boolean sees(int query, int key) {
        long position = firstPosition + query;
        return !spec.causal()
                || (key <= position && (spec.slidingWindow() == 0 || key > position - spec.slidingWindow()));
    }

    /** The score of one key by definition. */
    public double score(int head, int query, int key, double[] source) {
        int kvHead = head / spec.groupSize();
        double dot = 0;
        for (int d = 0; d < spec.headDim(); d++) {
            dot += q[(head * queries + query) * spec.headDim() + d] * k[(kvHead * count + key) * spec.headDim() + d];
        }
        double score = dot * spec.scale();
        score = spec.softCap() > 0 ? spec.softCap() * Math.tanh(score / spec.softCap()) : score;
        for (int i = 0; source != null && i < spec.valueDim(); i++) {
            score += source[(head * queries + query) * spec.valueDim() + i] * value(head, key, i);
        }
        return score;
    }

    public double value(int head, int key, int i) {
        return v[(head / spec.groupSize() * count + key) * spec.valueDim() + i];
    }

    /** {@code F} by definition; scores are small enough to need no maximum. */
    public double energy(int head, int query, double[] source) {
        double sum = 0;
        for (int j = 0; j < count; j++) {
            sum += sees(query, j) ? Math.exp(score(head, query, j, source)) : 0;
        }
        return Math.log(sum);
    }

    /** The weighted mean of values by definition: attention, where there is no source. */
    public double[] attention(int head, int query, double[] source) {
        double[] out = new double[spec.valueDim()];
        double energy = energy(head, query, source);
        for (int j = 0; j < count; j++) {
            double weight = sees(query, j) ? Math.exp(score(head, query, j, source) - energy) : 0;
            for (int i = 0; i < out.length; i++) {
                out[i] += weight == 0 ? 0 : weight * value(head, j, i);
            }
        }
        return out;
    }

    @Override
    public String toString() {
        return spec + ", queries=" + queries + " from " + firstPosition + ", keys=" + count;
    }
}
