// Functions of the driver's own interface, asked for at run time.
//
// Invariant: no link against the driver's library; where a function is missing, the answer is null and the caller does without.
#pragma once

#include <cuda_runtime.h>

namespace gorgo::cuda {

// As CUDA 12.0 has it.
template <class Function>
Function driver_entry(const char* name) noexcept {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t code = cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result);
  if (code != cudaSuccess) static_cast<void>(cudaGetLastError());
  if (code != cudaSuccess || result != cudaDriverEntryPointSuccess) return nullptr;
  return reinterpret_cast<Function>(found);
}

}  // namespace gorgo::cuda
