// The random family's ops whose parameters are tensors: shapes, ranges, and the gradient of gamma draws.
//
// Parameters broadcast against each other, and to `shape` where it is given. Counts and bools are drawn from float64 parameters,
// whatever theirs are.
// Read next: kernels_cpu_sample.cpp.
#include <bit>

#include "ops/elementwise/elementwise.h"
#include "ops/random/random.h"
#include "ops/reduce/reduce.h"

namespace gorgo {

namespace {

using random_rules::check_key;
using random_rules::drawing_op;

// The promoted dtype of the parameters, float32 when none is floating.
DType parameter_dtype(const InferContext& c, int first) {
  bool any = false;
  DType d = DType::Float32;
  for (size_t i = static_cast<size_t>(first); i < c.in.size(); ++i) {
    if (!c.in[i].is_tensor()) continue;
    const DType own = c.in[i].tensor->dtype;
    if (is_complex(own)) {
      fail<TypeError>(c.name(), ": ", c.op.inputs[i].name, " must be real, got ", own);
    }
    if (!is_floating(own)) continue;
    d = any ? promote(d, own) : own;
    any = true;
  }
  return d;
}

Shape parameter_shape(const InferContext& c, int first, const OptInts& wanted) {
  Shape shape;
  for (size_t i = static_cast<size_t>(first); i < c.in.size(); ++i) {
    if (c.in[i].is_tensor()) shape = broadcast_shapes(shape, c.in[i].tensor->shape, c.name());
  }
  if (!wanted.has) return shape;
  static_cast<void>(numel_of(wanted.value, c.name()));
  if (broadcast_shapes(shape, wanted.value, c.name()) != wanted.value) {
    fail<ValueError>(c.name(), ": shape must be one that the parameters broadcast to, got ", wanted.value,
                     " (they are of shape ", shape, ")");
  }
  return wanted.value;
}

// Counts and bools: drawn in float64.
template <DType kResult>
void infer_counts(InferContext& c) {
  check_key(c, 0, "key");
  static_cast<void>(parameter_dtype(c, 1));
  c.compute_dtype = DType::Float64;
  c.cast_mask = ~1u;
  c.add_output(kResult, parameter_shape(c, 1, c.attrs_as<SampleAttrs>().shape));
}

template <class A>
void infer_reals(InferContext& c) {
  check_key(c, 0, "key");
  c.compute_dtype = parameter_dtype(c, 1);
  c.cast_mask = ~1u;
  c.add_output(c.compute_dtype, parameter_shape(c, 1, c.attrs_as<A>().shape));
}

// Parameters, and a draw at position 1 whose dtype counts.
void infer_slope(InferContext& c) {
  c.compute_dtype = c.dtype(1);
  c.cast_mask = ~0u;
  c.add_output(c.compute_dtype, parameter_shape(c, 0, {}));
}

void vjp_gamma(VjpContext& c) {
  if (!c.wants(1)) return;
  const GammaSlopeAttrs attrs{c.attrs_as<GammaAttrs>().log};
  const Tensor slope = invoke(*random_ops.gamma_slope, {c.input(1), c.output()}, &attrs);
  c.set(1, sum_to(ops::multiply(c.grad(), slope), c.input_shape(1)));
}

void vjp_truncated_normal(VjpContext& c) {
  const auto end = [&](int i) { return c.input(i) ? Arg(c.input(i)) : c.args[static_cast<size_t>(i)]; };
  for (const int i : {1, 2}) {
    if (!c.wants(i)) continue;
    const TruncatedSlopeAttrs attrs{i == 2};
    const Tensor slope = invoke(*random_ops.truncated_slope, {end(1), c.output(), end(2)}, &attrs);
    c.set(i, cast_to(sum_to(ops::multiply(c.grad(), slope), c.input_shape(i)), c.input_dtype(i)));
  }
}

const char* parameter_word(const void* attrs) {
  return kParameters[static_cast<const ParameterAttrs*>(attrs)->of.index];
}

void infer_parameter(InferContext& c) {
  const DType d = c.dtype(0);
  if (is_complex(d)) fail<TypeError>(parameter_word(c.attrs), " must be real, got dtype ", d);
  c.compute_dtype = is_floating(d) ? d : DType::Float32;
  c.cast_mask = ~0u;
  c.add_output(c.compute_dtype, c.shape(0));
}

void vjp_parameter(VjpContext& c) { c.set(0, c.grad()); }

void infer_multinomial(InferContext& c) {
  check_key(c, 0, "key");
  const Shape& weights = c.shape(1);
  const auto& a = c.attrs_as<MultinomialAttrs>();
  if (weights.size() != 1 && weights.size() != 2) {
    fail<ValueError>(c.name(), ": weights must have one or two axes, got shape ", weights);
  }
  const int64_t length = weights.back();
  if (a.count < 0 || (!a.replacement && a.count > length)) {
    fail<ValueError>(c.name(), ": count must be in [0, ", length, "] without replacement, got ", a.count,
                     " (weights has shape ", weights, ")");
  }
  if (length == 0 || length > UINT32_MAX) {
    fail<ValueError>(c.name(), ": weights must have 1 to 2**32 - 1 entries, got shape ", weights);
  }
  static_cast<void>(parameter_dtype(c, 1));
  c.compute_dtype = DType::Float64;
  c.cast_mask = ~1u;
  Shape shape = weights;
  shape[shape.size() - 1] = a.count;
  static_cast<void>(numel_of(shape, c.name()));
  c.add_output(DType::Int64, shape);
}

double figure_of(const Fault& f, int i) { return std::bit_cast<double>(f.figure(i)); }

OpDef sampling_op(const char* name, const char* doc, const char* details, std::vector<Slot> parameters) {
  OpDef op = drawing_op(name, doc, details);
  for (Slot& slot : parameters) {
    slot.takes_scalar = true;
    op.inputs.push_back(slot);
  }
  op.not_differentiable = "draws of whole numbers do not vary smoothly with the parameters";
  op.attrs = &schema_of<SampleAttrs>();
  return op;
}

}  // namespace

#define GORGO_REFUSE(name, message)                                                                             \
  [](const Fault& f, const KernelArgs&) {                                                                       \
    fail<ValueError>(name ": " message ", got ", figure_of(f, f.code() - 1), " (position ", f.position(), ")"); \
  }

void register_random_samples(Registry& registry) {
  {
    OpDef op = sampling_op("random_bernoulli_each", "Draw bools, each true with a probability of its own.", R"(Args:
    key (2,) uint64: from random_key.
    p (...) real: the probabilities, in [0, 1].
    shape (tuple of int): the shape of the result; that of p when None.

Returns:
    (*shape) bool: the draws.

Raises:
    ValueError: an entry of p is outside [0, 1].

Example:
    >>> import gorgo as gg
    >>> key = gg.asarray([7, 0], dtype=gg.uint64)
    >>> gg._core.random_bernoulli_each(key, gg.asarray([0.0, 1.0])).tolist()
    [False, True]
)",
                           {{.name = "p", .shape_doc = "(...) real"}});
    op.infer = infer_counts<DType::Bool>;
    op.raise_fault = GORGO_REFUSE("random_bernoulli_each", "p must be in [0, 1]");
    registry.add(std::move(op));
  }
  {
    OpDef op = sampling_op("random_geometric", "Draw numbers of trials up to the first success.", R"(Args:
    key (2,) uint64: from random_key.
    p (...) real: the probability of success, in (0, 1].
    shape (tuple of int): the shape of the result; that of p when None.

Returns:
    (*shape) int64: the draws, from 1 on.

Raises:
    ValueError: an entry of p is outside (0, 1].

Source:
    Devroye, "Non-uniform random variate generation", Springer 1986, chapter X.2.

Example:
    >>> import gorgo as gg
    >>> key = gg.asarray([7, 0], dtype=gg.uint64)
    >>> gg._core.random_geometric(key, 1.0, shape=(2,)).tolist()
    [1, 1]
)",
                           {{.name = "p", .shape_doc = "(...) real"}});
    op.infer = infer_counts<DType::Int64>;
    op.raise_fault = GORGO_REFUSE("random_geometric", "p must be in (0, 1]");
    registry.add(std::move(op));
  }
  {
    OpDef op = sampling_op("random_poisson", "Draw counts of events that come at a rate.", R"(Args:
    key (2,) uint64: from random_key.
    rate (...) real: the expected counts, in [0, 2**60].
    shape (tuple of int): the shape of the result; that of rate when None.

Returns:
    (*shape) int64: the draws.

Raises:
    ValueError: an entry of rate is outside [0, 2**60].

Source:
    Hoermann, "The transformed rejection method for generating Poisson random variables", Insurance: Math. Econ. 12 (1993).

Example:
    >>> import gorgo as gg
    >>> key = gg.asarray([7, 0], dtype=gg.uint64)
    >>> gg._core.random_poisson(key, 0.0, shape=(2,)).tolist()
    [0, 0]
)",
                           {{.name = "rate", .shape_doc = "(...) real"}});
    op.infer = infer_counts<DType::Int64>;
    op.raise_fault = GORGO_REFUSE("random_poisson", "rate must be in [0, 2**60]");
    registry.add(std::move(op));
  }
  {
    OpDef op = sampling_op("random_binomial", "Draw numbers of successes among trials.", R"(Args:
    key (2,) uint64: from random_key.
    count (...) real: the numbers of trials, whole and in [0, 2**40).
    p (...) real: the probability of success, in [0, 1].
    shape (tuple of int): the shape of the result; that of count and p broadcast when None.

Returns:
    (*shape) int64: the draws.

Raises:
    ValueError: an entry of count or p is out of range.

Source:
    Hoermann, "The generation of binomial random variates", J. Statist. Comput. Simul. 46 (1993).

Example:
    >>> import gorgo as gg
    >>> key = gg.asarray([7, 0], dtype=gg.uint64)
    >>> gg._core.random_binomial(key, 5, 1.0, shape=(2,)).tolist()
    [5, 5]
)",
                           {{.name = "count", .shape_doc = "(...) real"}, {.name = "p", .shape_doc = "(...) real"}});
    op.infer = infer_counts<DType::Int64>;
    op.raise_fault = [](const Fault& f, const KernelArgs&) {
      fail<ValueError>(
          "random_binomial: ", f.code() == 1 ? "count must be whole and in [0, 2**40)" : "p must be in [0, 1]",
          ", got ", figure_of(f, f.code() - 1), " (position ", f.position(), ")");
    };
    registry.add(std::move(op));
  }
  {
    OpDef op = sampling_op("random_gamma", "Draw from gamma distributions of scale one.", R"(Args:
    key (2,) uint64: from random_key.
    concentration (...) real: the shape parameters, above 0.
    shape (tuple of int): the shape of the result; that of concentration when None.
    log (bool): whether to give the draws' logarithms, which do not underflow where concentration is small.

Returns:
    (*shape) float: the draws, in concentration's dtype; float32 when that is not floating.

Raises:
    ValueError: an entry of concentration is not positive and finite.

Source:
    Marsaglia, Tsang, "A simple method for generating gamma variables", ACM Trans. Math. Softw. 26 (2000).
    Figurnov, Mohamed, Mnih, "Implicit reparameterization gradients", NeurIPS 2018.

Example:
    >>> import gorgo as gg
    >>> key = gg.asarray([7, 0], dtype=gg.uint64)
    >>> gg._core.random_gamma(key, 0.5, shape=(3,)).shape
    (3,)
)",
                           {{.name = "concentration", .shape_doc = "(...) real"}});
    op.attrs = &schema_of<GammaAttrs>();
    op.infer = infer_reals<GammaAttrs>;
    op.raise_fault = GORGO_REFUSE("random_gamma", "concentration must be positive and finite");
    op.not_differentiable = nullptr;
    op.vjp = vjp_gamma;
    op.saves_inputs = 2u;
    op.saves_outputs = 1u;
    registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "random_gamma_slope";
    op.doc = "Tell how a gamma draw moves with its concentration when its quantile stays.";
    op.inputs = {{.name = "concentration", .shape_doc = "(...) float"}, {.name = "draw", .shape_doc = "(...) float"}};
    op.attrs = &schema_of<GammaSlopeAttrs>();
    op.infer = infer_slope;
    op.not_differentiable = "the second derivative of a gamma quantile by its concentration has no kernel";
    op.onnx = {nullptr, 0, "ONNX has no incomplete gamma function"};
    op.flags.internal = true;
    random_ops.gamma_slope = &registry.add(std::move(op));
  }
  {
    OpDef op =
        sampling_op("random_truncated_normal", "Draw from the standard normal distribution between two ends.", R"(Args:
    key (2,) uint64: from random_key.
    low (...) real: the lower ends.
    high (...) real: the upper ends, above low.
    shape (tuple of int): the shape of the result; that of low and high broadcast when None.

Returns:
    (*shape) float: the draws, in the dtype of low and high; float32 when that is not floating.

Raises:
    ValueError: low is not below high.

Source:
    Robert, "Simulation of truncated normal variables", Statistics and Computing 5 (1995).
    Figurnov, Mohamed, Mnih, "Implicit reparameterization gradients", NeurIPS 2018.

Example:
    >>> import gorgo as gg
    >>> key = gg.asarray([7, 0], dtype=gg.uint64)
    >>> bool(gg.all(gg._core.random_truncated_normal(key, 3.0, 4.0, shape=(9,)) >= 3.0))
    True
)",
                    {{.name = "low", .shape_doc = "(...) real"}, {.name = "high", .shape_doc = "(...) real"}});
    op.infer = infer_reals<SampleAttrs>;
    op.not_differentiable = nullptr;
    op.vjp = vjp_truncated_normal;
    op.saves_inputs = 6u;
    op.saves_outputs = 1u;
    op.raise_fault = [](const Fault& f, const KernelArgs&) {
      fail<ValueError>("random_truncated_normal: low must be below high, got ", figure_of(f, 0), " and ",
                       figure_of(f, 1), " (position ", f.position(), ")");
    };
    registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "random_truncated_normal_slope";
    op.doc = "Tell how a truncated normal draw moves with an end when its quantile stays.";
    op.inputs = {{.name = "low", .takes_scalar = true, .shape_doc = "(...) float"},
                 {.name = "draw", .shape_doc = "(...) float"},
                 {.name = "high", .takes_scalar = true, .shape_doc = "(...) float"}};
    op.attrs = &schema_of<TruncatedSlopeAttrs>();
    op.infer = infer_slope;
    op.not_differentiable = "the second derivative of a truncated normal quantile by its ends has no kernel";
    op.onnx = {nullptr, 0, "ONNX has no error function of scaled arguments"};
    op.flags.internal = true;
    random_ops.truncated_slope = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "random_parameter";
    op.doc = "Pass a distribution's parameter on, or refuse it in the name of the function that was given it.";
    op.details = R"(Args:
    x (...) real: the parameter.
    of (str): function and argument, such as 'exponential: scale'.
    rule (str): what its elements must be, 'finite', 'not negative' or 'positive and finite'.

