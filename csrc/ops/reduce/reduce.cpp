// The reductions: what each yields, its gradient, and its facts.
//
// Invariant: infer validates axes and dtypes; the kernels trust them. Gradients are composed of other ops, so they can be
// differentiated again. At ties max and min share the gradient evenly among the equal elements (as torch.amax does; the
// array API's max has no index to single one out).
// Read next: reduce.h, kernels_cpu.cpp.
#include "ops/reduce/reduce.h"

#include <utility>

#include "ops/elementwise/elementwise.h"
#include "ops/shape/shape.h"

namespace gorgo {

ReduceOps reduce_ops;

namespace {

uint32_t mask_of(const OptInts& axis, int rank, const char* op) {
  if (!axis.has) return ~0u;
  uint32_t mask = 0;
  for (const int64_t a : normalize_axes(axis.value, rank, op)) mask |= 1u << a;
  return mask;
}

// ---- infer ----

template <class A>
void add_reduced(InferContext& c, DType dtype) {
  const auto& a = c.attrs_as<A>();
  c.add_output(dtype, reduced_shape(c.shape(0), a.axis, a.keepdims, c.name()));
}

void refuse(const InferContext& c, const char* expectation) {
  fail<TypeError>(c.name(), ": x must have ", expectation, ", got ", c.dtype(0));
}

// Whether sums are made of the elements as they are.
bool sums_unconverted(DType d) { return d == DType::Bool || d == DType::Int32 || (is_integer(d) && dtype_size(d) < 4); }

bool is_narrow_integer(DType d) { return is_integer(d) && dtype_size(d) < 8; }

// Integers are summed as the widest of their kind; a dtype given by the caller is converted to first.
DType sum_dtype(DType d) {
  if (is_unsigned(d)) return DType::UInt64;
  if (is_signed_integer(d) || d == DType::Bool) return DType::Int64;
  return d;
}

void infer_sum(InferContext& c) {
  const auto& a = c.attrs_as<SumAttrs>();
  const DType d = c.dtype(0);
  DType to = sum_dtype(d);
  c.compute_dtype = sums_unconverted(d) ? d : to;
  if (a.dtype.has) {
    to = a.dtype.value;
    if (to == DType::Bool || (is_complex(d) && !is_complex(to)) || (is_inexact(d) && !is_inexact(to))) {
      fail<TypeError>(c.name(), ": dtype must be one that holds sums of ", d, ", got ", to);
    }
    // Narrow integers wrap when the sum is stored, which is the same as adding them wrapped.
    c.compute_dtype = is_narrow_integer(to) ? sum_dtype(to) : to;
  }
  c.cast_mask = 1;
  add_reduced<SumAttrs>(c, to);
}

void infer_prod(InferContext& c) {
  infer_sum(c);
  if (is_integer(c.compute_dtype) || c.compute_dtype == DType::Bool) c.compute_dtype = sum_dtype(c.compute_dtype);
}

void infer_mean(InferContext& c) {
  const DType d = c.dtype(0);
  c.compute_dtype = sums_unconverted(d) ? d : sum_dtype(d);
  c.cast_mask = 1;
  add_reduced<ReduceAttrs>(c, is_inexact(d) ? d : DType::Float32);
}

void infer_var(InferContext& c) {
  const DType d = c.dtype(0);
  if (is_complex(d)) refuse(c, "a real dtype");
  c.compute_dtype = is_floating(d) ? d : DType::Float64;
  c.cast_mask = 1;
  add_reduced<VarAttrs>(c, is_floating(d) ? d : DType::Float32);
}

void require_elements(const InferContext& c, const OptInts& axis) {
  if (reduced_count(c.shape(0), axis, c.name()) != 0) return;
  fail<ValueError>(c.name(), ": x must have an element to choose along axis ", axis.has ? cat(axis.value) : "None",
                   ", got shape ", c.shape(0));
}

void infer_max(InferContext& c) {
  if (is_complex(c.dtype(0))) refuse(c, "a real dtype or bool");
  c.compute_dtype = c.dtype(0);
  add_reduced<ReduceAttrs>(c, c.dtype(0));
  require_elements(c, c.attrs_as<ReduceAttrs>().axis);
}

void infer_arg(InferContext& c) {
  if (is_complex(c.dtype(0))) refuse(c, "a real dtype or bool");
  const auto& a = c.attrs_as<ArgAttrs>();
  const OptInts axis = a.axis.has ? OptInts(Dims{a.axis.value}) : OptInts();
  c.compute_dtype = c.dtype(0);
  c.add_output(DType::Int64, reduced_shape(c.shape(0), axis, a.keepdims, c.name()));
  require_elements(c, axis);
}

void infer_truth(InferContext& c) {
  c.compute_dtype = c.dtype(0);
  add_reduced<ReduceAttrs>(c, DType::Bool);
}

void infer_count(InferContext& c) {
  c.compute_dtype = c.dtype(0);
  add_reduced<ReduceAttrs>(c, DType::Int64);
}

void infer_sum_to(InferContext& c) {
  const Shape& from = c.shape(0);
  const Shape& to = c.attrs_as<SumToAttrs>().shape;
  const int lead = from.size() - to.size();
  bool fits = lead >= 0;
  for (int i = 0; fits && i < to.size(); ++i) fits = to[i] == from[lead + i] || to[i] == 1;
  if (!fits) fail<ValueError>(c.name(), ": shape must be one that broadcasts to ", from, ", got ", to);
  if (!is_inexact(c.dtype(0))) refuse(c, "a floating or complex dtype");
  c.compute_dtype = c.dtype(0);
  c.add_output(c.dtype(0), to);
}

// ---- gradients ----

template <class A>
Tensor spread_for(const VjpContext& c, const Tensor& r) {
  return spread(r, c.input_shape(0), c.attrs_as<A>().axis);
}

void vjp_sum(VjpContext& c) { c.set(0, spread_for<SumAttrs>(c, c.grad())); }

void vjp_sum_to(VjpContext& c) { c.set(0, broadcast_to(c.grad(), c.input_shape(0))); }

template <class A>
double count_of(const VjpContext& c) {
  return static_cast<double>(reduced_count(c.input_shape(0), c.attrs_as<A>().axis, c.op.name));
}

void vjp_mean(VjpContext& c) {
  const Tensor share = ops::divide(c.grad(), Scalar::of_float(count_of<ReduceAttrs>(c)));
  c.set(0, spread_for<ReduceAttrs>(c, share));
}

// The product of all other elements over the axes, without a division, so that it can be differentiated again at zeros:
// that of the n - 1 elements that follow in a circle, put together from runs of 1, 2, 4, ...
Tensor product_of_others(const Tensor& x, const OptInts& axis) {
  const int rank = x->rank();
  SmallVector<bool, 8> reduced;
  for (int i = 0; i < rank; ++i) reduced.push_back(!axis.has);
  for (int i = 0; axis.has && i < axis.value.size(); ++i) {
    reduced[static_cast<int>(axis.value[i] < 0 ? axis.value[i] + rank : axis.value[i])] = true;
  }
  Dims order;
  Shape lines;
  int64_t n = 1;
  for (const bool wanted : {false, true}) {
    for (int i = 0; i < rank; ++i) {
      if (reduced[i] != wanted) continue;
      order.push_back(i);
      if (!wanted) lines.push_back(x->shape[i]);
      if (wanted) n *= x->shape[i];
    }
  }
  lines.push_back(n);
  const Tensor ordered = permute_dims(x, order);
  const OptInts last(Dims{-1});
  Tensor run = reshape(ordered, lines);  // at i the product of `length` elements from i on
  Tensor product;                        // at i that of `taken` elements from i + 1 on
  int64_t taken = 0;
  for (int64_t length = 1; length < n; length *= 2) {
    if (((n - 1) & length) != 0) {
      const Tensor part = roll(run, Dims{-(1 + taken)}, last);
      product = product ? ops::multiply(product, part) : part;
      taken += length;
    }
    if (2 * length < n) run = ops::multiply(run, roll(run, Dims{-length}, last));
  }
  Dims back;
  back.resize(rank);
  for (int i = 0; i < rank; ++i) back[static_cast<int>(order[i])] = i;
  return permute_dims(reshape(product, ordered->shape), back);
}

// d(prod)/dx_i is the product of the others. With p the product of the elements that are not zero: p / x_i where no element
// is zero, p at the zero where there is one, zero elsewhere.
void vjp_prod(VjpContext& c) {
  const auto& a = c.attrs_as<SumAttrs>();
  const Tensor& x = c.input(0);
  if (c.create_graph && x->numel != 0 && reduced_count(x->shape, a.axis, c.op.name) > 1) {
    const Tensor others = product_of_others(x, a.axis);
    c.set(0, ops::multiply(spread_for<SumAttrs>(c, c.grad()), is_complex(x->dtype) ? ops::conj(others) : others));
    return;
  }
  const Tensor is_zero = ops::equal(x, Scalar::of_int(0));
  const Tensor safe = ops::where(is_zero, Scalar::of_int(1), x);
  const bool complex = is_complex(x->dtype);  // the gradient is conj(the product of the others) g
  const Tensor g = complex ? ops::conj(c.grad()) : c.grad();
  const Tensor p =
      ops::multiply(prod(safe, a.axis, true), spread(g, reduced_shape(x->shape, a.axis, true, c.op.name), a.axis));
  const ReduceAttrs counted{a.axis, true};
  const Tensor zeros = invoke(*reduce_ops.count_nonzero, {is_zero}, &counted);
  const Tensor wanted = cast_to(is_zero, DType::Int64);
  // Wanted is 1 at a zero and 0 elsewhere: the factor is one where the count of zeros says the same.
  const Tensor factor = cast_to(ops::equal(zeros, wanted), x->dtype);
  const Tensor d = ops::multiply(ops::divide(p, safe), factor);
  c.set(0, complex ? ops::conj(d) : d);
}

// (x - mean) * g * 2 / (n - correction); for std divided by 2 std.
void vjp_var(VjpContext& c) {
  const auto& a = c.attrs_as<VarAttrs>();
  const Tensor& x = c.input(0);
  const double freedom = count_of<VarAttrs>(c) - a.correction;
  const Tensor scaled = ops::multiply(c.grad(), Scalar::of_float(2.0 / (freedom > 0.0 ? freedom : 0.0)));
  c.set(0, ops::multiply(ops::subtract(x, mean(x, a.axis, true)), spread_for<VarAttrs>(c, scaled)));
}
void vjp_std(VjpContext& c) {
  const auto& a = c.attrs_as<VarAttrs>();
  const Tensor& x = c.input(0);
  const double freedom = count_of<VarAttrs>(c) - a.correction;
  const Tensor scaled =
      ops::divide(ops::multiply(c.grad(), Scalar::of_float(1.0 / (freedom > 0.0 ? freedom : 0.0))), c.output());
  c.set(0, ops::multiply(ops::subtract(x, mean(x, a.axis, true)), spread_for<VarAttrs>(c, scaled)));
}

void vjp_max(VjpContext& c) {
  const auto& a = c.attrs_as<ReduceAttrs>();
  const Tensor& x = c.input(0);
  const Tensor chosen = cast_to(ops::equal(x, spread_for<ReduceAttrs>(c, c.output())), x->dtype);
  const Tensor kept = spread(c.grad(), reduced_shape(x->shape, a.axis, true, c.op.name), a.axis);
  c.set(0, ops::multiply(chosen, ops::divide(kept, sum(chosen, a.axis, true))));
}

// ---- facts ----

OpDef make(const char* name, const char* doc, const char* details, const AttrSchema& attrs,
           void (*infer)(InferContext&)) {
  OpDef op;
  op.name = name;
  op.doc = doc;
  op.details = details;
  op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
  op.attrs = &attrs;
  op.infer = infer;
  return op;
}

Cost cost_of_reading(const KernelArgs& args) {
  const KOperand& x = args.in[0];
  return {static_cast<double>(x.numel), static_cast<double>(x.numel * dtype_size(x.dtype))};
}

const OpDef* add(Registry& registry, OpDef op) {
  op.cost = cost_of_reading;
  return &registry.add(std::move(op));
}

const OpDef* add_constant(Registry& registry, OpDef op, const char* reason, OnnxName onnx) {
  op.not_differentiable = reason;
  op.onnx = onnx;
  return add(registry, std::move(op));
}

}  // namespace

Shape reduced_shape(const Shape& shape, const OptInts& axis, bool keepdims, const char* op) {
  const uint32_t mask = mask_of(axis, shape.size(), op);
  Shape out;
  for (int i = 0; i < shape.size(); ++i) {
    if (((mask >> i) & 1u) == 0) {
      out.push_back(shape[i]);
    } else if (keepdims) {
      out.push_back(1);
    }
  }
  return out;
}

int64_t reduced_count(const Shape& shape, const OptInts& axis, const char* op) {
  const uint32_t mask = mask_of(axis, shape.size(), op);
  int64_t count = 1;
  for (int i = 0; i < shape.size(); ++i) {
    if (((mask >> i) & 1u) != 0) count *= shape[i];
  }
  return count;
}

Tensor spread(const Tensor& r, const Shape& shape, const OptInts& axis) {
  const Shape kept = reduced_shape(shape, axis, true, "spread");
  const Tensor r_kept = r->shape == kept ? r : reshape(r, kept);
  return kept == shape ? r_kept : broadcast_to(r_kept, shape);
}

void register_reduce(Registry& registry) {
  {
    OpDef op = make("sum", "Sum the elements over one or more axes.", R"(Args:
    x (...) any: the tensor.
    axis (int, tuple of int or None): the axes that go; None means all, negative ones count from the end.
    dtype (dtype or None): the dtype of the sum; None means int64 (uint64) for integers and bool, else that of x.
    keepdims (bool): keep the axes that go, with length 1.

Returns:
    (...) any: the sums. float16, bfloat16 and float32 are added in float32 in groups and in float64 beyond.

Raises:
    ValueError: axis is out of range or repeats.
    TypeError: dtype cannot hold the sum.

Example:
    >>> import gorgo as gg
    >>> gg.sum(gg.asarray([[1, 2], [3, 4]]), axis=0).tolist()
    [4, 6]
)",
                    schema_of<SumAttrs>(), infer_sum);
    op.vjp = vjp_sum;
    op.flags.linear = true;
    op.onnx = {"ReduceSum", 13, nullptr};
    reduce_ops.sum = add(registry, std::move(op));
  }
  {
    OpDef op = make("sum_to", "Sum a tensor to a shape that broadcasts to its own.", "", schema_of<SumToAttrs>(),
                    infer_sum_to);
    op.vjp = vjp_sum_to;
    op.flags.linear = true;
    op.flags.internal = true;
    op.onnx = {nullptr, 0, "exported as ReduceSum and Reshape"};
    reduce_ops.sum_to = add(registry, std::move(op));
  }
  {
    OpDef op = make("prod", "Multiply the elements over one or more axes.", R"(Args:
    x (...) any: the tensor.
    axis (int, tuple of int or None): the axes that go; None means all, negative ones count from the end.
    dtype (dtype or None): the dtype of the product; None means int64 (uint64) for integers and bool, else that of x.
    keepdims (bool): keep the axes that go, with length 1.

Returns:
    (...) any: the products. Gradients of any order are right at zeros too.

Raises:
    ValueError: axis is out of range or repeats.
    TypeError: dtype cannot hold the product.

Example:
    >>> import gorgo as gg
    >>> gg.prod(gg.asarray([2.0, 3.0, 4.0])).item()
    24.0
)",
                    schema_of<SumAttrs>(), infer_prod);
    op.vjp = vjp_prod;
    op.saves_inputs = 1;
    op.onnx = {"ReduceProd", 18, nullptr};
    reduce_ops.prod = add(registry, std::move(op));
  }
  {
    OpDef op = make("mean", "Average the elements over one or more axes.", R"(Args:
    x (...) any: the tensor.
    axis (int, tuple of int or None): the axes that go; None means all, negative ones count from the end.
    keepdims (bool): keep the axes that go, with length 1.

Returns:
    (...) floating: the means, in the dtype of x, or float32 for integers and bool. NaN over no elements.

Raises:
    ValueError: axis is out of range or repeats.

Example:
    >>> import gorgo as gg
    >>> gg.mean(gg.asarray([[1.0, 2.0], [3.0, 4.0]]), axis=1).tolist()
    [1.5, 3.5]
)",
                    schema_of<ReduceAttrs>(), infer_mean);
    op.vjp = vjp_mean;
    op.flags.linear = true;
    op.onnx = {"ReduceMean", 18, nullptr};
    reduce_ops.mean = add(registry, std::move(op));
  }
  constexpr const char* kVarDetails = R"(Args:
    x (...) real: the tensor.
    axis (int, tuple of int or None): the axes that go; None means all, negative ones count from the end.
    correction (float): what is taken off the number of elements before dividing by it; 1 gives the unbiased estimate.
    keepdims (bool): keep the axes that go, with length 1.

