// OpDefs of the elementwise ops, generated from their structs: what infer answers, how gradients are made.
//
// A gradient is one fused backward op (internal, "<name>_backward") when it will not itself be differentiated, and otherwise the
// struct's same formula run over Expr, whose operators call ops through the funnel.
#include "ops/elementwise/elementwise.h"

#include <array>
#include <complex>
#include <concepts>
#include <string>
#include <utility>

#include "graph/capture.h"
#include "ops/reduce/reduce.h"

namespace gorgo {

ElementwiseOps elementwise_ops;

// ---- Expr: a value of the functors' vocabulary that calls ops ----

namespace composed {

// A tensor, or a constant that becomes a weak scalar (or is folded with another).
class Expr {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor)
  Expr(Tensor t) : tensor_(std::move(t)) {}
  static Expr constant(std::complex<double> v) {
    Expr e{Tensor()};
    e.value_ = v;
    e.is_constant_ = true;
    return e;
  }
  static Expr of(const Arg& arg) {
    return arg.is_scalar() ? constant(arg.scalar.to_complex()) : Expr(Tensor::share(arg.tensor));
  }
  [[nodiscard]] bool is_constant() const { return is_constant_; }
  [[nodiscard]] bool is_real() const { return value_.imag() == 0.0; }
  [[nodiscard]] double value() const { return value_.real(); }
  [[nodiscard]] std::complex<double> complex_value() const { return value_; }
  [[nodiscard]] const Tensor& tensor() const { return tensor_; }
  [[nodiscard]] Arg arg() const {
    if (!is_constant_) return Arg(tensor_);
    return is_real() ? ops::number(value()) : Arg(Scalar::of_complex(value_));
  }

 private:
  Tensor tensor_;
  std::complex<double> value_;
  bool is_constant_ = false;
};

inline Expr like(const Expr&, double v) { return Expr::constant(v); }
inline Expr conj(const Expr& x) {
  if (x.is_constant()) return Expr::constant(std::conj(x.complex_value()));
  return !is_complex(x.tensor()->dtype) ? x : Expr(ops::conj(x.arg()));
}

#define GORGO_X(op, call)                                                          \
  inline Expr operator op(const Expr& a, const Expr& b) {                          \
    if (!a.is_constant() || !b.is_constant()) return ops::call(a.arg(), b.arg());  \
    if (a.is_real() && b.is_real()) return Expr::constant(a.value() op b.value()); \
    return Expr::constant(a.complex_value() op b.complex_value());                 \
  }
GORGO_X(+, add)
GORGO_X(-, subtract)
GORGO_X(*, multiply)
GORGO_X(/, divide)
GORGO_X(==, equal)
#undef GORGO_X
#define GORGO_X(op, call)                                                         \
  inline Expr operator op(const Expr& a, const Expr& b) {                         \
    if (!a.is_constant() || !b.is_constant()) return ops::call(a.arg(), b.arg()); \
    return Expr::constant(a.value() op b.value());                                \
  }
GORGO_X(<, less)
GORGO_X(<=, less_equal)
GORGO_X(>, greater)
GORGO_X(>=, greater_equal)
#undef GORGO_X
inline Expr operator-(const Expr& a) {
  return a.is_constant() ? Expr::constant(-a.complex_value()) : Expr(ops::negative(a.arg()));
}
inline Expr select(const Expr& m, const Expr& a, const Expr& b) {
  if (m.is_constant()) return m.complex_value() != 0.0 ? a : b;
  return ops::where(m.arg(), a.arg(), b.arg());
}

// Every op of the list by its name. Of constants alone it is computed here and now, and is a constant again.
inline Tensor tensor_of(const Expr& x) {
  if (!x.is_constant()) return x.tensor();
  Tensor made = make_tensor({}, x.is_real() ? DType::Float64 : DType::Complex128, Device{});
  store_scalar(x.is_real() ? Scalar::of_float(x.value()) : Scalar::of_complex(x.complex_value()), made->dtype,
               "constant", made->data());
  return made;
}
inline Expr constant_of(const Tensor& t) { return Expr::constant(load_scalar(t->data(), t->dtype).to_complex()); }

// Templates, so that what is written above by hand goes before them.
#define GORGO_X(Struct, name)                        \
  template <std::same_as<Expr> E>                    \
  inline Expr name(const E& x) {                     \
    if (!x.is_constant()) return ops::name(x.arg()); \
    const Recorder::Pause pause;                     \
    return constant_of(ops::name(tensor_of(x)));     \
  }
GORGO_FOR_EACH_UNARY_OP(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name)                                                     \
  template <std::same_as<Expr> E>                                                 \
  inline Expr name(const E& a, const E& b) {                                      \
    if (!a.is_constant() || !b.is_constant()) return ops::name(a.arg(), b.arg()); \
    const Recorder::Pause pause;                                                  \
    return constant_of(ops::name(tensor_of(a), tensor_of(b)));                    \
  }
GORGO_FOR_EACH_BINARY_OP(GORGO_X)
#undef GORGO_X

// The derivative of digamma.
inline Expr trigamma(const Expr& x) { return ops::polygamma(tensor_of(x), 1); }

}  // namespace composed
}  // namespace gorgo

