// One call's problem as the host lays it out (Problem.java writes the same structs), and what a row of queries sees of it.
// Query rows that share a key/value head are packed: row r is query r / group of head kvHead * group + r % group.

struct Tile {  // consecutive keys of one page, for all key/value heads
    const void *keys;
    const void *values;
    long long position;  // global, of the first key
    int length;
    int first;  // number of the first key among those of the batch row: its place in gradients
};

struct BatchRow {
    long long first_position;  // global, of query 0
    int first_tile;
    int tiles;
    long long key_stride;  // elements from one key/value head to the next
    long long value_stride;
    float *key_gradients;  // [kvHeads][keys][headDim]
    float *value_gradients;
    int keys;
    int reserved;
};

struct Table {  // as ta_table: elements between neighbours, 0 where all share one; null values where there is none
    const void *values;
    long long batch_stride;
    long long head_stride;
    long long query_stride;
};

struct Problem {
    const float *queries;  // [batch][heads][count][headDim]
    float *state;          // [splits][batch][heads][count][valueDim + 1]
    const BatchRow *rows;  // [batch]
    const Tile *tiles;
    Table keys, visible, bias, ranges;
    unsigned long long dropout_seed;
    const float *whole_state;     // backward: over all keys, those of other ranks included
    const float *state_gradient;  // backward
    float *query_gradients;       // backward
    float *deltas;                // backward: rowsum(dOut * out) - dLse of each row
    int *not_finite;              // set where a value is infinite or NaN and the kernel cannot serve that
    int batch, heads, kv_heads, count, head_dim, value_dim;
    int splits;        // of each batch row's tiles
    int value_chunks;  // of kernels that hold a part of the value dimension
    int causal, window, dropout_layer, first_batch_row, dropout_threshold;
    float kept_scale, scale, soft_cap;
};

constexpr float kLog2E = 1.4426950408889634f;

DEVICE float infinity() { return -minus_infinity(); }

// e^x for x <= 0
DEVICE float exp_of(float x) { return exp2_of(x * kLog2E); }

struct Row {
    int head;
    int query;
    long long from, to;  // positions that it may see, unless a table hides single ones; none for rows beyond the last
};

DEVICE Row row_of(const Problem &p, int b, int kv_head, int packed) {
    const int group = p.heads / p.kv_heads;
    Row row = {kv_head * group + packed % group, packed / group, 0, 0};
    if (row.query < p.count) {
        const long long position = p.rows[b].first_position + row.query;
        row.from = p.window > 0 ? position - p.window + 1 : 0;
        row.to = p.causal ? position + 1 : 0x7fffffffffffffffLL;
        if (p.ranges.values != nullptr) {
            const long long *const range = static_cast<const long long *>(p.ranges.values) + b * p.ranges.batch_stride +
                                           row.query * p.ranges.query_stride;
            row.from = range[0] > row.from ? range[0] : row.from;
            row.to = range[1] < row.to ? range[1] : row.to;
        }
    }
    return row;
}

DEVICE bool sees(const Row &row, long long position) { return position >= row.from && position < row.to; }

// Number of a row among [batch][heads][count]
DEVICE long long place_of(const Problem &p, int b, const Row &row) {
    return (static_cast<long long>(b) * p.heads + row.head) * p.count + row.query;
}

// Rows first .. first + rows - 1 of a key/value head: whether none of them can see the tile, by causal and window alone.
DEVICE bool hidden_tile(const Problem &p, int b, const Tile &tile, int first, int rows) {
    const int group = p.heads / p.kv_heads;
    const long long start = p.rows[b].first_position;
    const int last = (first + rows - 1) / group;
    return (p.causal && tile.position > start + (last < p.count ? last : p.count - 1)) ||
           (p.window > 0 && tile.position + tile.length <= start + first / group - p.window + 1);
}

DEVICE bool has_tables(const Problem &p) {
    return p.keys.values != nullptr || p.visible.values != nullptr || p.bias.values != nullptr;
}

// What is added to a score; -infinity where a table hides the key. The position is one that the row sees.
DEVICE float bias_of(const Problem &p, int b, const Row &row, long long position) {
    if (p.keys.values != nullptr &&
        static_cast<const unsigned char *>(p.keys.values)[b * p.keys.batch_stride + position] == 0) {
        return minus_infinity();
    }
    if (p.visible.values != nullptr &&
        static_cast<const unsigned char *>(p.visible.values)[b * p.visible.batch_stride + row.head * p.visible.head_stride +
                                                             row.query * p.visible.query_stride + position] == 0) {
        return minus_infinity();
    }
    if (p.bias.values == nullptr) {
        return 0.0f;
    }
    return static_cast<const float *>(p.bias.values)[b * p.bias.batch_stride + row.head * p.bias.head_stride +
                                                     row.query * p.bias.query_stride + position];
}

