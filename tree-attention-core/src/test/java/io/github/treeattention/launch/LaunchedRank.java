package io.github.treeattention.launch;

import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.ReduceOp;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import javax.management.ObjectName;

/** What the ranks of the multi-process tests run. Lines on standard output tell the test what happens. */
final class LaunchedRank {
    private LaunchedRank() {}

    /**
     * Does what a test needs.
     *
     * @param args what to do, then its argument if it has one
     */
    public static void main(String[] args) throws Exception {
        RankEnvironment environment = RankEnvironment.current();
        int rank = environment.rank();
        if (args[0].equals("exit-early")) {
            if (rank == Integer.parseInt(args[1])) {
                System.exit(7);
            }
        }
        if (args[0].equals("never-join")) {
            print("waiting");
            new CountDownLatch(1).await();
        }
        Duration deadline = Duration.ofSeconds(args[0].equals("stuck") ? 2 : 60);
        String model = args[0].equals("mismatch") ? "model of rank " + rank : "one model";
        try (RankSession session = RankSession.join(environment, Map.of("model", model, "dtype", "f32"), deadline)) {
            print("joined");
            print(new HashSet<>(session.communicator().group().hosts()).size() + " hosts");
            if (args.length > 2) {
                print("argument " + args[2]);
                print("input " + Files.readString(RankEnvironment.input()));
            }
            switch (args[0]) {
                case "loop" -> loop(session, Integer.parseInt(args[1]));
                case "forever", "exit-early" -> loop(session, Integer.MAX_VALUE);
                case "throw" -> {
                    loop(session, 10);
                    if (rank == Integer.parseInt(args[1])) {
                        throw new IllegalStateException("thrown by the test");
                    }
                    loop(session, Integer.MAX_VALUE);
                }
                case "jmx" -> {
                    loop(session, 10);
                    print("jmx " + overJmx(environment));
                }
                case "compute" -> {
                    loop(session, 10);
                    print("looping");
                    new CountDownLatch(1).await(); // never asks the network again
                }
                case "compute-and-listen" -> {
                    CountDownLatch end = new CountDownLatch(1);
                    session.onAbort(end::countDown);
                    loop(session, 10);
                    print("looping");
                    end.await();
                    print("heard of it");
                }
                case "stuck" -> {
                    loop(session, 10);
                    if (rank == Integer.parseInt(args[1])) {
                        new CountDownLatch(1).await(); // alive for the control plane
                    }
                    loop(session, Integer.MAX_VALUE);
                }
                case "leave-early" -> {
                    loop(session, 10);
                    if (rank != Integer.parseInt(args[1])) {
                        loop(session, Integer.MAX_VALUE);
                    }
                }
                default -> throw new IllegalArgumentException(args[0]);
            }
        } catch (CollectiveException e) {
            print("failed at " + System.currentTimeMillis() + " rank " + e.failedRank() + " " + e.getMessage());
            throw e;
        }
    }

    private static String overJmx(RankEnvironment environment) throws Exception {
        ObjectName name = new ObjectName(
                "io.github.treeattention:type=RankSession,job=" + environment.jobId() + ",rank=" + environment.rank());
        StringBuilder values = new StringBuilder();
        for (String attribute : List.of("Rank", "WorldSize", "Epoch", "Calls", "OtherHostBytes", "Failure")) {
            values.append(attribute)
                    .append('=')
                    .append(ManagementFactory.getPlatformMBeanServer().getAttribute(name, attribute))
                    .append(' ');
        }
        long[] waited = (long[]) ManagementFactory.getPlatformMBeanServer().getAttribute(name, "WaitedNanosByRank");
        return values.append(waited.length).toString();
    }

    private static void loop(RankSession session, int count) {
        int world = session.communicator().worldSize();
        ByteBuffer message = ByteBuffer.allocateDirect(4096).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < count; i++) {
            for (int at = 0; at < message.capacity(); at += Integer.BYTES) {
                message.putInt(at, session.communicator().rank() + i);
            }
            session.communicator().allReduce(message, new Sum());
            int wanted = world * (world - 1) / 2 + world * i;
            if (message.getInt(0) != wanted || message.getInt(message.capacity() - Integer.BYTES) != wanted) {
                throw new AssertionError("sum must be " + wanted + ": got " + message.getInt(0));
            }
            if (i == 100) {
                print("looping");
            }
        }
        print("done " + count);
    }

    private static void print(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static final class Sum implements ReduceOp {
        @Override
        public int blockLength() {
            return Integer.BYTES;
        }

        @Override
        public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
            for (int i = 0; i < accumulator.remaining(); i += Integer.BYTES) {
                int at = accumulator.position() + i;
                accumulator.putInt(at, accumulator.getInt(at) + incoming.getInt(incoming.position() + i));
            }
        }
    }
}
