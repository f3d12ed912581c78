// The matmul family on CUDA for complex numbers. Read next: kernels/cuda/gemm/complex.cuh, kernels_cuda.cuh.
#include <complex>

#include "kernels/cuda/gemm/complex.cuh"
#include "ops/matmul/kernels_cuda.cuh"

namespace gorgo::cuda {
namespace {

template <class T, bool kLinear>
void run_complex(const KernelArgs& args, int64_t) noexcept {
  launch_complex<Complex<T>>(product_of<kLinear>(args), stream_of(args));
}
template <class T>
void add_complex_products(KernelSink& sink) {
  add(sink, "matmul", kDTypeOf<std::complex<T>>, run_complex<T, false>);
  add(sink, "linear", kDTypeOf<std::complex<T>>, run_complex<T, true>);
}

}  // namespace

void fill_matmul_complex(KernelSink& sink) {
  add_complex_products<float>(sink);
  add_complex_products<double>(sink);
}

}  // namespace gorgo::cuda