#include "ops/elementwise/functors.h"

namespace gorgo {
namespace {

using composed::Expr;
using composed::Facts;
using composed::Gives;
using composed::kSavesA;
using composed::kSavesB;
using composed::kSavesNothing;
using composed::kSavesOut;
using composed::Takes;

// ---- infer ----

struct TakesFacts {
  DTypeSet accepted;
  bool floats;  // integers and bool become float32
  const char* words;
};
TakesFacts facts_of(Takes takes) {
  switch (takes) {
    case Takes::Numeric:
      return {kNumericSet, false, "numeric"};
    case Takes::Real:
      return {kRealSet, false, "real"};
    case Takes::Float:
      return {kFloatSet, true, "real"};
    case Takes::FloatOrComplex:
      return {kFloatSet | kComplexSet, true, "numeric"};
    case Takes::Integer:
      return {kIntegerSet, false, "integer"};
    case Takes::IntegerOrBool:
      return {kIntegerSet | kBoolSet, false, "integer or bool"};
    case Takes::Bool:
      return {kBoolSet, false, "bool"};
    case Takes::Any:
      return {kAllSet, false, "any"};
  }
  return {};
}

[[gnu::cold, gnu::noinline]] void refuse_dtype(const InferContext& c, const TakesFacts& takes, DType got) {
  if (c.in.size() == 1) fail<TypeError>(c.name(), ": x dtype must be ", takes.words, ", got ", got);
  fail<TypeError>(c.name(), ": x1 and x2 must meet in a dtype that is ", takes.words, ", got ", got);
}
[[gnu::cold, gnu::noinline]] void refuse_missing(const InferContext& c, size_t i) {
  fail<TypeError>(c.name(), ": ", c.op.slot_of(static_cast<int>(i)).name, " must be a tensor or a number, got None");
}

// The dtype in which operands [first, end) meet: tensors by the table, then the weak scalars.
DType meet(const InferContext& c, size_t first) {
  bool any = false;
  DType d = DType::Bool;
  for (size_t i = first; i < c.in.size(); ++i) {
    if (c.in[i].is_tensor()) {
      const DType next = c.in[i].tensor->dtype;
      d = !any || next == d ? next : promote(d, next);
      any = true;
    } else if (!c.in[i].given()) {
      refuse_missing(c, i);
    }
  }
  for (size_t i = first; i < c.in.size(); ++i) {
    if (!c.in[i].is_scalar()) continue;
    d = any ? promote(d, c.in[i].scalar) : default_dtype_of(c.in[i].scalar);
    any = true;
  }
  return d;
}

// Adds an output of the operands' common shape.
void add_broadcast_output(InferContext& c, DType dtype) {
  const TensorImpl* lead = nullptr;
  bool same = true;
  for (const Arg& arg : c.in) {
    if (!arg.is_tensor()) continue;
    if (lead == nullptr) {
      lead = arg.tensor;
    } else {
      same = same && lead->shape == arg.tensor->shape;
    }
  }
  OutSpec& out = c.out.emplace_back();
  out.dtype = dtype;
  if (lead == nullptr) return;
  if (same) {
    out.shape = lead->shape;
    return;
  }
  Shape shape = lead->shape;
  for (const Arg& arg : c.in) {
    if (arg.is_tensor()) shape = broadcast_shapes(shape, arg.tensor->shape, c.name());
  }
  out.shape = shape;
}

GORGO_INLINE void infer_by(InferContext& c, const Facts& facts) {
  const TakesFacts takes = facts_of(facts.takes);
  DType d = meet(c, 0);
  if (takes.floats && !is_inexact(d)) d = DType::Float32;
  if (facts.takes == Takes::Bool) d = DType::Bool;  // the logical ops ask every element whether it is zero
  if (!takes.accepted.has(d)) [[unlikely]]
    refuse_dtype(c, takes, d);
  c.compute_dtype = d;
  c.cast_mask = ~0u;
  add_broadcast_output(c, facts.gives == Gives::Bool ? DType::Bool : d);
}
// Real ops with kernels and a gradient of their own for complex numbers.
template <class Op>
constexpr bool kAlsoComplex = std::is_same_v<Op, composed::Sign> || std::is_same_v<Op, composed::Round>;

template <class Op>
void infer_op(InferContext& c) {
  if constexpr (std::is_same_v<Op, composed::Abs>) {  // of complex numbers it is real
    if (c.in[0].is_tensor() && is_complex(c.in[0].tensor->dtype)) {
      c.compute_dtype = c.in[0].tensor->dtype;
      add_broadcast_output(c, real_dtype(c.compute_dtype));
      return;
    }
  }
  if constexpr (kAlsoComplex<Op>) {
    if (c.in[0].is_tensor() && is_complex(c.in[0].tensor->dtype)) {
      c.compute_dtype = c.in[0].tensor->dtype;
      add_broadcast_output(c, c.compute_dtype);
      return;
    }
  }
  infer_by(c, Op::kFacts);
}
// Backward companions: operand 0 is the gradient of the output, in whose dtype and shape the kernels read all others.
void infer_unary_backward(InferContext& c) {
  const Shape& shape = c.shape(0);
  c.compute_dtype = c.dtype(0);
  for (size_t i = 1; i < c.in.size(); ++i) {
    if (c.in[i].is_scalar()) continue;
    const TensorImpl& t = c.tensor(static_cast<int>(i));
    if (t.dtype != c.compute_dtype || (t.shape != shape && broadcast_shapes(t.shape, shape, c.name()) != shape)) {
      fail<ValueError>(c.name(), ": ", c.op.slot_of(static_cast<int>(i)).name, " must fit the gradient's ",
                       c.compute_dtype, ' ', shape, ", got ", t.dtype, ' ', t.shape);
    }
  }
  c.add_output(c.compute_dtype, shape);
}
void infer_binary_backward(InferContext& c) {
  const int64_t which = c.attrs_as<BackwardAttrs>().which;
  if (which < 1 || which > 3) fail<ValueError>(c.name(), ": which must be in [1, 3], got ", which);
  infer_unary_backward(c);
  if (which == 3) c.add_output(c.compute_dtype, c.shape(0));
}

// ---- gradients ----

template <class Op>
const OpDef* backward_op = nullptr;

template <class Op>
constexpr bool kFused = Op::kFacts.no_gradient == nullptr && !Op::kFacts.composed_only;

// The tensor that a formula came to; one that came to a constant, as that of x^0, is a gradient of zeros.
Tensor gradient_of(const Expr& d, const Tensor& g) {
  if (!d.is_constant()) return d.tensor();
  return ops::where(ops::equal(g, g), d.arg(), d.arg());
}

// |x| of complex x is real; its gradient points along x.
void complex_abs_vjp(VjpContext& c) {
  const Expr g(c.grad());
  const Expr x(c.input(0));
  const Expr y = c.create_graph ? Expr(ops::abs(c.input(0))) : Expr(c.output());
  c.set(0, ops::multiply(g.arg(), select(y == Expr::constant(0.0), Expr::constant(0.0), x / y).arg()));
}

// x / |x| turns with x and does not grow with it: what is left of the gradient stands across x.
void complex_sign_vjp(VjpContext& c) {
  const Tensor g = c.grad();
  const Tensor x = c.input(0);
  const Tensor y = ops::sign(x);
  const Tensor along = ops::real(ops::multiply(g, ops::conj(y)));
  const Tensor across = ops::subtract(g, ops::multiply(along, y));
  const Tensor zero = ops::equal(x, ops::number(0.0));
  const Tensor size = ops::where(zero, ops::number(1.0), ops::abs(x));
  c.set(0, ops::where(zero, ops::number(0.0), ops::divide(across, size)));
}

template <class Op>
void unary_vjp(VjpContext& c) {
  constexpr uint8_t kSaves = Op::kFacts.saves_a;
  if constexpr (kAlsoComplex<Op>) {
    if (is_complex(c.input_dtype(0))) {
      if constexpr (std::is_same_v<Op, composed::Sign>) {
        complex_sign_vjp(c);
      } else {
        c.set(0, gradient_of(Expr::constant(0.0), c.grad()));
      }
      return;
    }
  }
  if constexpr (std::is_same_v<Op, composed::Abs>) {
    if (is_complex(c.input_dtype(0))) return complex_abs_vjp(c);
  }
  if constexpr (kFused<Op>) {
    if (!c.create_graph || Op::kFacts.zero_gradient) {
      if constexpr (kSaves == kSavesNothing) {
        c.set(0, invoke(*backward_op<Op>, {c.grad()}));
      } else {
        c.set(0, invoke(*backward_op<Op>, {c.grad(), kSaves == kSavesA ? c.input(0) : c.output()}));
      }
      return;
    }
  }
  const Expr g(c.grad());
  const Expr x(kSaves == kSavesA ? c.input(0) : Tensor());
  const Expr y(kSaves == kSavesOut ? c.output() : Tensor());
  c.set(0, gradient_of(Op::backward(g, x, y), c.grad()));
}

Arg operand_of(const VjpContext& c, int i) {
  const auto k = static_cast<size_t>(i);
  if (k < c.args.size() && c.args[k].is_scalar()) return c.args[k];
  return k < c.inputs.size() ? Arg(c.input(i)) : Arg();
}

template <class Op>
void binary_vjp(VjpContext& c) {
  const Arg a = operand_of(c, 0);
  const Arg b = operand_of(c, 1);
  const Tensor y = c.outputs.empty() ? Tensor() : c.output();
  const int64_t which = (c.wants(0) ? 1 : 0) | (c.wants(1) ? 2 : 0);
  if constexpr (kFused<Op>) {
    // x^2 has a gradient without pow.
    const bool short_cut = std::is_same_v<Op, composed::Pow> && b.is_scalar() && b.scalar.to_double() == 2.0;
    if (!c.create_graph && !short_cut) {
      constexpr bool kReadsOut = ((Op::kFacts.saves_a | Op::kFacts.saves_b) & kSavesOut) != 0;
      // What was not saved is not read: the gradient stands in its place.
      const Arg g(c.grad());
      const std::array<Arg, 4> args{g, a.given() ? a : g, b.given() ? b : g, y ? Arg(y) : g};
      const BackwardAttrs attrs{which};
      Outputs grads = invoke_all(*backward_op<Op>, {args.data(), kReadsOut ? size_t{4} : size_t{3}}, &attrs);
      int next = 0;
      for (int i = 0; i < 2; ++i) {
        if (c.wants(i)) c.set(i, sum_to(grads[next++], c.input_shape(i)));
      }
      return;
    }
  }
  const Expr ge(c.grad());
  const Expr ae = Expr::of(a);
  const Expr be = Expr::of(b);
  const Expr ye(y);
  const auto set = [&c](int i, const Expr& d) { c.set(i, sum_to(gradient_of(d, c.grad()), c.input_shape(i))); };
  if (c.wants(0)) set(0, Op::backward_a(ge, ae, be, ye));
  if (c.wants(1)) set(1, Op::backward_b(ge, ae, be, ye));
}

// The gradient of a piecewise constant op's gradient is nothing.
void zero_vjp(VjpContext&) {}

template <class Op>
uint32_t saves_when(uint32_t needs) {
  const uint32_t bits = ((needs & 1u) != 0 ? Op::kFacts.saves_a : 0u) | ((needs & 2u) != 0 ? Op::kFacts.saves_b : 0u);
  return bits & (kSavesA | kSavesB);
}

// ---- facts for planner, docs and export ----

Cost elementwise_cost(const KernelArgs& args) {
  Cost cost;
  for (int i = 0; i < args.in_count; ++i) {
    cost.bytes += static_cast<double>(args.in[i].numel * dtype_size(args.in[i].dtype));
  }
  for (int i = 0; i < args.out_count; ++i) {
    cost.bytes += static_cast<double>(args.out[i].numel * dtype_size(args.out[i].dtype));
    cost.flops += static_cast<double>(args.out[i].numel);
  }
  return cost;
}

constexpr const char* kUnaryDetails =
    "Args:\n    x: (...) a tensor.\n\nReturns:\n    (...) a new tensor of x's shape.\n\nRaises:\n    TypeError: the op "
    "does not take x's dtype.";
constexpr const char* kBinaryDetails =
    "Args:\n    x1: (...) a tensor or a number.\n    x2: (...) a tensor or a number; both are broadcast.\n\nReturns:\n "
    "   "
    "(...) a new tensor of the common shape.\n\nRaises:\n    TypeError: the op does not take the common dtype.\n    "
    "ValueError: the shapes cannot be broadcast.";

OpDef base_def(const Facts& facts) {
  OpDef op;
  op.name = facts.name;
  op.doc = facts.doc;
  op.not_differentiable = facts.no_gradient;
  op.onnx = OnnxName{facts.onnx, facts.since_opset, facts.onnx_reason};
  op.flags.truth = facts.takes == Takes::Bool;
  op.cost = elementwise_cost;
  op.flags.elementwise = true;
  op.flags.inplace_ok = facts.gives == Gives::Same;
  return op;
}

constexpr const char* kBackwardReason = "part of a gradient: exported as its formula";

OpDef backward_def(const char* name, std::vector<Slot> inputs) {
  OpDef op;
  op.name = name;
  op.doc = "Gradient of the op of that name, in one pass.";
  op.inputs = std::move(inputs);
  op.not_differentiable = "gradients of gradients are composed from ops";
  op.onnx.reason = kBackwardReason;
  op.cost = elementwise_cost;
  op.flags.elementwise = true;
  op.flags.internal = true;
  return op;
}

template <class Op>
const OpDef* register_unary(Registry& registry, const char* backward_name) {
  constexpr Facts kFacts = Op::kFacts;
  OpDef op = base_def(kFacts);
  op.details = kUnaryDetails;
  op.inputs = {{.name = "x", .takes_scalar = true}};
  op.infer = infer_op<Op>;
  if constexpr (kFacts.no_gradient == nullptr) {
    op.vjp = unary_vjp<Op>;
    op.saves_inputs = kFacts.saves_a & kSavesA;
    op.saves_outputs = (kFacts.saves_a & kSavesOut) != 0 ? 1u : 0u;
    if constexpr (std::is_same_v<Op, composed::Abs>) op.saves_outputs = 1u;  // for complex x
    if constexpr (std::is_same_v<Op, composed::Sign>) op.saves_inputs = 1u;  // likewise
    op.flags.linear = std::is_same_v<Op, composed::Negative> || std::is_same_v<Op, composed::Conj>;
    if constexpr (kFused<Op>) {
      OpDef back = backward_def(backward_name, {{.name = "g"}});
      if (kFacts.saves_a != kSavesNothing) back.inputs.push_back({.name = "saved"});
      back.infer = infer_unary_backward;
      if (kFacts.zero_gradient) {
        back.vjp = zero_vjp;
        back.not_differentiable = nullptr;
      }
      backward_op<Op> = &registry.add(std::move(back));
    }
  }
  return &registry.add(std::move(op));
}

template <class Op>
const OpDef* register_binary(Registry& registry, const char* backward_name) {
  constexpr Facts kFacts = Op::kFacts;
  constexpr uint8_t kSaves = kFacts.saves_a | kFacts.saves_b;
  OpDef op = base_def(kFacts);
  op.details = kBinaryDetails;
  op.inputs = {{.name = "x1", .takes_scalar = true}, {.name = "x2", .takes_scalar = true}};
  op.infer = infer_op<Op>;
  if constexpr (kFacts.no_gradient == nullptr) {
    op.vjp = binary_vjp<Op>;
    op.saves_inputs = kSaves & (kSavesA | kSavesB);
    op.saves_outputs = (kSaves & kSavesOut) != 0 ? 1u : 0u;
    op.saves_when = saves_when<Op>;
    op.flags.linear = std::is_same_v<Op, composed::Add> || std::is_same_v<Op, composed::Subtract>;
    if constexpr (kFused<Op>) {
      OpDef back = backward_def(
          backward_name, {{.name = "g"}, {.name = "x1", .takes_scalar = true}, {.name = "x2", .takes_scalar = true}});
      if ((kSaves & kSavesOut) != 0) back.inputs.push_back({.name = "out"});
      back.outputs = {"d1", "d2"};
      back.attrs = &schema_of<BackwardAttrs>();
      back.infer = infer_binary_backward;
      backward_op<Op> = &registry.add(std::move(back));
    }
  }
  return &registry.add(std::move(op));
}

// ---- the ops that are no functor ----

void infer_where(InferContext& c) {
  if (c.dtype(0) != DType::Bool) fail<TypeError>("where: condition dtype must be bool, got ", c.dtype(0));
  c.compute_dtype = meet(c, 1);
  c.cast_mask = 0b110;
  add_broadcast_output(c, c.compute_dtype);
}
void where_vjp(VjpContext& c) {
  const Arg zero = ops::number(0.0);
  if (c.wants(1)) c.set(1, sum_to(ops::where(c.input(0), c.grad(), zero), c.input_shape(1)));
  if (c.wants(2)) c.set(2, sum_to(ops::where(c.input(0), zero, c.grad()), c.input_shape(2)));
}

void infer_astype(InferContext& c) {
  const Arg& x = c.in[0];
  if (!x.given()) refuse_missing(c, 0);
  c.compute_dtype = x.is_tensor() ? x.tensor->dtype : default_dtype_of(x.scalar);
  add_broadcast_output(c, c.attrs_as<CastAttrs>().dtype);
}
void astype_vjp(VjpContext& c) { c.set(0, cast_to(c.grad(), c.input_dtype(0))); }

void infer_copy(InferContext& c) {
  c.compute_dtype = meet(c, 0);
  add_broadcast_output(c, c.compute_dtype);
}
void copy_vjp(VjpContext& c) { c.set(0, c.grad()); }

void infer_real(InferContext& c) {
  if (c.dtype(0) == DType::Bool) fail<TypeError>(c.name(), ": x dtype must be numeric, got bool");
  c.compute_dtype = c.dtype(0);
  c.add_output(real_dtype(c.dtype(0)), c.shape(0));
}
void infer_part(InferContext& c) {
  if (!is_complex(c.dtype(0))) fail<TypeError>(c.name(), ": x dtype must be complex, got ", c.dtype(0));
  c.compute_dtype = c.dtype(0);
  c.add_output(real_dtype(c.dtype(0)), c.shape(0));
}
void real_vjp(VjpContext& c) { c.set(0, cast_to(c.grad(), c.input_dtype(0))); }
void imag_vjp(VjpContext& c) {
  c.set(0, ops::multiply(cast_to(c.grad(), c.input_dtype(0)), Arg(Scalar::of_complex({0.0, 1.0}))));
}

OpDef special_def(const char* name, const char* doc, std::vector<Slot> inputs, void (*infer)(InferContext&),
                  VjpFn vjp) {
  OpDef op;
  op.name = name;
  op.doc = doc;
  op.inputs = std::move(inputs);
  op.infer = infer;
  op.vjp = vjp;
  op.cost = elementwise_cost;
  op.flags.elementwise = true;
  return op;
}

void register_special(Registry& registry) {
  OpDef where =
      special_def("where", "Take from x1 where the condition holds, else from x2.",
                  {{.name = "condition"}, {.name = "x1", .takes_scalar = true}, {.name = "x2", .takes_scalar = true}},
                  infer_where, where_vjp);
  where.details =
      "Args:\n    condition: (...) bool tensor.\n    x1: (...) a tensor or a number.\n    x2: (...) a tensor or a "
      "number; all "
      "are broadcast.\n\nReturns:\n    (...) a new tensor of the common shape.\n\nRaises:\n    TypeError: the "
      "condition is not "
      "bool.\n\nExample:\n    >>> import gorgo as gg\n    >>> gg.where(gg.asarray([True, False]), gg.ones((2,)), "
      "-1.0)\n    tensor([ 1., -1.])";
  where.saves_inputs = 1;
  where.onnx = {"Where", 16, nullptr};
  elementwise_ops.where = &registry.add(std::move(where));

  OpDef astype = special_def("astype", "Convert the elements to a dtype.", {{.name = "x", .takes_scalar = true}},
                             infer_astype, astype_vjp);
  astype.details =
      "Args:\n    x: (...) a tensor.\n    dtype: the dtype of the result. A float beyond an integer's range takes the "
      "nearest "
      "end of int32, int64 or uint64 and then wraps; NaN becomes 0.\n\nReturns:\n    (...) a new tensor.\n\nExample:\n "
      "   >>> import gorgo as gg\n    >>> "
      "gg.astype(gg.asarray([1.7, -1.7]), gg.int64)\n    tensor([ 1, -1])";
  astype.attrs = &schema_of<CastAttrs>();
  astype.onnx = {"Cast", 13, nullptr};
  astype.flags.linear = true;
  registry.add(std::move(astype));

  OpDef copy = special_def("copy", "Copy into a new contiguous tensor.", {{.name = "x", .takes_scalar = true}},
                           infer_copy, copy_vjp);
  copy.details = kUnaryDetails;
  copy.onnx = {"Identity", 13, nullptr};
  copy.flags.linear = true;
  registry.add(std::move(copy));

  constexpr const char* kNoComplex = "ONNX has no complex arithmetic";
  OpDef real =
      special_def("real", "Take the real part; real numbers are copied.", {{.name = "x"}}, infer_real, real_vjp);
  real.details =
      "Args:\n    x: (...) a tensor.\n\nReturns:\n    (...) the real parts, as a new tensor.\n\n"
      "Example:\n    >>> import gorgo as gg\n    >>> gg.real(gg.asarray([1 + 2j]))\n    tensor([1.])";
  real.onnx.reason = kNoComplex;
  real.flags.linear = true;
  elementwise_ops.real = &registry.add(std::move(real));
  OpDef imag =
      special_def("imag", "Take the imaginary part of complex numbers.", {{.name = "x"}}, infer_part, imag_vjp);
  imag.details =
      "Args:\n    x: (...) a complex tensor.\n\nReturns:\n    (...) x's imaginary parts.\n\nRaises:\n    TypeError: "
      "x is not complex.\n\nExample:\n    >>> import gorgo as gg\n    >>> gg.imag(gg.asarray([1 + 2j]))\n    "
      "tensor([2.])";
  imag.onnx.reason = kNoComplex;
  imag.flags.linear = true;
  elementwise_ops.imag = &registry.add(std::move(imag));
}

}  // namespace

void register_elementwise(Registry& registry) {
#define GORGO_X(Struct, name) elementwise_ops.name = register_unary<composed::Struct>(registry, #name "_backward");
  GORGO_FOR_EACH_UNARY_OP(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name) elementwise_ops.name = register_binary<composed::Struct>(registry, #name "_backward");
  GORGO_FOR_EACH_BINARY_OP(GORGO_X)
#undef GORGO_X
  register_special(registry);
  register_clip(registry);
  register_polygamma(registry);
  register_fused(registry);
}

}  // namespace gorgo
