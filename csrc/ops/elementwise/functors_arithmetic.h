// Elementwise ops: sums, products and quotients, signs and rounding.
//
// Read next: functors.h, which says what a struct holds.
#pragma once

#include "ops/elementwise/facts.h"

namespace gorgo::GORGO_FUNCTOR_NS {

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

struct Conj {
  static constexpr Facts kFacts{.name = "conj",
                                .doc = "Complex conjugate; real numbers stay.",
                                .takes = Takes::Numeric,
                                .onnx_reason = "ONNX has no complex arithmetic",
                                .composed_only = true};
  GORGO_FORWARD_1 { return conj(x); }
  GORGO_BACKWARD_1 { return conj(g); }
};

}  // namespace gorgo::GORGO_FUNCTOR_NS
