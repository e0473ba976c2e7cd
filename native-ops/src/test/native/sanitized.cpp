// Runs the kernels of every tier under AddressSanitizer and UndefinedBehaviorSanitizer: every buffer is allocated at its
// exact size, so that one element too far is caught, and every tier's results are compared with the generic ones.
// Prints nothing and exits with 0 if all is well.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "tree_attention.h"

namespace {

uint64_t random_state = 20261122;

uint64_t draw(uint64_t bound) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % bound;
}

float draw_float() { return static_cast<float>(draw(1 << 20)) / (1 << 19) - 1; }

struct Case {
    ta_spec spec{};
    int64_t page_size = 0;
    std::vector<float> q, state, state_gradient;
    std::vector<int64_t> first;
    std::vector<std::vector<ta_page>> pages;
    std::vector<ta_shard> shards;
    ta_mask mask{};
    std::vector<std::unique_ptr<char, void (*)(void *)>> memory;
};

void put(char *at, int type, float value) {
    if (type == TA_F32) {
        std::memcpy(at, &value, 4);
        return;
    }
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    // Powers of two and their like survive both formats; the exact rounding does not matter here.
    const uint16_t half = type == TA_BF16 ? static_cast<uint16_t>(bits >> 16)
                                          : static_cast<uint16_t>((bits >> 16 & 0x8000) | (((bits & 0x7fffffff) >> 13) - (112 << 10)));
    std::memcpy(at, &half, 2);
}

// One page's rows of all heads. The last head's rows end where the memory ends: rows beyond `length` do not exist.
const void *rows_of(Case &c, int64_t length, int dim) {
    const int size = c.spec.kv_type == TA_F32 ? 4 : 2;
    const int64_t rows = (c.spec.kv_heads - 1) * c.page_size + length;
    char *const bytes = static_cast<char *>(std::malloc(static_cast<size_t>(rows * dim * size)));
    c.memory.emplace_back(bytes, std::free);
    for (int64_t i = 0; i < rows * dim; i++) {
        const float value = draw_float();
        put(bytes + i * size, c.spec.kv_type, std::fabs(value) < 0.01f ? 0.5f : value);
    }
    return bytes;
}

// A table whose rows are `keys` long, each axis shared or not. The memory ends where its last row ends.
ta_table table_of(Case &c, int64_t keys, int64_t heads, size_t size) {
    const int64_t batch = draw(2) == 0 ? 1 : c.spec.batch, queries = draw(2) == 0 ? 1 : c.spec.queries;
    heads = draw(2) == 0 ? 1 : heads;
    ta_table table{};
    table.offset = static_cast<int64_t>(draw(3));
    table.length = table.offset + batch * heads * queries * keys;
    table.batch_stride = batch == 1 ? 0 : heads * queries * keys;
    table.head_stride = heads == 1 ? 0 : queries * keys;
    table.query_stride = queries == 1 ? 0 : keys;
    table.keys = keys;
    void *const values = std::malloc(static_cast<size_t>(table.length) * size);
    c.memory.emplace_back(static_cast<char *>(values), std::free);
    table.values = values;
    return table;
}

template <class T>
T *elements(const ta_table &table) {
    return static_cast<T *>(const_cast<void *>(table.values));
}

void draw_mask(Case &c, int64_t end) {
    if (draw(3) == 0) {
        c.mask.keys = table_of(c, end, 1, 1);
        c.mask.keys.query_stride = 0;
        c.mask.keys.batch_stride = 0;
        for (int64_t i = 0; i < c.mask.keys.length; i++) {
            elements<uint8_t>(c.mask.keys)[i] = static_cast<uint8_t>(draw(4));
        }
    }
    if (draw(3) == 0) {
        c.mask.visible = table_of(c, end, c.spec.heads, 1);
        for (int64_t i = 0; i < c.mask.visible.length; i++) {
            elements<uint8_t>(c.mask.visible)[i] = static_cast<uint8_t>(draw(3));
        }
    }
    if (draw(3) == 0) {
        c.mask.bias = table_of(c, end, c.spec.heads, sizeof(float));
        for (int64_t i = 0; i < c.mask.bias.length; i++) {
            elements<float>(c.mask.bias)[i] = draw(8) == 0 ? -INFINITY : draw_float();
        }
    }
    if (draw(3) == 0) {
        c.mask.ranges = table_of(c, 2, 1, sizeof(int64_t));
        for (int64_t i = 0; i < c.mask.ranges.length; i++) {
            elements<int64_t>(c.mask.ranges)[i] = draw(8) == 0 ? INT64_MIN : draw(8) == 0 ? INT64_MAX : static_cast<int64_t>(draw(static_cast<uint64_t>(end)));
        }
    }
}

