// The kernels of the ops in functors.h, once per instruction set: one loop for each op and compute type.
//
// Read next: functors.h (the ops), loops_cpu.h and uniform.h (the loops), staging.h (everything around a loop).
#include "ops/elementwise/attrs.h"
#include "ops/elementwise/loops_cpu.h"
#include "ops/elementwise/uniform.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

void fill_elementwise_moves(KernelSink& sink);  // kernels_cpu_moves.cpp
void fill_elementwise_fused(KernelSink& sink);  // kernels_cpu_fused.cpp

namespace {

// What an op's loop takes elements as. A set that cares for speed takes small integers in lanes of their own width, where the op
// makes of them what it makes of wider ones; in those of signed integers, where it does not tell them from unsigned ones. Half
// types are widened within the loops of the commonest ops, and before those of all others.
template <class Op, class... Others>
constexpr bool kIsOneOf = (std::is_same_v<Op, Others> || ...);
template <class Op>
[[maybe_unused]] constexpr bool kNeedsWidth = kIsOneOf<Op, Pow, Gcd, Lcm>;
template <class Op>
constexpr bool kIgnoresSign =
    kIsOneOf<Op, Add, Subtract, Multiply, Equal, NotEqual, BitwiseAnd, BitwiseOr, BitwiseXor, BitwiseLeftShift,
             Negative, Square, BitwiseInvert, Conj, Floor, Ceil, Trunc, Round, IsNan, IsInf, IsFinite>;
template <class Op>
[[maybe_unused]] constexpr bool kIsCommonest = kIsOneOf<Op, Add, Subtract, Multiply>;
template <class Op, class S>
constexpr auto lane_of() {
  using Compute = ComputeOf<S>;
#ifdef GORGO_WITH_NARROW_LANES
  if constexpr (kIsHalf<S> && kIsCommonest<Op>) {
    return TypeTag<S>{};
  } else
#endif
      if constexpr (!std::is_integral_v<S>) {
    return TypeTag<Compute>{};
  } else if constexpr (kIgnoresSign<Op> && sizeof(S) >= 4) {
    return TypeTag<SignedLike<S>>{};
#ifdef GORGO_WITH_NARROW_LANES
  } else if constexpr (sizeof(S) < 4 && !kNeedsWidth<Op>) {
    using Own = std::conditional_t<std::is_same_v<S, bool>, uint8_t, S>;
    return TypeTag<std::conditional_t<kIgnoresSign<Op>, SignedLike<Own>, Own>>{};
#endif
  } else {
    return TypeTag<Compute>{};
  }
}
template <class Op, class S>
using LaneOf = typename decltype(lane_of<Op, S>())::Type;

// Loops over lanes that elements are not widened to.
template <int In, Loop L>
void run_plain(const KernelArgs& args, int64_t task) noexcept {
  run_shared<In, 1, true, true>(args, task, L);
}
template <class Op, class S>
void run_unary(const KernelArgs& args, int64_t task) noexcept {
  run_shared<1, 1, false, kIsDirect<S>>(args, task, unary_loop<Op, ComputeOf<S>>);
}
template <class Op, class S>
void run_binary(const KernelArgs& args, int64_t task) noexcept {
  run_shared<2, 1, false, kIsDirect<S>>(args, task, binary_loop<Op, ComputeOf<S>>);
}

// Integers beside one number, for which there is a loop of its own.
template <class Op, class T>
constexpr bool kDividesByOne =
    kIsOneOf<Op, FloorDivide, Remainder> && std::is_integral_v<T> && !std::is_same_v<T, uint64_t>;
template <class Op, class T>
constexpr bool kShiftsByOne = kIsOneOf<Op, BitwiseLeftShift, BitwiseRightShift> && sizeof(T) < 4;
template <class Op, class T>
constexpr Loop uniform_loop() {
  if constexpr (kDividesByOne<Op, T>) {
    return divide_uniform<Op, T>;
  } else {
    return shift_uniform<Op, T>;
  }
}
template <class Op, class S>
void run_beside_number(const KernelArgs& args, int64_t task) noexcept {
  using T = LaneOf<Op, S>;
  const Loop loop = args.in[1].numel == 1 ? uniform_loop<Op, T>() : binary_loop<Op, T>;
  run_shared<2, 1, !std::is_same_v<T, ComputeOf<S>>, sizeof(T) == sizeof(S)>(args, task, loop);
}
template <class Op, class S>
void run_unary_backward(const KernelArgs& args, int64_t task) noexcept {
  run_shared<Op::kFacts.saves_a == kSavesNothing ? 1 : 2, 1, false, kIsDirect<S>>(
      args, task, unary_backward_loop<Op, ComputeOf<S>>);
}
template <class Op, class S>
void run_binary_backward(const KernelArgs& args, int64_t task) noexcept {
  using T = ComputeOf<S>;
  constexpr int kIn = ((Op::kFacts.saves_a | Op::kFacts.saves_b) & kSavesOut) != 0 ? 4 : 3;
  switch (args.attrs_as<BackwardAttrs>().which) {
    case 1:
      return run_shared<kIn, 1, false, kIsDirect<S>>(args, task, binary_backward_loop<Op, T, 1>);
    case 2:
      return run_shared<kIn, 1, false, kIsDirect<S>>(args, task, binary_backward_loop<Op, T, 2>);
    default:
      return run_shared<kIn, 2, false, kIsDirect<S>>(args, task, binary_backward_loop<Op, T, 3>);
  }
}

// ---- pow by a plain number ----

// x^2 and x^1 are common and have exact short cuts; a single exponent for all elements tells them apart.
template <class S>
void run_pow(const KernelArgs& args, int64_t task) noexcept {
  using T = ComputeOf<S>;
  const KOperand& exponent = args.in[1];
  if constexpr (!kIsComplexElement<T>) {
    if (exponent.numel == 1 && args.in[0].numel == args.out[0].numel) {
      alignas(16) unsigned char wide[16];
      const Conversion up = widening(exponent.dtype);
      if (up != nullptr) {
        up(exponent.data, wide, 1);
      } else {
        std::memcpy(wide, exponent.data, sizeof(T));
      }
      T value;
      std::memcpy(&value, wide, sizeof value);
      if (value == T{2}) return run_shared<1, 1, false, kIsDirect<S>>(args, task, unary_loop<Square, T>);
      if (value == T{1}) return run_shared<1, 1, false, kIsDirect<S>>(args, task, unary_loop<Conj, T>);
    }
  }
  run_shared<2, 1, false, kIsDirect<S>>(args, task, binary_loop<Pow, T>);
}

// ---- nextafter of the half types, whose neighbours are not those of the floats they are widened to ----

template <class S>
void nextafter_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  const auto* a = static_cast<const S*>(in[0]);
  const auto* b = static_cast<const S*>(in[1]);
  auto* to = static_cast<S*>(out[0]);
  for (int64_t i = 0; i < n; ++i) {
    const auto from = static_cast<float>(a[i]);
    const auto towards = static_cast<float>(b[i]);
    if (from != from || towards == from) {
      to[i] = from != from ? a[i] : b[i];
    } else if (towards != towards) {
      to[i] = b[i];
    } else if (from == 0) {
      to[i].bits = static_cast<uint16_t>((b[i].bits & 0x8000u) | 1u);
    } else {
      const bool outwards = (from < towards) == (from > 0);
      to[i].bits = static_cast<uint16_t>(a[i].bits + (outwards ? 1 : -1));
    }
  }
}

