package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.KvType;
import java.util.List;
import java.util.Locale;

/**
 * Which kernel serves a call, and on what grid. Pure functions of the problem's shape and the device.
 *
 * @param kernel the entry point's name
 * @param splits into how many parts each batch row's tiles are cut; more than one needs a merge
 * @param valueChunks into how many parts the value dimension is cut
 */
record LaunchPlan(String kernel, int splits, int valueChunks, Launch launch) {
    /** The most keys of a tile; {@code kTileKeys} in problem.cuh. */
    static final int TILE_KEYS = 32;
    /** Of a block, or of a decode block's group of rows. */
    private static final int THREADS = 128;

    private static final int DECODE_ROWS = 16; // more rows are work for tiles of rows
    private static final int GROUP_ROWS = 4;
    private static final int FORWARD_ROWS = 64; // kForwardRows in forward.cuh
    private static final int PLAIN_ROWS = 16; // kPlainRows in plain.cuh
    private static final int CHUNK = 128; // kChunk there
    private static final int MOST_SPLITS = 128;
    private static final int FOLD_TILES = 16; // kFoldTiles in problem.cuh; decode's second level of sums is the merge
    private static final int MOST_DECODE_SPLITS = 8192; // the merge keeps a weight for each in shared memory
    private static final int LEAST_TILES = 4; // of a split: below, the merge costs more than the split saves
    private static final double GOOD_SHARE = 0.85;
    private static final int MOST_BLOCKS = 65_535; // on a grid's second and third axis

    /** @throws IllegalArgumentException if no grid has room for the call */
    LaunchPlan {
        requireRoom("kvHeads", launch.gridY());
        requireRoom("batch", launch.gridZ());
    }

    private static void requireRoom(String what, int blocks) {
        if (blocks > MOST_BLOCKS) {
            throw new IllegalArgumentException("the CUDA kernels take at most " + MOST_BLOCKS + " " + what + ": got "
                    + blocks + "; split the call, or use the kernel for the CPU");
        }
    }

    /**
     * The best kernel for a call.
     *
     * @param tiles the most that a batch row has
     */
    static LaunchPlan of(CudaDevice device, AttentionSpec spec, KvType type, int batch, int queries, int tiles) {
        int rows = spec.groupSize() * queries;
        boolean tuned = spec.headDim() == spec.valueDim() && (spec.headDim() == 64 || spec.headDim() == 128);
        if (tuned && rows <= DECODE_ROWS && decodeBytes(spec, type, rows) <= device.sharedBytesPerBlock()) {
            int least = Math.min(MOST_DECODE_SPLITS, Math.max(1, divideUp(tiles, FOLD_TILES)));
            int splits = splits(device.multiprocessors(), (long) batch * spec.kvHeads(), tiles, least);
            return new LaunchPlan(
                    "decode_" + suffix(type) + "_d" + spec.headDim() + "_r" + groupRows(rows),
                    splits,
                    1,
                    new Launch(splits, spec.kvHeads(), batch, THREADS, groups(rows), decodeBytes(spec, type, rows)));
        }
        boolean terms = tuned && type != KvType.F32 && !spec.dropout().isActive();
        if (terms && forwardBytes(spec, type) <= device.sharedBytesPerBlock()) {
            String kernel = "forward_" + suffix(type) + "_d" + spec.headDim();
            return grid(device, kernel, divideUp(rows, FORWARD_ROWS), 1, forwardBytes(spec, type), spec, batch, tiles);
        }
        return plain(device, spec, type, batch, queries, tiles);
    }

    /** The kernel that serves any call. */
    static LaunchPlan plain(CudaDevice device, AttentionSpec spec, KvType type, int batch, int queries, int tiles) {
        int rowBlocks = divideUp(spec.groupSize() * queries, PLAIN_ROWS);
        int chunks = divideUp(spec.valueDim(), CHUNK);
        return grid(device, "plain_" + suffix(type), rowBlocks, chunks, 0, spec, batch, tiles);
    }

    private static LaunchPlan grid(
            CudaDevice device,
            String kernel,
            int rowBlocks,
            int chunks,
            int sharedBytes,
            AttentionSpec spec,
            int batch,
            int tiles) {
        int blocks = Math.multiplyExact(rowBlocks, chunks);
        int splits = splits(device.multiprocessors(), (long) blocks * spec.kvHeads() * batch, tiles);
        Launch launch = new Launch(Math.multiplyExact(blocks, splits), spec.kvHeads(), batch, THREADS, 1, sharedBytes);
        return new LaunchPlan(kernel, splits, chunks, launch);
    }

