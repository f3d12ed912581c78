// The matmul family on CUDA: operands become one product or a stack of them.
//
// Invariant: as on the CPU, rows that one factor shares (a stack against a plain matrix) are folded into one product where strides
// allow. Read next: kernels_cuda.cu, kernels/cuda/gemm/gemm.cuh.
#pragma once

#include "core/float32_mode.h"
#include "core/kernel_args.h"
#include "kernels/cuda/gemm/gemm.cuh"

namespace gorgo::cuda {

// Whether the rows of all matrices of `x` lie one stride apart, and that stride; axes of length one may have any.
inline bool rows_fold(const KOperand& x, int64_t& stride) noexcept {
  stride = x.strides[x.rank - 2];
  int64_t length = x.shape[x.rank - 2];
  for (int32_t i = x.rank - 3; i >= 0; --i) {
    if (x.shape[i] == 1) continue;
    if (length == 1) {
      stride = x.strides[i];
    } else if (x.strides[i] != stride * length) {
      return false;
    }
    length *= x.shape[i];
  }
  return true;
}

template <bool kLinear>
Product product_of(const KernelArgs& args) noexcept {
  Product p;
  const KOperand& a = args.in[0];
  const KOperand& b = args.in[1];
  const KOperand& out = args.out[0];
  p.a = a.data;
  p.b = b.data;
  p.c = out.data;
  p.k = a.shape[a.rank - 1];
  p.a_col = a.strides[a.rank - 1];
  p.m = a.rank > 1 ? a.shape[a.rank - 2] : 1;
  p.a_row = a.rank > 1 ? a.strides[a.rank - 2] : 0;
  if constexpr (kLinear) {
    p.n = b.shape[0];
    p.b_row = b.strides[1];
    p.b_col = b.strides[0];
    if (args.in_count > 2 && args.in[2].given) {
      p.bias = args.in[2].data;
      p.bias_stride = args.in[2].strides[0];
    }
  } else {
    p.n = b.rank > 1 ? b.shape[b.rank - 1] : 1;
    p.b_row = b.rank > 1 ? b.strides[b.rank - 2] : b.strides[0];
    p.b_col = b.rank > 1 ? b.strides[b.rank - 1] : 0;
  }
  if (out.numel == 0) {
    p.count = 0;
    return p;
  }
  const bool shares_b = kLinear || b.rank <= 2;
  int64_t stride = 0;
  if (a.rank > 2 && shares_b && rows_fold(a, stride)) {
    p.a_row = stride;
    p.m = out.numel / p.n;
  } else if (a.rank > 2 || !shares_b) {
    const int32_t rank_a = a.rank > 2 ? a.rank - 2 : 0;
    const int32_t rank_b = shares_b ? 0 : b.rank - 2;
    const int32_t rank = rank_a > rank_b ? rank_a : rank_b;
    int64_t steps[2][kMaxAxes];
    for (int32_t i = 0; i < rank; ++i) {
      const int32_t axis_a = rank_a - rank + i;
      const int32_t axis_b = rank_b - rank + i;
      steps[0][i] = axis_a < 0 || a.shape[axis_a] == 1 ? 0 : a.strides[axis_a];
      steps[1][i] = axis_b < 0 || b.shape[axis_b] == 1 ? 0 : b.strides[axis_b];
    }
    p.shares_a = a.numel == p.m * p.k;
    p.shares_b = b.numel == p.k * p.n;
    const int64_t* const strides_of[2] = {steps[0], steps[1]};
    p.stack = Walk<2>::of(out.shape, rank, strides_of);
    p.count = p.stack.count;
  }
  // An axis of length one is never stepped along: its stride is free, and dense layouts have the faster kernels.
  if (p.k == 1) {
    p.a_col = 1;
    p.b_row = p.n;
  }
  if (p.m == 1) p.a_row = p.k;
  if (p.n == 1) p.b_col = 1;
  return p;
}

template <class T, bool kLinear>
size_t scratch_of(const KernelArgs& args) noexcept {
  return product_scratch<T>(product_of<kLinear>(args));
}

template <class T, bool kLinear, Epilogue kThen = Epilogue::None>
void run(const KernelArgs& args, int64_t) noexcept {
  const Float32Mode mode = float32_mode_in_use->load(std::memory_order_relaxed);
  Product p = product_of<kLinear>(args);
  run_finished<T>(args, kThen, [&](const Finish& finish) {
    p.finish = finish;
    run_product<T>(p, args.scratch, mode, stream_of(args));
  });
}

template <class T>
void add_products(KernelSink& sink) {
  add(sink, "matmul", kDTypeOf<T>, run<T, false>, scratch_of<T, false>);
  add(sink, "linear", kDTypeOf<T>, run<T, true>, scratch_of<T, true>);
  if constexpr (kHasEpilogues<T>) {
    add(sink, "matmul_relu", kDTypeOf<T>, run<T, false, Epilogue::Relu>, scratch_of<T, false>);
    add(sink, "matmul_relu_backward", kDTypeOf<T>, run<T, false, Epilogue::ReluBackward>, scratch_of<T, false>);
    add(sink, "linear_relu", kDTypeOf<T>, run<T, true, Epilogue::Relu>, scratch_of<T, true>);
  }
}

// One file for each of the types whose kernels are many.
void fill_matmul_float32(KernelSink& sink);
void fill_matmul_float16(KernelSink& sink);
void fill_matmul_bfloat16(KernelSink& sink);
void fill_matmul_complex(KernelSink& sink);

}  // namespace gorgo::cuda
