package io.github.treeattention.kernel;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.testkit.Seeds;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * What masks and dropout promise beside the right numbers, which {@link AttentionKernelContract} and {@link
 * AttentionBackwardContract} check over random mixes of them.
 */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
public abstract class AttentionOptionsContract {
    /** The kernel under test. */
    protected abstract AttentionKernel kernel();

    /** How many random problems to try in the place of so many: fewer where a kernel is simulated. */
    protected int trials(int usual) {
        return usual;
    }

    /** NaN and infinite keys and values, by whatever they are hidden. */
    @Test
    void shouldKeepHiddenKeysFromTheState() {
        SplittableRandom random = Seeds.random("shouldKeepHiddenKeysFromTheState");
        for (int trial = 0; trial < trials(20); trial++) {
            requirePoisonKeptFromState(PoisonedCase.hidden(random));
        }
    }

    @Test
    void shouldKeepDroppedValuesFromTheState() {
        SplittableRandom random = Seeds.random("shouldKeepDroppedValuesFromTheState");
        for (int trial = 0; trial < trials(12); trial++) {
            requirePoisonKeptFromState(PoisonedCase.dropped(random));
        }
    }

    @Test
    void shouldKeepHiddenKeysFromTheGradients() {
        SplittableRandom random = Seeds.random("shouldKeepHiddenKeysFromTheGradients");
        for (int trial = 0; trial < trials(8); trial++) {
            requirePoisonKeptFromGradients(PoisonedCase.hidden(random), random);
        }
    }

    @Test
    void shouldKeepDroppedValuesFromTheGradients() {
        SplittableRandom random = Seeds.random("shouldKeepDroppedValuesFromTheGradients");
        for (int trial = 0; trial < trials(8); trial++) {
            requirePoisonKeptFromGradients(PoisonedCase.dropped(random), random);
        }
    }

    /** Query rows, and gradients of their outputs, that are not finite: keys that they do not see do not notice. */
    @Test
    void shouldKeepQueriesFromKeysThatTheyDoNotSee() {
        SplittableRandom random = Seeds.random("shouldKeepQueriesFromKeysThatTheyDoNotSee");
        for (int trial = 0; trial < trials(12); trial++) {
            AttentionCase c = new RandomCase(random).build();
            int rows = c.batch() * c.spec.heads() * c.queries;
            boolean[] bad = new boolean[rows];
            float[] q = c.q.clone();
            float[] stateGradient = new float[rows * (c.spec.valueDim() + 1)];
            float[] dirtyGradient = new float[stateGradient.length];
            for (int row = 0; row < rows; row++) {
                bad[row] = random.nextInt(1 + c.queries / 2) == 0;
                for (int i = row * (c.spec.valueDim() + 1), n = i + c.spec.valueDim() + 1; i < n; i++) {
                    stateGradient[i] = bad[row] ? 0 : (float) (2 * random.nextDouble() - 1);
                    dirtyGradient[i] = stateGradient[i];
                }
                int what = bad[row] ? trial % 3 : -1; // q, the gradient, or both
                PoisonedCase.poison(random, q, row, what == 0 || what == 2 ? c.spec.headDim() : 0);
                PoisonedCase.poison(random, dirtyGradient, row, what == 1 || what == 2 ? c.spec.valueDim() + 1 : 0);
            }
            Queries queries = c.withQueries(q).toQueries();
            AttentionState state = state(c);
            kernel().partial(c.spec, queries, c.shards(), state);
            KernelCheck.requireClose(kernel(), c, state, 1, row -> !bad[row]);
            AttentionState gradient = state(c);
            gradient.rows().put(0, dirtyGradient);
            AttentionGradients got = AttentionGradients.zeros(c.spec, queries, c.shards());
            kernel().backward(c.spec, queries, c.shards(), state, gradient, got);
            KernelCheck.requireCloseBesides(kernel(), c, stateGradient, got, bad);
        }
    }

    /** Rows see fewer keys than rows after them, from positions on that no block of keys begins at. */
    @Test
    void shouldTakeRangesThatGoBack() {
        AttentionCase c = new RandomCase(Seeds.random("shouldTakeRangesThatGoBack"))
                .spec(AttentionSpec.of(1, 1, 16))
                .sizes(1, 96, 256)
                .masked(false)
                .build();
        long[] ranges = new long[2 * 96];
        for (int i = 0; i < 96; i++) {
            ranges[2 * i] = i < 48 ? 5 + c.keys.get(0).positions[0] : 0;
            ranges[2 * i + 1] = Long.MAX_VALUE;
        }
        AttentionCase masked = c.with(AttentionMask.NONE.withRanges(1, 96, ranges), c.keys);
        AttentionState state = state(masked);
        kernel().partial(masked.spec, masked.toQueries(), masked.shards(), state);
        KernelCheck.requireClose(kernel(), masked, state, 1);
    }

