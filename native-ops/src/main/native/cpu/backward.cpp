// ta_backward: cuts the work into units and runs them on the pool.
//
// A unit is a KV head and every C-th block of the group's query rows (every C-th, so that causal work is spread evenly).
// Rows of dq belong to one unit each; keys are shared by a head's C units, which therefore sum into arrays of their own
// that are added in order afterwards. C depends on shapes alone: the same call gives the same bits on any number of threads.

#include <cstdlib>

#include "problem.h"
#include "scratch.h"
#include "thread_pool.h"

namespace ta {
namespace {

constexpr int64_t kUnitsWanted = 16;
constexpr int64_t kAddedAtOnce = 1 << 16;

struct BackwardPlan {
    const Problem *problem;
    const Kernels *kernels;
    const ta_backward_params *params;
    int64_t blocks;      // row blocks of a KV head
    int64_t lanes;       // units of a KV head: C above
    float *sums;         // lanes 1.. of all heads: [lanes - 1][floats]
    int64_t floats;      // of dkeys and dvalues of all batch rows
    bool out_of_memory;
};

thread_local Scratch backward_scratch;

int64_t keys_of(const Problem &problem, int32_t batch) {
    return problem.shards[batch].first_index[problem.shards[batch].page_count];
}

// Floats of the gradients of all batch rows before this one.
int64_t floats_before(const Problem &problem, int32_t batch) {
    int64_t keys = 0;
    for (int32_t b = 0; b < batch; b++) {
        keys += keys_of(problem, b);
    }
    return keys * problem.spec.kv_heads * (problem.spec.head_dim + problem.spec.value_dim);
}

// Where a unit of this lane sums the gradients of a head's keys.
Gradients gradients_of(const BackwardPlan &plan, int32_t batch, int32_t kv_head, int64_t lane) {
    const ta_spec &spec = plan.problem->spec;
    const int64_t keys = keys_of(*plan.problem, batch);
    float *dkeys = plan.params->dkeys[batch];
    float *dvalues = plan.params->dvalues[batch];
    if (lane > 0) {
        dkeys = plan.sums + (lane - 1) * plan.floats + floats_before(*plan.problem, batch);
        dvalues = dkeys + keys * spec.kv_heads * spec.head_dim;
    }
    return Gradients{plan.params->row_gradients, plan.params->dq, dkeys + kv_head * keys * spec.head_dim,
                     dvalues + kv_head * keys * spec.value_dim};
}

void run_lane(void *context, int64_t item) {
    BackwardPlan &plan = *static_cast<BackwardPlan *>(context);
    const Problem &problem = *plan.problem;
    const int64_t lane = item % plan.lanes, head = item / plan.lanes;
    Unit unit{};
    unit.kv_head = static_cast<int32_t>(head % problem.spec.kv_heads);
    unit.batch = static_cast<int32_t>(head / problem.spec.kv_heads);
    const Gradients gradients = gradients_of(plan, unit.batch, unit.kv_head, lane);
    void *const scratch = backward_scratch.reserve(plan.kernels->backward_scratch(&problem));
    if (scratch == nullptr) {
        __atomic_store_n(&plan.out_of_memory, true, __ATOMIC_RELAXED);
        return;
    }
    for (int64_t block = lane; block < plan.blocks; block += plan.lanes) {
        unit.first_row = block * plan.kernels->backward_rows;
        const int64_t left = problem.rows - unit.first_row;
        unit.row_count = left < plan.kernels->backward_rows ? static_cast<int32_t>(left) : plan.kernels->backward_rows;
        visible_keys(problem, unit.batch, unit.first_row, unit.first_row + unit.row_count - 1, &unit.from, &unit.to);
        if (unit.from == unit.to) {
            continue;
        }
        plan.kernels->backward(&problem, &unit, &gradients, scratch);
    }
}

// Adds lanes 1.. of one piece of one batch row's gradients to the caller's arrays, in lane order.
struct Addition {
    const BackwardPlan *plan;
    const float *first;  // lane 1
    float *to;
    int64_t count;
};

void add_piece(void *context, int64_t item) {
    const Addition &addition = *static_cast<Addition *>(context);
    const int64_t from = item * kAddedAtOnce;
    const int64_t to = from + kAddedAtOnce < addition.count ? from + kAddedAtOnce : addition.count;
    for (int64_t lane = 0; lane < addition.plan->lanes - 1; lane++) {
        const float *const source = addition.first + lane * addition.plan->floats;
        for (int64_t i = from; i < to; i++) {
            addition.to[i] += source[i];
        }
    }
}

void add_lanes(const BackwardPlan &plan) {
    const ta_spec &spec = plan.problem->spec;
    for (int32_t b = 0; b < spec.batch; b++) {
        const int64_t rows = keys_of(*plan.problem, b) * spec.kv_heads;
        const float *const first = plan.sums + floats_before(*plan.problem, b);
        Addition keys{&plan, first, plan.params->dkeys[b], rows * spec.head_dim};
        run_parallel((keys.count + kAddedAtOnce - 1) / kAddedAtOnce, add_piece, &keys);
        Addition values{&plan, first + keys.count, plan.params->dvalues[b], rows * spec.value_dim};
        run_parallel((values.count + kAddedAtOnce - 1) / kAddedAtOnce, add_piece, &values);
    }
}

// pass 1: every unit sums; pass 2: the sums of a head's units are added
ta_status run_backward(const Problem &problem, const Kernels &kernels, const ta_backward_params &params) {
    BackwardPlan plan{};
    plan.problem = &problem;
    plan.kernels = &kernels;
    plan.params = &params;
    plan.blocks = (problem.rows + kernels.backward_rows - 1) / kernels.backward_rows;
    const int64_t heads = static_cast<int64_t>(problem.spec.batch) * problem.spec.kv_heads;
    plan.lanes = (kUnitsWanted + heads - 1) / heads;
    plan.lanes = plan.lanes < plan.blocks ? plan.lanes : plan.blocks;
    plan.floats = floats_before(problem, problem.spec.batch);
    if (plan.lanes > 1) {
        plan.sums = static_cast<float *>(
            std::calloc(static_cast<size_t>((plan.lanes - 1) * plan.floats) + 1, sizeof(float)));
        if (plan.sums == nullptr) {
            return TA_OUT_OF_MEMORY;
        }
    }
    run_parallel(heads * plan.lanes, run_lane, &plan);
    if (plan.lanes > 1 && !plan.out_of_memory) {
        add_lanes(plan);
    }
    std::free(plan.sums);
    return plan.out_of_memory ? TA_OUT_OF_MEMORY : TA_OK;
}

}  // namespace
}  // namespace ta

ta_status ta_backward(const ta_backward_params *params) {
    if (params == nullptr || params->rows.out == nullptr || params->rows.lse == nullptr ||
        params->row_gradients.out == nullptr || params->dq == nullptr || params->dkeys == nullptr || params->dvalues == nullptr) {
        return TA_INVALID_ARGUMENT;
    }
    ta::OwnedProblem owned;
    const ta_status status = owned.open(params->spec, params->q, params->first_positions, params->shards, params->mask);
    if (status != TA_OK) {
        return status;
    }
    owned.put(params->rows);
    return ta::run_backward(owned.problem, *owned.kernels, *params);
}
