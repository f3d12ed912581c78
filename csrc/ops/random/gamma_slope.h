// How a gamma variable moves with its concentration when its quantile stays: dx/da = -(dP/da)(a, x) / p(a, x).
//
// With P and p the distribution and density at concentration a. Dividing the incomplete integrals by the density leaves sums
// without powers: below the middle S = sum of x^n / (a ... (a + n)), above it the continued fraction U of the upper integral;
// their derivatives by a are carried along. In float64, for any a > 0; the relative error grows as a 1e-16, since for large a the
// two terms cancel to 1 / a of their size. Read next: kernels_cpu_sample.cpp.
// Source: Figurnov, Mohamed, Mnih, "Implicit reparameterization gradients", NeurIPS 2018; the fraction: Abramowitz, Stegun,
// "Handbook of mathematical functions", 6.5.31.
#pragma once

#include "kernels/math.h"

namespace gorgo::GORGO_ISA_NS {

GORGO_INLINE double digamma(double x) noexcept {
  double shift = 0.0;
  for (; x < 10.0; x += 1.0) shift += 1.0 / x;
  const double z = 1.0 / (x * x);
  const double series =
      z *
      (1.0 / 12 - z * (1.0 / 120 - z * (1.0 / 252 - z * (1.0 / 240 - z * (1.0 / 132 - z * (691.0 / 32760 - z / 12))))));
  return log(x) - 0.5 / x - series - shift;
}

// From here on the sums would take thousands of terms: the quantile's expansion in 1 / sqrt(a), whose error is below 1e-8.
inline constexpr double kLargeConcentration = 1e6;

// d log x / da at fixed quantile.
GORGO_INLINE double gamma_log_slope(double a, double x, double log_x) noexcept {
  if (a >= kLargeConcentration) {
    // x = a + z sqrt(a) + (z^2 - 1) / 3 + (z^3 - 7 z) / (36 sqrt(a)) (Cornish, Fisher), z from x.
    const double root = sqrt(a);
    double z = (x - a) / root;
    for (int i = 0; i < 4; ++i) z = (x - a - (z * z - 1.0) / 3.0 - (z * z - 7.0) * z / (36.0 * root)) / root;
    return (1.0 + 0.5 * z / root - (z * z - 7.0) * z / (72.0 * root * a)) / x;
  }
  const double log_ratio = log_x - digamma(a);
  if (x < a + 1.0) {
    double term = 1.0 / a;  // x^n / (a ... (a + n))
    double slope = term;    // minus its logarithm's derivative: the sum of 1 / (a + k)
    double sum = term;
    double sum_slope = -term * slope;
    for (double n = 1.0; n < 1e5; n += 1.0) {
      const double inverse = 1.0 / (a + n);
      term *= x * inverse;
      slope += inverse;
      sum += term;
      const double change = term * slope;
      sum_slope -= change;
      if (change < 1e-17 * -sum_slope) break;
    }
    return -(log_ratio * sum + sum_slope);
  }
  // U = 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - 2 (2 - a) / ...)), by the method of Lentz with derivatives by a.
  double b = x + 1.0 - a;  // at least 2: no denominator vanishes
  double d = 1.0 / b;
  double d_slope = d * d;
  double value = d;
  double value_slope = d_slope;
  double c = 1e300;
  double c_slope = 0.0;
  for (double n = 1.0; n < 1e5; n += 1.0) {
    const double numerator = -n * (n - a);
    b += 2.0;
    // d = 1 / (b + numerator d), c = b + numerator / c; db/da = -1, dnumerator/da = n.
    const double below = b + numerator * d;
    const double below_slope = -1.0 + n * d + numerator * d_slope;
    d = 1.0 / below;
    d_slope = -below_slope * d * d;
    c_slope = -1.0 + n / c - numerator * c_slope / (c * c);
    c = b + numerator / c;
    const double factor = c * d;
    const double factor_slope = c_slope * d + c * d_slope;
    value_slope = value_slope * factor + value * factor_slope;
    value *= factor;
    if (abs(factor - 1.0) < 4e-16 && abs(factor_slope * value) < 1e-15 * abs(value_slope)) break;
  }
  return log_ratio * value + value_slope;
}

// Of x, or with in_log of its logarithm, which `given` then is.
GORGO_INLINE double gamma_slope(double a, double given, bool in_log) noexcept {
  if (!(a > 0.0 && isfinite(a)) || isnan(given) || given == FloatBits<double>::kInfinity)
    return FloatBits<double>::kNan;
  if (in_log) return gamma_log_slope(a, exp(given), given);
  if (given <= 0.0) return 0.0;  // underflown: so is its slope
  return given * gamma_log_slope(a, given, log(given));
}

}  // namespace gorgo::GORGO_ISA_NS
