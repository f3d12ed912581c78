// The conv family's shapes, gradients and facts.
// Read next: kernels_cpu.cpp.
#include "ops/conv/conv.h"

#include <deque>
#include <string>
#include <string_view>

#include "opdef/epilogue.h"
#include "ops/reduce/reduce.h"
#include "ops/shape/shape.h"

namespace gorgo {

ConvOps conv_ops;

namespace {

constexpr DTypeSet kDTypes = kFloatSet;

// ---- names by number of axes ----

struct Words {
  const char* conv;
  const char* transpose;
  const char* grad_weight;
  const char* axes[kMaxConvAxes];
  const char* order;    // of the axes
  const char* image;    // shapes of the operands
  const char* windows;  // of an output
  const char* kernel;
};
constexpr Words kWords[kMaxConvAxes] = {
    {"conv1d", "conv_transpose1d", "conv1d_grad_weight", {"length"}, "(length)", "l", "ol", "k"},
    {"conv2d",
     "conv_transpose2d",
     "conv2d_grad_weight",
     {"height", "width"},
     "(height, width)",
     "h, w",
     "oh, ow",
     "kh, kw"},
    {"conv3d",
     "conv_transpose3d",
     "conv3d_grad_weight",
     {"depth", "height", "width"},
     "(depth, height, width)",
     "d, h, w",
     "od, oh, ow",
     "kd, kh, kw"},
};

// A text with the words of a number of axes put in for `$x` (image), `$o` (windows), `$k` (kernel), `$n` (the number) and `$e` (an example).
// It lives as long as the registry.
const char* text(int axes, std::string_view pattern, const char* example = "") {
  static std::deque<std::string> texts;
  const Words& words = kWords[axes - 1];
  std::string& out = texts.emplace_back();
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '$') {
      out += pattern[i];
      continue;
    }
    switch (pattern[++i]) {
      case 'x':
        out += words.image;
        break;
      case 'o':
        out += words.windows;
        break;
      case 'k':
        out += words.kernel;
        break;
      case 'n':
        out += std::to_string(axes);
        break;
      default:
        out += example;
    }
  }
  return out.c_str();
}

// ---- checks ----

int axes_of(const ConvAttrs& a) { return a.stride.size(); }

int64_t pad_before(const ConvAttrs& a, int axis) { return a.padding[axis]; }
int64_t pad_after(const ConvAttrs& a, int axis) {
  return a.padding.size() > axes_of(a) ? a.padding[axes_of(a) + axis] : a.padding[axis];
}

void check_entries(const InferContext& c, const Words& words, int axes, const char* what, const Dims& value) {
  if (value.size() != axes) {
    fail<ValueError>(c.name(), ": ", what, " must have ", axes, axes == 1 ? " entry " : " entries ", words.order,
                     ", got ", value);
  }
}

void check_attrs(const InferContext& c, const Words& words, int axes) {
  const auto& a = c.attrs_as<ConvAttrs>();
  check_entries(c, words, axes, "stride", a.stride);
  check_entries(c, words, axes, "dilation", a.dilation);
  if (a.padding.size() != axes && a.padding.size() != 2 * axes) {
    fail<ValueError>(c.name(), ": padding must have ", axes, axes == 1 ? " entry " : " entries ", words.order, " or ",
                     2 * axes, " (before the image, then after it), got ", a.padding);
  }
  if (a.groups < 1) fail<ValueError>(c.name(), ": groups must be at least 1, got ", a.groups);
}

// One axis under a kernel: how far a window reaches behind its first element, and what lies before and after the image.
struct Axis {
  const char* name;
  int64_t reach, stride, before, after;
  [[nodiscard]] int64_t padding() const { return before + after; }
};

