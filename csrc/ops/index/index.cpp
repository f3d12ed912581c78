// The index family's ops: what each reads or writes, its gradient, and its facts.
//
// Invariant: infer checks shapes, dtypes and axes; values of indices are the kernels' affair, who report the first bad one.
// Read next: index.h, kernels_cpu.cpp.
#include "ops/index/index.h"

#include "ops/creation/creation.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reduce/reduce.h"
#include "ops/scan/scan.h"
#include "ops/shape/shape.h"
#include "ops/sort/sort.h"

namespace gorgo {

IndexOps index_ops;

namespace {

void require_integers(const InferContext& c, int operand, const char* what) {
  if (!is_integer(c.dtype(operand))) fail<TypeError>(c.name(), ": ", what, " must be integers, got ", c.dtype(operand));
}

[[noreturn]] void raise_out_of_range(const char* op, const Fault& fault, int64_t position, const std::string& where) {
  fail<IndexError>(op, ": index must be in [", -fault.figure(1), ", ", fault.figure(1), "), got ", fault.figure(0),
                   " (position ", position, " of ", where, ")");
}

// For the ops whose operands from `first` on are index tensors; several share positions.
void raise_listed(const char* op, const Fault& fault, const KernelArgs& args, int first) {
  const int count = args.in_count - first;
  const int which = fault.code() - 1;
  raise_out_of_range(op, fault, fault.position() / count,
                     count == 1 ? std::string("indices") : cat("index tensor ", which, ", broadcast"));
}

SmallVector<Arg, 8> arguments(std::initializer_list<Arg> first, std::span<const Tensor> indices) {
  SmallVector<Arg, 8> args;
  args.reserve(static_cast<int>(first.size() + indices.size()));
  for (const Arg& a : first) args.push_back(a);
  for (const Tensor& t : indices) args.emplace_back(t);
  return args;
}

std::span<const Arg> span_of(const SmallVector<Arg, 8>& args) {
  return {args.data(), static_cast<size_t>(args.size())};
}

// The saved index tensors of a call, which are its inputs from `first` on.
std::span<const Tensor> saved_indices(const VjpContext& c, size_t first) { return c.inputs.subspan(first); }

// ---- shapes ----
Shape indexed_shape(const Shape& x, const Dims& axes, const Shape& index_shape) {
  const int rank = x.size();
  const int place = index_place(axes.data(), axes.size(), rank);
  uint32_t indexed = 0;
  for (const int64_t a : axes) indexed |= 1u << (a < 0 ? a + rank : a);
  Shape out;
  int rest = 0;
  for (int i = 0; i <= rank; ++i) {
    if (rest == place && i <= rank) {
      for (const int64_t d : index_shape) out.push_back(d);
      rest = INT32_MIN;  // done
      --i;
      continue;
    }
    if (i == rank) break;
    if ((indexed >> i & 1u) != 0) continue;
    out.push_back(x[i]);
    ++rest;
  }
  return out;
}

// Checks the index operands from `first` on and gives their broadcast shape.
Shape check_indices(const InferContext& c, int first, const Dims& axes, const Shape& x) {
  const int count = static_cast<int>(c.in.size()) - first;
  if (count < 1 || axes.size() != count) {
    fail<ValueError>(c.name(), ": axes must name one axis for each index tensor, got ", axes, " for ", count);
  }
  static_cast<void>(normalize_axes(axes, x.size(), c.name()));
  Shape shape;
  for (int k = 0; k < count; ++k) {
    require_integers(c, first + k, "indices");
    shape = broadcast_shapes(shape, c.shape(first + k), c.name());
  }
  return shape;
}

// ---- take, index ----
void infer_take(InferContext& c) {
  const auto& a = c.attrs_as<TakeAttrs>();
  const TensorImpl& x = c.tensor(0);
  if (!a.axis.has && x.rank() != 1) {
    fail<ValueError>(c.name(), ": axis must be given unless x has rank 1, got None (x has shape ", x.shape, ")");
  }
  const int axis = axis_of(a.axis.has ? a.axis.value : 0, x, c.name());
  require_integers(c, 1, "indices");
  c.compute_dtype = x.dtype;
  const Shape out = indexed_shape(x.shape, {axis}, c.shape(1));
  static_cast<void>(numel_of(out, c.name()));
  c.add_output(x.dtype, out);
}

void vjp_take(VjpContext& c) {
  const auto& a = c.attrs_as<TakeAttrs>();
  c.set(0, index_adjoint(c.grad(), saved_indices(c, 1), {a.axis.has ? a.axis.value : 0}, c.input_shape(0)));
}

void infer_index(InferContext& c) {
  const auto& a = c.attrs_as<IndexAttrs>();
  const TensorImpl& x = c.tensor(0);
  const Shape out = indexed_shape(x.shape, a.axes, check_indices(c, 1, a.axes, x.shape));
  static_cast<void>(numel_of(out, c.name()));
  c.compute_dtype = x.dtype;
  c.add_output(x.dtype, out);
}

void vjp_index(VjpContext& c) {
  c.set(0, index_adjoint(c.grad(), saved_indices(c, 1), c.attrs_as<IndexAttrs>().axes, c.input_shape(0)));
}

void infer_index_adjoint(InferContext& c) {
  const auto& a = c.attrs_as<IndexAdjointAttrs>();
  const TensorImpl& g = c.tensor(0);
  const Shape expected = indexed_shape(a.shape, a.axes, check_indices(c, 1, a.axes, a.shape));
  if (g.shape != expected) fail<ValueError>(c.name(), ": g must have shape ", expected, ", got ", g.shape);
  c.compute_dtype = g.dtype;
  c.add_output(g.dtype, a.shape);
}

// ---- index_put ----
void infer_index_put(InferContext& c) {
  const auto& a = c.attrs_as<IndexPutAttrs>();
  const TensorImpl& x = c.tensor(0);
  const Shape region = indexed_shape(x.shape, a.axes, check_indices(c, 2, a.axes, x.shape));
  if (c.in[1].is_tensor()) {
    if (c.dtype(1) != x.dtype) fail<TypeError>(c.name(), ": values must have dtype ", x.dtype, ", got ", c.dtype(1));
    if (c.shape(1).size() > region.size() || broadcast_shapes(c.shape(1), region, c.name()) != region) {
      fail<ValueError>(c.name(), ": values must broadcast to ", region, ", got ", c.shape(1));
    }
  }
  c.compute_dtype = x.dtype;
  c.add_output(x.dtype, x.shape);
}

// Of several values for one element the last stays, and it alone has a gradient. Each position leaves its number, and those that
// find it again have won: a mask that broadcasts to the values' region, or nothing where no two can meet.
Tensor winners_of_put(const Shape& x, std::span<const Tensor> indices, const Dims& axes) {
  Shape index_shape;
  for (const Tensor& t : indices) index_shape = broadcast_shapes(index_shape, t->shape, "index_put");
  const int64_t positions = numel_of(index_shape, "index_put");
  if (positions <= 1) return {};
  Shape flat(x.size(), 1);  // the axes without indices play no part
  for (const int64_t a : axes) {
    const int axis = static_cast<int>(a < 0 ? a + x.size() : a);
    flat[axis] = x[axis];
  }
  const int behind = x.size() - axes.size() - index_place(axes.data(), axes.size(), x.size());
  Shape numbered = index_shape;
  for (int i = 0; i < behind; ++i) numbered.push_back(1);
  const Tensor numbers = reshape(whole_numbers(positions), numbered);
  const Tensor left = index_put(full(flat, Scalar::of_int(0), DType::Int64), numbers, indices, axes);
  return ops::equal(index(left, indices, axes), numbers);
}

void vjp_index_put(VjpContext& c) {
  const auto& a = c.attrs_as<IndexPutAttrs>();
  const std::span<const Tensor> indices = saved_indices(c, 2);
  const Scalar zero = Scalar::of_float(0.0);
  if (c.wants(0)) c.set(0, a.accumulate ? c.grad() : index_put(c.grad(), zero, indices, a.axes));
  if (c.wants(1)) {
    const Tensor won = a.accumulate ? Tensor() : winners_of_put(c.input_shape(0), indices, a.axes);
    const Tensor g = index(c.grad(), indices, a.axes);
    c.set(1, sum_to(won ? ops::where(won, g, zero) : g, c.input_shape(1)));
  }
}

// ---- along an axis ----
// The shape of take_along_axis: x and indices broadcast, but for the axis, whose length is the indices'.
Shape along_shape(const Shape& x, const Shape& indices, int axis, const char* op) {
  if (indices.size() != x.size()) {
    fail<ValueError>(op, ": indices must have the rank of x, ", x.size(), ", got ", indices.size(), " (shape ", indices,
                     ")");
  }
  Shape open = x;
  open[axis] = 1;
  Shape rest = indices;
  rest[axis] = 1;
  Shape out = broadcast_shapes(open, rest, op);
  out[axis] = indices[axis];
  return out;
}

void infer_take_along(InferContext& c) {
  const TensorImpl& x = c.tensor(0);
  const int axis = axis_of(c.attrs_as<AlongAxisAttrs>().axis, x, c.name());
  require_integers(c, 1, "indices");
  const Shape out = along_shape(x.shape, c.shape(1), axis, c.name());
  static_cast<void>(numel_of(out, c.name()));
  c.compute_dtype = x.dtype;
  c.add_output(x.dtype, out);
}

void vjp_take_along(VjpContext& c) {
  const Shape& own = c.input_shape(0);
  const int axis = normalize_axis(c.attrs_as<AlongAxisAttrs>().axis, own.size(), c.op.name);
  Shape spread = c.grad()->shape;  // x as broadcast against the indices
  spread[axis] = own[axis];
  c.set(0, sum_to(take_along_axis_adjoint(c.grad(), c.input(1), axis, spread), own));
}

void infer_take_along_adjoint(InferContext& c) {
  const auto& a = c.attrs_as<AlongAxisAdjointAttrs>();
  const TensorImpl& g = c.tensor(0);
  const int axis = normalize_axis(a.axis, a.shape.size(), c.name());
  require_integers(c, 1, "indices");
  const Shape expected = along_shape(a.shape, c.shape(1), axis, c.name());
  if (g.shape != expected) fail<ValueError>(c.name(), ": g must have shape ", expected, ", got ", g.shape);
  c.compute_dtype = g.dtype;
  c.add_output(g.dtype, a.shape);
}

void infer_scatter_along(InferContext& c, int64_t given_axis) {
  const TensorImpl& x = c.tensor(0);
  const int axis = axis_of(given_axis, x, c.name());
  require_integers(c, 1, "indices");
  const Shape& indices = c.shape(1);
  bool fits = indices.size() == x.rank();
  for (int i = 0; fits && i < indices.size(); ++i) fits = i == axis || indices[i] <= x.shape[i];
  if (!fits) {
    fail<ValueError>(c.name(), ": indices must have rank ", x.rank(), " and no length above that of x but on axis ",
                     axis, ", got shape ", indices, " (x has shape ", x.shape, ")");
  }
  if (c.in[2].is_tensor()) {
    if (c.dtype(2) != x.dtype) fail<TypeError>(c.name(), ": values must have dtype ", x.dtype, ", got ", c.dtype(2));
    if (c.shape(2).size() > indices.size() || broadcast_shapes(c.shape(2), indices, c.name()) != indices) {
      fail<ValueError>(c.name(), ": values must broadcast to the indices' shape ", indices, ", got ", c.shape(2));
    }
  }
  c.compute_dtype = x.dtype;
  c.add_output(x.dtype, x.shape);
}

void infer_scatter(InferContext& c) { infer_scatter_along(c, c.attrs_as<AlongAxisAttrs>().axis); }

void infer_scatter_combine(InferContext& c) {
  const auto& a = c.attrs_as<ScatterReduceAttrs>();
  infer_scatter_along(c, a.axis);
  if (static_cast<ScatterReduction>(a.reduce.index) != ScatterReduction::Prod && is_complex(c.dtype(0))) {
    fail<TypeError>(c.name(), ": x must have an order, got ", c.dtype(0));
  }
}

// The part of g that indices of a smaller shape can reach.
Tensor reachable(const Tensor& g, const Shape& indices, int axis) {
  Tensor out = g;
  for (int i = 0; i < indices.size(); ++i) {
    if (i != axis && indices[i] < out->shape[i]) out = slice(out, i, 0, indices[i]);
  }
  return out;
}

// A shape of ones but for the length of one axis.
Shape line_shape(int rank, int axis, int64_t length) {
  Shape out(rank, 1);
  out[axis] = length;
  return out;
}

// As winners_of_put, along an axis.
Tensor winners_of_scatter(const Shape& x, const Tensor& indices, int axis) {
  const int64_t length = indices->shape[axis];
  if (length <= 1) return {};
  const Tensor numbers = reshape(whole_numbers(length), line_shape(x.size(), axis, length));
  const Tensor left = scatter(full(x, Scalar::of_int(0), DType::Int64), indices, numbers, axis);
  return ops::equal(gather(left, indices, axis), numbers);
}

void vjp_scatter(VjpContext& c) {
  const bool adds = &c.op == index_ops.scatter_add;
  const int64_t given = c.attrs_as<AlongAxisAttrs>().axis;
  const int axis = normalize_axis(given, c.input_shape(0).size(), c.op.name);
  const Tensor& indices = c.input(1);
  const Scalar zero = Scalar::of_float(0.0);
  if (c.wants(0)) c.set(0, adds ? c.grad() : scatter(c.grad(), indices, zero, axis));
  if (c.wants(2)) {
    const Tensor won = adds ? Tensor() : winners_of_scatter(c.input_shape(0), indices, axis);
    const Tensor g = gather(c.grad(), indices, axis);
    c.set(2, sum_to(won ? ops::where(won, g, zero) : g, c.input_shape(2)));
  }
}

// For values in the order of their destinations: the product of those before each with the same one. A recurrence that begins
// anew with 1 at each destination; no division, so zeros are no special case and gradients of any order are right.
Tensor product_before(const Tensor& destinations, const Tensor& values, int axis) {
  const int64_t length = values->shape[axis];
  const Tensor first = ops::equal(whole_numbers(length), Scalar::of_int(0));
  const Tensor begins = ops::logical_or(ops::not_equal(destinations, roll(destinations, {1}, Dims{axis})),
                                        reshape(first, line_shape(values->rank(), axis, length)));
  const Tensor factor = ops::where(begins, Scalar::of_float(0.0), roll(values, {1}, Dims{axis}));
  return linear_scan(factor, cast_to(begins, values->dtype), axis);
}

// For each value the product of all others with the same destination.
Tensor product_of_others(const Tensor& indices, const Tensor& values, int axis, int64_t length) {
  const Tensor given = cast_to(indices, DType::Int64);
  const Tensor destinations =
      ops::where(ops::less(given, Scalar::of_int(0)), ops::add(given, Scalar::of_int(length)), given);
  const Tensor order = argsort(destinations, axis);
  const Tensor lines = take_along_axis(destinations, order, axis);
  const Tensor ordered = take_along_axis(values, order, axis);
  const Dims only{axis};
  const Tensor after = flip(product_before(flip(lines, only), flip(ordered, only), axis), only);
  const Tensor others = ops::multiply(product_before(lines, ordered, axis), after);
  return take_along_axis_adjoint(others, order, axis, values->shape);  // back in the values' own order
}

// Of equal extremes each gets its share, as PyTorch has it.
void vjp_scatter_combine(VjpContext& c) {
  const auto& a = c.attrs_as<ScatterReduceAttrs>();
  const auto reduce = static_cast<ScatterReduction>(a.reduce.index);
  const Tensor& x = c.input(0);
  const Tensor& indices = c.input(1);
  const Tensor& g = c.grad();
  const int axis = normalize_axis(a.axis, x->rank(), c.op.name);
  const Tensor values =
      c.input(2) ? broadcast_to(c.input(2), indices->shape) : full(indices->shape, c.args[2].scalar, x->dtype);
  if (reduce != ScatterReduction::Prod) {
    const Tensor own = cast_to(ops::equal(x, c.output()), x->dtype);
    const Tensor theirs = cast_to(ops::equal(values, gather(c.output(), indices, axis)), x->dtype);
    const Tensor share = ops::divide(g, scatter_add(own, indices, theirs, axis));
    if (c.wants(0)) c.set(0, ops::multiply(share, own));
    if (c.wants(2)) c.set(2, sum_to(ops::multiply(gather(share, indices, axis), theirs), c.input_shape(2)));
    return;
  }
  if (c.wants(0)) {
    const Tensor ones = full(x->shape, Scalar::of_float(1.0), x->dtype);
    c.set(0, ops::multiply(g, ops::conjugate(scatter_combine(ones, indices, values, axis, reduce))));
  }
  if (c.wants(2)) {
    const Tensor others = product_of_others(indices, values, axis, x->shape[axis]);
    const Tensor slope = ops::multiply(gather(x, indices, axis), others);
    c.set(2, sum_to(ops::multiply(gather(g, indices, axis), ops::conjugate(slope)), c.input_shape(2)));
  }
}

// ---- nonzero ----
void infer_nonzero(InferContext& c) {
  const TensorImpl& x = c.tensor(0);
  if (x.rank() == 0) fail<ValueError>(c.name(), ": x must have an axis, got shape ()");
  if (c.counts.empty())
    fail<StateError>(c.name(), ": shape of the result must not be asked for before values are known");
  c.compute_dtype = x.dtype;
  c.add_output(DType::Int64, {c.counts[0], x.rank()});
}

constexpr uint32_t kFromSecond = ~1u;  // saves_inputs: all but the first operand
constexpr uint32_t kFromThird = ~3u;

void register_reads(Registry& registry) {
  {
    OpDef op;
    op.name = "take";
    op.doc = "Take entries along an axis.";
    op.details = R"(Args:
    x (..., n, ...) any: the tensor.
    indices (...) integer: which entries; negative ones count from the end.
    axis (int, optional): the axis of length n; may be left out when x has rank 1.

Returns:
    (...) any: x's shape with the axis replaced by the shape of indices.

Raises:
    IndexError: an index is out of range.
    TypeError: indices are no integers.
    ValueError: the axis is missing or out of range.

Example:
    >>> import gorgo as gg
    >>> gg.take(gg.asarray([5, 6, 7]), gg.asarray([2, 0, -1])).tolist()
    [7, 5, 7]
)";
    op.inputs = {{.name = "x", .shape_doc = "(..., n, ...) any"}, {.name = "indices", .shape_doc = "(...) integer"}};
    op.attrs = &schema_of<TakeAttrs>();
    op.infer = infer_take;
    op.vjp = vjp_take;
    op.saves_inputs = kFromSecond;
    op.onnx = {"Gather", 1, nullptr};
    op.raise_fault = [](const Fault& f, const KernelArgs& args) { raise_listed("take", f, args, 1); };
    op.flags.linear = true;
    index_ops.take = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "index";
    op.doc = "Read the elements that integer tensors name on some axes; what x[i, :, j] does.";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"},
                 {.name = "indices", .kind = SlotKind::List, .shape_doc = "(...) integer"}};
    op.attrs = &schema_of<IndexAttrs>();
    op.infer = infer_index;
    op.vjp = vjp_index;
    op.saves_inputs = kFromSecond;
    op.onnx = {nullptr, 0, "exported as Transpose and GatherND"};
    op.raise_fault = [](const Fault& f, const KernelArgs& args) { raise_listed("index", f, args, 1); };
    op.flags.linear = true;
    op.flags.internal = true;
    index_ops.index = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "take_along_axis";
    op.doc = "Take along an axis the entries that each position names for itself.";
    op.details = R"(Args:
    x (..., n, ...) any: the tensor.
    indices (..., m, ...) integer: which entries; of x's rank, and broadcast against x on the other axes.
    axis (int): the axis of lengths n and m.

Returns:
    (..., m, ...) any: the entries.

Raises:
    IndexError: an index is out of range.
    TypeError: indices are no integers.
    ValueError: ranks differ, shapes do not broadcast, or the axis is out of range.

Example:
    >>> import gorgo as gg
    >>> x = gg.asarray([[1, 2], [3, 4]])
    >>> gg.take_along_axis(x, gg.asarray([[1], [0]]), axis=1).tolist()
    [[2], [3]]
)";
    op.inputs = {{.name = "x", .shape_doc = "(..., n, ...) any"},
                 {.name = "indices", .shape_doc = "(..., m, ...) integer"}};
    op.attrs = &schema_of<AlongAxisAttrs>();
    op.infer = infer_take_along;
    op.vjp = vjp_take_along;
    op.saves_inputs = kFromSecond;
    op.onnx = {"GatherElements", 11, nullptr};
    op.raise_fault = [](const Fault& f, const KernelArgs&) {
      raise_out_of_range("take_along_axis", f, f.position(), "indices");
    };
    op.flags.linear = true;
    index_ops.take_along_axis = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "nonzero";
    op.doc = "Find the positions of the nonzero elements, in row-major order.";
    op.details = R"(Args:
    x (...) any: the tensor; its shape has at least one axis.

Returns:
    tuple of (n,) int64: for each axis of x, where the n nonzero elements are on it. (The op itself yields them as the
        columns of one tensor.)

Raises:
    ValueError: x has rank 0.
    RuntimeError: the call is captured, though its shape depends on values.

Example:
    >>> import gorgo as gg
    >>> [i.tolist() for i in gg.nonzero(gg.asarray([[0, 3], [4, 0]]))]
    [[0, 1], [1, 0]]
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
    op.outputs = {"indices"};
    op.infer = infer_nonzero;
    op.not_differentiable = "positions are integers";
    op.onnx = {"NonZero", 9, nullptr};
    op.flags.data_dependent = true;
    index_ops.nonzero = &registry.add(std::move(op));
  }
}

