// Backward companions computed in float: float32, float16, bfloat16.
// Read next: loops.cuh.
#include "ops/elementwise/loops.cuh"

namespace gorgo::cuda {

void fill_elementwise_float_backward(KernelSink& sink) { fill_all_backward<float>(sink); }

}  // namespace gorgo::cuda