// Checks what belongs to one axis. Overflow-safe: attributes may come from a file.
Axis axis_of(const InferContext& c, const Words& words, int axis, int64_t kernel) {
  constexpr int64_t kLimit = int64_t{1} << 40;
  const auto& a = c.attrs_as<ConvAttrs>();
  Axis out{words.axes[axis], 0, a.stride[axis], pad_before(a, axis), pad_after(a, axis)};
  const auto check = [&](const char* what, int64_t least, int64_t value) {
    if (value < least) {
      fail<ValueError>(c.name(), ": ", what, " must be at least ", least, " along the ", out.name, ", got ", value);
    }
    if (value > kLimit) {
      fail<ValueError>(c.name(), ": ", what, " must be at most ", kLimit, " along the ", out.name, ", got ", value);
    }
  };
  check("kernel size", 1, kernel);
  check("stride", 1, out.stride);
  check("dilation", 1, a.dilation[axis]);
  check("padding", 0, out.before);
  check("padding", 0, out.after);
  if (__builtin_mul_overflow(a.dilation[axis], kernel - 1, &out.reach) || out.reach > kLimit) {
    fail<OverflowError>(c.name(), ": dilation times kernel size must fit the image, got ", a.dilation[axis], " times ",
                        kernel);
  }
  return out;
}

// The number of windows along an axis; throws when there is none.
int64_t windows(const InferContext& c, const Axis& axis, int64_t size) {
  const int64_t padded = size + axis.padding();
  if (padded < axis.reach + 1) {
    const std::string padding =
        axis.before == axis.after ? cat(axis.before) : cat(axis.before, " before and ", axis.after, " after");
    fail<ValueError>(c.name(), ": padded ", axis.name, " must be at least the kernel's ", axis.reach + 1, ", got ",
                     padded, " (", size, " with padding ", padding, ")");
  }
  return (padded - axis.reach - 1) / axis.stride + 1;
}

// The size of an axis over which so many windows lie, without what a stride leaves over.
int64_t spanned(const InferContext& c, const Axis& axis, int64_t count) {
  int64_t steps = 0;
  if (__builtin_mul_overflow(count - 1, axis.stride, &steps) || steps > (int64_t{1} << 60)) {
    fail<OverflowError>(c.name(), ": stride times size must fit an axis, got ", axis.stride, " times ", count);
  }
  return steps + axis.reach + 1 - axis.padding();
}

const Shape& check_rank(const InferContext& c, int i, int axes, const char* first, const char* sizes) {
  const Shape& shape = c.shape(i);
  if (shape.size() != axes + 2) {
    fail<ValueError>(c.name(), ": ", c.op.slot_of(i).name, " must have ", axes + 2, " axes (", first, ", ", sizes,
                     "), got shape ", shape);
  }
  return shape;
}

void promote_all(InferContext& c) {
  c.compute_dtype = c.dtype(0);
  for (int i = 1; i < static_cast<int>(c.in.size()); ++i) {
    if (c.in[static_cast<size_t>(i)].given()) c.compute_dtype = promote(c.compute_dtype, c.dtype(i));
  }
  c.cast_mask = 7;
  if (!kDTypes.has(c.compute_dtype)) {
    fail<TypeError>(c.name(), ": operands must have a real floating dtype, got ", c.compute_dtype);
  }
}

void check_groups(const InferContext& c, int64_t channels, const char* which) {
  const int64_t groups = c.attrs_as<ConvAttrs>().groups;
  if (channels % groups != 0) {
    fail<ValueError>(c.name(), ": groups must divide the ", channels, " ", which, " channels, got ", groups);
  }
}

void check_bias(const InferContext& c, int64_t channels, const Shape& weight) {
  if (c.in.size() > 2 && c.in[2].given() && (c.shape(2).size() != 1 || c.shape(2)[0] != channels)) {
    fail<ValueError>(c.name(), ": bias must have shape (", channels, ",), got ", c.shape(2), " (weight has shape ",
                     weight, ")");
  }
}

void add_checked(InferContext& c, const Shape& shape) {
  static_cast<void>(numel_of(shape, c.name()));
  c.add_output(c.compute_dtype, shape);
}

Dims sizes_in(const Shape& shape) { return Dims(std::span<const int64_t>(shape.begin() + 2, shape.end())); }

ConvAttrs with_extra(const ConvAttrs& a, Dims extra) {
  return {a.stride, a.padding, a.dilation, std::move(extra), a.groups};
}

// ---- conv ----