void register_index_adjoints(Registry& registry) {
  {
    OpDef op;
    op.name = "index_adjoint";
    op.doc = "Add each element of g to zeros where index has read it.";
    op.inputs = {{.name = "g", .shape_doc = "(...) float or complex"},
                 {.name = "indices", .kind = SlotKind::List, .shape_doc = "(...) integer"}};
    op.attrs = &schema_of<IndexAdjointAttrs>();
    op.infer = infer_index_adjoint;
    op.vjp = [](VjpContext& c) {
      c.set(0, index(c.grad(), saved_indices(c, 1), c.attrs_as<IndexAdjointAttrs>().axes));
    };
    op.saves_inputs = kFromSecond;
    op.onnx = {nullptr, 0, "exported as ScatterND with reduction='add'"};
    op.raise_fault = [](const Fault& f, const KernelArgs& args) { raise_listed("index_adjoint", f, args, 1); };
    op.flags.linear = true;
    op.flags.internal = true;
    index_ops.index_adjoint = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "take_along_axis_adjoint";
    op.doc = "Add each element of g to zeros where take_along_axis has read it.";
    op.inputs = {{.name = "g", .shape_doc = "(...) float or complex"},
                 {.name = "indices", .shape_doc = "(...) integer"}};
    op.attrs = &schema_of<AlongAxisAdjointAttrs>();
    op.infer = infer_take_along_adjoint;
    op.vjp = [](VjpContext& c) {
      c.set(0, take_along_axis(c.grad(), c.input(1), c.attrs_as<AlongAxisAdjointAttrs>().axis));
    };
    op.saves_inputs = kFromSecond;
    op.onnx = {nullptr, 0, "exported as ScatterElements with reduction='add'"};
    op.raise_fault = [](const Fault& f, const KernelArgs&) {
      raise_out_of_range("take_along_axis_adjoint", f, f.position(), "indices");
    };
    op.flags.linear = true;
    op.flags.internal = true;
    index_ops.take_along_axis_adjoint = &registry.add(std::move(op));
  }
}