    /** Whether the kernel reports values that are not finite, upon which {@link #plain} has to serve. */
    boolean needsFiniteValues() {
        return kernel.startsWith("forward_");
    }

    /** The launches of backward: the deltas, the gradients of queries, those of keys and values. */
    static List<LaunchPlan> backward(AttentionSpec spec, KvType type, int batch, int queries, int tiles) {
        int rows = spec.groupSize() * queries;
        int queryBlocks = Math.multiplyExact(divideUp(rows, PLAIN_ROWS), divideUp(spec.headDim(), CHUNK));
        int keyBlocks = Math.multiplyExact(tiles, divideUp(Math.max(spec.headDim(), spec.valueDim()), CHUNK));
        int shared = (2 * (PLAIN_ROWS + TILE_KEYS) * (CHUNK + 4) + 2 * PLAIN_ROWS * TILE_KEYS) * Float.BYTES;
        Launch deltas = new Launch(divideUp(batch * spec.heads() * queries, 4), 1, 1, THREADS, 1, 0);
        return List.of(
                new LaunchPlan("backward_deltas", 1, 1, deltas),
                new LaunchPlan(
                        "backward_queries_" + suffix(type),
                        1,
                        1,
                        new Launch(queryBlocks, spec.kvHeads(), batch, THREADS, 1, shared)),
                new LaunchPlan(
                        "backward_keys_" + suffix(type),
                        1,
                        1,
                        new Launch(keyBlocks, spec.kvHeads(), batch, THREADS, 1, shared)));
    }

    /**
     * Into how many parts to cut the tiles, so that blocks fill whole waves of two a multiprocessor: the fewest that leave at
     * most 15% more idle than the best number does.
     *
     * @param blocks of one part
     */
    static int splits(int multiprocessors, long blocks, int tiles) {
        return splits(multiprocessors, blocks, tiles, 1);
    }

    private static int splits(int multiprocessors, long blocks, int tiles, int least) {
        int slots = 2 * multiprocessors;
        int most = Math.max(least, Math.min(MOST_SPLITS, tiles / LEAST_TILES));
        double best = 0;
        for (int splits = least; splits <= most; splits++) {
            best = Math.max(best, busyShare(blocks * splits, slots));
        }
        int fewest = least;
        while (busyShare(blocks * fewest, slots) < GOOD_SHARE * best) {
            fewest++;
        }
        return fewest;
    }

    /** What share of the slots of all waves has a block. */
    static double busyShare(long blocks, int slots) {
        return (double) blocks / (divideUp(blocks, slots) * slots);
    }

    /** Stages of two tiles, then weights and running sums; decode.cuh has the layout. */
    private static int decodeBytes(AttentionSpec spec, KvType type, int rows) {
        int tiles = 4 * TILE_KEYS * spec.headDim() * type.bytes();
        int packed = groups(rows) * groupRows(rows);
        int sums = 4 * packed * spec.headDim() * Float.BYTES; // in the place of the tiles at the end
        int weights = packed * (TILE_KEYS + 3) * Float.BYTES;
        return Math.max(tiles + weights, sums + weights);
    }

    /** Terms of queries, a tile, scores by row and the rows' scales; forward.cuh has the layout. */
    private static int forwardBytes(AttentionSpec spec, KvType type) {
        int terms = type == KvType.F16 ? 2 : 3;
        int elements = (terms * FORWARD_ROWS + 2 * TILE_KEYS) * (spec.headDim() + 8);
        return elements * type.bytes() + FORWARD_ROWS * (TILE_KEYS + 1) * Float.BYTES;
    }

    private static int groupRows(int rows) {
        return rows == 1 ? 1 : GROUP_ROWS;
    }

    private static int groups(int rows) {
        return divideUp(rows, groupRows(rows));
    }

    private static String suffix(KvType type) {
        return type.name().toLowerCase(Locale.ROOT);
    }

    private static int divideUp(int a, int b) {
        return (a + b - 1) / b;
    }

    private static long divideUp(long a, long b) {
        return (a + b - 1) / b;
    }
}
