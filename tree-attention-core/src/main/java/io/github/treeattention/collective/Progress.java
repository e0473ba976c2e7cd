package io.github.treeattention.collective;

import java.util.Arrays;

/** How far a member is in its plan: which chunks have moved, and which step may move next. Not thread-safe. */
final class Progress {
    private Plan plan;
    private int[] moved = new int[16];
    /** The pass in which each step moved last: who has been silent for longest. */
    private long[] movedAt = new long[16];

    private long pass;
    /** All steps before it are done. */
    private int first;

    void begin(Plan steps) {
        plan = steps;
        int size = plan.size();
        if (moved.length < size) {
            moved = new int[size];
            movedAt = new long[size];
        }
        Arrays.fill(moved, 0, size, 0);
        Arrays.fill(movedAt, 0, size, pass);
        first = 0;
    }

    boolean isDone() {
        return first == plan.size();
    }

    /** Begins another look at all steps, and returns the first that is not done. */
    int beginPass() {
        pass++;
        return first;
    }

    void endPass() {
        while (first < plan.size() && moved[first] == plan.step(first).chunks()) {
            first++;
        }
    }

    /** Whether nothing but its peer keeps a step from moving. */
    boolean isReady(int index) {
        Plan.Step step = plan.step(index);
        int chunk = moved[index];
        return chunk < step.chunks()
                && (step.after() < 0 || moved[step.after()] > chunk)
                && (step.before() < 0
                        || moved[step.before()] == plan.step(step.before()).chunks());
    }

    /** The chunk that a step moves next. */
    int nextChunk(int index) {
        return moved[index];
    }

    void advance(int index) {
        moved[index]++;
        movedAt[index] = pass;
    }

    /** The peer that could have moved something for longest and did not, or {@link CollectiveException#UNKNOWN_RANK}. */
    int slowestPeer() {
        int slowest = CollectiveException.UNKNOWN_RANK;
        long since = Long.MAX_VALUE;
        for (int i = 0; i < plan.size(); i++) {
            if (isReady(i) && readyAt(i) < since) {
                since = readyAt(i);
                slowest = plan.step(i).peer();
            }
        }
        return slowest;
    }

    /** The pass since which a step is ready. */
    private long readyAt(int index) {
        Plan.Step step = plan.step(index);
        long since = movedAt[index];
        if (step.after() >= 0 && moved[step.after()] == moved[index] + 1) {
            since = Math.max(since, movedAt[step.after()]);
        }
        return step.before() < 0 ? since : Math.max(since, movedAt[step.before()]);
    }

    /** What it waits for, in words. */
    String waits() {
        StringBuilder waits = new StringBuilder();
        for (int i = 0; i < plan.size(); i++) {
            if (isReady(i)) {
                Plan.Step step = plan.step(i);
                waits.append(waits.isEmpty() ? "" : ", ")
                        .append(step.action() == Plan.Action.SEND ? "no room to send to rank " : "nothing from rank ")
                        .append(step.peer());
            }
        }
        return waits.toString();
    }
}
