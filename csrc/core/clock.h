// The monotonic clock.
#pragma once

#include <chrono>
#include <cstdint>

namespace gorgo {

// Nanoseconds since some moment before the process began.
[[nodiscard]] inline int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace gorgo
