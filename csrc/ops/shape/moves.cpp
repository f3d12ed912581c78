// The shape family's ops that copy elements: concat, stack, tile, roll, repeat, tril, triu.
//
// Read next: shape.h, kernels_cpu.cpp.
#include "ops/reduce/reduce.h"
#include "ops/shape/register.h"
#include "ops/shape/shape.h"

namespace gorgo {
namespace {

// ---- concat, stack ----
DType joined_dtype(InferContext& c) {
  const auto count = static_cast<int>(c.in.size());
  if (count == 0) fail<ValueError>(c.name(), ": arrays must hold at least one tensor, got none");
  DType dtype = c.dtype(0);
  for (int i = 1; i < count; ++i) dtype = promote(dtype, c.dtype(i));
  for (int i = 0; i < count; ++i) {
    if (c.dtype(i) != dtype) c.cast_mask |= 1u << (i < 31 ? i : 31);
  }
  c.compute_dtype = dtype;
  return dtype;
}

void infer_concat(InferContext& c) {
  const DType dtype = joined_dtype(c);
  const OptInt given = c.attrs_as<ConcatAttrs>().axis;
  if (!given.has) {
    int64_t count = 0;
    for (int k = 0; k < static_cast<int>(c.in.size()); ++k) {
      if (__builtin_add_overflow(count, c.tensor(k).numel, &count)) {
        fail<OverflowError>(c.name(), ": the result must have fewer than 2**63 elements");
      }
    }
    check_count({count}, c.name());
    c.add_output(dtype, {count});
    return;
  }
  const int axis = axis_of(given.value, c.tensor(0), c.name());
  Shape shape = c.shape(0);
  for (int k = 1; k < static_cast<int>(c.in.size()); ++k) {
    const Shape& other = c.shape(k);
    bool same = other.size() == shape.size();
    for (int i = 0; same && i < shape.size(); ++i) same = i == axis || other[i] == shape[i];
    if (!same) {
      fail<ValueError>(c.name(), ": arrays must have the same shape but for axis ", axis, ", got ", c.shape(0), " and ",
                       other, " (at position ", k, ")");
    }
    if (__builtin_add_overflow(shape[axis], other[axis], &shape[axis])) {
      fail<OverflowError>(c.name(), ": axis ", axis, " must have fewer than 2**63 elements");
    }
  }
  check_count(shape, c.name());
  c.add_output(dtype, shape);
}

void vjp_concat(VjpContext& c) {
  const int rank = c.input_shape(0).size();
  const OptInt given = c.attrs_as<ConcatAttrs>().axis;
  const int axis = given.has ? normalize_axis(given.value, rank, c.op.name) : 0;
  int64_t at = 0;
  for (int k = 0; k < static_cast<int>(c.input_metas.size()); ++k) {
    const Shape& shape = c.input_shape(k);
    const int64_t n = given.has ? shape[axis] : numel_of(shape, c.op.name);
    if (c.wants(k)) {
      const Tensor part = slice(c.grad(), axis, at, n);
      c.set(k, given.has ? part : reshape(part, shape));
    }
    at += n;
  }
}

void infer_stack(InferContext& c) {
  const DType dtype = joined_dtype(c);
  Shape shape = c.shape(0);
  const int axis = normalize_axis(c.attrs_as<AxisAttrs>().axis, shape.size() + 1, c.name());
  for (int k = 1; k < static_cast<int>(c.in.size()); ++k) {
    if (c.shape(k) != shape) {
      fail<ValueError>(c.name(), ": arrays must have the same shape, got ", shape, " and ", c.shape(k),
                       " (at position ", k, ")");
    }
  }
  shape.insert(axis, static_cast<int64_t>(c.in.size()));
  check_count(shape, c.name());
  c.add_output(dtype, shape);
}

void vjp_stack(VjpContext& c) {
  const int64_t axis = c.attrs_as<AxisAttrs>().axis;
  for (int k = 0; k < static_cast<int>(c.input_metas.size()); ++k) {
    if (c.wants(k)) c.set(k, select(c.grad(), axis, k));
  }
}

// ---- tile, repeat, roll, triangles ----
int64_t times(int64_t a, int64_t b, const char* op) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    fail<OverflowError>(op, ": result must have fewer than 2**63 elements, got a length of ", a, " times ", b);
  }
  return product;
}

