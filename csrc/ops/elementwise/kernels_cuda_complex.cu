// The elementwise ops of complex numbers.
// Read next: kernels/cuda/complex_math.cuh, loops.cuh.
#include "kernels/cuda/complex_math.cuh"
#include "ops/elementwise/loops.cuh"

namespace gorgo::cuda {

void fill_elementwise_complex(KernelSink& sink) {
  fill_all_unary<Complex<float>>(sink);
  fill_all_binary<Complex<float>>(sink);
  fill_all_backward<Complex<float>>(sink);
  fill_all_unary<Complex<double>>(sink);
  fill_all_binary<Complex<double>>(sink);
  fill_all_backward<Complex<double>>(sink);
}

}  // namespace gorgo::cuda
