// Walking the keys of a shard: where the rows of some local keys lie.
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

    // The next keys' positions; the cursor stays where it is.
    void peek(int count, int64_t *positions) const {
        KeyCursor ahead = *this;
        for (int j = 0; j < count;) {
            const Run run = ahead.next(count - j);
            for (int i = 0; i < run.count; i++, j++) {
                positions[j] = run.position + i;
            }
        }
    }

    void skip(int count) {
        while (count > 0) {
            count -= next(count).count;
        }
    }

   private:
    const ShardView &shard_;
    int64_t page_;
    int64_t offset_;
    int64_t first_row_;
};

}  // namespace TA_TIER
}  // namespace ta
