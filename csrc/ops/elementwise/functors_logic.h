// Elementwise ops: comparisons and other questions, logic and bits.
//
// Read next: functors.h, which says what a struct holds.
#pragma once

#include "ops/elementwise/facts.h"

namespace gorgo::GORGO_FUNCTOR_NS {

// ---- questions ----

constexpr const char* kBoolResult = "its result is bool";

struct IsNan {
  static constexpr Facts kFacts{.name = "isnan",
                                .doc = "Whether each element is NaN.",
                                .takes = Takes::Numeric,
                                .gives = Gives::Bool,
                                .onnx = "IsNaN",
                                .since_opset = 13,
                                .no_gradient = kBoolResult};
  GORGO_FORWARD_1 { return isnan(x); }
};
struct IsInf {
  static constexpr Facts kFacts{.name = "isinf",
                                .doc = "Whether each element is infinite.",
                                .takes = Takes::Numeric,
                                .gives = Gives::Bool,
                                .onnx = "IsInf",
                                .since_opset = 10,
                                .no_gradient = kBoolResult};
  GORGO_FORWARD_1 { return isinf(x); }
};
struct IsFinite {
  static constexpr Facts kFacts{.name = "isfinite",
                                .doc = "Whether each element is neither infinite nor NaN.",
                                .takes = Takes::Numeric,
                                .gives = Gives::Bool,
                                .onnx_reason = "exported as Not(Or(IsInf(x), IsNaN(x)))",
                                .no_gradient = kBoolResult};
  GORGO_FORWARD_1 { return isfinite(x); }
};
struct Equal {
  static constexpr Facts kFacts{.name = "equal",
                                .doc = "Whether elements are equal.",
                                .takes = Takes::Any,
                                .gives = Gives::Bool,
                                .onnx = "Equal",
                                .since_opset = 13,
                                .no_gradient = kBoolResult};
  GORGO_FORWARD_2 { return a == b; }
};
struct NotEqual {
  static constexpr Facts kFacts{.name = "not_equal",
                                .doc = "Whether elements differ.",
                                .takes = Takes::Any,
                                .gives = Gives::Bool,
                                .onnx_reason = "exported as Not(Equal(a, b))",
                                .no_gradient = kBoolResult};
  GORGO_FORWARD_2 { return a != b; }
};
struct Less {
  static constexpr Facts kFacts{.name = "less",
                                .doc = "Whether the first is less than the second.",
                                .takes = Takes::Real,
                                .gives = Gives::Bool,
                                .onnx = "Less",
                                .since_opset = 13,
                                .no_gradient = kBoolResult};
  GORGO_FORWARD_2 { return a < b; }
};
struct LessEqual {
  static constexpr Facts kFacts{.name = "less_equal",
                                .doc = "Whether the first is at most the second.",
                                .takes = Takes::Real,
                                .gives = Gives::Bool,
                                .onnx = "LessOrEqual",
                                .since_opset = 16,
                                .no_gradient = kBoolResult};
  GORGO_FORWARD_2 { return a <= b; }
};
struct Greater {
  static constexpr Facts kFacts{.name = "greater",
                                .doc = "Whether the first is greater than the second.",
                                .takes = Takes::Real,
                                .gives = Gives::Bool,
                                .onnx = "Greater",
                                .since_opset = 13,
                                .no_gradient = kBoolResult};
  GORGO_FORWARD_2 { return a > b; }
};
struct GreaterEqual {
  static constexpr Facts kFacts{.name = "greater_equal",
                                .doc = "Whether the first is at least the second.",
                                .takes = Takes::Real,
                                .gives = Gives::Bool,
                                .onnx = "GreaterOrEqual",
                                .since_opset = 16,
                                .no_gradient = kBoolResult};
  GORGO_FORWARD_2 { return a >= b; }
};

// ---- logic and bits ----

struct LogicalAnd {
  static constexpr Facts kFacts{.name = "logical_and",
                                .doc = "Logical and; anything but zero is true.",
                                .takes = Takes::Bool,
                                .onnx = "And",
                                .since_opset = 7,
                                .no_gradient = kBoolResult};
  GORGO_FORWARD_2 { return a & b; }
};
struct LogicalOr {
  static constexpr Facts kFacts{.name = "logical_or",
                                .doc = "Logical or; anything but zero is true.",
                                .takes = Takes::Bool,
                                .onnx = "Or",
                                .since_opset = 7,
                                .no_gradient = kBoolResult};
  GORGO_FORWARD_2 { return a | b; }
};
struct LogicalXor {
  static constexpr Facts kFacts{.name = "logical_xor",
                                .doc = "Logical exclusive or; anything but zero is true.",
                                .takes = Takes::Bool,
                                .onnx = "Xor",
                                .since_opset = 7,
                                .no_gradient = kBoolResult};
  GORGO_FORWARD_2 { return a ^ b; }
};
struct LogicalNot {
  static constexpr Facts kFacts{.name = "logical_not",
                                .doc = "Logical not; anything but zero is true.",
                                .takes = Takes::Bool,
                                .onnx = "Not",
                                .since_opset = 1,
                                .no_gradient = kBoolResult};
  GORGO_FORWARD_1 { return ~x; }
};

constexpr const char* kIntegerResult = "its operands are integers";

struct BitwiseAnd {
  static constexpr Facts kFacts{.name = "bitwise_and",
                                .doc = "Bitwise and.",
                                .takes = Takes::IntegerOrBool,
                                .onnx = "BitwiseAnd",
                                .since_opset = 18,
                                .no_gradient = kIntegerResult};
  GORGO_FORWARD_2 { return a & b; }
};
struct BitwiseOr {
  static constexpr Facts kFacts{.name = "bitwise_or",
                                .doc = "Bitwise or.",
                                .takes = Takes::IntegerOrBool,
                                .onnx = "BitwiseOr",
                                .since_opset = 18,
                                .no_gradient = kIntegerResult};
  GORGO_FORWARD_2 { return a | b; }
};
struct BitwiseXor {
  static constexpr Facts kFacts{.name = "bitwise_xor",
                                .doc = "Bitwise exclusive or.",
                                .takes = Takes::IntegerOrBool,
                                .onnx = "BitwiseXor",
                                .since_opset = 18,
                                .no_gradient = kIntegerResult};
  GORGO_FORWARD_2 { return a ^ b; }
};
struct BitwiseInvert {
  static constexpr Facts kFacts{.name = "bitwise_invert",
                                .doc = "Bitwise complement; logical not of a bool.",
                                .takes = Takes::IntegerOrBool,
                                .onnx = "BitwiseNot",
                                .since_opset = 18,
                                .no_gradient = kIntegerResult};
  GORGO_FORWARD_1 { return ~x; }
};
struct BitwiseLeftShift {
  static constexpr Facts kFacts{.name = "bitwise_left_shift",
                                .doc = "Shift bits to the left; a count outside the width gives 0.",
                                .takes = Takes::Integer,
                                .onnx = "BitShift",
                                .since_opset = 11,
                                .no_gradient = kIntegerResult};
  GORGO_FORWARD_2 { return shift_left(a, b); }
};
struct BitwiseRightShift {
  static constexpr Facts kFacts{
      .name = "bitwise_right_shift",
      .doc = "Shift bits to the right, copying the sign; a count outside the width leaves only it.",
      .takes = Takes::Integer,
      .onnx = "BitShift",
      .since_opset = 11,
      .no_gradient = kIntegerResult};
  GORGO_FORWARD_2 { return shift_right(a, b); }
};

}  // namespace gorgo::GORGO_FUNCTOR_NS
