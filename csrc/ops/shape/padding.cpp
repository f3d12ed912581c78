// The shape family's pad and its adjoint.
//
// Read next: shape.h, kernels_cpu_padding.cpp.
#include "ops/shape/register.h"
#include "ops/shape/shape.h"

namespace gorgo {
namespace {

// Checks the widths against a shape that is to be padded and gives the padded one.
Shape padded_shape(const Shape& shape, const Dims& width, PadMode mode, const char* op) {
  const int rank = shape.size();
  if (width.empty() || (width.size() > 2 && width.size() != 2 * rank)) {
    fail<ValueError>(op, ": pad_width must be an integer, a pair or ", rank, " pairs (before, after), got ",
                     width.size(), " integers (x has shape ", shape, ")");
  }
  for (const int64_t n : width) {
    if (n < 0) fail<ValueError>(op, ": pad_width must not be negative, got ", width);
  }
  Shape out = shape;
  for (int i = 0; i < rank; ++i) {
    const int64_t before = pad_before(width, i);
    const int64_t after = pad_after(width, i);
    if (__builtin_add_overflow(out[i], before, &out[i]) || __builtin_add_overflow(out[i], after, &out[i])) {
      fail<OverflowError>(op, ": axis ", i, " must have fewer than 2**63 elements");
    }
    if (mode != PadMode::Constant && shape[i] == 0 && out[i] > 0) {
      fail<ValueError>(op, ": axis ", i, " must have elements to take the padding from, got shape ", shape);
    }
  }
  check_count(out, op);
  return out;
}

bool is_plain_zero(const Scalar& s) noexcept { return s.kind == Scalar::Kind::Int && s.i == 0; }

void infer_pad(InferContext& c) {
  const auto& a = c.attrs_as<PadAttrs>();
  const TensorImpl& x = c.tensor(0);
  const PadMode mode = pad_mode(a.mode);
  const Shape out = padded_shape(x.shape, a.pad_width, mode, c.name());
  if (mode == PadMode::Constant && !is_plain_zero(a.value)) {
    Element element;  // for the checks alone
    store_scalar(a.value, x.dtype, c.name(), &element);
  }
  add_moved(c, x, out);
}

void vjp_pad(VjpContext& c) {
  const auto& a = c.attrs_as<PadAttrs>();
  const Shape& own = c.input_shape(0);
  if (pad_mode(a.mode) != PadMode::Constant) {
    c.set(0, pad_adjoint(c.grad(), {a.pad_width, a.mode, own}));
    return;
  }
  Tensor g = c.grad();
  for (int i = 0; i < own.size(); ++i) {
    if (own[i] != g->shape[i]) g = slice(g, i, own[i] == 0 ? 0 : pad_before(a.pad_width, i), own[i]);
  }
  c.set(0, g);
}

void infer_pad_adjoint(InferContext& c) {
  const auto& a = c.attrs_as<PadAdjointAttrs>();
  const TensorImpl& g = c.tensor(0);
  const PadMode mode = pad_mode(a.mode);
  if (mode == PadMode::Constant) fail<ValueError>(c.name(), ": mode must take elements from x, got 'constant'");
  const Shape expected = padded_shape(a.shape, a.pad_width, mode, c.name());
  if (g.shape != expected) fail<ValueError>(c.name(), ": g must have shape ", expected, ", got ", g.shape);
  add_moved(c, g, a.shape);
}

void vjp_pad_adjoint(VjpContext& c) {
  const auto& a = c.attrs_as<PadAdjointAttrs>();
  c.set(0, pad(c.grad(), {a.pad_width, a.mode, Scalar()}));
}

}  // namespace

void register_padding(Registry& registry) {
  {
    OpDef op;
    op.name = "pad";
    op.doc = "Lay elements before and after a tensor along its axes.";
    op.details = R"(Args:
    x (...) any: the tensor.
    pad_width (int or pairs of int): how many before and after each axis: one number for all sides, a pair
        (before, after) for all axes, or a pair for each axis.
    mode (str): 'constant' lays a value; 'reflect' mirrors x at its outermost elements, 'symmetric' at its edges;
        'edge' (or 'replicate') repeats the outermost elements; 'wrap' (or 'circular') begins again at the other end.
    value (number): what 'constant' lays.

Returns:
    (...) any: a new tensor.

Raises:
    ValueError: a width is negative, widths do not fit the rank, or an axis without elements is to be repeated.
    TypeError: the value is of a higher kind than x.
    OverflowError: the value does not fit x's dtype.

Example:
    >>> import gorgo as gg
    >>> gg.pad(gg.asarray([1, 2, 3]), 2).tolist()
    [0, 0, 1, 2, 3, 0, 0]
    >>> gg.pad(gg.asarray([[1, 2, 3]]), ((0, 1), (2, 0)), mode="reflect").tolist()
    [[3, 2, 1, 2, 3], [3, 2, 1, 2, 3]]
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.attrs = &schema_of<PadAttrs>();
    op.infer = infer_pad;
    op.vjp = vjp_pad;
    op.onnx = {"Pad", 19, nullptr};
    shape_ops.pad = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "pad_adjoint";
    op.doc = "Add what was laid around a tensor to the elements that it was taken from.";
    op.inputs = {{.name = "g", .shape_doc = "(...) float or complex"}};
    op.attrs = &schema_of<PadAdjointAttrs>();
    op.infer = infer_pad_adjoint;
    op.vjp = vjp_pad_adjoint;
    op.onnx = {nullptr, 0, "a gradient"};
    op.flags.internal = true;
    shape_ops.pad_adjoint = add_move_op(registry, std::move(op));
  }
}

}  // namespace gorgo
