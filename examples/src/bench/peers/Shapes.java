/** A problem: batch 1, causal, as many queries as keys unless it is a decode, which has one. bytes: 2 or 4, of a key's number. */
record Shapes(Mode mode, int heads, int kvHeads, int dim, int length, int bytes, boolean half) {
    enum Mode {
        DECODE,
        PREFILL,
        TRAIN
    }

    int queries() {
        return mode == Mode.DECODE ? 1 : length;
    }
}
