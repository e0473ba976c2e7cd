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

    // Moves past the next keys.
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

// The rows of the next tile, piece by piece, for dot_block to ask for.
class Ahead {
   public:
    // From where the cursor stands; no further than `left` keys or a tile.
    Ahead(const Problem &p, const KeyCursor &cursor, int64_t left)
        : cursor_(cursor), left_(smaller(left, kTileKeys)), size_(p.spec.kv_type == TA_F32 ? 4 : 2),
          key_bytes_(size_ * p.spec.head_dim), value_bytes_(size_ * p.spec.value_dim) {}

    // Some keys, then their values, then the next keys; `otherwise` where all were given.
    const void *next(const void *otherwise) {
        if (values_ != nullptr) {
            const void *const values = values_;
            values_ = nullptr;
            return values;
        }
        if (left_ <= 0) {
            return otherwise;
        }
        const KeyCursor::Run run = cursor_.next(smaller(left_, kSoonStep < size_ ? 1 : kSoonStep / size_));
        left_ -= run.count;
        values_ = static_cast<const char *>(run.page->values) + run.row * value_bytes_;
        return static_cast<const char *>(run.page->keys) + run.row * key_bytes_;
    }

   private:
    KeyCursor cursor_;
    int64_t left_;
    int size_;
    int64_t key_bytes_;
    int64_t value_bytes_;
    const char *values_ = nullptr;
};

}  // namespace TA_TIER
}  // namespace ta
