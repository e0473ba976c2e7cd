// One tier's kernels. build.sh compiles this file once per tier with that tier's compiler flags and TA_TIER set.

#if defined(TA_TIER_AVX512)
#define TA_TIER avx512
#define TA_TABLE kernels_avx512
#define TA_SIMD_HEADER "simd_avx512.h"
#elif defined(TA_TIER_AVX2)
#define TA_TIER avx2
#define TA_TABLE kernels_avx2
#define TA_SIMD_HEADER "simd_avx2.h"
#else
#define TA_TIER generic
#define TA_TABLE kernels_generic
#if defined(__aarch64__)
#define TA_SIMD_HEADER "simd_neon.h"
#else
#define TA_SIMD_HEADER "simd_generic.h"
#endif
#endif

#if defined(TA_TIER_AVX2) || defined(TA_TIER_AVX512)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#else
#include <cstdint>
#endif
#include <cmath>
#include <cstring>

#include "kernel_table.h"
#include "scratch.h"
#include "simd.h"
#include "softmax.h"
#include "micro.h"
#include "keys.h"
#include "options.h"
#include "pack.h"
#include "tile.h"
#include "decode_block.h"
#include "decode.h"
#include "backward_tile.h"
#include "backward_sums.h"
#include "backward.h"
#include "limits.h"

namespace ta {

const Kernels TA_TABLE = {
    TA_TIER::kTileRows,
    TA_TIER::kDecodeMostRows,
    TA_TIER::tile_scratch,
    TA_TIER::tile,
    TA_TIER::decode_scratch,
    TA_TIER::decode,
    TA_TIER::merge,
    TA_TIER::kBackwardRows,
    TA_TIER::backward_scratch,
    TA_TIER::backward,
    TA_TIER::fma_loop,
    TA_TIER::read_loop,
};

}  // namespace ta
