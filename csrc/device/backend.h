// Devices as the rest of the library sees them: names, existence, and where a device's bytes come from.
//
// Invariant: a call's device is chosen once, by its operands; nothing here falls back to another device.
// Read next: cpu/isa.h, cuda/device.h.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "memory/storage.h"

namespace gorgo {

inline constexpr Device kCpu{DeviceType::Cpu, 0};
inline constexpr Device kNull{DeviceType::Null, 0};

// "cpu", "cuda:0", "null".
[[nodiscard]] std::string device_name(Device device);
// ValueError for a malformed or unavailable name, listing those that exist.
[[nodiscard]] Device parse_device(std::string_view name);
// Devices on which tensors can be made here, the null device left out.
[[nodiscard]] std::vector<Device> available_devices();

// Where calls without tensor operands (full, arange, random draws) make their results on this thread; the cpu at first.
#if defined(__linux__)
[[gnu::tls_model("initial-exec")]]
#endif
extern constinit thread_local Device thread_device;

// Chooses it while it lives.
class DeviceScope {
 public:
  explicit DeviceScope(Device device) noexcept : previous_(std::exchange(thread_device, device)) {}
  ~DeviceScope() { thread_device = previous_; }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  Device previous_;
};

// What the null device has been asked to do.
struct NullCounters {
  int64_t allocations = 0;
  int64_t allocated_bytes = 0;
  int64_t launches = 0;
};
[[nodiscard]] NullCounters& null_counters() noexcept;

// Fills in the pointers through which lower layers reach devices. Called once at import.
void install_devices();

}  // namespace gorgo
