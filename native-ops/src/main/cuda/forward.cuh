// Attention of many query rows by tensor cores, keys and values of 16 bits. A block of 4 warps has 64 packed rows of one key/value
// head and one split of its tiles. Products are exact to float32: a row of queries, and a row of weights, is the sum of
// several 16-bit terms, and each term is multiplied by itself. Keys of the next tile and values of this one arrive while others
// are in use. Values must be finite, since a weight of 0 meets them too: where one is not, not_finite is set and the result is void.
constexpr int kForwardRows = 64;

template <class T>
struct Terms;

template <>
struct Terms<Half> {  // 2 x 11 bits; powers of two keep them away from the narrow exponent's ends
    static constexpr int kCount = 2;
    static constexpr float kWeightScale = 32768.0f;
    static constexpr unsigned kExponent = 0x7c00;
    // A power of two that brings the largest of a row between 2^14 and 2^15, near the top of f16's range, and its inverse.
    DEVICE static float scale_of(float largest, float *inverse) {
        int exponent = static_cast<int>(__float_as_uint(largest) >> 23 & 0xffu);
        exponent = exponent < 15 ? 15 : exponent > 253 ? 253 : exponent;
        *inverse = __int_as_float((exponent - 14) << 23);
        return __int_as_float((268 - exponent) << 23);
    }
};

template <>
struct Terms<Bfloat> {  // 3 x 8 bits, float32's own exponents
    static constexpr int kCount = 3;
    static constexpr float kWeightScale = 1.0f;
    static constexpr unsigned kExponent = 0x7f80;
    DEVICE static float scale_of(float, float *inverse) {
        *inverse = 1.0f;
        return 1.0f;
    }
};

// The next 16-bit term of two numbers, side by side in a word; what is left of them stays.
template <class T>
DEVICE unsigned take_term(float &x, float &y) {
    const T a = rounded(x, T{}), b = rounded(y, T{});
    x -= to_float(a);
    y -= to_float(b);
    return static_cast<unsigned>(a.bits) | static_cast<unsigned>(b.bits) << 16;
}