Returns:
    (...) float: in the dtype of x, or float32 for integers and bool. NaN over no elements.

Raises:
    ValueError: axis is out of range or repeats.
    TypeError: x is complex.

Source:
    Chan, Golub, LeVeque (1979), updating formulae for computing sample variances: pieces are merged by them.

Example:
    >>> import gorgo as gg
    >>> x = gg.asarray([1.0, 2.0, 3.0, 4.0])
)";
  static const std::string kVarDoc = std::string(kVarDetails) + R"(    >>> round(gg.var(x, correction=1).item() * 3, 4)
    5.0
)";
  static const std::string kStdDoc = std::string(kVarDetails) + R"(    >>> gg.std(x - x).item()
    0.0
)";
  {
    OpDef op =
        make("var", "Compute the variance over one or more axes.", kVarDoc.c_str(), schema_of<VarAttrs>(), infer_var);
    op.vjp = vjp_var;
    op.saves_inputs = 1;
    op.onnx = {nullptr, 0, "exported as ReduceMean, Sub, Mul and ReduceSum"};
    reduce_ops.var = add(registry, std::move(op));
  }
  {
    OpDef op = make("std", "Compute the standard deviation over one or more axes.", kStdDoc.c_str(),
                    schema_of<VarAttrs>(), infer_var);
    op.vjp = vjp_std;
    op.saves_inputs = 1;
    op.saves_outputs = 1;
    op.onnx = {nullptr, 0, "exported as the square root of the variance"};
    reduce_ops.std = add(registry, std::move(op));
  }
  constexpr const char* kMaxOfAxesDetails = R"(Args:
    x (...) real or bool: the tensor.
    axis (int, tuple of int or None): the axes that go; None means all, negative ones count from the end.
    keepdims (bool): keep the axes that go, with length 1.

