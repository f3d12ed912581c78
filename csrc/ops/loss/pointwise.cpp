// Losses of two tensors, element by element: what each yields, its gradients, and its facts.
//
// Invariant: the fused gradient is an op with a gradient of its own, so derivatives of any order work.
// Read next: loss.h, kernels_cpu_pointwise.cpp.
#include <utility>

#include "ops/creation/creation.h"
#include "ops/elementwise/elementwise.h"
#include "ops/loss/loss.h"
#include "ops/reduce/reduce.h"

namespace gorgo {
namespace {

using ops::number;

// One op of input, target and g for each loss: its slope by the input. A loss of the difference has the opposite slope by the
// target; `curvature` is the derivative of the slope by the input, null for zero.
struct SquaredError {
  using Attrs = LossAttrs;
  static constexpr bool kOfDifference = true;
  static void check(const InferContext&, const Attrs&) {}
  static Tensor curvature(const Tensor& x, const Tensor&, const Attrs&) {
    return full(x->shape, Scalar::of_float(2.0), x->dtype);
  }
};
struct AbsoluteError {
  using Attrs = LossAttrs;
  static constexpr bool kOfDifference = true;
  static void check(const InferContext&, const Attrs&) {}
  static Tensor curvature(const Tensor&, const Tensor&, const Attrs&) { return {}; }
};
struct SmoothAbsoluteError {
  using Attrs = SmoothL1Attrs;
  static constexpr bool kOfDifference = true;
  static void check(const InferContext& c, const Attrs& a) {
    if (!(a.beta >= 0.0)) fail<ValueError>(c.name(), ": beta must not be negative, got ", a.beta);
  }
  static Tensor curvature(const Tensor& x, const Tensor& t, const Attrs& a) {
    if (a.beta == 0.0) return {};
    const Tensor inside = ops::less(ops::abs(ops::subtract(x, t)), number(a.beta));
    return ops::divide(cast_to(inside, x->dtype), number(a.beta));
  }
};
struct Huber {
  using Attrs = HuberAttrs;
  static constexpr bool kOfDifference = true;
  static void check(const InferContext& c, const Attrs& a) {
    if (!(a.delta > 0.0)) fail<ValueError>(c.name(), ": delta must be positive, got ", a.delta);
  }
  static Tensor curvature(const Tensor& x, const Tensor& t, const Attrs& a) {
    return cast_to(ops::less(ops::abs(ops::subtract(x, t)), number(a.delta)), x->dtype);
  }
};
struct BinaryCrossEntropy {
  using Attrs = LossAttrs;
  static constexpr bool kOfDifference = false;
  static void check(const InferContext&, const Attrs&) {}
  static Tensor curvature(const Tensor& x, const Tensor&, const Attrs&) {
    const Tensor p = ops::sigmoid(x);
    return ops::multiply(p, ops::subtract(number(1.0), p));
  }
};

template <class L>
struct Pointwise {
  using Attrs = typename L::Attrs;
  static inline const OpDef* backward = nullptr;

