// The pool family: maximum and average over windows, and what their gradients are made of. Typed calls through the funnel.
//
// Invariant: the element that wins a window is found again from x whenever it is needed, so that nothing but x is kept for the gradient. Of
// equal elements the first in row order wins; a NaN beats every number, and the last NaN wins.
// Read next: pool.cpp (shapes, gradients), kernels_cpu.cpp.
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/pool/attrs.h"

namespace gorgo {

void register_pool(Registry& registry);

struct PoolOps {
  const OpDef* max_pool2d = nullptr;
  const OpDef* max_pool2d_grad = nullptr;
  const OpDef* max_pool2d_gather = nullptr;
  const OpDef* avg_pool2d = nullptr;
  const OpDef* avg_pool2d_grad = nullptr;
};
extern PoolOps pool_ops;

[[nodiscard]] inline Tensor max_pool2d(const Tensor& x, const MaxPoolAttrs& attrs) {
  return invoke(*pool_ops.max_pool2d, {x}, &attrs);
}
// g, shaped as the result, added to zeros shaped as x, at the winners of x's windows.
[[nodiscard]] inline Tensor max_pool2d_grad(const Tensor& g, const Tensor& x, const MaxPoolAttrs& attrs) {
  return invoke(*pool_ops.max_pool2d_grad, {g, x}, &attrs);
}
// The elements of v, shaped as x, at the winners of x's windows: the adjoint of max_pool2d_grad.
[[nodiscard]] inline Tensor max_pool2d_gather(const Tensor& v, const Tensor& x, const MaxPoolAttrs& attrs) {
  return invoke(*pool_ops.max_pool2d_gather, {v, x}, &attrs);
}
[[nodiscard]] inline Tensor avg_pool2d(const Tensor& x, const AvgPoolAttrs& attrs) {
  return invoke(*pool_ops.avg_pool2d, {x}, &attrs);
}
// The adjoint of avg_pool2d.
[[nodiscard]] inline Tensor avg_pool2d_grad(const Tensor& g, const AvgPoolGradAttrs& attrs) {
  return invoke(*pool_ops.avg_pool2d_grad, {g}, &attrs);
}

}  // namespace gorgo
