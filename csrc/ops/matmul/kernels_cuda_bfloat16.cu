// The matmul family on CUDA for bfloat16. Read next: kernels_cuda.cuh.
#include "ops/matmul/kernels_cuda.cuh"

namespace gorgo::cuda {

void fill_matmul_bfloat16(KernelSink& sink) { add_products<BFloat16>(sink); }

}  // namespace gorgo::cuda
