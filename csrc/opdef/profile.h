// What ran, when and for how long: where the funnel and the executor report each kernel while somebody is looking.
//
// Invariant: with nobody looking a kernel pays one relaxed load. Events of all threads go to one list, in the order in which
// kernels ended; beyond the list's limit they are counted, not kept.
// Read next: dispatch/call.cpp, graph/executor.cpp and graph/device_replay.cpp (who report),
// bindings/bind_profile.cpp (who looks).
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "core/kernel_args.h"
#include "opdef/op.h"

namespace gorgo {

struct KernelEvent {
  const OpDef* op = nullptr;
  int64_t start_ns = 0;  // of the steady clock
  int64_t duration_ns = 0;
  int64_t bytes = 0;   // of all operands, each counted once
  double flops = 0;    // as the op counts them; 0 where it does not
  int32_t thread = 0;  // numbered from 0 in the order of their first event
  bool replayed = false;
  std::string shapes;  // "(2, 3), (3,) -> (2, 3)", when asked for
};

struct Profile {
  std::vector<KernelEvent> events;
  int64_t dropped = 0;
  int64_t start_ns = 0;
  int64_t duration_ns = 0;
};

// Throws StateError when a profile is under way. `most` events are kept, with the operands' shapes if asked.
void start_profile(int64_t most, bool shapes);
// Throws StateError when none is.
[[nodiscard]] Profile stop_profile();

extern std::atomic<bool> profiling;

// Reports the kernel that runs during its life.
class ProfiledKernel {
 public:
  ProfiledKernel(const OpDef& op, const KernelArgs& args, bool replayed) noexcept {
    if (profiling.load(std::memory_order_relaxed)) [[unlikely]]
      begin(op, args, replayed);
  }
  ProfiledKernel(const ProfiledKernel&) = delete;
  ProfiledKernel& operator=(const ProfiledKernel&) = delete;
  ProfiledKernel(ProfiledKernel&&) = delete;
  ProfiledKernel& operator=(ProfiledKernel&&) = delete;
  ~ProfiledKernel() {
    if (op_ != nullptr) [[unlikely]]
      end();
  }

 private:
  void begin(const OpDef& op, const KernelArgs& args, bool replayed) noexcept;
  void end() noexcept;

  const OpDef* op_ = nullptr;
  const KernelArgs* args_ = nullptr;
  int64_t start_ns_ = 0;
  bool replayed_ = false;
};

}  // namespace gorgo
