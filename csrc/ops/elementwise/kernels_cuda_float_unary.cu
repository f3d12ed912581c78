// Ops of one operand computed in float: float32, float16, bfloat16.
// Read next: loops.cuh.
#include "ops/elementwise/loops.cuh"

namespace gorgo::cuda {

void fill_elementwise_float_unary(KernelSink& sink) { fill_all_unary<float>(sink); }

}  // namespace gorgo::cuda
