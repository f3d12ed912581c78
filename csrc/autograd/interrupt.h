// Ctrl-C in long work: where the core asks whether it should stop, and a kernel's phase that stops between tasks.
//
// Invariant: the hook is called only on the thread that made the call, and may throw there; tasks themselves never throw.
// A phase that was broken off leaves its outputs half written: whoever called drops them or raises their version.
// Read next: bindings/origin.cpp (the hook), dispatch/call.cpp and graph/executor.cpp (the callers).
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>

#include "core/kernel_args.h"
#include "core/parallel.h"

namespace gorgo {

// Called between records of a backward, steps of a replay, and tasks of a long kernel; may throw. Supplied by the bindings.
extern void (*interrupt_hook)();

// Runs the tasks of one phase, spread over threads. With `is_long` the calling thread looks for Ctrl-C between its tasks.
inline void run_phase(const Phase& phase, const KernelArgs& args, int64_t tasks, bool is_long) {
  if (tasks == 1) {
    phase.run(args, 0);
    return;
  }
  if (tasks <= 0) return;
  if (!is_long || interrupt_hook == nullptr || in_parallel_region()) {
    parallel_for(tasks, [&](int64_t task) noexcept { phase.run(args, task); });
    return;
  }
  std::atomic<bool> stopped{false};
  std::exception_ptr error;
  const auto caller = std::this_thread::get_id();
  parallel_for(tasks, [&](int64_t task) noexcept {
    if (stopped.load(std::memory_order_relaxed)) return;
    phase.run(args, task);
    if (std::this_thread::get_id() != caller) return;
    try {
      interrupt_hook();
    } catch (...) {
      error = std::current_exception();
      stopped.store(true, std::memory_order_relaxed);
    }
  });
  if (error) std::rethrow_exception(error);
}

}  // namespace gorgo