void infer_tile(InferContext& c) {
  const auto& a = c.attrs_as<TileAttrs>();
  const TensorImpl& x = c.tensor(0);
  const int rank = x.rank() > a.repetitions.size() ? x.rank() : a.repetitions.size();
  Shape shape(rank, 1);
  for (int i = 0; i < x.rank(); ++i) shape[rank - x.rank() + i] = x.shape[i];
  for (int i = 0; i < a.repetitions.size(); ++i) {
    const int64_t n = a.repetitions[i];
    if (n < 0) fail<ValueError>(c.name(), ": repetitions must not be negative, got ", a.repetitions);
    int64_t& length = shape[rank - a.repetitions.size() + i];
    length = times(length, n, c.name());
  }
  add_moved(c, x, shape);
}

void vjp_tile(VjpContext& c) {
  // Cut each axis into (copies, own length) and sum over the copies.
  const auto& a = c.attrs_as<TileAttrs>();
  const Shape& own = c.input_shape(0);
  const int rank = c.grad()->rank();
  Tensor g = dense_grad(c);
  Dims copies(rank, 1);
  for (int i = 0; i < a.repetitions.size(); ++i) copies[rank - a.repetitions.size() + i] = a.repetitions[i];
  for (int i = rank - 1; i >= 0; --i) {
    if (copies[i] == 1) continue;
    const int64_t length = i >= rank - own.size() ? own[i - (rank - own.size())] : 1;
    Shape cut = g->shape;
    cut[i] = copies[i];
    cut.insert(i + 1, length);
    // Summing one axis at a time keeps the rank within bounds.
    Shape kept = cut;
    kept[i] = 1;
    g = sum_to(reshape(g, cut), kept);
    kept.erase(i);
    g = reshape(g, kept);
  }
  c.set(0, reshape(g, own));
}

void infer_repeat(InferContext& c) {
  const auto& a = c.attrs_as<RepeatAttrs>();
  const TensorImpl& x = c.tensor(0);
  if (a.repeats < 0) fail<ValueError>(c.name(), ": repeats must not be negative, got ", a.repeats);
  Shape shape = x.shape;
  if (a.axis.has) {
    int64_t& length = shape[axis_of(a.axis.value, x, c.name())];
    length = times(length, a.repeats, c.name());
  } else {
    shape = {times(x.numel, a.repeats, c.name())};
  }
  add_moved(c, x, shape);
}

void vjp_repeat(VjpContext& c) {
  const auto& a = c.attrs_as<RepeatAttrs>();
  const Shape& own = c.input_shape(0);
  const int axis = a.axis.has ? normalize_axis(a.axis.value, own.size(), c.op.name) : own.size() - 1;
  Shape cut = own;
  cut.insert(axis + 1, a.repeats);
  Shape kept = cut;
  kept[axis + 1] = 1;
  c.set(0, reshape(sum_to(reshape(dense_grad(c), cut), kept), own));
}

void infer_roll(InferContext& c) {
  const auto& a = c.attrs_as<RollAttrs>();
  const TensorImpl& x = c.tensor(0);
  if (a.axis.has) {
    for (const int64_t axis : a.axis.value) static_cast<void>(axis_of(axis, x, c.name()));
    if (a.shift.size() != 1 && a.shift.size() != a.axis.value.size()) {
      fail<ValueError>(c.name(), ": shift must be one integer or one per axis in ", a.axis.value, ", got ", a.shift);
    }
  } else if (a.shift.size() != 1) {
    fail<ValueError>(c.name(), ": shift must be one integer when axis is None, got ", a.shift);
  }
  add_moved(c, x, x.shape);
}

