// Programs that compute in float64.
// Read next: fused_launch.cuh.
#include "ops/elementwise/fused_launch.cuh"

namespace gorgo::cuda {

void launch_fused_double(const KernelArgs& args, const FusedMachine& machine) noexcept;
void launch_fused_double(const KernelArgs& args, const FusedMachine& machine) noexcept {
  launch_fused<double, 2, 2, false>(args, machine, 128);
}

}  // namespace gorgo::cuda
