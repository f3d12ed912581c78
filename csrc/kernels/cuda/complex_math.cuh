// Special functions of complex numbers on CUDA, with the branch cuts and special values of the C library.
//
// Invariant: all of them are worked out in double; float's are rounded once. Inverse functions go through square roots whose
// zeros keep their signs (W. Kahan, "Branch Cuts for Complex Elementary Functions", 1987), so they hold on both sides of a cut.
// Read next: complex.cuh, kernels/complex.h (the same on the CPU).
#pragma once

#include "kernels/cuda/complex.cuh"

namespace gorgo::cuda {

#if defined(__CUDACC__)

using Complex128 = Complex<double>;

namespace complex_math {
constexpr double kPi = 3.14159265358979323846;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kHuge = 709.0;  // e to this is finite

__device__ inline bool finite(double v) { return v - v == 0.0; }
__device__ inline bool infinite(double v) { return ::fabs(v) == kInfinity; }
__device__ inline bool nan(double v) { return v != v; }
// i z, and -i z.
__device__ inline Complex128 turned(Complex128 z) { return {-z.im, z.re}; }
__device__ inline Complex128 turned_back(Complex128 z) { return {z.im, -z.re}; }
}  // namespace complex_math

__device__ inline Complex128 exp(Complex128 z) {
  using namespace complex_math;
  if (z.im == 0.0) return {::exp(z.re), z.im};
  if (!finite(z.im)) {
    if (infinite(z.re)) return z.re < 0.0 ? Complex128{0.0, 0.0} : Complex128{z.re, kNan};
    return {kNan, kNan};
  }
  double sine;
  double cosine;
  ::sincos(z.im, &sine, &cosine);
  if (z.re > kHuge) {
    const double half = ::exp(0.5 * z.re);
    return {half * cosine * half, half * sine * half};
  }
  const double e = ::exp(z.re);
  return {e * cosine, e * sine};
}

__device__ inline Complex128 sinh(Complex128 z) {
  using namespace complex_math;
  if (z.im == 0.0) return {::sinh(z.re), z.im};
  if (!finite(z.im)) return {z.re == 0.0 || infinite(z.re) ? z.re : kNan, kNan};
  double sine;
  double cosine;
  ::sincos(z.im, &sine, &cosine);
  if (::fabs(z.re) > kHuge) {
    const double half = ::exp(0.5 * ::fabs(z.re));
    return {::copysign(half, z.re) * cosine * 0.5 * half, half * sine * 0.5 * half};
  }
  return {::sinh(z.re) * cosine, ::cosh(z.re) * sine};
}
__device__ inline Complex128 cosh(Complex128 z) {
  using namespace complex_math;
  if (z.im == 0.0) return {::cosh(z.re), nan(z.re) ? z.im : ::copysign(1.0, z.re) * z.im};
  if (!finite(z.im)) return {infinite(z.re) ? ::fabs(z.re) : kNan, z.re == 0.0 ? z.re : kNan};
  double sine;
  double cosine;
  ::sincos(z.im, &sine, &cosine);
  if (::fabs(z.re) > kHuge) {
    const double half = ::exp(0.5 * ::fabs(z.re));
    return {half * cosine * 0.5 * half, ::copysign(half, z.re) * sine * 0.5 * half};
  }
  return {::cosh(z.re) * cosine, ::sinh(z.re) * sine};
}
// An infinite real part leaves an imaginary zero with the sign of the imaginary part, as on the CPU.
__device__ inline Complex128 tanh(Complex128 z) {
  using namespace complex_math;
  if (infinite(z.re)) return {::copysign(1.0, z.re), ::copysign(0.0, z.im)};
  if (z.im == 0.0) return {::tanh(z.re), z.im};
  if (!finite(z.im)) return {z.re == 0.0 ? z.re : kNan, kNan};
  if (::fabs(z.re) > 22.0) {  // the real part is 1 but for less than an ulp
    double sine;
    double cosine;
    ::sincos(z.im, &sine, &cosine);
    return {::copysign(1.0, z.re), 4.0 * sine * cosine * ::exp(-2.0 * ::fabs(z.re))};
  }
  const double t = ::tan(z.im);
  const double beta = 1.0 + t * t;
  const double s = ::sinh(z.re);
  const double rho = ::sqrt(1.0 + s * s);
  if (infinite(beta)) return {rho / s, 1.0 / t};
  const double below = 1.0 + beta * s * s;
  return {beta * rho * s / below, t / below};
}
__device__ inline Complex128 sin(Complex128 z) { return complex_math::turned_back(sinh(complex_math::turned(z))); }
__device__ inline Complex128 cos(Complex128 z) { return cosh(complex_math::turned(z)); }
__device__ inline Complex128 tan(Complex128 z) { return complex_math::turned_back(tanh(complex_math::turned(z))); }

__device__ inline Complex128 sqrt(Complex128 z) {
  using namespace complex_math;
  if (infinite(z.im)) return {::fabs(z.im), z.im};
  if (infinite(z.re)) {
    const double rest = nan(z.im) ? kNan : 0.0;
    return z.re > 0.0 ? Complex128{z.re, ::copysign(rest, z.im)} : Complex128{rest, ::copysign(z.re, z.im)};
  }
  if (z.re == 0.0 && z.im == 0.0) return {0.0, z.im};
  const double largest = ::fmax(::fabs(z.re), ::fabs(z.im));
  double scale = 1.0;  // the result's
  if (largest > 0x1p1020) {
    z = {z.re * 0.25, z.im * 0.25};
    scale = 2.0;
  } else if (largest < 0x1p-960) {
    z = {z.re * 0x1p108, z.im * 0x1p108};
    scale = 0x1p-54;
  }
  const double t = ::sqrt(0.5 * (::fabs(z.re) + ::hypot(z.re, z.im)));
  const double other = 0.5 * ::fabs(z.im) / t * scale;
  if (z.re < 0.0) return {other, ::copysign(t * scale, z.im)};
  return {t * scale, ::copysign(other, z.im)};
}

// Near the unit circle the squares' sum less one is added up with what rounding took from it.
__device__ inline Complex128 log(Complex128 z) {
  const double angle = ::atan2(z.im, z.re);
  const double a = ::fmax(::fabs(z.re), ::fabs(z.im));
  const double b = ::fmin(::fabs(z.re), ::fabs(z.im));
  if (a > 0.5 && a < 2.0 && z.re == z.re && z.im == z.im) {
    const double a2 = a * a;
    const double b2 = b * b;
    const double rest = a2 - 1.0;
    const double sum = rest + b2;
    const double seen = sum - rest;
    const double lost = (rest - (sum - seen)) + (b2 - seen) + ::fma(a, a, -a2) + ::fma(b, b, -b2);
    return {0.5 * ::log1p(sum + lost), angle};
  }
  if (a > 0x1p1020) return {::log(::hypot(0.25 * z.re, 0.25 * z.im)) + 1.38629436111989061883, angle};
  return {::log(::hypot(z.re, z.im)), angle};
}
__device__ inline Complex128 log2(Complex128 z) {
  const Complex128 y = log(z);
  return {y.re * 1.4426950408889634074, y.im * 1.4426950408889634074};
}
__device__ inline Complex128 log10(Complex128 z) {
  const Complex128 y = log(z);
  return {y.re * 0.43429448190325182765, y.im * 0.43429448190325182765};
}
// As on the CPU: the brackets of |1 + z|^2 = 1 + (2 a + a^2 + b^2) with the errors of their sums and products.
__device__ inline Complex128 log1p(Complex128 z) {
  if (!complex_math::finite(z.re) || !complex_math::finite(z.im)) return log(Complex128{1.0 + z.re, z.im});
  const double a2 = z.re * z.re;
  const double b2 = z.im * z.im;
  const double twice = 2.0 * z.re;
  const double first = twice + a2;
  const double first_lost = ::fabs(twice) > a2 ? a2 - (first - twice) : twice - (first - a2);
  const double sum = first + b2;
  const double sum_lost = ::fabs(first) > b2 ? b2 - (sum - first) : first - (sum - b2);
  const double total = sum + (first_lost + sum_lost + (::fma(z.re, z.re, -a2) + ::fma(z.im, z.im, -b2)));
  const double angle = ::atan2(z.im, 1.0 + z.re);
  if (::fabs(total) < 0.5) return {0.5 * ::log1p(total), angle};
  return {::log(::hypot(1.0 + z.re, z.im)), angle};
}
// e^z - 1 = expm1(a) cos b - 2 sin^2(b / 2) + i e^a sin b; far from 0, and for special values, from exp.
__device__ inline Complex128 expm1(Complex128 z) {
  if (!complex_math::finite(z.re) || !complex_math::finite(z.im) || ::fabs(z.re) > 1.0) {
    const Complex128 y = exp(z);
    return {y.re - 1.0, y.im};
  }
  const double half = ::sin(0.5 * z.im);
  const double real = ::expm1(z.re) * ::cos(z.im) - 2.0 * half * half;
  return {real + 0.0, ::exp(z.re) * ::sin(z.im)};  // no negative zero in the real part
}

__device__ inline Complex128 asin(Complex128 z) {
  using namespace complex_math;
  if (infinite(z.re) || infinite(z.im)) {
    const double re = nan(z.re) || nan(z.im) ? kNan : !infinite(z.re) ? 0.0 : infinite(z.im) ? 0.25 * kPi : 0.5 * kPi;
    return {::copysign(re, z.re), ::copysign(kInfinity, z.im)};
  }
  if (z.re == 0.0 && nan(z.im)) return {z.re, kNan};
  const Complex128 below = sqrt(Complex128{1.0 - z.re, -z.im});
  const Complex128 above = sqrt(Complex128{1.0 + z.re, z.im});
  return {::atan2(z.re, below.re * above.re - below.im * above.im), ::asinh(below.re * above.im - below.im * above.re)};
}
__device__ inline Complex128 acos(Complex128 z) {
  using namespace complex_math;
  if (infinite(z.re) || infinite(z.im) || (z.re == 0.0 && nan(z.im))) {
    const Complex128 s = asin(z);
    return {0.5 * kPi - s.re, -s.im};
  }
  const Complex128 below = sqrt(Complex128{1.0 - z.re, -z.im});
  const Complex128 above = sqrt(Complex128{1.0 + z.re, z.im});
  return {2.0 * ::atan2(below.re, above.re), ::asinh(above.re * below.im - above.im * below.re)};
}
__device__ inline Complex128 acosh(Complex128 z) {
  const Complex128 y = acos(z);
  return {::fabs(y.im), ::copysign(y.re, z.im)};
}
__device__ inline Complex128 asinh(Complex128 z) { return complex_math::turned_back(asin(complex_math::turned(z))); }
__device__ inline Complex128 atanh(Complex128 z) {
  using namespace complex_math;
  const double x = ::fabs(z.re);
  const double y = ::fabs(z.im);
  if (infinite(x) || infinite(y)) return {::copysign(0.0, z.re), nan(z.im) ? kNan : ::copysign(0.5 * kPi, z.im)};
  if (nan(x) || nan(y)) return {x == 0.0 ? z.re : kNan, kNan};
  constexpr double kFar = 0x1p500;
  if (x > kFar || y > kFar) {  // 1 / z, and a quarter of a turn
    const double h = ::hypot(0.5 * x, 0.5 * y);
    return {::copysign(0.25 * (x / h) / h, z.re), ::copysign(0.5 * kPi, z.im)};
  }
  const double left = 1.0 - x;
  const double re = x == 1.0 && y < 0x1p-500 ? 0.5 * (0.69314718055994530942 - ::log(y))
                                             : 0.25 * ::log1p(4.0 * x / (left * left + y * y));
  return {::copysign(re, z.re), 0.5 * ::atan2(2.0 * z.im, left * (1.0 + x) - y * y)};
}
__device__ inline Complex128 atan(Complex128 z) { return complex_math::turned_back(atanh(complex_math::turned(z))); }

// x^0 is 1, 0^y is 0 when y's real part is positive; small whole powers are products.
__device__ inline Complex128 pow(Complex128 x, Complex128 y) {
  if (y.re == 0.0 && y.im == 0.0) return {1.0, 0.0};
  if (x.re == 0.0 && x.im == 0.0 && y.re > 0.0) return {0.0, 0.0};
  if (y.im == 0.0) {
    if (y.re == 1.0) return x;
    if (y.re == 2.0) return x * x;
    if (y.re == 3.0) return x * x * x;
    if (y.re == -1.0) return reciprocal(x);
  }
  return exp(y * log(x));
}

#define GORGO_COMPLEX_1(name)                                    \
  __device__ inline Complex<float> name(Complex<float> z) {      \
    const Complex128 y = name(Complex128{z.re, z.im});           \
    return {static_cast<float>(y.re), static_cast<float>(y.im)}; \
  }
GORGO_COMPLEX_1(sqrt)
GORGO_COMPLEX_1(exp)
GORGO_COMPLEX_1(expm1)
GORGO_COMPLEX_1(log)
GORGO_COMPLEX_1(log1p)
GORGO_COMPLEX_1(log2)
GORGO_COMPLEX_1(log10)
GORGO_COMPLEX_1(sin)
GORGO_COMPLEX_1(cos)
GORGO_COMPLEX_1(tan)
GORGO_COMPLEX_1(asin)
GORGO_COMPLEX_1(acos)
GORGO_COMPLEX_1(atan)
GORGO_COMPLEX_1(sinh)
GORGO_COMPLEX_1(cosh)
GORGO_COMPLEX_1(tanh)
GORGO_COMPLEX_1(asinh)
GORGO_COMPLEX_1(acosh)
GORGO_COMPLEX_1(atanh)
#undef GORGO_COMPLEX_1
__device__ inline Complex<float> pow(Complex<float> x, Complex<float> y) {
  const Complex128 z = pow(Complex128{x.re, x.im}, Complex128{y.re, y.im});
  return {static_cast<float>(z.re), static_cast<float>(z.im)};
}

#endif

}  // namespace gorgo::cuda
