// The attributes of the random family: plain structs that kernels may see.
// Read next: random.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

struct UniformAttrs {
  Dims shape;
  double low = 0.0;
  double high = 1.0;
  DType dtype = DType::Float32;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(UniformAttrs, shape).must().repeated(1), GORGO_FIELD(UniformAttrs, low),
                      GORGO_FIELD(UniformAttrs, high), GORGO_FIELD(UniformAttrs, dtype)};
  }
};

struct NormalAttrs {
  Dims shape;
  double mean = 0.0;
  double std = 1.0;
  DType dtype = DType::Float32;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(NormalAttrs, shape).must().repeated(1), GORGO_FIELD(NormalAttrs, mean),
                      GORGO_FIELD(NormalAttrs, std), GORGO_FIELD(NormalAttrs, dtype)};
  }
};

struct RandintAttrs {
  Dims shape;
  int64_t low = 0;
  int64_t high = 2;
  DType dtype = DType::Int64;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(RandintAttrs, shape).must().repeated(1), GORGO_FIELD(RandintAttrs, low).must(),
                      GORGO_FIELD(RandintAttrs, high).must(), GORGO_FIELD(RandintAttrs, dtype)};
  }
};

struct BernoulliAttrs {
  Dims shape;
  double p = 0.5;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(BernoulliAttrs, shape).must().repeated(1), GORGO_FIELD(BernoulliAttrs, p)};
  }
};

struct PermutationAttrs {
  int64_t n = 0;
  static constexpr auto fields() { return std::array{GORGO_FIELD(PermutationAttrs, n).must()}; }
};

// Of what is drawn with parameters that are tensors: the shape that they are broadcast to, their own when it is absent.
struct SampleAttrs {
  OptInts shape;
  static constexpr auto fields() { return std::array{GORGO_FIELD(SampleAttrs, shape).repeated(1)}; }
};

struct GammaAttrs {
  OptInts shape;
  bool log = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(GammaAttrs, shape).repeated(1), GORGO_FIELD(GammaAttrs, log)};
  }
};

struct GammaSlopeAttrs {
  bool log = false;
  static constexpr auto fields() { return std::array{GORGO_FIELD(GammaSlopeAttrs, log)}; }
};

// Which end moves: low, or high.
struct TruncatedSlopeAttrs {
  bool by_high = false;
  static constexpr auto fields() { return std::array{GORGO_FIELD(TruncatedSlopeAttrs, by_high)}; }
};

struct MultinomialAttrs {
  int64_t count = 1;
  bool replacement = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(MultinomialAttrs, count).must(), GORGO_FIELD(MultinomialAttrs, replacement)};
  }
};

// What a parameter of a distribution composed in Python must be, and in whose name a wrong one is refused.
inline constexpr const char* kParameterRules[] = {"finite", "not negative", "positive and finite", nullptr};
enum class ParameterRule : uint8_t { Finite, NotNegative, PositiveAndFinite };
inline constexpr const char* kParameters[] = {"beta: a",
                                              "beta: b",
                                              "cauchy: loc",
                                              "cauchy: scale",
                                              "chisquare: df",
                                              "dirichlet: concentration",
                                              "exponential: scale",
                                              "exponential_: rate",
                                              "gamma: concentration",
                                              "gamma: scale",
                                              "gumbel: loc",
                                              "gumbel: scale",
                                              "laplace: loc",
                                              "laplace: scale",
                                              "log_normal: std",
                                              "logistic: loc",
                                              "logistic: scale",
                                              "normal: std",
                                              "pareto: a",
                                              "pareto: scale",
                                              "rayleigh: scale",
                                              "truncated_normal: std",
                                              "weibull: a",
                                              "weibull: scale",
                                              nullptr};

struct ParameterAttrs {
  Choice of;
  Choice rule;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(ParameterAttrs, of).must().of_words(kParameters),
                      GORGO_FIELD(ParameterAttrs, rule).must().of_words(kParameterRules)};
  }
};

struct DropoutAttrs {
  double p = 0.5;
  static constexpr auto fields() { return std::array{GORGO_FIELD(DropoutAttrs, p)}; }
};

}  // namespace gorgo
