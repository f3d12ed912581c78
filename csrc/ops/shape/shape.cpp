// The shape family's views: what each yields, its gradient, and its facts.
//
// Invariant: infer validates everything (attributes may come from Python or from a file); kernels and views trust it.
// Read next: shape.h, moves.cpp (the ops that copy elements), kernels_cpu.cpp.
#include "ops/shape/shape.h"

#include "ops/reduce/reduce.h"
#include "ops/shape/register.h"

namespace gorgo {

ShapeOps shape_ops;

namespace {

// How a call's only output lies in a contiguous input.
ViewGeometry geometry_of(const VjpContext& c) {
  SmallVector<OutSpec, 2> outs = infer_again(c);
  return {std::move(outs[0].shape), std::move(outs[0].strides), outs[0].offset};
}

void adjoint_vjp(VjpContext& c) { c.set(0, view_adjoint(c.grad(), c.input_shape(0), geometry_of(c))); }

// ---- index_view ----
[[noreturn, gnu::cold, gnu::noinline]] void refuse_cut(const InferContext& c, int axis) {
  const auto& a = c.attrs_as<IndexViewAttrs>();
  fail<IndexError>(c.name(), ": start, step and length of axis ", axis, " must stay in [0, ", c.shape(0)[axis],
                   "), got ", a.start[axis], ", ", a.step[axis], " and ", a.length[axis], " (x has shape ", c.shape(0),
                   ")");
}

[[noreturn, gnu::cold, gnu::noinline]] void refuse_entries(const InferContext& c, int rank) {
  const auto& a = c.attrs_as<IndexViewAttrs>();
  fail<ValueError>(c.name(), ": start, step and length must have ", rank, " entries, got ", a.start, ", ", a.step,
                   " and ", a.length);
}

// On the way of every x[i] and x[a:b], hence the bare pointers.
void infer_index_view(InferContext& c) {
  const auto& a = c.attrs_as<IndexViewAttrs>();
  const TensorImpl& x = c.tensor(0);
  const int rank = x.rank();
  if (a.start.size() != rank || a.step.size() != rank || a.length.size() != rank) refuse_entries(c, rank);
  const int64_t* start = a.start.data();
  const int64_t* step = a.step.data();
  const int64_t* length = a.length.data();
  const int64_t* insert = a.insert.data();
  const int64_t* old_shape = x.shape.data();
  const int64_t* old_strides = x.strides.data();
  const int inserts = a.insert.size();
  int kept = inserts;
  for (int i = 0; i < rank; ++i) kept += length[i] != IndexViewAttrs::kDropAxis ? 1 : 0;
  OutSpec& out = add_view(c, x);
  out.shape.open(kept);
  out.strides.open(kept);
  int64_t* shape = out.shape.data();
  int64_t* strides = out.strides.data();
  int at = 0;
  int inserted = 0;
  for (int i = 0; i < rank; ++i) {
    const int64_t n = length[i];
    if (n != 0) {
      const int64_t last = n > 0 ? start[i] + step[i] * (n - 1) : start[i];
      if (n < IndexViewAttrs::kDropAxis || start[i] < 0 || start[i] >= old_shape[i] || last < 0 || last >= old_shape[i])
          [[unlikely]] {
        refuse_cut(c, i);
      }
      out.offset += start[i] * old_strides[i];
      if (n < 0) continue;
    }
    for (; inserted < inserts && insert[inserted] == at; ++inserted, ++at) {
      shape[at] = 1;
      strides[at] = 0;
    }
    shape[at] = n;
    strides[at] = old_strides[i] * step[i];
    ++at;
  }
  for (; inserted < inserts && insert[inserted] == at; ++inserted, ++at) {
    shape[at] = 1;
    strides[at] = 0;
  }
  if (inserted != inserts) {
    fail<ValueError>(c.name(), ": insert must list rising positions in the result, got ", a.insert);
  }
}

// ---- permute_dims ----
void infer_permute(InferContext& c) {
  const auto& a = c.attrs_as<PermuteAttrs>();
  const TensorImpl& x = c.tensor(0);
  OutSpec& out = add_view(c, x);
  uint32_t seen = 0;
  bool right = a.axes.size() == x.rank();
  for (int i = 0; right && i < a.axes.size(); ++i) {
    const int64_t axis = a.axes[i] < 0 ? a.axes[i] + x.rank() : a.axes[i];
    right = axis >= 0 && axis < x.rank() && (seen >> axis & 1u) == 0;
    if (!right) break;
    seen |= 1u << axis;
    out.shape.push_back(x.shape[static_cast<int>(axis)]);
    out.strides.push_back(x.strides[static_cast<int>(axis)]);
  }
  if (!right) {
    fail<ValueError>(c.name(), ": axes must be a permutation of the ", x.rank(), " axes of x, got ", a.axes,
                     " (x has shape ", x.shape, ")");
  }
}

void vjp_permute(VjpContext& c) {
  const auto& a = c.attrs_as<PermuteAttrs>();
  const int rank = a.axes.size();
  Dims inverse(rank, 0);
  for (int i = 0; i < rank; ++i) inverse[static_cast<int>(a.axes[i] < 0 ? a.axes[i] + rank : a.axes[i])] = i;
  c.set(0, permute_dims(c.grad(), inverse));
}

// ---- broadcast_to ----
void infer_broadcast_to(InferContext& c) {
  const auto& a = c.attrs_as<ShapeAttrs>();
  const TensorImpl& x = c.tensor(0);
  const int lead = a.shape.size() - x.rank();
  bool fits = lead >= 0;
  for (int i = 0; fits && i < x.rank(); ++i) fits = x.shape[i] == a.shape[lead + i] || x.shape[i] == 1;
  if (!fits)
    fail<ValueError>(c.name(), ": shape must be one that x of shape ", x.shape, " broadcasts to, got ", a.shape);
  check_count(a.shape, c.name());
  OutSpec& out = add_view(c, x);
  out.shape = a.shape;
  out.strides = broadcast_strides(x.shape, x.strides, a.shape);
}

// ---- expand_dims, squeeze ----
void infer_expand_dims(InferContext& c) {
  const auto& a = c.attrs_as<ExpandDimsAttrs>();
  const TensorImpl& x = c.tensor(0);
  const int rank = x.rank() + a.axis.size();
  uint64_t inserted = 0;
  for (const int64_t given : a.axis) {
    if (given < -rank || given >= rank) {  // the array API's exception here
      fail<IndexError>(c.name(), ": axis must be in [", -rank, ", ", rank, "), got ", given);
    }
    const auto axis = given < 0 ? given + rank : given;
    if ((inserted >> axis & 1u) != 0) fail<ValueError>(c.name(), ": axis must not repeat, got ", a.axis);
    inserted |= uint64_t{1} << axis;
  }
  OutSpec& out = add_view(c, x);
  for (int i = 0, own = 0; i < rank; ++i) {
    const bool is_new = (inserted >> i & 1u) != 0;
    out.shape.push_back(is_new ? 1 : x.shape[own]);
    out.strides.push_back(is_new ? 0 : x.strides[own++]);
  }
}

void infer_squeeze(InferContext& c) {
  const auto& a = c.attrs_as<OptAxesAttrs>();
  const TensorImpl& x = c.tensor(0);
  uint32_t dropped = 0;
  if (a.axis.has) {
    for (const int64_t given : a.axis.value) {
      const int axis = axis_of(given, x, c.name());
      if (x.shape[axis] != 1) {
        fail<ValueError>(c.name(), ": axis must name an axis of length 1, got ", given, " of length ", x.shape[axis],
                         " (x has shape ", x.shape, ")");
      }
      dropped |= 1u << axis;
    }
  } else {
    for (int i = 0; i < x.rank(); ++i) dropped |= x.shape[i] == 1 ? 1u << i : 0u;
  }
  OutSpec& out = add_view(c, x);
  for (int i = 0; i < x.rank(); ++i) {
    if ((dropped >> i & 1u) != 0) continue;
    out.shape.push_back(x.shape[i]);
    out.strides.push_back(x.strides[i]);
  }
}

void reshape_vjp(VjpContext& c) { c.set(0, reshape(c.grad(), c.input_shape(0))); }

// ---- reshape ----
void infer_reshape(InferContext& c) {
  const TensorImpl& x = c.tensor(0);
  OutSpec& out = add_view(c, x);
  out.shape = resolve_shape(c.attrs_as<ShapeAttrs>().shape, x.shape, c.name());
  if (!reshape_strides(x.shape, x.strides, out.shape, out.strides)) {
    fail<ValueError>(c.name(), ": x must have strides that allow a view of shape ", out.shape,
                     " (or copy it first), got ", x.strides, " (x has shape ", x.shape, ")");
  }
}

// ---- flip ----
void infer_flip(InferContext& c) {
  const auto& a = c.attrs_as<OptAxesAttrs>();
  const TensorImpl& x = c.tensor(0);
  OutSpec& out = add_view(c, x);
  out.shape = x.shape;
  out.strides = x.strides;
  const Dims axes = a.axis.has ? normalize_axes(a.axis.value, x.rank(), c.name()) : Dims();
  for (int i = 0, k = 0; i < x.rank(); ++i) {
    if (a.axis.has && (k >= axes.size() || axes[k] != i)) continue;
    ++k;
    if (x.numel != 0) out.offset += (x.shape[i] - 1) * x.strides[i];
    out.strides[i] = -x.strides[i];
  }
}

// ---- diagonal ----
void infer_diagonal(InferContext& c) {
  const auto& a = c.attrs_as<DiagonalAttrs>();
  const TensorImpl& x = c.tensor(0);
  if (x.rank() < 2)
    fail<ValueError>(c.name(), ": x must have rank at least 2, got ", x.rank(), " (shape ", x.shape, ")");
  const int first = axis_of(a.axis1, x, c.name(), "axis1");
  const int second = axis_of(a.axis2, x, c.name(), "axis2");
  if (first == second) fail<ValueError>(c.name(), ": axis1 and axis2 must differ, got ", a.axis1, " and ", a.axis2);
  OutSpec& out = add_view(c, x);
  for (int i = 0; i < x.rank(); ++i) {
    if (i == first || i == second) continue;
    out.shape.push_back(x.shape[i]);
    out.strides.push_back(x.strides[i]);
  }
  const int64_t below = a.offset < 0 ? -a.offset : 0;
  const int64_t right = a.offset > 0 ? a.offset : 0;
  const int64_t rows = x.shape[first] - below;
  const int64_t columns = x.shape[second] - right;
  const int64_t length = rows < columns ? rows : columns;
  if (length > 0) out.offset += below * x.strides[first] + right * x.strides[second];
  out.shape.push_back(length > 0 ? length : 0);
  out.strides.push_back(x.strides[first] + x.strides[second]);
}

// ---- as_strided, view_adjoint, view_scatter ----
void require_contiguous(const InferContext& c, const TensorImpl& x) {
  if (!x.contiguous) {
    fail<ValueError>(c.name(), ": ", c.op.inputs[0].name, " must be contiguous, got strides ", x.strides, " for shape ",
                     x.shape);
  }
}

void infer_as_strided(InferContext& c) {
  const auto& a = c.attrs_as<RegionAttrs>();
  const TensorImpl& x = c.tensor(0);
  require_contiguous(c, x);
  check_geometry({a.shape, a.strides, a.offset}, x.numel, c.name());
  OutSpec& out = add_view(c, x);
  out.shape = a.shape;
  out.strides = a.strides;
  out.offset += a.offset;
}

void infer_view_adjoint(InferContext& c) {
  const auto& a = c.attrs_as<ViewAdjointAttrs>();
  const TensorImpl& g = c.tensor(0);
  check_geometry({a.shape, a.strides, a.offset}, numel_of(a.base_shape, c.name()), c.name());
  if (g.shape != a.shape) fail<ValueError>(c.name(), ": g must have shape ", a.shape, ", got ", g.shape);
  add_moved(c, g, a.base_shape);
}

void vjp_view_adjoint(VjpContext& c) {
  const auto& a = c.attrs_as<ViewAdjointAttrs>();
  c.set(0, as_strided(contiguous_of(c.grad()), {a.shape, a.strides, a.offset}));
}

void infer_view_scatter(InferContext& c) {
  const auto& a = c.attrs_as<RegionAttrs>();
  const TensorImpl& base = c.tensor(0);
  require_contiguous(c, base);
  check_geometry({a.shape, a.strides, a.offset}, base.numel, c.name());
  if (may_overlap(a.shape, a.strides)) {
    fail<ValueError>(c.name(), ": the view must not hold an element twice, got strides ", a.strides, " for shape ",
                     a.shape);
  }
  if (c.in[1].is_tensor()) {
    const TensorImpl& src = c.tensor(1);
    if (src.dtype != base.dtype) {
      fail<TypeError>(c.name(), ": src must have dtype ", base.dtype, ", got ", src.dtype);
    }
    if (broadcast_shapes(src.shape, a.shape, c.name()) != a.shape) {
      fail<ValueError>(c.name(), ": src must broadcast to ", a.shape, ", got ", src.shape);
    }
  }
  add_moved(c, base, base.shape);
}

void vjp_view_scatter(VjpContext& c) {
  const auto& a = c.attrs_as<RegionAttrs>();
  const ViewGeometry geometry{a.shape, a.strides, a.offset};
  const Tensor g = contiguous_of(c.grad());
  if (c.wants(0)) {
    const Scalar zero =
        is_complex(c.input_dtype(0)) || is_floating(c.input_dtype(0)) ? Scalar::of_float(0.0) : Scalar();
    c.set(0, view_scatter(g, zero, geometry));
  }
  if (c.wants(1)) c.set(1, sum_to(as_strided(g, geometry), c.input_shape(1)));
}

// ---- split, unstack ----

// Each piece is a tensor of its own; more of them are a mistake, and would take the memory before anybody noticed.
void check_pieces(const InferContext& c, int64_t count, const Shape& shape) {
  constexpr int64_t kMostPieces = int64_t{1} << 20;
  if (count > kMostPieces) {
    fail<ValueError>(c.name(), ": results must be at most ", kMostPieces, " tensors, got ", count, " (x has shape ",
                     shape, ")");
  }
}

Dims section_sizes(const SplitAttrs& a, int64_t length, const char* op) {
  if (a.sizes.has) {
    int64_t left = length;
    for (const int64_t n : a.sizes.value) {
      if (n < 0) fail<ValueError>(op, ": sizes must not be negative, got ", a.sizes.value);
      left = n <= left ? left - n : -1;
      if (left < 0) break;
    }
    if (left != 0) {
      fail<ValueError>(op, ": sizes must sum to the length ", length, " of the axis, got ", a.sizes.value);
    }
    return a.sizes.value;
  }
  return {};
}

void infer_split(InferContext& c) {
  const auto& a = c.attrs_as<SplitAttrs>();
  const TensorImpl& x = c.tensor(0);
  const int axis = axis_of(a.axis, x, c.name());
  const int64_t length = x.shape[axis];
  const Dims sizes = section_sizes(a, length, c.name());
  if (!a.sizes.has && a.size < 1) fail<ValueError>(c.name(), ": size must be at least 1, got ", a.size);
  const int64_t count = a.sizes.has ? sizes.size() : length == 0 ? 1 : (length - 1) / a.size + 1;
  check_pieces(c, count, x.shape);
  int64_t at = 0;
  for (int64_t k = 0; k < count; ++k) {
    const int64_t left = length - at;
    const int64_t n = a.sizes.has ? sizes[static_cast<int>(k)] : left < a.size ? left : a.size;
    OutSpec& out = add_view(c, x);
    out.shape = x.shape;
    out.shape[axis] = n;
    out.strides = x.strides;
    if (n > 0) out.offset += at * x.strides[axis];
    at += n;
  }
}

void infer_unstack(InferContext& c) {
  const TensorImpl& x = c.tensor(0);
  const int axis = axis_of(c.attrs_as<AxisAttrs>().axis, x, c.name());
  check_pieces(c, x.shape[axis], x.shape);
  Shape shape = x.shape;
  Strides strides = x.strides;
  shape.erase(axis);
  strides.erase(axis);
  for (int64_t k = 0; k < x.shape[axis]; ++k) {
    OutSpec& out = add_view(c, x);
    out.shape = shape;
    out.strides = strides;
    out.offset += k * x.strides[axis];
  }
}

// Gradients of several outputs: those that none arrived for are zeros of their shape.
SmallVector<Tensor, 4> filled_gradients(const VjpContext& c) {
  const SmallVector<OutSpec, 2> outs = infer_again(c);
  Tensor some;
  for (const Tensor& g : c.grads) some = g ? g : some;
  SmallVector<Tensor, 4> all;
  for (int k = 0; k < outs.size(); ++k) {
    const Tensor& g = c.grads[static_cast<size_t>(k)];
    if (g) {
      all.push_back(g);
      continue;
    }
    // The adjoint of an empty view is a zero tensor of the base's shape, on the right device.
    const Tensor nothing = as_strided(contiguous_of(some), {{0}, {1}, 0});
    all.push_back(view_adjoint(nothing, outs[k].shape, {{0}, {1}, 0}));
  }
  return all;
}

void vjp_split(VjpContext& c) {
  const SmallVector<Tensor, 4> all = filled_gradients(c);
  c.set(0, concat({all.data(), static_cast<size_t>(all.size())}, c.attrs_as<SplitAttrs>().axis));
}

void vjp_unstack(VjpContext& c) {
  const SmallVector<Tensor, 4> all = filled_gradients(c);
  c.set(0, stack({all.data(), static_cast<size_t>(all.size())}, c.attrs_as<AxisAttrs>().axis));
}

// ---- registration ----
const OpDef* add_view_op(Registry& registry, OpDef op) {
  op.flags.view = true;
  op.flags.linear = true;
  return &registry.add(std::move(op));
}

void register_views(Registry& registry) {
  {
    OpDef op;
    op.name = "index_view";
    op.doc = "Cut a view by a start, a step and a length for each axis; what x[1, ::2, None, ...] does.";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.attrs = &schema_of<IndexViewAttrs>();
    op.infer = infer_index_view;
    op.vjp = adjoint_vjp;
    op.onnx = {nullptr, 0, "exported as Slice, Squeeze and Unsqueeze"};
    op.flags.internal = true;
    shape_ops.index_view = add_view_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "permute_dims";
    op.doc = "Reorder the axes of a tensor, as a view.";
    op.details = R"(Args:
    x (...) any: the tensor.
    axes (tuple of int): for each axis of the result, the axis of x it is; negative axes count from the end.

Returns:
    (...) any: a view of x.

Raises:
    ValueError: axes is no permutation.

Example:
    >>> import gorgo as gg
    >>> gg.permute_dims(gg.zeros((2, 3, 5)), (2, 0, 1)).shape
    (5, 2, 3)
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.attrs = &schema_of<PermuteAttrs>();
    op.infer = infer_permute;
    op.vjp = vjp_permute;
    op.onnx = {"Transpose", 1, nullptr};
    shape_ops.permute_dims = add_view_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "broadcast_to";
    op.doc = "Repeat a tensor to a shape it broadcasts to, as a view that cannot be written.";
    op.details = R"(Args:
    x (...) any: the tensor.
    shape (tuple of int): the shape to broadcast to.

Returns:
    (*shape) any: a view of x with strides of 0 where it repeats.

Raises:
    ValueError: x does not broadcast to shape.

Example:
    >>> import gorgo as gg
    >>> gg.broadcast_to(gg.asarray([1, 2]), (2, 2)).tolist()
    [[1, 2], [1, 2]]
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.attrs = &schema_of<ShapeAttrs>();
    op.infer = infer_broadcast_to;
    op.vjp = [](VjpContext& c) { c.set(0, sum_to(c.grad(), c.input_shape(0))); };
    op.onnx = {"Expand", 8, nullptr};
    shape_ops.broadcast_to = add_view_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "expand_dims";
    op.doc = "Insert axes of length one, as a view.";
    op.details = R"(Args:
    x (...) any: the tensor.
    axis (int or tuple of int): where the new axes are in the result.

Returns:
    (...) any: a view of x.

Raises:
    IndexError: an axis is out of range.
    ValueError: an axis repeats.

Example:
    >>> import gorgo as gg
    >>> gg.expand_dims(gg.zeros((3,)), axis=0).shape
    (1, 3)
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.attrs = &schema_of<ExpandDimsAttrs>();
    op.infer = infer_expand_dims;
    op.vjp = reshape_vjp;
    op.onnx = {"Unsqueeze", 1, nullptr};
    shape_ops.expand_dims = add_view_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "squeeze";
    op.doc = "Take away axes of length one, as a view.";
    op.details = R"(Args:
    x (...) any: the tensor.
    axis (int or tuple of int, optional): the axes; all of length one when None.

Returns:
    (...) any: a view of x.

Raises:
    ValueError: an axis is out of range or has another length.

Example:
    >>> import gorgo as gg
    >>> gg.squeeze(gg.zeros((1, 3, 1)), axis=0).shape
    (3, 1)
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.attrs = &schema_of<OptAxesAttrs>();
    op.infer = infer_squeeze;
    op.vjp = reshape_vjp;
    op.onnx = {"Squeeze", 1, nullptr};
    shape_ops.squeeze = add_view_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "reshape";
    op.doc = "Give a tensor another shape with the same elements in row-major order; a view where strides allow.";
    op.details = R"(Args:
    x (...) any: the tensor.
    shape (tuple of int): the shape; one size may be -1 and is inferred.

Returns:
    (*shape) any: a view of x, or of a copy where the strides of x allow no view.

Raises:
    ValueError: the shape does not have as many elements as x.

Example:
    >>> import gorgo as gg
    >>> gg.reshape(gg.asarray([1, 2, 3, 4]), (2, -1)).tolist()
    [[1, 2], [3, 4]]
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.attrs = &schema_of<ShapeAttrs>();
    op.infer = infer_reshape;
    op.vjp = reshape_vjp;
    op.onnx = {"Reshape", 5, nullptr};
    shape_ops.reshape = add_view_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "flip";
    op.doc = "Reverse the order of elements along axes, as a view.";
    op.details = R"(Args:
    x (...) any: the tensor.
    axis (int or tuple of int, optional): the axes; all when None.

Returns:
    (...) any: a view of x.

Raises:
    ValueError: an axis is out of range or repeats.

Example:
    >>> import gorgo as gg
    >>> gg.flip(gg.asarray([1, 2, 3])).tolist()
    [3, 2, 1]
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.attrs = &schema_of<OptAxesAttrs>();
    op.infer = infer_flip;
    op.vjp = [](VjpContext& c) { c.set(0, flip(c.grad(), c.attrs_as<OptAxesAttrs>().axis)); };
    op.onnx = {nullptr, 0, "exported as Slice with a step of -1"};
    shape_ops.flip = add_view_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "diagonal";
    op.doc = "Cut the diagonal of two axes, as a view whose last axis runs along it.";
    op.details = R"(Args:
    x (..., m, n) any: the tensor.
    offset (int): 0 is the main diagonal, positive ones lie above it, negative ones below.
    axis1 (int): the axis that counts rows.
    axis2 (int): the axis that counts columns.

Returns:
    (..., k) any: a view of x.

Raises:
    ValueError: x has rank below 2, or an axis is out of range or repeats.

Example:
    >>> import gorgo as gg
    >>> gg.diagonal(gg.asarray([[1, 2], [3, 4]])).tolist()
    [1, 4]
)";
    op.inputs = {{.name = "x", .shape_doc = "(..., m, n) any"}};
    op.attrs = &schema_of<DiagonalAttrs>();
    op.infer = infer_diagonal;
    op.vjp = adjoint_vjp;
    op.onnx = {nullptr, 0, "ONNX has no operator for a diagonal"};
    shape_ops.diagonal = add_view_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "as_strided";
    op.doc = "View a contiguous tensor under any shape, strides and offset that stay within it.";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.attrs = &schema_of<RegionAttrs>();
    op.infer = infer_as_strided;
    op.vjp = adjoint_vjp;
    op.onnx = {nullptr, 0, "ONNX has no strides"};
    op.flags.internal = true;
    shape_ops.as_strided = add_view_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "split";
    op.doc = "Cut a tensor along an axis into sections, as views.";
    op.details = R"(Args:
    x (...) any: the tensor.
    size (int): length of each section; the last one may be shorter.
    sizes (tuple of int, optional): lengths of the sections instead, at most 32.
    axis (int): the axis to cut.

Returns:
    list of (...) any: views of x.

Raises:
    ValueError: the axis is out of range, or the lengths do not sum to the axis's.

Example:
    >>> import gorgo as gg
    >>> [part.tolist() for part in gg.split(gg.asarray([1, 2, 3]), 2)]
    [[1, 2], [3]]
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.outputs = {"sections"};
    op.attrs = &schema_of<SplitAttrs>();
    op.infer = infer_split;
    op.vjp = vjp_split;
    op.onnx = {"Split", 13, nullptr};
    shape_ops.split = add_view_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "unstack";
    op.doc = "Cut a tensor along an axis into its entries, as views without that axis.";
    op.details = R"(Args:
    x (...) any: the tensor.
    axis (int): the axis to cut.

Returns:
    list of (...) any: one view for each index of the axis.

Raises:
    ValueError: the axis is out of range.

Example:
    >>> import gorgo as gg
    >>> [row.tolist() for row in gg.unstack(gg.asarray([[1, 2], [3, 4]]))]
    [[1, 2], [3, 4]]
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.outputs = {"entries"};
    op.attrs = &schema_of<AxisAttrs>();
    op.infer = infer_unstack;
    op.vjp = vjp_unstack;
    op.onnx = {nullptr, 0, "exported as Split and Squeeze"};
    shape_ops.unstack = add_view_op(registry, std::move(op));
  }
}

void register_shape_adjoints(Registry& registry) {
  {
    OpDef op;
    op.name = "view_adjoint";
    op.doc = "Add a view's elements into zeros of its base's shape.";
    op.inputs = {{.name = "g", .shape_doc = "(...) float or complex"}};
    op.attrs = &schema_of<ViewAdjointAttrs>();
    op.infer = infer_view_adjoint;
    op.vjp = vjp_view_adjoint;
    op.onnx = {nullptr, 0, "ONNX has no strides"};
    op.flags.internal = true;
    shape_ops.view_adjoint = add_move_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "view_scatter";
    op.doc = "Replace the elements of a view in the value of its base.";
    op.inputs = {{.name = "base", .shape_doc = "(...) any"},
                 {.name = "src", .takes_scalar = true, .shape_doc = "(...) any"}};
    op.attrs = &schema_of<RegionAttrs>();
    op.infer = infer_view_scatter;
    op.vjp = vjp_view_scatter;
    op.onnx = {nullptr, 0, "ONNX has no strides"};
    op.flags.internal = true;
    op.flags.inplace_ok = true;
    shape_ops.view_scatter = add_move_op(registry, std::move(op));
  }
}

}  // namespace

