// Runs the CUDA kernels' source on the host against float64: host_kernels SEED PROBLEMS [KIND]. Built by host.sh.
#include "host_device.h"

#include "problem.cuh"
#include "merge.cuh"
#include "plain.cuh"
#include "decode.cuh"
#include "forward.cuh"
#include "backward.cuh"

namespace {

uint64_t state_of_random;

uint64_t draw() {
    uint64_t z = state_of_random += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}
int below(int most) { return static_cast<int>(draw() % static_cast<uint64_t>(most)); }
float uniform() { return static_cast<float>(draw() >> 40) / 8388608.0f - 1.0f; }  // -1..1

template <class T>
struct Page {
    std::vector<T> keys, values;
};

// A problem in memory of exactly the size that it needs, rows of pages beyond their length NaN.
template <class T>
struct Case {
    int batch, heads, kv_heads, count, dim, value_dim, page, splits;
    std::vector<float> queries;
    std::vector<BatchRow> rows;
    std::vector<Tile> tiles;
    std::vector<std::vector<Page<T>>> pages;
    std::vector<unsigned char> seen_keys;
    std::vector<float> bias;
    std::vector<float> whole_state, state_gradient, query_gradients, deltas;
    std::vector<std::vector<float>> key_gradients, value_gradients;
    int flag = 0;
    Problem p{};

    Case(int dim_, int value_dim_, int count_, int heads_, int kv_heads_, int most_keys, bool finite)
        : batch(1 + below(2)), heads(heads_), kv_heads(kv_heads_), count(count_), dim(dim_), value_dim(value_dim_),
          page(1 + below(80)), splits(1 + below(3)), queries(size(batch) * heads * count * dim), pages(size(batch)) {
        for (float &x : queries) {
            x = 2 * uniform();
        }
        long long last = 0;
        for (int b = 0; b < batch; b++) {
            const int keys = b == 0 ? most_keys : below(most_keys + 1);
            const int first_tile = static_cast<int>(tiles.size());
            long long position = below(2) * below(50);
            for (int done = 0; done < keys;) {
                const int length = keys - done < page ? keys - done : 1 + below(page);
                add_page(b, length, position, done);
                done += length;
                position += length + below(2) * below(9);
            }
            last = position > last ? position : last;
            rows.push_back(BatchRow{below(3) == 0 ? 0 : position > count ? position - count : 0, first_tile,
                                    static_cast<int>(tiles.size()) - first_tile, static_cast<long long>(page) * dim,
                                    static_cast<long long>(page) * value_dim, nullptr, nullptr, keys, 0});
        }
        if (!finite && !tiles.empty()) {
            const_cast<T *>(static_cast<const T *>(tiles[0].values))[0] = rounded_to<T>(INFINITY);
        }
        fill(last);
    }

    static size_t size(long long n) { return static_cast<size_t>(n); }

    template <class U>
    static U rounded_to(float x) {
        if constexpr (sizeof(U) == 4) {
            return x;
        } else {
            return rounded(x, U{});
        }
    }

    void add_page(int b, int length, long long position, int done) {
        Page<T> next{std::vector<T>(size(kv_heads) * page * dim, rounded_to<T>(NAN)),
                     std::vector<T>(size(kv_heads) * page * value_dim, rounded_to<T>(NAN))};
        for (int h = 0; h < kv_heads; h++) {
            for (int i = 0; i < length * dim; i++) {
                next.keys[size(h) * page * dim + i] = rounded_to<T>(2 * uniform());
            }
            for (int i = 0; i < length * value_dim; i++) {
                next.values[size(h) * page * value_dim + i] = rounded_to<T>(uniform());
            }
        }
        for (int row = 0; row < length; row += kTileKeys) {
            tiles.push_back(Tile{next.keys.data() + row * dim, next.values.data() + row * value_dim, position + row,
                                 smaller(length - row, kTileKeys), done + row});
        }
        pages[size(b)].push_back(std::move(next));
    }

