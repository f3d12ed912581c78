// How a standard normal variable that is cut to [low, high] moves with an end when its quantile stays.
//
// With p the normal density and P its integral, dz/dlow = p(low) / p(z) (P(high) - P(z)) / (P(high) - P(low)), which is
// span(z, high) / span(low, high) with span(a, b) the integral of exp((a^2 - t^2) / 2) from a to b; by the other end likewise,
// seen in a mirror. A span neither underflows far out nor loses digits where the ends are close. In float64, without the C
// library; relative error below 1e-13.
// Read next: kernels_cpu_sample.cpp.
// Source: Figurnov, Mohamed, Mnih, "Implicit reparameterization gradients", NeurIPS 2018; the fraction: Abramowitz, Stegun,
// "Handbook of mathematical functions", 26.2.14, and the series 26.2.11.
#pragma once

#include "kernels/math.h"

namespace gorgo::GORGO_ISA_NS {

// The integral of exp((x^2 - t^2) / 2) from x to infinity, x >= 0: Mills' ratio.
GORGO_INLINE double mills_ratio(double x) noexcept {
  if (x < 2.5) {
    double term = x;  // x^(2 k + 1) / (1 3 5 ... (2 k + 1))
    double sum = x;
    for (double odd = 3.0; odd < 65.0; odd += 2.0) {
      term *= x * x / odd;
      sum += term;
    }
    return 1.2533141373155002512 * exp(0.5 * x * x) - sum;
  }
  if (x > 1e8) return 1.0 / x;
  double below = x;  // x + 1 / (x + 2 / (x + ...)), from the end
  for (double k = floor(8.0 + 340.0 / (x * x)); k >= 1.0; k -= 1.0) below = x + k / below;  // to 3e-15
  return 1.0 / below;
}

GORGO_INLINE double normal_span(double a, double b) noexcept {
  const double width = b - a;
  if (width * (1.0 + maximum(abs(a), abs(b))) <= 1.0) {
    // Gauss and Legendre's rule of 8 points: the exponent varies by less than 1.
    constexpr double kPlaces[4] = {0.18343464249564980494, 0.52553240991632898582, 0.79666647741362673959,
                                   0.96028985649753623168};
    constexpr double kWeights[4] = {0.36268378337836198297, 0.31370664587788728734, 0.22238103445337447054,
                                    0.10122853629037625915};
    double sum = 0.0;
    for (int i = 0; i < 4; ++i) {
      const double near = 0.5 * width * (1.0 - kPlaces[i]);
      const double far = 0.5 * width * (1.0 + kPlaces[i]);
      sum += kWeights[i] * (exp(-near * (a + 0.5 * near)) + exp(-far * (a + 0.5 * far)));
    }
    return 0.5 * width * sum;
  }
  const double fall = exp(0.5 * (a - b) * (a + b));  // of the density from a to b, where both are on one side
  if (a >= 0.0) return mills_ratio(a) - mills_ratio(b) * fall;
  if (b <= 0.0) return mills_ratio(-b) * fall - mills_ratio(-a);
  return exp(0.5 * a * a) * (2.5066282746310005024 - mills_ratio(b) * exp(-0.5 * b * b)) - mills_ratio(-a);
}

// d draw / d low.
GORGO_INLINE double truncated_slope(double low, double draw, double high) noexcept {
  if (!(low < high) || isnan(draw)) return FloatBits<double>::kNan;
  if (draw <= low) return 1.0;
  if (draw >= high) return 0.0;
  const double rest = normal_span(draw, high);
  // Both beyond the largest number: what is above the draw is all but everything.
  if (isinf(rest)) return exp(0.5 * (draw - low) * (draw + low));
  return rest / normal_span(low, high);
}

}  // namespace gorgo::GORGO_ISA_NS
