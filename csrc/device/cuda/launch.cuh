// What every CUDA kernel file needs to launch: the stream, the card's limits, grid sizes, and how a launcher becomes a Kernel.
//
// Invariants: a launcher is `void f(const KernelArgs&, int64_t) noexcept`. It enqueues on stream_of(args) and returns; it never
// allocates (scratch comes from scratch_bytes), waits, throws or copies from pageable memory, so that it can be captured into a
// CUDA graph. Launch errors are left in the runtime's last-error slot, which the funnel reads and names after the call.
// Grids depend on shapes and on the card alone, and no result depends on the grid: sums follow one fixed tree.
// Read next: kernels/cuda/operand.cuh, kernels/cuda/lane.cuh.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/counts.h"
#include "core/kernel_args.h"
#include "device/cuda/driver_entry.cuh"

#define GORGO_DEVICE __device__ __forceinline__

namespace gorgo::cuda {

inline cudaStream_t stream_of(const KernelArgs& args) noexcept { return static_cast<cudaStream_t>(args.stream); }

// Figures of the current device, read once for each device.
struct Card {
  int multiprocessors = 1;
  int major = 0;  // compute capability
  int minor = 0;
  int shared_bytes = 0;  // most that a block may have after raising the limit
  int64_t l2_bytes = 0;
};
[[nodiscard]] const Card& card() noexcept;  // runtime.cu

// Blocks for `count` items of one block's worth `per_block`, at most `waves` full occupancies of the card: for kernels whose
// threads stride over the rest.
inline unsigned grid_for(int64_t count, int64_t per_block, int blocks_per_multiprocessor = 8) noexcept {
  const int64_t wanted = ceil_div(count, per_block);
  const int64_t most = int64_t{card().multiprocessors} * blocks_per_multiprocessor;
  return static_cast<unsigned>(wanted < 1 ? 1 : wanted < most ? wanted : most);
}

using Launcher = void (*)(const KernelArgs& args, int64_t task) noexcept;
using ScratchBytes = size_t (*)(const KernelArgs& args) noexcept;

inline void add(KernelSink& sink, const char* op, DType dtype, Launcher run, ScratchBytes scratch = nullptr) {
  Kernel kernel = Kernel::of(Phase{run, nullptr});
  kernel.scratch_bytes = scratch;
  sink.add(op, dtype, kernel);
}

// Lets a kernel use more dynamic shared memory than 48 KiB. Idempotent and cheap after the first call.
template <class K>
inline void allow_shared(K kernel, int bytes) noexcept {
  if (bytes > 48 * 1024) {
    static_cast<void>(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  }
}

#if defined(__CUDACC__)
// The offender with the lowest position wins.
GORGO_DEVICE void report_fault(DeviceFault* fault, int64_t position, int32_t code, int64_t a = 0, int64_t b = 0) {
  if (fault == nullptr) return;
  for (bool done = false; !done;) {
    if (atomicCAS(&fault->lock, 0, 1) == 0) {
      __threadfence();
      volatile DeviceFault* f = fault;
      if (f->code == 0 || position < f->position) {
        f->position = position;
        f->figures[0] = a;
        f->figures[1] = b;
        f->code = code;
      }
      __threadfence();
      atomicExch(&fault->lock, 0);
      done = true;
    }
  }
}
#endif
inline DeviceFault* fault_of(const KernelArgs& args) noexcept { return static_cast<DeviceFault*>(args.device_fault); }

}  // namespace gorgo::cuda
