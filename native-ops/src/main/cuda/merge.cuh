// Merges states over disjoint keys: each row of the result is sum of e^(lse_i - lse) out_i. A block for each row.
struct Merge {
    const float *parts;  // [splits][rows][row_length]: out, then the natural-log lse
    float *state;        // [rows][row_length]
    long long rows;
    int row_length;
    int splits;
};

KERNEL __launch_bounds__(128) merge(const Merge p) {
    float *const weights = reinterpret_cast<float *>(dynamic_shared());  // [splits]
    const int dim = p.row_length - 1, thread = static_cast<int>(threadIdx.x), lane = thread & 31;
    const long long row = blockIdx.x, part = p.rows * p.row_length;
    const float *const parts = p.parts + row * p.row_length;
    float max = minus_infinity(), sum = 0.0f;
#pragma unroll 1
    for (int i = lane; i < p.splits; i += 32) {  // every warp by itself
        max = fmaxf(max, comparable(parts[i * part + dim]));
    }
    max = warp_max(max);
#pragma unroll 1
    for (int i = lane; i < p.splits; i += 32) {
        const float weight = weight_of(parts[i * part + dim], max);
        sum += weight;
        if (thread < 32) {
            weights[i] = weight;
        }
    }
    sum = warp_sum(sum);
    sync_block();
    float *const to = p.state + row * p.row_length;
    for (int d = thread; d < dim; d += 128) {
        float out = 0.0f;
        for (int first = 0; first < p.splits; first += 64) {  // in two levels, so that errors grow with the root of many splits
            const int end = first + 64 < p.splits ? first + 64 : p.splits;
            float some = 0.0f;
#pragma unroll 4
            for (int i = first; i < end; i++) {
                some += weights[i] * parts[i * part + d];
            }
            out += some;
        }
        to[d] = max == minus_infinity() ? 0.0f : out / sum;
    }
    if (thread == 0) {
        to[dim] = lse_of(max, sum);
    }
}
