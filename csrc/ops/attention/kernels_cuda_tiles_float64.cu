// Attention by tiles of plain threads, for float64.
#include "ops/attention/tiles_cuda.cuh"

namespace gorgo::cuda {

template void attention_by_tiles<double>(const KernelArgs&, const ForwardProblem&) noexcept;
template void attention_backward_by_tiles<double>(const KernelArgs&, const BackwardProblem&) noexcept;

}  // namespace gorgo::cuda
