// Ops computed in int64 (uint32 too) and in uint64.
// Read next: loops.cuh.
#include "ops/elementwise/loops.cuh"

namespace gorgo::cuda {

void fill_elementwise_long(KernelSink& sink) {
  fill_all_unary<int64_t>(sink);
  fill_all_binary<int64_t>(sink);
  fill_all_unary<uint64_t>(sink);
  fill_all_binary<uint64_t>(sink);
}

}  // namespace gorgo::cuda
