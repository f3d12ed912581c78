// The shape family: views, and the ops that only move elements. Typed calls through the funnel, for gradient rules and
// bindings.
//
// Invariant: every view is one op whose attributes do not depend on where its input lies in memory; offsets appear only
// in what infer answers. Read next: shape.cpp (what each op means), kernels_cpu.cpp, tensor/view.h.
#pragma once

#include <span>

#include "opdef/core_ops.h"
#include "opdef/registry.h"
#include "ops/shape/attrs.h"
#include "tensor/view.h"

namespace gorgo {

void register_shape(Registry& registry);

struct ShapeOps {
  const OpDef* index_view = nullptr;
  const OpDef* permute_dims = nullptr;
  const OpDef* broadcast_to = nullptr;
  const OpDef* expand_dims = nullptr;
  const OpDef* squeeze = nullptr;
  const OpDef* reshape = nullptr;
  const OpDef* flip = nullptr;
  const OpDef* diagonal = nullptr;
  const OpDef* as_strided = nullptr;
  const OpDef* split = nullptr;
  const OpDef* unstack = nullptr;
  const OpDef* view_adjoint = nullptr;
  const OpDef* view_scatter = nullptr;
  const OpDef* concat = nullptr;
  const OpDef* stack = nullptr;
  const OpDef* tile = nullptr;
  const OpDef* roll = nullptr;
  const OpDef* repeat = nullptr;
  const OpDef* tril = nullptr;
  const OpDef* triu = nullptr;
  const OpDef* pad = nullptr;
  const OpDef* pad_adjoint = nullptr;
};
extern ShapeOps shape_ops;

// Views.
[[nodiscard]] inline Tensor index_view(const Tensor& x, const IndexViewAttrs& attrs) {
  return invoke(*shape_ops.index_view, {x}, &attrs);
}
// x[start:...:step] along one axis, `length` elements long.
[[nodiscard]] Tensor slice(const Tensor& x, int64_t axis, int64_t start, int64_t length, int64_t step = 1);
// x[..., i, ...] along one axis, which goes away.
[[nodiscard]] Tensor select(const Tensor& x, int64_t axis, int64_t i);
[[nodiscard]] inline Tensor permute_dims(const Tensor& x, const Dims& axes) {
  const PermuteAttrs attrs{axes};
  return invoke(*shape_ops.permute_dims, {x}, &attrs);
}
// Swaps two axes.
[[nodiscard]] Tensor transpose(const Tensor& x, int64_t axis1 = -2, int64_t axis2 = -1);
[[nodiscard]] inline Tensor broadcast_to(const Tensor& x, const Shape& shape) {
  const ShapeAttrs attrs{shape};
  return invoke(*shape_ops.broadcast_to, {x}, &attrs);
}
[[nodiscard]] inline Tensor expand_dims(const Tensor& x, const Dims& axis) {
  const ExpandDimsAttrs attrs{axis};
  return invoke(*shape_ops.expand_dims, {x}, &attrs);
}
[[nodiscard]] inline Tensor squeeze(const Tensor& x, const OptInts& axis = {}) {
  const OptAxesAttrs attrs{axis};
  return invoke(*shape_ops.squeeze, {x}, &attrs);
}
// What `reshape` may do about memory: copy when it must, always, or never (then a layout that needs one is a
// ValueError).
enum class CopyRule : uint8_t { IfNeeded, Always, Never };
// One size may be -1. A view where the strides allow, else a view of a copy.
[[nodiscard]] Tensor reshape(const Tensor& x, const Shape& shape, CopyRule copy = CopyRule::IfNeeded);
// Replaces a single -1 by the size that fits; throws ValueError when none does.
[[nodiscard]] Shape resolve_shape(const Shape& shape, const Shape& from, const char* op);
[[nodiscard]] inline Tensor flip(const Tensor& x, const OptInts& axis = {}) {
  const OptAxesAttrs attrs{axis};
  return invoke(*shape_ops.flip, {x}, &attrs);
}
[[nodiscard]] inline Tensor diagonal(const Tensor& x, int64_t offset = 0, int64_t axis1 = -2, int64_t axis2 = -1) {
  const DiagonalAttrs attrs{offset, axis1, axis2};
  return invoke(*shape_ops.diagonal, {x}, &attrs);
}
// The elements of contiguous `x` at `geometry`, relative to its first.
[[nodiscard]] Tensor as_strided(const Tensor& x, const ViewGeometry& geometry);
// Sections of `size` elements (the last may be smaller), as views.
[[nodiscard]] Outputs split(const Tensor& x, int64_t size, int64_t axis = 0);
[[nodiscard]] Outputs split(const Tensor& x, const Dims& sizes, int64_t axis = 0);
[[nodiscard]] Outputs unstack(const Tensor& x, int64_t axis = 0);

// Zeros of `base_shape` with g added to the elements of the view at `geometry`: what as_strided does to a gradient.
[[nodiscard]] Tensor view_adjoint(const Tensor& g, const Shape& base_shape, const ViewGeometry& geometry);
// Contiguous `base` with the elements of the view replaced by `src` (a tensor that broadcasts to it, or a scalar).
[[nodiscard]] Tensor view_scatter(const Tensor& base, const Arg& src, const ViewGeometry& geometry);

// Moves.
[[nodiscard]] Tensor concat(std::span<const Tensor> arrays, int64_t axis = 0);
[[nodiscard]] Tensor stack(std::span<const Tensor> arrays, int64_t axis = 0);
[[nodiscard]] inline Tensor tile(const Tensor& x, const Dims& repetitions) {
  const TileAttrs attrs{repetitions};
  return invoke(*shape_ops.tile, {x}, &attrs);
}
[[nodiscard]] inline Tensor roll(const Tensor& x, const Dims& shift, const OptInts& axis = {}) {
  const RollAttrs attrs{shift, axis};
  return invoke(*shape_ops.roll, {x}, &attrs);
}
[[nodiscard]] inline Tensor repeat(const Tensor& x, int64_t repeats, OptInt axis = {}) {
  const RepeatAttrs attrs{repeats, axis};
  return invoke(*shape_ops.repeat, {x}, &attrs);
}
[[nodiscard]] inline Tensor tril(const Tensor& x, int64_t k = 0) {
  const TriangleAttrs attrs{k};
  return invoke(*shape_ops.tril, {x}, &attrs);
}
[[nodiscard]] inline Tensor triu(const Tensor& x, int64_t k = 0) {
  const TriangleAttrs attrs{k};
  return invoke(*shape_ops.triu, {x}, &attrs);
}

[[nodiscard]] inline Tensor pad(const Tensor& x, const PadAttrs& attrs) { return invoke(*shape_ops.pad, {x}, &attrs); }
// Zeros of `shape` with g's elements added where pad read those.
[[nodiscard]] inline Tensor pad_adjoint(const Tensor& g, const PadAdjointAttrs& attrs) {
  return invoke(*shape_ops.pad_adjoint, {g}, &attrs);
}

}  // namespace gorgo
