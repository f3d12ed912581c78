// The pool family: maximum and average over windows of one to three axes, windows as columns, and what their gradients
// are made of. Typed calls through the funnel.
//
// Invariant: the element that wins a window is found again from x whenever it is needed, so that nothing but x is kept
// for the gradient. Of equal elements the first in row order wins; a NaN beats every number, and the last NaN wins.
// Read next: pool.cpp (shapes, gradients), columns.cpp, kernels_cpu.cpp.
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/pool/attrs.h"

namespace gorgo {

void register_pool(Registry& registry);
void register_columns(Registry& registry);

struct PoolOps {
  // By the number of axes, less one.
  const OpDef* max_pool[3] = {};
  const OpDef* avg_pool[3] = {};
  const OpDef* adaptive_max_pool[3] = {};
  const OpDef* adaptive_avg_pool[3] = {};
  const OpDef* max_pool_grad = nullptr;
  const OpDef* max_pool_gather = nullptr;
  const OpDef* avg_pool_grad = nullptr;
  const OpDef* im2col = nullptr;
  const OpDef* col2im = nullptr;
};
extern PoolOps pool_ops;

// g, shaped as the result of a maximum over windows, added to zeros shaped as x, at the winners of x's windows.
[[nodiscard]] inline Tensor max_pool_grad(const Tensor& g, const Tensor& x, const MaxPoolAttrs& attrs) {
  return invoke(*pool_ops.max_pool_grad, {g, x}, &attrs);
}
// The elements of v, shaped as x, at the winners of x's windows: the adjoint of max_pool_grad.
[[nodiscard]] inline Tensor max_pool_gather(const Tensor& v, const Tensor& x, const MaxPoolAttrs& attrs) {
  return invoke(*pool_ops.max_pool_gather, {v, x}, &attrs);
}
// The averages over the windows that attrs describe, plain or adaptive.
[[nodiscard]] Tensor avg_pool(const Tensor& x, const AvgPoolAttrs& attrs);
// The adjoint of avg_pool over an image of attrs.input_size.
[[nodiscard]] inline Tensor avg_pool_grad(const Tensor& g, const AvgPoolAttrs& attrs) {
  return invoke(*pool_ops.avg_pool_grad, {g}, &attrs);
}
[[nodiscard]] Tensor im2col(const Tensor& x, const ColumnsAttrs& attrs);
// The adjoint of im2col over an image of attrs.output_size.
[[nodiscard]] inline Tensor col2im(const Tensor& columns, const ColumnsAttrs& attrs) {
  return invoke(*pool_ops.col2im, {columns}, &attrs);
}

}  // namespace gorgo