    /** Rows between others see only the first keys: what those left must not count again for later ones. */
    @Test
    void shouldForgetRowsBetweenOthersThatSeeNoMore() {
        SplittableRandom random = Seeds.random("shouldForgetRowsBetweenOthersThatSeeNoMore");
        AttentionCase c = new RandomCase(random)
                .spec(AttentionSpec.of(1, 1, 16))
                .type(KvType.F32)
                .sizes(1, 144, 256)
                .masked(false)
                .build();
        long[] ranges = new long[2 * 144];
        for (int i = 0; i < 144; i++) {
            ranges[2 * i + 1] = i < 48 || i >= 96 ? Long.MAX_VALUE : c.keys.get(0).positions[100];
        }
        AttentionCase masked = c.with(AttentionMask.NONE.withRanges(1, 144, ranges), c.keys);
        AttentionState state = state(masked);
        kernel().partial(masked.spec, masked.toQueries(), masked.shards(), state);
        float[] stateGradient = new float[state.rows().capacity()];
        for (int i = 0; i < stateGradient.length; i++) {
            stateGradient[i] = (float) (2 * random.nextDouble() - 1);
        }
        AttentionState gradient = state(masked);
        gradient.rows().put(0, stateGradient);
        AttentionGradients got = AttentionGradients.zeros(masked.spec, masked.toQueries(), masked.shards());
        kernel().backward(masked.spec, masked.toQueries(), masked.shards(), state, gradient, got);
        KernelCheck.requireClose(kernel(), masked, stateGradient, got);
    }

    /** The one key that is visible is NaN, and so many are hidden after it that kernels cut the row: not a row without keys. */
    @Test
    void shouldNotTakeANanForNothing() {
        for (int queries : new int[] {1, 20}) {
            AttentionCase c = new RandomCase(Seeds.random("shouldNotTakeANanForNothing"))
                    .spec(AttentionSpec.of(2, 1, 16))
                    .type(KvType.F32)
                    .sizes(1, queries, 700)
                    .masked(false)
                    .build();
            boolean[] visible = new boolean[10_000];
            visible[(int) c.keys.get(0).positions[0]] = true;
            Arrays.fill(c.keys.get(0).k, 0, c.spec.headDim(), Float.NaN);
            AttentionState state = state(c);
            kernel().partial(
                            c.spec,
                            c.with(AttentionMask.NONE.withKeys(visible), c.keys).toQueries(),
                            c.shards(),
                            state);
            for (int i = 0; i < state.rows().capacity(); i++) {
                assertTrue(
                        Float.isNaN(state.rows().get(i)),
                        "float " + i + " is " + state.rows().get(i) + ": " + c);
            }
        }
    }

    private void requirePoisonKeptFromState(PoisonedCase p) {
        AttentionState state = state(p.clean);
        kernel().partial(p.clean.spec, p.clean.toQueries(), p.dirty.shards(), state);
        KernelCheck.requireClose(kernel(), p.clean, state, 1, p.untouched);
    }

    /** Rows that poison does reach are told to have seen no key, by their lse. */
    private void requirePoisonKeptFromGradients(PoisonedCase p, SplittableRandom random) {
        AttentionCase c = p.clean;
        AttentionState state = state(c);
        kernel().partial(c.spec, c.toQueries(), c.shards(), state);
        float[] stateGradient = new float[state.rows().capacity()];
        for (int row = 0; row < stateGradient.length / state.rowLength(); row++) {
            boolean untouched = p.untouched.test(row);
            for (int i = row * state.rowLength(), d = 0; d < state.rowLength(); i++, d++) {
                stateGradient[i] = untouched ? (float) (2 * random.nextDouble() - 1) : 0;
                if (!untouched) {
                    state.rows().put(i, d == state.valueDim() ? Float.NEGATIVE_INFINITY : 0);
                }
            }
        }
        AttentionState gradient = state(c);
        gradient.rows().put(0, stateGradient);
        AttentionGradients got = AttentionGradients.zeros(c.spec, c.toQueries(), c.shards());
        kernel().backward(c.spec, c.toQueries(), p.dirty.shards(), state, gradient, got);
        // Rows whose gradient is 0 add nothing, so the problem's own gradients are the ones wanted.
        KernelCheck.requireClose(kernel(), c, stateGradient, got);
    }