void vjp_roll(VjpContext& c) {
  const auto& a = c.attrs_as<RollAttrs>();
  Dims back = a.shift;
  for (int64_t& s : back) s = s == INT64_MIN ? s : -s;
  c.set(0, roll(c.grad(), back, a.axis));
}

void infer_triangle(InferContext& c) {
  const TensorImpl& x = c.tensor(0);
  if (x.rank() < 2)
    fail<ValueError>(c.name(), ": x must have rank at least 2, got ", x.rank(), " (shape ", x.shape, ")");
  add_moved(c, x, x.shape);
}

}  // namespace

void register_moves(Registry& registry) {
  {
    OpDef op;
    op.name = "concat";
    op.doc = "Lay tensors end to end along an axis.";
    op.details = R"(Args:
    arrays (list of (...) any): the tensors; shapes agree but for the axis, dtypes are promoted.
    axis (int, optional): the axis along which they are laid; None flattens them first, whatever their shapes.

Returns:
    (...) any: a new tensor.

Raises:
    ValueError: there are no arrays, shapes disagree, or the axis is out of range.

Example:
    >>> import gorgo as gg
    >>> gg.concat([gg.asarray([1, 2]), gg.asarray([3])]).tolist()
    [1, 2, 3]
)";
    op.inputs = {{.name = "arrays", .kind = SlotKind::List, .shape_doc = "(...) any"}};
    op.attrs = &schema_of<ConcatAttrs>();
    op.infer = infer_concat;
    op.vjp = vjp_concat;
    op.onnx = {"Concat", 4, nullptr};
    shape_ops.concat = add_move_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "stack";
    op.doc = "Lay tensors of one shape along a new axis.";
    op.details = R"(Args:
    arrays (list of (...) any): the tensors; dtypes are promoted.
    axis (int): where the new axis is in the result.

Returns:
    (...) any: a new tensor.

Raises:
    ValueError: there are no arrays, shapes differ, or the axis is out of range.

Example:
    >>> import gorgo as gg
    >>> gg.stack([gg.asarray([1, 2]), gg.asarray([3, 4])], axis=1).tolist()
    [[1, 3], [2, 4]]
)";
    op.inputs = {{.name = "arrays", .kind = SlotKind::List, .shape_doc = "(...) any"}};
    op.attrs = &schema_of<AxisAttrs>();
    op.infer = infer_stack;
    op.vjp = vjp_stack;
    op.onnx = {nullptr, 0, "exported as Unsqueeze and Concat"};
    shape_ops.stack = add_move_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "tile";
    op.doc = "Lay copies of a tensor beside each other.";
    op.details = R"(Args:
    x (...) any: the tensor.
    repetitions (tuple of int): how many copies along each axis, aligned with the last axes.

Returns:
    (...) any: a new tensor.

Raises:
    ValueError: a count is negative.

Example:
    >>> import gorgo as gg
    >>> gg.tile(gg.asarray([1, 2]), (2, 2)).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.attrs = &schema_of<TileAttrs>();
    op.infer = infer_tile;
    op.vjp = vjp_tile;
    op.onnx = {"Tile", 6, nullptr};
    shape_ops.tile = add_move_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "roll";
    op.doc = "Shift elements along axes; what falls off one end comes back at the other.";
    op.details = R"(Args:
    x (...) any: the tensor.
    shift (int or tuple of int): how far, one for all axes or one for each.
    axis (int or tuple of int, optional): the axes; None rolls the flattened tensor.

Returns:
    (...) any: a new tensor of x's shape.

Raises:
    ValueError: an axis is out of range, or shift and axis differ in length.

