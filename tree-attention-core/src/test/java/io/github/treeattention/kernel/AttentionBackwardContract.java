package io.github.treeattention.kernel;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.cache.KvShard;
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
 * What every {@link AttentionKernel#backward} must do. The error of each gradient against float64 may be twice that of a
 * naive float32 computation, plus a floor for what {@code exp(score - lse)} costs: each score is rounded twice, once on its way
 * into the state's lse and once here, by another kernel that adds in another order, while the naive computation subtracts a
 * score from itself where a row sees one key and is exact by luck. One rounding is {@code 2^-24 * (1 + max sum|terms of a score|)}.
 * The floor is two of them times the largest that a gradient would be if its terms did not cancel.
 */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
public abstract class AttentionBackwardContract {
    /** The kernel under test. */
    protected abstract AttentionKernel kernel();

    @Test
    void shouldMatchFloat64OverRandomProblems() {
        SplittableRandom random = Seeds.random("backward.shouldMatchFloat64OverRandomProblems");
        for (int trial = 0; trial < 25; trial++) {
            AttentionCase c = new RandomCase(random).build();
            check(c, stateGradient(c, random));
        }
    }

    @Test
    void shouldMatchFloat64AtAwkwardSizes() {
        SplittableRandom random = Seeds.random("backward.shouldMatchFloat64AtAwkwardSizes");
        AttentionSpec spec = AttentionSpec.of(2, 1, 24).withValueDim(40).withCausal(true);
        for (int queries : RandomCase.SIZES) {
            for (int keys : RandomCase.SIZES) {
                RandomCase builder = new RandomCase(random).spec(spec).type(KvType.F32);
                AttentionCase c = builder.sizes(1, queries, keys).build();
                check(c, stateGradient(c, random));
            }
        }
    }

    /** The gradients of shards, each from the global state, sum to the whole; and what was there before is kept. */
    @Test
    void shouldAddUpOverShards() {
        SplittableRandom random = Seeds.random("backward.shouldAddUpOverShards");
        for (int trial = 0; trial < 10; trial++) {
            AttentionCase c = new RandomCase(random).build();
            float[] stateGradient = stateGradient(c, random);
            AttentionState state = forward(c);
            List<KvShard> all = c.shards();
            AttentionGradients whole = AttentionGradients.zeros(c.spec, c.toQueries(), all);
            int parts = 1 + random.nextInt(3);
            for (int part = 0; part < parts; part++) {
                List<KvShard> shards = new ArrayList<>();
                for (AttentionCase.Keys keys : c.keys) {
                    shards.add(c.shard(keys, cut(keys, part, parts), cut(keys, part + 1, parts)));
                }
                AttentionGradients mine = AttentionGradients.zeros(c.spec, c.toQueries(), shards);
                AttentionGradients shared =
                        new AttentionGradients(whole.queries(), buffers(mine, c, true), buffers(mine, c, false));
                kernel().backward(c.spec, c.toQueries(), shards, state, wrap(c, stateGradient), shared);
                for (int b = 0; b < c.batch(); b++) {
                    AttentionCase.Keys keys = c.keys.get(b);
                    int from = cut(keys, part, parts);
                    int count = cut(keys, part + 1, parts) - from;
                    copy(mine.keys(b), whole.keys(b), c, keys.count(), from, count, c.spec.headDim());
                    copy(mine.values(b), whole.values(b), c, keys.count(), from, count, c.spec.valueDim());
                }
            }
            KernelCheck.requireClose(kernel(), c, stateGradient, whole);
        }
    }

    @Test
    void shouldRepeatBitForBit() {
        SplittableRandom random = Seeds.random("backward.shouldRepeatBitForBit");
        for (int trial = 0; trial < 8; trial++) {
            AttentionCase c = new RandomCase(random).build();
            float[] stateGradient = stateGradient(c, random);
            AttentionGradients first = run(c, stateGradient);
            AttentionGradients second = run(c, stateGradient);
            assertEquals(-1, first.queries().mismatch(second.queries()), c.toString());
            for (int b = 0; b < c.batch(); b++) {
                assertEquals(-1, first.keys(b).mismatch(second.keys(b)), c.toString());
                assertEquals(-1, first.values(b).mismatch(second.values(b)), c.toString());
            }
        }
    }

    @Test
    void shouldRefuseGradientsWithoutRoom() {
        AttentionCase c = new RandomCase(Seeds.random("backward.shouldRefuseGradientsWithoutRoom"))
                .spec(AttentionSpec.of(4, 2, 16))
                .sizes(1, 3, 10)
                .build();
        AttentionGradients small = new AttentionGradients(
                AttentionCase.buffer(new float[4 * 3 * 16]),
                List.of(AttentionCase.buffer(new float[2 * 10 * 16 - 1])),
                List.of(AttentionCase.buffer(new float[2 * 10 * 16])));
        IllegalArgumentException refused = assertThrows(IllegalArgumentException.class, () -> kernel().backward(
                        c.spec, c.toQueries(), c.shards(), forward(c), AttentionState.empty(1, 4, 3, 16), small));
        assertEquals("gradients of keys need 320 floats: got 319", refused.getMessage());
    }

    /** Other people's results: PyTorch's gradients, in float64. */
    @Test
    void shouldMatchTorch() {
        for (TorchFixture fixture : TorchFixture.all()) {
            AttentionCase c = fixture.problem;
            float[] dOut = fixture.tensors.floats("dout");
            float[] stateGradient = new float[dOut.length / c.spec.valueDim() * (c.spec.valueDim() + 1)];
            for (int i = 0; i < dOut.length; i++) {
                stateGradient[i / c.spec.valueDim() * (c.spec.valueDim() + 1) + i % c.spec.valueDim()] = dOut[i];
            }
            AttentionGradients gradients = run(c, stateGradient);
            ReferenceGradients naive = ReferenceGradients.naiveFloat32(c, stateGradient);
            double floor = KernelCheck.floor(c, ReferenceGradients.float64(c, stateGradient));
            double[] dk = fixture.tensors.values("dk");
            double[] dv = fixture.tensors.values("dv");
            KernelCheck.requireClose(
                    fixture + " dq", gradients.queries(), fixture.tensors.values("dq"), naive.dq, floor);
            for (int b = 0; b < c.batch(); b++) {
                double[] keys = Arrays.copyOfRange(dk, b * dk.length / c.batch(), (b + 1) * dk.length / c.batch());
                double[] values = Arrays.copyOfRange(dv, b * dv.length / c.batch(), (b + 1) * dv.length / c.batch());
                KernelCheck.requireClose(fixture + " dk", gradients.keys(b), keys, naive.dk.get(b), floor);
                KernelCheck.requireClose(fixture + " dv", gradients.values(b), values, naive.dv.get(b), floor);
            }
        }
    }

    private AttentionGradients run(AttentionCase c, float[] stateGradient) {
        List<KvShard> shards = c.shards();
        AttentionGradients gradients = AttentionGradients.zeros(c.spec, c.toQueries(), shards);
        kernel().backward(c.spec, c.toQueries(), shards, forward(c), wrap(c, stateGradient), gradients);
        return gradients;
    }

    private AttentionState forward(AttentionCase c) {
        AttentionState state = AttentionState.empty(c.batch(), c.spec.heads(), c.queries, c.spec.valueDim());
        kernel().partial(c.spec, c.toQueries(), c.shards(), state);
        return state;
    }

    private void check(AttentionCase c, float[] stateGradient) {
        KernelCheck.requireClose(kernel(), c, stateGradient, run(c, stateGradient));
    }

    private static float[] stateGradient(AttentionCase c, SplittableRandom random) {
        float[] gradient = new float[c.batch() * c.spec.heads() * c.queries * (c.spec.valueDim() + 1)];
        for (int i = 0; i < gradient.length; i++) {
            gradient[i] = (float) (2 * random.nextDouble() - 1);
        }
        return gradient;
    }

    private static AttentionState wrap(AttentionCase c, float[] stateGradient) {
        AttentionState state = AttentionState.empty(c.batch(), c.spec.heads(), c.queries, c.spec.valueDim());
        state.rows().put(0, stateGradient);
        return state;
    }

    private static int cut(AttentionCase.Keys keys, int part, int parts) {
        return keys.count() * part / parts;
    }

    private static List<FloatBuffer> buffers(AttentionGradients gradients, AttentionCase c, boolean keys) {
        List<FloatBuffer> buffers = new ArrayList<>();
        for (int b = 0; b < c.batch(); b++) {
            buffers.add(keys ? gradients.keys(b) : gradients.values(b));
        }
        return buffers;
    }

    /** Rows of a shard's gradient to their place among all keys'. */
    private static void copy(
            FloatBuffer from, FloatBuffer to, AttentionCase c, int allKeys, int firstKey, int count, int dim) {
        for (int head = 0; head < c.spec.kvHeads(); head++) {
            to.put((head * allKeys + firstKey) * dim, from, head * count * dim, count * dim);
        }
    }
}
