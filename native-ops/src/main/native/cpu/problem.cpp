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
           spec.sliding_window >= 0 && (spec.sliding_window == 0 || spec.causal);
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

Problem problem_of(const ta_spec &spec) {
    constexpr double log2e = 1.4426950408889634;
    Problem problem{};
    problem.spec = spec;
    problem.group = spec.heads / spec.kv_heads;
    problem.rows = static_cast<int64_t>(spec.queries) * problem.group;
    problem.value_stride = (spec.value_dim + 31) / 32 * 32;
    problem.query_sign = spec.scale > 0 ? 1.0f : spec.scale < 0 ? -1.0f : 0.0f;
    // With a soft cap scores leave the cap as natural logits; else the scale goes into the exponent.
    problem.natural = spec.soft_cap > 0 || spec.scale == 0 ? 1 : std::fabs(spec.scale);
    problem.factor = static_cast<float>(problem.natural * log2e);
    problem.factor_low = static_cast<float>(problem.natural * log2e - static_cast<double>(problem.factor));
    return problem;
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

ta_status OwnedProblem::open(const ta_spec &spec, const float *q, const int64_t *first_positions, const ta_shard *shards) {
    if (!valid(spec) || q == nullptr || first_positions == nullptr || shards == nullptr) {
        return TA_INVALID_ARGUMENT;
    }
    for (int32_t b = 0; b < spec.batch; b++) {
        if (!valid(shards[b])) {
            return TA_INVALID_ARGUMENT;
        }
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
    problem = problem_of(spec);
    problem.q = q;
    problem.first_positions = first_positions;
    problem.shards = shards_;
    return TA_OK;
}

}  // namespace ta