// q.k of a key that the row sees, to its score; slope becomes d score / d (q.k).
DEVICE float score_of(const Problem &p, int b, const Row &row, long long position, float dot, float *slope = nullptr) {
    float score = dot * p.scale;
    float bend = 1.0f;
    if (p.soft_cap > 0.0f) {
        const float bent = tanhf(score / p.soft_cap);
        score = p.soft_cap * bent;
        bend = 1.0f - bent * bent;
    }
    if (slope != nullptr) {
        *slope = bend * p.scale;
    }
    if (has_tables(p)) {
        const float bias = bias_of(p, b, row, position);
        score = bias == minus_infinity() ? bias : score + bias;
    }
    return score;
}

// Dropout's convention (docs/conventions.md)
DEVICE unsigned long long fold(unsigned long long key, unsigned long long word) {
    unsigned long long z = (key ^ word) + 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

DEVICE unsigned finish(unsigned word) {
    unsigned h = (word ^ (word >> 16)) * 0x85EBCA6Bu;
    h = (h ^ (h >> 13)) * 0xC2B2AE35u;
    return h ^ (h >> 16);
}

DEVICE unsigned long long dropout_key(const Problem &p, int b, const Row &row) {
    unsigned long long key = fold(p.dropout_seed, static_cast<unsigned long long>(static_cast<long long>(p.dropout_layer)));
    key = fold(key, static_cast<unsigned long long>(static_cast<long long>(p.first_batch_row) + b));
    key = fold(key, static_cast<unsigned long long>(row.head));
    return fold(key, static_cast<unsigned long long>(p.rows[b].first_position + row.query));
}

DEVICE bool keeps(const Problem &p, unsigned long long row_key, long long position) {
    const unsigned long long at = static_cast<unsigned long long>(position);
    const unsigned word = static_cast<unsigned>(at) ^ static_cast<unsigned>(at >> 32) * 0x7F4A7C15u;
    const unsigned draw = finish(finish(word ^ static_cast<unsigned>(row_key)) ^ static_cast<unsigned>(row_key >> 32)) >> 1;
    return draw >= static_cast<unsigned>(p.dropout_threshold);
}

// Sums and maxima over 32 lanes, the same in each.
DEVICE float warp_sum(float x) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes >>= 1) {
        x += shuffle_xor(x, lanes);
    }
    return x;
}

DEVICE float warp_max(float x) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes >>= 1) {
        x = fmaxf(x, shuffle_xor(x, lanes));
    }
    return x;
}

// A score to take a maximum of: fmaxf would overlook NaN, and a row of nothing else would look empty.
DEVICE float comparable(float score) { return score == score ? score : 0.0f; }

// e^(score - max) where something was seen, else 0
DEVICE float weight_of(float score, float max) { return max == minus_infinity() ? 0.0f : exp_of(score - max); }

// The lse of a row of weights relative to max that add up to sum.
DEVICE float lse_of(float max, float sum) { return max == minus_infinity() ? max : max + logf(sum); }

constexpr int kFoldTiles = 16;  // tiles after which sums go to a second level: float32's errors grow with the number of additions

constexpr int kTileKeys = 32;  // the most that a tile of the plain and the decode kernels may have: a lane for each

// Online softmax of one row over one tile by a warp: scores[key] holds q.k and becomes the key's weight relative to the maximum so
// far, 0 where the row does not see it or dropout drops it. running: that maximum and the sum of weights before dropout.
// Returns the factor on what was added up before. Between warps the caller synchronises.
DEVICE float soften(const Problem &p, int b, const Row &row, const Tile &tile, float *scores, float *running) {
    const int lane = threadIdx.x & 31;
    const long long position = tile.position + lane;
    const bool seen = lane < tile.length && sees(row, position);
    const float score = seen ? score_of(p, b, row, position, scores[lane]) : minus_infinity();
    const float old_max = running[0], old_sum = running[1];
    const float max = fmaxf(old_max, warp_max(comparable(score)));
    const float weight = weight_of(score, max), shrink = weight_of(old_max, max);
    const float sum = warp_sum(weight);
    const bool dropped = seen && p.dropout_threshold != 0 && !keeps(p, dropout_key(p, b, row), position);
    scores[lane] = dropped ? 0.0f : weight;
    sync_warp();  // all lanes have read
    if (lane == 0) {
        running[0] = max;
        running[1] = old_sum * shrink + sum;
    }
    sync_warp();
    return shrink;
}
