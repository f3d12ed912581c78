// The pooling ops' shapes, gradients and facts, once for one to three axes.
// Read next: kernels_cpu.cpp.
#include "ops/pool/pool.h"

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "opdef/core_ops.h"
#include "opdef/epilogue.h"

namespace gorgo {

PoolOps pool_ops;

namespace {

constexpr int kMostAxes = 3;
constexpr int64_t kLimit = int64_t{1} << 40;
constexpr DTypeSet kMaxSet = kFloatSet | DTypeSet{DType::UInt8, DType::Int8, DType::Int16, DType::Int32, DType::Int64};

// The words of the docs and messages, by the number of axes less one.
struct PoolWords {
  const char* axes[kMostAxes];
  const char* listed;
  const char* shape;
  const char* batch;
  const char* pooled;
};
constexpr PoolWords kPoolWords[kMostAxes] = {
    {{"length"}, "(length)", "((n,) c, l)", "((n,) c, l) float", "((n,) c, ol) float"},
    {{"height", "width"}, "(height, width)", "((n,) c, h, w)", "((n,) c, h, w) float", "((n,) c, oh, ow) float"},
    {{"depth", "height", "width"},
     "(depth, height, width)",
     "((n,) c, d, h, w)",
     "((n,) c, d, h, w) float",
     "((n,) c, od, oh, ow) float"},
};
const PoolWords& words(int axes) { return kPoolWords[axes - 1]; }

void check_sizes(const InferContext& c, int axes, const char* what, const Dims& value, int64_t least) {
  if (value.size() != axes) {
    fail<ValueError>(c.name(), ": ", what, " must have ", axes, axes == 1 ? " entry " : " entries ", words(axes).listed,
                     ", got ", value);
  }
  for (const int64_t v : value) {
    if (v < least) fail<ValueError>(c.name(), ": ", what, " must be at least ", least, ", got ", value);
    if (v > kLimit) fail<ValueError>(c.name(), ": ", what, " must be at most ", kLimit, ", got ", value);
  }
}

// The number of axes that windows have, as a gradient's attributes tell.
template <class A>
int axes_of(const InferContext& c, const A& a) {
  const int axes = a.output_size.empty() ? a.kernel_size.size() : a.output_size.size();
  if (axes < 1 || axes > kMostAxes) {
    fail<ValueError>(c.name(), ": kernel_size must have 1 to 3 entries, got ", a.kernel_size);
  }
  return axes;
}

const Shape& check_image(InferContext& c, int i, int axes, DTypeSet accepted, const char* accepted_text) {
  const Shape& shape = c.shape(i);
  if (shape.size() != axes + 1 && shape.size() != axes + 2) {
    fail<ValueError>(c.name(), ": ", c.op.slot_of(i).name, " must have ", axes + 1, " or ", axes + 2, " axes ",
                     words(axes).shape, ", got shape ", shape);
  }
  c.compute_dtype = i == 0 ? c.dtype(0) : promote(c.compute_dtype, c.dtype(i));
  c.cast_mask = 3;
  if (!accepted.has(c.compute_dtype)) {
    fail<TypeError>(c.name(), ": operands must have a ", accepted_text, " dtype, got ", c.compute_dtype);
  }
  return shape;
}
const Shape& check_floats(InferContext& c, int i, int axes) {
  return check_image(c, i, axes, kFloatSet, "real floating");
}

// The number of windows along one axis.
int64_t windows(const InferContext& c, const char* name, int64_t input, int64_t kernel, int64_t stride, int64_t padding,
                int64_t dilation, bool ceil_mode) {
  int64_t reach = 0;
  if (__builtin_mul_overflow(dilation, kernel - 1, &reach) || reach > kLimit) {
    fail<OverflowError>(c.name(), ": dilation times kernel size must fit the image, got ", dilation, " times ", kernel);
  }
  if (2 * padding > reach + 1) {
    fail<ValueError>(c.name(), ": padding must be at most half of the window's ", name, " ", reach + 1, ", got ",
                     padding);
  }
  const int64_t padded = input + 2 * padding;
  if (padded < reach + 1) {
    fail<ValueError>(c.name(), ": padded ", name, " must be at least the window's ", reach + 1, ", got ", padded, " (",
                     input, " with padding ", padding, ")");
  }
  const int64_t room = padded - reach - 1;
  int64_t count = room / stride + 1;
  // A last window that sticks out counts if it begins inside the image or its leading padding.
  if (ceil_mode && room % stride != 0 && count * stride < input + padding) ++count;
  return count;
}

// How many windows an image has along each axis; `image` points at the sizes of its last `axes` axes.
template <class A>
Dims pooled_size(const InferContext& c, const A& a, int axes, const int64_t* image, bool adaptive) {
  if (adaptive) {
    check_sizes(c, axes, "output_size", a.output_size, 0);
    for (int i = 0; i < axes; ++i) {
      if (image[i] == 0) fail<ValueError>(c.name(), ": ", words(axes).axes[i], " must be at least 1, got 0");
    }
    return a.output_size;
  }
  check_sizes(c, axes, "kernel_size", a.kernel_size, 1);
  check_sizes(c, axes, "padding", a.padding, 0);
  const Dims& stride = a.stride.has ? a.stride.value : a.kernel_size;
  check_sizes(c, axes, "stride", stride, 1);
  if constexpr (requires { a.dilation; }) {
    check_sizes(c, axes, "dilation", a.dilation, 1);
  } else if (a.divisor_override.has && a.divisor_override.value == 0) {
    fail<ValueError>(c.name(), ": divisor_override must not be 0, got 0");
  }
  Dims size(axes, 0);
  for (int i = 0; i < axes; ++i) {
    int64_t dilation = 1;
    if constexpr (requires { a.dilation; }) dilation = a.dilation[i];
    size[i] =
        windows(c, words(axes).axes[i], image[i], a.kernel_size[i], stride[i], a.padding[i], dilation, a.ceil_mode);
  }
  return size;
}

Shape with_size(const Shape& image, const Dims& size) {
  Shape shape = image;
  const int leading = image.size() - size.size();
  for (int i = 0; i < size.size(); ++i) shape[leading + i] = size[i];
  return shape;
}

template <class A>
Shape pooled_shape(const InferContext& c, const A& a, int axes, const Shape& image, bool adaptive) {
  Shape shape = with_size(image, pooled_size(c, a, axes, image.end() - axes, adaptive));
  static_cast<void>(numel_of(shape, c.name()));
  return shape;
}

// ---- maximum ----

template <int kAxes, bool kAdaptive>
void infer_max(InferContext& c) {
  const auto& a = c.attrs_as<MaxPoolAttrs>();
  const Shape& x = check_image(c, 0, kAxes, kMaxSet, "real floating or integer (uint8 or signed)");
  const Shape shape = pooled_shape(c, a, kAxes, x, kAdaptive);
  c.add_output(c.compute_dtype, shape);
  if (a.return_indices) c.add_output(DType::Int64, shape);
}
void vjp_max_pool(VjpContext& c) {
  if (c.grad()) c.set(0, max_pool_grad(c.grad(), c.input(0), c.attrs_as<MaxPoolAttrs>()));
}

void infer_max_grad(InferContext& c) {
  const auto& a = c.attrs_as<MaxPoolAttrs>();
  const int axes = axes_of(c, a);
  const Shape& g = check_floats(c, 0, axes);
  const Shape& x = check_floats(c, 1, axes);
  const Shape expected = pooled_shape(c, a, axes, x, !a.output_size.empty());
  if (g != expected) {
    fail<ValueError>(c.name(), ": g must have shape ", expected, ", got ", g, " (x has shape ", x, ")");
  }
  c.add_output(c.compute_dtype, x);
}
// Which elements win does not change with x but at ties, so x has no gradient here.
void vjp_max_pool_grad(VjpContext& c) {
  if (c.wants(0)) c.set(0, max_pool_gather(c.grad(), c.input(1), c.attrs_as<MaxPoolAttrs>()));
}

void infer_max_gather(InferContext& c) {
  const auto& a = c.attrs_as<MaxPoolAttrs>();
  const int axes = axes_of(c, a);
  const Shape& v = check_floats(c, 0, axes);
  const Shape& x = check_floats(c, 1, axes);
  if (v != x) fail<ValueError>(c.name(), ": v must have x's shape ", x, ", got ", v);
  c.add_output(c.compute_dtype, pooled_shape(c, a, axes, x, !a.output_size.empty()));
}
void vjp_max_pool_gather(VjpContext& c) {
  if (c.wants(0)) c.set(0, max_pool_grad(c.grad(), c.input(1), c.attrs_as<MaxPoolAttrs>()));
}

// ---- average ----

template <int kAxes, bool kAdaptive>
void infer_avg(InferContext& c) {
  const Shape& x = check_floats(c, 0, kAxes);
  c.add_output(c.compute_dtype, pooled_shape(c, c.attrs_as<AvgPoolAttrs>(), kAxes, x, kAdaptive));
}
void vjp_avg(VjpContext& c) {
  AvgPoolAttrs a = c.attrs_as<AvgPoolAttrs>();
  const Shape& x = c.input_shape(0);
  const int axes = a.output_size.empty() ? a.kernel_size.size() : a.output_size.size();
  a.input_size = Dims(std::span<const int64_t>(x.end() - axes, static_cast<size_t>(axes)));
  c.set(0, avg_pool_grad(dense_grad(c), a));
}

void infer_avg_grad(InferContext& c) {
  const auto& a = c.attrs_as<AvgPoolAttrs>();
  const int axes = axes_of(c, a);
  check_sizes(c, axes, "input_size", a.input_size, 0);
  const Shape& g = check_floats(c, 0, axes);
  const Dims size = pooled_size(c, a, axes, a.input_size.data(), !a.output_size.empty());
  if (g != with_size(g, size)) {
    fail<ValueError>(c.name(), ": g must have size ", size, " for input_size ", a.input_size, ", got shape ", g);
  }
  const Shape shape = with_size(g, a.input_size);
  static_cast<void>(numel_of(shape, c.name()));
  c.add_output(c.compute_dtype, shape);
}
void vjp_avg_grad(VjpContext& c) { c.set(0, avg_pool(c.grad(), c.attrs_as<AvgPoolAttrs>())); }

template <class Over>
Tensor avg_pool_with(const OpDef& op, const Tensor& x, const AvgPoolAttrs& attrs) {
  const Over over(attrs);
  return invoke(op, {x}, &over);
}
template <int kAxes>
Tensor avg_pool_over(const Tensor& x, const AvgPoolAttrs& attrs) {
  if (attrs.output_size.empty()) return avg_pool_with<AvgPoolOver<kAxes>>(*pool_ops.avg_pool[kAxes - 1], x, attrs);
  return avg_pool_with<AdaptiveAvgPoolOver<kAxes>>(*pool_ops.adaptive_avg_pool[kAxes - 1], x, attrs);
}

// ---- facts ----

// What the texts of an op say of the number of its axes. They live as long as the registry.
struct Text {
  std::string name, details;
};

const Text& text_of(int axes, const char* stem, const char* details) {
  static auto& kept = *new std::vector<std::unique_ptr<Text>>();
  kept.push_back(std::make_unique<Text>());
  Text& text = *kept.back();
  text.name = cat(stem, axes, 'd');
  text.details = details;
  const auto put = [&](const std::string& mark, const std::string& word) {
    for (size_t at = text.details.find(mark); at != std::string::npos; at = text.details.find(mark, at + word.size())) {
      text.details.replace(at, mark.size(), word);
    }
  };
  const auto i = static_cast<size_t>(axes - 1);
  put("{op}", text.name);
  put("{x}", words(axes).batch);
  put("{out}", words(axes).pooled);
  put("{sizes}", cat("int or tuple of ", axes, " int"));
  put("{dims}", std::array{"length", "height and width", "depth, height and width"}[i]);
  put("{[}", std::string(i, '['));
  put("{]}", std::string(i, ']'));
  put("{2}", std::array{"2", "(1, 2)", "(1, 1, 2)"}[i]);
  return text;
}

constexpr const char* kMaxDetails = R"(Args:
    x {x} or integer: the images; the first axis may be missing.
    kernel_size ({sizes}): {dims} of a window.
    stride ({sizes}): the step between windows; None means kernel_size.
    padding ({sizes}): places around the image that never win; at most half a window.
    dilation ({sizes}): the step between the elements of a window.
    ceil_mode (bool): keep a last window that sticks out of the padded image.
    return_indices (bool): give the places of the maxima, too.

Returns:
    {out}: the maxima; a window with a NaN gives NaN. With return_indices a pair of them and int64
    positions: each in its image of one channel, counted in row order.

Raises:
    TypeError: x is neither floating nor a supported integer.
    ValueError: x is no stack of images, or the window does not fit.

Example:
    >>> import gorgo as gg
    >>> gg.{op}(gg.asarray([[{[}[1.0, 2.0, 4.0, 3.0]{]}]]), {2}).tolist()
    [[{[}[2.0, 4.0]{]}]])";

constexpr const char* kAdaptiveMaxDetails = R"(Args:
    x {x} or integer: the images; the first axis may be missing.
    output_size ({sizes}): {dims} of the result.
    return_indices (bool): give the places of the maxima, too.

Returns:
    {out}: the maxima; a window with a NaN gives NaN. With return_indices a pair of them and int64
    positions: each in its image of one channel, counted in row order.

Raises:
    TypeError: x is neither floating nor a supported integer.
    ValueError: x is no stack of images, or has no elements along an axis.

Source: window i of n over an axis of m elements goes from floor(i m / n) to ceil((i + 1) m / n).

Example:
    >>> import gorgo as gg
    >>> gg.{op}(gg.asarray([[{[}[1.0, 2.0, 4.0, 3.0]{]}]]), {2}).tolist()
    [[{[}[2.0, 4.0]{]}]])";

