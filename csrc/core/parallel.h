// The one thread pool of the process.
//
// Invariants: every task runs exactly once, and the call returns after the last has finished. Which thread runs a task
// is left to chance, so a caller who splits work by shape alone gets the same bits for any thread count. Tasks do not
// throw. A call from inside a region, or while another thread's call holds the workers, runs its tasks on its own
// thread: nothing can wait in a circle. The caller takes every task that nobody has claimed, and waits for claimed ones
// alone; after a worker was pushed off its processor with a task in hand, calls keep to their own thread for a while.
// Idle workers spin for some tens of microseconds, then park. A fork leaves the
// child without workers; its first call makes new ones. At exit nothing is joined.
// Read next: parallel.cpp; core/cgroup.h for what sizes the pool.
#pragma once

#include <cstdint>
#include <type_traits>

namespace gorgo {

using TaskFn = void (*)(void* ctx, int64_t task) noexcept;

// Runs fn(ctx, 0) ... fn(ctx, tasks - 1), each once, and returns when all are done. With one task, one thread, or
// inside a region, everything runs on the caller.
void parallel_run(int64_t tasks, TaskFn fn, void* ctx);

// The same for a callable f(int64_t task), which must not throw.
template <class F>
void parallel_for(int64_t tasks, F&& f) {
  using Callable = std::remove_reference_t<F>;
  parallel_run(
      tasks, [](void* ctx, int64_t task) noexcept { (*static_cast<Callable*>(ctx))(task); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

// Threads that a call may use, the caller among them; hardware_threads() until set_num_threads says otherwise.
int num_threads();

// ValueError below 1 or above 4096; StateError inside a region. Waits for a running call to finish.
void set_num_threads(int n);

// The default: GORGO_NUM_THREADS, else OMP_NUM_THREADS, else the processors that affinity and the control group's quota
// leave us. Found once; ValueError when a variable is malformed.
int hardware_threads();

// How many calls so far had several tasks and several threads to run them on: by this a test knows that a size reaches the
// workers.
int64_t shared_calls();

// True on a thread that is running a task of a call that was spread over several threads.
bool in_parallel_region();

}  // namespace gorgo