template <class T, int D>
DEVICE void forward(const Problem &p) {
    constexpr int kTerms = Terms<T>::kCount, kStride = D + 8;  // elements; rows start in different banks
    constexpr int kBlocks = kTileKeys / 8;
    T *const query_terms = reinterpret_cast<T *>(dynamic_shared());  // [terms][64][kStride]
    T *const keys = query_terms + kTerms * kForwardRows * kStride;   // [tile][kStride]
    T *const values = keys + kTileKeys * kStride;
    float *const all_scores = reinterpret_cast<float *>(values + kTileKeys * kStride);  // [64][tile]: where options need them by row
    float *const row_scales = all_scores + kForwardRows * kTileKeys;                    // [64]
    const int thread = static_cast<int>(threadIdx.x), lane = thread & 31, warp = thread >> 5;
    const int quad = lane >> 2, pair = lane & 3;  // of a fragment: rows quad and quad + 8, columns 2 pair and 2 pair + 1
    const int split = static_cast<int>(blockIdx.x) % p.splits, first_row = static_cast<int>(blockIdx.x) / p.splits * kForwardRows;
    const int kv_head = static_cast<int>(blockIdx.y), b = static_cast<int>(blockIdx.z);
    const int warp_row = warp * 16;
    const BatchRow of = p.rows[b];
#pragma unroll 1
    for (int i = 0; i < 16; i++) {
        const Row row = row_of(p, b, kv_head, first_row + warp_row + i);
        const float *const source = p.queries + place_of(p, b, row) * D;
        float x[D / 32], largest = 0.0f;
#pragma unroll
        for (int c = 0; c < D / 64; c++) {
            x[2 * c] = row.query < p.count ? source[64 * c + 2 * lane] : 0.0f;
            x[2 * c + 1] = row.query < p.count ? source[64 * c + 2 * lane + 1] : 0.0f;
            largest = fmaxf(largest, fmaxf(fabsf(x[2 * c]), fabsf(x[2 * c + 1])));
        }
        float inverse;
        const float scale = Terms<T>::scale_of(warp_max(largest), &inverse);
        if (lane == 0) {
            row_scales[warp_row + i] = inverse;
        }
#pragma unroll
        for (int c = 0; c < D / 64; c++) {
            float x0 = x[2 * c] * scale, x1 = x[2 * c + 1] * scale;
#pragma unroll
            for (int term = 0; term < kTerms; term++) {
                T *const to = query_terms + (term * kForwardRows + warp_row + i) * kStride + 64 * c + 2 * lane;
                *reinterpret_cast<unsigned *>(to) = take_term<T>(x0, x1);
            }
        }
    }
    sync_warp();  // a warp reads its own rows only
    const Row row[2] = {row_of(p, b, kv_head, first_row + warp_row + quad), row_of(p, b, kv_head, first_row + warp_row + quad + 8)};
    const bool by_row = p.soft_cap > 0.0f || has_tables(p);
    float max[2] = {minus_infinity(), minus_infinity()}, sum[2] = {0.0f, 0.0f};  // sum: of the lane's own columns
    float out[D / 8][4];
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
        out[n][0] = out[n][1] = out[n][2] = out[n][3] = 0.0f;
    }
    const int end = of.first_tile + split_start(of.tiles, p.splits, split + 1);
    int t = of.first_tile + split_start(of.tiles, p.splits, split);
    const auto skip_hidden = [&] {
        while (t < end && hidden_tile(p, b, p.tiles[t], first_row, kForwardRows)) {
            t++;
        }
    };
    const auto copy = [&](T *to, const void *rows, long long stride, int length) {
        const T *const from = static_cast<const T *>(rows) + kv_head * stride;
#pragma unroll
        for (int i = thread; i < kTileKeys * D / 8; i += 128) {
            const int r = i / (D / 8), at = i % (D / 8) * 8;
            copy_async(to + r * kStride + at, from + (r < length ? r * D + at : 0), r < length);
        }
        commit_copies();
    };
    // Every so many tiles, what was added up goes to the rows of the state, the second level of the sums; out and sum start again.
    const long long rows = static_cast<long long>(p.batch) * p.heads * p.count;
    float folded_max[2] = {minus_infinity(), minus_infinity()}, folded_sum[2] = {0.0f, 0.0f};
    int folds = 0, since_fold = 0;
    const auto fold = [&] {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float old = weight_of(folded_max[r], max[r]);
            folded_max[r] = max[r];
            sum[r] += shuffle_xor(sum[r], 1);
            sum[r] += shuffle_xor(sum[r], 2);
            folded_sum[r] = folded_sum[r] * old + sum[r];
            if (row[r].query < p.count) {
                float *const to = p.state + (split * rows + place_of(p, b, row[r])) * (D + 1);
#pragma unroll
                for (int n = 0; n < D / 8; n++) {
#pragma unroll
                    for (int i = 0; i < 2; i++) {
                        float *const at = to + n * 8 + 2 * pair + i;
                        *at = (folds > 0 ? *at * old : 0.0f) + out[n][2 * r + i] * (1.0f / Terms<T>::kWeightScale);
                    }
                }
            }
            sum[r] = 0.0f;
        }
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            out[n][0] = out[n][1] = out[n][2] = out[n][3] = 0.0f;
        }
        folds++;
    };
    skip_hidden();
    Tile next = {};
    if (t < end) {
        next = p.tiles[t];
        copy(keys, next.keys, of.key_stride, next.length);
    }
    while (t < end) {
        const Tile tile = next;
        wait_copies<0>();
        sync_block();  // the keys are there, and all are done with the values before
        copy(values, tile.values, of.value_stride, tile.length);
        float score[kBlocks][4] = {};
#pragma unroll
        for (int k = 0; k < D / 16; k++) {
            unsigned a[kTerms][4];
#pragma unroll
            for (int term = 0; term < kTerms; term++) {
                load_matrices(a[term], query_terms + (term * kForwardRows + warp_row + (lane & 15)) * kStride + k * 16 + (lane >> 4) * 8);
            }
#pragma unroll
            for (int n = 0; n < kBlocks / 2; n++) {
                unsigned key[4];
                load_matrices(key, keys + (n * 16 + (lane >> 4) * 8 + (lane & 7)) * kStride + k * 16 + (lane >> 3 & 1) * 8);
#pragma unroll
                for (int term = kTerms - 1; term >= 0; term--) {
                    multiply_add(score[2 * n], a[term], key[0], key[1], T{});
                    multiply_add(score[2 * n + 1], a[term], key[2], key[3], T{});
                }
            }
        }
        sync_block();  // all are done with the keys
        t++;
        skip_hidden();
        if (t < end) {
            next = p.tiles[t];
            copy(keys, next.keys, of.key_stride, next.length);
        } else {
            commit_copies();  // so that one group is always behind the values'
        }
        float new_max[2] = {max[0], max[1]};
        float *const scores = all_scores + warp_row * kTileKeys;
        if (by_row) {
#pragma unroll
            for (int n = 0; n < kBlocks; n++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    scores[(quad + i / 2 * 8) * kTileKeys + n * 8 + 2 * pair + i % 2] = score[n][i];
                }
            }
            sync_warp();
#pragma unroll 1
            for (int i = 0; i < 16; i++) {
                const Row one = row_of(p, b, kv_head, first_row + warp_row + i);
                const bool seen = lane < tile.length && sees(one, tile.position + lane);
                const float dot = scores[i * kTileKeys + lane] * row_scales[warp_row + i];
                scores[i * kTileKeys + lane] = seen ? score_of(p, b, one, tile.position + lane, dot) : minus_infinity();
            }
            sync_warp();
        }
