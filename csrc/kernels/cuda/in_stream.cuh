// Launches that begin before the kernel in front of them in the stream has ended (programmatic dependent launch, sm_90 on).
//
// Invariant: a kernel launched by launch_in_stream calls stream_wait() in every thread before it touches global memory; from there
// on all earlier work of the stream is visible, as after an ordinary launch. stream_pass() lets the next such kernel begin: it
// promises nothing about memory. Captured launches are ordinary ones, but for those of launch_second.
// Read next: built_for.cuh, hopper.cuh, kernels/cuda/fold.cuh.
#pragma once

#include "kernels/cuda/built_for.cuh"

namespace gorgo::cuda {

// Whether the current device and its machine code have clusters and early launches.
inline bool cluster_here() noexcept { return card().major == 9 && built_for() >= Built::hopper; }

#if defined(__CUDACC__)
GORGO_DEVICE void stream_wait() {
#if GORGO_WGMMA
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
GORGO_DEVICE void stream_pass() {
#if GORGO_WGMMA
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

#if !defined(GORGO_EARLY_LAUNCHES)
#define GORGO_EARLY_LAUNCHES true
#endif

// `cluster` blocks at a time are a cluster (sm_90 on; 1: none). `early`: where the card and its machine code have it.
template <class... Parameters, class... Arguments>
void launch_configured(void (*kernel)(Parameters...), unsigned grid, unsigned threads, int shared, int cluster,
                       bool early, cudaStream_t stream, const Arguments&... arguments) noexcept {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(grid);
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = static_cast<size_t>(shared);
  config.stream = stream;
  cudaLaunchAttribute attributes[2] = {};
  if (cluster > 1) {
    cudaLaunchAttribute& a = attributes[config.numAttrs++];
    a.id = cudaLaunchAttributeClusterDimension;
    a.val.clusterDim.x = static_cast<unsigned>(cluster);
    a.val.clusterDim.y = 1;
    a.val.clusterDim.z = 1;
  }
  // Only machine code that waits by itself may begin early.
  if (GORGO_EARLY_LAUNCHES && early && cluster_here()) {
    cudaLaunchAttribute& a = attributes[config.numAttrs++];
    a.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    a.val.programmaticStreamSerializationAllowed = 1;
  }
  config.attrs = attributes;
  static_cast<void>(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...));
}

inline bool is_capturing(cudaStream_t stream) noexcept {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(stream, &status) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return true;
  }
  return status != cudaStreamCaptureStatusNone;
}

// In a graph there is little to gain, and dependencies are many.
template <class... Parameters, class... Arguments>
void launch_in_stream(void (*kernel)(Parameters...), unsigned grid, unsigned threads, int shared, int cluster,
                      cudaStream_t stream, const Arguments&... arguments) noexcept {
  launch_configured(kernel, grid, threads, shared, cluster, cluster_here() && !is_capturing(stream), stream,
                    arguments...);
}

// A kernel that adds up what the one before it in the same call left: early in a graph too, which knows such launches from
// CUDA 12.3 on.
template <class... Parameters, class... Arguments>
void launch_second(void (*kernel)(Parameters...), unsigned grid, unsigned threads, cudaStream_t stream,
                   const Arguments&... arguments) noexcept {
  launch_configured(kernel, grid, threads, 0, 1, CUDART_VERSION >= 12030 || !is_capturing(stream), stream,
                    arguments...);
}
#endif

}  // namespace gorgo::cuda