constexpr const char* kScatterArgs = R"(Args:
    x (..., n, ...) any: the tensor.
    indices (..., m, ...) integer: where along the axis each value goes; of x's rank, elsewhere not longer than x.
    values (..., m, ...) any: a tensor that broadcasts to the shape of indices, or a scalar.
    axis (int): the axis of lengths n and m.

Returns:
    (..., n, ...) any: a new tensor.

Raises:
    IndexError: an index is out of range.
    TypeError: indices are no integers, or dtypes of x and values differ.
    ValueError: shapes do not fit, or the axis is out of range.
)";

void register_writes(Registry& registry) {
  {
    OpDef op;
    op.name = "index_put";
    op.doc = "Replace, or add to, the elements that integer tensors name on some axes; what x[i, :, j] = v does.";
    op.inputs = {{.name = "x", .shape_doc = "(...) any"},
                 {.name = "values", .takes_scalar = true, .shape_doc = "(...) any"},
                 {.name = "indices", .kind = SlotKind::List, .shape_doc = "(...) integer"}};
    op.attrs = &schema_of<IndexPutAttrs>();
    op.infer = infer_index_put;
    op.vjp = vjp_index_put;
    op.saves_inputs = kFromThird;
    op.onnx = {nullptr, 0, "exported as ScatterND"};
    op.raise_fault = [](const Fault& f, const KernelArgs& args) { raise_listed("index_put", f, args, 2); };
    op.flags.inplace_ok = true;
    op.flags.linear = true;
    op.flags.internal = true;
    index_ops.index_put = &registry.add(std::move(op));
  }
  static const std::string scatter_details = std::string(kScatterArgs) + R"(
Example:
    >>> import gorgo as gg
    >>> gg.scatter(gg.asarray([1, 2, 3]), gg.asarray([2, 0]), gg.asarray([7, 8])).tolist()
    [8, 2, 7]
)";
  static const std::string scatter_add_details = std::string(kScatterArgs) + R"(
