// The elementwise family: typed calls through the funnel, for gradient rules and bindings. A number stands for a weak scalar.
//
// Read next: functors.h (what each op computes), elementwise.cpp (how they become OpDefs).
#pragma once

#include "opdef/core_ops.h"
#include "opdef/registry.h"
#include "ops/elementwise/attrs.h"
#include "ops/elementwise/op_list.h"

namespace gorgo {

void register_elementwise(Registry& registry);
void register_clip(Registry& registry);       // clip.cpp
void register_polygamma(Registry& registry);  // clip.cpp
void register_fused(Registry& registry);      // fused.cpp

struct ElementwiseOps {
#define GORGO_X(Struct, name) const OpDef* name = nullptr;
  GORGO_FOR_EACH_UNARY_OP(GORGO_X)
  GORGO_FOR_EACH_BINARY_OP(GORGO_X)
#undef GORGO_X
  const OpDef* where = nullptr;
  const OpDef* real = nullptr;
  const OpDef* imag = nullptr;
  const OpDef* clip = nullptr;
  const OpDef* clip_backward = nullptr;
  const OpDef* polygamma = nullptr;
};
// Filled in by register_elementwise.
extern ElementwiseOps elementwise_ops;

// ops::add(x, y), ops::exp(x), ...: one function per op of the list.
namespace ops {

[[nodiscard]] inline Arg number(double v) { return Arg(Scalar::of_float(v)); }

#define GORGO_X(Struct, name) \
  [[nodiscard]] inline Tensor name(const Arg& x) { return invoke(*elementwise_ops.name, {x}); }
GORGO_FOR_EACH_UNARY_OP(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name) \
  [[nodiscard]] inline Tensor name(const Arg& a, const Arg& b) { return invoke(*elementwise_ops.name, {a, b}); }
GORGO_FOR_EACH_BINARY_OP(GORGO_X)
#undef GORGO_X
[[nodiscard]] inline Tensor where(const Arg& condition, const Arg& a, const Arg& b) {
  return invoke(*elementwise_ops.where, {condition, a, b});
}
[[nodiscard]] inline Tensor real(const Arg& x) { return invoke(*elementwise_ops.real, {x}); }
[[nodiscard]] inline Tensor imag(const Arg& x) { return invoke(*elementwise_ops.imag, {x}); }

// What a gradient multiplies by: complex gradients follow the conjugate convention.
[[nodiscard]] inline Tensor conjugate(const Tensor& x) { return is_complex(x->dtype) ? conj(x) : x; }

// The n-th derivative of digamma.
[[nodiscard]] inline Tensor polygamma(const Arg& x, int64_t n) {
  const PolygammaAttrs attrs{n};
  return invoke(*elementwise_ops.polygamma, {x}, &attrs);
}

}  // namespace ops
}  // namespace gorgo
