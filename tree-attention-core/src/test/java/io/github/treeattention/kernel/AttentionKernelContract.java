package io.github.treeattention.kernel;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.testkit.Seeds;
import io.github.treeattention.testkit.Skips;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * What every {@link AttentionKernel} must do. The error of {@code out} and {@code lse} against float64 may be twice that
 * of a naive float32 computation of the same problem, plus a floor of one rounding of the largest logit: {@code 2^-24 *
 * (1 + max|logit|)}, for {@code out} times the largest value, for {@code lse} times 4 (a float32 lse is itself rounded).
 */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
public abstract class AttentionKernelContract {
    /** The kernel under test. */
    protected abstract AttentionKernel kernel();

    @Test
    void shouldMatchFloat64OverRandomProblems() {
        SplittableRandom random = Seeds.random("shouldMatchFloat64OverRandomProblems");
        for (int trial = 0; trial < 50; trial++) {
            check(new RandomCase(random).build());
        }
    }

    @Test
    void shouldMatchFloat64AtAwkwardSizes() {
        SplittableRandom random = Seeds.random("shouldMatchFloat64AtAwkwardSizes");
        AttentionSpec spec = AttentionSpec.of(4, 2, 24).withValueDim(40).withCausal(true);
        for (int queries : RandomCase.SIZES) {
            for (int keys : RandomCase.SIZES) {
                for (KvType type : KvType.values()) {
                    check(new RandomCase(random)
                            .spec(spec)
                            .type(type)
                            .sizes(2, queries, keys)
                            .build());
                }
            }
        }
    }

    @Test
    void shouldMatchFloat64InDecode() {
        SplittableRandom random = Seeds.random("shouldMatchFloat64InDecode");
        for (KvType type : KvType.values()) {
            for (int queries : new int[] {1, 2, 5}) {
                AttentionSpec spec = AttentionSpec.of(8, 2, 128).withCausal(true);
                check(new RandomCase(random)
                        .spec(spec)
                        .type(type)
                        .sizes(2, queries, 3000)
                        .pageSize(64)
                        .build());
            }
        }
    }

    @Test
    void shouldHoldForLogitsOfTenThousand() {
        SplittableRandom random = Seeds.random("shouldHoldForLogitsOfTenThousand");
        for (int trial = 0; trial < 12; trial++) {
            RandomCase builder = new RandomCase(random).type(KvType.F32).keySize(1e4);
            check(builder.spec(builder.spec().withSoftCap(0)).build());
        }
    }

    @Test
    void shouldAverageWhereAllKeysAreEqual() {
        SplittableRandom random = Seeds.random("shouldAverageWhereAllKeysAreEqual");
        for (int trial = 0; trial < 12; trial++) {
            check(new RandomCase(random).equalKeys().build());
        }
    }

    /** So many heads that rows are not cut, and maxima that move until the end. */
    @Test
    void shouldHoldWhereScoresGrow() {
        SplittableRandom random = Seeds.random("shouldHoldWhereScoresGrow");
        AttentionCase c = new RandomCase(random)
                .spec(AttentionSpec.of(256, 256, 8))
                .type(KvType.F32)
                .sizes(1, 1, 1300)
                .masked(false)
                .build();
        float[] k = c.keys.get(0).k;
        for (int i = 0; i < k.length; i++) {
            k[i] *= 4f * (i / 8 % 1300) / 1300;
        }
        check(c);
    }

    /** The lse of one key is its logit: with one product and a scale of 1/2, whose arithmetic is exact, rounded once. */
    @Test
    void shouldGiveTheLogitOfOneKeyAsItsLse() {
        SplittableRandom random = Seeds.random("shouldGiveTheLogitOfOneKeyAsItsLse");
        for (int queries : new int[] {5, 300}) {
            AttentionSpec spec = AttentionSpec.of(2, 1, 1).withScale(0.5);
            AttentionCase c = new RandomCase(random)
                    .spec(spec)
                    .type(KvType.F32)
                    .sizes(1, queries, 1)
                    .masked(false)
                    .build();
            c.keys.get(0).k[0] = 1;
            for (int i = 0; i < c.q.length; i++) {
                c.q[i] = (float) ((2 * random.nextDouble() - 1) * 4e4);
            }
            AttentionState state = run(c);
            for (int i = 0; i < c.q.length; i++) {
                double logit = 0.5 * c.q[i];
                double got = state.rows().get(i * 2 + 1);
                assertEquals(
                        logit,
                        got,
                        0.5 * Math.ulp((float) logit) + 1e-6,
                        "query " + i + " of " + kernel().description());
            }
        }
    }

    /** One query a head, as in decode, and more than any decode path takes. */
    @Test
    void shouldNotLoseTheSumOfALongRow() {
        LongSum.requireClose(kernel(), 256, 1);
        LongSum.requireClose(kernel(), 64, 9);
        LongSum.requireClose(kernel(), 1, 1);
        LongSum.requireClose(kernel(), 1, 9);
    }