void infer_conv(InferContext& c, int axes) {
  const Words& words = kWords[axes - 1];
  const auto& a = c.attrs_as<ConvAttrs>();
  check_attrs(c, words, axes);
  const Shape& x = check_rank(c, 0, axes, "n, c", words.image);
  const Shape& weight = check_rank(c, 1, axes, "o, c / groups", words.kernel);
  promote_all(c);
  check_groups(c, weight[0], "output");
  check_groups(c, x[1], "input");
  if (weight[1] != x[1] / a.groups) {
    fail<ValueError>(c.name(), ": weight must have ", x[1] / a.groups, " input channels (", x[1], " in ", a.groups,
                     " groups), got ", weight[1], " (weight has shape ", weight, ")");
  }
  check_bias(c, weight[0], weight);
  Shape out{x[0], weight[0]};
  for (int i = 0; i < axes; ++i) out.push_back(windows(c, axis_of(c, words, i, weight[i + 2]), x[i + 2]));
  add_checked(c, out);
}

// The output padding with which windows of this many pixels lead back to an image of that size.
ConvAttrs transpose_attrs(const ConvAttrs& a, const Shape& image, const Shape& kernel, const Shape& pixels) {
  Dims left = a.stride;
  for (int i = 0; i < axes_of(a); ++i) {
    const int64_t reach = a.dilation[i] * (kernel[i + 2] - 1);
    left[i] = image[i + 2] + pad_before(a, i) + pad_after(a, i) - ((pixels[i + 2] - 1) * a.stride[i] + reach + 1);
  }
  return with_extra(a, left);
}

// conv of an image over which more windows may fit than are wanted: an output padding as large as the stride makes room for them.
Tensor conv_to(const Shape& wanted, const Tensor& x, const Tensor& weight, const ConvAttrs& a) {
  Tensor out = conv(x, weight, {}, with_extra(a, {}));
  for (int i = 2; i < wanted.size(); ++i) {
    if (out->shape[i] != wanted[i]) out = slice(out, i, 0, wanted[i]);
  }
  return out;
}

Tensor sum_by_channel(const Tensor& g) {
  Dims axes{0};
  for (int i = 2; i < g->shape.size(); ++i) axes.push_back(i);
  return sum(g, axes);
}

void vjp_conv(VjpContext& c) {
  const auto& a = c.attrs_as<ConvAttrs>();
  const Tensor g = dense_grad(c);
  const Shape& weight = c.input_shape(1);
  if (c.wants(0)) {
    c.set(0, conv_transpose(g, c.input(1), {}, transpose_attrs(a, c.input_shape(0), weight, g->shape)));
  }
  if (c.wants(1)) c.set(1, conv_grad_weight(c.input(0), g, with_extra(a, sizes_in(weight))));
  if (c.needs.size() > 2 && c.wants(2)) c.set(2, sum_by_channel(g));
}

// ---- conv_transpose ----

void infer_transpose(InferContext& c, int axes) {
  const Words& words = kWords[axes - 1];
  const auto& a = c.attrs_as<ConvAttrs>();
  check_attrs(c, words, axes);
  check_entries(c, words, axes, "output_padding", a.extra);
  const Shape& x = check_rank(c, 0, axes, "n, c", words.image);
  const Shape& weight = check_rank(c, 1, axes, "c, o / groups", words.kernel);
  promote_all(c);
  if (weight[0] != x[1]) {
    fail<ValueError>(c.name(), ": weight must have x's ", x[1], " input channels, got ", weight[0],
                     " (weight has shape ", weight, ")");
  }
  check_groups(c, x[1], "input");
  int64_t channels = 0;
  if (__builtin_mul_overflow(weight[1], a.groups, &channels)) {
    fail<OverflowError>(c.name(), ": groups must fit the output channels, got ", a.groups, " times ", weight[1]);
  }
  check_bias(c, channels, weight);
  Shape out{x[0], channels};
  for (int i = 0; i < axes; ++i) {
    const Axis axis = axis_of(c, words, i, weight[i + 2]);
    if (x[i + 2] < 1) {
      fail<ValueError>(c.name(), ": x must have a ", axis.name, " of at least 1, got shape ", x);
    }
    if (a.extra[i] < 0 || (a.extra[i] >= axis.stride && a.extra[i] >= a.dilation[i])) {
      fail<ValueError>(c.name(), ": output_padding must be at least 0 and below the stride or the dilation along the ",
                       axis.name, ", got ", a.extra[i], " (stride ", axis.stride, ", dilation ", a.dilation[i], ")");
    }
    const int64_t size = spanned(c, axis, x[i + 2]) + a.extra[i];
    if (size < 0) {
      fail<ValueError>(c.name(), ": padding must leave something of the output along the ", axis.name, ", got ",
                       axis.padding(), " in all for ", size + axis.padding());
    }
    out.push_back(size);
  }
  add_checked(c, out);
}

