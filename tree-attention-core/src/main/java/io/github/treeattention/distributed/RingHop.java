package io.github.treeattention.distributed;

/**
 * What one rank did during one hop of a {@link RingAttention} call, times as of {@link System#nanoTime} of that rank. Where
 * a rank had nothing to exchange, after the last hop of forward, the exchange is empty: it ends where it starts.
 *
 * @param hop 0 while the rank's own block is here
 * @param sentBytes what was sent meanwhile
 * @param exchangeStart when the exchange with the neighbours began
 * @param exchangeEnd when it was done
 * @param computeStart when the computation on the block that is here began
 * @param computeEnd when it was done
 */
public record RingHop(
        int hop, long sentBytes, long exchangeStart, long exchangeEnd, long computeStart, long computeEnd) {

    /** Nanoseconds for which exchange and computation ran at the same time. */
    public long overlap() {
        return Math.max(0, Math.min(exchangeEnd, computeEnd) - Math.max(exchangeStart, computeStart));
    }

    /** Nanoseconds for which this rank could do nothing but wait for the exchange. */
    public long exposed() {
        return Math.max(0, exchangeEnd - Math.max(exchangeStart, computeEnd));
    }
}
