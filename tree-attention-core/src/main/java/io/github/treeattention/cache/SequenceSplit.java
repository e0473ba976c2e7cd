package io.github.treeattention.cache;

import java.util.ArrayList;
import java.util.List;

/**
 * A sequence of known length cut into one slice per rank, for prefill and training, where every rank holds a slice of the
 * queries as well as of the keys. Each position is in exactly one slice. Immutable; the same on every rank.
 *
 * <p>Under a causal mask a rank's work depends on where its queries stand. {@link #contiguous} leaves the first rank
 * almost idle; {@link #zigzag} gives every rank one early and one late piece, and so the same work; {@link #striped} deals
 * single positions out.
 */
public final class SequenceSplit {
    private final String name;
    private final List<SequenceSlice> slices;

    private SequenceSplit(String name, List<SequenceSlice> slices) {
        this.name = name;
        this.slices = List.copyOf(slices);
    }

    /** One run a rank, in rank order; lengths differ by at most 1. */
    public static SequenceSplit contiguous(long length, int ranks) {
        require(length, ranks);
        int[] lengths = new int[ranks];
        for (int rank = 0; rank < ranks; rank++) {
            lengths[rank] = Math.toIntExact(border(length, rank + 1, ranks) - border(length, rank, ranks));
        }
        return contiguous(lengths);
    }

    /** One run a rank, in rank order, of the lengths given; 0 leaves a rank without any. */
    public static SequenceSplit contiguous(int[] lengths) {
        long length = 0;
        List<SequenceSlice> slices = new ArrayList<>();
        for (int run : lengths) {
            if (run < 0) {
                throw new IllegalArgumentException("lengths must be at least 0: got " + run);
            }
            slices.add(new SequenceSlice(run == 0 ? List.of() : List.of(new SequenceSlice.Run(length, run, 1))));
            length += run;
        }
        require(length, lengths.length);
        return new SequenceSplit("contiguous", slices);
    }

    /**
     * {@code 2 * ranks} pieces, of which rank {@code r} holds the r-th from the front and the r-th from the back: equal
     * work under a causal mask.
     */
    public static SequenceSplit zigzag(long length, int ranks) {
        require(length, ranks);
        List<SequenceSlice> slices = new ArrayList<>();
        for (int rank = 0; rank < ranks; rank++) {
            List<SequenceSlice.Run> runs = new ArrayList<>();
            add(runs, border(length, rank, 2 * ranks), border(length, rank + 1, 2 * ranks));
            int back = 2 * ranks - 1 - rank;
            add(runs, border(length, back, 2 * ranks), border(length, back + 1, 2 * ranks));
            slices.add(new SequenceSlice(runs));
        }
        return new SequenceSplit("zigzag", slices);
    }

    /** Position {@code p} on rank {@code p mod ranks} (Striped Attention, arXiv 2311.09431). */
    public static SequenceSplit striped(long length, int ranks) {
        require(length, ranks);
        List<SequenceSlice> slices = new ArrayList<>();
        for (int rank = 0; rank < ranks; rank++) {
            int rows = Math.toIntExact((length - rank + ranks - 1) / ranks);
            slices.add(new SequenceSlice(rows == 0 ? List.of() : List.of(new SequenceSlice.Run(rank, rows, ranks))));
        }
        return new SequenceSplit("striped", slices);
    }

    /** The first {@code length} positions as a cache of this partition holds them. */
    public static SequenceSplit interleaved(SequencePartition partition, long length) {
        require(length, partition.worldSize());
        List<SequenceSlice> slices = new ArrayList<>();
        for (int rank = 0; rank < partition.worldSize(); rank++) {
            List<SequenceSlice.Run> runs = new ArrayList<>();
            long round = (long) partition.blockSize() * partition.worldSize();
            for (long at = (long) rank * partition.blockSize(); at < length; at += round) {
                add(runs, at, Math.min(length, at + partition.blockSize()));
            }
            slices.add(new SequenceSlice(runs));
        }
        return new SequenceSplit("interleaved", slices);
    }

    /** The same cut of positions {@code offset, offset + 1, ...}: a chunk of queries that comes after a past. */
    public SequenceSplit shifted(long offset) {
        List<SequenceSlice> moved = new ArrayList<>();
        for (SequenceSlice slice : slices) {
            moved.add(new SequenceSlice(slice.runs().stream()
                    .map(run -> new SequenceSlice.Run(run.start() + offset, run.length(), run.step()))
                    .toList()));
        }
        return new SequenceSplit(name, moved);
    }

    public int worldSize() {
        return slices.size();
    }

    public SequenceSlice slice(int rank) {
        return slices.get(rank);
    }

    /** Positions on all ranks. */
    public long length() {
        long length = 0;
        for (SequenceSlice slice : slices) {
            length += slice.length();
        }
        return length;
    }

    /** The position after the last; 0 if there is none. */
    public long end() {
        long end = 0;
        for (SequenceSlice slice : slices) {
            for (SequenceSlice.Run run : slice.runs()) {
                end = Math.max(end, run.last() + 1);
            }
        }
        return end;
    }

    @Override
    public String toString() {
        return name + slices.stream().map(SequenceSlice::length).toList();
    }

    /** Appends a run, or lengthens the last one if they touch. */
    private static void add(List<SequenceSlice.Run> runs, long from, long to) {
        if (from == to) {
            return;
        }
        int last = runs.size() - 1;
        long start = from;
        if (last >= 0 && runs.get(last).last() + 1 == from) {
            start = runs.remove(last).start();
        }
        runs.add(new SequenceSlice.Run(start, Math.toIntExact(to - start), 1));
    }

    private static long border(long length, int piece, int pieces) {
        return length / pieces * piece + length % pieces * piece / pieces;
    }

    private static void require(long length, int ranks) {
        if (length < 0 || ranks < 1) {
            throw new IllegalArgumentException(
                    "a split needs length >= 0 and ranks >= 1: got length=" + length + ", ranks=" + ranks);
        }
    }
}
