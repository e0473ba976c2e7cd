#include "problem.h"

#include <cmath>
#include <cstdlib>

#include "cpu_features.h"

namespace ta {
namespace {

bool valid(const ta_spec &spec) {
    return spec.batch >= 1 && spec.heads >= 1 && spec.kv_heads >= 1 && spec.heads % spec.kv_heads == 0 &&
           spec.queries >= 1 && spec.head_dim >= 1 && spec.value_dim >= 1 && spec.kv_type >= TA_F32 &&
           spec.kv_type <= TA_F16 && std::isfinite(spec.scale) && spec.soft_cap >= 0 && std::isfinite(spec.soft_cap) &&
           spec.sliding_window >= 0 && (spec.sliding_window == 0 || spec.causal) && spec.dropout_rate >= 0 &&
           spec.dropout_rate < 1 && spec.first_batch_row >= 0;
}

// Whether count steps of stride from at on, at least 0, stay below length; moves at to the last of them.
bool walk(int64_t stride, int64_t count, int64_t length, int64_t *at) {
    if (stride < 0 || (stride > 0 && count - 1 > (length - *at) / stride)) {
        return false;
    }
    *at += stride * (count - 1);
    return true;
}

bool valid(const ta_table &table, const ta_spec &spec) {
    if (table.values == nullptr) {
        return true;
    }
    int64_t last = table.offset;
    return table.length >= 0 && table.offset >= 0 && table.offset <= table.length && table.keys >= 1 &&
           walk(table.batch_stride, spec.batch, table.length, &last) &&
           walk(table.head_stride, spec.heads, table.length, &last) &&
           walk(table.query_stride, spec.queries, table.length, &last) && table.keys <= table.length - last;
}

// Whether every table is whole and covers the positions of all keys.
bool valid(const ta_mask &mask, const ta_spec &spec, const ta_shard *shards) {
    const ta_table *const by_key[] = {&mask.keys, &mask.visible, &mask.bias};
    for (const ta_table *table : by_key) {
        if (!valid(*table, spec)) {
            return false;
        }
        for (int32_t b = 0; table->values != nullptr && b < spec.batch; b++) {
            const ta_shard &shard = shards[b];
            if (shard.page_count > 0 &&
                shard.pages[shard.page_count - 1].start + shard.pages[shard.page_count - 1].length > table->keys) {
                return false;
            }
        }
    }
    return valid(mask.ranges, spec) && mask.keys.head_stride == 0 && mask.keys.query_stride == 0 &&
           mask.ranges.head_stride == 0 && (mask.ranges.values == nullptr || mask.ranges.keys == 2);
}

bool valid(const ta_shard &shard) {
    if (shard.page_count < 0 || shard.page_size < 1 || (shard.page_count > 0 && shard.pages == nullptr)) {
        return false;
    }
    int64_t end = 0;
    for (int64_t i = 0; i < shard.page_count; i++) {
        const ta_page &page = shard.pages[i];
        if (page.keys == nullptr || page.values == nullptr || page.length < 1 || page.length > shard.page_size ||
            page.start < end) {
            return false;
        }
        end = page.start + page.length;
    }
    return true;
}

// Views of the shards in one block of memory that the caller frees; null if there is none to be had.
ShardView *view_shards(const ta_shard *shards, int32_t batch) {
    int64_t pages = 0;
    for (int32_t b = 0; b < batch; b++) {
        pages += shards[b].page_count + 1;
    }
    const size_t views = static_cast<size_t>(batch) * sizeof(ShardView);
    char *const block = static_cast<char *>(std::malloc(views + static_cast<size_t>(pages) * sizeof(int64_t)));
    if (block == nullptr) {
        return nullptr;
    }
    ShardView *const view = reinterpret_cast<ShardView *>(block);
    int64_t *index = reinterpret_cast<int64_t *>(block + views);
    for (int32_t b = 0; b < batch; b++) {
        view[b] = ShardView{shards[b].pages, index, shards[b].page_count, shards[b].page_size};
        *index++ = 0;
        for (int64_t i = 0; i < shards[b].page_count; i++, index++) {
            *index = index[-1] + shards[b].pages[i].length;
        }
    }
    return view;
}

void set_natural(Problem *problem, double natural) {
    constexpr double log2e = 1.4426950408889634;
    problem->natural = natural;
    problem->factor = static_cast<float>(natural * log2e);
    problem->factor_low = static_cast<float>(natural * log2e - static_cast<double>(problem->factor));
}

Problem problem_of(const ta_spec &spec, const ta_mask &mask) {
    Problem problem{};
    problem.spec = spec;
    problem.group = spec.heads / spec.kv_heads;
    problem.rows = static_cast<int64_t>(spec.queries) * problem.group;
    problem.score_dim = spec.head_dim;
    constexpr double smallest = 1.1754943508222875e-38;  // a scale below is 0 in float32
    problem.query_factor = spec.scale >= smallest ? 1.0f : spec.scale <= -smallest ? -1.0f : 0.0f;
    // With a soft cap scores leave the cap as natural logits, with a bias they are made such; else the scale goes into the
    // exponent.
    const bool natural = spec.soft_cap > 0 || mask.bias.values != nullptr || problem.query_factor == 0;
    set_natural(&problem, natural ? 1 : std::fabs(spec.scale));
    problem.score_scale = natural && !(spec.soft_cap > 0) && problem.query_factor != 0
                              ? static_cast<float>(std::fabs(spec.scale))
                              : 1.0f;
    problem.out_scale = static_cast<float>(1 / (1 - spec.dropout_rate));
    problem.drop_below = static_cast<int32_t>(spec.dropout_rate * 2147483648.0);
    problem.mask = mask;
    problem.names_keys = mask.keys.values != nullptr || mask.visible.values != nullptr || mask.bias.values != nullptr;
    return problem;
}

// The first local index whose position is at least position.
int64_t index_of(const ShardView &shard, int64_t position) {
    int64_t low = 0, high = shard.page_count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (shard.pages[middle].start + shard.pages[middle].length <= position) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == shard.page_count || position <= shard.pages[low].start) {
        return shard.first_index[low];
    }
    return shard.first_index[low] + (position - shard.pages[low].start);
}

}  // namespace