    void fill(long long last) {
        p.queries = queries.data();
        p.rows = rows.data();
        p.tiles = tiles.data();
        p.batch = batch, p.heads = heads, p.kv_heads = kv_heads, p.count = count, p.head_dim = dim, p.value_dim = value_dim;
        p.causal = below(3) > 0;
        p.window = p.causal && below(2) ? 1 + below(60) : 0;
        p.scale = 1 / std::sqrt(static_cast<float>(dim));
        p.soft_cap = below(4) == 0 ? 3.0f + below(20) : 0.0f;
        p.kept_scale = 1;
        p.not_finite = &flag;
        if (below(3) == 0) {
            seen_keys.resize(size(last) + 1);
            for (unsigned char &seen : seen_keys) {
                seen = below(4) > 0;
            }
            p.keys = Table{seen_keys.data(), 0, 0, 0};
        }
        if (below(3) == 0) {
            bias.resize(size(heads) * count * (last + 1));
            for (float &x : bias) {
                x = below(8) == 0 ? minus_infinity() : uniform();
            }
            p.bias = Table{bias.data(), 0, count * (last + 1), last + 1};
        }
    }

    void drop() {
        p.dropout_threshold = 1 << 29;
        p.kept_scale = 1 / 0.75f;
        p.dropout_seed = draw();
        p.dropout_layer = 3;
    }
};

// Everything of one query row in double: out and lse, and with a gradient those of its inputs. What a row sees is written down again
// here, the plain way; the draw of dropout alone is the kernels' own.
template <class T>
struct Truth {
    std::vector<double> state, query_gradients;
    std::vector<std::vector<double>> key_gradients, value_gradients;

    explicit Truth(const Case<T> &c, const std::vector<float> *gradient = nullptr) {
        const Problem &p = c.p;
        state.resize(static_cast<size_t>(c.batch) * c.heads * c.count * (c.value_dim + 1));
        query_gradients.resize(c.queries.size());
        for (int b = 0; b < c.batch; b++) {
            key_gradients.emplace_back(static_cast<size_t>(c.kv_heads) * c.rows[b].keys * c.dim);
            value_gradients.emplace_back(static_cast<size_t>(c.kv_heads) * c.rows[b].keys * c.value_dim);
            for (int h = 0; h < c.heads; h++) {
                for (int i = 0; i < c.count; i++) {
                    row(c, p, b, h, i, gradient);
                }
            }
        }
    }

