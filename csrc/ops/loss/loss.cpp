// Losses over classes, softmax cross-entropy and the negative log-likelihood: what they yield, their gradients, their facts.
//
// Invariant: the fused gradient is an op with a gradient of its own, so derivatives of any order work.
// Read next: loss.h, kernels_cpu.cpp.
#include "ops/loss/loss.h"

#include <utility>

#include "ops/creation/creation.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reduce/reduce.h"
#include "ops/shape/shape.h"
#include "ops/softmax/softmax.h"

namespace gorgo {

LossOps loss_ops;

namespace {

int class_axis(const Shape& logits) { return logits.size() == 1 ? 0 : 1; }

// Operand 0, called `what`, has classes on its axis, and the targets its shape without them.
void check_classes(InferContext& c, const char* what) {
  const Shape& scores = c.shape(0);
  const Shape& target = c.shape(1);
  if (scores.empty()) fail<ValueError>(c.name(), ": ", what, " must have shape (n, c, ...) or (c,), got ()");
  if (!is_integer(c.dtype(1))) fail<TypeError>(c.name(), ": target must have an integer dtype, got ", c.dtype(1));
  if (!is_floating(c.dtype(0))) {
    fail<TypeError>(c.name(), ": ", what, " must have a real floating dtype, got ", c.dtype(0));
  }
  Shape wanted = scores;
  wanted.erase(class_axis(scores));
  if (target != wanted) {
    fail<ValueError>(c.name(), ": target must have shape ", wanted, ", that of ", what, " ", scores,
                     " without the classes on axis ", class_axis(scores), ", got ", target);
  }
  if (scores[class_axis(scores)] == 0) fail<ValueError>(c.name(), ": ", what, " must have a class, got shape ", scores);
  c.compute_dtype = c.dtype(0);
}

void check_loss(InferContext& c) {
  const auto& a = c.attrs_as<CrossEntropyAttrs>();
  check_classes(c, "logits");
  if (!(a.label_smoothing >= 0.0 && a.label_smoothing <= 1.0)) {
    fail<ValueError>(c.name(), ": label_smoothing must be in [0, 1], got ", a.label_smoothing);
  }
}

void check_g(InferContext& c, LossReduction how) {
  const Shape wanted = how == LossReduction::None ? c.shape(1) : Shape{};
  if (c.shape(2) != wanted || c.dtype(2) != c.dtype(0)) {
    fail<ValueError>(c.name(), ": g must be ", c.dtype(0), " ", wanted, ", got ", c.dtype(2), " ", c.shape(2));
  }
}

void infer_loss(InferContext& c) {
  check_loss(c);
  const bool each = c.attrs_as<CrossEntropyAttrs>().how() == LossReduction::None;
  c.add_output(c.dtype(0), each ? c.shape(1) : Shape{});
}

void infer_loss_backward(InferContext& c) {
  check_loss(c);
  check_g(c, c.attrs_as<CrossEntropyAttrs>().how());
  c.add_output(c.dtype(0), c.shape(0));
}

void vjp_loss(VjpContext& c) {
  c.set(0, cross_entropy_backward(c.input(0), c.input(1), c.grad(), c.attrs_as<CrossEntropyAttrs>()));
}

// r = w * (softmax(logits) - const) for each line, w a multiple of g, and h arrives at r.
void vjp_loss_backward(VjpContext& c) {
  const auto& a = c.attrs_as<CrossEntropyAttrs>();
  const Tensor& h = c.grad();
  const Tensor& logits = c.input(0);
  const Tensor& target = c.input(1);
  const Tensor& g = c.input(2);
  const int axis = class_axis(logits->shape);
  const bool each = a.how() == LossReduction::None;
  if (c.wants(0)) {
    const Tensor kept = cast_to(ops::not_equal(target, Scalar::of_int(a.ignore_index)), logits->dtype);
    Tensor w = ops::multiply(kept, g);
    if (a.how() == LossReduction::Mean) w = ops::divide(w, sum(kept));
    const Tensor wh = ops::multiply(h, expand_dims(w, Dims{axis}));
    c.set(0, softmax_backward(wh, softmax(logits, axis), axis));
  }
  if (c.wants(2)) {
    const Tensor unit = full(g->shape, Scalar::of_float(1.0), g->dtype);
    const Tensor by_g = ops::multiply(h, cross_entropy_backward(logits, target, unit, a));
    c.set(2, each ? sum(by_g, Dims{axis}) : sum(by_g));
  }
}

void infer_nll(InferContext& c) {
  check_classes(c, "input");
  const bool each = c.attrs_as<NllAttrs>().how() == LossReduction::None;
  c.add_output(c.dtype(0), each ? c.shape(1) : Shape{});
}

void infer_nll_backward(InferContext& c) {
  check_classes(c, "input");
  check_g(c, c.attrs_as<NllAttrs>().how());
  c.add_output(c.dtype(0), c.shape(0));
}

void vjp_nll(VjpContext& c) {
  c.set(0, invoke(*loss_ops.nll_loss_backward, {c.input(0), c.input(1), c.grad()}, &c.attrs_as<NllAttrs>()));
}

// Linear in g, and free of the input's values; h arrives.
void vjp_nll_backward(VjpContext& c) {
  if (!c.wants(2)) return;
  const auto& a = c.attrs_as<NllAttrs>();
  c.set(2, invoke(*loss_ops.nll_loss, {c.grad(), c.input(1)}, &a));
}

template <class A>
void raise_fault(const char* op, const Fault& fault, const KernelArgs& args) {
  const KOperand& target = args.in[1];
  Dims index(target.rank, 0);
  int64_t at = fault.position();
  for (int i = target.rank - 1; i >= 0; --i) {
    index[i] = at % target.shape[i];
    at /= target.shape[i];
  }
  fail<IndexError>(op, ": target must be in [0, ", fault.figure(1), ") or ignore_index ",
                   args.attrs_as<A>().ignore_index, ", got ", fault.figure(0), " at index ", index);
}
void raise_cross_entropy_fault(const Fault& fault, const KernelArgs& args) {
  raise_fault<CrossEntropyAttrs>("cross_entropy", fault, args);
}
void raise_nll_fault(const Fault& fault, const KernelArgs& args) { raise_fault<NllAttrs>("nll_loss", fault, args); }

Cost cost_of_logits(const KernelArgs& args) {
  const auto n = static_cast<double>(args.in[0].numel);
  return {20.0 * n, n * static_cast<double>(dtype_size(args.in[0].dtype))};
}

}  // namespace

void register_loss(Registry& registry) {
  {
    OpDef op;
    op.name = "cross_entropy";
    op.doc = "Compute the cross-entropy between class scores and target classes.";
    op.details = R"(Args:
    logits (n, c, ...) float: scores, one for each class on axis 1; or (c,) for a single case.
    target (n, ...) integer: the right classes, in [0, c).
    reduction (str): 'mean' over the cases that count, 'sum', or 'none' for a loss per case.
    ignore_index (int): cases with this target yield zero and do not count.
    label_smoothing (float): the share of the target, in [0, 1], that is spread evenly over the classes.

Returns:
    () float, or (n, ...) for 'none': -log softmax(logits) at the target. The mean over no cases is NaN.

Raises:
    ValueError: the shapes do not fit, or label_smoothing is out of range.
    TypeError: logits are not floating, or target is not of integers.
    IndexError: a target is out of range; the message names the first.

Example:
    >>> import gorgo as gg
    >>> logits = gg.asarray([[0.0, 100.0], [100.0, 0.0]])
    >>> gg.cross_entropy(logits, gg.asarray([1, 1])).item()
    50.0
)";
    op.inputs = {{.name = "logits", .shape_doc = "(n, c, ...) float"},
                 {.name = "target", .shape_doc = "(n, ...) integer"}};
    op.attrs = &schema_of<CrossEntropyAttrs>();
    op.infer = infer_loss;
    op.vjp = vjp_loss;
    op.saves_inputs = 3;
    op.onnx = {"SoftmaxCrossEntropyLoss", 13, nullptr};
    op.cost = cost_of_logits;
    op.raise_fault = raise_cross_entropy_fault;
    loss_ops.cross_entropy = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "cross_entropy_backward";
    op.doc = "Compute the gradient of cross_entropy by its logits.";
    op.inputs = {{.name = "logits", .shape_doc = "(n, c, ...) float"},
                 {.name = "target", .shape_doc = "(n, ...) integer"},
                 {.name = "g", .shape_doc = "() or (n, ...) float"}};
    op.attrs = &schema_of<CrossEntropyAttrs>();
    op.infer = infer_loss_backward;
    op.vjp = vjp_loss_backward;
    op.saves_inputs = 7;
    op.onnx = {nullptr, 0, "ONNX has no operator for it outside of training"};
    op.cost = cost_of_logits;
    op.raise_fault = raise_cross_entropy_fault;
    op.flags.internal = true;
    loss_ops.cross_entropy_backward = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "nll_loss";
    op.doc = "Compute minus the log-probabilities of the target classes.";
    op.details = R"(Args:
    input (n, c, ...) float: log-probabilities, one for each class on axis 1; or (c,) for a single case.
    target (n, ...) integer: the right classes, in [0, c).
    reduction (str): 'mean' over the cases that count, 'sum', or 'none' for a loss per case.
    ignore_index (int): cases with this target yield zero and do not count.

Returns:
    () float, or (n, ...) for 'none': -input at the target. The mean over no cases is NaN.

Raises:
    ValueError: the shapes do not fit.
    TypeError: input is not floating, or target is not of integers.
    IndexError: a target is out of range; the message names the first.

Example:
    >>> import gorgo as gg
    >>> gg.nll_loss(gg.asarray([[-1.0, -2.0], [-3.0, -4.0]]), gg.asarray([1, 0])).item()
    2.5
)";
    op.inputs = {{.name = "input", .shape_doc = "(n, c, ...) float"},
                 {.name = "target", .shape_doc = "(n, ...) integer"}};
    op.attrs = &schema_of<NllAttrs>();
    op.infer = infer_nll;
    op.vjp = vjp_nll;
    op.saves_inputs = 3;
    op.onnx = {"NegativeLogLikelihoodLoss", 13, nullptr};
    op.cost = cost_of_logits;
    op.raise_fault = raise_nll_fault;
    loss_ops.nll_loss = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "nll_loss_backward";
    op.doc = "Compute the gradient of nll_loss by its input.";
    op.inputs = {{.name = "input", .shape_doc = "(n, c, ...) float"},
                 {.name = "target", .shape_doc = "(n, ...) integer"},
                 {.name = "g", .shape_doc = "() or (n, ...) float"}};
    op.attrs = &schema_of<NllAttrs>();
    op.infer = infer_nll_backward;
    op.vjp = vjp_nll_backward;
    op.saves_inputs = 2;
    op.onnx = {nullptr, 0, "ONNX has no operator for it outside of training"};
    op.raise_fault = raise_nll_fault;
    op.flags.internal = true;
    loss_ops.nll_loss_backward = &registry.add(std::move(op));
  }
  register_pointwise_losses(registry);
  register_ctc(registry);
}

}  // namespace gorgo