const Kernels *kernels_of(int32_t isa) {
    switch (isa) {
        case TA_ISA_GENERIC: return &kernels_generic;
#if defined(__x86_64__)
        case TA_ISA_AVX2: return &kernels_avx2;
        case TA_ISA_AVX512: return &kernels_avx512;
#endif
        default: return nullptr;
    }
}

OwnedProblem::~OwnedProblem() { std::free(shards_); }

ta_status OwnedProblem::open(const ta_spec &spec, const float *q, const int64_t *first_positions, const ta_shard *shards,
                             const ta_mask *mask) {
    if (!valid(spec) || q == nullptr || first_positions == nullptr || shards == nullptr) {
        return TA_INVALID_ARGUMENT;
    }
    for (int32_t b = 0; b < spec.batch; b++) {
        if (!valid(shards[b])) {
            return TA_INVALID_ARGUMENT;
        }
    }
    const ta_mask hidden = mask == nullptr ? ta_mask{} : *mask;
    if (!valid(hidden, spec, shards)) {
        return TA_INVALID_ARGUMENT;
    }
    const int32_t isa = spec.isa == TA_ISA_ACTIVE ? active_isa() : spec.isa;
    if (isa < TA_ISA_GENERIC || isa > best_isa()) {
        return TA_UNSUPPORTED_ISA;
    }
    shards_ = view_shards(shards, spec.batch);
    if (shards_ == nullptr) {
        return TA_OUT_OF_MEMORY;
    }
    kernels = kernels_of(isa);
    problem = problem_of(spec, hidden);
    problem.q = q;
    problem.first_positions = first_positions;
    problem.shards = shards_;
    return TA_OK;
}

void OwnedProblem::put(const ta_rows &rows) {
    problem.result = rows;
    problem.out_dim = rows.out == nullptr ? 0 : problem.spec.value_dim;
    problem.value_stride = (problem.out_dim + 31) / 32 * 32;
}

// Scores are then one product of longer rows: the scale goes into q, and they are natural logits.
void OwnedProblem::add_source(const float *source) {
    problem.source = source;
    problem.score_dim += problem.spec.value_dim;
    problem.query_factor = static_cast<float>(problem.spec.scale);
    problem.score_scale = 1;
    set_natural(&problem, 1);
}

void visible_keys(const Problem &problem, int32_t batch, int64_t first_row, int64_t last_row, int64_t *from, int64_t *to) {
    const ShardView &shard = problem.shards[batch];
    const int64_t first_query = first_row / problem.group, last_query = last_row / problem.group;
    int64_t first = INT64_MIN, end = INT64_MAX;
    if (problem.spec.causal) {
        end = problem.first_positions[batch] + last_query + 1;
        if (problem.spec.sliding_window > 0) {
            first = problem.first_positions[batch] + first_query - problem.spec.sliding_window + 1;
        }
    }
    const ta_table &table = problem.mask.ranges;
    if (table.values != nullptr) {
        int64_t low = INT64_MAX, high = INT64_MIN;
        const int64_t *row = static_cast<const int64_t *>(table.values) + table.offset + batch * table.batch_stride +
                             first_query * table.query_stride;
        for (int64_t query = first_query; query <= last_query; query++, row += table.query_stride) {
            if (row[0] < row[1]) {
                low = row[0] < low ? row[0] : low;
                high = row[1] > high ? row[1] : high;
            }
        }
        first = low > first ? low : first;
        end = high < end ? high : end;
    }
    *to = index_of(shard, end);
    *from = index_of(shard, first) / kTileKeys * kTileKeys;
    *from = *from < *to ? *from : *to;
}

}  // namespace ta