constexpr const char* kAvgDetails = R"(Args:
    x {x}: the images; the first axis may be missing.
    kernel_size ({sizes}): {dims} of a window.
    stride ({sizes}): the step between windows; None means kernel_size.
    padding ({sizes}): zeros around the image; at most half a window.
    ceil_mode (bool): keep a last window that sticks out of the padded image.
    count_include_pad (bool): divide by the elements of the padded image in a window, not of the image alone.
    divisor_override (int): divide by this number instead.

Returns:
    {out}: the averages.

Raises:
    ValueError: x is no stack of images, the window does not fit, or divisor_override is 0.

Example:
    >>> import gorgo as gg
    >>> gg.{op}(gg.asarray([[{[}[1.0, 2.0, 4.0, 3.0]{]}]]), {2}).tolist()
    [[{[}[1.5, 3.5]{]}]])";

constexpr const char* kAdaptiveAvgDetails = R"(Args:
    x {x}: the images; the first axis may be missing.
    output_size ({sizes}): {dims} of the result.

Returns:
    {out}: the averages.

Raises:
    ValueError: x is no stack of images, or has no elements along an axis.

Source: window i of n over an axis of m elements goes from floor(i m / n) to ceil((i + 1) m / n).

Example:
    >>> import gorgo as gg
    >>> gg.{op}(gg.asarray([[{[}[1.0, 2.0, 4.0, 3.0]{]}]]), {2}).tolist()
    [[{[}[1.5, 3.5]{]}]])";

