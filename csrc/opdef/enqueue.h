// Kernels on a device with streams: enqueued, not run. Shared by the funnel and the executor.
//
// Invariant: bad data that such a kernel finds is raised at the next synchronization, by the op's own message, the earliest call
// first; until then it stands in device memory beside a copy of what the message needs.
// Read next: device/cuda/device.h, dispatch/call.cpp, graph/device_replay.cpp.
#pragma once

#include <memory>
#include <vector>

#include "memory/block_pool.h"
#include "opdef/op.h"

namespace gorgo {

// Operands and attributes of a call, kept for a message that may come later. Their data must not be read.
class SavedCall {
 public:
  SavedCall(const OpDef& op, const KernelArgs& args);
  [[noreturn]] void raise(const DeviceFault& found) const;

 private:
  const OpDef& op_;
  Attrs attrs_;
  std::vector<KOperand> operands_;
  std::vector<std::unique_ptr<Dims>> dims_;
  KernelArgs args_;
};

// Places for faults in a device's memory, all zero but for what kernels have reported.
struct FaultSlots {
  FaultSlots(Device device, int count);
  ~FaultSlots();
  FaultSlots(const FaultSlots&) = delete;
  FaultSlots& operator=(const FaultSlots&) = delete;
  [[nodiscard]] DeviceFault* at(int i) const { return static_cast<DeviceFault*>(memory->data) + i; }
  Storage* memory = nullptr;
  int count = 0;
};

// What a stream other than the one it was allocated for uses must not be given out again before that use is over.
inline void note_stream(const Storage& storage, uint64_t stream) {
  if (storage.block != nullptr && storage.block->stream != stream) [[unlikely]]
    storage.pool->record_stream(storage.block, stream);
}

// Enqueues the phases on the thread's current stream, with scratch from the device's pool and a place for faults where the op
// can report them. DeviceError names the op.
void enqueue_kernel(const OpDef& op, const Kernel& kernel, KernelArgs args, Device device);
// The same with everything given, for replays: args has its stream, scratch and place for faults.
void enqueue_phases(const OpDef& op, const Kernel& kernel, const KernelArgs& args, Device device);

// A fault may stand in slots.at(i) from now on.
void expect_fault(Device device, std::shared_ptr<FaultSlots> slots, int i, std::shared_ptr<const SavedCall> call);
// Waits for the device and raises the first fault found; cheap when none is expected.
void raise_device_faults(Device device);

}  // namespace gorgo
