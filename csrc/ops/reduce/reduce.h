// The reductions: typed calls through the funnel, for gradient rules and bindings.
// Read next: reduce.cpp (what each op means), skeleton.h (how the kernels work).
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/reduce/attrs.h"

namespace gorgo {

void register_reduce(Registry& registry);

struct ReduceOps {
  const OpDef* sum = nullptr;
  const OpDef* sum_to = nullptr;
  const OpDef* prod = nullptr;
  const OpDef* mean = nullptr;
  const OpDef* var = nullptr;
  const OpDef* std = nullptr;
  const OpDef* max = nullptr;
  const OpDef* min = nullptr;
  const OpDef* argmax = nullptr;
  const OpDef* argmin = nullptr;
  const OpDef* any = nullptr;
  const OpDef* all = nullptr;
  const OpDef* count_nonzero = nullptr;
};
extern ReduceOps reduce_ops;

[[nodiscard]] inline Tensor sum(const Tensor& x, const OptInts& axis = {}, bool keepdims = false, OptDType dtype = {}) {
  const SumAttrs attrs{axis, dtype, keepdims};
  return invoke(*reduce_ops.sum, {x}, &attrs);
}
[[nodiscard]] inline Tensor prod(const Tensor& x, const OptInts& axis = {}, bool keepdims = false,
                                 OptDType dtype = {}) {
  const SumAttrs attrs{axis, dtype, keepdims};
  return invoke(*reduce_ops.prod, {x}, &attrs);
}
[[nodiscard]] inline Tensor mean(const Tensor& x, const OptInts& axis = {}, bool keepdims = false) {
  const ReduceAttrs attrs{axis, keepdims};
  return invoke(*reduce_ops.mean, {x}, &attrs);
}
[[nodiscard]] inline Tensor max(const Tensor& x, const OptInts& axis = {}, bool keepdims = false) {
  const ReduceAttrs attrs{axis, keepdims};
  return invoke(*reduce_ops.max, {x}, &attrs);
}
[[nodiscard]] inline Tensor min(const Tensor& x, const OptInts& axis = {}, bool keepdims = false) {
  const ReduceAttrs attrs{axis, keepdims};
  return invoke(*reduce_ops.min, {x}, &attrs);
}
[[nodiscard]] inline Tensor var(const Tensor& x, const OptInts& axis = {}, double correction = 0.0,
                                bool keepdims = false) {
  const VarAttrs attrs{axis, correction, keepdims};
  return invoke(*reduce_ops.var, {x}, &attrs);
}

// The gradient of broadcasting: g summed over the axes along which `shape` was repeated; g itself when nothing was.
[[nodiscard]] inline Tensor sum_to(const Tensor& g, const Shape& shape) {
  if (g->shape == shape) return g;
  const SumToAttrs attrs{shape};
  return invoke(*reduce_ops.sum_to, {g}, &attrs);
}

// The gradient of a sum: r, reduced from `shape` over `axis` (with or without keepdims), repeated to `shape` as a view.
[[nodiscard]] Tensor spread(const Tensor& r, const Shape& shape, const OptInts& axis);

// The shape of a reduction's result. Throws ValueError on a bad axis.
[[nodiscard]] Shape reduced_shape(const Shape& shape, const OptInts& axis, bool keepdims, const char* op);
// How many elements meet in one output.
[[nodiscard]] int64_t reduced_count(const Shape& shape, const OptInts& axis, const char* op);

}  // namespace gorgo
