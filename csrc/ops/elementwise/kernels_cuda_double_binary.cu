// Ops of two operands computed in float64.
// Read next: loops.cuh.
#include "ops/elementwise/loops.cuh"

namespace gorgo::cuda {

void fill_elementwise_double_binary(KernelSink& sink) { fill_all_binary<double>(sink); }

}  // namespace gorgo::cuda
