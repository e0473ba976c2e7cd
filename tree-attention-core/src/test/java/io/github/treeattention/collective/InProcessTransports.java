package io.github.treeattention.collective;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** One in-process network per group, with frames and queues so short that chunking and back pressure are real. */
public final class InProcessTransports {
    public static final int FRAME_LENGTH = 6 * 1024;
    private static final int CAPACITY = 2;

    private final Map<Long, InProcessNetwork> networks = new ConcurrentHashMap<>();

    public Transport join(ProcessGroup group) {
        return networks.computeIfAbsent(
                        group.groupId(), id -> new InProcessNetwork(group.worldSize(), FRAME_LENGTH, CAPACITY))
                .transport(group.rank());
    }
}