void vjp_transpose(VjpContext& c) {
  const auto& a = c.attrs_as<ConvAttrs>();
  const Tensor& g = c.grad();  // shaped as the images of the convolution whose gradient this is
  if (c.wants(0)) c.set(0, conv_to(c.input_shape(0), g, c.input(1), a));
  if (c.wants(1)) c.set(1, conv_grad_weight(g, c.input(0), with_extra(a, sizes_in(c.input_shape(1)))));
  if (c.needs.size() > 2 && c.wants(2)) c.set(2, sum_by_channel(g));
}

// ---- conv_grad_weight ----

void infer_grad_weight(InferContext& c, int axes) {
  const Words& words = kWords[axes - 1];
  const auto& a = c.attrs_as<ConvAttrs>();
  check_attrs(c, words, axes);
  check_entries(c, words, axes, "kernel_size", a.extra);
  const Shape& x = check_rank(c, 0, axes, "n, c", words.image);
  const Shape& g = check_rank(c, 1, axes, "n, o", words.windows);
  promote_all(c);
  check_groups(c, x[1], "input");
  check_groups(c, g[1], "output");
  Shape most{x[0], g[1]};
  for (int i = 0; i < axes; ++i) most.push_back(windows(c, axis_of(c, words, i, a.extra[i]), x[i + 2]));
  bool fits = g[0] == most[0];
  for (int i = 2; i < g.size(); ++i) fits = fits && g[i] <= most[i];
  if (!fits) {
    fail<ValueError>(c.name(), ": g must have ", x[0], " images of at most ", sizes_in(most), " windows, got shape ", g,
                     " (x has shape ", x, ")");
  }
  Shape out{g[1], x[1] / a.groups};
  for (int i = 0; i < axes; ++i) out.push_back(a.extra[i]);
  add_checked(c, out);
}

void vjp_grad_weight(VjpContext& c) {
  const auto& a = c.attrs_as<ConvAttrs>();
  const Tensor& v = c.grad();  // shaped as the weight of the convolution
  const Shape& g = c.input_shape(1);
  if (c.wants(0)) {
    c.set(0, conv_transpose(c.input(1), v, {}, transpose_attrs(a, c.input_shape(0), v->shape, g)));
  }
  if (c.wants(1)) c.set(1, conv_to(g, c.input(0), v, a));
}

// ---- facts ----

// Multiply-adds: a weight for every window of every image. All three ops have the same.
Cost cost_of(const KernelArgs& args, const KOperand& weight, const KOperand& pixels) {
  double per_image = static_cast<double>(weight.numel);
  for (int i = 2; i < pixels.rank; ++i) per_image *= static_cast<double>(pixels.shape[i]);
  int64_t elements = args.out[0].numel;
  for (int i = 0; i < args.in_count; ++i) elements += args.in[i].numel;
  return {2.0 * static_cast<double>(pixels.shape[0]) * per_image,
          static_cast<double>(elements * dtype_size(args.out[0].dtype))};
}
Cost cost_conv(const KernelArgs& args) { return cost_of(args, args.in[1], args.out[0]); }
Cost cost_transpose(const KernelArgs& args) { return cost_of(args, args.in[1], args.in[0]); }
Cost cost_grad_weight(const KernelArgs& args) { return cost_of(args, args.out[0], args.in[1]); }

// ---- registration ----

constexpr Field named(const char* name, Field field) {
  field.name = name;
  return field;
}

