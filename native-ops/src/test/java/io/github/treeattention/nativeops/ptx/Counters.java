package io.github.treeattention.nativeops.ptx;

import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.ToLongFunction;

/** What a launch did, counted per instruction and added up by opcode. */
public final class Counters {
    private static final int SECTOR_BITS = 5;
    private static final int BANKS = 32;

    /** What one instruction did. */
    static final class Tally {
        long warps;
        long lanes;
        long globalRequests;
        long sectors;
        long sharedRequests;
        long wavefronts;
        long copiedBytes;
    }

    private final PtxKernel kernel;
    private final Tally[] tallies;
    private final long[] seen = new long[Warp.LANES];
    private final long[][] wordsOfBank = new long[BANKS][Warp.LANES];
    private final int[] countOfBank = new int[BANKS];

    Counters(PtxKernel kernel) {
        this.kernel = kernel;
        this.tallies = new Tally[kernel.code.length];
        for (int i = 0; i < tallies.length; i++) {
            tallies[i] = new Tally();
        }
    }

    Tally tally(int instruction) {
        return tallies[instruction];
    }

    public String kernel() {
        return kernel.name;
    }

    /** Instructions that warps ran whose opcode starts with {@code prefix}. */
    public long warpInstructions(String prefix) {
        return sum(prefix, tally -> tally.warps);
    }

    /** The same, times the lanes that took part. */
    public long laneInstructions(String prefix) {
        return sum(prefix, tally -> tally.lanes);
    }

    /** 32-byte sectors of global memory per request of a warp, for opcodes that start with {@code prefix}; 0 without any. */
    public double sectorsPerRequest(String prefix) {
        return ratio(sum(prefix, tally -> tally.sectors), sum(prefix, tally -> tally.globalRequests));
    }

    /** Passes over shared memory per conflict-free pass; 1 is the least. 0 without any. */
    public double wavefrontsPerRequest(String prefix) {
        return ratio(sum(prefix, tally -> tally.wavefronts), sum(prefix, tally -> tally.sharedRequests));
    }

    /** Bytes that cp.async read from global memory. */
    public long asyncBytes() {
        return sum("cp.async", tally -> tally.copiedBytes);
    }

    /** Warp instructions by opcode. */
    public Map<String, Long> byOpcode() {
        Map<String, Long> counts = new TreeMap<>();
        for (int i = 0; i < tallies.length; i++) {
            counts.merge(kernel.code[i].opcode(), tallies[i].warps, Long::sum);
        }
        return counts;
    }

    /** The memory instruction with the most wavefronts or sectors beyond its requests, for reports. */
    public String worst() {
        String worst = "none";
        long most = 0;
        for (int i = 0; i < tallies.length; i++) {
            long conflicts = tallies[i].wavefronts - tallies[i].sharedRequests;
            if (conflicts > most) {
                most = conflicts;
                worst = conflicts + " bank conflicts at " + kernel.code[i].where();
            }
        }
        return worst;
    }

    private static double ratio(long units, long requests) {
        return requests == 0 ? 0 : (double) units / requests;
    }

    private long sum(String prefix, ToLongFunction<Tally> part) {
        long sum = 0;
        for (int i = 0; i < tallies.length; i++) {
            if (kernel.code[i].opcode().startsWith(prefix)) {
                sum += part.applyAsLong(tallies[i]);
            }
        }
        return sum;
    }

    /** A cp.async of the warp's current instruction reads {@code bytes} bytes. */
    void copied(Warp warp, int bytes) {
        tallies[warp.currentIndex].copiedBytes += bytes;
    }

    /** A request of the warp's current instruction to global memory, at {@link Warp#addresses}. */
    void globalRequest(Warp warp, int lanes) {
        int count = 0;
        for (int lane = 0; lane < Warp.LANES; lane++) {
            if (Warp.has(lanes, lane)) {
                long sector = warp.addresses[lane] >>> SECTOR_BITS;
                int i = count - 1;
                while (i >= 0 && seen[i] != sector) {
                    i--;
                }
                if (i < 0) {
                    seen[count++] = sector;
                }
            }
        }
        if (count > 0) {
            Tally tally = tallies[warp.currentIndex];
            tally.globalRequests++;
            tally.sectors += count;
        }
    }

    /** A request to shared memory, at {@link Warp#addresses}: one pass per 128 bytes, and more where banks conflict. */
    void sharedRequest(Warp warp, int lanes, int bytes) {
        int lanesPerPass = Math.min(Warp.LANES, 128 / bytes);
        for (int from = 0; from < Warp.LANES; from += lanesPerPass) {
            int passes = 0;
            Arrays.fill(countOfBank, 0);
            for (int lane = from; lane < from + lanesPerPass; lane++) {
                if (Warp.has(lanes, lane)) {
                    for (int word = 0; word < Math.max(1, bytes / 4); word++) {
                        passes = Math.max(passes, touch((warp.addresses[lane] >>> 2) + word));
                    }
                }
            }
            if (passes > 0) {
                Tally tally = tallies[warp.currentIndex];
                tally.sharedRequests++;
                tally.wavefronts += passes;
            }
        }
    }

    /** How many different words of this word's bank have been touched in this pass. */
    private int touch(long word) {
        int bank = (int) (word & (BANKS - 1));
        long[] words = wordsOfBank[bank];
        for (int i = 0; i < countOfBank[bank]; i++) {
            if (words[i] == word) {
                return countOfBank[bank];
            }
        }
        words[countOfBank[bank]] = word;
        return ++countOfBank[bank];
    }
}
