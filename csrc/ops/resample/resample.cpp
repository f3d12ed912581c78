// The resampling ops' shapes, gradients and facts.
// Read next: kernels_cpu.cpp.
#include "ops/resample/resample.h"

#include <cmath>

#include "opdef/core_ops.h"

namespace gorgo {

ResampleOps resample_ops;

namespace {

// Checks what both directions share, and gives the axis counted from the front.
int check(InferContext& c, const ResampleAttrs& a) {
  const TensorImpl& x = c.tensor(0);
  c.compute_dtype = x.dtype;
  if (!kFloatSet.has(x.dtype)) {
    fail<TypeError>(c.name(), ": operands must have a real floating dtype, got ", x.dtype);
  }
  const int rank = x.rank();
  if (rank == 0) fail<ValueError>(c.name(), ": ", c.op.slot_of(0).name, " must have an axis, got shape ()");
  if (a.axis < -rank || a.axis >= rank) {
    fail<ValueError>(c.name(), ": axis must be in [", -rank, ", ", rank, "), got ", a.axis, " (", c.op.slot_of(0).name,
                     " has shape ", x.shape, ")");
  }
  if (a.size < 1) fail<ValueError>(c.name(), ": size must be positive, got ", a.size);
  if (a.scale.has && !(a.scale.value > 0.0 && std::isfinite(a.scale.value))) {
    fail<ValueError>(c.name(), ": scale must be positive and finite, got ", a.scale.value);
  }
  if (a.align_corners && static_cast<ResampleMode>(a.mode.index) < ResampleMode::Linear) {
    fail<ValueError>(c.name(), ": align_corners must be False in mode ", kResampleModes[a.mode.index], ", got True");
  }
  return static_cast<int>(a.axis < 0 ? a.axis + rank : a.axis);
}

void infer_resample(InferContext& c) {
  const auto& a = c.attrs_as<ResampleAttrs>();
  const int axis = check(c, a);
  Shape shape = c.shape(0);
  if (shape[axis] == 0) fail<ValueError>(c.name(), ": axis ", axis, " must have elements, got shape ", shape);
  shape[axis] = a.size;
  static_cast<void>(numel_of(shape, c.name()));
  c.add_output(c.compute_dtype, shape);
}
void vjp_resample(VjpContext& c) {
  ResampleAttrs a = c.attrs_as<ResampleAttrs>();
  const Shape& x = c.input_shape(0);
  a.input_size = x[static_cast<int>(a.axis < 0 ? a.axis + x.size() : a.axis)];
  c.set(0, resample_grad(dense_grad(c), a));
}

void infer_resample_grad(InferContext& c) {
  const auto& a = c.attrs_as<ResampleAttrs>();
  const int axis = check(c, a);
  Shape shape = c.shape(0);
  if (shape[axis] != a.size || a.input_size < 1) {
    fail<ValueError>(c.name(), ": g must have size ", a.size, " along axis ", axis, ", got shape ", shape,
                     " for input_size ", a.input_size);
  }
  shape[axis] = a.input_size;
  static_cast<void>(numel_of(shape, c.name()));
  c.add_output(c.compute_dtype, shape);
}
void vjp_resample_grad(VjpContext& c) { c.set(0, resample(c.grad(), c.attrs_as<ResampleAttrs>())); }

}  // namespace

void register_resample(Registry& registry) {
  {
    OpDef op;
    op.name = "resample";
    op.doc = "Sample an axis at evenly spaced places.";
    op.details = R"(Args:
    x (..., n, ...) float: the tensor.
    size (int): the length of the axis in the result.
    axis (int): the axis of length n.
    mode (str): 'nearest' (the element below a place), 'nearest-exact' (the nearest one), 'linear' between two, or 'cubic'
        through four.
    align_corners (bool): the first and last samples are the first and last elements; otherwise an element is the middle
        of a cell, and the cells' outer ends agree.
    scale (float): results per element, where it is not size / n.

Returns:
    (..., size, ...) float: the samples.

Raises:
    TypeError: x is not floating.
    ValueError: the axis is out of range or empty, size or scale is not positive, or the mode knows no corners.

Source: R. Keys, "Cubic convolution interpolation for digital image processing", IEEE ASSP 29 (1981), with a = -3/4.

Example:
    >>> import gorgo as gg
    >>> gg.resample(gg.asarray([1.0, 3.0]), 4, mode="linear").tolist()
    [1.0, 1.5, 2.5, 3.0]
    >>> gg.resample(gg.asarray([1.0, 3.0]), 3, mode="linear", align_corners=True).tolist()
    [1.0, 2.0, 3.0])";
    op.inputs = {{.name = "x", .shape_doc = "(..., n, ...) float"}};
    op.attrs = &schema_of<ResampleForwardAttrs>();
    op.infer = infer_resample;
    op.vjp = vjp_resample;
    op.onnx = {"Resize", 13, nullptr};
    op.flags.linear = true;
    resample_ops.resample = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "resample_grad";
    op.doc = "Add samples back to the elements they were made of, by their weights.";
    op.inputs = {{.name = "g", .shape_doc = "(..., size, ...) float"}};
    op.attrs = &schema_of<ResampleAttrs>();
    op.infer = infer_resample_grad;
    op.vjp = vjp_resample_grad;
    op.onnx = {nullptr, 0, "ONNX has no adjoint of Resize"};
    op.flags.linear = true;
    op.flags.internal = true;
    resample_ops.resample_grad = &registry.add(std::move(op));
  }
}

}  // namespace gorgo
