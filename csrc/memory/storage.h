// Refcounted bytes on one device: a pool block, or somebody else's memory with a deleter.
//
// Invariants: `data` and `bytes` never change. The version counter belongs to the bytes, not to any tensor that views them:
// every in-place write raises it. The last release may happen on any thread, with or without the GIL.
// Read next: block_pool.h, tensor/tensor.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/dtype.h"

namespace gorgo {

class BlockPool;
struct Block;

enum class DeviceType : uint8_t { Cpu, Cuda, Null };
inline constexpr int kDeviceTypeCount = 3;

struct Device {
  DeviceType type = DeviceType::Cpu;
  uint8_t index = 0;
  friend bool operator==(Device, Device) = default;
};

struct Storage {
  std::atomic<int32_t> refs{1};
  std::atomic<uint32_t> version{0};
  void* data = nullptr;
  size_t bytes = 0;
  Device device;
  bool read_only = false;                      // memory of others that must not be written
  std::atomic<bool> exported_writable{false};  // others can write it without the version knowing
  Block* block = nullptr;                      // set when the bytes come from `pool`
  BlockPool* pool = nullptr;
  void (*deleter)(void* context) noexcept = nullptr;  // set when they come from elsewhere
  void* deleter_context = nullptr;
  // The capture that knows these bytes, and the IR value that stands for them there; see graph/capture.h.
  uint32_t capture_serial = 0;
  int32_t capture_value = -1;

  // Bytes from a pool (contents undefined), for use in the order of a stream. Throws OutOfMemoryError.
  [[nodiscard]] static Storage* allocate(BlockPool& pool, Device device, size_t bytes, uint64_t stream = 0);
  // Memory of others; `deleter` runs once, on any thread.
  [[nodiscard]] static Storage* borrow(void* data, size_t bytes, Device device, void (*deleter)(void*) noexcept,
                                       void* context);
  // A storage without bytes, for the null device.
  [[nodiscard]] static Storage* imaginary(Device device, size_t bytes);

  void retain() noexcept { refs.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    // The only holder needs no locked instruction: nobody else can add a reference to what only we can reach.
    if (refs.load(std::memory_order_acquire) == 1 || refs.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy();
  }
  [[nodiscard]] bool unique() const noexcept { return refs.load(std::memory_order_acquire) == 1; }
  GORGO_INLINE void bump_version() noexcept { version.fetch_add(1, std::memory_order_relaxed); }

 private:
  void destroy() noexcept;
};

// Where tensors on `device` get their bytes; filled in by the device layer.
using AllocateStorageFn = Storage* (*)(Device device, size_t bytes);
extern AllocateStorageFn allocate_storage;

}  // namespace gorgo
