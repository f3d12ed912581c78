// Backward companions computed in float64.
// Read next: loops.cuh.
#include "ops/elementwise/loops.cuh"

namespace gorgo::cuda {

void fill_elementwise_double_backward(KernelSink& sink) { fill_all_backward<double>(sink); }

}  // namespace gorgo::cuda