constexpr const char* kAdaptiveOnnx = "exported as a global pool, or as a plain one where the sizes divide";

template <int kAxes>
void register_over(Registry& registry) {
  const auto add = [&](const char* stem, const char* details, const char* doc, OpDef op) {
    const Text& text = text_of(kAxes, stem, details);
    op.name = text.name.c_str();
    op.doc = doc;
    op.details = text.details.c_str();
    op.inputs = {{.name = "x", .shape_doc = words(kAxes).batch}};
    return &registry.add(std::move(op));
  };
  const auto max = [](OpDef op) {
    op.outputs = {"out", "indices"};
    op.vjp = vjp_max_pool;
    op.saves_inputs = 1;
    return op;
  };
  const auto avg = [](OpDef op) {
    op.vjp = vjp_avg;
    op.flags.linear = true;
    return op;
  };
  {
    OpDef op;
    op.attrs = &schema_of<MaxPoolOver<kAxes>>();
    op.infer = infer_max<kAxes, false>;
    op.onnx = {"MaxPool", 12, nullptr};
    pool_ops.max_pool[kAxes - 1] = add("max_pool", kMaxDetails, "Take the largest element of each window.", max(op));
  }
  {
    OpDef op;
    op.attrs = &schema_of<AdaptiveMaxPoolOver<kAxes>>();
    op.infer = infer_max<kAxes, true>;
    op.onnx = {nullptr, 0, kAdaptiveOnnx};
    pool_ops.adaptive_max_pool[kAxes - 1] =
        add("adaptive_max_pool", kAdaptiveMaxDetails, "Take the largest elements of so many windows.", max(op));
  }
  {
    OpDef op;
    op.attrs = &schema_of<AvgPoolOver<kAxes>>();
    op.infer = infer_avg<kAxes, false>;
    op.onnx = {"AveragePool", 11, nullptr};
    pool_ops.avg_pool[kAxes - 1] = add("avg_pool", kAvgDetails, "Average the elements of each window.", avg(op));
  }
  {
    OpDef op;
    op.attrs = &schema_of<AdaptiveAvgPoolOver<kAxes>>();
    op.infer = infer_avg<kAxes, true>;
    op.onnx = {nullptr, 0, kAdaptiveOnnx};
    pool_ops.adaptive_avg_pool[kAxes - 1] =
        add("adaptive_avg_pool", kAdaptiveAvgDetails, "Average the elements of so many windows.", avg(op));
  }
}

}  // namespace

