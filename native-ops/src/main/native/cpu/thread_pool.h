// The one pool of threads that all calls share. Workers are created once, spin briefly after a job, then sleep.
#pragma once

#include <cstdint>

namespace ta {

// Runs task(context, item) once for each item 0..items-1, on the caller and the pool's workers; items are handed out in
// ascending order. Returns when all are done. Where another call holds the pool, the caller does all the work itself:
// several callers at once thus share the cores without queueing.
void run_parallel(int64_t items, void (*task)(void *context, int64_t item), void *context);

int32_t pool_threads();

// How many threads, the caller included, jobs may use from now on; at first the host's cores. Where the system refuses a
// thread, the jobs make do with those there are.
void set_pool_threads(int32_t threads);

}  // namespace ta