Returns:
    (...) real or bool: one element for each position of the other axes; NaN where there is one. Equal elements share
        the gradient evenly.

Raises:
    ValueError: axis is out of range or repeats, or there is no element to choose.
    TypeError: x is complex.

Example:
    >>> import gorgo as gg
)";
  static const std::string kMaxDoc =
      std::string(kMaxOfAxesDetails) + R"(    >>> gg.max(gg.asarray([[1, 5], [7, 3]]), axis=1).tolist()
    [5, 7]
)";
  static const std::string kMinDoc =
      std::string(kMaxOfAxesDetails) + R"(    >>> gg.min(gg.asarray([[1, 5], [7, 3]]), axis=1).tolist()
    [1, 3]
)";
  for (const bool largest : {true, false}) {
    OpDef op = make(largest ? "max" : "min",
                    largest ? "Find the largest element over one or more axes."
                            : "Find the smallest element over one or more axes.",
                    largest ? kMaxDoc.c_str() : kMinDoc.c_str(), schema_of<ReduceAttrs>(), infer_max);
    op.vjp = vjp_max;
    op.saves_inputs = 1;
    op.saves_outputs = 1;
    op.onnx = {largest ? "ReduceMax" : "ReduceMin", 20, nullptr};
    (largest ? reduce_ops.max : reduce_ops.min) = add(registry, std::move(op));
  }
  constexpr const char* kArgDetails = R"(Args:
    x (...) real or bool: the tensor.
    axis (int or None): the axis that goes; None means the flattened tensor, negative ones count from the end.
    keepdims (bool): keep the axis that goes, with length 1.

