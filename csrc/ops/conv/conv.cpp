// The conv family's shapes, gradients and facts.
// Read next: kernels_cpu.cpp.
#include "ops/conv/conv.h"

#include "ops/reduce/reduce.h"

namespace gorgo {

ConvOps conv_ops;

namespace {

constexpr DTypeSet kDTypes = kFloatSet;

// How far one output pixel's window reaches, and how many windows fit. Overflow-safe: attributes may come from a file.
struct Axis {
  const char* name;
  int64_t input, kernel, stride, padding, dilation;
};

// The number of windows along an axis; throws when there is none.
int64_t windows(const InferContext& c, const Axis& a) {
  constexpr int64_t kLimit = int64_t{1} << 40;
  const auto refuse = [&](const char* what, const char* expectation, int64_t value) {
    fail<ValueError>(c.name(), ": ", what, " must be ", expectation, " along the ", a.name, ", got ", value);
  };
  if (a.kernel < 1 || a.kernel > kLimit) refuse("kernel size", "at least 1", a.kernel);
  if (a.stride < 1 || a.stride > kLimit) refuse("stride", "at least 1", a.stride);
  if (a.dilation < 1 || a.dilation > kLimit) refuse("dilation", "at least 1", a.dilation);
  if (a.padding < 0 || a.padding > kLimit) refuse("padding", "at least 0", a.padding);
  int64_t reach = 0;
  if (__builtin_mul_overflow(a.dilation, a.kernel - 1, &reach) || reach > kLimit) {
    fail<OverflowError>(c.name(), ": dilation times kernel size must fit the image, got ", a.dilation, " times ",
                        a.kernel);
  }
  const int64_t padded = a.input + 2 * a.padding;
  if (padded < reach + 1) {
    fail<ValueError>(c.name(), ": padded ", a.name, " must be at least the kernel's ", reach + 1, ", got ", padded,
                     " (", a.input, " with padding ", a.padding, ")");
  }
  return (padded - reach - 1) / a.stride + 1;
}

void check_pair(const InferContext& c, const char* what, const Dims& value) {
  if (value.size() != 2) fail<ValueError>(c.name(), ": ", what, " must have 2 entries (height, width), got ", value);
}

template <class A>
void check_attrs(const InferContext& c, const A& a) {
  check_pair(c, "stride", a.stride);
  check_pair(c, "padding", a.padding);
  check_pair(c, "dilation", a.dilation);
  if (a.groups < 1) fail<ValueError>(c.name(), ": groups must be at least 1, got ", a.groups);
}

// Output size of an image under a kernel.
template <class A>
Dims output_size(const InferContext& c, const A& a, const int64_t* image, const int64_t* kernel) {
  const int64_t height = windows(c, {"height", image[0], kernel[0], a.stride[0], a.padding[0], a.dilation[0]});
  const int64_t width = windows(c, {"width", image[1], kernel[1], a.stride[1], a.padding[1], a.dilation[1]});
  return {height, width};
}

const Shape& check_rank(const InferContext& c, int i, const char* axes) {
  const Shape& shape = c.shape(i);
  if (shape.size() != 4) {
    fail<ValueError>(c.name(), ": ", c.op.slot_of(i).name, " must have 4 axes ", axes, ", got shape ", shape);
  }
  return shape;
}

void promote_all(InferContext& c, int count) {
  c.compute_dtype = c.dtype(0);
  for (int i = 1; i < count; ++i) {
    if (i < static_cast<int>(c.in.size()) && c.in[static_cast<size_t>(i)].given())
      c.compute_dtype = promote(c.compute_dtype, c.dtype(i));
  }
  c.cast_mask = 7;
  if (!kDTypes.has(c.compute_dtype)) {
    fail<TypeError>(c.name(), ": operands must have a real floating dtype, got ", c.compute_dtype);
  }
}

void check_channels(const InferContext& c, int64_t channels, int64_t outputs, const Shape& weight, int64_t groups) {
  if (outputs % groups != 0) {
    fail<ValueError>(c.name(), ": groups must divide the ", outputs, " output channels, got ", groups);
  }
  if (channels % groups != 0) {
    fail<ValueError>(c.name(), ": groups must divide the ", channels, " input channels, got ", groups);
  }
  if (weight[1] != channels / groups) {
    fail<ValueError>(c.name(), ": weight must have ", channels / groups, " input channels (", channels, " in ", groups,
                     " groups), got ", weight[1], " (weight has shape ", weight, ")");
  }
}

void add_checked(InferContext& c, const Shape& shape) {
  static_cast<void>(numel_of(shape, c.name()));
  c.add_output(c.compute_dtype, shape);
}

// ---- conv2d ----

void infer_conv(InferContext& c) {
  const auto& a = c.attrs_as<ConvAttrs>();
  check_attrs(c, a);
  const Shape& x = check_rank(c, 0, "(n, c, h, w)");
  const Shape& weight = check_rank(c, 1, "(o, c / groups, kh, kw)");
  promote_all(c, 3);
  check_channels(c, x[1], weight[0], weight, a.groups);
  if (c.in.size() > 2 && c.in[2].given() && (c.shape(2).size() != 1 || c.shape(2)[0] != weight[0])) {
    fail<ValueError>(c.name(), ": bias must have shape (", weight[0], ",), got ", c.shape(2), " (weight has shape ",
                     weight, ")");
  }
  const Dims size = output_size(c, a, x.data() + 2, weight.data() + 2);
  add_checked(c, {x[0], weight[0], size[0], size[1]});
}

ConvGradInputAttrs grad_input_attrs(const ConvAttrs& a, const Shape& x) {
  return {{x[2], x[3]}, a.stride, a.padding, a.dilation, a.groups};
}
ConvGradWeightAttrs grad_weight_attrs(const ConvAttrs& a, const Shape& weight) {
  return {{weight[2], weight[3]}, a.stride, a.padding, a.dilation, a.groups};
}
template <class A>
ConvAttrs conv_attrs(const A& a) {
  return {a.stride, a.padding, a.dilation, a.groups};
}

void vjp_conv(VjpContext& c) {
  const auto& a = c.attrs_as<ConvAttrs>();
  const Tensor& g = c.grad();
  if (c.wants(0)) c.set(0, conv2d_grad_input(g, c.input(1), grad_input_attrs(a, c.input_shape(0))));
  if (c.wants(1)) c.set(1, conv2d_grad_weight(c.input(0), g, grad_weight_attrs(a, c.input_shape(1))));
  if (c.needs.size() > 2 && c.wants(2)) {
    c.set(2, sum(g, Dims{0, 2, 3}));
  }
}

// ---- conv2d_grad_input: linear in g and weight ----

void infer_grad_input(InferContext& c) {
  const auto& a = c.attrs_as<ConvGradInputAttrs>();
  check_attrs(c, a);
  check_pair(c, "input_size", a.input_size);
  const Shape& g = check_rank(c, 0, "(n, o, oh, ow)");
  const Shape& weight = check_rank(c, 1, "(o, c / groups, kh, kw)");
  promote_all(c, 2);
  if (g[1] != weight[0] || weight[0] % a.groups != 0) {
    fail<ValueError>(c.name(), ": weight must have g's ", g[1], " output channels, a multiple of groups ", a.groups,
                     ", got ", weight[0], " (g has shape ", g, ")");
  }
  const Dims size = output_size(c, a, a.input_size.data(), weight.data() + 2);
  if (g[2] != size[0] || g[3] != size[1]) {
    fail<ValueError>(c.name(), ": g must have size ", size, " for input_size ", a.input_size, ", got shape ", g);
  }
  add_checked(c, {g[0], weight[1] * a.groups, a.input_size[0], a.input_size[1]});
}

void vjp_grad_input(VjpContext& c) {
  const auto& a = c.attrs_as<ConvGradInputAttrs>();
  const ConvAttrs forward = conv_attrs(a);
  const Tensor& v = c.grad();  // shaped as the input of the convolution
  if (c.wants(0)) c.set(0, conv2d(v, c.input(1), {}, forward));
  if (c.wants(1)) c.set(1, conv2d_grad_weight(v, c.input(0), grad_weight_attrs(forward, c.input_shape(1))));
}

// ---- conv2d_grad_weight: linear in x and g ----

void infer_grad_weight(InferContext& c) {
  const auto& a = c.attrs_as<ConvGradWeightAttrs>();
  check_attrs(c, a);
  check_pair(c, "kernel_size", a.kernel_size);
  const Shape& x = check_rank(c, 0, "(n, c, h, w)");
  const Shape& g = check_rank(c, 1, "(n, o, oh, ow)");
  promote_all(c, 2);
  if (x[1] % a.groups != 0 || g[1] % a.groups != 0) {
    fail<ValueError>(c.name(), ": groups must divide the channels of x and g, ", x[1], " and ", g[1], ", got ",
                     a.groups);
  }
  const Dims size = output_size(c, a, x.data() + 2, a.kernel_size.data());
  if (g[0] != x[0] || g[2] != size[0] || g[3] != size[1]) {
    fail<ValueError>(c.name(), ": g must have ", x[0], " images of size ", size, ", got shape ", g, " (x has shape ", x,
                     ")");
  }
  add_checked(c, {g[1], x[1] / a.groups, a.kernel_size[0], a.kernel_size[1]});
}

void vjp_grad_weight(VjpContext& c) {
  const auto& a = c.attrs_as<ConvGradWeightAttrs>();
  const ConvAttrs forward = conv_attrs(a);
  const Tensor& v = c.grad();  // shaped as the weight of the convolution
  if (c.wants(0)) c.set(0, conv2d_grad_input(c.input(1), v, grad_input_attrs(forward, c.input_shape(0))));
  if (c.wants(1)) c.set(1, conv2d(c.input(0), v, {}, forward));
}

// ---- facts ----

// Multiply-adds: a weight for every output pixel of every image. All three ops have the same.
Cost cost_of(const KernelArgs& args, const KOperand& weight, const KOperand& pixels) {
  const double per_image = static_cast<double>(pixels.shape[2] * pixels.shape[3]) * static_cast<double>(weight.numel);
  int64_t elements = args.out[0].numel;
  for (int i = 0; i < args.in_count; ++i) elements += args.in[i].numel;
  return {2.0 * static_cast<double>(pixels.shape[0]) * per_image,
          static_cast<double>(elements * dtype_size(args.out[0].dtype))};
}
Cost cost_conv(const KernelArgs& args) { return cost_of(args, args.in[1], args.out[0]); }
Cost cost_grad_input(const KernelArgs& args) { return cost_of(args, args.in[1], args.in[0]); }
Cost cost_grad_weight(const KernelArgs& args) { return cost_of(args, args.out[0], args.in[1]); }

}  // namespace

void register_conv(Registry& registry) {
  {
    OpDef op;
    op.name = "conv2d";
    op.doc = "Convolve images with a bank of kernels (cross-correlation, as is usual in networks).";
    op.details = R"(Args:
    x (n, c, h, w) float: the images.
    weight (o, c / groups, kh, kw) float: one kernel for each output channel.
    bias (o) float: added to each output channel, or None.
    stride (int or tuple of 2 int): the step between windows.
    padding (int or tuple of 2 int): zeros on each side of the image.
    dilation (int or tuple of 2 int): the step between the elements of a window.
    groups (int): channels are split into so many groups that do not see each other.

Returns:
    (n, o, oh, ow) float: `oh = (h + 2 * padding - dilation * (kh - 1) - 1) // stride + 1`, and `ow` likewise.

Raises:
    ValueError: shapes, channels or sizes do not fit each other.
    TypeError: an operand is not of a real floating dtype.

Example:
    >>> import gorgo as gg
    >>> gg.conv2d(gg.ones((1, 1, 4, 4)), gg.ones((2, 1, 3, 3)), padding=1).shape
    (1, 2, 4, 4))";
    op.inputs = {{.name = "x", .shape_doc = "(n, c, h, w) float"},
                 {.name = "weight", .shape_doc = "(o, c / groups, kh, kw) float"},
                 {.name = "bias", .kind = SlotKind::Optional, .shape_doc = "(o) float"}};
    op.attrs = &schema_of<ConvAttrs>();
    op.infer = infer_conv;
    op.vjp = vjp_conv;
    op.saves_inputs = 3;
    op.onnx = {"Conv", 11, nullptr};
    op.cost = cost_conv;
    conv_ops.conv2d = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "conv2d_grad_input";
    op.doc = "Compute the gradient of conv2d by its images.";
    op.inputs = {{.name = "g", .shape_doc = "(n, o, oh, ow) float"},
                 {.name = "weight", .shape_doc = "(o, c / groups, kh, kw) float"}};
    op.attrs = &schema_of<ConvGradInputAttrs>();
    op.infer = infer_grad_input;
    op.vjp = vjp_grad_input;
    op.saves_inputs = 3;
    op.onnx = {"ConvTranspose", 11, nullptr};
    op.cost = cost_grad_input;
    op.flags.internal = true;
    conv_ops.conv2d_grad_input = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "conv2d_grad_weight";
    op.doc = "Compute the gradient of conv2d by its kernels.";
    op.inputs = {{.name = "x", .shape_doc = "(n, c, h, w) float"}, {.name = "g", .shape_doc = "(n, o, oh, ow) float"}};
    op.attrs = &schema_of<ConvGradWeightAttrs>();
    op.infer = infer_grad_weight;
    op.vjp = vjp_grad_weight;
    op.saves_inputs = 3;
    op.onnx = {nullptr, 0, "ONNX has no gradient by the kernels"};
    op.cost = cost_grad_weight;
    op.flags.internal = true;
    conv_ops.conv2d_grad_weight = &registry.add(std::move(op));
  }
}

}  // namespace gorgo