// ---- the table ----

template <class S>
constexpr bool accepts(Takes takes) {
  constexpr bool kComplex = kIsComplexElement<typename ElementOf<S>::Type>;
  constexpr bool kBool = std::is_same_v<S, bool>;
  constexpr bool kInteger = std::is_integral_v<S> && !kBool;
  constexpr bool kFloating = !kComplex && !kBool && !kInteger;
  switch (takes) {
    case Takes::Numeric:
      return !kBool;
    case Takes::Real:
      return kInteger || kFloating;
    case Takes::Float:
      return kFloating;
    case Takes::FloatOrComplex:
      return kFloating || kComplex;
    case Takes::Integer:
      return kInteger;
    case Takes::IntegerOrBool:
      return kInteger || kBool;
    case Takes::Bool:
      return kBool;
    case Takes::Any:
      return true;
  }
  return false;
}
// Bool is computed as bool by the logical ops and as a small integer by comparisons.
template <class Op>
constexpr bool kLogical = Op::kFacts.takes == Takes::Bool || Op::kFacts.takes == Takes::IntegerOrBool;
template <class Op, class S>
constexpr bool kHasBackward =
    Op::kFacts.no_gradient == nullptr && !Op::kFacts.composed_only &&
    (kIsHalf<S> || std::is_floating_point_v<S> || kIsComplexElement<typename ElementOf<S>::Type>);

