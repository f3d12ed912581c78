// Ops of one operand computed in float64.
// Read next: loops.cuh.
#include "ops/elementwise/loops.cuh"

namespace gorgo::cuda {

void fill_elementwise_double_unary(KernelSink& sink) { fill_all_unary<double>(sink); }

}  // namespace gorgo::cuda