Example:
    >>> import gorgo as gg
    >>> gg.roll(gg.asarray([1, 2, 3]), 1).tolist()
    [3, 1, 2]
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.attrs = &schema_of<RollAttrs>();
    op.infer = infer_roll;
    op.vjp = vjp_roll;
    op.onnx = {nullptr, 0, "exported as Slice and Concat"};
    shape_ops.roll = add_move_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "repeat";
    op.doc = "Repeat each element along an axis.";
    op.details = R"(Args:
    x (...) any: the tensor.
    repeats (int): how often each element stands in the result.
    axis (int, optional): the axis; None repeats in the flattened tensor.

Returns:
    (...) any: a new tensor.

Raises:
    ValueError: repeats is negative or the axis is out of range.

Example:
    >>> import gorgo as gg
    >>> gg.repeat(gg.asarray([1, 2]), 2).tolist()
    [1, 1, 2, 2]
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.attrs = &schema_of<RepeatAttrs>();
    op.infer = infer_repeat;
    op.vjp = vjp_repeat;
    op.onnx = {nullptr, 0, "exported as Unsqueeze, Expand and Reshape"};
    shape_ops.repeat = add_move_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "tril";
    op.doc = "Keep the elements on and below a diagonal; the others become zero.";
    op.details = R"(Args:
    x (..., m, n) any: the tensor.
    k (int): 0 is the main diagonal, positive ones lie above it, negative ones below.

Returns:
    (..., m, n) any: a new tensor.

Raises:
    ValueError: x has rank below 2.

Example:
    >>> import gorgo as gg
    >>> gg.tril(gg.asarray([[1, 2], [3, 4]])).tolist()
    [[1, 0], [3, 4]]
)";
    op.inputs = {{.name = "x", .shape_doc = "(..., m, n) any"}};
    op.attrs = &schema_of<TriangleAttrs>();
    op.infer = infer_triangle;
    op.vjp = [](VjpContext& c) { c.set(0, tril(c.grad(), c.attrs_as<TriangleAttrs>().k)); };
    op.onnx = {"Trilu", 14, nullptr};
    shape_ops.tril = add_move_op(registry, std::move(op));
  }
  {
    OpDef op;
    op.name = "triu";
    op.doc = "Keep the elements on and above a diagonal; the others become zero.";
    op.details = R"(Args:
    x (..., m, n) any: the tensor.
    k (int): 0 is the main diagonal, positive ones lie above it, negative ones below.

Returns:
    (..., m, n) any: a new tensor.

Raises:
    ValueError: x has rank below 2.

Example:
    >>> import gorgo as gg
    >>> gg.triu(gg.asarray([[1, 2], [3, 4]])).tolist()
    [[1, 2], [0, 4]]
)";
    op.inputs = {{.name = "x", .shape_doc = "(..., m, n) any"}};
    op.attrs = &schema_of<TriangleAttrs>();
    op.infer = infer_triangle;
    op.vjp = [](VjpContext& c) { c.set(0, triu(c.grad(), c.attrs_as<TriangleAttrs>().k)); };
    op.onnx = {"Trilu", 14, nullptr};
    shape_ops.triu = add_move_op(registry, std::move(op));
  }
}

namespace {

SmallVector<Arg, 8> arguments(std::span<const Tensor> arrays) {
  SmallVector<Arg, 8> args;
  args.reserve(static_cast<int>(arrays.size()));
  for (const Tensor& t : arrays) args.emplace_back(t);
  return args;
}

}  // namespace

Tensor concat(std::span<const Tensor> arrays, int64_t axis) {
  const ConcatAttrs attrs{axis};
  const SmallVector<Arg, 8> args = arguments(arrays);
  return funnel.call1(*shape_ops.concat, {args.data(), static_cast<size_t>(args.size())}, &attrs);
}

Tensor stack(std::span<const Tensor> arrays, int64_t axis) {
  const AxisAttrs attrs{axis};
  const SmallVector<Arg, 8> args = arguments(arrays);
  return funnel.call1(*shape_ops.stack, {args.data(), static_cast<size_t>(args.size())}, &attrs);
}

}  // namespace gorgo
