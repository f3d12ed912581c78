// Elementwise ops: powers, exponentials and logarithms, circular and hyperbolic functions.
//
// Read next: functors.h, which says what a struct holds.
#pragma once

#include "ops/elementwise/facts.h"

namespace gorgo::GORGO_FUNCTOR_NS {

constexpr double kLn2Value = 0.69314718055994530942;
constexpr double kLn10Value = 2.30258509299404568402;

// ---- powers, exponentials, logarithms ----

struct Square {
  static constexpr Facts kFacts{.name = "square",
                                .doc = "Square.",
                                .takes = Takes::Numeric,
                                .saves_a = kSavesA,
                                .onnx_reason = "exported as Mul(x, x)"};
  GORGO_FORWARD_1 { return x * x; }
  GORGO_BACKWARD_1 { return g * conj(x + x); }
};
struct Sqrt {
  static constexpr Facts kFacts{.name = "sqrt",
                                .doc = "Square root.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesOut,
                                .onnx = "Sqrt",
                                .since_opset = 13};
  GORGO_FORWARD_1 { return sqrt(x); }
  GORGO_BACKWARD_1 { return g / conj(y + y); }
};
struct Rsqrt {
  static constexpr Facts kFacts{.name = "rsqrt",
                                .doc = "Reciprocal of the square root.",
                                .takes = Takes::Float,
                                .saves_a = kSavesOut,
                                .onnx_reason = "exported as Reciprocal(Sqrt(x))"};
  GORGO_FORWARD_1 { return rsqrt(x); }
  GORGO_BACKWARD_1 { return g * (like(y, -0.5) * (y * y * y)); }
};
struct Reciprocal {
  static constexpr Facts kFacts{.name = "reciprocal",
                                .doc = "One divided by x.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesOut,
                                .onnx = "Reciprocal",
                                .since_opset = 13};
  GORGO_FORWARD_1 { return reciprocal(x); }
  GORGO_BACKWARD_1 { return -(g * conj(y * y)); }
};
struct Exp {
  static constexpr Facts kFacts{.name = "exp",
                                .doc = "Exponential.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesOut,
                                .onnx = "Exp",
                                .since_opset = 13,
                                .composed_only = true};
  GORGO_FORWARD_1 { return exp(x); }
  GORGO_BACKWARD_1 { return g * conj(y); }
};
struct Exp2 {
  static constexpr Facts kFacts{.name = "exp2",
                                .doc = "Two to the power of x.",
                                .takes = Takes::Float,
                                .saves_a = kSavesOut,
                                .onnx_reason = "exported as Pow(2, x)"};
  GORGO_FORWARD_1 { return exp2(x); }
  GORGO_BACKWARD_1 { return g * (y * like(y, kLn2Value)); }
};
struct Expm1 {
  static constexpr Facts kFacts{.name = "expm1",
                                .doc = "Exponential minus one, accurate near zero.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesOut,
                                .onnx_reason = "exported as Sub(Exp(x), 1)"};
  GORGO_FORWARD_1 { return expm1(x); }
  GORGO_BACKWARD_1 { return g * conj(y + like(y, 1.0)); }
};
struct Log {
  static constexpr Facts kFacts{.name = "log",
                                .doc = "Natural logarithm.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx = "Log",
                                .since_opset = 13,
                                .composed_only = true};
  GORGO_FORWARD_1 { return log(x); }
  GORGO_BACKWARD_1 { return g / conj(x); }
};
struct Log1p {
  static constexpr Facts kFacts{.name = "log1p",
                                .doc = "Logarithm of 1 + x, accurate near zero.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx_reason = "exported as Log(Add(x, 1))"};
  GORGO_FORWARD_1 { return log1p(x); }
  GORGO_BACKWARD_1 { return g / conj(x + like(x, 1.0)); }
};
struct Log2 {
  static constexpr Facts kFacts{.name = "log2",
                                .doc = "Logarithm to base 2.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx_reason = "exported as Div(Log(x), log(2))"};
  GORGO_FORWARD_1 { return log2(x); }
  GORGO_BACKWARD_1 { return g / conj(x * like(x, kLn2Value)); }
};
struct Log10 {
  static constexpr Facts kFacts{.name = "log10",
                                .doc = "Logarithm to base 10.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx_reason = "exported as Div(Log(x), log(10))"};
  GORGO_FORWARD_1 { return log10(x); }
  GORGO_BACKWARD_1 { return g / conj(x * like(x, kLn10Value)); }
};

// ---- circular and hyperbolic functions ----

struct Sin {
  static constexpr Facts kFacts{.name = "sin",
                                .doc = "Sine of x in radians.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx = "Sin",
                                .since_opset = 7};
  GORGO_FORWARD_1 { return sin(x); }
  GORGO_BACKWARD_1 { return g * conj(cos(x)); }
};
struct Cos {
  static constexpr Facts kFacts{.name = "cos",
                                .doc = "Cosine of x in radians.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx = "Cos",
                                .since_opset = 7};
  GORGO_FORWARD_1 { return cos(x); }
  GORGO_BACKWARD_1 { return -(g * conj(sin(x))); }
};
struct Tan {
  static constexpr Facts kFacts{.name = "tan",
                                .doc = "Tangent of x in radians.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesOut,
                                .onnx = "Tan",
                                .since_opset = 7};
  GORGO_FORWARD_1 { return tan(x); }
  GORGO_BACKWARD_1 { return g * conj(like(y, 1.0) + y * y); }
};
struct Asin {
  static constexpr Facts kFacts{.name = "asin",
                                .doc = "Inverse sine, in [-pi/2, pi/2].",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx = "Asin",
                                .since_opset = 7};
  GORGO_FORWARD_1 { return asin(x); }
  GORGO_BACKWARD_1 { return g / conj(sqrt(like(x, 1.0) - x * x)); }
};
struct Acos {
  static constexpr Facts kFacts{.name = "acos",
                                .doc = "Inverse cosine, in [0, pi].",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx = "Acos",
                                .since_opset = 7};
  GORGO_FORWARD_1 { return acos(x); }
  GORGO_BACKWARD_1 { return -(g / conj(sqrt(like(x, 1.0) - x * x))); }
};
struct Atan {
  static constexpr Facts kFacts{.name = "atan",
                                .doc = "Inverse tangent, in [-pi/2, pi/2].",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx = "Atan",
                                .since_opset = 7};
  GORGO_FORWARD_1 { return atan(x); }
  GORGO_BACKWARD_1 { return g / conj(x * x + like(x, 1.0)); }
};
struct Sinh {
  static constexpr Facts kFacts{.name = "sinh",
                                .doc = "Hyperbolic sine.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx = "Sinh",
                                .since_opset = 9};
  GORGO_FORWARD_1 { return sinh(x); }
  GORGO_BACKWARD_1 { return g * conj(cosh(x)); }
};
struct Cosh {
  static constexpr Facts kFacts{.name = "cosh",
                                .doc = "Hyperbolic cosine.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx = "Cosh",
                                .since_opset = 9};
  GORGO_FORWARD_1 { return cosh(x); }
  GORGO_BACKWARD_1 { return g * conj(sinh(x)); }
};
struct Tanh {
  static constexpr Facts kFacts{.name = "tanh",
                                .doc = "Hyperbolic tangent.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesOut,
                                .onnx = "Tanh",
                                .since_opset = 13};
  GORGO_FORWARD_1 { return tanh(x); }
  GORGO_BACKWARD_1 { return g * conj(like(y, 1.0) - y * y); }
};
struct Asinh {
  static constexpr Facts kFacts{.name = "asinh",
                                .doc = "Inverse hyperbolic sine.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx = "Asinh",
                                .since_opset = 9};
  GORGO_FORWARD_1 { return asinh(x); }
  GORGO_BACKWARD_1 { return g / conj(sqrt(x * x + like(x, 1.0))); }
};
struct Acosh {
  static constexpr Facts kFacts{.name = "acosh",
                                .doc = "Inverse hyperbolic cosine.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx = "Acosh",
                                .since_opset = 9};
  GORGO_FORWARD_1 { return acosh(x); }
  GORGO_BACKWARD_1 { return g / conj(sqrt(x - like(x, 1.0)) * sqrt(x + like(x, 1.0))); }
};
struct Atanh {
  static constexpr Facts kFacts{.name = "atanh",
                                .doc = "Inverse hyperbolic tangent.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesA,
                                .onnx = "Atanh",
                                .since_opset = 9};
  GORGO_FORWARD_1 { return atanh(x); }
  GORGO_BACKWARD_1 { return g / conj(like(x, 1.0) - x * x); }
};

}  // namespace gorgo::GORGO_FUNCTOR_NS
