// OpDefs of clip, whose bounds are optional, and of polygamma, which has an order.
// Read next: kernels_cpu_moves.cpp.
#include "ops/elementwise/elementwise.h"
#include "ops/reduce/reduce.h"

namespace gorgo {
namespace {

// The dtype in which the operands from `first` on meet; those that are absent have no say.
DType meet_given(const InferContext& c, size_t first) {
  DType d = c.dtype(static_cast<int>(first));
  for (size_t i = first + 1; i < c.in.size(); ++i) {
    if (c.in[i].is_tensor()) d = promote(d, c.in[i].tensor->dtype);
  }
  for (const Arg& arg : c.in) {
    if (arg.is_scalar()) d = promote(d, arg.scalar);
  }
  return d;
}

void infer_clip(InferContext& c) {
  const DType d = meet_given(c, 0);
  if (!kRealSet.has(d)) fail<TypeError>("clip: x, min and max must meet in a dtype that is real, got ", d);
  c.compute_dtype = d;
  c.cast_mask = 0b111;
  Shape shape = c.shape(0);
  for (int i = 1; i < 3; ++i) {
    if (c.in[static_cast<size_t>(i)].is_tensor()) shape = broadcast_shapes(shape, c.shape(i), "clip");
  }
  c.add_output(d, shape);
}

void infer_clip_backward(InferContext& c) {
  c.compute_dtype = c.dtype(0);
  c.cast_mask = 0b1110;
  c.add_output(c.dtype(0), c.shape(0));
}

Arg bound_of(const VjpContext& c, int i) {
  const auto k = static_cast<size_t>(i);
  if (k < c.args.size() && c.args[k].is_scalar()) return c.args[k];
  return Arg(c.input(i));
}

// As in PyTorch: at a bound the gradient is still x's; where min is above max, it is max's.
void clip_vjp(VjpContext& c) {
  const Tensor& g = c.grad();
  const Arg zero = ops::number(0.0);
  const Arg x(c.input(0));
  const Arg low = bound_of(c, 1);
  const Arg high = bound_of(c, 2);
  const auto both = [](const Tensor& a, const Tensor& b) {
    if (!a) return b;
    return b ? ops::logical_and(a, b) : a;
  };
  if (c.wants(0) && !low.given() && !high.given()) {
    c.set(0, g);
  } else if (c.wants(0) && !c.create_graph) {
    c.set(0, sum_to(invoke(*elementwise_ops.clip_backward, {Arg(g), x, low, high}), c.input_shape(0)));
  } else if (c.wants(0)) {
    const Tensor inside =
        both(low.given() ? ops::greater_equal(x, low) : Tensor(), high.given() ? ops::less_equal(x, high) : Tensor());
    c.set(0, sum_to(inside ? ops::where(inside, g, zero) : g, c.input_shape(0)));
  }
  if (c.wants(1)) {
    const Tensor taken = both(ops::less(x, low), high.given() ? ops::less(low, high) : Tensor());
    c.set(1, sum_to(ops::where(taken, g, zero), c.input_shape(1)));
  }
  if (c.wants(2)) {
    const Tensor above = ops::greater(x, high);
    const Tensor taken = low.given() ? ops::logical_or(above, ops::less(high, low)) : above;
    c.set(2, sum_to(ops::where(taken, g, zero), c.input_shape(2)));
  }
}

void infer_polygamma(InferContext& c) {
  const int64_t n = c.attrs_as<PolygammaAttrs>().n;
  if (n < 0 || n > PolygammaAttrs::kMost) {
    fail<ValueError>("polygamma: n must be in [0, ", PolygammaAttrs::kMost, "], got ", n);
  }
  const DType d = c.dtype(0);
  if (is_complex(d)) fail<TypeError>("polygamma: x dtype must be real, got ", d);
  c.compute_dtype = is_floating(d) ? d : DType::Float32;
  c.cast_mask = 1;
  c.add_output(c.compute_dtype, c.shape(0));
}
void polygamma_vjp(VjpContext& c) {
  c.set(0, ops::multiply(c.grad(), ops::polygamma(c.input(0), c.attrs_as<PolygammaAttrs>().n + 1)));
}

Cost cost_of_elements(const KernelArgs& args) {
  Cost cost;
  for (int i = 0; i < args.in_count; ++i) {
    cost.bytes += static_cast<double>(args.in[i].numel * dtype_size(args.in[i].dtype));
  }
  cost.bytes += static_cast<double>(args.out[0].numel * dtype_size(args.out[0].dtype));
  cost.flops = static_cast<double>(args.out[0].numel);
  return cost;
}

}  // namespace

void register_clip(Registry& registry) {
  OpDef clip;
  clip.name = "clip";
  clip.doc = "Keep elements within bounds; NaN in an element or its bound gives NaN.";
  clip.details =
      "Args:\n    x: (...) a tensor of real numbers.\n    min: (...) the lower bound: a tensor, a number, or None for "
      "none.\n    max: (...) the upper bound, likewise; where it is below min, it is the result.\n\n"
      "Returns:\n    (...) a new tensor of the common shape and dtype.\n\n"
      "Raises:\n    TypeError: the common dtype is not real.\n    ValueError: the shapes cannot be broadcast.\n\n"
      "Example:\n    >>> import gorgo as gg\n    >>> gg.clip(gg.asarray([-2.0, 0.5, 3.0]), -1, 1).tolist()\n"
      "    [-1.0, 0.5, 1.0]";
  clip.inputs = {{.name = "x"},
                 {.name = "min", .kind = SlotKind::Optional, .takes_scalar = true},
                 {.name = "max", .kind = SlotKind::Optional, .takes_scalar = true}};
  clip.infer = infer_clip;
  clip.vjp = clip_vjp;
  clip.saves_inputs = 0b111;
  clip.onnx = {"Clip", 12, nullptr};
  clip.cost = cost_of_elements;
  clip.flags.elementwise = true;
  clip.flags.inplace_ok = true;
  elementwise_ops.clip = &registry.add(std::move(clip));

  OpDef back;
  back.name = "clip_backward";
  back.doc = "Gradient of clip by x, in one pass.";
  back.inputs = {{.name = "g"},
                 {.name = "x"},
                 {.name = "min", .kind = SlotKind::Optional, .takes_scalar = true},
                 {.name = "max", .kind = SlotKind::Optional, .takes_scalar = true}};
  back.infer = infer_clip_backward;
  back.not_differentiable = "gradients of gradients are composed from ops";
  back.onnx.reason = "part of a gradient: exported as its formula";
  back.cost = cost_of_elements;
  back.flags.elementwise = true;
  back.flags.internal = true;
  elementwise_ops.clip_backward = &registry.add(std::move(back));
}

void register_polygamma(Registry& registry) {
  OpDef op;
  op.name = "polygamma";
  op.doc = "Derivative of order n of the digamma function.";
  op.details =
      "Args:\n    x: (...) a tensor of real numbers.\n    n: the order, from 0 (digamma itself) to 20.\n\n"
      "Returns:\n    (...) a new tensor of x's shape.\n\n"
      "Raises:\n    TypeError: x is complex.\n    ValueError: n is out of range.\n\n"
      "Source:\n    Abramowitz and Stegun 6.4; the zeta function's remainder by DLMF 25.11.5.\n\n"
      "Example:\n    >>> import gorgo as gg\n    >>> round(gg.asarray(1.0).polygamma(1).item(), 4)\n    1.6449";
  op.inputs = {{.name = "x"}};
  op.attrs = &schema_of<PolygammaAttrs>();
  op.infer = infer_polygamma;
  op.vjp = polygamma_vjp;
  op.saves_inputs = 1;
  op.onnx.reason = "ONNX has no such operator";
  op.cost = cost_of_elements;
  op.flags.elementwise = true;
  elementwise_ops.polygamma = &registry.add(std::move(op));
}

}  // namespace gorgo
