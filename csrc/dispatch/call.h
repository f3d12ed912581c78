// The funnel: every op call of the library passes through here, and nowhere else.
//
// One call: device check, infer, casts, outputs from the pool, kernel from the OpDef's table, faults, then the records for tape
// and capture. Tape, capture and profiling hook in here only.
// Read next: call.cpp from top to bottom; opdef/invoke.h for how it is reached.
#pragma once

#include "opdef/invoke.h"

namespace gorgo {

// Lets other Python threads run while a kernel is long. Supplied by the bindings; null means there is no such lock.
struct HostLock {
  void* (*release)() noexcept = nullptr;  // null result: the lock was not held
  void (*reacquire)(void* state) noexcept = nullptr;
};
extern HostLock host_lock;

// Runs every phase of a kernel over its tasks; the only caller of parallel_for besides the executor.
void run_kernel(const Kernel& kernel, const KernelArgs& args, bool is_long = false);

// Fills in `funnel`. Called once at import.
void install_funnel();

}  // namespace gorgo
