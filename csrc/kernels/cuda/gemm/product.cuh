// One matrix product, or a stack of them, as the CUDA kernels see it: sizes, strides, and where each element of the stack lies.
//
// Invariants: strides are in elements and arbitrary (also 0 or negative); C is dense, one matrix after the other. Sums run over k
// in an order that depends on the sizes, the strides and the card's generation alone, and no result depends on the grid.
// Read next: gemm.cuh (the choice of kernel), simt.cuh (the kernel that takes everything).
#pragma once

#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "core/dtype.h"
#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/operand.cuh"

namespace gorgo::cuda {

struct Product {
  int64_t m = 0, n = 0, k = 0;
  int64_t count = 1;           // matrices in the stack
  const void* a = nullptr;     // (m, k)
  const void* b = nullptr;     // (k, n)
  void* c = nullptr;           // (count, m, n), dense
  const void* bias = nullptr;  // (n) added to each row; null: none
  int64_t a_row = 0, a_col = 1;
  int64_t b_row = 0, b_col = 1;
  int64_t bias_stride = 1;
  Finish finish;  // kernels that know nothing of it get a product without (gemm.cuh)
  Walk<2> stack;  // where element i of the stack begins in a and in b; not looked at where count is 1
  // By their shapes, whether all of the stack have the same a or b.
  bool shares_a = false;
  bool shares_b = false;

  // Multiply-adds; as a double, which no size overflows.
  [[nodiscard]] double work() const noexcept {
    return static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) * static_cast<double>(count);
  }
  [[nodiscard]] bool empty() const noexcept { return m == 0 || n == 0 || count == 0; }
};

// What one multiplies and adds in: float for the 16-bit types, unsigned integers so that overflow wraps.
template <class T>
struct AccumulatorOf {
  using Type = T;
};
template <>
struct AccumulatorOf<Float16> {
  using Type = float;
};
template <>
struct AccumulatorOf<BFloat16> {
  using Type = float;
};
template <class T>
  requires std::is_integral_v<T>
struct AccumulatorOf<T> {
  using Type = std::conditional_t<(sizeof(T) < 8), uint32_t, uint64_t>;
};
template <class T>
using Accumulator = typename AccumulatorOf<T>::Type;

// What splitting the factors of a float32 product into 16-bit parts found (split.cuh), in device memory. The kernels launched after
// it read here which of them is to run.
struct SplitVerdict {
  int32_t bad;    // an element that its parts would not hold: not finite, too large or too small
  int32_t max_a;  // the bits of the largest magnitude
  int32_t max_b;
  int32_t unused;
};

#if defined(__CUDACC__)
// Whether the product of the parts is as good as the plain one.
GORGO_DEVICE bool split_holds(const SplitVerdict& v) {
  if (v.bad != 0) return false;
  if (v.max_a == 0 || v.max_b == 0) return true;
  // Parts of products lie down to 2**-24 below them: all must stay normal numbers, whose exponents begin at -126.
  return (v.max_a >> 23) - 127 + (v.max_b >> 23) - 127 > -60;
}

// An element as its accumulator's type, and back with one rounding.
template <class T>
GORGO_DEVICE Accumulator<T> widen(T x) {
  if constexpr (std::is_same_v<T, Float16>) {
    return __half2float(__ushort_as_half(x.bits));
  } else {
    return static_cast<Accumulator<T>>(x);
  }
}
template <class T>
GORGO_DEVICE T narrow(Accumulator<T> x) {
  if constexpr (std::is_same_v<T, Float16>) {
    T r;
    r.bits = __half_as_ushort(__float2half_rn(x));
    return r;
  } else {
    return static_cast<T>(x);
  }
}

template <class Acc>
GORGO_DEVICE Acc multiply_add(Acc a, Acc b, Acc c) {
  if constexpr (std::is_same_v<Acc, float>) {
    return fmaf(a, b, c);
  } else if constexpr (std::is_same_v<Acc, double>) {
    return fma(a, b, c);
  } else {
    return a * b + c;
  }
}
#endif

}  // namespace gorgo::cuda
