// The elementwise ops, one struct each: facts, forward, backward. The one place where such an op is written.
//
// `forward` and `backward` are templates over the value type V. With Vec, Mask or Complex they are the fused kernels
// (kernels_cpu.cpp, once per instruction set), with Expr, whose operators call ops, the composed gradient that can
// itself be differentiated (elementwise.cpp). They use the vocabulary of kernels/math.h, found through V, and `like(x,
// c)` for a constant of x's kind; `conj` makes a gradient right for complex values and does nothing to real ones.
// backward(g, x, y) of a unary op and backward_a, backward_b(g, a, b, y) of a binary one may use only what the facts
// save. To add an op: write its struct, name it in op_list.h, add a row to tests/samples/elementwise.py.
// Read next: functors_special.h (the rarer ones), elementwise.cpp.
#pragma once

#include "ops/elementwise/facts.h"
#include "ops/elementwise/functors_special.h"
#include "ops/elementwise/op_list.h"

namespace gorgo::GORGO_FUNCTOR_NS {

constexpr double kLn2Value = 0.69314718055994530942;
constexpr double kLn10Value = 2.30258509299404568402;
constexpr double kTwoOverSqrtPi = 1.12837916709551257390;
constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
constexpr double kInvSqrtTwoPi = 0.39894228040143267794;
constexpr double kGeluCubic = 0.044715;

// ---- arithmetic ----

struct Add {
  static constexpr Facts kFacts{.name = "add",
                                .doc = "Add two tensors.",
                                .takes = Takes::Numeric,
                                .onnx = "Add",
                                .since_opset = 14,
                                .composed_only = true};
  GORGO_FORWARD_2 { return a + b; }
  GORGO_BACKWARD_2(a) { return g; }
  GORGO_BACKWARD_2(b) { return g; }
};
struct Subtract {
  static constexpr Facts kFacts{.name = "subtract",
                                .doc = "Subtract the second tensor from the first.",
                                .takes = Takes::Numeric,
                                .onnx = "Sub",
                                .since_opset = 14,
                                .composed_only = true};
  GORGO_FORWARD_2 { return a - b; }
  GORGO_BACKWARD_2(a) { return g; }
  GORGO_BACKWARD_2(b) { return -g; }
};
struct Multiply {
  static constexpr Facts kFacts{.name = "multiply",
                                .doc = "Multiply two tensors.",
                                .takes = Takes::Numeric,
                                .saves_a = kSavesB,
                                .saves_b = kSavesA,
                                .onnx = "Mul",
                                .since_opset = 14,
                                .composed_only = true};
  GORGO_FORWARD_2 { return a * b; }
  GORGO_BACKWARD_2(a) { return g * conj(b); }
  GORGO_BACKWARD_2(b) { return g * conj(a); }
};
struct Divide {
  static constexpr Facts kFacts{.name = "divide",
                                .doc = "Divide the first tensor by the second; integers give float32.",
                                .takes = Takes::FloatOrComplex,
                                .saves_a = kSavesB,
                                .saves_b = kSavesA | kSavesB,
                                .onnx = "Div",
                                .since_opset = 14};
  GORGO_FORWARD_2 { return a / b; }
  GORGO_BACKWARD_2(a) { return g / conj(b); }
  GORGO_BACKWARD_2(b) { return -(g * conj(a / b / b)); }
};
struct FloorDivide {
  static constexpr Facts kFacts{.name = "floor_divide",
                                .doc = "Divide and round towards minus infinity; integers by zero give 0.",
                                .takes = Takes::Real,
                                .onnx_reason = "exported as Floor(Div(a, b))",
                                .no_gradient = "it is piecewise constant"};
  GORGO_FORWARD_2 { return whole_quotient(a, b); }
};
struct Remainder {
  static constexpr Facts kFacts{
      .name = "remainder",
      .doc = "Remainder of floor division, with the sign of the second; integers by zero give 0.",
      .takes = Takes::Real,
      .saves_b = kSavesA | kSavesB,
      .onnx_reason = "exported as Sub(a, Mul(b, Floor(Div(a, b))))",
      .composed_only = true};
  GORGO_FORWARD_2 { return remainder(a, b); }
  GORGO_BACKWARD_2(a) { return g; }
  GORGO_BACKWARD_2(b) { return -(g * floor(a / b)); }
};
struct Pow {
  static constexpr Facts kFacts{.name = "pow",
                                .doc = "Raise the first tensor to the power of the second.",
                                .takes = Takes::Numeric,
                                .saves_a = kSavesA | kSavesB,
                                .saves_b = kSavesA | kSavesB | kSavesOut,
                                .onnx = "Pow",
                                .since_opset = 15};
  GORGO_FORWARD_2 { return pow(a, b); }
  GORGO_BACKWARD_2(a) {
    const auto zero = like(b, 0.0);
    return select(b == zero, zero, g * conj(b * pow(a, b - like(b, 1.0))));
  }
  GORGO_BACKWARD_2(b) {
    const auto zero = like(a, 0.0);
    const auto slope = g * conj(y * log(a));
    // 0^b is constant for b >= 0 (0, or 1 at b = 0), so what log a does there must not show.
    const auto at_zero = select(y == zero, zero, select(y == like(y, 1.0), zero, slope));
    return select(a == zero, at_zero, slope);
  }
};
struct Maximum {
  static constexpr Facts kFacts{.name = "maximum",
                                .doc = "Take the larger of two tensors; NaN if either is NaN.",
                                .takes = Takes::Real,
                                .saves_a = kSavesA | kSavesB,
                                .saves_b = kSavesA | kSavesB,
                                .onnx = "Max",
                                .since_opset = 13};
  GORGO_FORWARD_2 { return maximum(a, b); }
  GORGO_BACKWARD_2(a) { return select(a == b, g * like(g, 0.5), select(a < b, like(g, 0.0), g)); }
  GORGO_BACKWARD_2(b) { return select(a == b, g * like(g, 0.5), select(b < a, like(g, 0.0), g)); }
};
struct Minimum {
  static constexpr Facts kFacts{.name = "minimum",
                                .doc = "Take the smaller of two tensors; NaN if either is NaN.",
                                .takes = Takes::Real,
                                .saves_a = kSavesA | kSavesB,
                                .saves_b = kSavesA | kSavesB,
                                .onnx = "Min",
                                .since_opset = 13};
  GORGO_FORWARD_2 { return minimum(a, b); }
  GORGO_BACKWARD_2(a) { return select(a == b, g * like(g, 0.5), select(a > b, like(g, 0.0), g)); }
  GORGO_BACKWARD_2(b) { return select(a == b, g * like(g, 0.5), select(b > a, like(g, 0.0), g)); }
};
struct LeakyRelu {
  static constexpr Facts kFacts{
      .name = "leaky_relu",
      .doc = "Keep the elements above zero of the first tensor and scale the rest by the second.",
      .takes = Takes::Float,
      .saves_a = kSavesA | kSavesB,
      .saves_b = kSavesA,
      .onnx = "PRelu",
      .since_opset = 16};
  GORGO_FORWARD_2 { return select(a > like(a, 0.0), a, b * a); }
  GORGO_BACKWARD_2(a) { return select(a > like(a, 0.0), g, g * b); }
  GORGO_BACKWARD_2(b) { return select(a > like(a, 0.0), like(a, 0.0), g * a); }
};
struct Atan2 {
  static constexpr Facts kFacts{.name = "atan2",
                                .doc = "Angle of the point (b, a), in (-pi, pi].",
                                .takes = Takes::Float,
                                .saves_a = kSavesA | kSavesB,
                                .saves_b = kSavesA | kSavesB,
                                .onnx_reason = "ONNX has no such operator"};
  GORGO_FORWARD_2 { return atan2(a, b); }
  GORGO_BACKWARD_2(a) { return g * (b / (a * a + b * b)); }
  GORGO_BACKWARD_2(b) { return -(g * (a / (a * a + b * b))); }
};

// ---- signs and rounding ----

struct Negative {
  static constexpr Facts kFacts{.name = "negative",
                                .doc = "Negate.",
                                .takes = Takes::Numeric,
                                .onnx = "Neg",
                                .since_opset = 13,
                                .composed_only = true};
  GORGO_FORWARD_1 { return -x; }
  GORGO_BACKWARD_1 { return -g; }
};
struct Abs {
  static constexpr Facts kFacts{.name = "abs",
                                .doc = "Absolute value.",
                                .takes = Takes::Real,
                                .saves_a = kSavesA,
                                .onnx = "Abs",
                                .since_opset = 13};
  GORGO_FORWARD_1 { return abs(x); }
  GORGO_BACKWARD_1 { return g * sign(x); }
};
struct Sign {
  static constexpr Facts kFacts{.name = "sign",
                                .doc = "Sign: -1, 0 or 1; NaN stays NaN.",
                                .takes = Takes::Real,
                                .onnx = "Sign",
                                .since_opset = 13,
                                .zero_gradient = true};
  GORGO_FORWARD_1 { return sign(x) + like(x, 0.0); }  // no negative zero
  GORGO_BACKWARD_1 { return like(g, 0.0); }
};
struct Floor {
  static constexpr Facts kFacts{.name = "floor",
                                .doc = "Round towards minus infinity.",
                                .takes = Takes::Real,
                                .onnx = "Floor",
                                .since_opset = 13,
                                .zero_gradient = true};
  GORGO_FORWARD_1 { return floor(x); }
  GORGO_BACKWARD_1 { return like(g, 0.0); }
};
struct Ceil {
  static constexpr Facts kFacts{.name = "ceil",
                                .doc = "Round towards plus infinity.",
                                .takes = Takes::Real,
                                .onnx = "Ceil",
                                .since_opset = 13,
                                .zero_gradient = true};
  GORGO_FORWARD_1 { return ceil(x); }
  GORGO_BACKWARD_1 { return like(g, 0.0); }
};
struct Trunc {
  static constexpr Facts kFacts{.name = "trunc",
                                .doc = "Round towards zero.",
                                .takes = Takes::Real,
                                .onnx_reason = "exported as Mul(Sign(x), Floor(Abs(x)))",
                                .zero_gradient = true};
  GORGO_FORWARD_1 { return trunc(x); }
  GORGO_BACKWARD_1 { return like(g, 0.0); }
};
struct Round {
  static constexpr Facts kFacts{.name = "round",
                                .doc = "Round to the nearest whole number, halves to even.",
                                .takes = Takes::Real,
                                .onnx = "Round",
                                .since_opset = 11,
                                .zero_gradient = true};
  GORGO_FORWARD_1 { return round(x); }
  GORGO_BACKWARD_1 { return like(g, 0.0); }
};

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

// ---- what networks use ----

struct Erf {
  static constexpr Facts kFacts{.name = "erf",
                                .doc = "Error function.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA,
                                .onnx = "Erf",
                                .since_opset = 13};
  GORGO_FORWARD_1 { return erf(x); }
  GORGO_BACKWARD_1 { return g * (like(x, kTwoOverSqrtPi) * exp(-(x * x))); }
};
struct Erfc {
  static constexpr Facts kFacts{.name = "erfc",
                                .doc = "Complementary error function 1 - erf(x), accurate for large x.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA,
                                .onnx_reason = "exported as Sub(1, Erf(x))"};
  GORGO_FORWARD_1 { return erfc(x); }
  GORGO_BACKWARD_1 { return g * (like(x, -kTwoOverSqrtPi) * exp(-(x * x))); }
};
struct Sigmoid {
  static constexpr Facts kFacts{.name = "sigmoid",
                                .doc = "Logistic function 1 / (1 + exp(-x)).",
                                .takes = Takes::Float,
                                .saves_a = kSavesOut,
                                .onnx = "Sigmoid",
                                .since_opset = 13};
  GORGO_FORWARD_1 { return sigmoid(x); }
  GORGO_BACKWARD_1 { return g * (y * (like(y, 1.0) - y)); }
};
// By the definitions; vectors on the CPU find what math.h and its neighbours have for them first.
template <class V>
GORGO_INLINE auto logit(const V& x) {
  return log(x) - log1p(-x);
}
template <class V>
GORGO_INLINE auto silu(const V& x) {
  return x * sigmoid(x);
}
template <class V>
GORGO_INLINE auto gelu(const V& x) {
  return x * (like(x, 0.5) * erfc(like(x, -kSqrtHalf) * x));
}
template <class V>
GORGO_INLINE auto gelu_slope(const V& x) {
  const auto density = like(x, kInvSqrtTwoPi) * exp(like(x, -0.5) * (x * x));
  return like(x, 0.5) * erfc(like(x, -kSqrtHalf) * x) + x * density;
}
// 0.5 (1 + tanh u) = sigmoid(2 u), which keeps the left tail.
template <class V>
GORGO_INLINE auto gelu_tanh(const V& x) {
  return x * sigmoid(like(x, 2.0 * kSqrtTwoOverPi) * (x + like(x, kGeluCubic) * (x * x * x)));
}
struct Logit {
  static constexpr Facts kFacts{.name = "logit",
                                .doc = "Inverse of the logistic function, log(x / (1 - x)).",
                                .takes = Takes::Float,
                                .saves_a = kSavesA,
                                .onnx_reason = "exported as Log(Div(x, Sub(1, x)))"};
  GORGO_FORWARD_1 { return logit(x); }
  GORGO_BACKWARD_1 { return g / (x * (like(x, 1.0) - x)); }
};
struct Relu {
  static constexpr Facts kFacts{.name = "relu",
                                .doc = "The larger of x and 0; NaN stays NaN.",
                                .takes = Takes::Real,
                                .saves_a = kSavesOut,
                                .onnx = "Relu",
                                .since_opset = 14};
  GORGO_FORWARD_1 { return select(x < like(x, 0.0), like(x, 0.0), x); }
  GORGO_BACKWARD_1 { return select(y <= like(y, 0.0), like(g, 0.0), g); }
};
struct Softplus {
  static constexpr Facts kFacts{.name = "softplus",
                                .doc = "Smooth ramp log(1 + exp(x)).",
                                .takes = Takes::Float,
                                .saves_a = kSavesA,
                                .onnx = "Softplus",
                                .since_opset = 1};
  GORGO_FORWARD_1 { return softplus(x); }
  GORGO_BACKWARD_1 { return g * sigmoid(x); }
};
struct Silu {
  static constexpr Facts kFacts{.name = "silu",
                                .doc = "Product of x and sigmoid(x), also called swish.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA,
                                .onnx_reason = "exported as Mul(x, Sigmoid(x))"};
  GORGO_FORWARD_1 { return silu(x); }
  GORGO_BACKWARD_1 {
    const auto s = sigmoid(x);
    return g * (s * (like(x, 1.0) + x * (like(x, 1.0) - s)));
  }
};
struct Gelu {
  static constexpr Facts kFacts{.name = "gelu",
                                .doc = "Product of x and the normal distribution function of x.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA,
                                .onnx = "Gelu",
                                .since_opset = 20};
  GORGO_FORWARD_1 { return gelu(x); }
  GORGO_BACKWARD_1 { return g * gelu_slope(x); }
};
struct GeluTanh {
  static constexpr Facts kFacts{.name = "gelu_tanh",
                                .doc = "The tanh approximation of gelu.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA,
                                .onnx_reason = "exported as Gelu with approximate='tanh'"};
  GORGO_FORWARD_1 { return gelu_tanh(x); }
  GORGO_BACKWARD_1 {
    const auto s = sigmoid(like(x, 2.0 * kSqrtTwoOverPi) * (x + like(x, kGeluCubic) * (x * x * x)));
    const auto slope = like(x, 2.0 * kSqrtTwoOverPi) * (like(x, 1.0) + like(x, 3.0 * kGeluCubic) * (x * x));
    return g * (s + x * (s * (like(x, 1.0) - s) * slope));
  }
};
// The ramps of width six that stand for sigmoid and silu; their ends belong to what lies beyond.
struct Hardsigmoid {
  static constexpr Facts kFacts{.name = "hardsigmoid",
                                .doc = "Ramp from 0 at -3 to 1 at 3.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA,
                                .onnx = "HardSigmoid",
                                .since_opset = 6};
  GORGO_FORWARD_1 {
    const V ramp = (x + like(x, 3.0)) / like(x, 6.0);
    return select(x <= like(x, -3.0), like(x, 0.0), select(x >= like(x, 3.0), like(x, 1.0), ramp));
  }
  GORGO_BACKWARD_1 {
    const V within = select(x >= like(x, 3.0), like(x, 0.0), g / like(x, 6.0));
    return select(x <= like(x, -3.0), like(x, 0.0), within);
  }
};
struct Hardswish {
  static constexpr Facts kFacts{.name = "hardswish",
                                .doc = "Zero up to -3, x from 3, and x * (x + 3) / 6 between.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA,
                                .onnx = "HardSwish",
                                .since_opset = 14};
  GORGO_FORWARD_1 {
    const V between = x * (x + like(x, 3.0)) / like(x, 6.0);
    return select(x <= like(x, -3.0), like(x, 0.0), select(x >= like(x, 3.0), x, between));
  }
  GORGO_BACKWARD_1 {
    const V between = g * ((x + x + like(x, 3.0)) / like(x, 6.0));
    return select(x <= like(x, -3.0), like(x, 0.0), select(x >= like(x, 3.0), g, between));
  }
};

struct Conj {
  static constexpr Facts kFacts{.name = "conj",
                                .doc = "Complex conjugate; real numbers stay.",
                                .takes = Takes::Numeric,
                                .onnx_reason = "ONNX has no complex arithmetic",
                                .composed_only = true};
  GORGO_FORWARD_1 { return conj(x); }
  GORGO_BACKWARD_1 { return conj(g); }
};

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
