// Connectionist temporal classification: what it yields, its gradients of two orders, and its facts.
//
// Invariant: the gradient is the partial derivative by each log-probability, all taken as free; through log_softmax it is that
// by the scores. Read next: loss.h, kernels_cpu_ctc.cpp.
#include <utility>

#include "ops/creation/creation.h"
#include "ops/elementwise/elementwise.h"
#include "ops/loss/loss.h"
#include "ops/reduce/reduce.h"

namespace gorgo {
namespace {

const CtcAttrs& attrs_of(const InferContext& c) { return c.attrs_as<CtcAttrs>(); }

void check_ctc(InferContext& c) {
  const Shape& x = c.shape(0);
  if (!is_floating(c.dtype(0))) {
    fail<TypeError>(c.name(), ": log_probs must have a real floating dtype, got ", c.dtype(0));
  }
  if (x.size() != 3) fail<ValueError>(c.name(), ": log_probs must have shape (t, n, c), got ", x);
  const char* const names[] = {"log_probs", "targets", "input_lengths", "target_lengths"};
  for (int i = 1; i < 4; ++i) {
    if (!is_integer(c.dtype(i)))
      fail<TypeError>(c.name(), ": ", names[i], " must have an integer dtype, got ", c.dtype(i));
    if (i > 1 && c.shape(i) != Shape{x[1]}) {
      fail<ValueError>(c.name(), ": ", names[i], " must have shape ", Shape{x[1]}, ", one for each case of log_probs ",
                       x, ", got ", c.shape(i));
    }
  }
  const Shape& targets = c.shape(1);
  if (targets.size() != 1 && (targets.size() != 2 || targets[0] != x[1])) {
    fail<ValueError>(c.name(), ": targets must have shape (", x[1], ", s) or (sum of target_lengths,), got ", targets);
  }
  const int64_t blank = attrs_of(c).blank;
  if (blank < 0 || blank >= x[2]) {
    fail<ValueError>(c.name(), ": blank must be in [0, ", x[2], "), got ", blank, " (log_probs has shape ", x, ")");
  }
  c.compute_dtype = c.dtype(0);
}

Shape loss_shape(const InferContext& c) {
  return attrs_of(c).how() == LossReduction::None ? Shape{c.shape(0)[1]} : Shape{};
}

void check_g(InferContext& c) {
  const Shape wanted = loss_shape(c);
  if (c.shape(4) != wanted || c.dtype(4) != c.dtype(0)) {
    fail<ValueError>(c.name(), ": g must be ", c.dtype(0), " ", wanted, ", got ", c.dtype(4), " ", c.shape(4));
  }
}

void infer_ctc(InferContext& c) {
  check_ctc(c);
  c.add_output(c.dtype(0), loss_shape(c));
}

void infer_ctc_backward(InferContext& c) {
  check_ctc(c);
  check_g(c);
  c.add_output(c.dtype(0), c.shape(0));
}

void infer_curvature(InferContext& c) {
  infer_ctc_backward(c);
  if (c.shape(5) != c.shape(0) || c.dtype(5) != c.dtype(0)) {
    fail<ValueError>(c.name(), ": h must be like log_probs, ", c.dtype(0), " ", c.shape(0), ", got ", c.dtype(5), " ",
                     c.shape(5));
  }
}

Tensor backward(const VjpContext& c, const Tensor& g) {
  return invoke(*loss_ops.ctc_loss_backward, {c.input(0), c.input(1), c.input(2), c.input(3), g},
                &c.attrs_as<CtcAttrs>());
}

void vjp_ctc(VjpContext& c) { c.set(0, backward(c, c.grad())); }

void vjp_ctc_backward(VjpContext& c) {
  const auto& a = c.attrs_as<CtcAttrs>();
  const Tensor& h = c.grad();
  const Tensor& g = c.input(4);
  if (c.wants(0)) {
    c.set(0, invoke(*loss_ops.ctc_loss_curvature, {c.input(0), c.input(1), c.input(2), c.input(3), g, h}, &a));
  }
  if (c.wants(4)) {
    const Tensor unit = full(g->shape, Scalar::of_float(1.0), g->dtype);
    const Tensor by_g = ops::multiply(h, backward(c, unit));
    c.set(4, a.how() == LossReduction::None ? sum(by_g, Dims{0, 2}) : sum(by_g));
  }
}

void raise_fault(const Fault& fault, const KernelArgs& args) {
  switch (static_cast<CtcFault>(fault.code())) {
    case CtcFault::InputLength:
      fail<ValueError>("ctc_loss: input_lengths must be in [0, ", fault.figure(1), "], got ", fault.figure(0),
                       " at index ", fault.position());
    case CtcFault::TargetLength:
      fail<ValueError>("ctc_loss: target_lengths must be in [0, ", fault.figure(1), "], what targets have left, got ",
                       fault.figure(0), " at index ", fault.position());
    case CtcFault::Target:
      break;
  }
  const KOperand& targets = args.in[1];
  const int64_t at = fault.position();
  const Dims index = targets.rank == 2 ? Dims{at / targets.shape[1], at % targets.shape[1]} : Dims{at};
  fail<IndexError>("ctc_loss: targets must be in [0, ", fault.figure(1), "), got ", fault.figure(0), " at index ",
                   index);
}

Cost cost_of_ctc(const KernelArgs& args) {
  const auto times = static_cast<double>(args.in[0].shape[0]);
  return {40.0 * times * static_cast<double>(2 * args.in[1].numel + args.in[0].shape[1]),
          static_cast<double>(args.in[0].numel) * static_cast<double>(dtype_size(args.in[0].dtype))};
}

}  // namespace

void register_ctc(Registry& registry) {
  OpDef op;
  op.name = "ctc_loss";
  op.doc = "Compute minus the log-probability of label sequences, summed over all alignments with the inputs.";
  op.details = R"(Args:
    log_probs (t, n, c) float: log-probabilities of the classes at each time, as log_softmax gives them.
    targets (n, s) or (total,) integer: the labels, padded or one after the other, in [0, c).
    input_lengths (n,) integer: how many times count in each case, at most t.
    target_lengths (n,) integer: how many labels count in each case.
    blank (int): the class that stands for no label.
    reduction (str): 'mean' over the cases after division by their target lengths, 'sum', or 'none' for a loss per case.
    zero_infinity (bool): whether a case whose labels do not fit its inputs yields zero, and no gradient, instead of infinity.

Returns:
    () float, or (n,) for 'none': the loss.

Raises:
    ValueError: the shapes do not fit, blank is out of range, or a length is.
    TypeError: log_probs are not floating, or another operand is not of integers.
    IndexError: a target is out of range.

Source:
    Graves et al., "Connectionist temporal classification", ICML 2006.

Example:
    >>> import gorgo as gg
    >>> even = gg.log_softmax(gg.zeros((2, 1, 2)))
    >>> loss = gg.ctc_loss(even, gg.asarray([[1]]), gg.asarray([2]), gg.asarray([1]))
    >>> round(loss.item(), 4)  # three of the four paths read "1"
    0.2877
)";
  op.inputs = {{.name = "log_probs", .shape_doc = "(t, n, c) float"},
               {.name = "targets", .shape_doc = "(n, s) or (total,) integer"},
               {.name = "input_lengths", .shape_doc = "(n,) integer"},
               {.name = "target_lengths", .shape_doc = "(n,) integer"}};
  op.attrs = &schema_of<CtcAttrs>();
  op.infer = infer_ctc;
  op.vjp = vjp_ctc;
  op.saves_inputs = 15;
  op.onnx = {nullptr, 0, "ONNX has no operator for it"};
  op.cost = cost_of_ctc;
  op.raise_fault = raise_fault;

  OpDef slope = op;
  slope.name = "ctc_loss_backward";
  slope.doc = "Compute the gradient of ctc_loss by its log-probabilities.";
  slope.details = "";
  slope.inputs.push_back({.name = "g", .shape_doc = "() or (n,) float"});
  slope.infer = infer_ctc_backward;
  slope.vjp = vjp_ctc_backward;
  slope.saves_inputs = 31;
  slope.flags.internal = true;

  OpDef curvature = slope;
  curvature.name = "ctc_loss_curvature";
  curvature.doc = "Compute how the gradient of ctc_loss changes along a direction.";
  curvature.inputs.push_back({.name = "h", .shape_doc = "(t, n, c) float"});
  curvature.infer = infer_curvature;
  curvature.vjp = nullptr;
  curvature.saves_inputs = 0;
  curvature.not_differentiable = "third derivatives of ctc_loss are not offered";

  registry.add(std::move(op));
  loss_ops.ctc_loss_backward = &registry.add(std::move(slope));
  loss_ops.ctc_loss_curvature = &registry.add(std::move(curvature));
}

}  // namespace gorgo