#pragma unroll
        for (int n = 0; n < kBlocks; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int r = i / 2, key = n * 8 + 2 * pair + i % 2;
                if (by_row) {
                    score[n][i] = scores[(quad + r * 8) * kTileKeys + key];
                } else {
                    const bool seen = key < tile.length && sees(row[r], tile.position + key);
                    score[n][i] = seen ? score[n][i] * row_scales[warp_row + quad + r * 8] * p.scale : minus_infinity();
                }
                new_max[r] = fmaxf(new_max[r], comparable(score[n][i]));
            }
        }
        float shrink[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            new_max[r] = fmaxf(new_max[r], shuffle_xor(new_max[r], 1));
            new_max[r] = fmaxf(new_max[r], shuffle_xor(new_max[r], 2));
            shrink[r] = weight_of(max[r], new_max[r]);
            max[r] = new_max[r];
            sum[r] *= shrink[r];
        }
#pragma unroll
        for (int n = 0; n < kBlocks; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float weight = weight_of(score[n][i], max[i / 2]);
                sum[i / 2] += weight;
                score[n][i] = weight * Terms<T>::kWeightScale;
            }
        }
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                out[n][i] *= shrink[i / 2];
            }
        }
        wait_copies<1>();
        sync_block();  // the values are there
        bool finite = true;
#pragma unroll 1
        for (int i = thread; i < kTileKeys * D / 8; i += 128) {
            const Words words = *reinterpret_cast<const Words *>(values + i / (D / 8) * kStride + i % (D / 8) * 8);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                finite = finite && (words.w[j] & Terms<T>::kExponent) != Terms<T>::kExponent &&
                         (words.w[j] >> 16 & Terms<T>::kExponent) != Terms<T>::kExponent;
            }
        }
        if (!finite) {
            set_flag(p.not_finite);
        }
#pragma unroll
        for (int k = 0; k < kTileKeys / 16; k++) {
            unsigned a[kTerms][4];
#pragma unroll
            for (int term = 0; term < kTerms; term++) {
                a[term][0] = take_term<T>(score[2 * k][0], score[2 * k][1]);
                a[term][1] = take_term<T>(score[2 * k][2], score[2 * k][3]);
                a[term][2] = take_term<T>(score[2 * k + 1][0], score[2 * k + 1][1]);
                a[term][3] = take_term<T>(score[2 * k + 1][2], score[2 * k + 1][3]);
            }
#pragma unroll
            for (int n = 0; n < D / 16; n++) {
                unsigned value[4];
                load_matrices_transposed(value, values + (k * 16 + (lane & 15)) * kStride + n * 16 + (lane >> 4) * 8);
#pragma unroll
                for (int term = kTerms - 1; term >= 0; term--) {
                    multiply_add(out[2 * n], a[term], value[0], value[1], T{});
                    multiply_add(out[2 * n + 1], a[term], value[2], value[3], T{});
                }
            }
        }
        if (++since_fold == kFoldTiles) {
            fold();
            since_fold = 0;
        }
    }
    wait_copies<0>();
    fold();
#pragma unroll
    for (int r = 0; r < 2; r++) {
        if (row[r].query < p.count) {
            float *const to = p.state + (split * rows + place_of(p, b, row[r])) * (D + 1);
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float *const at = to + n * 8 + 2 * pair + i;
                    *at = max[r] == minus_infinity() ? 0.0f : *at / folded_sum[r];
                }
            }
            if (pair == 0) {
                to[D] = lse_of(max[r], folded_sum[r]);
            }
        }
    }
}

#define FORWARD(type, T, D) KERNEL __launch_bounds__(128, 2) forward_##type##_d##D(const Problem p) { forward<T, D>(p); }
FORWARD(f16, Half, 64)
FORWARD(f16, Half, 128)
FORWARD(bf16, Bfloat, 64)
FORWARD(bf16, Bfloat, 128)
