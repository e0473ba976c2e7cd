package io.github.treeattention.collective;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

class InProcessCommunicatorTest extends CommunicatorContract {
    private final Map<Long, InProcessNetwork> networks = new ConcurrentHashMap<>();

    @Override
    protected Transport join(ProcessGroup group) {
        return networks.computeIfAbsent(group.groupId(), id -> new InProcessNetwork(group.worldSize(), 4096, 3))
                .transport(group.rank());
    }
}
