// Working memory of one thread: 64-byte aligned, kept between calls, grown on demand, independent of the context's length.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace ta {

// Adds to what ta_scratch_bytes tells. In scratch.cpp.
void count_scratch(int64_t bytes);

namespace {  // internal: no function of this header may be shared between tiers by the linker

class Scratch {
   public:
    Scratch() = default;
    Scratch(const Scratch &) = delete;
    Scratch &operator=(const Scratch &) = delete;
    ~Scratch() { release(); }

    // At least bytes of memory, content undefined; null if there is none to be had.
    void *reserve(size_t bytes) {
        if (bytes > size_) {
            release();
            memory_ = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
            size_ = memory_ == nullptr ? 0 : bytes;
            count_scratch(static_cast<int64_t>(size_));
        }
        return memory_;
    }

   private:
    void release() {
        std::free(memory_);
        count_scratch(-static_cast<int64_t>(size_));
        size_ = 0;
    }

    void *memory_ = nullptr;
    size_t size_ = 0;
};

// Hands out pieces of one block; with a null block it only measures.
class Carver {
   public:
    explicit Carver(void *block) : at_(static_cast<char *>(block)) {}

    template <class T>
    T *take(int64_t count) {
        T *piece = reinterpret_cast<T *>(at_ == nullptr ? nullptr : at_ + used_);
        used_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
        return piece;
    }

    size_t used() const { return used_; }

   private:
    char *at_;
    size_t used_ = 0;
};

}  // namespace
}  // namespace ta
