// The matmul family on CUDA for float32. Read next: kernels_cuda.cuh.
#include "ops/matmul/kernels_cuda.cuh"

namespace gorgo::cuda {

void fill_matmul_float32(KernelSink& sink) { add_products<float>(sink); }

}  // namespace gorgo::cuda
