// ta_scratch_bytes: what the threads' working memory adds up to.

#include "scratch.h"

#include <atomic>

#include "tree_attention.h"

namespace ta {
namespace {

std::atomic<int64_t> total{0};

}  // namespace

void count_scratch(int64_t bytes) { total.fetch_add(bytes, std::memory_order_relaxed); }

}  // namespace ta

int64_t ta_scratch_bytes(void) { return ta::total.load(std::memory_order_relaxed); }