template <int kAxes>
constexpr Field kStride = GORGO_FIELD(ConvAttrs, stride).repeated(kAxes);
template <int kAxes>
constexpr Field kPadding = GORGO_FIELD(ConvAttrs, padding).repeated(kAxes);
template <int kAxes>
constexpr Field kDilation = GORGO_FIELD(ConvAttrs, dilation).repeated(kAxes);
constexpr Field kGroups = GORGO_FIELD(ConvAttrs, groups);

template <int kAxes>
constexpr std::array kConvFields{kStride<kAxes>, kPadding<kAxes>, kDilation<kAxes>, kGroups};
template <int kAxes>  // in PyTorch's order
constexpr std::array kTransposeFields{kStride<kAxes>, kPadding<kAxes>,
                                      named("output_padding", GORGO_FIELD(ConvAttrs, extra).repeated(kAxes)), kGroups,
                                      kDilation<kAxes>};
template <int kAxes>
constexpr std::array kGradWeightFields{named("kernel_size", GORGO_FIELD(ConvAttrs, extra).repeated(kAxes).must()),
                                       kStride<kAxes>, kPadding<kAxes>, kDilation<kAxes>, kGroups};

// The schema of ConvAttrs for a number of axes, a list of fields and a default number of entries of `extra`.
template <int kAxes, const auto& kFields, int kExtra>
const AttrSchema* schema() {
  static const AttrSchema kSchema{
      kFields.data(),
      static_cast<int>(kFields.size()),
      sizeof(ConvAttrs),
      [](void* at) { new (at) ConvAttrs{Dims(kAxes, 1), Dims(kAxes, 0), Dims(kAxes, 1), Dims(kExtra, 0), 1}; },
      [](void* at, const void* from) { new (at) ConvAttrs(*static_cast<const ConvAttrs*>(from)); },
      [](void* at, void* from) noexcept { new (at) ConvAttrs(std::move(*static_cast<ConvAttrs*>(from))); },
      [](void* at) noexcept { static_cast<ConvAttrs*>(at)->~ConvAttrs(); },
  };
  return &kSchema;
}

constexpr const char* kConvDetails = R"(Args:
    x (n, c, $x) float: the images.
    weight (o, c / groups, $k) float: one kernel for each output channel.
    bias (o) float: added to each output channel, or None.
    stride (int or tuple of $n int): the step between windows.
    padding (int or tuple of int): zeros on each side of the image along each axis; twice as many entries give those before it on all
        axes, then those after it.
    dilation (int or tuple of $n int): the step between the elements of a window.
    groups (int): channels are split into so many groups that do not see each other.

Returns:
    (n, o, $o) float: each size is `(size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1`.

Raises:
    ValueError: shapes, channels or sizes do not fit each other.
    TypeError: an operand is not of a real floating dtype.

Example:
    >>> import gorgo as gg
$e)";

constexpr const char* kTransposeDetails = R"(Args:
    x (n, c, $x) float: the images.
    weight (c, o / groups, $k) float: one kernel for each input channel.
    bias (o) float: added to each output channel, or None.
    stride (int or tuple of $n int): the step between where x's elements go.
    padding (int or tuple of int): what is left out on each side of the result along each axis; twice as many entries give that before it
        on all axes, then that after it.
    output_padding (int or tuple of $n int): further elements behind the result along each axis, fewer than stride or dilation.
    groups (int): channels are split into so many groups that do not see each other.
    dilation (int or tuple of $n int): the step between the elements of a window.

Returns:
    (n, o, $o) float: each size is `(size - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1`.

Raises:
    ValueError: shapes, channels or sizes do not fit each other.
    TypeError: an operand is not of a real floating dtype.

Example:
    >>> import gorgo as gg
$e)";

constexpr const char* kConvExamples[kMaxConvAxes] = {
    R"(    >>> gg.conv1d(gg.ones((1, 1, 4)), gg.ones((1, 1, 3)), padding=1).tolist()
    [[[2.0, 3.0, 3.0, 2.0]]])",
    R"(    >>> gg.conv2d(gg.ones((1, 1, 4, 4)), gg.ones((2, 1, 3, 3)), padding=1).shape
    (1, 2, 4, 4))",
    R"(    >>> gg.conv3d(gg.ones((1, 1, 4, 4, 4)), gg.ones((2, 1, 3, 3, 3)), padding=1).shape
    (1, 2, 4, 4, 4))"};
