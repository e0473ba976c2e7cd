package io.github.treeattention.launch;

import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Communicator;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

/** What the ranks of the failure table run: they come to a phase, say so, and stay in it until something happens. */
final class PhasedRank {
    /** Where a failure can meet a run. */
    enum Phase {
        /** Some have come, and wait for one that does not. */
        JOIN,
        /** All have joined, and nobody calls anything. */
        IDLE,
        /** One call follows the other. */
        MID_COLLECTIVE,
        /** All have left their group, and their processes have something left to do. */
        LEAVE
    }

    private PhasedRank() {}

    /**
     * Runs a rank.
     *
     * @param args the phase, then a file: calls go on until it is there
     */
    public static void main(String[] args) throws Exception {
        Phase phase = Phase.valueOf(args[0]);
        Path end = args.length > 1 ? Path.of(args[1]) : null;
        RankEnvironment environment = RankEnvironment.current();
        if (phase == Phase.JOIN) {
            if (environment.rank() == environment.worldSize() - 1) {
                print(phase);
                new CountDownLatch(1).await();
            }
            announceWait(Thread.currentThread());
        }
        try (RankSession session = RankSession.join(environment, Map.of(), Duration.ofSeconds(60))) {
            Communicator ranks = session.communicator();
            ranks.barrier();
            if (phase == Phase.IDLE) {
                CountDownLatch over = new CountDownLatch(1);
                session.onAbort(over::countDown);
                print(phase);
                over.await();
                ranks.barrier();
            }
            if (phase == Phase.MID_COLLECTIVE) {
                call(ranks, end);
            }
        } catch (CollectiveException e) {
            System.out.println(
                    "failed at " + System.currentTimeMillis() + " rank " + e.failedRank() + " " + e.getMessage());
            throw e;
        }
        if (phase == Phase.LEAVE) {
            print(phase);
            new CountDownLatch(1).await();
        }
    }

    private static void call(Communicator ranks, Path end) {
        ByteBuffer over = ByteBuffer.allocateDirect(1).order(ByteOrder.LITTLE_ENDIAN);
        for (int call = 0; over.get(0) == 0; call++) {
            if (call == 100) {
                print(Phase.MID_COLLECTIVE);
            }
            ranks.barrier();
            over.put(0, (byte) (end != null && Files.exists(end) ? 1 : 0)); // rank 0 decides
            ranks.broadcast(over, 0);
        }
    }

    /** Tells that the coordinator knows this rank, which only the stack of its main thread shows. */
    private static void announceWait(Thread main) {
        DaemonThreads.named("announcer")
                .newThread(() -> {
                    while (Arrays.stream(main.getStackTrace())
                            .noneMatch(frame -> frame.getMethodName().equals("awaitGroup"))) {
                        Thread.onSpinWait();
                    }
                    print(Phase.JOIN);
                })
                .start();
    }

    private static void print(Phase phase) {
        System.out.println("in " + phase);
    }
}
