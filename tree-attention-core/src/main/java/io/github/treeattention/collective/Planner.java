package io.github.treeattention.collective;

/** Makes this member's plans. The latest all-reduce plan is kept, for decoding repeats one thousands of times. */
final class Planner {
    private final HostLayout hosts;
    private final int maxPayload;

    private Plan cached;
    private AllReduceAlgorithm cachedAlgorithm;
    private int cachedLength;
    private int cachedBlockLength;
    private Plan barrier;

    Planner(HostLayout hosts, int maxPayload) {
        this.hosts = hosts;
        this.maxPayload = maxPayload;
    }

    Plan allReduce(AllReduceAlgorithm algorithm, int length, int blockLength) {
        if (cached == null
                || algorithm != cachedAlgorithm
                || length != cachedLength
                || blockLength != cachedBlockLength) {
            cached = planAllReduce(algorithm, length, blockLength);
            cachedAlgorithm = algorithm;
            cachedLength = length;
            cachedBlockLength = blockLength;
        }
        return cached;
    }

    /** An all-reduce of nothing. */
    Plan barrier(AllReduceAlgorithm algorithm) {
        if (barrier == null) {
            barrier = planAllReduce(algorithm, 0, 1);
        }
        return barrier;
    }

    private Plan planAllReduce(AllReduceAlgorithm algorithm, int length, int blockLength) {
        Plan.Builder plan = builder(blockLength);
        if (algorithm == AllReduceAlgorithm.RING) {
            Schedules.ringReduce(plan, hosts, length, blockLength);
            return plan.build();
        }
        Plan.Chain chain = plan.chain(0, length);
        int[] ranks = hosts.all();
        int me = hosts.rank();
        switch (algorithm) {
            case STAR -> {
                Schedules.reduceStar(chain, ranks, me);
                Schedules.broadcastStar(chain, ranks, me, 0);
            }
            case BINOMIAL_TREE -> {
                Schedules.reduceTree(chain, ranks, me);
                Schedules.broadcastTree(chain, ranks, me, 0);
            }
            case RECURSIVE_DOUBLING -> Schedules.recursiveDoubling(chain, ranks, me);
            case TWO_LEVEL -> Schedules.twoLevel(chain, hosts);
            case CHAIN -> Schedules.chain(chain, hosts);
            default -> throw new IllegalStateException("no plan for " + algorithm);
        }
        return plan.build();
    }

    /** To rank 0, which keeps the order of ranks, and from there to the root. */
    Plan reduce(int root, int length, ReduceOp op) {
        Plan.Builder plan = builder(op.blockLength());
        Plan.Chain chain = plan.chain(0, length);
        int me = hosts.rank();
        if (AlgorithmChoice.prefersTwoLevel(hosts, op.commutative())) {
            Schedules.reduceTwoLevel(chain, hosts);
        } else if (AlgorithmChoice.prefersStar(hosts)) {
            Schedules.reduceStar(chain, hosts.all(), me);
        } else {
            Schedules.reduceTree(chain, hosts.all(), me);
        }
        if (root != 0 && me == 0) {
            chain.send(root);
        } else if (root != 0 && me == root) {
            chain.copy(0);
        }
        return plan.build();
    }

    Plan broadcast(int root, int length) {
        Plan.Builder plan = builder(1);
        Plan.Chain chain = plan.chain(0, length);
        if (hosts.severalHosts()) {
            Schedules.broadcastTwoLevel(chain, hosts, root);
        } else if (AlgorithmChoice.prefersStar(hosts)) {
            Schedules.broadcastStar(chain, hosts.all(), hosts.rank(), root);
        } else {
            Schedules.broadcastTree(chain, hosts.all(), hosts.rank(), root);
        }
        return plan.build();
    }

    Plan allGather(int segmentLength) {
        Plan.Builder plan = builder(1);
        Schedules.ringGather(plan, hosts, segmentLength);
        return plan.build();
    }

    Plan reduceScatter(int segmentLength, int blockLength) {
        Plan.Builder plan = builder(blockLength);
        Schedules.directScatter(plan, hosts, segmentLength);
        return plan.build();
    }

    Plan sendRecv(int sendLength, int destination, int receiveLength, int source) {
        Plan.Builder plan = builder(1);
        plan.chain(0, sendLength).send(destination);
        plan.chain(0, receiveLength).copy(source);
        return plan.build();
    }

    Plan pingPong(int length, int from, int to) {
        Plan.Builder plan = builder(1);
        Plan.Chain chain = plan.chain(0, length);
        if (hosts.rank() == from) {
            chain.send(to);
            chain.copy(to);
        } else if (hosts.rank() == to) {
            chain.copy(from);
            chain.send(from);
        }
        return plan.build();
    }

    Plan nothing() {
        return builder(1).build();
    }

    private Plan.Builder builder(int blockLength) {
        return new Plan.Builder(hosts.rank(), hosts.worldSize(), maxPayload / blockLength * blockLength);
    }
}
