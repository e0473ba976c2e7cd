package io.github.treeattention.collective;

import java.util.ArrayList;
import java.util.List;

/**
 * All sequences of choices, one run after another: each run is told what to choose, repeats the choices of the run before
 * up to the last one that has an alternative, and takes that. Depth first, without memory of its own.
 */
final class Choices {
    private final List<int[]> path = new ArrayList<>(); // chosen, options
    private int position;
    private int replayed;

    /** One of {@code 0..options-1}. */
    int choose(int options) {
        if (position == path.size()) {
            path.add(new int[] {0, options});
        }
        int[] choice = path.get(position++);
        if (choice[1] != options) {
            throw new IllegalStateException("a run must repeat itself: " + choice[1] + " options, then " + options);
        }
        return choice[0];
    }

    /** Whether this run has left what earlier runs have seen. */
    boolean isNew() {
        return position >= replayed;
    }

    /** Goes to the next run. Returns false if there is none. */
    boolean next() {
        while (path.size() > position) {
            path.remove(path.size() - 1);
        }
        while (!path.isEmpty()) {
            int[] last = path.get(path.size() - 1);
            if (++last[0] < last[1]) {
                position = 0;
                replayed = path.size();
                return true;
            }
            path.remove(path.size() - 1);
        }
        return false;
    }
}
