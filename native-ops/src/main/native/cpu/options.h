// What a call's mask adds to scores, and which weights dropout drops: per row, set up once per unit.
#pragma once

namespace ta {
namespace TA_TIER {

// The generator of docs/conventions.md.
INLINE uint64_t fold(uint64_t key, uint64_t word) {
    uint64_t z = (key ^ word) + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

INLINE uint32_t mix(uint32_t h) {
    h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
    h = (h ^ (h >> 13)) * 0xC2B2AE35u;
    return h ^ (h >> 16);
}

INLINE uint32_t word_of(int64_t position) {
    const uint64_t bits = static_cast<uint64_t>(position);
    return static_cast<uint32_t>(bits) ^ static_cast<uint32_t>(bits >> 32) * 0x7F4A7C15u;
}

INLINE bool dropped(uint32_t word, uint32_t low, uint32_t high, int32_t below) {
    return static_cast<int32_t>(mix(mix(word ^ low) ^ high) >> 1) < below;
}

template <class T>
INLINE const T *row_of_table(const ta_table &table, const Unit &u, int32_t head, int64_t query) {
    return static_cast<const T *>(table.values) + table.offset + u.batch * table.batch_stride + head * table.head_stride +
           query * table.query_stride;
}

struct RowOptions {
    int64_t *first;          // [rows]: positions first..end-1 are visible by position
    int64_t *end;            // [rows]
    int64_t latest_first;    // all rows see positions latest_first .. earliest_end - 1
    int64_t earliest_end;
    const uint8_t *keys;     // by position, and so the following; null where the mask has none
    const uint8_t **visible; // [rows]
    const float **bias;      // [rows]
    uint32_t *drop_low;      // [rows]: the row's dropout key
    uint32_t *drop_high;

    void carve(const Problem &p, Carver *carver, int rows) {
        first = carver->take<int64_t>(rows);
        end = carver->take<int64_t>(rows);
        keys = nullptr;
        visible = p.mask.visible.values == nullptr ? nullptr : carver->take<const uint8_t *>(rows);
        bias = p.mask.bias.values == nullptr ? nullptr : carver->take<const float *>(rows);
        drop_low = carver->take<uint32_t>(p.drop_below > 0 ? rows : 0);
        drop_high = carver->take<uint32_t>(p.drop_below > 0 ? rows : 0);
    }

    // Rows from the unit's last on, up to `rows`, see nothing.
    void start(const Problem &p, const Unit &u, int rows) {
        latest_first = INT64_MIN;
        earliest_end = INT64_MAX;
        if (p.mask.keys.values != nullptr) {
            keys = row_of_table<uint8_t>(p.mask.keys, u, 0, 0);
        }
        for (int r = 0; r < rows; r++) {
            first[r] = end[r] = INT64_MIN;
            if (r < u.row_count) {
                start_row(p, u, r);
                latest_first = first[r] > latest_first ? first[r] : latest_first;
                earliest_end = end[r] < earliest_end ? end[r] : earliest_end;
            } else if (p.drop_below > 0) {
                drop_low[r] = drop_high[r] = 0;
            }
        }
    }

    // Whether every row sees, by position, all keys from position low to position high.
    bool all_visible(int64_t low, int64_t high) const { return low >= latest_first && high < earliest_end; }

    // What is added to a score; -inf where the mask hides the key.
    float bias_at(int r, int64_t position) const {
        const bool hidden = (keys != nullptr && keys[position] == 0) || (visible != nullptr && visible[r][position] == 0);
        return hidden ? kMinusInfinity : bias != nullptr ? bias[r][position] : 0.0f;
    }

   private:
    void start_row(const Problem &p, const Unit &u, int r) {
        const int64_t row = u.first_row + r, query = row / p.group, position = position_of(p, u, row);
        const int32_t head = head_of(p, u, row);
        first[r] = p.spec.sliding_window > 0 ? position - p.spec.sliding_window + 1 : INT64_MIN;
        end[r] = p.spec.causal ? position + 1 : INT64_MAX;
        if (p.mask.ranges.values != nullptr) {
            const int64_t *const range = row_of_table<int64_t>(p.mask.ranges, u, 0, query);
            first[r] = range[0] > first[r] ? range[0] : first[r];
            end[r] = range[1] < end[r] ? range[1] : end[r];
        }
        if (visible != nullptr) {
            visible[r] = row_of_table<uint8_t>(p.mask.visible, u, head, query);
        }
        if (bias != nullptr) {
            bias[r] = row_of_table<float>(p.mask.bias, u, head, query);
        }
        if (p.drop_below > 0) {
            uint64_t key = fold(p.spec.dropout_seed, static_cast<uint64_t>(static_cast<int64_t>(p.spec.dropout_layer)));
            key = fold(key, static_cast<uint64_t>(p.spec.first_batch_row + u.batch));
            key = fold(key, static_cast<uint64_t>(head));
            key = fold(key, static_cast<uint64_t>(position));
            drop_low[r] = static_cast<uint32_t>(key);
            drop_high[r] = static_cast<uint32_t>(key >> 32);
        }
    }
};

// The first index whose position is at least `position`. positions: [count] ascending
INLINE int lower_index(const int64_t *positions, int count, int64_t position) {
    if (position <= positions[0]) {
        return 0;
    }
    if (positions[count - 1] - positions[0] == count - 1) {
        return smaller(position - positions[0], count);
    }
    int low = 0, high = count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (positions[middle] < position) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// For each row the keys lo[row] <= j < hi[row] are visible by position; 0 and 0 where none is.
INLINE void visible_range(const RowOptions &o, const int64_t *positions, int keys, int rows, float *lo, float *hi) {
    for (int r = 0; r < rows; r++) {
        const int from = lower_index(positions, keys, o.first[r]), to = lower_index(positions, keys, o.end[r]);
        lo[r] = from < to ? static_cast<float>(from) : 0.0f;
        hi[r] = from < to ? static_cast<float>(to) : 0.0f;
    }
}

// The keys from..to-1 that some of `rows` rows see by position; from >= to if none is.
INLINE void union_range(const float *lo, const float *hi, int rows, int *from, int *to) {
    float low = static_cast<float>(kTileKeys), high = 0;
    for (int r = 0; r < rows; r++) {
        low = lo[r] < hi[r] && lo[r] < low ? lo[r] : low;
        high = hi[r] > high ? hi[r] : high;
    }
    *from = static_cast<int>(low);
    *to = static_cast<int>(high);
}

// Whether the mask lets some row see one of these keys by name; the tables of pairs are not looked at.
INLINE bool some_key_named(const RowOptions &o, const int64_t *positions, int keys) {
    for (int j = 0; o.keys != nullptr && j < keys; j++) {
        if (o.keys[positions[j]] != 0) {
            return true;
        }
    }
    return o.keys == nullptr;
}

// Whether no row sees any of the next keys, `left` of them but at most a tile; the cursor is then behind them.
INLINE bool skip_tile(const Problem &p, const Unit &u, KeyCursor &cursor, int64_t left, const RowOptions &o, int64_t *positions,
                      float *lo, float *hi) {
    if (p.mask.keys.values == nullptr && p.mask.ranges.values == nullptr) {
        return false;  // unit.from and unit.to say as much
    }
    const int count = smaller(left, kTileKeys);
    cursor.peek(count, positions);
    int from, to;
    visible_range(o, positions, count, u.row_count, lo, hi);
    union_range(lo, hi, u.row_count, &from, &to);
    if (from < to && some_key_named(o, positions + from, to - from)) {
        return false;
    }
    cursor.skip(count);
    return true;
}

// bias[key][width] of rows row .. row + width - 1, of which `rows` exist, and keys from..to-1; -inf where hidden
INLINE void fill_bias(const RowOptions &o, const int64_t *positions, const float *lo, const float *hi, int row, int rows,
                      int width, int from, int to, float *bias) {
    if (o.visible == nullptr && o.bias == nullptr) {  // the same for all rows
        for (int j = from; j < to; j++) {
            const float value = o.keys[positions[j]] == 0 ? kMinusInfinity : 0.0f, key = static_cast<float>(j);
            float *const at = bias + static_cast<int64_t>(j) * width;
            for (int i = 0; i < width; i++) {
                at[i] = key >= lo[row + i] && key < hi[row + i] ? value : kMinusInfinity;
            }
        }
        return;
    }
    for (int i = 0; i < width; i++) {
        const int r = row + i;
        const int first = i < rows ? static_cast<int>(lo[r]) : to, end = i < rows ? static_cast<int>(hi[r]) : from;
        for (int j = from; j < to; j++) {
            bias[static_cast<int64_t>(j) * width + i] = j >= first && j < end ? o.bias_at(r, positions[j]) : kMinusInfinity;
        }
    }
}

// weights[key][width] of rows row .. row + width - 1: dropped ones become 0, others factor times what they were
INLINE void drop_weights(const Problem &p, const RowOptions &o, const int64_t *positions, int row, int width, int from, int to,
                         float factor, float *weights) {
    for (int j = from; j < to; j++) {
        const uint32_t word = word_of(positions[j]);
        float *const at = weights + static_cast<int64_t>(j) * width;
        for (int i = 0; i < width; i++) {
            at[i] = dropped(word, o.drop_low[row + i], o.drop_high[row + i], p.drop_below) ? 0.0f : factor * at[i];
        }
    }
}

}  // namespace TA_TIER
}  // namespace ta
