// A call's arguments, checked, in the form that kernels take.
#pragma once

#include "kernel_table.h"

namespace ta {

// Owns what the problem points to; lives as long as the call.
class OwnedProblem {
   public:
    OwnedProblem() = default;
    OwnedProblem(const OwnedProblem &) = delete;
    OwnedProblem &operator=(const OwnedProblem &) = delete;
    ~OwnedProblem();

    // Fills problem and kernels; put follows.
    ta_status open(const ta_spec &spec, const float *q, const int64_t *first_positions, const ta_shard *shards,
                   const ta_mask *mask);

    // Where results go; without an out only the lse is computed.
    void put(const ta_rows &rows);

    // Adds source.v to the scores.
    void add_source(const float *source);

    Problem problem{};
    const Kernels *kernels = nullptr;

   private:
    ShardView *shards_ = nullptr;
};

// Local keys that some of the rows first_row..last_row of any KV head see; the start is moved down to a tile border.
void visible_keys(const Problem &problem, int32_t batch, int64_t first_row, int64_t last_row, int64_t *from, int64_t *to);

}  // namespace ta