Returns:
    (...) int64: positions along the axis. The first of equal elements; the first NaN where there is one.

Raises:
    ValueError: axis is out of range, or there is no element to choose.
    TypeError: x is complex.

Example:
    >>> import gorgo as gg
)";
  static const std::string kArgmaxDoc = std::string(kArgDetails) + R"(    >>> gg.argmax(gg.asarray([3, 9, 9])).item()
    1
)";
  static const std::string kArgminDoc =
      std::string(kArgDetails) + R"(    >>> gg.argmin(gg.asarray([[3, 1], [0, 2]]), axis=1).tolist()
    [1, 0]
)";
  reduce_ops.argmax = add_constant(
      registry,
      make("argmax", "Find where the largest element is.", kArgmaxDoc.c_str(), schema_of<ArgAttrs>(), infer_arg),
      "its result is a position", {"ArgMax", 13, nullptr});
  reduce_ops.argmin = add_constant(
      registry,
      make("argmin", "Find where the smallest element is.", kArgminDoc.c_str(), schema_of<ArgAttrs>(), infer_arg),
      "its result is a position", {"ArgMin", 13, nullptr});
  constexpr const char* kTruthDetails = R"(Args:
    x (...) any: the tensor; an element holds when it is not zero (NaN holds).
    axis (int, tuple of int or None): the axes that go; None means all, negative ones count from the end.
    keepdims (bool): keep the axes that go, with length 1.

