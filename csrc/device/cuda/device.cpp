// Devices on top of the driver's table. See device.h.
#include "device/cuda/device.h"

#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "core/check.h"
#include "core/env.h"
#include "device/cuda/plugin.h"

namespace gorgo {

const CudaDriver* cuda_driver = nullptr;

namespace {

// In debug mode the memory is the host's, which kernels reach as well: guards can be written and looked at, slowly.
class CudaAllocator final : public RawAllocator {
 public:
  CudaAllocator(int index, bool debug) : index_(index), debug_(debug) {}
  void* allocate(size_t bytes) noexcept override {
    void* data = nullptr;
    if (cuda_driver->set_device(index_) != 0) return nullptr;
    const auto allocate = debug_ ? cuda_driver->allocate_pinned : cuda_driver->allocate;
    if (allocate(&data, bytes == 0 ? 1 : bytes) == 0) return data;
    static_cast<void>(cuda_driver->last_error());
    return nullptr;
  }
  void release(void* data, size_t /*bytes*/) noexcept override {
    // The driver waits until no work uses the memory.
    if (cuda_driver->set_device(index_) != 0) return;
    static_cast<void>(debug_ ? cuda_driver->release_pinned(data) : cuda_driver->release(data));
  }
  bool host_accessible() const noexcept override { return debug_; }
  void settle() noexcept override {
    if (cuda_driver->set_device(index_) == 0) static_cast<void>(cuda_driver->synchronize_device());
  }

 private:
  int index_;
  bool debug_;
};

// Marks are events. One that cannot be made is mark 0: the stream is waited for instead.
class EventFence final : public StreamFence {
 public:
  explicit EventFence(int index) : index_(index) {}
  uint64_t mark(uint64_t stream) noexcept override {
    uint64_t event = 0;
    if (cuda_driver->set_device(index_) != 0) return 0;
    if (cuda_driver->create_event(&event, false) == 0 && cuda_driver->record_event(event, stream) == 0) return event;
    static_cast<void>(cuda_driver->synchronize_stream(stream));
    if (event != 0) static_cast<void>(cuda_driver->destroy_event(event));
    return 0;
  }
  bool passed(uint64_t mark) noexcept override {
    bool done = true;
    if (mark != 0 && cuda_driver->query_event(mark, &done) != 0) done = true;
    return done;
  }
  void wait(uint64_t mark) noexcept override {
    if (mark != 0) static_cast<void>(cuda_driver->synchronize_event(mark));
  }
  void drop(uint64_t mark) noexcept override {
    if (mark != 0) static_cast<void>(cuda_driver->destroy_event(mark));
  }