  static void check(InferContext& c) {
    if (!is_floating(c.dtype(0)))
      fail<TypeError>(c.name(), ": input must have a real floating dtype, got ", c.dtype(0));
    if (c.dtype(1) != c.dtype(0)) {
      fail<TypeError>(c.name(), ": target must have input's dtype ", c.dtype(0), ", got ", c.dtype(1));
    }
    if (c.shape(1) != c.shape(0)) {
      fail<ValueError>(c.name(), ": target must have input's shape ", c.shape(0), ", got ", c.shape(1));
    }
    L::check(c, c.attrs_as<Attrs>());
    c.compute_dtype = c.dtype(0);
  }
  static bool each(const Attrs& a) { return a.how() == LossReduction::None; }
  static void infer(InferContext& c) {
    check(c);
    c.add_output(c.dtype(0), each(c.attrs_as<Attrs>()) ? c.shape(0) : Shape{});
  }
  static void infer_backward(InferContext& c) {
    check(c);
    const Shape wanted = each(c.attrs_as<Attrs>()) ? c.shape(0) : Shape{};
    if (c.shape(2) != wanted || c.dtype(2) != c.dtype(0)) {
      fail<ValueError>(c.name(), ": g must be ", c.dtype(0), " ", wanted, ", got ", c.dtype(2), " ", c.shape(2));
    }
    c.add_output(c.dtype(0), c.shape(0));
  }
  // What arrives at one element's loss.
  static Tensor share(const Tensor& g, const Shape& shape, const Attrs& a) {
    if (a.how() != LossReduction::Mean) return g;
    return ops::divide(g, number(static_cast<double>(numel_of(shape, "mean"))));
  }
  static void vjp(VjpContext& c) {
    const auto& a = c.attrs_as<Attrs>();
    const Tensor& x = c.input(0);
    if (L::kOfDifference || c.wants(0)) {
      const Tensor g = invoke(*backward, {x, c.input(1), c.grad()}, &a);
      if (c.wants(0)) c.set(0, g);
      if (L::kOfDifference && c.wants(1)) c.set(1, ops::negative(g));
    }
    if (!L::kOfDifference && c.wants(1)) {
      c.set(1, ops::negative(ops::multiply(x, share(c.grad(), x->shape, a))));
    }
  }
  // r = w * slope(x, t), where w is an element's share of g, and h arrives at r.
  static void vjp_backward(VjpContext& c) {
    const auto& a = c.attrs_as<Attrs>();
    const Tensor& h = c.grad();
    const Tensor& x = c.input(0);
    const Tensor& t = c.input(1);
    const Tensor& g = c.input(2);
    if (c.wants(0) || c.wants(1)) {
      const Tensor wh = ops::multiply(h, share(g, x->shape, a));
      const Tensor curvature = L::curvature(x, t, a);
      if (curvature) {
        const Tensor by_x = ops::multiply(wh, curvature);
        if (c.wants(0)) c.set(0, by_x);
        if (L::kOfDifference && c.wants(1)) c.set(1, ops::negative(by_x));
      }
      if (!L::kOfDifference && c.wants(1)) c.set(1, ops::negative(wh));
    }
    if (c.wants(2)) {
      const Tensor unit = full(g->shape, Scalar::of_float(1.0), g->dtype);
      const Tensor by_g = ops::multiply(h, invoke(*backward, {x, t, unit}, &a));
      c.set(2, each(a) ? by_g : sum(by_g));
    }
  }
  static Cost cost(const KernelArgs& args) {
    const auto n = static_cast<double>(args.in[0].numel);
    return {4.0 * n, 2.0 * n * static_cast<double>(dtype_size(args.in[0].dtype))};
  }

