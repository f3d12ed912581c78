// Programs that compute in float64.
// Read next: launch.cuh.
#include "ops/fused/launch.cuh"

namespace gorgo::cuda {

void launch_fused_double(const KernelArgs& args, const FusedMachine& machine) noexcept;
void launch_fused_double(const KernelArgs& args, const FusedMachine& machine) noexcept {
  launch_fused<double, 2, 2, false>(args, machine, 128);
}

}  // namespace gorgo::cuda