    @Test
    void shouldGiveTheBitsOfAStateInTwoArrays() {
        SplittableRandom random = Seeds.random("shouldGiveTheBitsOfAStateInTwoArrays");
        for (int trial = 0; trial < 20; trial++) {
            RowsCheck.requireBitsOfStates(kernel(), new RandomCase(random).build(), random);
        }
    }

    @Test
    void shouldGiveTheLseAlone() {
        SplittableRandom random = Seeds.random("shouldGiveTheLseAlone");
        for (int trial = 0; trial < 20; trial++) {
            RowsCheck.requireClose(kernel(), new RandomCase(random).build());
        }
        RowsCheck.longCases(random).forEach(c -> RowsCheck.requireClose(kernel(), c));
    }

    @Test
    void shouldAddASourceToTheScores() {
        SplittableRandom random = Seeds.random("shouldAddASourceToTheScores");
        for (int trial = 0; trial < 20; trial++) {
            RowsCheck.requireCloseWithSource(kernel(), new RandomCase(random).build(), random);
        }
        RowsCheck.longCases(random).forEach(c -> RowsCheck.requireCloseWithSource(kernel(), c, random));
    }

    @Test
    void shouldSayWhatDoesNotGoWithAnLse() {
        SplittableRandom random = Seeds.random("shouldSayWhatDoesNotGoWithAnLse");
        AttentionSpec spec = AttentionSpec.of(4, 2, 16);
        AttentionCase c = new RandomCase(random).spec(spec).sizes(1, 3, 10).build();
        FloatBuffer source = Queries.allocate(4 * 3 * 16);
        FloatBuffer lse = Queries.allocate(4 * 3);
        assertEquals(
                "an lse alone knows no dropout: want none, got " + Dropout.of(0.5, 7, 0),
                refusedLse(c, spec.withDropout(Dropout.of(0.5, 7, 0)), null, lse));
        assertEquals(
                "a source does not go with a soft-cap: want softCap=0 or no source, got 4.0",
                refusedLse(c, spec.withSoftCap(4), source, lse));
        assertEquals(
                "source must lie in a direct little-endian buffer: want 192 floats, got direct=true,"
                        + " order=LITTLE_ENDIAN, floats=191",
                refusedLse(c, spec, Queries.allocate(191), lse));
        assertEquals(
                "lse must lie in a direct little-endian buffer: want 12 floats, got direct=false,"
                        + " order=LITTLE_ENDIAN, floats=12",
                refusedLse(c, spec, source, FloatBuffer.allocate(12)));
        assertEquals(
                "lse must be writable: got a read-only buffer", refusedLse(c, spec, source, lse.asReadOnlyBuffer()));
        assertEquals(
                "out and lse must lie in two buffers, or be an AttentionState: got one",
                assertThrows(IllegalArgumentException.class, () -> new AttentionRows(source, source))
                        .getMessage());
    }

    private String refusedLse(AttentionCase c, AttentionSpec spec, FloatBuffer source, FloatBuffer lse) {
        return assertThrows(IllegalArgumentException.class, () -> kernel().forward(
                                spec, c.toQueries(), source, c.shards(), new AttentionRows(null, lse)))
                .getMessage();
    }

    @Test
    void shouldIgnoreScaleZero() {
        SplittableRandom random = Seeds.random("shouldIgnoreScaleZero");
        RandomCase builder = new RandomCase(random);
        check(builder.spec(builder.spec().withScale(0)).build());
    }

    /** Queries before the first key, and batch rows without keys. */
    @Test
    void shouldGiveTheIdentityToRowsThatSeeNothing() {
        SplittableRandom random = Seeds.random("shouldGiveTheIdentityToRowsThatSeeNothing");
        for (int queries : new int[] {1, 40}) {
            AttentionCase some = new RandomCase(random)
                    .spec(AttentionSpec.of(4, 2, 16).withCausal(true))
                    .sizes(1, queries, 50)
                    .build();
            long start = some.keys.get(0).positions[0] + 20;
            long[] positions = some.keys.get(0).positions.clone();
            for (int j = 0; j < positions.length; j++) {
                positions[j] += start + queries;
            }
            AttentionCase.Keys late = new AttentionCase.Keys(positions, some.keys.get(0).k, some.keys.get(0).v);
            AttentionCase.Keys none = new AttentionCase.Keys(new long[0], new float[0], new float[0]);
            float[] q = new float[2 * some.q.length];
            System.arraycopy(some.q, 0, q, 0, some.q.length);
            AttentionCase hidden = new AttentionCase(
                    some.spec,
                    some.type,
                    queries,
                    some.pageSize,
                    q,
                    new long[] {start, 7},
                    List.of(late, none),
                    AttentionMask.NONE);
            AttentionState state = run(hidden);
            for (int i = 0; i < state.rows().capacity(); i++) {
                float wanted = i % state.rowLength() == state.valueDim() ? Float.NEGATIVE_INFINITY : 0f;
                assertEquals(wanted, state.rows().get(i), "float " + i + " of " + hidden);
            }
        }
    }

