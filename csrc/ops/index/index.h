// The index family: reading and writing elements at positions that tensors name. Typed calls through the funnel.
//
// Invariants: negative indices count from the end; one out of range is an IndexError that gives value and position, and then
// nothing has been written. Scatters that add give the same bits for any thread count.
// Read next: index.cpp (what each op means), kernels_cpu.cpp.
#pragma once

#include <span>

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/index/attrs.h"

namespace gorgo {

void register_index(Registry& registry);

struct IndexOps {
  const OpDef* take = nullptr;
  const OpDef* index = nullptr;
  const OpDef* index_put = nullptr;
  const OpDef* index_adjoint = nullptr;
  const OpDef* take_along_axis = nullptr;
  const OpDef* take_along_axis_adjoint = nullptr;
  const OpDef* scatter = nullptr;
  const OpDef* scatter_add = nullptr;
  const OpDef* scatter_combine = nullptr;
  const OpDef* nonzero = nullptr;
};
extern IndexOps index_ops;

// Entries of x along an axis; without an axis x must have rank 1.
[[nodiscard]] inline Tensor take(const Tensor& x, const Tensor& indices, OptInt axis = {}) {
  const TakeAttrs attrs{axis};
  return invoke(*index_ops.take, {x, indices}, &attrs);
}
// NumPy's x[..., i0, i1, ...] with integer tensors on `axes`, one each, broadcast against each other; the other axes are taken
// whole. Their shape stands where the first axis was if the axes are neighbours in order, else in front.
[[nodiscard]] Tensor index(const Tensor& x, std::span<const Tensor> indices, const Dims& axes);
// x with the elements that `index` would read replaced by `values` (broadcast), or with values added to them.
[[nodiscard]] Tensor index_put(const Tensor& x, const Arg& values, std::span<const Tensor> indices, const Dims& axes,
                               bool accumulate = false);
// The same, written into x.
void index_put_into(const Tensor& x, const Arg& values, std::span<const Tensor> indices, const Dims& axes,
                    bool accumulate = false);
// The elements of x where a mask of bools is true, in row-major order; the mask stands on the axes from `axis` on.
[[nodiscard]] Tensor index_mask(const Tensor& x, const Tensor& mask, int axis = 0);

[[nodiscard]] inline Tensor take_along_axis(const Tensor& x, const Tensor& indices, int64_t axis = -1) {
  const AlongAxisAttrs attrs{axis};
  return invoke(*index_ops.take_along_axis, {x, indices}, &attrs);
}
[[nodiscard]] inline Tensor scatter(const Tensor& x, const Tensor& indices, const Arg& values, int64_t axis = -1) {
  const AlongAxisAttrs attrs{axis};
  return invoke(*index_ops.scatter, {x, indices, values}, &attrs);
}
[[nodiscard]] inline Tensor scatter_add(const Tensor& x, const Tensor& indices, const Arg& values, int64_t axis = -1) {
  const AlongAxisAttrs attrs{axis};
  return invoke(*index_ops.scatter_add, {x, indices, values}, &attrs);
}
// x with values multiplied into, or compared with, the entries that each position names for itself.
[[nodiscard]] Tensor scatter_combine(const Tensor& x, const Tensor& indices, const Arg& values, int64_t axis,
                                     ScatterReduction reduce);
// The entries along an axis that each position names for itself, where indices may be shorter than x on the other axes.
[[nodiscard]] Tensor gather(const Tensor& x, const Tensor& indices, int64_t axis);
// Zeros of `shape` with g added where take_along_axis read.
[[nodiscard]] Tensor take_along_axis_adjoint(const Tensor& g, const Tensor& indices, int64_t axis, const Shape& shape);
// Zeros of `shape` with g added where index read.
[[nodiscard]] Tensor index_adjoint(const Tensor& g, std::span<const Tensor> indices, const Dims& axes,
                                   const Shape& shape);
// The positions (n, rank) of nonzero elements in row-major order, int64.
[[nodiscard]] inline Tensor nonzero(const Tensor& x) { return invoke(*index_ops.nonzero, {x}); }

}  // namespace gorgo