 private:
  int index_;
};

struct CudaHome {
  CudaHome(int index, bool debug)
      : allocator(index, debug), fence(index), name("cuda:" + std::to_string(index) + " memory") {
    size_t free_bytes = 0;
    size_t total_bytes = 0;
    static_cast<void>(cuda_driver->set_device(index));
    static_cast<void>(cuda_driver->memory_info(&free_bytes, &total_bytes));
    PoolOptions options;
    // The card is for computing: what was taken is kept, and given back when an allocation needs it or somebody asks.
    options.cache_limit = total_bytes;
    options.fence = &fence;
    options.name = name.c_str();
    options.debug = debug;
    pool = std::make_unique<BlockPool>(allocator, options);
  }
  CudaAllocator allocator;
  EventFence fence;
  std::string name;
  std::unique_ptr<BlockPool> pool;
};

struct ThreadStreams {
  std::array<uint64_t, kMaxCudaDevices> current{};
};
thread_local ThreadStreams thread_streams;

// Streams that nobody holds. They are not destroyed: blocks of the pool may still name them.
struct FreeStreams {
  std::mutex lock;
  std::vector<uint64_t> handles;
};
FreeStreams& free_streams(Device device) {
  static auto* all = new std::array<FreeStreams, kMaxCudaDevices>;
  return (*all)[device.index];
}

}  // namespace

int cuda_device_count() noexcept {
  load_cuda_plugin();
  if (cuda_driver == nullptr) return 0;
  // Asked once for each table: the answer of a process does not change.
  static const CudaDriver* asked = nullptr;
  static int known = 0;
  static std::mutex lock;
  const std::lock_guard<std::mutex> guard(lock);
  if (asked != cuda_driver) {
    int count = 0;
    known = cuda_driver->device_count(&count) == 0 ? (count < kMaxCudaDevices ? count : kMaxCudaDevices) : 0;
    asked = cuda_driver;
  }
  return known;
}

std::string cuda_absence() {
  load_cuda_plugin();
  if (cuda_driver == nullptr) return cuda_library_absence();
  int count = 0;
  const int code = cuda_driver->device_count(&count);
  if (code == 0) return "there is no card";
  static_cast<void>(cuda_driver->last_error());
  return cat("no card can be used: ", cuda_driver->error_text(code));
}

CudaProperties cuda_properties(Device device) {
  CudaProperties p;
  check_cuda(cuda_driver->properties(device.index, &p), "properties");
  return p;
}

BlockPool& cuda_pool(int index) {
  // Never destroyed: tensors may outlive static destructors.
  static auto* homes = new std::array<std::unique_ptr<CudaHome>, kMaxCudaDevices>;
  static std::array<std::atomic<BlockPool*>, kMaxCudaDevices> ready{};
  static std::mutex lock;
  BlockPool* pool = ready[static_cast<size_t>(index)].load(std::memory_order_acquire);
  if (pool != nullptr) [[likely]]
    return *pool;
  const std::lock_guard<std::mutex> guard(lock);
  auto& home = (*homes)[static_cast<size_t>(index)];
  if (!home) home = std::make_unique<CudaHome>(index, env_flag("GORGO_MEMORY_DEBUG", false));
  ready[static_cast<size_t>(index)].store(home->pool.get(), std::memory_order_release);
  return *home->pool;
}

void cuda_memory_info(Device device, size_t& free_bytes, size_t& total_bytes) {
  use_cuda_device(device);
  check_cuda(cuda_driver->memory_info(&free_bytes, &total_bytes), "memory_info");
}

void check_cuda(int code, const char* what) {
  if (code == 0) [[likely]]
    return;
  fail<DeviceError>(what, ": device must carry out the call, got error ", code, " (", cuda_driver->error_text(code),
                    ")");
}

void use_cuda_device(Device device) {
  static thread_local int current = -1;
  if (current == device.index) [[likely]]
    return;
  check_cuda(cuda_driver->set_device(device.index), "device");
  current = device.index;
}

uint64_t current_stream(Device device) noexcept { return thread_streams.current[device.index]; }

uint64_t set_current_stream(Device device, uint64_t stream) noexcept {
  return std::exchange(thread_streams.current[device.index], stream);
}

uint64_t take_stream(Device device) {
  {
    FreeStreams& streams = free_streams(device);
    const std::lock_guard<std::mutex> guard(streams.lock);
    if (!streams.handles.empty()) {
      const uint64_t stream = streams.handles.back();
      streams.handles.pop_back();
      return stream;
    }
  }
  use_cuda_device(device);
  uint64_t stream = 0;
  check_cuda(cuda_driver->create_stream(&stream), "Stream");
  return stream;
}

void give_stream(Device device, uint64_t stream) noexcept {
  FreeStreams& streams = free_streams(device);
  const std::lock_guard<std::mutex> guard(streams.lock);
  try {
    streams.handles.push_back(stream);
  } catch (...) {  // NOLINT(bugprone-empty-catch): no memory to remember it by: one stream less to use again
  }
}

void cuda_wait(Device device, uint64_t waiting, uint64_t on) {
  if (waiting == on) return;
  use_cuda_device(device);
  uint64_t event = 0;
  check_cuda(cuda_driver->create_event(&event, false), "wait");
  const int recorded = cuda_driver->record_event(event, on);
  const int waits = recorded == 0 ? cuda_driver->wait_event(waiting, event) : 0;
  static_cast<void>(cuda_driver->destroy_event(event));  // the driver keeps it until it has passed
  check_cuda(recorded, "wait");
  check_cuda(waits, "wait");
}

void cuda_synchronize(Device device) {
  use_cuda_device(device);
  check_cuda(cuda_driver->synchronize_device(), "synchronize");
}

void cuda_synchronize_stream(Device device, uint64_t stream) {
  use_cuda_device(device);
  check_cuda(cuda_driver->synchronize_stream(stream), "synchronize");
}

void cuda_copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes, CopyReturns returns) {
  if (bytes == 0) return;
  const bool onto = to_device.type == DeviceType::Cuda;
  const bool off = from_device.type == DeviceType::Cuda;
  const Device device = onto ? to_device : from_device;
  use_cuda_device(device);
  const uint64_t stream = current_stream(device);
  if (onto && off && to_device != from_device) cuda_synchronize_stream(from_device, current_stream(from_device));
  use_cuda_device(device);
  check_cuda(cuda_driver->copy(to, from, bytes, stream), "copy");
  if (!onto || (!off && returns == CopyReturns::Done)) check_cuda(cuda_driver->synchronize_stream(stream), "copy");
}

Storage* allocate_pinned(size_t bytes) {
  if (cuda_device_count() == 0)
    fail<DeviceError>("pin_memory: a CUDA device must be available, got none (", cuda_absence(), ")");
  void* data = nullptr;
  if (cuda_driver->allocate_pinned(&data, bytes == 0 ? 1 : bytes) != 0) {
    static_cast<void>(cuda_driver->last_error());
    fail<OutOfMemoryError>("pin_memory: host must have memory to pin, got none for ", bytes, " bytes");
  }
  // The driver waits for copies from it before it lets it go.
  return Storage::borrow(
      data, bytes, {}, [](void* at) noexcept { static_cast<void>(cuda_driver->release_pinned(at)); }, data);
}

}  // namespace gorgo
