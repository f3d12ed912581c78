// Which of this build's machine code the current device runs: the host has no other way to know what a kernel holds for it.
// Read next: hopper.cuh, mma.cuh.
#pragma once

#include "kernels/cuda/gemm/wgmma.cuh"

namespace gorgo::cuda {

enum class Built : uint8_t { plain, mma, hopper };

// The variants differ in their launch bounds, which the host can ask for.
#if GORGO_WGMMA
#define GORGO_PROBE_THREADS 512
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define GORGO_PROBE_THREADS 256
#else
#define GORGO_PROBE_THREADS 64
#endif
template <int kUnused = 0>
__global__ void __launch_bounds__(GORGO_PROBE_THREADS) probe() {}
#undef GORGO_PROBE_THREADS

inline Built built_for() noexcept {
  static const Built built = []() {
    cudaFuncAttributes attributes{};
    if (cudaFuncGetAttributes(&attributes, probe<0>) != cudaSuccess) {
      static_cast<void>(cudaGetLastError());
      return Built::plain;
    }
    return attributes.maxThreadsPerBlock >= 512   ? Built::hopper
           : attributes.maxThreadsPerBlock >= 256 ? Built::mma
                                                  : Built::plain;
  }();
  return built;
}

}  // namespace gorgo::cuda