Returns:
    (...) float: x, as float32 when it is not floating.

Raises:
    ValueError: an element is not what it must be.

Example:
    >>> import gorgo as gg
    >>> gg._core.random_parameter(gg.asarray([2.0]), "exponential: scale", "positive and finite").tolist()
    [2.0]
)";
    op.inputs = {{.name = "x", .shape_doc = "(...) real"}};
    op.attrs = &schema_of<ParameterAttrs>();
    op.infer = infer_parameter;
    op.vjp = vjp_parameter;
    op.onnx = {nullptr, 0, "ONNX has no op that refuses values"};
    op.raise_fault = [](const Fault& f, const KernelArgs& args) {
      fail<ValueError>(parameter_word(args.attrs), " must be ",
                       kParameterRules[args.attrs_as<ParameterAttrs>().rule.index], ", got ", figure_of(f, 0),
                       " (position ", f.position(), ")");
    };
    registry.add(std::move(op));
  }
  {
    OpDef op = drawing_op("random_multinomial", "Draw positions, each as likely as its weight says.", R"(Args:
    key (2,) uint64: from random_key.
    weights (n,) or (m, n) real: not negative; a row need not sum to one.
    count (int): how many draws of each row.
    replacement (bool): whether a position may be drawn several times.

Returns:
    (count,) or (m, count) int64: the positions.

Raises:
    ValueError: a weight is negative or not finite, a row's sum is zero, or it has too few positive weights.

Source:
    Efraimidis, Spirakis, "Weighted random sampling with a reservoir", Inf. Process. Lett. 97 (2006).

Example:
    >>> import gorgo as gg
    >>> key = gg.asarray([7, 0], dtype=gg.uint64)
    >>> gg._core.random_multinomial(key, gg.asarray([0.0, 1.0]), 1).tolist()
    [1]
)");
    op.inputs.push_back({.name = "weights", .shape_doc = "(n,) or (m, n) real"});
    op.attrs = &schema_of<MultinomialAttrs>();
    op.infer = infer_multinomial;
    op.not_differentiable = "draws of whole numbers do not vary smoothly with the parameters";
    op.raise_fault = [](const Fault& f, const KernelArgs& args) {
      const int64_t length = args.in[1].shape[args.in[1].rank - 1];
      if (f.code() == 1) {
        fail<ValueError>("random_multinomial: weights must be finite and not negative, got ", figure_of(f, 0),
                         " (position ", f.position(), ")");
      }
      if (f.code() == 2) {
        fail<ValueError>("random_multinomial: weights must have a positive finite sum, got ", figure_of(f, 0), " (row ",
                         f.position() / length, ")");
      }
      fail<ValueError>("random_multinomial: weights must have a positive entry for each draw without replacement, got ",
                       f.figure(0), " for ", f.figure(1), " (row ", f.position() / length, ")");
    };
    registry.add(std::move(op));
  }
}

#undef GORGO_REFUSE

}  // namespace gorgo
