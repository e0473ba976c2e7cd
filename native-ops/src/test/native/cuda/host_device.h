// Stands in for device.cuh, so that g++ compiles the CUDA kernels and sanitizers watch them: a fiber for each thread of a block, blocks
// one after another. Sees what the kernels do, not the instructions that device.cuh wraps.
#pragma once

#include <sys/mman.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define DEVICE inline
#define KERNEL static void
#define __launch_bounds__(...)
#define SHARED alignas(16) static

struct Half {
    unsigned short bits;
};
struct Bfloat {
    unsigned short bits;
};
struct alignas(16) Words {
    unsigned w[4];
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct Dim {
    unsigned x, y, z;
};

namespace host {

constexpr size_t kStackBytes = 128 << 10;
constexpr size_t kSharedBytes = 100 << 10;  // the most that a launch may ask for

struct Copy {
    void *to;
    const void *from;
    bool take;
};

struct Fiber {
    ucontext_t context;
    char *stack;
    void *fake_stack;
    Dim index;
    int number;
    bool done;
    std::vector<std::vector<Copy>> groups;  // of copies on their way; the last is open
};

struct Exchange {  // what the lanes of a warp show each other
    int arrived;
    unsigned generation;
    uint64_t word[2][32];
    const void *pointer[2][32];
};

inline std::vector<Fiber> fibers;
inline std::vector<Exchange> warps;
inline Fiber *current;
inline ucontext_t scheduler;
inline std::function<void()> body;
inline Dim grid, block, block_index;
inline int waiting;            // at the block's barrier
inline unsigned barrier;       // how often it opened
inline long progress;
inline char *shared;
inline const void *scheduler_stack;
inline size_t scheduler_stack_bytes;

inline void switch_to(Fiber *fiber) {
    current = fiber;
#if defined(__SANITIZE_ADDRESS__)
    void *fake;
    __sanitizer_start_switch_fiber(&fake, fiber->stack, kStackBytes);
    swapcontext(&scheduler, &fiber->context);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
    swapcontext(&scheduler, &fiber->context);
#endif
}

inline void pause(bool last = false) {
    Fiber *const me = current;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(last ? nullptr : &me->fake_stack, scheduler_stack, scheduler_stack_bytes);
#endif
    swapcontext(&me->context, &scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(me->fake_stack, &scheduler_stack, &scheduler_stack_bytes);
#endif
    (void)last;
}

inline void enter() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_bytes);
#endif
    body();
    for (const auto &group : current->groups) {
        if (!group.empty()) {
            std::fprintf(stderr, "a thread ends with copies on their way\n");
            std::abort();
        }
    }
    current->done = true;
    progress++;
    pause(true);
}

// Shows a word and a pointer to the warp; returns which of the two buffers to read the others' from.
inline int exchange(uint64_t word, const void *pointer) {
    Exchange &warp = warps[static_cast<size_t>(current->number / 32)];
    const unsigned generation = warp.generation;
    const int lane = current->number % 32, buffer = static_cast<int>(generation & 1);
    warp.word[buffer][lane] = word;
    warp.pointer[buffer][lane] = pointer;
    if (++warp.arrived == 32) {
        warp.arrived = 0;
        warp.generation++;
        progress++;
    }
    while (warp.generation == generation) {
        pause();
    }
    return buffer;
}

inline const void *pointer_of(int buffer, int lane) { return warps[static_cast<size_t>(current->number / 32)].pointer[buffer][lane]; }
inline uint64_t word_of(int buffer, int lane) { return warps[static_cast<size_t>(current->number / 32)].word[buffer][lane]; }

inline void finish_copies(size_t most) {
    auto &groups = current->groups;
    while (groups.size() - 1 > most) {
        for (const Copy &copy : groups.front()) {
            if (copy.take) {
                std::memcpy(copy.to, copy.from, 16);
            } else {
                std::memset(copy.to, 0, 16);
            }
        }
        groups.erase(groups.begin());
    }
}

// Runs a kernel. The order of the threads is drawn from seed; 0 leaves it ascending.
inline void launch(Dim grid_size, Dim block_size, size_t shared_bytes, unsigned seed, std::function<void()> kernel) {
    grid = grid_size;
    block = block_size;
    body = std::move(kernel);
    if (shared == nullptr) {
        shared = static_cast<char *>(std::aligned_alloc(16, kSharedBytes));
    }
    const size_t threads = static_cast<size_t>(block.x) * block.y;
    while (fibers.size() < threads) {
        fibers.emplace_back();
        fibers.back().stack = static_cast<char *>(mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    }
    std::vector<size_t> order(threads);
    for (size_t i = 0; i < threads; i++) {
        order[i] = i;
    }
    uint32_t random = seed;
    for (size_t number = 0; number < static_cast<size_t>(grid.x) * grid.y * grid.z; number++) {
        block_index = Dim{static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
                          static_cast<unsigned>(number / grid.x / grid.y)};
        warps.assign(threads / 32, Exchange());
        waiting = 0;
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(shared, kSharedBytes);
        std::memset(shared, 0xff, kSharedBytes);  // NaN
        __asan_poison_memory_region(shared + shared_bytes, kSharedBytes - shared_bytes);
#else
        std::memset(shared, 0xff, shared_bytes);
#endif
        for (size_t i = 0; i < threads; i++) {
            Fiber &fiber = fibers[i];
            fiber.index = Dim{static_cast<unsigned>(i % block.x), static_cast<unsigned>(i / block.x), 0};
            fiber.number = static_cast<int>(i);
            fiber.done = false;
            fiber.groups.assign(1, {});
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack;
            fiber.context.uc_stack.ss_size = kStackBytes;
            fiber.context.uc_link = nullptr;
            makecontext(&fiber.context, enter, 0);
        }
        for (size_t left = threads; left > 0;) {
            const long before = progress;
            for (size_t i = threads - 1; seed != 0 && i > 0; i--) {
                random = random * 1664525u + 1013904223u;
                std::swap(order[i], order[(random >> 8) % (i + 1)]);
            }
            for (const size_t i : order) {
                if (!fibers[i].done) {
                    switch_to(&fibers[i]);
                    left -= fibers[i].done ? 1 : 0;
                }
            }
            if (progress == before) {
                std::fprintf(stderr, "deadlock: %d of %zu threads are at the block's barrier\n", waiting, left);
                std::abort();
            }
        }
    }
}

}  // namespace host

#define threadIdx (host::current->index)
#define blockIdx host::block_index
#define gridDim host::grid
#define blockDim host::block

inline unsigned char *dynamic_shared() { return reinterpret_cast<unsigned char *>(host::shared); }

template <class To, class From>
inline To same_bits(From from) {
    To to;
    static_assert(sizeof(To) == sizeof(From), "as the device's intrinsics");
    std::memcpy(&to, &from, sizeof(To));
    return to;
}
inline float __int_as_float(int x) { return same_bits<float>(x); }
inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }

