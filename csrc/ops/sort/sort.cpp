// The sort family's ops: shapes, and gradients, which go back to where the elements came from.
//
// Read next: sort.h, kernels_cpu.cpp.
#include "ops/sort/sort.h"

#include "ops/index/index.h"

namespace gorgo {

SortOps sort_ops;

namespace {

constexpr int64_t kLongestLine = UINT32_MAX;

// Checks the axis, which rank 0 takes as if it had one of length 1, and gives its length.
int64_t length_along(const InferContext& c, int64_t axis) {
  const TensorImpl& x = c.tensor(0);
  const int rank = x.rank() > 0 ? x.rank() : 1;
  if (axis < -rank || axis >= rank) {
    fail<ValueError>(c.name(), ": axis must be in [", -rank, ", ", rank, "), got ", axis, " (x has shape ", x.shape,
                     ")");
  }
  if (is_complex(x.dtype)) fail<TypeError>(c.name(), ": x must have an order, got ", x.dtype);
  const int64_t length = x.rank() > 0 ? x.shape[static_cast<int>(axis < 0 ? axis + rank : axis)] : 1;
  if (length > kLongestLine) fail<NotSupported>(c.name(), ": axis must be at most 2**32 - 1 long, got ", length);
  return length;
}

void infer_sort(InferContext& c) {
  static_cast<void>(length_along(c, c.attrs_as<SortAttrs>().axis));
  c.compute_dtype = c.dtype(0);
  c.add_output(&c.op == sort_ops.argsort ? DType::Int64 : c.dtype(0), c.shape(0));
}

void vjp_sort(VjpContext& c) {
  const auto& a = c.attrs_as<SortAttrs>();
  if (c.input_shape(0).empty()) {
    c.set(0, c.grad());
    return;
  }
  c.set(0, take_along_axis_adjoint(c.grad(), argsort(c.input(0), a.axis, a.descending), a.axis, c.input_shape(0)));
}

void infer_topk(InferContext& c) {
  const auto& a = c.attrs_as<TopkAttrs>();
  const int64_t length = length_along(c, a.axis);
  if (c.shape(0).empty()) fail<ValueError>(c.name(), ": x must have an axis, got shape ()");
  if (a.k < 0 || a.k > length) {
    fail<ValueError>(c.name(), ": k must be in [0, ", length, "], got ", a.k, " (x has shape ", c.shape(0), ")");
  }
  Shape shape = c.shape(0);
  shape[static_cast<int>(a.axis < 0 ? a.axis + shape.size() : a.axis)] = a.k;
  c.compute_dtype = c.dtype(0);
  c.add_output(c.dtype(0), shape);
  c.add_output(DType::Int64, shape);
}

void vjp_topk(VjpContext& c) {
  if (c.grad(0))
    c.set(0, take_along_axis_adjoint(c.grad(0), c.output(1), c.attrs_as<TopkAttrs>().axis, c.input_shape(0)));
}

// ---- bucketize ----
void infer_bucketize(InferContext& c) {
  const TensorImpl& edges = c.tensor(1);
  if (edges.rank() == 0) fail<ValueError>(c.name(), ": boundaries must have an axis, got shape ()");
  const Shape shape = c.in[0].is_tensor() ? c.shape(0) : Shape{};
  bool fits = edges.rank() == 1 || edges.rank() == shape.size();
  for (int i = 0; edges.rank() > 1 && fits && i + 1 < edges.rank(); ++i) fits = edges.shape[i] == shape[i];
  if (!fits) {
    fail<ValueError>(c.name(), ": boundaries must have rank 1 or all axes of x but for the last one, got shape ",
                     edges.shape, " (x has shape ", shape, ")");
  }
  const DType d = c.in[0].is_tensor() ? promote(c.dtype(0), edges.dtype) : promote(edges.dtype, c.in[0].scalar);
  if (is_complex(d)) fail<TypeError>(c.name(), ": x and boundaries must have an order, got ", d);
  c.compute_dtype = d;
  c.cast_mask = 3u;
  c.add_output(DType::Int64, shape);
}

}  // namespace

void register_sort(Registry& registry) {
  {
    OpDef op;
    op.name = "sort";
    op.doc = "Sort along an axis; NaN comes last.";
    op.details = R"(Args:
    x (..., n, ...) real or bool: the tensor.
    axis (int): the axis of length n.
    descending (bool): whether the greatest comes first.
    stable (bool): equal elements keep their order; they do either way.

Returns:
    (..., n, ...) any: the sorted elements.

Raises:
    TypeError: x is complex.
    ValueError: the axis is out of range.

Example:
    >>> import gorgo as gg
    >>> gg.sort(gg.asarray([3, 1, 2]), descending=True).tolist()
    [3, 2, 1]
)";
    op.inputs = {{.name = "x", .shape_doc = "(..., n, ...) real or bool"}};
    op.attrs = &schema_of<SortAttrs>();
    op.infer = infer_sort;
    op.vjp = vjp_sort;
    op.saves_inputs = 1u;
    op.onnx = {nullptr, 0, "exported as TopK over the whole axis"};
    sort_ops.sort = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "argsort";
    op.doc = "Find the order that sorts along an axis; NaN comes last.";
    op.details = R"(Args:
    x (..., n, ...) real or bool: the tensor.
    axis (int): the axis of length n.
    descending (bool): whether the greatest comes first.
    stable (bool): equal elements keep their order; they do either way.

Returns:
    (..., n, ...) int64: for each place, the index along the axis of the element that belongs there.

Raises:
    TypeError: x is complex.
    ValueError: the axis is out of range.

Example:
    >>> import gorgo as gg
    >>> gg.argsort(gg.asarray([3, 1, 2])).tolist()
    [1, 2, 0]
)";
    op.inputs = {{.name = "x", .shape_doc = "(..., n, ...) real or bool"}};
    op.attrs = &schema_of<SortAttrs>();
    op.infer = infer_sort;
    op.not_differentiable = "positions are integers";
    op.onnx = {nullptr, 0, "exported as TopK over the whole axis"};
    sort_ops.argsort = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "topk";
    op.doc = "Find the k greatest (or smallest) elements along an axis, in order.";
    op.details = R"(Args:
    x (..., n, ...) real or bool: the tensor.
    k (int): how many, in [0, n].
    axis (int): the axis of length n.
    largest (bool): whether the greatest are wanted; NaN counts as greater than all.

Returns:
    values (..., k, ...) any: the elements.
    indices (..., k, ...) int64: where along the axis they were; of equal ones the first come first.

Raises:
    TypeError: x is complex.
    ValueError: k or the axis is out of range.

Example:
    >>> import gorgo as gg
    >>> values, indices = gg.topk(gg.asarray([3, 1, 2]), 2)
    >>> values.tolist(), indices.tolist()
    ([3, 2], [0, 2])
)";
    op.inputs = {{.name = "x", .shape_doc = "(..., n, ...) real or bool"}};
    op.outputs = {"values", "indices"};
    op.attrs = &schema_of<TopkAttrs>();
    op.infer = infer_topk;
    op.vjp = vjp_topk;
    op.saves_outputs = 2u;
    op.onnx = {"TopK", 11, nullptr};
    sort_ops.topk = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "bucketize";
    op.doc = "Find where elements belong among sorted boundaries.";
    op.details = R"(Args:
    x (..., m) real or bool, or a number: the elements.
    boundaries (n,) or (..., n) real or bool: the boundaries, rising along their last axis, NaN last; either one line for
        all of x, or one for each line of x.
    right (bool): whether an element that equals a boundary belongs behind it. Then boundaries[i - 1] <= x <
        boundaries[i] for the result i, else boundaries[i - 1] < x <= boundaries[i].

Returns:
    (..., m) int64: for each element how many boundaries lie before it; NaN counts as the greatest.

Raises:
    TypeError: x or boundaries are complex.
    ValueError: boundaries have rank 0, or do not fit x.

Example:
    >>> import gorgo as gg
    >>> gg.bucketize(gg.asarray([0, 2, 5]), gg.asarray([1, 2, 3])).tolist()
    [0, 1, 3]
)";
    op.inputs = {{.name = "x", .takes_scalar = true, .shape_doc = "(..., m) real or bool"},
                 {.name = "boundaries", .shape_doc = "(n,) or (..., n) real or bool"}};
    op.attrs = &schema_of<BucketizeAttrs>();
    op.infer = infer_bucketize;
    op.not_differentiable = "positions are integers";
    op.onnx = {nullptr, 0, "ONNX has no search"};
    sort_ops.bucketize = &registry.add(std::move(op));
  }
}

}  // namespace gorgo
