// A chain of elementwise calls as one step: the attributes of `fused`, a little program over values.
//
// Here rather than in the family because capture's passes, below it, write such programs, and kernels read them.
// Values are numbered: operands first, then one for each instruction. Invariant: an instruction reads earlier values only, and
// every value but the operands has the shape of the results; what an instruction makes is rounded to its dtype, as the op of that
// name does. Read next: graph/passes/fuse.h, ops/elementwise/fused_machine.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

// The instructions: X(struct of functors.h, name of the op). Those of one operand, of two, and gradients (of g and of what the
// facts save).
// clang-format off: lists
#define GORGO_FOR_EACH_FUSED_UNARY(X) \
  X(Negative, negative) X(Abs, abs) X(Sign, sign) X(Floor, floor) X(Ceil, ceil) X(Trunc, trunc) X(Round, round) \
  X(Square, square) X(Sqrt, sqrt) X(Rsqrt, rsqrt) X(Reciprocal, reciprocal) X(Exp, exp) X(Exp2, exp2) X(Expm1, expm1) \
  X(Log, log) X(Log1p, log1p) X(Log2, log2) X(Tanh, tanh) X(Erf, erf) X(Sigmoid, sigmoid) X(Relu, relu) \
  X(Softplus, softplus) X(Silu, silu) X(Gelu, gelu) X(GeluTanh, gelu_tanh) X(Hardsigmoid, hardsigmoid) \
  X(Hardswish, hardswish)
#define GORGO_FOR_EACH_FUSED_TEST(X) X(IsNan, isnan) X(IsInf, isinf) X(IsFinite, isfinite)
#define GORGO_FOR_EACH_FUSED_BINARY(X) \
  X(Add, add) X(Subtract, subtract) X(Multiply, multiply) X(Divide, divide) X(Maximum, maximum) X(Minimum, minimum) \
  X(LeakyRelu, leaky_relu)
#define GORGO_FOR_EACH_FUSED_COMPARISON(X) \
  X(Equal, equal) X(NotEqual, not_equal) X(Less, less) X(LessEqual, less_equal) X(Greater, greater) \
  X(GreaterEqual, greater_equal)
#define GORGO_FOR_EACH_FUSED_LOGICAL(X) \
  X(LogicalAnd, logical_and) X(LogicalOr, logical_or) X(LogicalXor, logical_xor)
// Gradients of ops of one operand; those of sign and the like are zero and not worth it.
#define GORGO_FOR_EACH_FUSED_UNARY_BACKWARD(X) \
  X(Abs, abs) X(Square, square) X(Sqrt, sqrt) X(Rsqrt, rsqrt) X(Reciprocal, reciprocal) X(Expm1, expm1) X(Log1p, log1p) \
  X(Tanh, tanh) X(Erf, erf) X(Sigmoid, sigmoid) X(Relu, relu) X(Softplus, softplus) X(Silu, silu) X(Gelu, gelu) \
  X(GeluTanh, gelu_tanh) X(Hardsigmoid, hardsigmoid) X(Hardswish, hardswish)
// Gradients of ops of two by the one or the other, of g, a and b.
#define GORGO_FOR_EACH_FUSED_BINARY_BACKWARD(X) \
  X(Divide, divide) X(Maximum, maximum) X(Minimum, minimum) X(LeakyRelu, leaky_relu)
// clang-format on

enum class FusedOp : uint8_t {
#define GORGO_X(Struct, name) Struct,
  GORGO_FOR_EACH_FUSED_UNARY(GORGO_X) GORGO_FOR_EACH_FUSED_TEST(GORGO_X) GORGO_FOR_EACH_FUSED_BINARY(GORGO_X)
      GORGO_FOR_EACH_FUSED_COMPARISON(GORGO_X) GORGO_FOR_EACH_FUSED_LOGICAL(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name) Struct##Backward,
          GORGO_FOR_EACH_FUSED_UNARY_BACKWARD(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name) Struct##BackwardA, Struct##BackwardB,
              GORGO_FOR_EACH_FUSED_BINARY_BACKWARD(GORGO_X)
#undef GORGO_X
                  LogicalNot,
  Copy,   // the value, bit for bit
  Move,   // the value, rounded to the dtype: a cast between floats
  Truth,  // is it other than zero?
  Where,  // of condition, a and b
  Clip,   // of x and its two bounds
  Count
};

// How much one step may hold.
constexpr int kFusedInputs = 8;  // operands in memory; numbers count apart
constexpr int kFusedNumbers = 12;
constexpr int kFusedOutputs = 4;
constexpr int kFusedInstructions = 24;
constexpr int kFusedRank = 6;

struct FusedInstruction {
  FusedOp op = FusedOp::Copy;
  DType dtype = DType::Float32;
  int8_t reads[3] = {-1, -1, -1};  // values; -1 for none

  // As one word, byte by byte.
  [[nodiscard]] GORGO_INLINE int64_t word() const noexcept {
    int64_t w = static_cast<int64_t>(op) | static_cast<int64_t>(dtype) << 8;
    for (int k = 0; k < 3; ++k) w |= static_cast<int64_t>(static_cast<uint8_t>(reads[k])) << (16 + 8 * k);
    return w;
  }
  GORGO_INLINE static FusedInstruction of(int64_t w) noexcept {
    FusedInstruction i;
    i.op = static_cast<FusedOp>(w & 0xff);
    i.dtype = static_cast<DType>(w >> 8 & 0xff);
    for (int k = 0; k < 3; ++k) i.reads[k] = static_cast<int8_t>(w >> (16 + 8 * k) & 0xff);
    return i;
  }
};

struct FusedAttrs {
  Dims code;                 // words of instructions
  Dims results;              // the values that are the step's outputs
  bool interpreted = false;  // no kernel is to be compiled for it
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(FusedAttrs, code).must(), GORGO_FIELD(FusedAttrs, results).must(),
                      GORGO_FIELD(FusedAttrs, interpreted)};
  }
  [[nodiscard]] GORGO_INLINE int count() const noexcept { return code.size(); }
  [[nodiscard]] GORGO_INLINE FusedInstruction at(int i) const noexcept { return FusedInstruction::of(code[i]); }
};

// How many operands an instruction reads.
[[nodiscard]] GORGO_INLINE constexpr int fused_arity(FusedOp op) noexcept {
  switch (op) {
#define GORGO_X(Struct, name) case FusedOp::Struct:
    GORGO_FOR_EACH_FUSED_UNARY(GORGO_X)
    GORGO_FOR_EACH_FUSED_TEST(GORGO_X)
#undef GORGO_X
    case FusedOp::LogicalNot:
    case FusedOp::Copy:
    case FusedOp::Move:
    case FusedOp::Truth:
      return 1;
#define GORGO_X(Struct, name)      \
  case FusedOp::Struct##BackwardA: \
  case FusedOp::Struct##BackwardB:
      GORGO_FOR_EACH_FUSED_BINARY_BACKWARD(GORGO_X)
#undef GORGO_X
    case FusedOp::Where:
    case FusedOp::Clip:
      return 3;
    default:
      return 2;
  }
}

}  // namespace gorgo