inline float minus_infinity() { return -INFINITY; }
inline float exp2_of(float x) { return exp2f(x); }

inline float to_float(float x) { return x; }
inline float to_float(Bfloat x) { return same_bits<float>(static_cast<unsigned>(x.bits) << 16); }
inline float to_float(Half x) {
    const int sign = x.bits >> 15, exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
    const float size = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                       : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                       : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
    return sign == 1 ? -size : size;
}

inline Bfloat rounded(float x, Bfloat) {
    const unsigned bits = same_bits<unsigned>(x);
    if (std::isnan(x)) {
        return Bfloat{0x7fff};
    }
    return Bfloat{static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline Half rounded(float x, Half) {
    const unsigned short sign = std::signbit(x) ? 0x8000 : 0;
    const float size = std::fabs(x);
    if (std::isnan(x)) {
        return Half{0x7fff};
    }
    if (size >= 65520.0f) {
        return Half{static_cast<unsigned short>(sign | 0x7c00)};
    }
    int exponent = 0;
    std::frexp(size, &exponent);  // size = m 2^exponent, 0.5 <= m < 1
    const int unit = size == 0 || exponent - 11 < -24 ? -24 : exponent - 11;
    const unsigned whole = static_cast<unsigned>(std::nearbyint(std::ldexp(size, -unit)));
    // whole < 2048 counts units; 1024 and more is a normal number, and a carry goes into the exponent by itself
    const unsigned bits = unit == -24 ? whole : static_cast<unsigned>(unit + 24) * 1024 + whole;
    return Half{static_cast<unsigned short>(sign | bits)};
}

inline float shuffle(float x, int lane) {
    const int buffer = host::exchange(same_bits<unsigned>(x), nullptr);
    return same_bits<float>(static_cast<unsigned>(host::word_of(buffer, lane)));
}
inline float shuffle_xor(float x, int lanes) { return shuffle(x, (host::current->number % 32) ^ lanes); }

inline void sync_block() {
    const unsigned before = host::barrier;
    if (++host::waiting == static_cast<int>(host::block.x * host::block.y)) {
        host::waiting = 0;
        host::barrier++;
        host::progress++;
    }
    while (host::barrier == before) {
        host::pause();
    }
}
inline void sync_warp() {
    host::exchange(0, nullptr);
}
inline void set_flag(int *flag) { *flag |= 1; }

inline void copy_async(void *to, const void *from, bool take) {
    std::memset(to, 0xff, 16);  // until it has arrived
    host::current->groups.back().push_back(host::Copy{to, from, take});
}
inline void commit_copies() { host::current->groups.emplace_back(); }
template <int N>
inline void wait_copies() {
    host::finish_copies(N);
}

inline void load_matrices(unsigned (&r)[4], const void *row) {
    const int buffer = host::exchange(0, row), lane = host::current->number % 32;
    for (int m = 0; m < 4; m++) {
        std::memcpy(&r[m], static_cast<const char *>(host::pointer_of(buffer, 8 * m + lane / 4)) + lane % 4 * 4, 4);
    }
    host::exchange(0, nullptr);
}
inline void load_matrices_transposed(unsigned (&r)[4], const void *row) {
    const int buffer = host::exchange(0, row), lane = host::current->number % 32;
    for (int m = 0; m < 4; m++) {
        unsigned short pair[2];
        for (int i = 0; i < 2; i++) {
            std::memcpy(&pair[i], static_cast<const char *>(host::pointer_of(buffer, 8 * m + lane % 4 * 2 + i)) + lane / 4 * 2, 2);
        }
        r[m] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
    }
    host::exchange(0, nullptr);
}

template <class T>
inline void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, T) {
    struct Fragment {
        unsigned a[4], b[2];
    } const mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    const int buffer = host::exchange(0, &mine), quad = host::current->number % 32 / 4, pair = host::current->number % 4;
    for (int i = 0; i < 4; i++) {
        double sum = c[i];
        for (int k = 0; k < 16; k++) {
            const auto *const left = static_cast<const Fragment *>(host::pointer_of(buffer, quad * 4 + k % 8 / 2));
            const auto *const right = static_cast<const Fragment *>(host::pointer_of(buffer, (pair * 2 + i % 2) * 4 + k % 8 / 2));
            const unsigned x = left->a[i / 2 + 2 * (k / 8)] >> 16 * (k % 2), y = right->b[k / 8] >> 16 * (k % 2);
            sum += static_cast<double>(to_float(T{static_cast<unsigned short>(x & 0xffffu)})) *
                   static_cast<double>(to_float(T{static_cast<unsigned short>(y & 0xffffu)}));
        }
        c[i] = static_cast<float>(sum);
    }
    host::exchange(0, nullptr);
}
