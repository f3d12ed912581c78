// Fused steps on CUDA: a kernel of their own where one can be compiled, or else an instance of the interpreter.
// Read next: fused_compiled.cu, fused_interpreter.cuh, fused_launch.cuh.
#include "ops/elementwise/fused_launch.cuh"

namespace gorgo::cuda {

bool launch_compiled(const KernelArgs& args, bool wide) noexcept;                        // fused_compiled.cu
void launch_fused_double(const KernelArgs& args, const FusedMachine& machine) noexcept;  // kernels_cuda_fused_double.cu
void launch_fused_halves(const KernelArgs& args, const FusedMachine& machine) noexcept;  // kernels_cuda_fused_halves.cu

namespace {

void run_float(const KernelArgs& args, int64_t) noexcept {
  if (launch_compiled(args, false)) return;
  const FusedMachine machine = FusedMachine::of(args);
  if (machine.halves) {
    launch_fused_halves(args, machine);
  } else {
    launch_fused<float, 4, 2, false>(args, machine, 128);
  }
}
void run_double(const KernelArgs& args, int64_t) noexcept {
  if (launch_compiled(args, true)) return;
  launch_fused_double(args, FusedMachine::of(args));
}

}  // namespace

void fill_elementwise_fused(KernelSink& sink);
void fill_elementwise_fused(KernelSink& sink) {
  add(sink, "fused", DType::Float32, run_float);
  add(sink, "fused", DType::Float64, run_double);
}

}  // namespace gorgo::cuda
