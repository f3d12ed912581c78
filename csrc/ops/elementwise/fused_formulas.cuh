// What each instruction of a fused program comes to, for one element: the one list that the interpreter and the compiled chains share.
//
// GORGO_FUSED_FORMULAS expands to GORGO_FORMULA(instruction, formula) for all but Copy and Move, where `formula` is a Lane<C> or a
// Truth made of the lanes a, b and c that the instruction reads.
// Read next: fused_interpreter.cuh, fused_formulas.cu.
#pragma once

#include "core/fused.h"
#include "ops/elementwise/loops.cuh"

#if defined(__CUDACC__)

#define GORGO_UNARY_FORMULA(Struct, name) GORGO_FORMULA(Struct, cuda::Struct::forward(a))
#define GORGO_BINARY_FORMULA(Struct, name) GORGO_FORMULA(Struct, cuda::Struct::forward(a, b))
#define GORGO_UNARY_BACKWARD_FORMULA(Struct, name) GORGO_FORMULA(Struct##Backward, cuda::Struct::backward(a, b, b))
#define GORGO_BINARY_BACKWARD_FORMULA(Struct, name)                      \
  GORGO_FORMULA(Struct##BackwardA, cuda::Struct::backward_a(a, b, c, a)) \
  GORGO_FORMULA(Struct##BackwardB, cuda::Struct::backward_b(a, b, c, a))

#define GORGO_FUSED_FORMULAS                                          \
  GORGO_FOR_EACH_FUSED_UNARY(GORGO_UNARY_FORMULA)                     \
  GORGO_FOR_EACH_FUSED_TEST(GORGO_UNARY_FORMULA)                      \
  GORGO_FOR_EACH_FUSED_BINARY(GORGO_BINARY_FORMULA)                   \
  GORGO_FOR_EACH_FUSED_COMPARISON(GORGO_BINARY_FORMULA)               \
  GORGO_FOR_EACH_FUSED_UNARY_BACKWARD(GORGO_UNARY_BACKWARD_FORMULA)   \
  GORGO_FOR_EACH_FUSED_BINARY_BACKWARD(GORGO_BINARY_BACKWARD_FORMULA) \
  GORGO_FORMULA(LogicalAnd, holds(a) & holds(b))                      \
  GORGO_FORMULA(LogicalOr, holds(a) | holds(b))                       \
  GORGO_FORMULA(LogicalXor, holds(a) ^ holds(b))                      \
  GORGO_FORMULA(LogicalNot, !holds(a))                                \
  GORGO_FORMULA(Truth, holds(a))                                      \
  GORGO_FORMULA(Where, holds(a).v ? b : c)                            \
  GORGO_FORMULA(Clip, minimum(maximum(a, b), c))

namespace gorgo::cuda {

template <class C>
GORGO_DEVICE Truth holds(Lane<C> v) {
  return {v.v != C(0)};
}
// A result as programs keep it: truth is 1 or 0.
template <class C>
GORGO_DEVICE C plain(Lane<C> v) {
  return v.v;
}
template <class C>
GORGO_DEVICE C plain(Truth v) {
  return v.v ? C(1) : C(0);
}

}  // namespace gorgo::cuda

#endif
