// Loops that do nothing but reach a limit of the machine: fused multiply-adds from registers, reads from memory.
#pragma once

namespace ta {
namespace TA_TIER {

// Floating-point operations of one call of fma_loop.
constexpr int kFmaChains = W == 16 ? 24 : 12;

// Multiply-adds in independent register chains; the sum keeps the compiler from dropping them.
static double fma_loop(int64_t steps, float *result) {
    F chain[kFmaChains];
    UNROLL
    for (int i = 0; i < kFmaChains; i++) {
        chain[i] = set1(0.001f * static_cast<float>(i));
    }
    const F a = set1(0.999f), b = set1(0.001f);
    for (int64_t s = 0; s < steps; s++) {
        UNROLL
        for (int i = 0; i < kFmaChains; i++) {
            chain[i] = fma(chain[i], a, b);
        }
    }
    F sum = zero();
    UNROLL
    for (int i = 0; i < kFmaChains; i++) {
        sum = add(sum, chain[i]);
    }
    *result = sum_lanes(sum);
    return 2.0 * W * kFmaChains * static_cast<double>(steps);
}

// Reads memory[count] once, from front to back.
static void read_loop(const float *memory, int64_t count, float *result) {
    F sum[8];
    UNROLL
    for (int i = 0; i < 8; i++) {
        sum[i] = zero();
    }
    for (int64_t at = 0; at + 8 * W <= count; at += 8 * W) {
        UNROLL
        for (int i = 0; i < 8; i++) {
            sum[i] = add(sum[i], load(memory + at + i * W));
        }
    }
    F total = zero();
    UNROLL
    for (int i = 0; i < 8; i++) {
        total = add(total, sum[i]);
    }
    *result = sum_lanes(total);
}

}  // namespace TA_TIER
}  // namespace ta
