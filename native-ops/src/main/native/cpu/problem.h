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

    // Fills problem and kernels, except for the problem's state.
    ta_status open(const ta_spec &spec, const float *q, const int64_t *first_positions, const ta_shard *shards);

    Problem problem{};
    const Kernels *kernels = nullptr;

   private:
    ShardView *shards_ = nullptr;
};

}  // namespace ta
