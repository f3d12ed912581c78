// The elementwise ops of functors.h on CUDA: each struct as a functor over granules, and the table of what has a kernel.
//
// One kernel for each op and compute type (float, double, int32, int64, uint64, bool, complex) serves all storage types that are
// computed in it. The files kernels_cuda_*.cu instantiate the tables, a few compile seconds each.
// Read next: functors.h, kernels/cuda/granules.cuh.
#pragma once

#ifndef GORGO_ISA_NS
#define GORGO_ISA_NS cuda
#endif

#include "kernels/cuda/granules.cuh"
#include "ops/elementwise/attrs.h"
#include "ops/elementwise/functors.h"

namespace gorgo::cuda {

template <class Op, class... Ops>
constexpr bool kIsAnyOf = (std::is_same_v<Op, Ops> || ...);

// Ops of a few instructions: a thread treats several granules, so that many loads are under way.
template <class Op>
constexpr bool kShort =
    kIsAnyOf<Op, Negative, Abs, Sign, Floor, Ceil, Trunc, Round, Square, Relu, IsNan, IsInf, IsFinite, LogicalNot,
             BitwiseInvert, Conj, Signbit, Add, Subtract, Multiply, Maximum, Minimum, Equal, NotEqual, Less, LessEqual,
             Greater, GreaterEqual, LogicalAnd, LogicalOr, LogicalXor, BitwiseAnd, BitwiseOr, BitwiseXor,
             BitwiseLeftShift, BitwiseRightShift, Copysign, Heaviside>;
// Ops whose code is long or branches: one granule to a thread.
template <class Op>
constexpr bool kLong = kIsAnyOf<Op, Pow, Sin, Cos, Tan, Sinc, Lgamma, Digamma, Erfinv, FloorDivide, Remainder, Fmod,
                                Atan2, Gcd, Lcm, Asinh, Acosh, Erfc>;
template <class Op, class C>
constexpr int kGranulesOf = kShort<Op> || (std::is_same_v<C, float> && !kLong<Op>) ? 2 : 1;

template <class Op, class C>
using ResultOf = std::conditional_t<Op::kFacts.gives == Gives::Bool, bool, C>;

// ---- functors ----

template <class Op, class C>
struct UnaryLoop {
  using In = C;
  using Out = ResultOf<Op, C>;
  static constexpr int kIn = 1;
  static constexpr int kOut = 1;
  static constexpr int kGranules = kGranulesOf<Op, C>;
  GORGO_DEVICE void operator()(LaneOf<Out> (&y)[1], const LaneOf<In> (&x)[1]) const { y[0] = Op::forward(x[0]); }
};
template <class Op, class C>
struct BinaryLoop {
  using In = C;
  using Out = ResultOf<Op, C>;
  static constexpr int kIn = 2;
  static constexpr int kOut = 1;
  static constexpr int kGranules = kGranulesOf<Op, C>;
  GORGO_DEVICE void operator()(LaneOf<Out> (&y)[1], const LaneOf<In> (&x)[2]) const { y[0] = Op::forward(x[0], x[1]); }
};
// Backward loops read g and then what the facts save, in the order a, b, out.
template <class Op, class C>
struct UnaryBackwardLoop {
  using In = C;
  using Out = C;
  static constexpr int kIn = Op::kFacts.saves_a == kSavesNothing ? 1 : 2;
  static constexpr int kOut = 1;
  static constexpr int kGranules = kGranulesOf<Op, C>;
  GORGO_DEVICE void operator()(LaneOf<Out> (&y)[1], const LaneOf<In> (&x)[kIn]) const {
    y[0] = Op::backward(x[0], x[kIn - 1], x[kIn - 1]);
  }
};
// `Which` names the gradients wanted: 1 by a, 2 by b, 3 both.
template <class Op, class C, int Which>
struct BinaryBackwardLoop {
  using In = C;
  using Out = C;
  static constexpr bool kReadsOut = ((Op::kFacts.saves_a | Op::kFacts.saves_b) & kSavesOut) != 0;
  static constexpr int kIn = kReadsOut ? 4 : 3;
  static constexpr int kOut = Which == 3 ? 2 : 1;
  static constexpr int kGranules = 1;
  GORGO_DEVICE void operator()(LaneOf<Out> (&y)[kOut], const LaneOf<In> (&x)[kIn]) const {
    const LaneOf<In> out = x[kReadsOut ? 3 : 0];
    if constexpr ((Which & 1) != 0) y[0] = Op::backward_a(x[0], x[1], x[2], out);
    if constexpr ((Which & 2) != 0) y[kOut - 1] = Op::backward_b(x[0], x[1], x[2], out);
  }
};

// ---- launchers ----

template <class Op, class C>
void run_unary(const KernelArgs& args, int64_t) noexcept {
  run_granules(args, {&args.out[0], &args.in[0]}, UnaryLoop<Op, C>{});
}
template <class Op, class C>
void run_binary(const KernelArgs& args, int64_t) noexcept {
  run_granules(args, {&args.out[0], &args.in[0], &args.in[1]}, BinaryLoop<Op, C>{});
}
template <class Op, class C>
void run_unary_backward(const KernelArgs& args, int64_t) noexcept {
  using F = UnaryBackwardLoop<Op, C>;
  if constexpr (F::kIn == 1) {
    run_granules(args, {&args.out[0], &args.in[0]}, F{});
  } else {
    run_granules(args, {&args.out[0], &args.in[0], &args.in[1]}, F{});
  }
}
template <class Op, class C, int Which>
void run_binary_gradients(const KernelArgs& args) noexcept {
  using F = BinaryBackwardLoop<Op, C, Which>;
  const KOperand* operands[F::kOut + F::kIn];
  for (int i = 0; i < F::kOut; ++i) operands[i] = &args.out[i];
  for (int i = 0; i < F::kIn; ++i) operands[F::kOut + i] = &args.in[i];
  run_granules(args, operands, F{});
}
template <class Op, class C>
void run_binary_backward(const KernelArgs& args, int64_t) noexcept {
  switch (args.attrs_as<BackwardAttrs>().which) {
    case 1:
      return run_binary_gradients<Op, C, 1>(args);
    case 2:
      return run_binary_gradients<Op, C, 2>(args);
    default:
      return run_binary_gradients<Op, C, 3>(args);
  }
}
// x^2 and x^1 are common and have exact short cuts, where the exponent is a number that the host knows.
template <class C>
void run_pow(const KernelArgs& args, int64_t task) noexcept {
  if constexpr (!IsComplexNumber<C>::value) {
    if (args.in[1].host) {
      const C exponent = host_element<C>(args.in[1]);
      if (exponent == C{2}) return run_unary<Square, C>(args, task);
      if (exponent == C{1}) return run_unary<Conj, C>(args, task);
    }
  }
  run_binary<Pow, C>(args, task);
}

// ---- the table ----

template <class C>
constexpr bool accepts(Takes takes) {
  constexpr bool kComplex = IsComplexNumber<C>::value;
  constexpr bool kInteger = std::is_integral_v<C> && !std::is_same_v<C, bool>;
  constexpr bool kFloating = std::is_floating_point_v<C>;
  switch (takes) {
    case Takes::Numeric:
      return kInteger || kFloating || kComplex;
    case Takes::Real:
      return kInteger || kFloating;
    case Takes::Float:
      return kFloating;
    case Takes::FloatOrComplex:
      return kFloating || kComplex;
    case Takes::Integer:
      return kInteger;
    case Takes::IntegerOrBool:
      return kInteger || std::is_same_v<C, bool>;
    case Takes::Bool:
      return std::is_same_v<C, bool>;
    case Takes::Any:
      return !std::is_same_v<C, bool>;  // bool is compared as a small integer
  }
  return false;
}
// What complex numbers have (complex_math.cuh); the parts, the sign and rounding are in kernels_cuda_moves.cu.
template <class Op>
constexpr bool kIsOfComplex = kIsAnyOf<Op, Negative, Square, Reciprocal, Conj, IsNan, IsInf, IsFinite, Add, Subtract,
                                       Multiply, Divide, Equal, NotEqual, Sqrt, Exp, Expm1, Log, Log1p, Log2, Log10,
                                       Sin, Cos, Tan, Asin, Acos, Atan, Sinh, Cosh, Tanh, Asinh, Acosh, Atanh, Pow>;
template <class Op, class C>
constexpr bool kHas = accepts<C>(Op::kFacts.takes) && (!IsComplexNumber<C>::value || kIsOfComplex<Op>);
template <class Op, class C>
constexpr bool kHasBackward = kHas<Op, C> && Op::kFacts.no_gradient == nullptr && !Op::kFacts.composed_only &&
                              (std::is_floating_point_v<C> || IsComplexNumber<C>::value);

// One launcher under all dtypes that are computed in C.
template <class C>
void add_class(KernelSink& sink, const char* op, Launcher run, bool with_bool = false) {
  const auto add_one = [&](DType d) { add(sink, op, d, run); };
  if constexpr (std::is_same_v<C, bool>) {
    add_one(DType::Bool);
  } else if constexpr (std::is_same_v<C, float>) {
    for (const DType d : {DType::Float32, DType::Float16, DType::BFloat16}) add_one(d);
  } else if constexpr (std::is_same_v<C, double>) {
    add_one(DType::Float64);
  } else if constexpr (std::is_same_v<C, int32_t>) {
    for (const DType d : {DType::Int32, DType::Int16, DType::Int8, DType::UInt16, DType::UInt8}) add_one(d);
    if (with_bool) add_one(DType::Bool);
  } else if constexpr (std::is_same_v<C, int64_t>) {
    for (const DType d : {DType::Int64, DType::UInt32}) add_one(d);
  } else if constexpr (std::is_same_v<C, uint64_t>) {
    add_one(DType::UInt64);
  } else {
    add_one(sizeof(C) == 8 ? DType::Complex64 : DType::Complex128);
  }
}

template <class Op, class C>
void fill_unary(KernelSink& sink) {
  if constexpr (kHas<Op, C>) {
    add_class<C>(sink, Op::kFacts.name, run_unary<Op, C>, Op::kFacts.takes == Takes::Any);
  }
}
template <class Op, class C>
void fill_binary(KernelSink& sink) {
  if constexpr (std::is_same_v<Op, Pow> && kHas<Op, C>) {
    add_class<C>(sink, Op::kFacts.name, run_pow<C>);
  } else if constexpr (kHas<Op, C>) {
    add_class<C>(sink, Op::kFacts.name, run_binary<Op, C>, Op::kFacts.takes == Takes::Any);
  }
}
template <class Op, class C>
void fill_unary_backward(KernelSink& sink, const char* name) {
  if constexpr (kHasBackward<Op, C>) add_class<C>(sink, name, run_unary_backward<Op, C>);
}
template <class Op, class C>
void fill_binary_backward(KernelSink& sink, const char* name) {
  if constexpr (kHasBackward<Op, C>) add_class<C>(sink, name, run_binary_backward<Op, C>);
}

template <class C>
void fill_all_unary(KernelSink& sink) {
#define GORGO_X(Struct, name) fill_unary<Struct, C>(sink);
  GORGO_FOR_EACH_UNARY_OP(GORGO_X)
#undef GORGO_X
}
template <class C>
void fill_all_binary(KernelSink& sink) {
#define GORGO_X(Struct, name) fill_binary<Struct, C>(sink);
  GORGO_FOR_EACH_BINARY_OP(GORGO_X)
#undef GORGO_X
}
template <class C>
void fill_all_backward(KernelSink& sink) {
#define GORGO_X(Struct, name) fill_unary_backward<Struct, C>(sink, #name "_backward");
  GORGO_FOR_EACH_UNARY_OP(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name) fill_binary_backward<Struct, C>(sink, #name "_backward");
  GORGO_FOR_EACH_BINARY_OP(GORGO_X)
#undef GORGO_X
}

}  // namespace gorgo::cuda