    void row(const Case<T> &c, const Problem &p, int b, int h, int i, const std::vector<float> *gradient) {
        const int group = c.heads / c.kv_heads, kv = h / group;
        const size_t at = (static_cast<size_t>(b) * c.heads + h) * c.count + i;
        const long long mine = c.rows[b].first_position + i;
        const size_t bias_row = c.bias.size() / (static_cast<size_t>(c.heads) * c.count);
        const Row place = row_of(p, b, kv, i * group + h % group);  // for dropout
        struct Seen {
            const T *key, *value;
            double score, bend, kept;
            size_t first;
        };
        std::vector<Seen> seen;
        double max = -INFINITY, sum = 0;
        for (int t = 0; t < c.rows[b].tiles; t++) {
            const Tile &tile = p.tiles[c.rows[b].first_tile + t];
            for (int j = 0; j < tile.length; j++) {
                const long long position = tile.position + j;
                const float bias = c.bias.empty() ? 0.0f : c.bias[(static_cast<size_t>(h) * c.count + i) * bias_row + position];
                if ((p.causal && position > mine) || (p.window > 0 && position <= mine - p.window) || bias == -INFINITY ||
                    (!c.seen_keys.empty() && c.seen_keys[position] == 0)) {
                    continue;
                }
                Seen key{static_cast<const T *>(tile.keys) + kv * c.rows[b].key_stride + j * c.dim,
                         static_cast<const T *>(tile.values) + kv * c.rows[b].value_stride + j * c.value_dim, 0, 1,
                         p.dropout_threshold == 0 || keeps(p, dropout_key(p, b, place), position) ? static_cast<double>(p.kept_scale) : 0,
                         static_cast<size_t>(kv) * c.rows[b].keys + tile.first + j};
                for (int d = 0; d < c.dim; d++) {
                    key.score += static_cast<double>(c.queries[at * c.dim + d]) * to_float(key.key[d]);
                }
                key.score *= p.scale;
                if (p.soft_cap > 0) {
                    const double bent = std::tanh(key.score / p.soft_cap);
                    key.score = p.soft_cap * bent;
                    key.bend = 1 - bent * bent;
                }
                key.score += bias;
                max = key.score > max ? key.score : max;
                seen.push_back(key);
            }
        }
        for (const Seen &key : seen) {
            sum += std::exp(key.score - max);
        }
        double *const out = &state[at * (c.value_dim + 1)];
        const double lse = seen.empty() ? -INFINITY : max + std::log(sum);
        out[c.value_dim] = lse;
        for (const Seen &key : seen) {
            for (int d = 0; d < c.value_dim; d++) {
                out[d] += std::exp(key.score - lse) * key.kept * to_float(key.value[d]);
            }
        }
        if (gradient == nullptr) {
            return;
        }
        const float *const dout = &(*gradient)[at * (c.value_dim + 1)];
        double delta = -dout[c.value_dim];
        for (int d = 0; d < c.value_dim; d++) {
            delta += out[d] * dout[d];
        }
        for (const Seen &key : seen) {
            const double weight = std::exp(key.score - lse);
            double dot = 0;
            for (int d = 0; d < c.value_dim; d++) {
                dot += static_cast<double>(dout[d]) * to_float(key.value[d]);
                value_gradients[b][key.first * c.value_dim + d] += weight * key.kept * dout[d];
            }
            const double slope = weight * (dot * key.kept - delta) * key.bend * p.scale;
            for (int d = 0; d < c.dim; d++) {
                query_gradients[at * c.dim + d] += slope * to_float(key.key[d]);
                key_gradients[b][key.first * c.dim + d] += slope * c.queries[at * c.dim + d];
            }
        }
    }
};

bool compare(const char *what, const std::vector<float> &got, const std::vector<double> &want, double bound) {
    double worst = 0;
    for (size_t i = 0; i < want.size(); i++) {
        const double difference = got[i] == want[i] ? 0 : std::fabs(got[i] - want[i]);
        worst = difference <= worst ? worst : difference;  // NaN stays
    }
    if (!(worst <= bound)) {
        std::printf("%s: error %g, bound %g\n", what, worst, bound);
        return false;
    }
    return true;
}

template <class T>
bool check_state(Case<T> &c, const char *what, Dim grid, Dim block, size_t shared, void (*kernel)(const Problem)) {
    const size_t rows = static_cast<size_t>(c.batch) * c.heads * c.count, length = static_cast<size_t>(c.value_dim) + 1;
    std::vector<float> parts(rows * length * c.splits, NAN), merged(rows * length, NAN);
    c.p.splits = c.splits;
    c.p.state = parts.data();
    host::launch(grid, block, shared, static_cast<unsigned>(below(4)), [&] { kernel(c.p); });
    const Merge m{parts.data(), merged.data(), static_cast<long long>(rows), static_cast<int>(length), c.splits};
    host::launch(Dim{static_cast<unsigned>(rows), 1, 1}, Dim{128, 1, 1}, sizeof(float) * c.splits, 1, [&] { merge(m); });
    const Truth<T> truth(c);
    return compare(what, c.splits == 1 ? parts : merged, truth.state, 2e-5) && compare("merge", merged, truth.state, 2e-5);
}

unsigned up(int a, int b) { return static_cast<unsigned>((a + b - 1) / b); }

template <class T>
bool run_plain(const char *what, void (*kernel)(const Problem)) {
    const int dims[] = {1, 7, 33, 64, 128, 160};
    const int group = 1 + below(4), kv = 1 + below(2);
    Case<T> c(dims[below(6)], dims[below(6)], 1 + below(9), kv * group, kv, 1 + below(90), true);
    if (below(3) == 0) {
        c.drop();
    }
    c.p.value_chunks = static_cast<int>(up(c.value_dim, kChunk));
    const unsigned blocks = up(group * c.count, kPlainRows) * c.p.value_chunks * c.splits;
    return check_state(c, what, Dim{blocks, static_cast<unsigned>(kv), static_cast<unsigned>(c.batch)}, Dim{128, 1, 1}, 0, kernel);
}

template <class T, int D>
bool run_decode(const char *what, int group, int count, void (*kernel)(const Problem)) {
    const int kv = 1 + below(2), each = group * count == 1 ? 1 : 4, groups = static_cast<int>(up(group * count, each));
    Case<T> c(D, D, count, kv * group, kv, 1 + below(120), true);
    if (below(4) == 0) {
        c.drop();
    }
    const size_t weights = sizeof(float) * groups * each * (kTileKeys + 3), sums = sizeof(float) * 4 * groups * each * D;
    const size_t tiles = 4 * kTileKeys * D * sizeof(T);
    return check_state(c, what, Dim{static_cast<unsigned>(c.splits), static_cast<unsigned>(kv), static_cast<unsigned>(c.batch)},
                       Dim{128, static_cast<unsigned>(groups), 1}, (tiles > sums ? tiles : sums) + weights, kernel);
}

template <class T, int D>
bool run_forward(const char *what, void (*kernel)(const Problem)) {
    const int group = 1 + below(3), kv = 1 + below(2);
    const bool finite = below(8) > 0;
    Case<T> c(D, D, 1 + below(40), kv * group, kv, 1 + below(90), finite);
    c.splits = 1 + below(2);
    const size_t elements = (Terms<T>::kCount * kForwardRows + 2 * kTileKeys) * (D + 8);
    const Dim grid{up(group * c.count, kForwardRows) * static_cast<unsigned>(c.splits), static_cast<unsigned>(kv), static_cast<unsigned>(c.batch)};
    const size_t shared = elements * sizeof(T) + kForwardRows * (kTileKeys + 1) * sizeof(float);
    if (!finite) {  // all rows can see the tile with the value that is not
        c.p.causal = c.p.window = 0;
        c.p.splits = 1;
        std::vector<float> state(static_cast<size_t>(c.batch) * c.heads * c.count * (D + 1));
        c.p.state = state.data();
        host::launch(Dim{grid.x / static_cast<unsigned>(c.splits), grid.y, grid.z}, Dim{128, 1, 1}, shared, 1, [&] { kernel(c.p); });
        return c.flag == 1;
    }
    return check_state(c, what, grid, Dim{128, 1, 1}, shared, kernel) && c.flag == 0;
}

template <class T>
bool run_backward(const char *what, void (*queries)(const Problem), void (*keys)(const Problem)) {
    const int dims[] = {3, 16, 64, 130};
    const int group = 1 + below(3), kv = 1 + below(2);
    Case<T> c(dims[below(4)], dims[below(4)], 1 + below(20), kv * group, kv, 1 + below(70), true);
    if (below(2) == 0) {
        c.drop();
    }
    const size_t rows = static_cast<size_t>(c.batch) * c.heads * c.count, length = static_cast<size_t>(c.value_dim) + 1;
    c.state_gradient.resize(rows * length);
    for (float &x : c.state_gradient) {
        x = uniform();
    }
    const Truth<T> truth(c, &c.state_gradient);
    c.whole_state.assign(truth.state.begin(), truth.state.end());
    c.query_gradients.assign(c.queries.size(), 0.0f);
    c.deltas.assign(rows, NAN);
    int most = 0;
    for (int b = 0; b < c.batch; b++) {
        c.key_gradients.emplace_back(truth.key_gradients[b].size(), 0.0f);
        c.value_gradients.emplace_back(truth.value_gradients[b].size(), 0.0f);
        most = c.rows[b].tiles > most ? c.rows[b].tiles : most;
    }
    for (int b = 0; b < c.batch; b++) {
        c.rows[b].key_gradients = c.key_gradients[b].data();
        c.rows[b].value_gradients = c.value_gradients[b].data();
    }
    Problem &p = c.p;
    p.whole_state = c.whole_state.data(), p.state_gradient = c.state_gradient.data();
    p.query_gradients = c.query_gradients.data(), p.deltas = c.deltas.data();
    const size_t shared = (2 * (kPlainRows + kTileKeys) * kChunkStride + 2 * kPlainRows * kTileKeys) * sizeof(float);
    const unsigned seed = static_cast<unsigned>(below(4)), heads = static_cast<unsigned>(kv), batch = static_cast<unsigned>(c.batch);
    host::launch(Dim{up(static_cast<int>(rows), 4), 1, 1}, Dim{128, 1, 1}, 0, seed, [&] { backward_deltas(p); });
    host::launch(Dim{up(group * c.count, kPlainRows) * up(c.dim, kChunk), heads, batch}, Dim{128, 1, 1}, shared, seed, [&] { queries(p); });
    const int widest = c.dim > c.value_dim ? c.dim : c.value_dim;
    host::launch(Dim{static_cast<unsigned>(most) * up(widest, kChunk), heads, batch}, Dim{128, 1, 1}, shared, seed, [&] { keys(p); });
    bool right = compare(what, c.query_gradients, truth.query_gradients, 1e-4);
    for (int b = 0; b < c.batch; b++) {
        right = compare(what, c.key_gradients[b], truth.key_gradients[b], 1e-4) && right;
        right = compare(what, c.value_gradients[b], truth.value_gradients[b], 1e-4) && right;
    }
    return right;
}

constexpr int kKinds = 16;

bool run(int kind) {
    switch (kind) {
        case 0: return run_plain<float>("plain_f32", plain_f32);
        case 1: return run_plain<Half>("plain_f16", plain_f16);
        case 2: return run_plain<Bfloat>("plain_bf16", plain_bf16);
        case 3: return run_decode<float, 64>("decode_f32_d64_r4", 2, 1 + below(6), decode_f32_d64_r4);
        case 4: return run_decode<float, 128>("decode_f32_d128_r1", 1, 1, decode_f32_d128_r1);
        case 5: return run_decode<Half, 64>("decode_f16_d64_r1", 1, 1, decode_f16_d64_r1);
        case 6: return run_decode<Half, 128>("decode_f16_d128_r4", 8, 1, decode_f16_d128_r4);
        case 7: return run_decode<Bfloat, 128>("decode_bf16_d128_r4", 4, 1, decode_bf16_d128_r4);
        case 8: return run_decode<Bfloat, 64>("decode_bf16_d64_r1", 1, 1, decode_bf16_d64_r1);
        case 9: return run_forward<Half, 64>("forward_f16_d64", forward_f16_d64);
        case 10: return run_forward<Half, 128>("forward_f16_d128", forward_f16_d128);
        case 11: return run_forward<Bfloat, 64>("forward_bf16_d64", forward_bf16_d64);
        case 12: return run_forward<Bfloat, 128>("forward_bf16_d128", forward_bf16_d128);
        case 13: return run_backward<float>("backward_f32", backward_queries_f32, backward_keys_f32);
        case 14: return run_backward<Half>("backward_f16", backward_queries_f16, backward_keys_f16);
        default: return run_backward<Bfloat>("backward_bf16", backward_queries_bf16, backward_keys_bf16);
    }
}

}  // namespace

int main(int count, char **arguments) {
    const uint64_t first = count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 1;
    const int problems = count > 2 ? std::atoi(arguments[2]) : 16;
    int wrong = 0;
    for (int i = 0; i < problems; i++) {
        state_of_random = first + static_cast<uint64_t>(i);
        if (!run(count > 3 ? std::atoi(arguments[3]) : i % kKinds)) {
            std::printf("wrong: replay with host_kernels %llu 1 %d\n", static_cast<unsigned long long>(first + i), i % kKinds);
            wrong++;
        }
    }
    std::printf("CUDA kernels on the host, seed %llu: %d problems, %d wrong\n", static_cast<unsigned long long>(first), problems, wrong);
    return wrong == 0 ? 0 : 1;
}