constexpr const char* kTransposeExamples[kMaxConvAxes] = {
    R"(    >>> gg.conv_transpose1d(gg.ones((1, 1, 3)), gg.ones((1, 1, 2)), stride=2).tolist()
    [[[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]])",
    R"(    >>> gg.conv_transpose2d(gg.ones((1, 2, 4, 4)), gg.ones((2, 1, 3, 3)), stride=2, padding=1, output_padding=1).shape
    (1, 1, 8, 8))",
    R"(    >>> gg.conv_transpose3d(gg.ones((1, 2, 4, 4, 4)), gg.ones((2, 1, 2, 2, 2)), stride=2).shape
    (1, 1, 8, 8, 8))"};

template <int kAxes>
void register_axes(Registry& registry) {
  const Words& words = kWords[kAxes - 1];
  const char* const x = text(kAxes, "(n, c, $x) float");
  {
    OpDef op;
    op.name = words.conv;
    op.doc =
        text(kAxes, "Convolve images of $n axes with a bank of kernels (cross-correlation, as is usual in networks).");
    op.details = text(kAxes, kConvDetails, kConvExamples[kAxes - 1]);
    op.inputs = {{.name = "x", .shape_doc = x},
                 {.name = "weight", .shape_doc = text(kAxes, "(o, c / groups, $k) float")},
                 {.name = "bias", .kind = SlotKind::Optional, .shape_doc = "(o) float"}};
    op.attrs = schema<kAxes, kConvFields<kAxes>, 0>();
    op.infer = [](InferContext& c) { infer_conv(c, kAxes); };
    op.vjp = vjp_conv;
    op.saves_inputs = 3;
    op.onnx = {"Conv", 11, nullptr};
    op.cost = cost_conv;
    conv_ops.conv[kAxes - 1] = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = words.transpose;
    op.doc = text(
        kAxes, "Spread each element of images of $n axes over a window: the transpose of convolving, not its inverse.");
    op.details = text(kAxes, kTransposeDetails, kTransposeExamples[kAxes - 1]);
    op.inputs = {{.name = "x", .shape_doc = x},
                 {.name = "weight", .shape_doc = text(kAxes, "(c, o / groups, $k) float")},
                 {.name = "bias", .kind = SlotKind::Optional, .shape_doc = "(o) float"}};
    op.attrs = schema<kAxes, kTransposeFields<kAxes>, kAxes>();
    op.infer = [](InferContext& c) { infer_transpose(c, kAxes); };
    op.vjp = vjp_transpose;
    op.saves_inputs = 3;
    op.onnx = {"ConvTranspose", 11, nullptr};
    op.cost = cost_transpose;
    conv_ops.conv_transpose[kAxes - 1] = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = words.grad_weight;
    op.doc = text(kAxes, "Compute the gradient of a convolution over $n axes by its kernels.");
    op.inputs = {{.name = "x", .shape_doc = x}, {.name = "g", .shape_doc = text(kAxes, "(n, o, $o) float")}};
    op.attrs = schema<kAxes, kGradWeightFields<kAxes>, 0>();
    op.infer = [](InferContext& c) { infer_grad_weight(c, kAxes); };
    op.vjp = vjp_grad_weight;
    op.saves_inputs = 3;
    op.onnx = {nullptr, 0, "ONNX has no gradient by the kernels"};
    op.cost = cost_grad_weight;
    op.flags.internal = true;
    conv_ops.conv_grad_weight[kAxes - 1] = &registry.add(std::move(op));
  }
  for (const OpDef* base : {conv_ops.conv[kAxes - 1], conv_ops.conv_transpose[kAxes - 1]}) {
    register_with_epilogues(registry, *base, {Epilogue::Relu, Epilogue::ReluBackward});
  }
}

}  // namespace

void register_conv(Registry& registry) {
  register_axes<1>(registry);
  register_axes<2>(registry);
  register_axes<3>(registry);
}

}  // namespace gorgo
