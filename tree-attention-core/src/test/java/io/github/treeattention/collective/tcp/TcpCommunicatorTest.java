package io.github.treeattention.collective.tcp;

import io.github.treeattention.collective.CommunicatorContract;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import java.util.Optional;

class TcpCommunicatorTest extends CommunicatorContract {
    private final TcpGroups groups = new TcpGroups(Optional.empty());

    @Override
    protected Transport join(ProcessGroup group) throws Exception {
        return groups.join(group);
    }

    @Override
    protected int maxFrameLength() {
        return TcpLink.MAX_FRAME_LENGTH;
    }
}