Case random_case(int isa) {
    static const int dims[] = {1, 3, 8, 13, 16, 20, 33, 64, 80, 128};
    static const int counts[] = {1, 2, 5, 7, 13, 33, 100};
    Case c;
    c.spec.isa = isa;
    c.spec.batch = 1 + static_cast<int>(draw(2));
    c.spec.kv_heads = 1 + static_cast<int>(draw(2));
    c.spec.heads = c.spec.kv_heads * (1 + static_cast<int>(draw(4)));
    c.spec.queries = counts[draw(7)];
    c.spec.head_dim = dims[draw(10)];
    c.spec.value_dim = dims[draw(10)];
    c.spec.kv_type = static_cast<int>(draw(3));
    c.spec.causal = static_cast<int>(draw(2));
    c.spec.sliding_window = c.spec.causal && draw(3) == 0 ? 1 + static_cast<int64_t>(draw(40)) : 0;
    c.spec.scale = 1 / std::sqrt(static_cast<double>(c.spec.head_dim));
    c.spec.soft_cap = draw(4) == 0 ? 5 : 0;
    c.page_size = 1 + static_cast<int64_t>(draw(200));
    const size_t rows = static_cast<size_t>(c.spec.batch) * c.spec.heads * c.spec.queries;
    c.q.resize(rows * c.spec.head_dim);
    for (float &x : c.q) {
        x = draw_float();
    }
    c.state.resize(rows * (c.spec.value_dim + 1));
    c.state_gradient.resize(c.state.size());
    for (float &x : c.state_gradient) {
        x = draw_float();
    }
    if (draw(3) == 0) {
        c.spec.dropout_rate = static_cast<double>(draw(90)) / 100;
        c.spec.dropout_seed = draw(1u << 30);
    }
    int64_t end = 1;
    for (int b = 0; b < c.spec.batch; b++) {
        std::vector<ta_page> pages;
        int64_t position = static_cast<int64_t>(draw(10));
        for (uint64_t i = draw(5); i > 0; i--) {
            const int64_t length = 1 + static_cast<int64_t>(draw(static_cast<uint64_t>(c.page_size)));
            const void *const keys = rows_of(c, length, c.spec.head_dim);
            pages.push_back(ta_page{keys, rows_of(c, length, c.spec.value_dim), position, length});
            end = position + length > end ? position + length : end;
            position += length + static_cast<int64_t>(draw(20));
        }
        c.first.push_back(position > c.spec.queries ? position - c.spec.queries : 0);
        c.pages.push_back(std::move(pages));
    }
    for (const auto &pages : c.pages) {
        c.shards.push_back(ta_shard{pages.data(), static_cast<int64_t>(pages.size()), c.page_size});
    }
    draw_mask(c, end);
    return c;
}

ta_rows rows_of(const Case &c, std::vector<float> &state) {
    float *const rows = state.data();
    return ta_rows{rows, rows + c.spec.value_dim, c.spec.value_dim + 1, c.spec.value_dim + 1};
}

ta_status forward(Case &c) {
    ta_partial_params params{};
    params.spec = c.spec;
    params.q = c.q.data();
    params.first_positions = c.first.data();
    params.shards = c.shards.data();
    params.mask = &c.mask;
    params.rows = rows_of(c, c.state);
    return ta_partial(&params);
}

// The lse alone, then out and lse in two arrays with q's first elements as the source; the case's dropout and soft-cap do not
// go with these.
ta_status lse(const Case &c, std::vector<float> *alone, std::vector<float> *out, std::vector<float> *with_source) {
    const size_t rows = static_cast<size_t>(c.spec.batch) * c.spec.heads * c.spec.queries;
    std::vector<float> source(rows * c.spec.value_dim);
    for (size_t i = 0; i < source.size(); i++) {
        source[i] = c.q[i % c.q.size()];
    }
    ta_partial_params params{};
    params.spec = c.spec;
    params.spec.dropout_rate = 0;
    params.q = c.q.data();
    params.first_positions = c.first.data();
    params.shards = c.shards.data();
    params.mask = &c.mask;
    alone->resize(rows);
    params.rows = ta_rows{nullptr, alone->data(), 0, 1};
    const ta_status status = ta_partial(&params);
    params.spec.soft_cap = 0;
    params.source = source.data();
    out->resize(rows * c.spec.value_dim);
    with_source->resize(rows);
    params.rows = ta_rows{out->data(), with_source->data(), c.spec.value_dim, 1};
    return status == TA_OK ? ta_partial(&params) : status;
}