Example:
    >>> import gorgo as gg
    >>> gg.scatter_add(gg.asarray([1, 2, 3]), gg.asarray([0, 0]), gg.asarray([7, 8])).tolist()
    [16, 2, 3]
)";
  const std::vector<Slot> slots = {{.name = "x", .shape_doc = "(..., n, ...) any"},
                                   {.name = "indices", .shape_doc = "(..., m, ...) integer"},
                                   {.name = "values", .takes_scalar = true, .shape_doc = "(..., m, ...) any"}};
  {
    OpDef op;
    op.name = "scatter";
    op.doc = "Replace along an axis the entries that each position names for itself; the last of several wins.";
    op.details = scatter_details.c_str();
    op.inputs = slots;
    op.attrs = &schema_of<AlongAxisAttrs>();
    op.infer = infer_scatter;
    op.vjp = vjp_scatter;
    op.saves_inputs = 2u;
    op.onnx = {"ScatterElements", 11, nullptr};
    op.raise_fault = [](const Fault& f, const KernelArgs&) {
      raise_out_of_range("scatter", f, f.position(), "indices");
    };
    op.flags.inplace_ok = true;
    op.flags.linear = true;
    index_ops.scatter = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "scatter_add";
    op.doc = "Add values along an axis to the entries that each position names for itself.";
    op.details = scatter_add_details.c_str();
    op.inputs = slots;
    op.attrs = &schema_of<AlongAxisAttrs>();
    op.infer = infer_scatter;
    op.vjp = vjp_scatter;
    op.saves_inputs = 2u;
    op.onnx = {"ScatterElements", 16, nullptr};
    op.raise_fault = [](const Fault& f, const KernelArgs&) {
      raise_out_of_range("scatter_add", f, f.position(), "indices");
    };
    op.flags.inplace_ok = true;
    op.flags.linear = true;
    index_ops.scatter_add = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "scatter_combine";
    op.doc = "Multiply values along an axis into the entries that each position names for itself, or keep the extreme.";
    op.inputs = slots;
    op.attrs = &schema_of<ScatterReduceAttrs>();
    op.infer = infer_scatter_combine;
    op.vjp = vjp_scatter_combine;
    op.saves_inputs = 7u;
    op.saves_outputs = 1u;
    op.onnx = {"ScatterElements", 18, nullptr};
    op.raise_fault = [](const Fault& f, const KernelArgs&) {
      raise_out_of_range("scatter_reduce", f, f.position(), "indices");
    };
    op.flags.internal = true;
    index_ops.scatter_combine = &registry.add(std::move(op));
  }
}

}  // namespace

