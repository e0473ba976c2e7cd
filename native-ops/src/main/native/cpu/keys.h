// Walking the keys of a shard: where the rows of some local keys lie, and which of them a query row sees.
#pragma once

namespace ta {
namespace TA_TIER {

// Local keys of one KV head in ascending order, page by page.
class KeyCursor {
   public:
    KeyCursor(const Problem &p, const Unit &u, int64_t index) : shard_(p.shards[u.batch]) {
        int64_t low = 0, high = shard_.page_count;
        while (high - low > 1) {
            const int64_t middle = low + (high - low) / 2;
            (shard_.first_index[middle] <= index ? low : high) = middle;
        }
        page_ = low;
        offset_ = index - shard_.first_index[low];
        first_row_ = u.kv_head * shard_.page_size;
    }

    // The next keys that lie side by side, at most `most` of them.
    struct Run {
        const ta_page *page;
        int64_t row;       // row of [kv_heads * page_size] rows in the page
        int64_t position;  // global position of the first
        int count;
    };

    Run next(int64_t most) {
        if (offset_ == shard_.pages[page_].length) {
            page_++;
            offset_ = 0;
        }
        const ta_page &page = shard_.pages[page_];
        const int64_t left = page.length - offset_;
        const Run run{&page, first_row_ + offset_, page.start + offset_, smaller(left, most)};
        offset_ += run.count;
        return run;
    }

   private:
    const ShardView &shard_;
    int64_t page_;
    int64_t offset_;
    int64_t first_row_;
};

// positions: [keys] ascending. For each row the keys lo[row] <= j < hi[row] are visible; both ascend with the row.
INLINE void visible_range(const Problem &p, const Unit &u, const int64_t *positions, int keys, int rows, float *lo, float *hi) {
    int from = 0, to = 0;
    for (int r = 0; r < rows; r++) {
        if (r < u.row_count) {
            const int64_t position = position_of(p, u, u.first_row + r);
            const int64_t first = first_visible(p, position), last = last_visible(p, position);
            while (to < keys && positions[to] <= last) {
                to++;
            }
            while (from < to && positions[from] < first) {
                from++;
            }
        }
        lo[r] = static_cast<float>(from);
        hi[r] = static_cast<float>(to);
    }
}

// Whether every row of the unit sees all keys from position first to position last.
INLINE bool all_visible(const Problem &p, const Unit &u, int64_t first, int64_t last) {
    const int64_t low = position_of(p, u, u.first_row), high = position_of(p, u, u.first_row + u.row_count - 1);
    return last <= last_visible(p, low) && first >= first_visible(p, high);
}

}  // namespace TA_TIER
}  // namespace ta
