// The list of elementwise ops: X(struct in functors.h, name of the op).
//
// Kernels, registry, typed calls and the vocabulary of composed gradients are all generated from it.
#pragma once

// clang-format off: one op to a line
#define GORGO_FOR_EACH_UNARY_OP(X) \
  X(Negative, negative) \
  X(Abs, abs) \
  X(Sign, sign) \
  X(Floor, floor) \
  X(Ceil, ceil) \
  X(Trunc, trunc) \
  X(Round, round) \
  X(Square, square) \
  X(Sqrt, sqrt) \
  X(Rsqrt, rsqrt) \
  X(Reciprocal, reciprocal) \
  X(Exp, exp) \
  X(Exp2, exp2) \
  X(Expm1, expm1) \
  X(Log, log) \
  X(Log1p, log1p) \
  X(Log2, log2) \
  X(Log10, log10) \
  X(Sin, sin) \
  X(Cos, cos) \
  X(Tan, tan) \
  X(Asin, asin) \
  X(Acos, acos) \
  X(Atan, atan) \
  X(Sinh, sinh) \
  X(Cosh, cosh) \
  X(Tanh, tanh) \
  X(Asinh, asinh) \
  X(Acosh, acosh) \
  X(Atanh, atanh) \
  X(Erf, erf) \
  X(Erfc, erfc) \
  X(Sigmoid, sigmoid) \
  X(Logit, logit) \
  X(Relu, relu) \
  X(Softplus, softplus) \
  X(Silu, silu) \
  X(Gelu, gelu) \
  X(GeluTanh, gelu_tanh) \
  X(IsNan, isnan) \
  X(IsInf, isinf) \
  X(IsFinite, isfinite) \
  X(LogicalNot, logical_not) \
  X(BitwiseInvert, bitwise_invert) \
  X(Conj, conj)
#define GORGO_FOR_EACH_BINARY_OP(X) \
  X(Add, add) \
  X(Subtract, subtract) \
  X(Multiply, multiply) \
  X(Divide, divide) \
  X(FloorDivide, floor_divide) \
  X(Remainder, remainder) \
  X(Pow, pow) \
  X(Maximum, maximum) \
  X(Minimum, minimum) \
  X(Atan2, atan2) \
  X(Equal, equal) \
  X(NotEqual, not_equal) \
  X(Less, less) \
  X(LessEqual, less_equal) \
  X(Greater, greater) \
  X(GreaterEqual, greater_equal) \
  X(LogicalAnd, logical_and) \
  X(LogicalOr, logical_or) \
  X(LogicalXor, logical_xor) \
  X(BitwiseAnd, bitwise_and) \
  X(BitwiseOr, bitwise_or) \
  X(BitwiseXor, bitwise_xor) \
  X(BitwiseLeftShift, bitwise_left_shift) \
  X(BitwiseRightShift, bitwise_right_shift)
// clang-format on
