package io.github.treeattention.nativeops.ptx;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;

/** The cp.async copies of a warp's lanes. Data lands when, and only when, its lane waits for it. */
final class AsyncCopies {
    /** {@code size} bytes to shared memory, of which {@code given} come from global memory and the rest are zeros. */
    record Copy(int to, int from, int size, int given) {}

    private final List<Deque<List<Copy>>> groups = new ArrayList<>();
    private final List<List<Copy>> open = new ArrayList<>();

    AsyncCopies() {
        for (int lane = 0; lane < Warp.LANES; lane++) {
            groups.add(new ArrayDeque<>());
            open.add(new ArrayList<>());
        }
    }

    void add(int lane, Copy copy) {
        open.get(lane).add(copy);
    }

    void commit(int lane) {
        groups.get(lane).add(open.get(lane));
        open.set(lane, new ArrayList<>());
    }

    /** Lands the oldest groups of a lane until {@code left} are in flight. */
    void wait(Warp warp, int lane, int left) {
        Deque<List<Copy>> mine = groups.get(lane);
        while (mine.size() > left) {
            mine.remove().forEach(copy -> land(warp, lane, copy));
        }
    }

    boolean anyInFlight(int lane) {
        return !open.get(lane).isEmpty() || groups.get(lane).stream().anyMatch(group -> !group.isEmpty());
    }

    private static void land(Warp warp, int lane, Copy copy) {
        SharedMemory shared = warp.block.shared;
        System.arraycopy(warp.block.global.bytes, copy.from(), shared.bytes, copy.to(), copy.given());
        Arrays.fill(shared.bytes, copy.to() + copy.given(), copy.to() + copy.size(), (byte) 0);
        shared.shadow.land(warp, lane, copy.to(), copy.size());
    }
}
