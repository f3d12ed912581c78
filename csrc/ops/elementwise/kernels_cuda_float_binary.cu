// Ops of two operands computed in float: float32, float16, bfloat16.
// Read next: loops.cuh.
#include "ops/elementwise/loops.cuh"

namespace gorgo::cuda {

void fill_elementwise_float_binary(KernelSink& sink) { fill_all_binary<float>(sink); }

}  // namespace gorgo::cuda
