// softmax, log_softmax and logsumexp: what each yields, its gradient, and its facts.
//
// Invariant: the fused gradients are ops with gradients of their own, so derivatives of any order work.
// Read next: softmax.h, kernels_cpu.cpp.
#include "ops/softmax/softmax.h"

#include <utility>

#include "ops/elementwise/elementwise.h"
#include "ops/reduce/reduce.h"
#include "ops/shape/shape.h"

namespace gorgo {

SoftmaxOps softmax_ops;

namespace {

// Integers and bool are taken as float32.
DType float_dtype(const InferContext& c) {
  const DType d = c.dtype(0);
  if (is_complex(d)) fail<TypeError>(c.name(), ": x must have a real dtype, got ", d);
  return is_floating(d) ? d : DType::Float32;
}

// A tensor of rank 0 is one line of one element, with axis 0 or -1.
void check_softmax_axis(const InferContext& c, int64_t axis) {
  const Shape& shape = c.shape(0);
  const int rank = shape.empty() ? 1 : shape.size();
  if (axis < -rank || axis >= rank) {
    fail<ValueError>(c.name(), ": axis must be in [", -rank, ", ", rank, "), got ", axis, " (x has shape ", shape, ")");
  }
}

void infer_softmax(InferContext& c) {
  check_softmax_axis(c, c.attrs_as<SoftmaxAttrs>().axis);
  c.compute_dtype = float_dtype(c);
  c.cast_mask = 1;
  c.add_output(c.compute_dtype, c.shape(0));
}

void infer_softmax_backward(InferContext& c) {
  infer_softmax(c);
  if (c.dtype(0) != c.dtype(1) || c.shape(0) != c.shape(1)) {
    fail<ValueError>(c.name(), ": g must be like y, ", c.dtype(1), " ", c.shape(1), ", got ", c.dtype(0), " ",
                     c.shape(0));
  }
}

void infer_logsumexp(InferContext& c) {
  const auto& a = c.attrs_as<LogSumExpAttrs>();
  check_softmax_axis(c, a.axis);
  c.compute_dtype = float_dtype(c);
  c.cast_mask = 1;
  Shape out = c.shape(0);
  if (!out.empty()) {
    const int axis = normalize_axis(a.axis, out.size(), c.name());
    if (a.keepdims) {
      out[axis] = 1;
    } else {
      out.erase(axis);
    }
  }
  c.add_output(c.compute_dtype, out);
}

OptInts optional_axis(const VjpContext& c, int64_t axis) {
  return c.input_shape(0).empty() ? OptInts() : OptInts(Dims{axis});
}

void vjp_softmax(VjpContext& c) {
  c.set(0, softmax_backward(dense_grad(c), c.output(), c.attrs_as<SoftmaxAttrs>().axis));
}

void vjp_log_softmax(VjpContext& c) {
  c.set(0, log_softmax_backward(dense_grad(c), c.output(), c.attrs_as<SoftmaxAttrs>().axis));
}

void vjp_logsumexp(VjpContext& c) {
  const OptInts axis = optional_axis(c, c.attrs_as<LogSumExpAttrs>().axis);
  const Shape& shape = c.input_shape(0);
  const Tensor p = ops::exp(ops::subtract(c.input(0), spread(c.output(), shape, axis)));
  c.set(0, ops::multiply(p, spread(c.grad(), shape, axis)));
}

// r = y (g - sum(g y)), and h arrives at r.
void vjp_softmax_backward(VjpContext& c) {
  const int64_t axis = c.attrs_as<SoftmaxAttrs>().axis;
  const OptInts along = optional_axis(c, axis);
  const Tensor& h = c.grad();
  const Tensor& g = c.input(0);
  const Tensor& y = c.input(1);
  if (c.wants(0)) c.set(0, softmax_backward(h, y, axis));
  if (c.wants(1)) {
    const Tensor gy = sum(ops::multiply(g, y), along, true);
    const Tensor hy = sum(ops::multiply(h, y), along, true);
    c.set(1, ops::subtract(ops::multiply(h, ops::subtract(g, gy)), ops::multiply(g, hy)));
  }
}

// r = g - exp(y) sum(g), and h arrives at r.
void vjp_log_softmax_backward(VjpContext& c) {
  const OptInts along = optional_axis(c, c.attrs_as<SoftmaxAttrs>().axis);
  const Tensor& h = c.grad();
  const Tensor& g = c.input(0);
  const Tensor hp = ops::multiply(h, ops::exp(c.input(1)));
  if (c.wants(0)) c.set(0, ops::subtract(h, sum(hp, along, true)));
  if (c.wants(1)) c.set(1, ops::negative(ops::multiply(hp, sum(g, along, true))));
}

Cost cost_of_lines(const KernelArgs& args) {
  const auto n = static_cast<double>(args.in[0].numel);
  return {20.0 * n, 2.0 * n * static_cast<double>(dtype_size(args.in[0].dtype))};
}

OpDef make_softmax(const char* name, const char* doc, const char* details) {
  OpDef op;
  op.name = name;
  op.doc = doc;
  op.details = details;
  op.inputs = {{.name = "x", .shape_doc = "(...) real"}};
  op.attrs = &schema_of<SoftmaxAttrs>();
  op.infer = infer_softmax;
  op.cost = cost_of_lines;
  return op;
}

OpDef make_backward(const char* name, const char* doc, VjpFn vjp, const char* reason) {
  OpDef op = make_softmax(name, doc, "");
  op.inputs = {{.name = "g", .shape_doc = "(...) float"}, {.name = "y", .shape_doc = "(...) float"}};
  op.infer = infer_softmax_backward;
  op.vjp = vjp;
  op.saves_inputs = 3;
  op.onnx = {nullptr, 0, reason};
  op.flags.internal = true;
  return op;
}

}  // namespace

void register_softmax(Registry& registry) {
  {
    OpDef op = make_softmax("softmax", "Turn scores into probabilities along an axis.", R"(Args:
    x (...) real: the scores; integers and bool are taken as float32.
    axis (int): the axis along which the results sum to one.

Returns:
    (...) float: exp(x) / sum(exp(x)) along the axis, without overflow.

Raises:
    ValueError: axis is out of range.
    TypeError: x is complex.

Example:
    >>> import gorgo as gg
    >>> gg.softmax(gg.asarray([1.0, 1.0, 1.0, 1.0])).tolist()
    [0.25, 0.25, 0.25, 0.25]
)");
    op.vjp = vjp_softmax;
    op.saves_outputs = 1;
    op.onnx = {"Softmax", 13, nullptr};
    softmax_ops.softmax = &registry.add(std::move(op));
  }
  {
    OpDef op = make_softmax("log_softmax", "Compute the logarithm of softmax along an axis.", R"(Args:
    x (...) real: the scores; integers and bool are taken as float32.
    axis (int): the axis along which the exponentials of the results sum to one.

Returns:
    (...) float: x - log(sum(exp(x))) along the axis, without overflow.

Raises:
    ValueError: axis is out of range.
    TypeError: x is complex.

Example:
    >>> import gorgo as gg
    >>> gg.log_softmax(gg.asarray([1000.0])).tolist()
    [0.0]
)");
    op.vjp = vjp_log_softmax;
    op.saves_outputs = 1;
    op.onnx = {"LogSoftmax", 13, nullptr};
    softmax_ops.log_softmax = &registry.add(std::move(op));
  }
  {
    OpDef op = make_softmax("logsumexp", "Compute the logarithm of the sum of exponentials along an axis.", R"(Args:
    x (...) real: the exponents; integers and bool are taken as float32.
    axis (int): the axis that goes.
    keepdims (bool): keep the axis that goes, with length 1.

Returns:
    (...) float: log(sum(exp(x))) along the axis, without overflow; -inf over no elements.

Raises:
    ValueError: axis is out of range.
    TypeError: x is complex.

Example:
    >>> import gorgo as gg
    >>> gg.logsumexp(gg.asarray([-1000.0])).item()
    -1000.0
)");
    op.attrs = &schema_of<LogSumExpAttrs>();
    op.infer = infer_logsumexp;
    op.vjp = vjp_logsumexp;
    op.saves_inputs = 1;
    op.saves_outputs = 1;
    op.onnx = {"ReduceLogSumExp", 18, nullptr};
    softmax_ops.logsumexp = &registry.add(std::move(op));
  }
  softmax_ops.softmax_backward = &registry.add(
      make_backward("softmax_backward", "Compute y * (g - sum(g * y)) along an axis, the gradient of softmax.",
                    vjp_softmax_backward, "exported as Mul, ReduceSum and Sub"));
  softmax_ops.log_softmax_backward = &registry.add(
      make_backward("log_softmax_backward", "Compute g - exp(y) * sum(g) along an axis, the gradient of log_softmax.",
                    vjp_log_softmax_backward, "exported as Exp, ReduceSum, Mul and Sub"));
}

}  // namespace gorgo