// dq, then each batch row's dkeys and dvalues
ta_status backward(Case &c, std::vector<std::vector<float>> &gradients) {
    gradients.assign(1, std::vector<float>(c.q.size()));
    for (int side = 0; side < 2; side++) {
        for (const auto &pages : c.pages) {
            size_t keys = 0;
            for (const ta_page &page : pages) {
                keys += static_cast<size_t>(page.length);
            }
            const int dim = side == 0 ? c.spec.head_dim : c.spec.value_dim;
            gradients.emplace_back(keys * c.spec.kv_heads * dim + (keys == 0 ? 1 : 0));
        }
    }
    std::vector<float *> pointers;
    for (auto &gradient : gradients) {
        pointers.push_back(gradient.data());
    }
    ta_backward_params params{};
    params.spec = c.spec;
    params.q = c.q.data();
    params.first_positions = c.first.data();
    params.shards = c.shards.data();
    params.mask = &c.mask;
    params.rows = rows_of(c, c.state);
    params.row_gradients = rows_of(c, c.state_gradient);
    params.dq = pointers[0];
    params.dkeys = pointers.data() + 1;
    params.dvalues = pointers.data() + 1 + c.spec.batch;
    return ta_backward(&params);
}

bool close(const std::vector<float> &a, const std::vector<float> &b) {
    for (size_t i = 0; i < a.size(); i++) {
        if (!(a[i] == b[i] || std::fabs(a[i] - b[i]) <= 1e-4f * (1 + std::fabs(b[i])))) {
            std::fprintf(stderr, "element %zu: %g, generic %g\n", i, static_cast<double>(a[i]), static_cast<double>(b[i]));
            return false;
        }
    }
    return true;
}

// Every way in which a table can reach beyond its memory or fall short of the keys.
bool refuses_bad_tables() {
    for (int trial = 0; trial < 50; trial++) {
        Case c = random_case(TA_ISA_ACTIVE);
        int64_t end = 1;
        for (const auto &pages : c.pages) {
            end = pages.empty() ? end : std::max(end, pages.back().start + pages.back().length);
        }
        const bool held = std::any_of(c.pages.begin(), c.pages.end(), [](const auto &pages) { return !pages.empty(); });
        c.mask = ta_mask{};
        ta_table table = table_of(c, end, c.spec.heads, 1);
        std::memset(elements<uint8_t>(table), 1, static_cast<size_t>(table.length));
        c.mask.visible = table;
        bool refused = forward(c) == TA_OK;
        const auto refuse = [&](ta_table bad) {
            c.mask.visible = bad;
            refused &= forward(c) == TA_INVALID_ARGUMENT;
        };
        ta_table bad = table;
        bad.length--;
        refuse(bad);
        bad = table;
        bad.offset = -1;
        refuse(bad);
        bad = table;
        bad.query_stride = -1;
        refuse(bad);
        bad = table;
        bad.batch_stride = INT64_MAX;
        if (c.spec.batch > 1) {
            refuse(bad);
        }
        bad = table;
        bad.keys--;
        if (held) {
            refuse(bad);
        }
        if (!refused) {
            std::fprintf(stderr, "a bad table was not refused, or a good one was: trial %d\n", trial);
            return false;
        }
    }
    return true;
}

}  // namespace

int main(int count, char **arguments) {
    const int trials = count > 1 ? std::atoi(arguments[1]) : 100;
    ta_set_threads(3);
    if (!refuses_bad_tables()) {
        return 1;
    }
    for (int trial = 0; trial < trials; trial++) {
        Case c = random_case(TA_ISA_GENERIC);
        std::vector<std::vector<float>> wanted, got;
        std::vector<float> wanted_lse, wanted_out, wanted_energy, got_lse, got_out, got_energy;
        if (forward(c) != TA_OK || backward(c, wanted) != TA_OK || lse(c, &wanted_lse, &wanted_out, &wanted_energy) != TA_OK) {
            return 1;
        }
        const std::vector<float> state = c.state;
        for (int isa = TA_ISA_GENERIC + 1; isa <= ta_best_isa(); isa++) {
            c.spec.isa = isa;
            if (forward(c) != TA_OK || !close(c.state, state) || backward(c, got) != TA_OK) {
                std::fprintf(stderr, "trial %d, %s\n", trial, ta_isa_name(static_cast<ta_isa>(isa)));
                return 1;
            }
            if (lse(c, &got_lse, &got_out, &got_energy) != TA_OK || !close(got_lse, wanted_lse) || !close(got_out, wanted_out) ||
                !close(got_energy, wanted_energy)) {
                std::fprintf(stderr, "trial %d, %s, lse\n", trial, ta_isa_name(static_cast<ta_isa>(isa)));
                return 1;
            }
            for (size_t i = 0; i < got.size(); i++) {
                if (!close(got[i], wanted[i])) {
                    std::fprintf(stderr, "trial %d, %s, gradient %zu\n", trial, ta_isa_name(static_cast<ta_isa>(isa)), i);
                    return 1;
                }
            }
        }
    }
    return 0;
}