void register_shape(Registry& registry) {
  register_views(registry);
  register_shape_adjoints(registry);
  register_moves(registry);
  register_padding(registry);
}

Tensor slice(const Tensor& x, int64_t axis, int64_t start, int64_t length, int64_t step) {
  const int at = normalize_axis(axis, x->rank(), "slice");
  IndexViewAttrs attrs{Dims(x->rank(), 0), Dims(x->rank(), 1), x->shape, {}};
  attrs.start[at] = start;
  attrs.step[at] = step;
  attrs.length[at] = length;
  return index_view(x, attrs);
}

Tensor select(const Tensor& x, int64_t axis, int64_t i) { return slice(x, axis, i, IndexViewAttrs::kDropAxis); }

Tensor transpose(const Tensor& x, int64_t axis1, int64_t axis2) {
  const int first = axis_of(axis1, *x, "transpose", "axis1");
  const int second = axis_of(axis2, *x, "transpose", "axis2");
  PermuteAttrs attrs{Dims(x->rank(), 0)};
  for (int i = 0; i < x->rank(); ++i) attrs.axes[i] = i == first ? second : i == second ? first : i;
  return invoke(*shape_ops.permute_dims, {x}, &attrs);
}

Shape resolve_shape(const Shape& shape, const Shape& from, const char* op) {
  int64_t have = 1;
  for (const int64_t d : from) have *= d;
  int64_t known = 1;
  int open = -1;
  bool right = true;
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1 && open < 0) {
      open = i;
    } else {
      right = right && shape[i] >= 0 && !__builtin_mul_overflow(known, shape[i], &known);
    }
  }
  Shape out = shape;
  if (right && open >= 0 && known != 0 && have % known == 0) {
    out[open] = have / known;
    return out;
  }
  if (!right || open >= 0 || known != have) {
    fail<ValueError>(op, ": shape must have ", have, " elements, with at most one size of -1, got ", shape,
                     " (x has shape ", from, ")");
  }
  return out;
}

