package io.github.treeattention.attention;

/**
 * One pass of linear attention over a sequence, block by block, forwards or backwards in time:
 *
 * <pre>out_i = sum_{j up to i} decay^|i-j| (q_i.k_j) v_j + decay^(steps to i) q_i'S</pre>
 *
 * <p>Within a block every pair is visited; what comes before a block is in the state. Forwards the state belongs to the step
 * before the first, and ends at the last; backwards it belongs to the last step, and ends at the first.
 */
record LinearSweep(
        @SuppressWarnings("ArrayRecordComponent") double[] decays,
        int block,
        int steps,
        boolean backwards,
        int keyDim,
        int valueDim) {

    /**
     * @param queries {@code [heads][steps][keyDim]}
     * @param keys {@code [heads][steps][keyDim]}
     * @param values {@code [heads][steps][valueDim]}
     * @param state {@code [heads][keyDim][valueDim]}, changed
     * @param out {@code [heads][steps][valueDim]}, zeros before
     */
    void run(double[] queries, double[] keys, double[] values, double[] state, double[] out) {
        for (int head = 0; head < decays.length; head++) {
            for (int first = 0; first < steps; first += block) {
                int end = Math.min(first + block, steps);
                int lead = backwards && first == 0 ? 0 : 1; // decays from the state's step to the block's first
                for (int i = first; i < end; i++) {
                    double decay = Math.pow(decays[head], (double) (i - first + lead));
                    int query = row(head, i) * keyDim;
                    int to = row(head, i) * valueDim;
                    for (int d = 0; d < keyDim; d++) {
                        add(decay * queries[query + d], state, (head * keyDim + d) * valueDim, out, to);
                    }
                    for (int j = first; j <= i; j++) {
                        int key = row(head, j) * keyDim;
                        double dot = 0;
                        for (int d = 0; d < keyDim; d++) {
                            dot += queries[query + d] * keys[key + d];
                        }
                        add(Math.pow(decays[head], (double) (i - j)) * dot, values, row(head, j) * valueDim, out, to);
                    }
                }
                take(head, first, end, lead, keys, values, state);
            }
        }
    }

    /** Moves the state to the block's last step. */
    private void take(int head, int first, int end, int lead, double[] keys, double[] values, double[] state) {
        double kept = Math.pow(decays[head], (double) (end - first - 1 + lead));
        for (int i = head * keyDim * valueDim, last = i + keyDim * valueDim; i < last; i++) {
            state[i] *= kept;
        }
        for (int j = first; j < end; j++) {
            double decay = Math.pow(decays[head], (double) (end - 1 - j));
            int key = row(head, j) * keyDim;
            for (int d = 0; d < keyDim; d++) {
                add(decay * keys[key + d], values, row(head, j) * valueDim, state, (head * keyDim + d) * valueDim);
            }
        }
    }

    /** Index of a row, counted in the direction of the sweep. */
    private int row(int head, int step) {
        return head * steps + (backwards ? steps - 1 - step : step);
    }

    private void add(double factor, double[] from, int at, double[] to, int target) {
        for (int i = 0; i < valueDim; i++) {
            to[target + i] += factor * from[at + i];
        }
    }
}
