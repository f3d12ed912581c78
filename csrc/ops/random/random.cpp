// The random family's ops: shapes, ranges, and the gradient of dropout.
//
// Read next: random.h, kernels_cpu.cpp.
#include "ops/random/random.h"

#include <limits>

namespace gorgo {

RandomOps random_ops;

namespace {

constexpr const char* kNoOnnx = "ONNX has no counter-based generator; export draws as inputs";

using random_rules::check_key;
using random_rules::drawing_op;

void add_drawn(InferContext& c, const Shape& shape, DType dtype) {
  check_key(c, 0, "key");
  static_cast<void>(numel_of(shape, c.name()));
  c.compute_dtype = dtype;
  c.add_output(dtype, shape);
}

void check_floating(const InferContext& c, DType dtype) {
  if (!is_floating(dtype)) fail<TypeError>(c.name(), ": dtype must be a real floating one, got ", dtype);
}

void check_probability(const InferContext& c, double p) {
  if (!(p >= 0.0 && p <= 1.0)) fail<ValueError>(c.name(), ": p must be in [0, 1], got ", p);
}

void infer_key(InferContext& c) {
  check_key(c, 0, "state");
  c.compute_dtype = DType::UInt64;
  c.add_output(DType::UInt64, {2});
}

void infer_uniform(InferContext& c) {
  const auto& a = c.attrs_as<UniformAttrs>();
  check_floating(c, a.dtype);
  if (!(a.low <= a.high && a.high - a.low <= std::numeric_limits<double>::max())) {
    fail<ValueError>(c.name(), ": low and high must be finite with low at most high, got ", a.low, " and ", a.high);
  }
  add_drawn(c, a.shape, a.dtype);
}

void infer_normal(InferContext& c) {
  const auto& a = c.attrs_as<NormalAttrs>();
  check_floating(c, a.dtype);
  if (!(a.std >= 0.0)) fail<ValueError>(c.name(), ": std must not be negative, got ", a.std);
  add_drawn(c, a.shape, a.dtype);
}

void infer_randint(InferContext& c) {
  const auto& a = c.attrs_as<RandintAttrs>();
  if (!is_integer(a.dtype)) fail<TypeError>(c.name(), ": dtype must be an integer one, got ", a.dtype);
  if (a.low >= a.high) fail<ValueError>(c.name(), ": low must be below high, got ", a.low, " and ", a.high);
  Element element;
  store_scalar(Scalar::of_int(a.low), a.dtype, c.name(), element.bytes);
  store_scalar(Scalar::of_int(a.high - 1), a.dtype, c.name(), element.bytes);
  add_drawn(c, a.shape, a.dtype);
}

void infer_bernoulli(InferContext& c) {
  const auto& a = c.attrs_as<BernoulliAttrs>();
  check_probability(c, a.p);
  add_drawn(c, a.shape, DType::Bool);
}

void infer_permutation(InferContext& c) {
  const int64_t n = c.attrs_as<PermutationAttrs>().n;
  if (n < 0 || n > UINT32_MAX) fail<ValueError>(c.name(), ": n must be in [0, 2**32), got ", n);
  add_drawn(c, {n}, DType::Int64);
}

void infer_dropout(InferContext& c) {
  const TensorImpl& x = c.tensor(0);
  if (!is_floating(x.dtype)) fail<TypeError>(c.name(), ": x must be real floating, got ", x.dtype);
  check_key(c, 1, "key");
  check_probability(c, c.attrs_as<DropoutAttrs>().p);
  c.compute_dtype = x.dtype;
  c.add_output(x.dtype, x.shape);
  c.add_output(DType::Bool, x.shape);
}

void vjp_dropout(VjpContext& c) {
  if (c.wants(0) && c.grad(0)) c.set(0, dropout_adjoint(c.grad(0), c.output(1), c.attrs_as<DropoutAttrs>().p));
}

void infer_dropout_adjoint(InferContext& c) {
  const TensorImpl& g = c.tensor(0);
  if (c.dtype(1) != DType::Bool || c.shape(1) != g.shape) {
    fail<ValueError>(c.name(), ": mask must be bool of shape ", g.shape, ", got ", c.dtype(1), " of shape ",
                     c.shape(1));
  }
  c.compute_dtype = g.dtype;
  c.add_output(g.dtype, g.shape);
}

}  // namespace

namespace random_rules {

void check_key(const InferContext& c, int operand, const char* what) {
  const TensorImpl& key = c.tensor(operand);
  if (key.dtype != DType::UInt64 || key.shape != Shape{2}) {
    fail<TypeError>(c.name(), ": ", what, " must be uint64 of shape (2,), got ", key.dtype, " of shape ", key.shape);
  }
}

OpDef drawing_op(const char* name, const char* doc, const char* details) {
  OpDef op;
  op.name = name;
  op.doc = doc;
  op.details = details;
  op.inputs = {{.name = "key", .shape_doc = "(2,) uint64"}};
  op.not_differentiable = "random numbers do not depend on a tensor of real numbers";
  op.onnx = {nullptr, 0, kNoOnnx};
  return op;
}

}  // namespace random_rules

void register_random(Registry& registry) {
  register_random_samples(registry);
  {
    OpDef op;
    op.name = "random_key";
    op.doc = "Take the next key of a generator's state, whose counter goes up by one.";
    op.details = R"(Args:
    state (2,) uint64: seed and counter; the counter is written.

Returns:
    (2,) uint64: the seed, and the counter before.

Raises:
    TypeError: state has another dtype or shape.

Example:
    >>> import gorgo as gg
    >>> state = gg.asarray([7, 0], dtype=gg.uint64)
    >>> gg._core.random_key(state).tolist(), state.tolist()
    ([7, 0], [7, 1])
)";
    op.inputs = {{.name = "state", .mutates = true, .shape_doc = "(2,) uint64"}};
    op.infer = infer_key;
    op.not_differentiable = "keys are integers";
    op.onnx = {nullptr, 0, kNoOnnx};
    op.flags.random = true;
    random_ops.key = &registry.add(std::move(op));
  }
  {
    OpDef op = drawing_op("random_uniform", "Draw numbers that are uniform in [low, high).", R"(Args:
    key (2,) uint64: from random_key.
    shape (tuple of int): the shape of the result.
    low (float): the lower end.
    high (float): the upper end; rounding may reach it when it is not 1.
    dtype (dtype): a real floating one.

Returns:
    (*shape) float: the numbers.

Raises:
    ValueError: low is above high.

Source:
    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

Example:
    >>> import gorgo as gg
    >>> key = gg.asarray([7, 0], dtype=gg.uint64)
    >>> gg._core.random_uniform(key, (2, 3)).shape
    (2, 3)
)");
    op.attrs = &schema_of<UniformAttrs>();
    op.infer = infer_uniform;
    random_ops.uniform = &registry.add(std::move(op));
  }
  {
    OpDef op = drawing_op("random_normal", "Draw normally distributed numbers.", R"(Args:
    key (2,) uint64: from random_key.
    shape (tuple of int): the shape of the result.
    mean (float): the mean.
    std (float): the standard deviation.
    dtype (dtype): a real floating one.

Returns:
    (*shape) float: the numbers.

Raises:
    ValueError: std is negative.

Source:
    Box, Muller, "A note on the generation of random normal deviates", Ann. Math. Stat. 29 (1958).

Example:
    >>> import gorgo as gg
    >>> key = gg.asarray([7, 0], dtype=gg.uint64)
    >>> gg._core.random_normal(key, (2, 3)).shape
    (2, 3)
)");
    op.attrs = &schema_of<NormalAttrs>();
    op.infer = infer_normal;
    random_ops.normal = &registry.add(std::move(op));
  }
  {
    OpDef op = drawing_op("random_randint", "Draw integers that are uniform in [low, high).", R"(Args:
    key (2,) uint64: from random_key.
    shape (tuple of int): the shape of the result.
    low (int): the lowest.
    high (int): one above the highest.
    dtype (dtype): an integer one.

Returns:
    (*shape) integer: the numbers.

Raises:
    ValueError: low is not below high.
    OverflowError: the range does not fit the dtype.

Example:
    >>> import gorgo as gg
    >>> key = gg.asarray([7, 0], dtype=gg.uint64)
    >>> gg._core.random_randint(key, (2, 3), 5, 6).tolist()
    [[5, 5, 5], [5, 5, 5]]
)");
    op.attrs = &schema_of<RandintAttrs>();
    op.infer = infer_randint;
    random_ops.randint = &registry.add(std::move(op));
  }
  {
    OpDef op = drawing_op("random_bernoulli", "Draw bools that are true with probability p.", R"(Args:
    key (2,) uint64: from random_key.
    shape (tuple of int): the shape of the result.
    p (float): the probability, in [0, 1].

Returns:
    (*shape) bool: the draws.

Raises:
    ValueError: p is outside [0, 1].

Example:
    >>> import gorgo as gg
    >>> key = gg.asarray([7, 0], dtype=gg.uint64)
    >>> gg._core.random_bernoulli(key, (3,), 1.0).tolist()
    [True, True, True]
)");
    op.attrs = &schema_of<BernoulliAttrs>();
    op.infer = infer_bernoulli;
    random_ops.bernoulli = &registry.add(std::move(op));
  }
  {
    OpDef op = drawing_op("random_permutation", "Draw an order of the integers from 0 to n - 1.", R"(Args:
    key (2,) uint64: from random_key.
    n (int): how many.

Returns:
    (n,) int64: each integer once.

Raises:
    ValueError: n is negative or 2**32 or more.

Example:
    >>> import gorgo as gg
    >>> key = gg.asarray([7, 0], dtype=gg.uint64)
    >>> sorted(gg._core.random_permutation(key, 4).tolist())
    [0, 1, 2, 3]
)");
    op.attrs = &schema_of<PermutationAttrs>();
    op.infer = infer_permutation;
    random_ops.permutation = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "dropout";
    op.doc = "Make elements zero with probability p and divide the others by 1 - p.";
    op.details = R"(Args:
    x (...) float: the tensor.
    key (2,) uint64: from random_key.
    p (float): the probability, in [0, 1].

Returns:
    out (...) float: the result.
    mask (...) bool: true where an element was kept.

Raises:
    ValueError: p is outside [0, 1].

Source:
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014).

Example:
    >>> import gorgo as gg
    >>> key = gg.asarray([7, 0], dtype=gg.uint64)
    >>> gg._core.dropout(gg.ones((3,)), key, 1.0)[0].tolist()
    [0.0, 0.0, 0.0]
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) float"}, {.name = "key", .shape_doc = "(2,) uint64"}};
    op.outputs = {"out", "mask"};
    op.attrs = &schema_of<DropoutAttrs>();
    op.infer = infer_dropout;
    op.vjp = vjp_dropout;
    op.saves_outputs = 2u;
    op.onnx = {"Dropout", 12, nullptr};
    random_ops.dropout = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "dropout_adjoint";
    op.doc = "Pass on g where the mask is true, divided by 1 - p.";
    op.inputs = {{.name = "g", .shape_doc = "(...) float"}, {.name = "mask", .shape_doc = "(...) bool"}};
    op.attrs = &schema_of<DropoutAttrs>();
    op.infer = infer_dropout_adjoint;
    op.vjp = [](VjpContext& c) {
      if (c.wants(0)) c.set(0, dropout_adjoint(c.grad(), c.input(1), c.attrs_as<DropoutAttrs>().p));
    };
    op.saves_inputs = 2u;
    op.onnx = {nullptr, 0, "exported as Where and Mul"};
    op.flags.linear = true;
    op.flags.internal = true;
    random_ops.dropout_adjoint = &registry.add(std::move(op));
  }
}

}  // namespace gorgo
