// The formulas of fused programs as functions of numbers, gorgo_fused_<float or double>_<instruction>, compiled to PTX and to nothing
// else: libgorgo_cuda.so holds the text, from which fused_ptx.h takes the bodies that a program needs.
// Read next: fused_ptx.h.
#include "ops/elementwise/fused_formulas.cuh"

namespace gorgo::cuda {

#define GORGO_FORMULA_OF(C, code, formula)                          \
  extern "C" __device__ C gorgo_fused_##C##_##code(C x, C y, C z) { \
    [[maybe_unused]] const Lane<C> a{x};                            \
    [[maybe_unused]] const Lane<C> b{y};                            \
    [[maybe_unused]] const Lane<C> c{z};                            \
    return plain<C>(formula);                                       \
  }
#define GORGO_FORMULA(code, formula)     \
  GORGO_FORMULA_OF(float, code, formula) \
  GORGO_FORMULA_OF(double, code, formula)
GORGO_FUSED_FORMULAS
#undef GORGO_FORMULA

}  // namespace gorgo::cuda
