package io.github.treeattention.distributed;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.Ranks;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntConsumer;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * The exchange of a hop and its computation run at the same time. Shown by order, not by clocks: here no exchange ends
 * before its hop's computation has begun, and no computation ends before its hop's exchange has; done one after the other,
 * neither could ever end.
 */
@Timeout(value = 1, unit = TimeUnit.MINUTES)
class RingOverlapTest {
    private static final AttentionSpec SPEC = AttentionSpec.of(2, 1, 4);
    private static final int RANKS = 4;
    private static final SequenceSplit SPLIT = SequenceSplit.contiguous(3 * RANKS, RANKS); // one kernel call a hop

    @Test
    void forwardShouldComputeWhileBlocksTravel() throws Exception {
        List<Communicator> members = Communicators.inProcess(RANKS, Duration.ofSeconds(30));
        Ranks.run(RANKS, rank -> {
            Gate gate = new Gate(RANKS - 1);
            RingAttention ring = ring(members.get(rank), gate::beforeExchange, gate::afterExchange, gate::compute);
            ring.forward(inputs(), AttentionState.empty(1, 2, 3, 4));
            requireOverlap(ring.trace(), RANKS - 1);
            return null;
        });
    }

    /** Gradients make one hop more than keys and values. */
    @Test
    void backwardShouldComputeWhileBlocksAndGradientsTravel() throws Exception {
        List<Communicator> members = Communicators.inProcess(RANKS, Duration.ofSeconds(30));
        Ranks.run(RANKS, rank -> {
            AttentionState state = AttentionState.empty(1, 2, 3, 4);
            Gate gate = new Gate(RANKS);
            RingAttention ring = ring(members.get(rank), gate::beforeExchange, gate::afterExchange, gate::compute);
            ring.backward(inputs(), state, state, gradients());
            requireOverlap(ring.trace(), RANKS);
            return null;
        });
    }

    private static void requireOverlap(List<RingHop> trace, int exchanges) {
        assertEquals(RANKS, trace.size());
        for (int hop = 0; hop < RANKS; hop++) {
            RingHop at = trace.get(hop);
            assertEquals(hop, at.hop());
            assertEquals(hop < exchanges, at.sentBytes() > 0, at.toString());
            assertTrue(hop >= exchanges || at.exchangeStart() <= at.computeEnd(), at.toString());
            assertTrue(hop >= exchanges || at.computeStart() <= at.exchangeEnd(), at.toString());
            assertTrue(at.exposed() >= 0 && at.overlap() <= at.exchangeEnd() - at.exchangeStart(), at.toString());
        }
    }

    @Test
    void aFailedComputationShouldEndTheExchangeAndTheGroup() throws Exception {
        List<Communicator> members = Communicators.inProcess(RANKS, Duration.ofSeconds(30));
        List<Ranks.Outcome<Void>> outcomes = Ranks.outcomes(RANKS, rank -> {
            IntConsumer compute = call -> {
                if (rank == 1 && call == 1) {
                    throw new IllegalStateException("planted");
                }
            };
            try (Communicator member = members.get(rank)) {
                ring(member, call -> {}, call -> {}, compute).forward(inputs(), AttentionState.empty(1, 2, 3, 4));
            }
            return null;
        });
        assertEquals("planted", outcomes.get(1).failure().getMessage());
        assertInstanceOf(
                CollectiveException.class, outcomes.get(2).failure(), "rank 1's last block never reaches rank 2");
        assertNoThreadLeft();
    }

    /** An interrupted rank does not wait for its neighbours' deadline, and stays interrupted. */
    @Test
    void anInterruptShouldEndTheExchange() throws Exception {
        Communicator alone = Communicators.inProcess(2, Duration.ofSeconds(50)).get(0);
        SequenceSplit pair = SequenceSplit.contiguous(6, 2);
        List<Ranks.Outcome<Boolean>> outcome = Ranks.outcomes(1, rank -> {
            Thread.currentThread().interrupt();
            try {
                new RingAttention(AttentionKernels.named("java"), alone, SPEC, pair)
                        .forward(inputs(), AttentionState.empty(1, 2, 3, 4));
            } catch (CollectiveException told) {
                return Thread.currentThread().isInterrupted();
            }
            return false;
        });
        assertEquals(true, outcome.get(0).result());
        assertNoThreadLeft();
    }

    private static void assertNoThreadLeft() {
        assertTrue(Thread.getAllStackTraces().keySet().stream()
                .noneMatch(thread -> thread.getName().startsWith("ring-")));
    }

    /** Lets each exchange end only after its computation has begun, and each computation only after its exchange. */
    private static final class Gate {
        private final List<CountDownLatch> begun;
        private final List<CountDownLatch> exchanged;

        Gate(int exchanges) {
            begun = IntStream.range(0, exchanges)
                    .mapToObj(i -> new CountDownLatch(1))
                    .toList();
            exchanged = IntStream.range(0, exchanges)
                    .mapToObj(i -> new CountDownLatch(1))
                    .toList();
        }

        void beforeExchange(int call) {
            if (call < begun.size()) {
                await(begun.get(call), "exchange " + call + " waits for its computation to begin");
            }
        }

        void afterExchange(int call) {
            if (call < exchanged.size()) {
                exchanged.get(call).countDown();
            }
        }

        void compute(int call) {
            if (call < begun.size()) {
                begun.get(call).countDown();
                await(exchanged.get(call), "computation " + call + " waits for its exchange to end");
            }
        }

        private static void await(CountDownLatch latch, String what) {
            try {
                assertTrue(latch.await(20, TimeUnit.SECONDS), what);
            } catch (InterruptedException stop) {
                throw new IllegalStateException(what, stop);
            }
        }
    }

    /** A ring whose exchanges and computations are announced by number. */
    private static RingAttention ring(Communicator member, IntConsumer before, IntConsumer after, IntConsumer compute) {
        AtomicInteger exchanges = new AtomicInteger();
        Communicator told = (Communicator) Proxy.newProxyInstance(
                RingOverlapTest.class.getClassLoader(), new Class<?>[] {Communicator.class}, (proxy, method, args) -> {
                    boolean exchange = method.getName().equals("sendRecv");
                    int call = exchange ? exchanges.getAndIncrement() : 0;
                    if (exchange) {
                        before.accept(call);
                    }
                    Object result = invoke(method, member, args);
                    if (exchange) {
                        after.accept(call);
                    }
                    return result;
                });
        AtomicInteger computations = new AtomicInteger();
        AttentionKernel kernel = (AttentionKernel) Proxy.newProxyInstance(
                RingOverlapTest.class.getClassLoader(),
                new Class<?>[] {AttentionKernel.class},
                (proxy, method, args) -> {
                    compute.accept(computations.getAndIncrement());
                    return invoke(method, AttentionKernels.named("java"), args);
                });
        return new RingAttention(kernel, told, SPEC, SPLIT);
    }

    private static Object invoke(Method method, Object target, Object[] args) throws Throwable {
        try {
            return method.invoke(target, args);
        } catch (InvocationTargetException thrown) {
            throw thrown.getCause();
        }
    }

    private static AttentionInputs inputs() {
        return new AttentionInputs(1, Queries.allocate(24), Queries.allocate(12), Queries.allocate(12));
    }

    private static AttentionGradients gradients() {
        return new AttentionGradients(
                Queries.allocate(24), List.of(Queries.allocate(12)), List.of(Queries.allocate(12)));
    }
}
