#include "thread_pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <pthread.h>
#include <unistd.h>

namespace ta {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kSpins = 500;  // some ten microseconds: the gap between the phases of one call

void pause_briefly() {
#if defined(__x86_64__)
    _mm_pause();
#else
    std::this_thread::yield();
#endif
}

struct Job {
    void (*task)(void *, int64_t) = nullptr;
    void *context = nullptr;
    int64_t items = 0;
};

class Pool {
   public:
    Pool() : wanted_(initial_threads()) {}

    void run(int64_t items, void (*task)(void *, int64_t), void *context) {
        std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
        if (items < 2 || !owner.owns_lock() || !start_workers() || workers_ == 0) {
            for (int64_t i = 0; i < items; i++) {
                task(context, i);
            }
            return;
        }
        job_ = Job{task, context, items};
        next_.store(0, std::memory_order_relaxed);
        busy_.store(workers_, std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(sleep_);
            generation_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        work(job_);
        for (int spins = 0; busy_.load(std::memory_order_acquire) != 0; spins++) {
            if (spins < kSpins) {
                pause_briefly();
            } else {
                std::this_thread::yield();  // a worker lost its core: more ranks than cores share the host
            }
        }
    }

    int32_t threads() {
        std::lock_guard<std::mutex> owner(owner_);
        return wanted_;
    }

    void resize(int32_t threads) {
        std::lock_guard<std::mutex> owner(owner_);
        stop_workers();
        wanted_ = threads < 1 ? 1 : threads > kMaxThreads ? kMaxThreads : threads;
    }

   private:
    static int32_t initial_threads() {
        const long cores = sysconf(_SC_NPROCESSORS_ONLN);  // what of them this process may use is its caller's to know
        return cores < 1 ? 1 : cores > kMaxThreads ? kMaxThreads : static_cast<int32_t>(cores);
    }

    // Called with owner_ held, at the first job: a process that never computes has no threads of ours.
    bool start_workers() {
        if (process_ != getpid()) {  // after fork() only the calling thread is left
            process_ = getpid();
            workers_ = 0;
        }
        if (workers_ == 0) {
            started_generation_ = generation_.load(std::memory_order_relaxed);
        }
        while (workers_ < wanted_ - 1) {
            pthread_t thread;
            if (pthread_create(&thread, nullptr, &Pool::enter, this) != 0) {
                wanted_ = workers_ + 1;
                return false;
            }
            threads_[workers_++] = thread;
        }
        return true;
    }

    void stop_workers() {
        if (workers_ == 0 || process_ != getpid()) {
            workers_ = 0;
            return;
        }
        job_ = Job{};
        busy_.store(workers_, std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(sleep_);
            stopping_ = true;
            generation_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        for (int i = 0; i < workers_; i++) {
            pthread_join(threads_[i], nullptr);
        }
        workers_ = 0;
        stopping_ = false;
    }

    static void *enter(void *self) {
        pthread_setname_np(pthread_self(), "tree-attention");  // as top and debuggers show it
        static_cast<Pool *>(self)->serve();
        return nullptr;
    }

    void serve() {
        uint64_t seen = started_generation_;
        for (;;) {
            seen = await(seen);
            if (stopping_) {
                return;
            }
            work(job_);
            busy_.fetch_sub(1, std::memory_order_release);
        }
    }

    uint64_t await(uint64_t seen) {
        for (int i = 0; i < kSpins; i++) {
            if (generation_.load(std::memory_order_acquire) != seen) {
                return generation_.load(std::memory_order_acquire);
            }
            pause_briefly();
        }
        std::unique_lock<std::mutex> lock(sleep_);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
        return generation_.load(std::memory_order_acquire);
    }

    void work(const Job &job) {
        for (;;) {
            const int64_t item = next_.fetch_add(1, std::memory_order_relaxed);
            if (item >= job.items) {
                return;
            }
            job.task(job.context, item);
        }
    }

    std::mutex owner_;  // held by the call that the pool works for
    std::mutex sleep_;
    std::condition_variable wake_;
    std::atomic<uint64_t> generation_{0};
    uint64_t started_generation_ = 0;  // a worker that starts late still serves the job it was counted in
    std::atomic<int64_t> next_{0};
    std::atomic<int> busy_{0};
    bool stopping_ = false;
    Job job_;
    int wanted_;
    int workers_ = 0;
    pid_t process_ = 0;
    pthread_t threads_[kMaxThreads];
};

// Never destroyed: workers may outlive static destructors at process exit.
Pool &pool() {
    static Pool *const instance = new Pool();
    return *instance;
}

}  // namespace

void run_parallel(int64_t items, void (*task)(void *context, int64_t item), void *context) {
    pool().run(items, task, context);
}

int32_t pool_threads() { return pool().threads(); }

void set_pool_threads(int32_t threads) { pool().resize(threads); }

}  // namespace ta
