// Windows as the columns of a matrix, and columns summed back into an image: shapes, gradients and facts of im2col and
// col2im.
// Read next: kernels_cpu_columns.cpp.
#include "ops/pool/pool.h"

namespace gorgo {
namespace {

void check_pair(const InferContext& c, const char* what, const Dims& value, int64_t least) {
  constexpr int64_t kLimit = int64_t{1} << 30;
  if (value.size() != 2) fail<ValueError>(c.name(), ": ", what, " must have 2 entries (height, width), got ", value);
  for (const int64_t v : value) {
    if (v < least || v > kLimit) {
      fail<ValueError>(c.name(), ": ", what, " must be in [", least, ", 2**30], got ", value);
    }
  }
}

// How many windows an image of this size has, as (height, width).
Dims window_counts(const InferContext& c, const ColumnsAttrs& a, const Dims& image) {
  check_pair(c, "kernel_size", a.kernel_size, 1);
  check_pair(c, "dilation", a.dilation, 1);
  check_pair(c, "padding", a.padding, 0);
  check_pair(c, "stride", a.stride, 1);
  Dims counts(2, 0);
  for (int i = 0; i < 2; ++i) {
    const int64_t room = image[i] + 2 * a.padding[i] - a.dilation[i] * (a.kernel_size[i] - 1) - 1;
    if (room < 0) {
      fail<ValueError>(c.name(), ": padded ", i == 0 ? "height" : "width", " must be at least the window's ",
                       a.dilation[i] * (a.kernel_size[i] - 1) + 1, ", got ", image[i] + 2 * a.padding[i]);
    }
    counts[i] = room / a.stride[i] + 1;
  }
  return counts;
}

void take_float(InferContext& c) {
  c.compute_dtype = c.dtype(0);
  if (!kFloatSet.has(c.compute_dtype)) {
    fail<TypeError>(c.name(), ": operands must have a real floating dtype, got ", c.compute_dtype);
  }
}

void infer_im2col(InferContext& c) {
  const auto& a = c.attrs_as<ColumnsAttrs>();
  take_float(c);
  const Shape& x = c.shape(0);
  if (x.size() != 3 && x.size() != 4) {
    fail<ValueError>(c.name(), ": x must have 3 or 4 axes ((n,) c, h, w), got shape ", x);
  }
  const int64_t* image = x.end() - 3;
  const Dims counts = window_counts(c, a, {image[1], image[2]});
  const int64_t rows = numel_of(Shape{image[0], a.kernel_size[0], a.kernel_size[1]}, c.name());
  Shape out{rows, counts[0] * counts[1]};
  if (x.size() == 4) out = Shape{x[0], out[0], out[1]};
  static_cast<void>(numel_of(out, c.name()));
  c.add_output(c.compute_dtype, out);
}
void vjp_im2col(VjpContext& c) {
  ColumnsAttrs a = c.attrs_as<ColumnsAttrs>();
  const Shape& x = c.input_shape(0);
  a.output_size = {x[x.size() - 2], x[x.size() - 1]};
  c.set(0, col2im(c.grad(), a));
}

void infer_col2im(InferContext& c) {
  const auto& a = c.attrs_as<ColumnsAttrs>();
  take_float(c);
  check_pair(c, "output_size", a.output_size, 0);
  const Dims counts = window_counts(c, a, a.output_size);
  const Shape& x = c.shape(0);
  if (x.size() != 2 && x.size() != 3) {
    fail<ValueError>(c.name(), ": x must have 2 or 3 axes ((n,) c kh kw, windows), got shape ", x);
  }
  const int64_t taps = a.kernel_size[0] * a.kernel_size[1];
  const int64_t rows = x[x.size() - 2];
  if (rows % taps != 0) {
    fail<ValueError>(c.name(), ": x must have a multiple of the window's ", taps, " elements as rows, got ", rows,
                     " (x has shape ", x, ")");
  }
  if (x.back() != counts[0] * counts[1]) {
    fail<ValueError>(c.name(), ": x must have ", counts[0] * counts[1], " columns, ", counts[0], " by ", counts[1],
                     " windows, got ", x.back(), " (x has shape ", x, ")");
  }
  Shape out{rows / taps, a.output_size[0], a.output_size[1]};
  if (x.size() == 3) out = Shape{x[0], out[0], out[1], out[2]};
  static_cast<void>(numel_of(out, c.name()));
  c.add_output(c.compute_dtype, out);
}
void vjp_col2im(VjpContext& c) { c.set(0, im2col(c.grad(), c.attrs_as<ColumnsAttrs>())); }

}  // namespace

Tensor im2col(const Tensor& x, const ColumnsAttrs& attrs) {
  const ImageToColumnsAttrs own(attrs);
  return invoke(*pool_ops.im2col, {x}, &own);
}

void register_columns(Registry& registry) {
  {
    OpDef op;
    op.name = "im2col";
    op.doc = "Lay the windows of images out as the columns of a matrix.";
    op.details = R"(Args:
    x ((n,) c, h, w) float: the images.
    kernel_size (int or tuple of 2 int): height and width of a window.
    dilation (int or tuple of 2 int): the step between the elements of a window.
    padding (int or tuple of 2 int): zeros around the image.
    stride (int or tuple of 2 int): the step between windows.

Returns:
    ((n,) c kh kw, windows) float: a column for each window in row order; its rows are the window's elements, channel by
    channel.

Raises:
    TypeError: x is not floating.
    ValueError: x is no stack of images, or the window does not fit.

Example:
    >>> import gorgo as gg
    >>> gg.im2col(gg.asarray([[[1.0, 2.0, 3.0]]]), (1, 2)).tolist()
    [[1.0, 2.0], [2.0, 3.0]])";
    op.inputs = {{.name = "x", .shape_doc = "((n,) c, h, w) float"}};
    op.attrs = &schema_of<ImageToColumnsAttrs>();
    op.infer = infer_im2col;
    op.vjp = vjp_im2col;
    op.onnx = {nullptr, 0, "exported as a convolution with a kernel of ones"};
    op.flags.linear = true;
    pool_ops.im2col = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "col2im";
    op.doc = "Add the columns of a matrix into images, each where its window lies.";
    op.details = R"(Args:
    x ((n,) c kh kw, windows) float: a column for each window, as im2col gives them.
    output_size (int or tuple of 2 int): height and width of the images.
    kernel_size (int or tuple of 2 int): height and width of a window.
    dilation (int or tuple of 2 int): the step between the elements of a window.
    padding (int or tuple of 2 int): places around the image whose sums are dropped.
    stride (int or tuple of 2 int): the step between windows.

Returns:
    ((n,) c, h, w) float: the sums; the adjoint of im2col.

Raises:
    TypeError: x is not floating.
    ValueError: the matrix does not fit the windows, or the window the image.

Example:
    >>> import gorgo as gg
    >>> gg.col2im(gg.asarray([[1.0, 2.0], [2.0, 3.0]]), (1, 3), (1, 2)).tolist()
    [[[1.0, 4.0, 3.0]]])";
    op.inputs = {{.name = "x", .shape_doc = "((n,) c kh kw, windows) float"}};
    op.attrs = &schema_of<ColumnsAttrs>();
    op.infer = infer_col2im;
    op.vjp = vjp_col2im;
    op.onnx = {"Col2Im", 18, nullptr};
    op.flags.linear = true;
    pool_ops.col2im = &registry.add(std::move(op));
  }
}

}  // namespace gorgo
