// The gamma function's logarithm and the derivatives of it, in float64, for one thread.
//
// Sources: recurrence, reflection and asymptotic series, Abramowitz and Stegun 6.3 and 6.4; the remainder of the Hurwitz zeta
// function by Euler and Maclaurin, DLMF 25.11.5. Invariant: the terms and the order of additions are those of
// kernels/special.h.
// Read next: lane.cuh.
#pragma once

#include <cstdint>
#include <limits>

#include "device/cuda/launch.cuh"

namespace gorgo::cuda {

constexpr double kPiNumber = 3.14159265358979323846;

// Not inlined: their code is long and runs rarely.
__device__ __noinline__ inline double lgamma_of(double x) { return ::lgamma(x); }

// cot(pi x) for x that is no whole number.
GORGO_DEVICE double cot_pi(double x) {
  const double r = x - ::rint(x);
  return ::fabs(r) <= 0.25 ? 1.0 / ::tan(kPiNumber * r) : ::tan(kPiNumber * ((r > 0 ? 0.5 : -0.5) - r));
}

__device__ __noinline__ inline double digamma_of(double x) {
  if (x == 0) return ::copysign(std::numeric_limits<double>::infinity(), -x);
  double reflected = 0.0;
  if (x < 0) {
    if (x == ::floor(x)) return std::numeric_limits<double>::quiet_NaN();
    reflected = kPiNumber * cot_pi(x);
    x = 1.0 - x;
  }
  double sum = 0.0;
  while (x < 10.0) {
    sum -= 1.0 / x;
    x += 1.0;
  }
  // B(2 j) / (2 j), for the asymptotic series ln x - 1 / (2 x) - sum of B(2 j) / (2 j x^(2 j)).
  constexpr double kTerms[] = {1.0 / 12, -1.0 / 120, 1.0 / 252, -1.0 / 240, 1.0 / 132, -691.0 / 32760, 1.0 / 12};
  const double z = 1.0 / (x * x);
  double series = 0.0;
#pragma unroll
  for (int j = 6; j >= 0; --j) series = z * (kTerms[j] + series);
  return sum + (::log(x) - 0.5 / x - series) - reflected;
}

// The n-th derivative of digamma. For x > 0 it is (-1)^(n+1) n! zeta(n + 1, x); below, reflection adds the n-th derivative of
// cot(pi x), a polynomial in the cotangent itself, whose coefficients the launcher makes.
class Polygamma {
 public:
  explicit Polygamma(int64_t n) noexcept : n_(static_cast<int>(n)) {
    for (int i = 2; i <= n_; ++i) factorial_ *= i;
    // d/dx c^k = -pi (k c^(k-1) + k c^(k+1)) for c = cot(pi x).
    cot_[1] = 1.0;
    for (int i = 0; i < n_; ++i) {
      double next[kMost + 3] = {};
      for (int k = 1; k <= i + 1; ++k) {
        next[k - 1] -= kPiNumber * k * cot_[k];
        next[k + 1] -= kPiNumber * k * cot_[k];
      }
      for (int k = 0; k < kMost + 2; ++k) cot_[k] = next[k];
    }
  }
  __device__ __noinline__ double operator()(double x) const {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    if (n_ == 0) return digamma_of(x);
    const bool odd = n_ % 2 == 1;
    if (::fabs(x) == kInfinity) return x > 0 ? 0.0 : kNan;
    if (!(x > 0)) {
      if (x == 0) return odd ? kInfinity : ::copysign(kInfinity, -x);
      if (x != x) return x;
      if (x == ::floor(x)) return odd ? kInfinity : kNan;
    }
    const bool reflects = x < 0;
    const double value = factorial_ * zeta(n_ + 1, reflects ? 1.0 - x : x);
    const double of_positive = odd ? value : -value;
    if (!reflects) return of_positive;
    const double c = cot_pi(x);
    double slope = cot_[n_ + 1];
    for (int k = n_; k >= 0; --k) slope = slope * c + cot_[k];
    return (odd ? -of_positive : of_positive) - kPiNumber * slope;
  }

 private:
  static constexpr int kMost = 20;
  // sum over k of (x + k)^-s: the first terms, then the integral, half a term and the corrections by Bernoulli numbers.
  static GORGO_DEVICE double zeta(int s, double x) {
    constexpr double kBernoulli[] = {1.0 / 6,  -1.0 / 30,     1.0 / 42, -1.0 / 30,
                                     5.0 / 66, -691.0 / 2730, 7.0 / 6,  -3617.0 / 510};
    double sum = 0.0;
    while (x < 10.0 + s) {
      sum += power(x, s);
      x += 1.0;
    }
    const double last = power(x, s);
    sum += x * last / (s - 1) + 0.5 * last;
    double factor = s / x;  // s (s + 1) ... (s + 2 j - 2) / ((2 j)! x^(2 j - 1)) with 2 j = 2, save for 1 / 2
#pragma unroll
    for (int j = 1; j <= 8; ++j) {
      factor /= 2.0 * j;
      sum += kBernoulli[j - 1] * factor * last;
      factor *= (s + 2.0 * j - 1.0) * (s + 2.0 * j) / ((2.0 * j + 1.0) * x * x);
    }
    return sum;
  }
  static GORGO_DEVICE double power(double x, int s) {
    double value = 1.0;
    for (int i = 0; i < s; ++i) value /= x;
    return value;
  }

  int n_;
  double factorial_ = 1.0;
  double cot_[kMost + 3] = {};
};

}  // namespace gorgo::cuda
