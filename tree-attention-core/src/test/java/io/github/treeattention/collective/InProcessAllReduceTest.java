package io.github.treeattention.collective;

class InProcessAllReduceTest extends AllReduceContract {
    private final InProcessTransports transports = new InProcessTransports();

    @Override
    protected Transport join(ProcessGroup group) {
        return transports.join(group);
    }

    @Override
    protected int maxFrameLength() {
        return InProcessTransports.FRAME_LENGTH;
    }
}