// Names of backward companions are made by the host file; both sides use this rule.
template <class Op, class S>
void fill_unary(KernelSink& sink, const char* backward_name) {
  if constexpr (accepts<S>(Op::kFacts.takes)) {
    if constexpr (std::is_same_v<S, bool> && kLogical<Op>) {
      add(sink, Op::kFacts.name, DType::Bool, run_plain<1, unary_loop<Op, bool>>);
    } else {
      if constexpr (std::is_same_v<LaneOf<Op, S>, ComputeOf<S>>) {
        add(sink, Op::kFacts.name, kDTypeOf<S>, run_unary<Op, S>);
      } else {
        add(sink, Op::kFacts.name, kDTypeOf<S>, run_plain<1, unary_loop<Op, LaneOf<Op, S>>>);
      }
      if constexpr (kHasBackward<Op, S>) {
        add(sink, backward_name, kDTypeOf<S>, run_unary_backward<Op, S>);
      }
    }
  }
}
template <class Op, class S>
void fill_binary(KernelSink& sink, const char* backward_name) {
  if constexpr (accepts<S>(Op::kFacts.takes)) {
    if constexpr (std::is_same_v<S, bool> && kLogical<Op>) {
      add(sink, Op::kFacts.name, DType::Bool, run_plain<2, binary_loop<Op, bool>>);
    } else if constexpr (std::is_same_v<Op, Pow>) {
      add(sink, Op::kFacts.name, kDTypeOf<S>, run_pow<S>);
    } else if constexpr (std::is_same_v<Op, Nextafter> && kIsHalf<S>) {
      add(sink, Op::kFacts.name, kDTypeOf<S>, run_plain<2, nextafter_loop<S>>);
    } else if constexpr (kDividesByOne<Op, LaneOf<Op, S>> || kShiftsByOne<Op, LaneOf<Op, S>>) {
      add(sink, Op::kFacts.name, kDTypeOf<S>, run_beside_number<Op, S>);
    } else if constexpr (!std::is_same_v<LaneOf<Op, S>, ComputeOf<S>>) {
      add(sink, Op::kFacts.name, kDTypeOf<S>, run_plain<2, binary_loop<Op, LaneOf<Op, S>>>);
    } else {
      add(sink, Op::kFacts.name, kDTypeOf<S>, run_binary<Op, S>);
    }
    if constexpr (kHasBackward<Op, S>) {
      add(sink, backward_name, kDTypeOf<S>, run_binary_backward<Op, S>);
    }
  }
}

template <class S>
void fill_arithmetic(KernelSink& sink) {
#define GORGO_X(Struct, name) fill_unary<Struct, S>(sink, #name "_backward");
  GORGO_FOR_EACH_UNARY_OP(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name) fill_binary<Struct, S>(sink, #name "_backward");
  GORGO_FOR_EACH_BINARY_OP(GORGO_X)
#undef GORGO_X
}
}  // namespace

void fill_elementwise(KernelSink& sink) {
  fill_elementwise_moves(sink);
  fill_elementwise_fused(sink);
  fill_arithmetic<bool>(sink);
  fill_arithmetic<int32_t>(sink);
  fill_arithmetic<int64_t>(sink);
  fill_arithmetic<Float16>(sink);
  fill_arithmetic<BFloat16>(sink);
  fill_arithmetic<float>(sink);
  fill_arithmetic<double>(sink);
#ifdef GORGO_WITH_RARE_DTYPES
  fill_arithmetic<uint8_t>(sink);
  fill_arithmetic<uint16_t>(sink);
  fill_arithmetic<uint32_t>(sink);
  fill_arithmetic<uint64_t>(sink);
  fill_arithmetic<int8_t>(sink);
  fill_arithmetic<int16_t>(sink);
  fill_arithmetic<std::complex<float>>(sink);
  fill_arithmetic<std::complex<double>>(sink);
#endif
}

}  // namespace gorgo::GORGO_ISA_NS
