// What the driver hands to a kernel, and the table of kernels that each instruction-set tier provides.
// Plain data only: the same header is compiled for every tier.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tree_attention.h"

namespace ta {

// One batch row's keys with the local index (0, 1, 2.. over all pages) of each page's first row.
struct ShardView {
    const ta_page *pages;
    const int64_t *first_index;  // [page_count + 1]
    int64_t page_count;
    int64_t page_size;
};

// Rows of a KV head: row = query * group + (head within the group), so that positions ascend with the row.
struct Problem {
    ta_spec spec;
    int32_t group;
    int64_t rows;           // queries * group
    int32_t score_dim;      // products of a score: head_dim, and value_dim more with a source
    int32_t out_dim;        // value_dim; 0 where only the lse is wanted
    int32_t value_stride;   // floats from one partial row to the next: out_dim rounded up to a multiple of 32
    float factor;           // exp(scale * s) = exp2(factor * s) for a raw dot product s, or a soft-capped score
    float factor_low;       // what rounding took from factor
    double natural;         // scale of m in the natural lse: lse = natural * m + log l
    float query_factor;     // of q: -1 for a negative scale, 0 for scale 0, else 1; with a source the scale itself
    float score_scale;      // makes scores natural logits, which a bias is added to; 1 where they are
    float out_scale;        // 1 / (1 - dropout rate)
    int32_t drop_below;     // draws below it are dropped; 0 for no dropout
    bool names_keys;        // whether the mask hides or biases single keys
    ta_mask mask;
    const float *q;
    const float *source;    // null for none
    const int64_t *first_positions;
    const ShardView *shards;
    ta_rows result;         // no out where only the lse is wanted
};

// The running softmax of some rows: out is not yet divided by sum; max is in units of raw scores. A tile's weights are summed
// in float32, tiles in double: a float32 sum of 65536 like terms would be off by 1e-4 and so would be lse.
struct Partial {
    float *out;   // [rows][value_stride]
    float *max;   // [rows]
    double *sum;  // [rows], 0 where no key was seen
};

// Rows first_row .. first_row + row_count - 1 of one KV head of one batch row, against local keys from..to-1.
struct Unit {
    int32_t batch;
    int32_t kv_head;
    int64_t first_row;
    int32_t row_count;
    int64_t from;
    int64_t to;
    Partial partial;  // where the result goes; out == null to finish the rows into the state
};

// What a backward unit reads and adds to, beside the problem; problem.result is read.
struct Gradients {
    ta_rows rows;    // of the problem's rows; no lse for zeros
    float *dq;       // as q
    float *dkeys;    // [keys][head_dim] of the unit's batch row and KV head
    float *dvalues;  // [keys][value_dim]
};

struct Kernels {
    int32_t tile_rows;    // the most rows of a unit on the tile path
    int32_t decode_rows;  // the most rows of a unit on the decode path
    size_t (*tile_scratch)(const Problem *problem);
    void (*tile)(const Problem *problem, const Unit *unit, void *scratch);
    size_t (*decode_scratch)(const Problem *problem);
    void (*decode)(const Problem *problem, const Unit *unit, void *scratch);
    // Merges the partials of the unit's rows in split order and writes the rows to the state. first: that of split 0,
    // overwritten; the others follow it block_rows rows apart.
    void (*merge)(const Problem *problem, const Unit *unit, const Partial *first, int64_t splits, int64_t block_rows);
    // Adds what the unit's rows contribute to the gradients of its keys and of themselves.
    int32_t backward_rows;  // the most rows of a backward unit
    size_t (*backward_scratch)(const Problem *problem);
    void (*backward)(const Problem *problem, const Unit *unit, const Gradients *gradients, void *scratch);
    double (*fma_loop)(int64_t steps, float *result);  // returns its floating-point operations
    void (*read_loop)(const float *memory, int64_t count, float *result);
};

extern const Kernels kernels_generic;
#if defined(__x86_64__)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

// The kernels of a tier, null if this build has none. Not whether the machine can run them.
const Kernels *kernels_of(int32_t isa);

constexpr int kTileKeys = 128;  // keys of a tile; splits of the keys end on multiples of it

}  // namespace ta
