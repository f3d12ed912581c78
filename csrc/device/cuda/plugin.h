// The CUDA part of a build as a library of its own, libgorgo_cuda.so beside the module: opened when a device is first asked for.
//
// So an import neither registers kernels with the runtime nor takes its thread-local memory, and the module is the same with and
// without CUDA. The library needs nothing of the module: what it gets, it gets through these types.
// Read next: load.cpp (who opens it), ops/all_cuda.cu (what it is), device.h.
#pragma once

#include <string>

#include "core/float32_mode.h"
#include "core/kernel_args.h"
#include "device/cuda/driver.h"

namespace gorgo {

// Kernels that the driver was asked to compile for fused chains in this process.
struct CompiledChains {
  int64_t kernels = 0;
  int64_t refused = 0;   // left to the interpreter
  double seconds = 0.0;  // that compiling took
};

struct CudaPlugin {
  const char* version;  // must be the module's own
  const CudaDriver* driver;
  void (*fill)(KernelSink& sink);  // hands over every kernel
  void (*watch_float32_mode)(const std::atomic<Float32Mode>* mode);
  CompiledChains (*compiled_chains)();
};

using CudaPluginFn = const CudaPlugin* (*)();
inline constexpr const char* kCudaPluginSymbol = "gorgo_cuda_plugin";

// Opens the library, once, and sets cuda_driver; leaves everything as it is where there is none, or where a test has set a driver.
void load_cuda_plugin() noexcept;

// Why it is not open.
[[nodiscard]] std::string cuda_library_absence();

// None where the library is not open.
[[nodiscard]] CompiledChains compiled_chains();

// Takes the kernels; filled in by ops/all_ops.
extern void (*take_cuda_kernels)(void (*fill)(KernelSink& sink));

}  // namespace gorgo
