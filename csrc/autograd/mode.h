// Thread-local modes that the funnel reads at every call.
#pragma once

#include <utility>

namespace gorgo {

struct ThreadModes {
  bool grad_enabled = true;
};
#if defined(__linux__)
[[gnu::tls_model("initial-exec")]]
#endif
extern constinit thread_local ThreadModes thread_modes;

// Turns gradient recording on or off while it lives.
class GradMode {
 public:
  explicit GradMode(bool enabled) noexcept : previous_(std::exchange(thread_modes.grad_enabled, enabled)) {}
  ~GradMode() { thread_modes.grad_enabled = previous_; }
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool previous_;
};

}  // namespace gorgo
