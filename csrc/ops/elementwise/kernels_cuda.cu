// The elementwise family on CUDA: the order in which its files register their kernels.
// Read next: loops.cuh.
#include "device/cuda/launch.cuh"

namespace gorgo::cuda {

void fill_elementwise_float_unary(KernelSink& sink);
void fill_elementwise_float_binary(KernelSink& sink);
void fill_elementwise_float_backward(KernelSink& sink);
void fill_elementwise_double_unary(KernelSink& sink);
void fill_elementwise_double_binary(KernelSink& sink);
void fill_elementwise_double_backward(KernelSink& sink);
void fill_elementwise_integer(KernelSink& sink);
void fill_elementwise_long(KernelSink& sink);
void fill_elementwise_complex(KernelSink& sink);
void fill_elementwise_cast(KernelSink& sink);
void fill_elementwise_moves(KernelSink& sink);
void fill_elementwise_fused(KernelSink& sink);

void fill_elementwise(KernelSink& sink) {
  fill_elementwise_float_unary(sink);
  fill_elementwise_float_binary(sink);
  fill_elementwise_float_backward(sink);
  fill_elementwise_double_unary(sink);
  fill_elementwise_double_binary(sink);
  fill_elementwise_double_backward(sink);
  fill_elementwise_integer(sink);
  fill_elementwise_long(sink);
  fill_elementwise_complex(sink);
  fill_elementwise_cast(sink);
  fill_elementwise_fused(sink);
  fill_elementwise_moves(sink);  // last: it replaces nextafter of the half types
}

}  // namespace gorgo::cuda