void register_index(Registry& registry) {
  register_reads(registry);
  register_index_adjoints(registry);
  register_writes(registry);
}

Tensor index(const Tensor& x, std::span<const Tensor> indices, const Dims& axes) {
  const IndexAttrs attrs{axes};
  return funnel.call1(*index_ops.index, span_of(arguments({x}, indices)), &attrs);
}

Tensor index_put(const Tensor& x, const Arg& values, std::span<const Tensor> indices, const Dims& axes,
                 bool accumulate) {
  const IndexPutAttrs attrs{axes, accumulate};
  return funnel.call1(*index_ops.index_put, span_of(arguments({x, values}, indices)), &attrs);
}

void index_put_into(const Tensor& x, const Arg& values, std::span<const Tensor> indices, const Dims& axes,
                    bool accumulate) {
  const IndexPutAttrs attrs{axes, accumulate};
  funnel.call_into(*index_ops.index_put, span_of(arguments({x, values}, indices)), &attrs, x);
}

Tensor index_mask(const Tensor& x, const Tensor& mask, int axis) {
  if (mask->dtype != DType::Bool) fail<TypeError>("index: mask must have dtype bool, got ", mask->dtype);
  bool fits = axis + mask->rank() <= x->rank();
  for (int i = 0; fits && i < mask->rank(); ++i) fits = mask->shape[i] == x->shape[axis + i] || mask->shape[i] == 0;
  if (!fits) {
    fail<IndexError>("index: mask must have the shape of the axes it stands on, from axis ", axis, ", got ",
                     mask->shape, " (x has shape ", x->shape, ")");
  }
  Dims axes;
  for (int i = 0; i < mask->rank(); ++i) axes.push_back(axis + i);
  const Outputs where = unstack(nonzero(mask), 1);
  return index(x, {where.data(), static_cast<size_t>(where.size())}, axes);
}