Returns:
    (...) bool: over no elements False for any, True for all.

Raises:
    ValueError: axis is out of range or repeats.

Example:
    >>> import gorgo as gg
)";
  static const std::string kAnyDoc =
      std::string(kTruthDetails) + R"(    >>> gg.any(gg.asarray([[0, 0], [0, 2]]), axis=1).tolist()
    [False, True]
)";
  static const std::string kAllDoc =
      std::string(kTruthDetails) + R"(    >>> gg.all(gg.asarray([[1, 1], [0, 2]]), axis=1).tolist()
    [True, False]
)";
  reduce_ops.any = add_constant(
      registry, make("any", "Test whether any element holds.", kAnyDoc.c_str(), schema_of<ReduceAttrs>(), infer_truth),
      "its result is a truth value", {nullptr, 0, "exported as Cast and ReduceMax"});
  reduce_ops.all = add_constant(
      registry, make("all", "Test whether all elements hold.", kAllDoc.c_str(), schema_of<ReduceAttrs>(), infer_truth),
      "its result is a truth value", {nullptr, 0, "exported as Cast and ReduceMin"});
  reduce_ops.count_nonzero = add_constant(registry,
                                          make("count_nonzero", "Count the elements that are not zero.", R"(Args:
    x (...) any: the tensor; NaN counts.
    axis (int, tuple of int or None): the axes that go; None means all, negative ones count from the end.
    keepdims (bool): keep the axes that go, with length 1.

Returns:
    (...) int64: the counts.

Raises:
    ValueError: axis is out of range or repeats.

Example:
    >>> import gorgo as gg
    >>> gg.count_nonzero(gg.asarray([0, 3, 0, 4])).item()
    2
)",
                                               schema_of<ReduceAttrs>(), infer_count),
                                          "its result is a count", {nullptr, 0, "exported as Cast and ReduceSum"});
}

}  // namespace gorgo
