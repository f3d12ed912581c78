// The matmul family's CUDA kernels, by element type. Read next: kernels_cuda.cuh.
#include "ops/matmul/kernels_cuda.cuh"

namespace gorgo::cuda {

void fill_matmul(KernelSink& sink) {
  fill_matmul_float32(sink);
  fill_matmul_float16(sink);
  fill_matmul_bfloat16(sink);
  fill_matmul_complex(sink);
  add_products<double>(sink);
  add_products<int8_t>(sink);
  add_products<int16_t>(sink);
  add_products<int32_t>(sink);
  add(sink, "matmul_integer", DType::Int32, run<int32_t, false>, scratch_of<int32_t, false>);
  add_products<int64_t>(sink);
  add_products<uint8_t>(sink);
  add_products<uint16_t>(sink);
  add_products<uint32_t>(sink);
  add_products<uint64_t>(sink);
}

}  // namespace gorgo::cuda
