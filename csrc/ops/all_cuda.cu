// What libgorgo_cuda.so is: one line per family, as in all_ops.cpp, and the driver's table.
#include "device/cuda/plugin.h"

#define GORGO_FOR_EACH_CUDA_FAMILY(X) \
  X(attention)                        \
  X(conv)                             \
  X(creation)                         \
  X(elementwise)                      \
  X(index)                            \
  X(loss)                             \
  X(matmul)                           \
  X(norm)                             \
  X(pool)                             \
  X(random)                           \
  X(reduce)                           \
  X(resample)                         \
  X(scan)                             \
  X(shape)                            \
  X(softmax)                          \
  X(sort)                             \
  X(update)

namespace gorgo {
namespace cuda {
#define GORGO_DECLARE(family) void fill_##family(KernelSink& sink);
GORGO_FOR_EACH_CUDA_FAMILY(GORGO_DECLARE)
CompiledChains count_compiled_chains();  // ops/elementwise/fused_compiled.cu
}  // namespace cuda

namespace {

void fill(KernelSink& sink) {
#define GORGO_FILL(family) cuda::fill_##family(sink);
  GORGO_FOR_EACH_CUDA_FAMILY(GORGO_FILL)
}

void watch_float32_mode(const std::atomic<Float32Mode>* mode) { float32_mode_in_use = mode; }

}  // namespace
}  // namespace gorgo

extern "C" __attribute__((visibility("default"))) const gorgo::CudaPlugin* gorgo_cuda_plugin() {
  static const gorgo::CudaPlugin plugin{GORGO_VERSION, gorgo::cuda_runtime_table(), &gorgo::fill,
                                        &gorgo::watch_float32_mode, &gorgo::cuda::count_compiled_chains};
  return &plugin;
}
