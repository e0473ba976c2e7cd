// Forward and backward of the best tier against plain double loops, for machines that the Java tests do not run on.
// Prints nothing and exits with 0 if all is well.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "tree_attention.h"

namespace {

constexpr float kMinusInfinity = -__builtin_huge_valf();

uint64_t random_state = 20261126;

uint64_t draw(uint64_t bound) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % bound;
}

// A multiple of 2^-7 in [-1, 1): exact in every type of keys and values
float draw_float() { return static_cast<float>(draw(256)) / 128 - 1; }

std::vector<float> draw_floats(size_t count) {
    std::vector<float> floats(count);
    for (float &x : floats) {
        x = draw_float();
    }
    return floats;
}

uint16_t to_half(float x, int type) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if (type == TA_BF16) {
        return static_cast<uint16_t>(bits >> 16);
    }
    return x == 0 ? 0 : static_cast<uint16_t>((bits >> 16 & 0x8000) | (((bits & 0x7fffffff) >> 13) - (112 << 10)));
}

// The same numbers as bytes of the type
std::vector<char> stored(const std::vector<float> &floats, int type) {
    std::vector<char> bytes(floats.size() * (type == TA_F32 ? 4 : 2));
    for (size_t i = 0; i < floats.size(); i++) {
        const uint16_t half = to_half(floats[i], type);
        std::memcpy(&bytes[i * (type == TA_F32 ? 4 : 2)], type == TA_F32 ? static_cast<const void *>(&floats[i]) : &half,
                    type == TA_F32 ? 4 : 2);
    }
    return bytes;
}

bool differ(const char *what, double wanted, double got) {
    if (std::fabs(wanted - got) <= 2e-4 * (1 + std::fabs(wanted)) || wanted == got) {
        return false;
    }
    std::fprintf(stderr, "%s: %.9g, wanted %.9g\n", what, got, wanted);
    return true;
}

bool check(int type, int kv_heads, int group, int queries, int keys, int dim, int value_dim, bool causal) {
    const int heads = kv_heads * group, first_position = keys > queries ? keys - queries : 0;
    const double scale = 1 / std::sqrt(static_cast<double>(dim));
    const std::vector<float> q = draw_floats(static_cast<size_t>(heads) * queries * dim);
    const std::vector<float> k = draw_floats(static_cast<size_t>(kv_heads) * keys * dim);
    const std::vector<float> v = draw_floats(static_cast<size_t>(kv_heads) * keys * value_dim);
    const std::vector<char> k_bytes = stored(k, type), v_bytes = stored(v, type);
    const ta_page page{k_bytes.data(), v_bytes.data(), 0, keys};
    const ta_shard shard{&page, 1, keys};
    const int64_t first = first_position;
    const size_t rows = static_cast<size_t>(heads) * queries;
    std::vector<float> state(rows * (value_dim + 1)), gradient = draw_floats(state.size());
    std::vector<float> dq(q.size()), dk(k.size()), dv(v.size());
    ta_partial_params forward{};
    forward.spec.batch = 1;
    forward.spec.heads = heads;
    forward.spec.kv_heads = kv_heads;
    forward.spec.queries = queries;
    forward.spec.head_dim = dim;
    forward.spec.value_dim = value_dim;
    forward.spec.kv_type = type;
    forward.spec.causal = causal;
    forward.spec.scale = scale;
    forward.spec.isa = TA_ISA_ACTIVE;
    forward.q = q.data();
    forward.first_positions = &first;
    forward.shards = &shard;
    forward.rows = ta_rows{state.data(), state.data() + value_dim, value_dim + 1, value_dim + 1};
    float *const dkeys = dk.data(), *const dvalues = dv.data();
    ta_backward_params backward{};
    backward.spec = forward.spec;
    backward.q = q.data();
    backward.first_positions = &first;
    backward.shards = &shard;
    backward.rows = forward.rows;
    backward.row_gradients = ta_rows{gradient.data(), gradient.data() + value_dim, value_dim + 1, value_dim + 1};
    backward.dq = dq.data();
    backward.dkeys = &dkeys;
    backward.dvalues = &dvalues;
    if (ta_partial(&forward) != TA_OK || ta_backward(&backward) != TA_OK) {
        return false;
    }
    std::vector<double> wanted_dk(k.size()), wanted_dv(v.size()), weights(static_cast<size_t>(keys));
    for (size_t row = 0; row < rows; row++) {
        const size_t head = row / queries / group;
        const int last = causal ? first_position + static_cast<int>(row % queries) + 1 : keys;
        const int seen = last < keys ? last : keys;
        const float *const key = &k[head * keys * dim], *const value = &v[head * keys * value_dim];
        const float *const got = &state[row * (value_dim + 1)], *const g = &gradient[row * (value_dim + 1)];
        double sum = 0, delta = 0;
        for (int j = 0; j < seen; j++) {
            double score = 0;
            for (int d = 0; d < dim; d++) {
                score += static_cast<double>(q[row * dim + d]) * key[j * dim + d];
            }
            weights[j] = std::exp(score * scale);
            sum += weights[j];
        }
        for (int d = 0; d < value_dim; d++) {
            double out = 0;
            for (int j = 0; j < seen; j++) {
                out += weights[j] / sum * value[j * value_dim + d];
            }
            delta += out * g[d];
            if (differ("out", out, got[d])) {
                return false;
            }
        }
        if (differ("lse", seen == 0 ? kMinusInfinity : std::log(sum), got[value_dim])) {
            return false;
        }
        std::vector<double> wanted_dq(dim);
        for (int j = 0; j < seen; j++) {
            const double p = weights[j] / sum;
            double product = 0;
            for (int d = 0; d < value_dim; d++) {
                product += static_cast<double>(g[d]) * value[j * value_dim + d];
                wanted_dv[(head * keys + j) * value_dim + d] += p * g[d];
            }
            const double ds = p * (product - delta + g[value_dim]) * scale;
            for (int d = 0; d < dim; d++) {
                wanted_dq[d] += ds * key[j * dim + d];
                wanted_dk[(head * keys + j) * dim + d] += ds * q[row * dim + d];
            }
        }
        for (int d = 0; d < dim; d++) {
            if (differ("dq", wanted_dq[d], dq[row * dim + d])) {
                return false;
            }
        }
    }
    for (size_t i = 0; i < dk.size(); i++) {
        if (differ("dk", wanted_dk[i], dk[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < dv.size(); i++) {
        if (differ("dv", wanted_dv[i], dv[i])) {
            return false;
        }
    }
    return true;
}

}  // namespace

int main() {
    static const int sizes[] = {1, 5, 13, 33, 127, 257}, dims[] = {1, 7, 16, 33, 64};
    ta_set_threads(2);
    for (int trial = 0; trial < 40; trial++) {
        const int type = trial % 3, kv_heads = 1 + static_cast<int>(draw(2)), group = 1 + static_cast<int>(draw(3));
        const int queries = sizes[draw(6)], keys = sizes[draw(6)], dim = dims[draw(5)], value_dim = dims[draw(5)];
        const bool causal = draw(2) == 1;
        if (!check(type, kv_heads, group, queries, keys, dim, value_dim, causal)) {
            std::fprintf(stderr, "trial %d: type %d, heads %d x %d, queries %d, keys %d, dims %d and %d, causal %d\n", trial,
                         type, kv_heads, group, queries, keys, dim, value_dim, causal);
            return 1;
        }
    }
    return 0;
}
