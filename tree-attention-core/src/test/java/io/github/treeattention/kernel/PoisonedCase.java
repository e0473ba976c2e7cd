package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.Dropout;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.IntPredicate;
import java.util.stream.IntStream;

/** A problem, and the same with some numbers that are not finite. */
final class PoisonedCase {
    private static final float[] POISON = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY};

    final AttentionCase clean;
    final AttentionCase dirty;
    final IntPredicate untouched; // rows that no poison may reach

    private PoisonedCase(AttentionCase clean, AttentionCase dirty, IntPredicate untouched) {
        this.clean = clean;
        this.dirty = dirty;
        this.untouched = untouched;
    }

    /** Poison in keys and their values, which are hidden by a mask of keys, by what there is, or from some rows by luck. */
    static PoisonedCase hidden(SplittableRandom random) {
        AttentionCase c = builder(random).build();
        int how = random.nextInt(3);
        boolean[][] poisoned = new boolean[c.batch()][];
        boolean[][] kept = new boolean[c.batch()][];
        for (int b = 0; b < c.batch(); b++) {
            AttentionCase.Keys row = c.keys.get(b);
            poisoned[b] = new boolean[row.count()];
            kept[b] = new boolean[10_000];
            for (int j = 0; j < row.count(); j++) {
                poisoned[b][j] = how == 1 ? unseen(c, b, j) : random.nextInt(1 + row.count() / 3) == 0;
                kept[b][(int) row.positions[j]] = !poisoned[b][j];
            }
        }
        AttentionMask mask = how == 0 ? c.mask.withKeys(kept) : c.mask;
        return of(random, c.with(mask, c.keys), poisoned, true);
    }

    /** Half of them as in decode, where few rows are alike: by luck alone no poison would be hidden from all. */
    private static RandomCase builder(SplittableRandom random) {
        RandomCase builder = new RandomCase(random);
        return random.nextBoolean() ? builder.sizes(1 + random.nextInt(3), 1, 1 + random.nextInt(300)) : builder;
    }

    private static boolean unseen(AttentionCase c, int b, int j) {
        int rows = c.spec.heads() * c.queries;
        return IntStream.range(b * rows, (b + 1) * rows)
                .allMatch(row -> ReferenceAttention.biases(c, row)[j] == Float.NEGATIVE_INFINITY);
    }

    /** Poison in a few values, from which dropout saves most of the rows that no mask does. */
    static PoisonedCase dropped(SplittableRandom random) {
        RandomCase builder = builder(random);
        Dropout dropout = Dropout.of(0.5 + 0.4 * random.nextDouble(), random.nextLong(), 2);
        AttentionCase c = builder.spec(builder.spec().withDropout(dropout)).build();
        boolean[][] poisoned = new boolean[c.batch()][];
        for (int b = 0; b < c.batch(); b++) {
            poisoned[b] = new boolean[c.keys.get(b).count()];
            for (int n = 0; n < 2 && poisoned[b].length > 0; n++) {
                poisoned[b][random.nextInt(poisoned[b].length)] = true;
            }
        }
        return of(random, c, poisoned, false);
    }

    private static PoisonedCase of(SplittableRandom random, AttentionCase clean, boolean[][] poisoned, boolean inKeys) {
        List<AttentionCase.Keys> keys = new ArrayList<>();
        for (int b = 0; b < clean.batch(); b++) {
            AttentionCase.Keys row = clean.keys.get(b);
            float[] k = row.k.clone();
            float[] v = row.v.clone();
            for (int i = 0, n = row.count(); i < clean.spec.kvHeads() * n; i++) {
                if (poisoned[b][i % n]) {
                    poison(random, k, i, inKeys ? clean.spec.headDim() : 0);
                    poison(random, v, i, clean.spec.valueDim());
                }
            }
            keys.add(new AttentionCase.Keys(row.positions, k, v));
        }
        int rowsPerBatch = clean.spec.heads() * clean.queries;
        IntPredicate untouched = row -> {
            float[] biases = ReferenceAttention.biases(clean, row);
            double[] kept = ReferenceAttention.kept(clean, row);
            for (int j = 0; j < biases.length; j++) {
                boolean reached = biases[j] > Float.NEGATIVE_INFINITY && (inKeys || kept[j] > 0);
                if (poisoned[row / rowsPerBatch][j] && reached) {
                    return false;
                }
            }
            return true;
        };
        return new PoisonedCase(clean, clean.with(clean.mask, keys), untouched);
    }

    /** Makes the first and half of the other elements of row {@code i} of {@code [rows][dim]} poison. */
    static void poison(SplittableRandom random, float[] rows, int i, int dim) {
        for (int d = 0; d < dim; d++) {
            if (d == 0 || random.nextBoolean()) {
                rows[i * dim + d] = POISON[random.nextInt(POISON.length)];
            }
        }
    }
}
