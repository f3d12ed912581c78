// The scan family's ops: shapes, and gradients, which are scans from the other end.
//
// linear_scan is the family's workhorse: the gradients of products and of logcumsumexp are linear recurrences, so they cost as
// much as the op, need no division (zeros in a product are no special case), and can be differentiated again.
// Read next: scan.h, kernels_cpu.cpp.
#include "ops/scan/scan.h"

#include <limits>

#include "ops/elementwise/elementwise.h"
#include "ops/index/index.h"
#include "ops/shape/shape.h"

namespace gorgo {

ScanOps scan_ops;

namespace {

int scan_axis(const InferContext& c, int64_t axis) {
  const Shape& shape = c.shape(0);
  if (shape.empty()) fail<ValueError>(c.name(), ": ", c.op.inputs[0].name, " must have an axis, got shape ()");
  if (axis < -shape.size() || axis >= shape.size()) {
    fail<ValueError>(c.name(), ": axis must be in [", -shape.size(), ", ", shape.size(), "), got ", axis, " (",
                     c.op.inputs[0].name, " has shape ", shape, ")");
  }
  return static_cast<int>(axis < 0 ? axis + shape.size() : axis);
}

// ---- sums and products ----
void infer_cumulative(InferContext& c) {
  const auto& a = c.attrs_as<CumulativeAttrs>();
  const DType d = c.dtype(0);
  if (!a.axis.has && c.shape(0).size() > 1) {
    fail<ValueError>(c.name(), ": axis must be given unless x has rank 1, got None (x has shape ", c.shape(0), ")");
  }
  const int axis = scan_axis(c, a.axis.has ? a.axis.value : 0);
  DType to = d;
  if (is_unsigned(d)) to = DType::UInt64;
  if (is_signed_integer(d) || d == DType::Bool) to = DType::Int64;
  if (a.dtype.has) {
    to = a.dtype.value;
    if (to == DType::Bool || (is_complex(d) && !is_complex(to)) || (is_inexact(d) && !is_inexact(to))) {
      fail<TypeError>(c.name(), ": dtype must be one that holds results for ", d, ", got ", to);
    }
  }
  Shape shape = c.shape(0);
  if (a.include_initial) shape[axis] += 1;
  static_cast<void>(numel_of(shape, c.name()));
  c.compute_dtype = to;
  c.cast_mask = 1;
  c.add_output(to, shape);
}

int64_t scan_axis(const VjpContext& c) {
  const auto& a = c.attrs_as<CumulativeAttrs>();
  return a.axis.has ? a.axis.value : 0;
}

// The gradient of the results but for the initial one.
Tensor later(const VjpContext& c, const Tensor& g, int64_t axis) {
  if (!c.attrs_as<CumulativeAttrs>().include_initial) return g;
  const int at = normalize_axis(axis, g->rank(), c.op.name);
  return slice(g, at, 1, g->shape[at] - 1);
}

Tensor reversed(const Tensor& x, int64_t axis) { return flip(x, Dims{axis}); }

// x moved one place up along an axis, with `first` in front.
Tensor shifted(const Tensor& x, int64_t axis, double first) {
  const int at = normalize_axis(axis, x->rank(), "shifted");
  const int64_t n = x->shape[at];
  if (n == 0) return x;
  // Padding one axis of several: the others are laid flat around it.
  int64_t outer = 1;
  int64_t inner = 1;
  for (int i = 0; i < x->rank(); ++i) {
    if (i != at) (i < at ? outer : inner) *= x->shape[i];
  }
  PadAttrs attrs;
  attrs.pad_width = {0, 0, 1, 0, 0, 0};
  attrs.value = Scalar::of_float(first);
  return reshape(pad(reshape(slice(x, at, 0, n - 1), {outer, n - 1, inner}), attrs), x->shape);
}

// S[i] = g[i] + a[i + 1] S[i + 1]: what linear_scan by `a` does to a gradient.
Tensor scan_back(const Tensor& a, const Tensor& g, int64_t axis) {
  const Tensor next = roll(reversed(a, axis), {1}, Dims{axis});
  return reversed(linear_scan(next, reversed(g, axis), axis), axis);
}

void vjp_cumulative_sum(VjpContext& c) {
  const int64_t axis = scan_axis(c);
  const Tensor g = reversed(later(c, c.grad(), axis), axis);
  c.set(0, cast_to(reversed(cumulative_sum(g, axis), axis), c.input_dtype(0)));
}

void vjp_cumulative_prod(VjpContext& c) {
  const int64_t axis = scan_axis(c);
  const Tensor g = later(c, c.grad(), axis);
  const Tensor x = cast_to(c.input(0), g->dtype);
  // The products before each place.
  const int at = normalize_axis(axis, x->rank(), c.op.name);
  const Tensor before = c.attrs_as<CumulativeAttrs>().include_initial ? slice(c.output(), at, 0, x->shape[at])
                                                                      : shifted(c.output(), axis, 1.0);
  c.set(0, cast_to(ops::multiply(scan_back(ops::conjugate(x), g, axis), ops::conjugate(before)), c.input_dtype(0)));
}

// ---- extremes ----
void infer_extreme(InferContext& c) {
  static_cast<void>(scan_axis(c, c.attrs_as<ScanAttrs>().axis));
  if (is_complex(c.dtype(0))) fail<TypeError>(c.name(), ": x must have an order, got ", c.dtype(0));
  c.compute_dtype = c.dtype(0);
  c.add_output(c.dtype(0), c.shape(0));
  c.add_output(DType::Int64, c.shape(0));
}

void vjp_extreme(VjpContext& c) {
  if (!c.grad(0)) return;
  c.set(0, take_along_axis_adjoint(c.grad(0), c.output(1), c.attrs_as<ScanAttrs>().axis, c.input_shape(0)));
}

// ---- logcumsumexp ----
void infer_logcumsumexp(InferContext& c) {
  static_cast<void>(scan_axis(c, c.attrs_as<ScanAttrs>().axis));
  if (is_complex(c.dtype(0))) fail<TypeError>(c.name(), ": x must have a real dtype, got ", c.dtype(0));
  c.compute_dtype = is_floating(c.dtype(0)) ? c.dtype(0) : DType::Float32;
  c.cast_mask = 1;
  c.add_output(c.compute_dtype, c.shape(0));
}

// exp(low - high) for low <= high, 0 where high is minus infinity. Selected before the exponential as well: its gradient must
// not meet the difference of two infinities either.
Tensor weight(const Tensor& low, const Tensor& high) {
  const Tensor nothing = ops::equal(high, ops::number(-std::numeric_limits<double>::infinity()));
  const Tensor difference = ops::where(nothing, ops::number(0.0), ops::subtract(low, high));
  return ops::where(nothing, ops::number(0.0), ops::exp(difference));
}

// With y = logcumsumexp(x) the gradient is sum over i >= j of g[i] exp(x[j] - y[i]). y never falls, so
// S[j] = g[j] + exp(y[j] - y[j + 1]) S[j + 1] has factors up to 1 only, and exp(x[j] - y[j]) S[j] is the sum.
void vjp_logcumsumexp(VjpContext& c) {
  const int64_t axis = c.attrs_as<ScanAttrs>().axis;
  const Tensor& y = c.output();
  const Tensor x = cast_to(c.input(0), y->dtype);
  const Tensor steps = weight(shifted(y, axis, 0.0), y);  // the first is not looked at
  c.set(0, cast_to(ops::multiply(scan_back(steps, c.grad(), axis), weight(x, y)), c.input_dtype(0)));
}

// ---- linear_scan ----
void infer_linear_scan(InferContext& c) {
  static_cast<void>(scan_axis(c, c.attrs_as<ScanAttrs>().axis));
  if (!is_inexact(c.dtype(0))) fail<TypeError>(c.name(), ": a must be float or complex, got ", c.dtype(0));
  if (c.dtype(0) != c.dtype(1) || c.shape(0) != c.shape(1)) {
    fail<ValueError>(c.name(), ": b must be like a, ", c.dtype(0), " ", c.shape(0), ", got ", c.dtype(1), " ",
                     c.shape(1));
  }
  c.compute_dtype = c.dtype(0);
  c.add_output(c.dtype(0), c.shape(0));
}

void vjp_linear_scan(VjpContext& c) {
  const int64_t axis = c.attrs_as<ScanAttrs>().axis;
  const Tensor back = scan_back(ops::conjugate(c.input(0)), c.grad(), axis);
  if (c.wants(0)) c.set(0, ops::multiply(back, ops::conjugate(shifted(c.output(), axis, 0.0))));
  if (c.wants(1)) c.set(1, back);
}

const OpDef* add_extreme(Registry& registry, const char* name, const char* doc, const char* details) {
  OpDef op;
  op.name = name;
  op.doc = doc;
  op.details = details;
  op.inputs = {{.name = "x", .shape_doc = "(..., n, ...) real or bool"}};
  op.outputs = {"values", "indices"};
  op.attrs = &schema_of<ScanAttrs>();
  op.infer = infer_extreme;
  op.vjp = vjp_extreme;
  op.saves_outputs = 2u;
  op.onnx = {nullptr, 0, "ONNX has no running extreme"};
  return &registry.add(std::move(op));
}

}  // namespace

void register_scan(Registry& registry) {
  {
    OpDef op;
    op.name = "cumulative_sum";
    op.doc = "Add up the elements of an axis, up to and with each one.";
    op.details = R"(float16, bfloat16 and float32 are added in float64, complex64 in complex128.

Args:
    x (..., n, ...) any: the tensor.
    axis (int, optional): the axis of length n; it may be left out when x has rank 1.
    dtype (dtype, optional): the dtype of the result; None means int64 (uint64) for integers and bool, else that of x.
    include_initial (bool): whether the result begins with the sum of nothing, 0, and is one longer.

Returns:
    (..., n or n + 1, ...) numeric: the sums.

Raises:
    ValueError: x has rank 0, or the axis is out of range or missing.
    TypeError: dtype cannot hold the sums.

Example:
    >>> import gorgo as gg
    >>> gg.cumulative_sum(gg.asarray([1, 2, 3])).tolist()
    [1, 3, 6]
    >>> gg.cumulative_sum(gg.asarray([1, 2, 3]), include_initial=True).tolist()
    [0, 1, 3, 6]
)";
    op.inputs = {{.name = "x", .shape_doc = "(..., n, ...) any"}};
    op.attrs = &schema_of<CumulativeAttrs>();
    op.infer = infer_cumulative;
    op.vjp = vjp_cumulative_sum;
    op.flags.linear = true;
    op.onnx = {"CumSum", 11, nullptr};
    scan_ops.cumulative_sum = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "cumulative_prod";
    op.doc = "Multiply the elements of an axis, up to and with each one.";
    op.details = R"(float16, bfloat16 and float32 are multiplied in float64, complex64 in complex128.

Args:
    x (..., n, ...) any: the tensor.
    axis (int, optional): the axis of length n; it may be left out when x has rank 1.
    dtype (dtype, optional): the dtype of the result; None means int64 (uint64) for integers and bool, else that of x.
    include_initial (bool): whether the result begins with the product of nothing, 1, and is one longer.

Returns:
    (..., n or n + 1, ...) numeric: the products.

Raises:
    ValueError: x has rank 0, or the axis is out of range or missing.
    TypeError: dtype cannot hold the products.

Example:
    >>> import gorgo as gg
    >>> gg.cumulative_prod(gg.asarray([1, 2, 3])).tolist()
    [1, 2, 6]
)";
    op.inputs = {{.name = "x", .shape_doc = "(..., n, ...) any"}};
    op.attrs = &schema_of<CumulativeAttrs>();
    op.infer = infer_cumulative;
    op.vjp = vjp_cumulative_prod;
    op.saves_inputs = 1u;
    op.saves_outputs = 1u;
    op.onnx = {"CumProd", 26, nullptr};
    scan_ops.cumulative_prod = &registry.add(std::move(op));
  }
  scan_ops.cummax =
      add_extreme(registry, "cummax", "Find the greatest element of an axis up to each one, and where it is.",
                  R"(Args:
    x (..., n, ...) real or bool: the tensor.
    axis (int): the axis of length n.

Returns:
    values (..., n, ...) any: the greatest elements; NaN from the first NaN on.
    indices (..., n, ...) int64: where along the axis they are; of equal ones the last.

Raises:
    TypeError: x is complex.
    ValueError: x has rank 0, or the axis is out of range.

Example:
    >>> import gorgo as gg
    >>> values, indices = gg.cummax(gg.asarray([1, 3, 2]))
    >>> values.tolist(), indices.tolist()
    ([1, 3, 3], [0, 1, 1])
)");
  scan_ops.cummin =
      add_extreme(registry, "cummin", "Find the smallest element of an axis up to each one, and where it is.",
                  R"(Args:
    x (..., n, ...) real or bool: the tensor.
    axis (int): the axis of length n.

Returns:
    values (..., n, ...) any: the smallest elements; NaN from the first NaN on.
    indices (..., n, ...) int64: where along the axis they are; of equal ones the last.

Raises:
    TypeError: x is complex.
    ValueError: x has rank 0, or the axis is out of range.

Example:
    >>> import gorgo as gg
    >>> values, indices = gg.cummin(gg.asarray([2, 3, 1]))
    >>> values.tolist(), indices.tolist()
    ([2, 2, 1], [0, 0, 2])
)");
  {
    OpDef op;
    op.name = "logcumsumexp";
    op.doc = "Take the logarithm of the sum of exponentials of an axis, up to and with each element.";
    op.details = R"(The sums are scaled by the greatest element so far, so nothing overflows, and kept in float64.

Args:
    x (..., n, ...) real: the tensor.
    axis (int): the axis of length n.

Returns:
    (..., n, ...) float: the logarithms, in x's dtype, or float32 for integers and bool.

Raises:
    TypeError: x is complex.
    ValueError: x has rank 0, or the axis is out of range.

Example:
    >>> import gorgo as gg
    >>> [round(v, 4) for v in gg.logcumsumexp(gg.asarray([0.0, 0.0, 1000.0])).tolist()]
    [0.0, 0.6931, 1000.0]
)";
    op.inputs = {{.name = "x", .shape_doc = "(..., n, ...) real"}};
    op.attrs = &schema_of<ScanAttrs>();
    op.infer = infer_logcumsumexp;
    op.vjp = vjp_logcumsumexp;
    op.saves_inputs = 1u;
    op.saves_outputs = 1u;
    op.onnx = {nullptr, 0, "ONNX has no running logarithm of sums"};
    scan_ops.logcumsumexp = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "linear_scan";
    op.doc = "Run y[i] = a[i] y[i - 1] + b[i] along an axis, from y[0] = b[0].";
    op.details =
        R"(float16, bfloat16 and float32 are computed in float64, complex64 in complex128. Discounted sums of rewards
are such a recurrence from the other end.

Args:
    a (..., n, ...) float or complex: the factors; the first of each line is not looked at.
    b (..., n, ...) float or complex: what is added, of a's shape and dtype.
    axis (int): the axis of length n.

Returns:
    (..., n, ...) any: y, of a's shape and dtype.

Raises:
    TypeError: a is not float or complex.
    ValueError: a has rank 0, b is not like a, or the axis is out of range.

Example:
    >>> import gorgo as gg
    >>> gg.linear_scan(gg.asarray([0.5, 0.5, 0.5]), gg.asarray([1.0, 1.0, 1.0])).tolist()
    [1.0, 1.5, 1.75]
)";
    op.inputs = {{.name = "a", .shape_doc = "(..., n, ...) float or complex"},
                 {.name = "b", .shape_doc = "(..., n, ...) float or complex"}};
    op.attrs = &schema_of<ScanAttrs>();
    op.infer = infer_linear_scan;
    op.vjp = vjp_linear_scan;
    op.saves_inputs = 1u;
    op.saves_outputs = 1u;
    op.onnx = {nullptr, 0, "ONNX has only Scan, with a body of its own"};
    scan_ops.linear_scan = &registry.add(std::move(op));
  }
}

}  // namespace gorgo
