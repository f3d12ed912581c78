#include "device/backend.h"

#include "core/check.h"
#include "memory/block_pool.h"

namespace gorgo {
namespace {

Storage* allocate_on(Device device, size_t bytes) {
  if (device.type == DeviceType::Cpu) [[likely]] {
    static BlockPool& pool = cpu_pool();
    return Storage::allocate(pool, device, bytes);
  }
  if (device.type == DeviceType::Null) {
    ++null_counters().allocations;
    null_counters().allocated_bytes += static_cast<int64_t>(bytes);
    return Storage::imaginary(device, bytes);
  }
  fail<DeviceError>("device: must be available in this build, got ", device_name(device));
}

}  // namespace

std::string device_name(Device device) {
  switch (device.type) {
    case DeviceType::Cpu:
      return "cpu";
    case DeviceType::Null:
      return "null";
    case DeviceType::Cuda:
      break;
  }
  return "cuda:" + std::to_string(int{device.index});
}

Device parse_device(std::string_view name) {
  if (name == "cpu" || name == "cpu:0") return kCpu;
  if (name == "null") return kNull;
  std::string available;
  for (const Device d : available_devices()) available += (available.empty() ? "" : ", ") + device_name(d);
  fail<ValueError>("device: must be one of ", available, ", got '", name, "'");
}

std::vector<Device> available_devices() { return {kCpu}; }

NullCounters& null_counters() noexcept {
  static thread_local NullCounters counters;
  return counters;
}

void install_devices() { allocate_storage = &allocate_on; }

}  // namespace gorgo