    /** A call over one batch row and some queries gives what the whole call gives, dropout included. */
    @Test
    void shouldGiveEveryRowTheSameWhateverTheCallHolds() {
        SplittableRandom random = Seeds.random("shouldGiveEveryRowTheSameWhateverTheCallHolds");
        for (int trial = 0; trial < trials(10); trial++) {
            RandomCase builder = new RandomCase(random).masked(true);
            Dropout dropout = Dropout.of(0.4, random.nextLong(), 1);
            AttentionCase c = builder.spec(builder.spec().withDropout(dropout)).build();
            AttentionState whole = state(c);
            for (int b = 0; b < c.batch(); b++) {
                AttentionSpec spec = c.spec.withDropout(dropout.withFirstBatchRow(b));
                for (int first = 0, count; first < c.queries; first += count) {
                    count = 1 + random.nextInt(c.queries - first);
                    Queries part = part(c, b, first, count);
                    AttentionState state = AttentionState.empty(1, spec.heads(), count, spec.valueDim());
                    kernel().partial(spec, part, List.of(c.shards().get(b)), state);
                    for (int head = 0; head < spec.heads(); head++) {
                        int length = count * state.rowLength();
                        whole.rows().put(whole.rowIndex(b, head, first), state.rows(), head * length, length);
                    }
                }
            }
            KernelCheck.requireClose(kernel(), c, whole, 1);
        }
    }

    /** Positions that no 32 bits hold, in steps that cross their border. */
    @Test
    void shouldDropByThePositionsOfLongContexts() {
        SplittableRandom random = Seeds.random("shouldDropByThePositionsOfLongContexts");
        for (int queries : new int[] {1, 33}) {
            AttentionSpec spec = AttentionSpec.of(4, 2, 8).withDropout(Dropout.of(0.5, random.nextLong(), 0));
            AttentionCase near = new RandomCase(random)
                    .spec(spec)
                    .sizes(2, queries, 200)
                    .masked(false)
                    .build();
            long shift = (3L << 32) - 100;
            List<AttentionCase.Keys> keys = new ArrayList<>();
            for (AttentionCase.Keys row : near.keys) {
                long[] positions =
                        Arrays.stream(row.positions).map(at -> at + shift).toArray();
                keys.add(new AttentionCase.Keys(positions, row.k, row.v));
            }
            AttentionCase far = near.with(near.mask, keys);
            AttentionState state = state(far);
            kernel().partial(far.spec, far.toQueries(), far.shards(), state);
            KernelCheck.requireClose(kernel(), far, state, 1);
        }
    }

    @Test
    void shouldRefuseAMaskThatEndsBeforeTheKeys() {
        AttentionCase c = new RandomCase(Seeds.random("shouldRefuseAMaskThatEndsBeforeTheKeys"))
                .spec(AttentionSpec.of(4, 2, 16))
                .sizes(1, 3, 10)
                .masked(false)
                .build();
        long end = c.shards().get(0).end();
        Queries queries = c.toQueries().withMask(AttentionMask.NONE.withKeys(new boolean[(int) end - 1]));
        IllegalArgumentException refused = assertThrows(
                IllegalArgumentException.class, () -> kernel().partial(c.spec, queries, c.shards(), state(c)));
        assertEquals(
                "the mask's keys must cover the positions of all keys: it ends before position " + (end - 1)
                        + ", the keys before position " + end,
                refused.getMessage());
    }

    private static Queries part(AttentionCase c, int b, int first, int count) {
        int dim = c.spec.headDim();
        FloatBuffer rows = Queries.allocate(c.spec.heads() * count * dim);
        for (int head = 0; head < c.spec.heads(); head++) {
            int from = ((b * c.spec.heads() + head) * c.queries + first) * dim;
            rows.put(head * count * dim, c.q, from, count * dim);
        }
        return new Queries(rows, 1, c.spec.heads(), count, dim, c.firstPositions[b] + first)
                .withMask(c.mask.slice(b, 1, first, count));
    }

    private static AttentionState state(AttentionCase c) {
        return AttentionState.empty(c.batch(), c.spec.heads(), c.queries, c.spec.valueDim());
    }
}
