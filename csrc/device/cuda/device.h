// CUDA devices to the rest of the library: memory, streams, events, copies, waiting. No CUDA header is needed here.
//
// Invariants: work on a device is ordered by streams; a thread has one current stream for each device (0, the legacy default
// stream, until it chooses another). Memory goes back to the pool of its device at once and is given out again in the order of
// its stream; what other streams have used waits for their events. No lock is held across a driver call.
// Read next: driver.h, memory/block_pool.h, dispatch/call.cpp (who launches).
#pragma once

#include <cstdint>
#include <string>

#include "device/cuda/driver.h"
#include "memory/block_pool.h"
#include "memory/storage.h"

namespace gorgo {

// Devices that can be used; 0 in builds without CUDA and on machines without a driver or a card.
[[nodiscard]] int cuda_device_count() noexcept;
// For messages: what is missing where there is none.
[[nodiscard]] std::string cuda_absence();
[[nodiscard]] CudaProperties cuda_properties(Device device);
// The pool of that device; made when first asked for, never destroyed.
[[nodiscard]] BlockPool& cuda_pool(int index);
// Free and total bytes of the card, as the driver counts them.
void cuda_memory_info(Device device, size_t& free_bytes, size_t& total_bytes);

// Raises DeviceError for a code other than 0: "what: device must carry out the call, got error ...".
void check_cuda(int code, const char* what);

// Makes `device` the one that driver calls of this thread concern.
void use_cuda_device(Device device);

// The stream in whose order this thread's calls on the device run.
[[nodiscard]] uint64_t current_stream(Device device) noexcept;
// Returns the one before.
uint64_t set_current_stream(Device device, uint64_t stream) noexcept;
// A stream of one's own, until it is given back for others to take.
[[nodiscard]] uint64_t take_stream(Device device);
void give_stream(Device device, uint64_t stream) noexcept;
// Work enqueued on `waiting` from now on begins after what `on` holds now.
void cuda_wait(Device device, uint64_t waiting, uint64_t on);
// Waits for everything enqueued on the device, or on one stream.
void cuda_synchronize(Device device);
void cuda_synchronize_stream(Device device, uint64_t stream);

// When a copy between host and device returns: once the host's bytes have been read or written; or, to a device alone, as
// soon as the driver lets go.
enum class CopyReturns : uint8_t { Done, Early };
// Copies between host and devices in the order of the current stream of the device concerned.
void cuda_copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes,
               CopyReturns returns = CopyReturns::Done);

// Memory of the host that copies to a device can read while the caller goes on. A storage of the cpu.
[[nodiscard]] Storage* allocate_pinned(size_t bytes);

}  // namespace gorgo