  static void add(Registry& registry, const char* name, const char* doc, const char* details, const char* backward_name,
                  const char* backward_doc, const char* onnx_reason) {
    OpDef op;
    op.name = name;
    op.doc = doc;
    op.details = details;
    op.inputs = {{.name = "input", .shape_doc = "(...) float"}, {.name = "target", .shape_doc = "(...) float"}};
    op.attrs = &schema_of<Attrs>();
    op.infer = infer;
    op.vjp = vjp;
    op.saves_inputs = 3;
    op.onnx = {nullptr, 0, onnx_reason};
    op.cost = cost;
    OpDef slope = op;
    slope.name = backward_name;
    slope.doc = backward_doc;
    slope.details = "";
    slope.inputs.push_back({.name = "g", .shape_doc = "() or (...) float"});
    slope.infer = infer_backward;
    slope.vjp = vjp_backward;
    slope.saves_inputs = 7;
    slope.onnx = {nullptr, 0, "ONNX has no operator for it outside of training"};
    slope.flags.internal = true;
    registry.add(std::move(op));
    backward = &registry.add(std::move(slope));
  }
};

}  // namespace

void register_pointwise_losses(Registry& registry) {
  Pointwise<SquaredError>::add(registry, "mse_loss", "Compute the squared differences of two tensors, or their mean.",
                               R"(Args:
    input (...) float: the predictions.
    target (...) float: what they should be, of the same shape and dtype.
    reduction (str): 'mean' over all elements, 'sum', or 'none' for a loss per element.

Returns:
    () float, or (...) for 'none': (input - target)**2. The mean over no elements is NaN.

Raises:
    ValueError: the shapes differ.
    TypeError: input is not floating, or target has another dtype.

Example:
    >>> import gorgo as gg
    >>> gg.mse_loss(gg.asarray([1.0, 2.0]), gg.asarray([1.0, 4.0])).item()
    2.0
)",
                               "mse_loss_backward", "Compute the gradient of mse_loss by its input.",
                               "exported as Sub, Mul and ReduceMean");
  Pointwise<AbsoluteError>::add(registry, "l1_loss", "Compute the absolute differences of two tensors, or their mean.",
                                R"(Args:
    input (...) float: the predictions.
    target (...) float: what they should be, of the same shape and dtype.
    reduction (str): 'mean' over all elements, 'sum', or 'none' for a loss per element.

Returns:
    () float, or (...) for 'none': |input - target|, with gradient zero where they are equal. The mean over no elements is NaN.

Raises:
    ValueError: the shapes differ.
    TypeError: input is not floating, or target has another dtype.

Example:
    >>> import gorgo as gg
    >>> gg.l1_loss(gg.asarray([1.0, 2.0]), gg.asarray([1.0, 4.0])).item()
    1.0
)",
                                "l1_loss_backward", "Compute the gradient of l1_loss by its input.",
                                "exported as Sub, Abs and ReduceMean");
  Pointwise<SmoothAbsoluteError>::add(registry, "smooth_l1_loss",
                                      "Compute absolute differences, squared and divided by 2 beta below beta.",
                                      R"(Args:
    input (...) float: the predictions.
    target (...) float: what they should be, of the same shape and dtype.
    reduction (str): 'mean' over all elements, 'sum', or 'none' for a loss per element.
    beta (float): where the parabola ends; zero gives l1_loss.

Returns:
    () float, or (...) for 'none': d**2 / (2 beta) for d = |input - target| below beta, d - beta / 2 elsewhere.

Raises:
    ValueError: the shapes differ, or beta is negative.
    TypeError: input is not floating, or target has another dtype.

Source:
    Girshick, "Fast R-CNN", ICCV 2015.

Example:
    >>> import gorgo as gg
    >>> gg.smooth_l1_loss(gg.asarray([1.0, 3.0]), gg.asarray([0.0, 0.0]), reduction="none").tolist()
    [0.5, 2.5]
)",
                                      "smooth_l1_loss_backward", "Compute the gradient of smooth_l1_loss by its input.",
                                      "exported as Sub, Abs, Where and ReduceMean");
  Pointwise<Huber>::add(registry, "huber_loss",
                        "Compute half the squared differences, and lines of slope delta beyond delta.",
                        R"(Args:
    input (...) float: the predictions.
    target (...) float: what they should be, of the same shape and dtype.
    reduction (str): 'mean' over all elements, 'sum', or 'none' for a loss per element.
    delta (float): where the parabola ends; positive.

Returns:
    () float, or (...) for 'none': d**2 / 2 for d = |input - target| up to delta, delta (d - delta / 2) beyond.

Raises:
    ValueError: the shapes differ, or delta is not positive.
    TypeError: input is not floating, or target has another dtype.

Source:
    Huber, "Robust estimation of a location parameter", Ann. Math. Stat. 35 (1964).

Example:
    >>> import gorgo as gg
    >>> gg.huber_loss(gg.asarray([1.0, 3.0]), gg.asarray([0.0, 0.0]), reduction="none", delta=2.0).tolist()
    [0.5, 4.0]
)",
                        "huber_loss_backward", "Compute the gradient of huber_loss by its input.",
                        "exported as Sub, Abs, Where and ReduceMean");
  Pointwise<BinaryCrossEntropy>::add(registry, "binary_cross_entropy_with_logits",
                                     "Compute the cross-entropy between two-class scores and target probabilities.",
                                     R"(Args:
    input (...) float: the logits; the probability of the first class is sigmoid(input).
    target (...) float: the probabilities wanted, of the same shape and dtype.
    reduction (str): 'mean' over all elements, 'sum', or 'none' for a loss per element.

Returns:
    () float, or (...) for 'none': softplus(input) - target * input, without overflow. The mean over no elements is NaN.

Raises:
    ValueError: the shapes differ.
    TypeError: input is not floating, or target has another dtype.

Example:
    >>> import gorgo as gg
    >>> gg.binary_cross_entropy_with_logits(gg.asarray([100.0, -100.0]), gg.asarray([0.0, 0.0])).item()
    50.0
)",
                                     "binary_cross_entropy_with_logits_backward",
                                     "Compute the gradient of binary_cross_entropy_with_logits by its input.",
                                     "exported as Softplus, Mul, Sub and ReduceMean");
}

}  // namespace gorgo
