// The norms: what each yields, its gradient, and its facts.
//
// Invariant: a first gradient is one fused op that yields the gradients of x, weight and bias together; a gradient that will
// itself be differentiated is composed of other ops.
// Read next: kernels_cpu.cpp.
#include "ops/norm/norm.h"

#include <utility>

#include "ops/elementwise/elementwise.h"
#include "ops/reduce/reduce.h"
#include "ops/shape/shape.h"

namespace gorgo {

NormOps norm_ops;

namespace {

bool given(const InferContext& c, int i) {
  return static_cast<size_t>(i) < c.in.size() && c.in[static_cast<size_t>(i)].given();
}

// Operand i, if given, must be (channels,) of x's dtype.
void check_per_channel(const InferContext& c, int i, int x, int64_t channels) {
  if (!given(c, i)) return;
  if (c.shape(i) != Shape{channels} || c.dtype(i) != c.dtype(x)) {
    fail<ValueError>(c.name(), ": ", c.op.slot_of(i).name, " must be ", c.dtype(x), " (", channels, ",), got ",
                     c.dtype(i), ' ', c.shape(i), " (x has shape ", c.shape(x), ")");
  }
}

void check_x(const InferContext& c, int x, int least_rank, const char* wanted) {
  if (!is_floating(c.dtype(x))) fail<TypeError>(c.name(), ": x must have a real floating dtype, got ", c.dtype(x));
  if (c.shape(x).size() < least_rank) fail<ValueError>(c.name(), ": x must have shape ", wanted, ", got ", c.shape(x));
}

void check_like_x(const InferContext& c) {
  if (c.dtype(0) != c.dtype(1) || c.shape(0) != c.shape(1)) {
    fail<ValueError>(c.name(), ": g must be like x, ", c.dtype(1), ' ', c.shape(1), ", got ", c.dtype(0), ' ',
                     c.shape(0));
  }
}

// For all: x, weight, ... with the channels on `axis` (-1 is the last).
void infer_with(InferContext& c, int x, int weight, int axis, int least_rank, const char* wanted, int others) {
  check_x(c, x, least_rank, wanted);
  const Shape& shape = c.shape(x);
  const int64_t channels = shape[axis < 0 ? shape.size() - 1 : axis];
  for (int i = weight; i < weight + others; ++i) check_per_channel(c, i, x, channels);
  c.compute_dtype = c.dtype(x);
  c.add_output(c.dtype(x), shape);
}

void infer_layer(InferContext& c) { infer_with(c, 0, 1, -1, 1, "(..., n)", 2); }
void infer_rms(InferContext& c) { infer_with(c, 0, 1, -1, 1, "(..., n)", 1); }

void check_groups(const InferContext& c, int x) {
  const int64_t groups = c.attrs_as<GroupNormAttrs>().groups;
  const int64_t channels = c.shape(x)[1];
  if (groups < 1 || channels % groups != 0) {
    fail<ValueError>(c.name(), ": groups must divide the ", channels, " channels, got ", groups, " (x has shape ",
                     c.shape(x), ")");
  }
}
void infer_group(InferContext& c) {
  infer_with(c, 0, 1, 1, 2, "(n, c, ...)", 2);
  check_groups(c, 0);
}

void check_batch(const InferContext& c, int x) {
  const Shape& shape = c.shape(x);
  int64_t values = 1;
  for (int i = 0; i < shape.size(); ++i) values *= i == 1 ? 1 : shape[i];
  if (values < 2) {
    fail<ValueError>(c.name(), ": x must have two values or more for each channel, got ", values, " (x has shape ",
                     shape, ")");
  }
}
void infer_batch_train(InferContext& c) {
  infer_with(c, 0, 1, 1, 2, "(n, c, ...)", 4);
  check_batch(c, 0);
  if (given(c, 5) && (c.dtype(5) != DType::Int64 || c.tensor(5).numel != 1)) {
    fail<ValueError>(c.name(), ": num_batches must be one int64, got ", c.dtype(5), ' ', c.shape(5));
  }
}
void infer_batch(InferContext& c) { infer_with(c, 0, 1, 1, 2, "(n, c, ...)", 4); }

void infer_gradients(InferContext& c, int axis, int least_rank, const char* wanted, bool biased) {
  check_like_x(c);
  infer_with(c, 1, 2, axis, least_rank, wanted, 1);
  const Shape channels{c.shape(1)[axis < 0 ? c.shape(1).size() - 1 : axis]};
  c.add_output(c.dtype(1), channels);
  if (biased) c.add_output(c.dtype(1), channels);
}
void infer_layer_backward(InferContext& c) { infer_gradients(c, -1, 1, "(..., n)", true); }
void infer_rms_backward(InferContext& c) { infer_gradients(c, -1, 1, "(..., n)", false); }
void infer_group_backward(InferContext& c) {
  infer_gradients(c, 1, 2, "(n, c, ...)", true);
  check_groups(c, 1);
}
void infer_batch_backward(InferContext& c) {
  infer_gradients(c, 1, 2, "(n, c, ...)", true);
  check_batch(c, 1);
}

// The gradient in ops that have gradients. x is seen as `view`, the axes of statistics are `stat`, those that weight and bias
// are repeated over are `param`, and weight has the shape `weight_view` there.
struct Composition {
  Shape view;
  Shape weight_view;
  OptInts stat;
  OptInts param;
  double eps = 0.0;
  bool centered = true;
};

// Was the optional input i given?
bool saved(const VjpContext& c, size_t i) { return i < c.inputs.size() && c.inputs[i]; }

void compose(VjpContext& c, const Composition& k) {
  const Tensor x = reshape(c.input(0), k.view);
  const Tensor g = reshape(c.grad(), k.view);
  const Tensor d = k.centered ? ops::subtract(x, mean(x, k.stat, true)) : x;
  const Tensor rstd = ops::rsqrt(ops::add(mean(ops::square(d), k.stat, true), ops::number(k.eps)));
  const Tensor hat = ops::multiply(d, rstd);
  const bool weighted = saved(c, 1);
  if (c.wants(0)) {
    const Tensor gw = weighted ? ops::multiply(g, reshape(c.input(1), k.weight_view)) : g;
    Tensor dx = ops::subtract(gw, ops::multiply(hat, mean(ops::multiply(gw, hat), k.stat, true)));
    if (k.centered) dx = ops::subtract(dx, mean(gw, k.stat, true));
    c.set(0, reshape(ops::multiply(dx, rstd), c.input_shape(0)));
  }
  if (weighted && c.wants(1)) c.set(1, reshape(sum(ops::multiply(g, hat), k.param), c.input_shape(1)));
  if (k.centered && c.needs.size() > 2 && c.wants(2)) c.set(2, reshape(sum(g, k.param), c.input_shape(2)));
}

void fused(VjpContext& c, const OpDef* op, const void* attrs) {
  const Tensor g = dense_grad(c);
  const Arg args[] = {Arg(g), Arg(c.input(0)), saved(c, 1) ? Arg(c.input(1)) : Arg()};
  Outputs outs = invoke_all(*op, args, attrs);
  for (int i = 0; i < outs.size() && static_cast<size_t>(i) < c.needs.size(); ++i) {
    if (c.wants(i)) c.set(i, outs[i]);
  }
}

int64_t product(const Shape& shape, int from, int to) {
  int64_t n = 1;
  for (int i = from; i < to; ++i) n *= shape[i];
  return n;
}

void vjp_rows(VjpContext& c, const OpDef* op, bool centered) {
  const auto& a = c.attrs_as<NormAttrs>();
  if (!c.create_graph) return fused(c, op, &a);
  const Shape& shape = c.input_shape(0);
  const int last = shape.size() - 1;
  compose(c, {{product(shape, 0, last), shape[last]}, {shape[last]}, Dims{1}, Dims{0}, a.eps, centered});
}
void vjp_layer(VjpContext& c) { vjp_rows(c, norm_ops.layer_norm_backward, true); }
void vjp_rms(VjpContext& c) { vjp_rows(c, norm_ops.rms_norm_backward, false); }

void vjp_group(VjpContext& c) {
  const auto& a = c.attrs_as<GroupNormAttrs>();
  if (!c.create_graph) return fused(c, norm_ops.group_norm_backward, &a);
  const Shape& shape = c.input_shape(0);
  const int64_t size = shape[1] / a.groups;
  const int64_t positions = product(shape, 2, shape.size());
  compose(c, {{shape[0], a.groups, size, positions}, {a.groups, size, 1}, Dims{2, 3}, Dims{0, 3}, a.eps, true});
}

void vjp_batch_train(VjpContext& c) {
  const auto& a = c.attrs_as<BatchNormTrainAttrs>();
  const NormAttrs attrs{a.eps};
  if (!c.create_graph) {
    const Tensor g = dense_grad(c);
    const Arg args[] = {Arg(g), Arg(c.input(0)), saved(c, 1) ? Arg(c.input(1)) : Arg()};
    Outputs outs = invoke_all(*norm_ops.batch_norm_backward, args, &attrs);
    for (int i = 0; i < 3 && static_cast<size_t>(i) < c.needs.size(); ++i) {
      if (c.wants(i)) c.set(i, outs[i]);
    }
    return;
  }
  const Shape& shape = c.input_shape(0);
  compose(c,
          {{shape[0], shape[1], product(shape, 2, shape.size())}, {shape[1], 1}, Dims{0, 2}, Dims{0, 2}, a.eps, true});
}

// y = (x - mean) * rsqrt(variance + eps) * weight + bias: plain arithmetic on channels.
void vjp_batch(VjpContext& c) {
  const Shape& shape = c.input_shape(0);
  const int64_t channels = shape[1];
  Shape wide(shape.size() - 1, 1);
  wide[0] = channels;
  const Shape view{shape[0], channels, product(shape, 2, shape.size())};
  const auto per_channel = [&](const Tensor& t) { return reshape(sum(reshape(t, view), Dims{0, 2}), Shape{channels}); };
  const auto spread_out = [&](const Tensor& t) { return reshape(t, wide); };
  const Tensor& g = c.grad();
  const bool weighted = saved(c, 3);
  const Tensor rstd = ops::rsqrt(ops::add(c.input(2), ops::number(c.attrs_as<NormAttrs>().eps)));
  const Tensor scale = weighted ? ops::multiply(rstd, c.input(3)) : rstd;
  const auto wants = [&](size_t i) { return i < c.needs.size() && c.needs[i]; };
  if (wants(0)) c.set(0, ops::multiply(g, spread_out(scale)));
  Tensor total;
  if (wants(1) || wants(4)) total = per_channel(g);
  if (wants(1)) c.set(1, ops::negative(ops::multiply(total, scale)));
  if (wants(4)) c.set(4, total);
  if (!wants(2) && !wants(3)) return;
  const Tensor along = per_channel(ops::multiply(g, ops::subtract(c.input(0), spread_out(c.input(1)))));
  if (wants(2)) {
    const Tensor slope = ops::multiply(ops::multiply(scale, ops::square(rstd)), ops::number(-0.5));
    c.set(2, ops::multiply(along, slope));
  }
  if (wants(3)) c.set(3, ops::multiply(along, rstd));
}

Cost cost_of_norm(const KernelArgs& args) {
  const auto n = static_cast<double>(args.in[0].numel);
  return {10.0 * n, 2.0 * n * static_cast<double>(dtype_size(args.in[0].dtype))};
}
Cost cost_of_gradient(const KernelArgs& args) {
  const auto n = static_cast<double>(args.in[0].numel);
  return {20.0 * n, 3.0 * n * static_cast<double>(dtype_size(args.in[0].dtype))};
}

OpDef make(const char* name, const char* doc, const char* details) {
  OpDef op;
  op.name = name;
  op.doc = doc;
  op.details = details;
  op.cost = cost_of_norm;
  op.saves_inputs = 3;
  return op;
}

const OpDef* add_backward(Registry& registry, const char* name, const char* doc, const AttrSchema& attrs,
                          void (*infer)(InferContext&), bool biased) {
  OpDef op;
  op.name = name;
  op.doc = doc;
  op.inputs = {{.name = "g", .shape_doc = "as x"},
               {.name = "x", .shape_doc = "float"},
               {.name = "weight", .kind = SlotKind::Optional, .shape_doc = "(c,) as x"}};
  op.outputs = {"dx", "dweight"};
  if (biased) op.outputs.push_back("dbias");
  op.attrs = &attrs;
  op.infer = infer;
  op.not_differentiable = "gradients of gradients are composed of other ops";
  op.onnx.reason = "ONNX has no operator for it";
  op.cost = cost_of_gradient;
  op.flags.internal = true;
  return &registry.add(std::move(op));
}

const Slot kWeight{.name = "weight", .kind = SlotKind::Optional, .shape_doc = "(c,) as x"};
const Slot kBias{.name = "bias", .kind = SlotKind::Optional, .shape_doc = "(c,) as x"};

}  // namespace

void register_norm(Registry& registry) {
  {
    OpDef op =
        make("layer_norm", "Normalize along the last axis to mean 0 and variance 1, then scale and shift.", R"(Args:
    x (..., n) float: the lines.
    weight (n,) as x: factors, or None for 1.
    bias (n,) as x: terms, or None for 0.
    eps (float): added to the variance.

Returns:
    (..., n) as x: (x - mean) / sqrt(variance + eps) * weight + bias.

Raises:
    ValueError: shapes or dtypes do not fit.
    TypeError: x is not floating.

Source: Ba, Kiros, Hinton, "Layer normalization", arXiv 1607.06450.

Example:
    >>> import gorgo as gg
    >>> gg.layer_norm(gg.asarray([1.0, 3.0]), eps=0.0).tolist()
    [-1.0, 1.0]
)");
    op.inputs = {{.name = "x", .shape_doc = "(..., n) float"}, kWeight, kBias};
    op.attrs = &schema_of<NormAttrs>();
    op.infer = infer_layer;
    op.vjp = vjp_layer;
    op.onnx = {"LayerNormalization", 17, nullptr};
    registry.add(std::move(op));
  }
  {
    OpDef op = make("rms_norm", "Divide by the root of the mean square along the last axis, then scale.", R"(Args:
    x (..., n) float: the lines.
    weight (n,) as x: factors, or None for 1.
    eps (float): added to the mean square.

Returns:
    (..., n) as x: x / sqrt(mean(x ** 2) + eps) * weight.

Raises:
    ValueError: shapes or dtypes do not fit.
    TypeError: x is not floating.

Source: Zhang, Sennrich, "Root mean square layer normalization", NeurIPS 2019.

Example:
    >>> import gorgo as gg
    >>> gg.rms_norm(gg.asarray([2.0, -2.0]), eps=0.0).tolist()
    [1.0, -1.0]
)");
    op.inputs = {{.name = "x", .shape_doc = "(..., n) float"}, kWeight};
    op.attrs = &schema_of<NormAttrs>();
    op.infer = infer_rms;
    op.vjp = vjp_rms;
    op.onnx = {"RMSNormalization", 23, nullptr};
    registry.add(std::move(op));
  }
  {
    OpDef op = make("group_norm", "Normalize each group of channels of each case to mean 0 and variance 1.", R"(Args:
    x (n, c, ...) float: cases with channels.
    weight (c,) as x: factors, or None for 1.
    bias (c,) as x: terms, or None for 0.
    groups (int): how many groups of neighbouring channels there are; it divides c.
    eps (float): added to the variance.

Returns:
    (n, c, ...) as x: (x - mean) / sqrt(variance + eps) * weight + bias.

Raises:
    ValueError: shapes or dtypes do not fit, or groups does not divide the channels.
    TypeError: x is not floating.

Source: Wu, He, "Group normalization", ECCV 2018.

Example:
    >>> import gorgo as gg
    >>> gg.group_norm(gg.asarray([[1.0, 3.0, 5.0, 5.0]]), groups=2).round().tolist()
    [[-1.0, 1.0, 0.0, 0.0]]
)");
    op.inputs = {{.name = "x", .shape_doc = "(n, c, ...) float"}, kWeight, kBias};
    op.attrs = &schema_of<GroupNormAttrs>();
    op.infer = infer_group;
    op.vjp = vjp_group;
    op.onnx = {"GroupNormalization", 21, nullptr};
    registry.add(std::move(op));
  }
  {
    OpDef op =
        make("batch_norm_train", "Normalize each channel by its statistics in this batch, and follow them.", R"(Args:
    x (n, c, ...) float: cases with channels.
    weight (c,) as x: factors, or None for 1.
    bias (c,) as x: terms, or None for 0.
    running_mean (c,) as x: written: follows the means; or None.
    running_var (c,) as x: written: follows the variances (with n - 1 below); or None.
    num_batches () int64: written: goes up by one; or None.
    momentum (float): the share of this batch in what is followed; None for the plain mean of all batches so far.
    eps (float): added to the variance.

Returns:
    (n, c, ...) as x: (x - mean) / sqrt(variance + eps) * weight + bias.

Raises:
    ValueError: shapes or dtypes do not fit, or a channel has fewer than two values.
    TypeError: x is not floating.

Source: Ioffe, Szegedy, "Batch normalization", ICML 2015.

Example:
    >>> import gorgo as gg
    >>> gg.batch_norm_train(gg.asarray([[1.0], [3.0]]), eps=0.0).tolist()
    [[-1.0], [1.0]]
)");
    op.inputs = {{.name = "x", .shape_doc = "(n, c, ...) float"},
                 kWeight,
                 kBias,
                 {.name = "running_mean", .kind = SlotKind::Optional, .mutates = true, .shape_doc = "(c,) as x"},
                 {.name = "running_var", .kind = SlotKind::Optional, .mutates = true, .shape_doc = "(c,) as x"},
                 {.name = "num_batches", .kind = SlotKind::Optional, .mutates = true, .shape_doc = "() int64"}};
    op.attrs = &schema_of<BatchNormTrainAttrs>();
    op.infer = infer_batch_train;
    op.vjp = vjp_batch_train;
    op.onnx.reason = "models are exported in evaluation mode, as BatchNormalization";
    registry.add(std::move(op));
  }
  {
    OpDef op = make("batch_norm", "Normalize each channel by given statistics.", R"(Args:
    x (n, c, ...) float: cases with channels.
    mean (c,) as x: what is taken off.
    variance (c,) as x: what is divided by the root of.
    weight (c,) as x: factors, or None for 1.
    bias (c,) as x: terms, or None for 0.
    eps (float): added to the variance.

Returns:
    (n, c, ...) as x: (x - mean) / sqrt(variance + eps) * weight + bias.

Raises:
    ValueError: shapes or dtypes do not fit.
    TypeError: x is not floating.

Source: Ioffe, Szegedy, "Batch normalization", ICML 2015.

Example:
    >>> import gorgo as gg
    >>> gg.batch_norm(gg.asarray([[1.0], [3.0]]), gg.ones((1,)), gg.full((1,), 4.0), eps=0.0).tolist()
    [[0.0], [1.0]]
)");
    op.inputs = {{.name = "x", .shape_doc = "(n, c, ...) float"},
                 {.name = "mean", .shape_doc = "(c,) as x"},
                 {.name = "variance", .shape_doc = "(c,) as x"},
                 kWeight,
                 kBias};
    op.attrs = &schema_of<NormAttrs>();
    op.infer = infer_batch;
    op.vjp = vjp_batch;
    op.saves_inputs = 15;
    op.onnx = {"BatchNormalization", 15, nullptr};
    registry.add(std::move(op));
  }
  norm_ops.layer_norm_backward =
      add_backward(registry, "layer_norm_backward", "Compute the gradients of layer_norm by x, weight and bias.",
                   schema_of<NormAttrs>(), infer_layer_backward, true);
  norm_ops.rms_norm_backward =
      add_backward(registry, "rms_norm_backward", "Compute the gradients of rms_norm by x and weight.",
                   schema_of<NormAttrs>(), infer_rms_backward, false);
  norm_ops.group_norm_backward =
      add_backward(registry, "group_norm_backward", "Compute the gradients of group_norm by x, weight and bias.",
                   schema_of<GroupNormAttrs>(), infer_group_backward, true);
  norm_ops.batch_norm_backward =
      add_backward(registry, "batch_norm_backward", "Compute the gradients of batch_norm_train by x, weight and bias.",
                   schema_of<NormAttrs>(), infer_batch_backward, true);
}

}  // namespace gorgo
