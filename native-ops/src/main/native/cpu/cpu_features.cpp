#include "cpu_features.h"

#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace ta {
namespace {

#if defined(__x86_64__)

unsigned long long read_xcr0() {
    unsigned eax, edx;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (static_cast<unsigned long long>(edx) << 32) | eax;
}

bool has(unsigned word, int bit) { return (word >> bit) & 1u; }

ta_isa detect() {
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
        return TA_ISA_GENERIC;
    }
    const bool osxsave = has(ecx, 27), avx = has(ecx, 28), fma = has(ecx, 12), f16c = has(ecx, 29);
    if (!osxsave || !avx || !fma || !f16c) {
        return TA_ISA_GENERIC;
    }
    // The CPU having the registers is not enough: the system must save them (bit 2: upper ymm; 5..7: opmask and zmm).
    const unsigned long long saved = read_xcr0();
    if ((saved & 0x6) != 0x6 || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !has(ebx, 5)) {
        return TA_ISA_GENERIC;
    }
    const bool avx512 = has(ebx, 16) && has(ebx, 17) && has(ebx, 30) && has(ebx, 31);  // F, DQ, BW, VL
    return avx512 && (saved & 0xe6) == 0xe6 ? TA_ISA_AVX512 : TA_ISA_AVX2;
}

#else

ta_isa detect() { return TA_ISA_GENERIC; }

#endif

ta_isa capped() {
    const ta_isa best = best_isa();
    const char *cap = std::getenv("TREE_ATTENTION_MAX_ISA");
    if (cap == nullptr) {
        return best;
    }
    for (int isa = 0; isa < best; isa++) {
        if (std::strcmp(cap, ta_isa_name(static_cast<ta_isa>(isa))) == 0) {
            return static_cast<ta_isa>(isa);
        }
    }
    return best;
}

}  // namespace

ta_isa best_isa() {
    static const ta_isa isa = detect();
    return isa;
}

ta_isa active_isa() {
    static const ta_isa isa = capped();
    return isa;
}

}  // namespace ta

ta_isa ta_best_isa(void) { return ta::best_isa(); }

ta_isa ta_active_isa(void) { return ta::active_isa(); }

const char *ta_isa_name(ta_isa isa) {
    switch (isa) {
        case TA_ISA_GENERIC: return "generic";
        case TA_ISA_AVX2: return "avx2";
        case TA_ISA_AVX512: return "avx512";
        default: return "unknown";
    }
}
