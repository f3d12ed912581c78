// Attention on tensor cores, for bfloat16.
#include "ops/attention/tensor_cuda.cuh"

namespace gorgo::cuda {

template bool attention_by_tensor_cores<BFloat16>(const KernelArgs&, const ForwardProblem&) noexcept;
template bool attention_backward_by_tensor_cores<BFloat16>(const KernelArgs&, const BackwardProblem&) noexcept;

}  // namespace gorgo::cuda
