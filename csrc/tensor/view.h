// How a view lies in the tensor it was cut from: the facts that the tape, the view ops and their gradients share.
//
// Invariant: geometry is in elements, and its offset is relative to the first element of a contiguous base.
// Read next: ops/shape/shape.h (the ops that cut views), autograd/tape.h (writes through views).
#pragma once

#include "core/check.h"
#include "core/shape.h"
#include "tensor/tensor.h"

namespace gorgo {

struct ViewGeometry {
  Shape shape;
  Strides strides;
  int64_t offset = 0;
};

// How `view` lies in its root. For a tensor that is no view: contiguous at zero.
[[nodiscard]] ViewGeometry geometry_in_root(const TensorImpl& view);

// True unless it is certain that different positions are different elements. Cheap and one-sided: an interleaved
// geometry, which only as_strided can make, may be called overlapping though it is not.
[[nodiscard]] bool may_overlap(const Shape& shape, const Strides& strides) noexcept;

// Throws ValueError unless every position lies in [0, base_numel).
void check_geometry(const ViewGeometry& geometry, int64_t base_numel, const char* op);

// Which axis of x `axis` means, which may count from the end; ValueError where there is none.
[[nodiscard]] inline int axis_of(int64_t axis, const TensorImpl& x, const char* op, const char* argument = "axis") {
  const int rank = x.rank();
  if (axis < -rank || axis >= rank) {
    if (rank == 0) fail<ValueError>(op, ": x must have an axis, got shape ()");
    fail<ValueError>(op, ": ", argument, " must be in [", -rank, ", ", rank, "), got ", axis, " (x has shape ", x.shape,
                     ")");
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

}  // namespace gorgo
