package io.github.treeattention.collective;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;

/** Makes communicators. */
public final class Communicators {

    private Communicators() {}

    /**
     * A member of a group over any transport, which it closes with itself.
     *
     * @param abort asked while a call waits
     * @param deadline how long one call may take, waiting for late members included
     */
    public static Communicator over(ProcessGroup group, Transport transport, AbortSignal abort, Duration deadline) {
        return over(group, transport, abort, deadline, AllReduceAlgorithm.AUTO);
    }

    /** The same with a forced algorithm, which must be the same at every member. */
    public static Communicator over(
            ProcessGroup group,
            Transport transport,
            AbortSignal abort,
            Duration deadline,
            AllReduceAlgorithm algorithm) {
        return new GroupCommunicator(group, transport, abort, deadline, algorithm);
    }

    /** A group of one process: every operation is done at once and sends nothing. */
    public static Communicator single() {
        return inProcess(1, Duration.ofSeconds(30)).get(0);
    }

    /** A group of threads of this JVM: element {@code r} is for the thread that plays rank {@code r}. */
    public static List<Communicator> inProcess(int worldSize, Duration deadline) {
        return inProcess(worldSize, deadline, AllReduceAlgorithm.AUTO);
    }

    /** The same with a forced algorithm. */
    public static List<Communicator> inProcess(int worldSize, Duration deadline, AllReduceAlgorithm algorithm) {
        if (worldSize < 1) {
            throw new IllegalArgumentException("worldSize must be at least 1: got " + worldSize);
        }
        InProcessNetwork network = new InProcessNetwork(
                worldSize, InProcessNetwork.DEFAULT_FRAME_LENGTH, InProcessNetwork.DEFAULT_CAPACITY);
        List<String> hosts = Collections.nCopies(worldSize, "localhost");
        long groupId = ThreadLocalRandom.current().nextLong();
        List<Communicator> members = new ArrayList<>();
        for (int rank = 0; rank < worldSize; rank++) {
            ProcessGroup group = new ProcessGroup(rank, hosts, 0, groupId);
            members.add(over(group, network.transport(rank), AbortSignal.NEVER, deadline, algorithm));
        }
        return List.copyOf(members);
    }
}
