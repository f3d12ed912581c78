// Elementwise ops: what networks use.
//
// Read next: functors.h, which says what a struct holds.
#pragma once

#include "ops/elementwise/facts.h"

namespace gorgo::GORGO_FUNCTOR_NS {

constexpr double kTwoOverSqrtPi = 1.12837916709551257390;
constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
constexpr double kInvSqrtTwoPi = 0.39894228040143267794;
constexpr double kGeluCubic = 0.044715;

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

}  // namespace gorgo::GORGO_FUNCTOR_NS