Tensor scatter_combine(const Tensor& x, const Tensor& indices, const Arg& values, int64_t axis,
                       ScatterReduction reduce) {
  const ScatterReduceAttrs attrs{axis, Choice{static_cast<uint8_t>(reduce)}};
  return invoke(*index_ops.scatter_combine, {x, indices, values}, &attrs);
}

Tensor gather(const Tensor& x, const Tensor& indices, int64_t axis) {
  const int at = axis_of(axis, *x, "gather");
  bool fits = indices->rank() == x->rank();
  for (int i = 0; fits && i < x->rank(); ++i) fits = i == at || indices->shape[i] <= x->shape[i];
  if (!fits) {
    fail<ValueError>("gather: indices must have rank ", x->rank(), " and no length above that of x but on axis ", at,
                     ", got shape ", indices->shape, " (x has shape ", x->shape, ")");
  }
  return take_along_axis(reachable(x, indices->shape, at), indices, at);
}

Tensor take_along_axis_adjoint(const Tensor& g, const Tensor& indices, int64_t axis, const Shape& shape) {
  const AlongAxisAdjointAttrs attrs{axis, shape};
  return invoke(*index_ops.take_along_axis_adjoint, {g, indices}, &attrs);
}

Tensor index_adjoint(const Tensor& g, std::span<const Tensor> indices, const Dims& axes, const Shape& shape) {
  const IndexAdjointAttrs attrs{axes, shape};
  return funnel.call1(*index_ops.index_adjoint, span_of(arguments({g}, indices)), &attrs);
}

}  // namespace gorgo
