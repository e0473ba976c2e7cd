// ta_partial: checks the arguments, cuts the work into units and runs them on the pool.
//
// How the work is cut depends on shapes and masks alone, never on the number of threads, and partial results merge in key order:
// the same call gives the same bits on any number of threads.

#include "problem.h"
#include "scratch.h"
#include "thread_pool.h"

namespace ta {
namespace {

constexpr int64_t kUnitsWanted = 256;        // enough for an even load on many cores, where rows are few
constexpr int64_t kTileUnitsWanted = 64;     // the same, where rows are many and so partial results large
constexpr int64_t kSmallestSplit = 2 * kTileKeys;
constexpr int64_t kInlineWork = 1 << 18;     // multiply-adds below which waking a thread costs more than it gains
constexpr size_t kPartialBytes = 4u << 20;   // bound on the memory of partial results

// The units of a call, numbered batch row by batch row; within one: last row block first, then split, then head.
struct Plan {
    const Problem *problem;
    const Kernels *kernels;
    bool decode;
    int32_t block_rows;
    int64_t blocks;        // row blocks of a KV head
    int64_t split_keys;    // keys of a split
    int64_t splits;        // splits of a row block, the same for all; those beyond its keys are empty
    Partial partials;      // [batch][kv_heads][blocks][splits][block_rows], null where splits == 1
    bool out_of_memory;
};

thread_local Scratch thread_scratch;
thread_local Scratch call_scratch;

int64_t block_end(const Plan &plan, int64_t block) {
    const int64_t end = (block + 1) * plan.block_rows;
    return end < plan.problem->rows ? end : plan.problem->rows;
}

// Chooses the split so that about as many units of equal work as wanted come out, within kPartialBytes.
void choose_splits(Plan *plan) {
    const Problem &problem = *plan->problem;
    const int64_t row_units = problem.spec.batch * static_cast<int64_t>(problem.spec.kv_heads) * plan->blocks;
    plan->splits = 1;
    plan->split_keys = INT64_MAX / 2;
    const int64_t wanted = plan->decode ? kUnitsWanted : kTileUnitsWanted;
    if (row_units >= wanted) {
        return;
    }
    int64_t total = 0, longest = 0;
    for (int32_t b = 0; b < problem.spec.batch; b++) {
        for (int64_t block = 0; block < plan->blocks; block++) {
            int64_t from, to;
            visible_keys(problem, b, block * plan->block_rows, block_end(*plan, block) - 1, &from, &to);
            total += (to - from) * problem.spec.kv_heads;
            longest = to - from > longest ? to - from : longest;
        }
    }
    const int64_t row_bytes = (problem.value_stride + 1) * static_cast<int64_t>(sizeof(float)) + static_cast<int64_t>(sizeof(double));
    const int64_t most = static_cast<int64_t>(kPartialBytes) / (row_units * plan->block_rows * row_bytes);
    int64_t keys = total / wanted;
    keys = most < 1 || keys * most < longest ? longest / (most < 1 ? 1 : most) + 1 : keys;
    keys = keys < kSmallestSplit ? kSmallestSplit : keys;
    keys = (keys + kTileKeys - 1) / kTileKeys * kTileKeys;
    if (keys < longest) {
        plan->split_keys = keys;
        plan->splits = (longest + keys - 1) / keys;
    }
}

Partial partial_of(const Plan &plan, int64_t index) {
    const int64_t row = index * plan.block_rows;
    return Partial{plan.partials.out + row * plan.problem->value_stride, plan.partials.max + row, plan.partials.sum + row};
}

// Row blocks are numbered from the last (the longest under a causal mask) so that no long unit starts late.
Unit row_unit(const Plan &plan, int64_t number) {
    const ta_spec &spec = plan.problem->spec;
    Unit unit{};
    unit.kv_head = static_cast<int32_t>(number % spec.kv_heads);
    number /= spec.kv_heads;
    unit.batch = static_cast<int32_t>(number % spec.batch);
    const int64_t block = plan.blocks - 1 - number / spec.batch;
    unit.first_row = block * plan.block_rows;
    unit.row_count = static_cast<int32_t>(block_end(plan, block) - unit.first_row);
    return unit;
}

void run_unit(void *context, int64_t item) {
    Plan &plan = *static_cast<Plan *>(context);
    const Problem &problem = *plan.problem;
    const int64_t row_units = problem.spec.batch * static_cast<int64_t>(problem.spec.kv_heads) * plan.blocks;
    const int64_t split = item / row_units, row_number = item % row_units;
    Unit unit = row_unit(plan, row_number);
    visible_keys(problem, unit.batch, unit.first_row, unit.first_row + unit.row_count - 1, &unit.from, &unit.to);
    if (plan.splits > 1) {
        const int64_t from = unit.from + split * plan.split_keys;
        unit.from = from < unit.to ? from : unit.to;
        unit.to = unit.from + plan.split_keys < unit.to ? unit.from + plan.split_keys : unit.to;
        unit.partial = partial_of(plan, row_number * plan.splits + split);
    }
    const size_t bytes =
        plan.decode ? plan.kernels->decode_scratch(&problem) : plan.kernels->tile_scratch(&problem);
    void *const scratch = thread_scratch.reserve(bytes);
    if (scratch == nullptr) {
        __atomic_store_n(&plan.out_of_memory, true, __ATOMIC_RELAXED);
        return;
    }
    (plan.decode ? plan.kernels->decode : plan.kernels->tile)(&problem, &unit, scratch);
}

void merge_unit(void *context, int64_t item) {
    const Plan &plan = *static_cast<Plan *>(context);
    const Unit unit = row_unit(plan, item);
    const Partial first = partial_of(plan, item * plan.splits);
    plan.kernels->merge(plan.problem, &unit, &first, plan.splits, plan.block_rows);
}

// pass 1: cut; pass 2: every unit's rows against its keys; pass 3: merge the splits of a row block
ta_status run(const Problem &problem, const Kernels &kernels) {
    Plan plan{};
    plan.problem = &problem;
    plan.kernels = &kernels;
    plan.decode = problem.rows <= kernels.decode_rows && problem.out_dim > 0 && problem.source == nullptr;
    plan.block_rows = plan.decode ? static_cast<int32_t>(problem.rows) : kernels.tile_rows;
    plan.block_rows = problem.rows < plan.block_rows ? static_cast<int32_t>(problem.rows) : plan.block_rows;
    plan.blocks = (problem.rows + plan.block_rows - 1) / plan.block_rows;
    choose_splits(&plan);
    const int64_t row_units = problem.spec.batch * static_cast<int64_t>(problem.spec.kv_heads) * plan.blocks;
    if (plan.splits > 1) {
        const int64_t rows = row_units * plan.splits * plan.block_rows;
        Carver measure(nullptr);
        for (int pass = 0; pass < 2; pass++) {
            void *const block = pass == 0 ? nullptr : call_scratch.reserve(measure.used());
            if (pass == 1 && block == nullptr) {
                return TA_OUT_OF_MEMORY;
            }
            Carver carver(block);
            plan.partials.out = carver.take<float>(rows * problem.value_stride);
            plan.partials.max = carver.take<float>(rows);
            plan.partials.sum = carver.take<double>(rows);
            measure = carver;
        }
    }
    int64_t keys = 0;
    for (int32_t b = 0; b < problem.spec.batch; b++) {
        keys += problem.shards[b].first_index[problem.shards[b].page_count];
    }
    const int64_t work =
        keys * problem.spec.heads * problem.spec.queries * (problem.score_dim + problem.out_dim);
    const int64_t units = row_units * plan.splits;
    if (work < kInlineWork) {
        for (int64_t i = 0; i < units; i++) {
            run_unit(&plan, i);
        }
    } else {
        run_parallel(units, run_unit, &plan);
    }
    if (plan.out_of_memory) {
        return TA_OUT_OF_MEMORY;
    }
    for (int64_t i = 0; plan.splits > 1 && i < row_units; i++) {
        merge_unit(&plan, i);
    }
    return TA_OK;
}

}  // namespace

}  // namespace ta

ta_status ta_partial(const ta_partial_params *params) {
    if (params == nullptr || params->rows.lse == nullptr ||
        (params->rows.out == nullptr && params->spec.dropout_rate != 0) ||
        (params->source != nullptr && params->spec.soft_cap != 0)) {
        return TA_INVALID_ARGUMENT;
    }
    ta::OwnedProblem owned;
    const ta_status status = owned.open(params->spec, params->q, params->first_positions, params->shards, params->mask);
    if (status != TA_OK) {
        return status;
    }
    owned.put(params->rows);
    if (params->source != nullptr) {
        owned.add_source(params->source);
    }
    return ta::run(owned.problem, *owned.kernels);
}

int32_t ta_threads(void) { return ta::pool_threads(); }

ta_status ta_set_threads(int32_t threads) {
    if (threads < 1) {
        return TA_INVALID_ARGUMENT;
    }
    ta::set_pool_threads(threads);
    return TA_OK;
}
