// ta_measure_fma, ta_measure_read: what the machine can do at all, measured with the kernels' own instructions.

#include <ctime>

#include "cpu_features.h"
#include "kernel_table.h"
#include "thread_pool.h"

namespace ta {
namespace {

constexpr int64_t kFmaSteps = 200000;
constexpr int64_t kReadFloats = 1 << 18;  // a thread reads 1 MiB at a time

double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Work {
    const Kernels *kernels;
    const float *memory;
    int64_t count;
    double flops;  // of one item
    volatile float sink;
};

void fma_item(void *context, int64_t) {
    Work &work = *static_cast<Work *>(context);
    float result;
    work.flops = work.kernels->fma_loop(kFmaSteps, &result);
    work.sink = result;
}

void read_item(void *context, int64_t item) {
    Work &work = *static_cast<Work *>(context);
    const int64_t from = item * kReadFloats;
    float result;
    work.kernels->read_loop(work.memory + from, from + kReadFloats < work.count ? kReadFloats : work.count - from, &result);
    work.sink = result;
}

const Kernels *tier(int32_t isa) {
    const int32_t wanted = isa == TA_ISA_ACTIVE ? active_isa() : isa;
    return wanted < TA_ISA_GENERIC || wanted > best_isa() ? nullptr : kernels_of(wanted);
}

}  // namespace
}  // namespace ta

ta_status ta_measure_fma(int32_t isa, double *flops_per_second) {
    const ta::Kernels *const kernels = ta::tier(isa);
    if (kernels == nullptr || flops_per_second == nullptr) {
        return kernels == nullptr ? TA_UNSUPPORTED_ISA : TA_INVALID_ARGUMENT;
    }
    ta::Work work{kernels, nullptr, 0, 0, 0};
    const int64_t items = 4 * static_cast<int64_t>(ta::pool_threads());
    const double start = ta::now();
    ta::run_parallel(items, ta::fma_item, &work);
    *flops_per_second = work.flops * static_cast<double>(items) / (ta::now() - start);
    return TA_OK;
}

ta_status ta_measure_read(int32_t isa, const void *memory, int64_t bytes, double *bytes_per_second) {
    const ta::Kernels *const kernels = ta::tier(isa);
    if (kernels == nullptr || memory == nullptr || bytes < 4 || bytes_per_second == nullptr) {
        return kernels == nullptr ? TA_UNSUPPORTED_ISA : TA_INVALID_ARGUMENT;
    }
    ta::Work work{kernels, static_cast<const float *>(memory), bytes / 4, 0, 0};
    const double start = ta::now();
    ta::run_parallel((work.count + ta::kReadFloats - 1) / ta::kReadFloats, ta::read_item, &work);
    *bytes_per_second = static_cast<double>(bytes) / (ta::now() - start);
    return TA_OK;
}
