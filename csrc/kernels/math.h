// Elementary functions over Vec<T, N>, Mask<W, N> and scalars: the vocabulary that functors are written in. The headers below have
// the functions of vectors, this one those of scalars.
//
// Invariant: a lane's result depends on that lane's bits alone, and special values (signed zeros, infinities, NaN,
// denormals) come out as IEEE 754 and C's annex F say. What has no vector code, fmod and large arguments of circular
// functions, goes lane by lane through the C library. Polynomials are minimax fits made for these files (Remez's
// exchange in 60 digits); ranges and errors stand beside them.
// Read next: ops/elementwise/functors.h, which is written in this vocabulary.
#pragma once

#include "kernels/activations.h"
#include "kernels/arithmetic.h"
#include "kernels/error_function.h"
#include "kernels/exp_log.h"
#include "kernels/logarithms.h"
#include "kernels/trigonometric.h"
#include "kernels/vec.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

// ---- scalars: one lane of the vector code, so that both give the same bits ----

#define GORGO_SCALAR_1(name)                  \
  template <class T>                          \
    requires std::is_arithmetic_v<T>          \
  GORGO_INLINE T name(T x) {                  \
    return name(broadcast<Vec<T>>(x)).raw[0]; \
  }
GORGO_SCALAR_1(abs)
GORGO_SCALAR_1(sign)
GORGO_SCALAR_1(square)
GORGO_SCALAR_1(sqrt)
GORGO_SCALAR_1(rsqrt)
GORGO_SCALAR_1(reciprocal)
GORGO_SCALAR_1(round)
GORGO_SCALAR_1(floor)
GORGO_SCALAR_1(ceil)
GORGO_SCALAR_1(trunc)
GORGO_SCALAR_1(exp)
GORGO_SCALAR_1(exp2)
GORGO_SCALAR_1(expm1)
GORGO_SCALAR_1(log)
GORGO_SCALAR_1(log2)
GORGO_SCALAR_1(log10)
GORGO_SCALAR_1(log1p)
GORGO_SCALAR_1(sin)
GORGO_SCALAR_1(cos)
GORGO_SCALAR_1(tan)
GORGO_SCALAR_1(sinh)
GORGO_SCALAR_1(cosh)
GORGO_SCALAR_1(tanh)
GORGO_SCALAR_1(erf)
GORGO_SCALAR_1(erfc)
GORGO_SCALAR_1(sigmoid)
GORGO_SCALAR_1(softplus)
#undef GORGO_SCALAR_1

#define GORGO_SCALAR_2(name)                                        \
  template <class T>                                                \
    requires std::is_arithmetic_v<T>                                \
  GORGO_INLINE T name(T x, T y) {                                   \
    return name(broadcast<Vec<T>>(x), broadcast<Vec<T>>(y)).raw[0]; \
  }
GORGO_SCALAR_2(minimum)
GORGO_SCALAR_2(maximum)
GORGO_SCALAR_2(copysign)
GORGO_SCALAR_2(pow)
GORGO_SCALAR_2(fmod)
#undef GORGO_SCALAR_2

template <class T>
  requires std::is_arithmetic_v<T>
GORGO_INLINE T fma(T a, T b, T c) {
  return fma(broadcast<Vec<T>>(a), broadcast<Vec<T>>(b), broadcast<Vec<T>>(c)).raw[0];
}
template <class T>
  requires std::is_arithmetic_v<T>
GORGO_INLINE T select(bool m, T a, T b) {
  return m ? a : b;
}
template <class T>
  requires std::is_arithmetic_v<T>
GORGO_INLINE bool isnan(T x) {
  return x != x;
}
template <class T>
  requires std::is_arithmetic_v<T>
GORGO_INLINE bool isinf(T x) {
  return __builtin_isinf(x) != 0;
}
template <class T>
  requires std::is_arithmetic_v<T>
GORGO_INLINE bool isfinite(T x) {
  return __builtin_isfinite(x) != 0;
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
