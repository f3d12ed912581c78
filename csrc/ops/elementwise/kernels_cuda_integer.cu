// Ops computed in int32 (bool in comparisons, and integers of up to 32 bits but uint32), and the logic of bool.
// Read next: loops.cuh.
#include "ops/elementwise/loops.cuh"

namespace gorgo::cuda {

void fill_elementwise_integer(KernelSink& sink) {
  fill_all_unary<int32_t>(sink);
  fill_all_binary<int32_t>(sink);
  fill_all_unary<bool>(sink);
  fill_all_binary<bool>(sink);
}

}  // namespace gorgo::cuda
