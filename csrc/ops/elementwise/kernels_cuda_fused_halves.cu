// Programs with float16 or bfloat16 among their values.
// Read next: fused_launch.cuh.
#include "ops/elementwise/fused_launch.cuh"

namespace gorgo::cuda {

void launch_fused_halves(const KernelArgs& args, const FusedMachine& machine) noexcept;
void launch_fused_halves(const KernelArgs& args, const FusedMachine& machine) noexcept {
  launch_fused<float, 8, 2, true>(args, machine, 128);
}

}  // namespace gorgo::cuda
