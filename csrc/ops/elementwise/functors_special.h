// The rarer elementwise ops: distances, logarithms of sums, remainders, neighbours of numbers, special functions.
//
// Most are composed_only: their gradients are formulas over other ops, which saves code that few would run.
// Read next: functors.h, which says what a struct holds.
#pragma once

#include "ops/elementwise/facts.h"

#if defined(__CUDACC__)
#include "kernels/cuda/complex.cuh"
#include "kernels/cuda/lane.cuh"
#elif defined(GORGO_ISA_NS)
#include "kernels/arcs.h"
#include "kernels/gamma.h"
#include "kernels/special.h"
#endif

namespace gorgo::GORGO_FUNCTOR_NS {

constexpr double kSqrtPiHalf = 0.88622692545275801365;
constexpr double kPi = 3.14159265358979323846;
constexpr const char* kNoOnnx = "ONNX has no such operator";

struct Signbit {
  static constexpr Facts kFacts{.name = "signbit",
                                .doc = "Whether the sign bit is set, as it is of -0.0 and of some NaN.",
                                .takes = Takes::Float,
                                .gives = Gives::Bool,
                                .onnx_reason = kNoOnnx,
                                .no_gradient = "its result is bool"};
  GORGO_FORWARD_1 { return signbit(x); }
};
struct Copysign {
  static constexpr Facts kFacts{.name = "copysign",
                                .doc = "Magnitude of the first with the sign of the second.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA | kSavesB,
                                .onnx_reason = kNoOnnx,
                                .composed_only = true};
  GORGO_FORWARD_2 { return copysign(a, b); }
  GORGO_BACKWARD_2(a) { return g * (sign(a) * copysign(like(b, 1.0), b)); }
  GORGO_BACKWARD_2(b) { return like(g, 0.0); }
};
struct Nextafter {
  static constexpr Facts kFacts{.name = "nextafter",
                                .doc = "The next number after the first in the direction of the second.",
                                .takes = Takes::Float,
                                .onnx_reason = kNoOnnx,
                                .no_gradient = "it is a step between representable numbers"};
  GORGO_FORWARD_2 { return nextafter(a, b); }
};
struct Heaviside {
  static constexpr Facts kFacts{.name = "heaviside",
                                .doc = "Step function: 0 below zero, 1 above, the second at zero; NaN stays NaN.",
                                .takes = Takes::Real,
                                .saves_b = kSavesA,
                                .onnx_reason = kNoOnnx,
                                .composed_only = true};
  GORGO_FORWARD_2 {
    const auto zero = like(a, 0.0);
    return select(a == zero, b, select(a < zero, zero, select(a > zero, like(a, 1.0), a)));
  }
  GORGO_BACKWARD_2(a) { return like(g, 0.0); }
  GORGO_BACKWARD_2(b) { return select(a == like(a, 0.0), g, like(g, 0.0)); }
};
struct Hypot {
  static constexpr Facts kFacts{.name = "hypot",
                                .doc = "Square root of the sum of squares, without overflow on the way.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA | kSavesOut,
                                .saves_b = kSavesB | kSavesOut,
                                .onnx_reason = "exported as Sqrt(Add(Mul(a, a), Mul(b, b)))",
                                .composed_only = true};
  GORGO_FORWARD_2 { return hypot(a, b); }
  GORGO_BACKWARD_2(a) { return g * (a / y); }
  GORGO_BACKWARD_2(b) { return g * (b / y); }
};
struct Logaddexp {
  static constexpr Facts kFacts{.name = "logaddexp",
                                .doc = "Logarithm of the sum of exponentials of two tensors.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA | kSavesB,
                                .saves_b = kSavesA | kSavesB,
                                .onnx_reason = "exported as Add(Max(a, b), Softplus(Neg(Abs(Sub(a, b)))))",
                                .composed_only = true};
  GORGO_FORWARD_2 { return logaddexp(a, b); }
  GORGO_BACKWARD_2(a) { return g * sigmoid(a - b); }
  GORGO_BACKWARD_2(b) { return g * sigmoid(b - a); }
};
struct Logaddexp2 {
  static constexpr Facts kFacts{.name = "logaddexp2",
                                .doc = "Logarithm to base 2 of the sum of powers of 2 of two tensors.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA | kSavesB,
                                .saves_b = kSavesA | kSavesB,
                                .onnx_reason = kNoOnnx,
                                .composed_only = true};
  GORGO_FORWARD_2 { return logaddexp2(a, b); }
  GORGO_BACKWARD_2(a) { return g * sigmoid(like(a, 0.69314718055994530942) * (a - b)); }
  GORGO_BACKWARD_2(b) { return g * sigmoid(like(a, 0.69314718055994530942) * (b - a)); }
};
struct Fmod {
  static constexpr Facts kFacts{.name = "fmod",
                                .doc =
                                    "Remainder of division towards zero, with the sign of the first; integers by "
                                    "zero give 0.",
                                .takes = Takes::Real,
                                .saves_b = kSavesA | kSavesB,
                                .onnx_reason = "exported as Mod with fmod=1",
                                .composed_only = true};
  GORGO_FORWARD_2 { return truncated_remainder(a, b); }
  GORGO_BACKWARD_2(a) { return g; }
  GORGO_BACKWARD_2(b) { return -(g * trunc(a / b)); }
};
struct Xlogy {
  static constexpr Facts kFacts{.name = "xlogy",
                                .doc = "First times the logarithm of the second; 0 where the first is 0.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA | kSavesB,
                                .saves_b = kSavesA | kSavesB,
                                .onnx_reason = kNoOnnx,
                                .composed_only = true};
  GORGO_FORWARD_2 {
    const auto zero = like(a, 0.0);
    return select(a == zero, select(b == b, zero, b), a * log(b));
  }
  GORGO_BACKWARD_2(a) {
    // No logarithm where there is none to take, so that gradients of gradients do not meet it either.
    const auto one = like(b, 1.0);
    const auto safe = select(b <= like(b, 0.0), select(a == like(a, 0.0), one, b), b);
    return g * log(safe);
  }
  GORGO_BACKWARD_2(b) { return g * (a / b); }
};
struct Gcd {
  static constexpr Facts kFacts{.name = "gcd",
                                .doc = "Greatest common divisor, not negative.",
                                .takes = Takes::Integer,
                                .onnx_reason = kNoOnnx,
                                .no_gradient = "its operands are integers"};
  GORGO_FORWARD_2 { return gcd(a, b); }
};
struct Lcm {
  static constexpr Facts kFacts{.name = "lcm",
                                .doc = "Least common multiple, not negative; 0 beside 0.",
                                .takes = Takes::Integer,
                                .onnx_reason = kNoOnnx,
                                .no_gradient = "its operands are integers"};
  GORGO_FORWARD_2 { return lcm(a, b); }
};
struct Sinc {
  static constexpr Facts kFacts{.name = "sinc",
                                .doc = "Normalized sinc, sin(pi x) / (pi x), and 1 at 0.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA,
                                .onnx_reason = kNoOnnx,
                                .composed_only = true};
  GORGO_FORWARD_1 { return sinc(x); }
  GORGO_BACKWARD_1 {
    // (cos t - sinc x) / x cancels near 0, where a power series in t = pi x takes over.
    const auto near = abs(x) < like(x, 0.1);
    const auto safe = select(near, like(x, 1.0), x);
    const auto far_slope = (cos(like(x, kPi) * safe) - sinc(safe)) / safe;
    const auto t = like(x, kPi) * select(near, x, like(x, 0.0));
    const auto z = t * t;
    const auto series =
        like(x, -1.0 / 3) +
        z * (like(x, 1.0 / 30) +
             z * (like(x, -1.0 / 840) +
                  z * (like(x, 1.0 / 45360) + z * (like(x, -1.0 / 3991680) + z * like(x, 1.0 / 518918400)))));
    return g * select(near, like(x, kPi) * (t * series), far_slope);
  }
};
struct Lgamma {
  static constexpr Facts kFacts{.name = "lgamma",
                                .doc = "Logarithm of the magnitude of the gamma function.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA,
                                .onnx_reason = kNoOnnx,
                                .composed_only = true};
  GORGO_FORWARD_1 { return lgamma(x); }
  GORGO_BACKWARD_1 { return g * digamma(x); }
};
struct Digamma {
  static constexpr Facts kFacts{.name = "digamma",
                                .doc = "Derivative of the logarithm of the gamma function.",
                                .takes = Takes::Float,
                                .saves_a = kSavesA,
                                .onnx_reason = kNoOnnx,
                                .composed_only = true};
  GORGO_FORWARD_1 { return digamma(x); }
  GORGO_BACKWARD_1 { return g * trigamma(x); }
};
struct Erfinv {
  static constexpr Facts kFacts{.name = "erfinv",
                                .doc = "Inverse of the error function; infinite at -1 and 1, NaN beyond.",
                                .takes = Takes::Float,
                                .saves_a = kSavesOut,
                                .onnx_reason = kNoOnnx,
                                .composed_only = true};
  GORGO_FORWARD_1 { return erfinv(x); }
  GORGO_BACKWARD_1 { return g * (like(y, kSqrtPiHalf) * exp(y * y)); }
};

}  // namespace gorgo::GORGO_FUNCTOR_NS