Tensor avg_pool(const Tensor& x, const AvgPoolAttrs& attrs) {
  const int axes = attrs.output_size.empty() ? attrs.kernel_size.size() : attrs.output_size.size();
  return axes == 1 ? avg_pool_over<1>(x, attrs) : axes == 2 ? avg_pool_over<2>(x, attrs) : avg_pool_over<3>(x, attrs);
}

void register_pool(Registry& registry) {
  register_over<1>(registry);
  register_over<2>(registry);
  register_over<3>(registry);
  {
    OpDef op;
    op.name = "max_pool_grad";
    op.doc = "Compute the gradient of a maximum over windows.";
    op.inputs = {{.name = "g", .shape_doc = "(n, c, ...) float"}, {.name = "x", .shape_doc = "(n, c, ...) float"}};
    op.attrs = &schema_of<MaxPoolAttrs>();
    op.infer = infer_max_grad;
    op.vjp = vjp_max_pool_grad;
    op.saves_inputs = 2;
    op.onnx = {nullptr, 0, "ONNX has no gradient of a maximum"};
    op.flags.internal = true;
    pool_ops.max_pool_grad = &registry.add(std::move(op));
    register_with_epilogues(registry, *pool_ops.max_pool_grad, {Epilogue::ReluBackward});
  }
  {
    OpDef op;
    op.name = "max_pool_gather";
    op.doc = "Take the elements of v that stand where x's windows have their largest.";
    op.inputs = {{.name = "v", .shape_doc = "(n, c, ...) float"}, {.name = "x", .shape_doc = "(n, c, ...) float"}};
    op.attrs = &schema_of<MaxPoolAttrs>();
    op.infer = infer_max_gather;
    op.vjp = vjp_max_pool_gather;
    op.saves_inputs = 2;
    op.onnx = {nullptr, 0, "ONNX has no gradient of a maximum"};
    op.flags.internal = true;
    pool_ops.max_pool_gather = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "avg_pool_grad";
    op.doc = "Compute the gradient of an average over windows.";
    op.inputs = {{.name = "g", .shape_doc = "(n, c, ...) float"}};
    op.attrs = &schema_of<AvgPoolAttrs>();
    op.infer = infer_avg_grad;
    op.vjp = vjp_avg_grad;
    op.onnx = {nullptr, 0, "ONNX has no gradient of an average"};
    op.flags.linear = true;
    op.flags.internal = true;
    pool_ops.avg_pool_grad = &registry.add(std::move(op));
  }
  register_columns(registry);
}

}  // namespace gorgo
