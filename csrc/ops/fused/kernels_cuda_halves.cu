// Programs with float16 or bfloat16 among their values.
// Read next: launch.cuh.
#include "ops/fused/launch.cuh"

namespace gorgo::cuda {

void launch_fused_halves(const KernelArgs& args, const FusedMachine& machine) noexcept;
void launch_fused_halves(const KernelArgs& args, const FusedMachine& machine) noexcept {
  launch_fused<float, 8, 2, true>(args, machine, 128);
}

}  // namespace gorgo::cuda