Tensor reshape(const Tensor& x, const Shape& shape, CopyRule copy) {
  const ShapeAttrs attrs{resolve_shape(shape, x->shape, "reshape")};
  bool needs_copy = copy == CopyRule::Always;
  if (copy == CopyRule::IfNeeded && !x->contiguous) {
    Strides strides;
    needs_copy = !reshape_strides(x->shape, x->strides, attrs.shape, strides);
  }
  if (!needs_copy) return invoke(*shape_ops.reshape, {x}, &attrs);
  return invoke(*shape_ops.reshape, {copy_of(x)}, &attrs);
}

Tensor as_strided(const Tensor& x, const ViewGeometry& geometry) {
  const RegionAttrs attrs{geometry.shape, geometry.strides, geometry.offset};
  return invoke(*shape_ops.as_strided, {x}, &attrs);
}

Outputs split(const Tensor& x, int64_t size, int64_t axis) {
  const SplitAttrs attrs{size, {}, axis};
  const Arg arg(x);
  return invoke_all(*shape_ops.split, {&arg, 1}, &attrs);
}

Outputs split(const Tensor& x, const Dims& sizes, int64_t axis) {
  const SplitAttrs attrs{1, sizes, axis};
  const Arg arg(x);
  return invoke_all(*shape_ops.split, {&arg, 1}, &attrs);
}

Outputs unstack(const Tensor& x, int64_t axis) {
  const AxisAttrs attrs{axis};
  const Arg arg(x);
  return invoke_all(*shape_ops.unstack, {&arg, 1}, &attrs);
}

Tensor view_adjoint(const Tensor& g, const Shape& base_shape, const ViewGeometry& geometry) {
  // Axes that repeat one element are summed first; what is left coincides only for windows that as_strided cut.
  Shape shape = geometry.shape;
  for (int i = 0; i < shape.size(); ++i) {
    if (geometry.strides[i] == 0 && shape[i] > 1) shape[i] = 1;
  }
  const ViewAdjointAttrs attrs{base_shape, shape, geometry.strides, geometry.offset,
                               may_overlap(shape, geometry.strides)};
  return invoke(*shape_ops.view_adjoint, {shape == geometry.shape ? g : sum_to(g, shape)}, &attrs);
}

Tensor view_scatter(const Tensor& base, const Arg& src, const ViewGeometry& geometry) {
  const RegionAttrs attrs{geometry.shape, geometry.strides, geometry.offset};
  return invoke(*shape_ops.view_scatter, {base, src}, &attrs);
}

}  // namespace gorgo
