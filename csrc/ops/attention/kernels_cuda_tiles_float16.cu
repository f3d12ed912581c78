// Attention by tiles of plain threads, for float16.
#include "ops/attention/tiles_cuda.cuh"

namespace gorgo::cuda {

template void attention_by_tiles<Float16>(const KernelArgs&, const ForwardProblem&) noexcept;
template void attention_backward_by_tiles<Float16>(const KernelArgs&, const BackwardProblem&) noexcept;

}  // namespace gorgo::cuda