    @Test
    void shouldEqualOnePassWhenPartialsOverAnyPartitionMerge() {
        SplittableRandom random = Seeds.random("shouldEqualOnePassWhenPartialsOverAnyPartitionMerge");
        for (int trial = 0; trial < 20; trial++) {
            AttentionCase c = new RandomCase(random).build();
            int parts = 1 + random.nextInt(5);
            AttentionState whole = AttentionState.empty(c.batch(), c.spec.heads(), c.queries, c.spec.valueDim());
            int[] done = new int[c.batch()];
            for (int part = 0; part < parts; part++) {
                List<KvShard> shards = new ArrayList<>();
                for (int b = 0; b < c.batch(); b++) {
                    int left = c.keys.get(b).count() - done[b];
                    int take = part == parts - 1 ? left : random.nextInt(left + 1);
                    shards.add(c.shard(c.keys.get(b), done[b], done[b] + take));
                    done[b] += take;
                }
                AttentionState state = dirtyState(c);
                kernel().partial(c.spec, c.toQueries(), shards, state);
                whole.merge(state);
            }
            KernelCheck.requireClose(kernel(), c, whole, parts);
        }
    }

    @Test
    void shouldRepeatBitForBit() {
        SplittableRandom random = Seeds.random("shouldRepeatBitForBit");
        for (int trial = 0; trial < 20; trial++) {
            AttentionCase c = new RandomCase(random).build();
            AttentionState first = run(c);
            AttentionState second = run(c);
            assertEquals(-1, first.rows().mismatch(second.rows()), c.toString());
        }
    }

    @Test
    void shouldRefuseShapesThatDisagree() {
        AttentionCase c = new RandomCase(Seeds.random("shouldRefuseShapesThatDisagree"))
                .spec(AttentionSpec.of(4, 2, 16))
                .sizes(1, 3, 10)
                .build();
        AttentionState state = AttentionState.empty(1, 4, 3, 17);
        IllegalArgumentException refused = assertThrows(
                IllegalArgumentException.class, () -> kernel().partial(c.spec, c.toQueries(), c.shards(), state));
        assertEquals("valueDim must match: spec=16, state=17", refused.getMessage());
    }

    /** Other people's results: PyTorch's, in float64. */
    @Test
    void shouldMatchTorch() {
        List<TorchFixture> fixtures = TorchFixture.all();
        if (fixtures.isEmpty()) {
            Skips.skip("no PyTorch fixtures in shared data");
        }
        for (TorchFixture fixture : fixtures) {
            AttentionState state = run(fixture.problem);
            ReferenceAttention naive = ReferenceAttention.naiveFloat32(fixture.problem);
            double outError = 0;
            double naiveOutError = 0;
            for (int i = 0; i < fixture.out.length; i++) {
                int row = i / state.valueDim();
                float out = state.rows().get(row * state.rowLength() + i % state.valueDim());
                outError = Math.max(outError, Math.abs(out - fixture.out[i]));
                naiveOutError = Math.max(naiveOutError, Math.abs(naive.out[i] - fixture.out[i]));
            }
            double lseError = 0;
            double naiveLseError = 0;
            for (int row = 0; row < fixture.lse.length; row++) {
                float lse = state.rows().get(row * state.rowLength() + state.valueDim());
                lseError = Math.max(lseError, Math.abs(lse - fixture.lse[row]));
                naiveLseError = Math.max(naiveLseError, Math.abs(naive.lse[row] - fixture.lse[row]));
            }
            assertTrue(outError <= 2 * naiveOutError, fixture + ": out " + outError + ", naive " + naiveOutError);
            assertTrue(lseError <= 2 * naiveLseError, fixture + ": lse " + lseError + ", naive " + naiveLseError);
        }
    }

    private AttentionState run(AttentionCase c) {
        AttentionState state = dirtyState(c);
        kernel().partial(c.spec, c.toQueries(), c.shards(), state);
        return state;
    }

    /** Kernels overwrite the state and do not read it. */
    private static AttentionState dirtyState(AttentionCase c) {
        AttentionState state = AttentionState.empty(c.batch(), c.spec.heads(), c.queries, c.spec.valueDim());
        for (int i = 0; i < state.rows().capacity(); i++) {
            state.rows().put(i, Float.NaN);
        }
        return state;
    }

    private void check(AttentionCase c) {
        KernelCheck.requireClose(kernel(), c, run(c), 1);
    }
}
