#include "device/backend.h"

#include <charconv>

#include "core/check.h"
#include "device/cuda/device.h"
#include "memory/block_pool.h"

namespace gorgo {

constinit thread_local Device thread_device = kCpu;

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
  if (device.index < cuda_device_count()) {
    return Storage::allocate(cuda_pool(device.index), device, bytes, current_stream(device));
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
  if (name.starts_with("cuda")) {
    const std::string_view number = name.size() > 5 && name[4] == ':' ? name.substr(5) : "";
    int index = name == "cuda" ? 0 : -1;
    std::from_chars(number.data(), number.data() + number.size(), index);
    if (index >= 0 && index < cuda_device_count() && (name == "cuda" || std::to_string(index) == number)) {
      return {DeviceType::Cuda, static_cast<uint8_t>(index)};
    }
  }
  std::string available;
  for (const Device d : available_devices()) available += (available.empty() ? "" : ", ") + device_name(d);
  const bool none = name.starts_with("cuda") && cuda_device_count() == 0;
  fail<ValueError>("device: must be one of ", available, ", got '", name, "'",
                   none ? cat(" (", cuda_absence(), ")") : std::string());
}

std::vector<Device> available_devices() {
  std::vector<Device> devices{kCpu};
  for (int i = 0; i < cuda_device_count(); ++i) devices.push_back({DeviceType::Cuda, static_cast<uint8_t>(i)});
  return devices;
}

NullCounters& null_counters() noexcept {
  static thread_local NullCounters counters;
  return counters;
}

void install_devices() { allocate_storage = &allocate_on; }

}  // namespace gorgo
