// The matmul family on CUDA for float16. Read next: kernels_cuda.cuh.
#include "ops/matmul/kernels_cuda.cuh"

namespace gorgo::cuda {

void fill_matmul_float16(KernelSink& sink) { add_products<Float16>(sink); }

}  // namespace gorgo::cuda
