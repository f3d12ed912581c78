// The pool family's shapes, gradients and facts.
// Read next: kernels_cpu.cpp.
#include "ops/pool/pool.h"

namespace gorgo {

PoolOps pool_ops;

namespace {

constexpr DTypeSet kDTypes = kFloatSet;

void check_pair(const InferContext& c, const char* what, const Dims& value, int64_t least) {
  constexpr int64_t kLimit = int64_t{1} << 40;
  if (value.size() != 2) fail<ValueError>(c.name(), ": ", what, " must have 2 entries (height, width), got ", value);
  for (const int64_t v : value) {
    if (v < least || v > kLimit) fail<ValueError>(c.name(), ": ", what, " must be at least ", least, ", got ", value);
  }
}

const Shape& check_image(InferContext& c, int i) {
  const Shape& shape = c.shape(i);
  if (shape.size() != 4) {
    fail<ValueError>(c.name(), ": ", c.op.slot_of(i).name, " must have 4 axes (n, c, h, w), got shape ", shape);
  }
  c.compute_dtype = i == 0 ? c.dtype(0) : promote(c.compute_dtype, c.dtype(i));
  c.cast_mask = 3;
  if (!kDTypes.has(c.compute_dtype)) {
    fail<TypeError>(c.name(), ": operands must have a real floating dtype, got ", c.compute_dtype);
  }
  return shape;
}

// The number of windows along one axis.
int64_t windows(const InferContext& c, const char* name, int64_t input, int64_t kernel, int64_t stride, int64_t padding,
                int64_t dilation, bool ceil_mode) {
  int64_t reach = 0;
  if (__builtin_mul_overflow(dilation, kernel - 1, &reach) || reach > int64_t{1} << 40) {
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

template <class A>
Dims pooled_size(const InferContext& c, const A& a, const int64_t* image) {
  check_pair(c, "kernel_size", a.kernel_size, 1);
  check_pair(c, "padding", a.padding, 0);
  const Dims& stride = a.stride.has ? a.stride.value : a.kernel_size;
  check_pair(c, "stride", stride, 1);
  Dims dilation{1, 1};
  if constexpr (requires { a.dilation; }) {
    dilation = a.dilation;
    check_pair(c, "dilation", dilation, 1);
  }
  return {windows(c, "height", image[0], a.kernel_size[0], stride[0], a.padding[0], dilation[0], a.ceil_mode),
          windows(c, "width", image[1], a.kernel_size[1], stride[1], a.padding[1], dilation[1], a.ceil_mode)};
}

// ---- maximum ----

void infer_max(InferContext& c) {
  const Shape& x = check_image(c, 0);
  const Dims size = pooled_size(c, c.attrs_as<MaxPoolAttrs>(), x.data() + 2);
  c.add_output(c.compute_dtype, {x[0], x[1], size[0], size[1]});
}
void vjp_max(VjpContext& c) { c.set(0, max_pool2d_grad(c.grad(), c.input(0), c.attrs_as<MaxPoolAttrs>())); }

void infer_max_grad(InferContext& c) {
  const Shape& g = check_image(c, 0);
  const Shape& x = check_image(c, 1);
  const Dims size = pooled_size(c, c.attrs_as<MaxPoolAttrs>(), x.data() + 2);
  const Shape expected{x[0], x[1], size[0], size[1]};
  if (g != expected) {
    fail<ValueError>(c.name(), ": g must have shape ", expected, ", got ", g, " (x has shape ", x, ")");
  }
  c.add_output(c.compute_dtype, x);
}
// Which elements win does not change with x but at ties, so x has no gradient here.
void vjp_max_grad(VjpContext& c) {
  if (c.wants(0)) c.set(0, max_pool2d_gather(c.grad(), c.input(1), c.attrs_as<MaxPoolAttrs>()));
}

void infer_max_gather(InferContext& c) {
  const Shape& v = check_image(c, 0);
  const Shape& x = check_image(c, 1);
  const Dims size = pooled_size(c, c.attrs_as<MaxPoolAttrs>(), x.data() + 2);
  if (v != x) fail<ValueError>(c.name(), ": v must have x's shape ", x, ", got ", v);
  c.add_output(c.compute_dtype, {x[0], x[1], size[0], size[1]});
}
void vjp_max_gather(VjpContext& c) {
  if (c.wants(0)) c.set(0, max_pool2d_grad(c.grad(), c.input(1), c.attrs_as<MaxPoolAttrs>()));
}

// ---- average ----

void infer_avg(InferContext& c) {
  const Shape& x = check_image(c, 0);
  const Dims size = pooled_size(c, c.attrs_as<AvgPoolAttrs>(), x.data() + 2);
  c.add_output(c.compute_dtype, {x[0], x[1], size[0], size[1]});
}
void vjp_avg(VjpContext& c) {
  const auto& a = c.attrs_as<AvgPoolAttrs>();
  const Shape& x = c.input_shape(0);
  c.set(0, avg_pool2d_grad(c.grad(),
                           {{x[2], x[3]}, a.kernel_size, a.stride, a.padding, a.ceil_mode, a.count_include_pad}));
}

void infer_avg_grad(InferContext& c) {
  const auto& a = c.attrs_as<AvgPoolGradAttrs>();
  check_pair(c, "input_size", a.input_size, 0);
  const Shape& g = check_image(c, 0);
  const Dims size = pooled_size(c, a, a.input_size.data());
  if (g[2] != size[0] || g[3] != size[1]) {
    fail<ValueError>(c.name(), ": g must have size ", size, " for input_size ", a.input_size, ", got shape ", g);
  }
  const Shape shape{g[0], g[1], a.input_size[0], a.input_size[1]};
  static_cast<void>(numel_of(shape, c.name()));
  c.add_output(c.compute_dtype, shape);
}
void vjp_avg_grad(VjpContext& c) {
  const auto& a = c.attrs_as<AvgPoolGradAttrs>();
  c.set(0, avg_pool2d(c.grad(), {a.kernel_size, a.stride, a.padding, a.ceil_mode, a.count_include_pad}));
}

const OpDef* add_op(Registry& registry, OpDef op, const AttrSchema& attrs) {
  op.attrs = &attrs;
  return &registry.add(std::move(op));
}

}  // namespace

void register_pool(Registry& registry) {
  {
    OpDef op;
    op.name = "max_pool2d";
    op.doc = "Take the largest element of each window.";
    op.details = R"(Args:
    x (n, c, h, w) float: the images.
    kernel_size (int or tuple of 2 int): height and width of a window.
    stride (int or tuple of 2 int): the step between windows; None means kernel_size.
    padding (int or tuple of 2 int): rows and columns around the image that never win; at most half a window.
    dilation (int or tuple of 2 int): the step between the elements of a window.
    ceil_mode (bool): keep a last window that sticks out of the padded image.

Returns:
    (n, c, oh, ow) float: the maxima; a window with a NaN gives NaN.

Raises:
    ValueError: x is no stack of images, or the window does not fit.

Example:
    >>> import gorgo as gg
    >>> gg.max_pool2d(gg.asarray([[[[1.0, 2.0], [4.0, 3.0]]]]), 2).tolist()
    [[[[4.0]]]])";
    op.inputs = {{.name = "x", .shape_doc = "(n, c, h, w) float"}};
    op.infer = infer_max;
    op.vjp = vjp_max;
    op.saves_inputs = 1;
    op.onnx = {"MaxPool", 12, nullptr};
    pool_ops.max_pool2d = add_op(registry, std::move(op), schema_of<MaxPoolAttrs>());
  }
  {
    OpDef op;
    op.name = "max_pool2d_grad";
    op.doc = "Compute the gradient of max_pool2d.";
    op.inputs = {{.name = "g", .shape_doc = "(n, c, oh, ow) float"}, {.name = "x", .shape_doc = "(n, c, h, w) float"}};
    op.infer = infer_max_grad;
    op.vjp = vjp_max_grad;
    op.saves_inputs = 2;
    op.onnx = {nullptr, 0, "ONNX has no gradient of a maximum"};
    op.flags.internal = true;
    pool_ops.max_pool2d_grad = add_op(registry, std::move(op), schema_of<MaxPoolAttrs>());
  }
  {
    OpDef op;
    op.name = "max_pool2d_gather";
    op.doc = "Take the elements of v that stand where x's windows have their largest.";
    op.inputs = {{.name = "v", .shape_doc = "(n, c, h, w) float"}, {.name = "x", .shape_doc = "(n, c, h, w) float"}};
    op.infer = infer_max_gather;
    op.vjp = vjp_max_gather;
    op.saves_inputs = 2;
    op.onnx = {nullptr, 0, "ONNX has no gradient of a maximum"};
    op.flags.internal = true;
    pool_ops.max_pool2d_gather = add_op(registry, std::move(op), schema_of<MaxPoolAttrs>());
  }
  {
    OpDef op;
    op.name = "avg_pool2d";
    op.doc = "Average the elements of each window.";
    op.details = R"(Args:
    x (n, c, h, w) float: the images.
    kernel_size (int or tuple of 2 int): height and width of a window.
    stride (int or tuple of 2 int): the step between windows; None means kernel_size.
    padding (int or tuple of 2 int): zeros around the image; at most half a window.
    ceil_mode (bool): keep a last window that sticks out of the padded image.
    count_include_pad (bool): divide by the elements of the padded image in a window, not of the image alone.

Returns:
    (n, c, oh, ow) float: the averages.

Raises:
    ValueError: x is no stack of images, or the window does not fit.

Example:
    >>> import gorgo as gg
    >>> gg.avg_pool2d(gg.asarray([[[[1.0, 2.0], [4.0, 3.0]]]]), 2).tolist()
    [[[[2.5]]]])";
    op.inputs = {{.name = "x", .shape_doc = "(n, c, h, w) float"}};
    op.infer = infer_avg;
    op.vjp = vjp_avg;
    op.onnx = {"AveragePool", 11, nullptr};
    op.flags.linear = true;
    pool_ops.avg_pool2d = add_op(registry, std::move(op), schema_of<AvgPoolAttrs>());
  }
  {
    OpDef op;
    op.name = "avg_pool2d_grad";
    op.doc = "Compute the gradient of avg_pool2d.";
    op.inputs = {{.name = "g", .shape_doc = "(n, c, oh, ow) float"}};
    op.infer = infer_avg_grad;
    op.vjp = vjp_avg_grad;
    op.onnx = {nullptr, 0, "ONNX has no gradient of an average"};
    op.flags.linear = true;
    op.flags.internal = true;
    pool_ops.avg_pool2d_grad = add_op(registry, std::move(op), schema_of<AvgPoolGradAttrs>());
  }
}

}  // namespace gorgo
