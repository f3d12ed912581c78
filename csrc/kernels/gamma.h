// The gamma function's logarithm and the derivatives of it over Vec<T, N>, lane by lane in float64.
//
// Invariant: as in math.h. What would cancel next to a zero is kept as the sum of two numbers.
// Sources: recurrence, reflection and asymptotic series, Abramowitz and Stegun 6.1 to 6.4; the remainder of the Hurwitz zeta
// function by Euler and Maclaurin, DLMF 25.11.5.
// Read next: ops/elementwise/functors_special.h.
#pragma once

#include <math.h>  // lgamma_r is POSIX, not C++

#include <iterator>

#include "kernels/math.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

// A number as the sum of two, for what would otherwise cancel: some 100 binary digits.
struct Pair {
  double high;
  double low;
};
inline Pair pair_sum(double a, double b) noexcept {
  const double sum = a + b;
  const double part = sum - a;
  return {sum, (a - (sum - part)) + (b - part)};
}
// The same for |a| >= |b|.
inline Pair ordered_sum(double a, double b) noexcept {
  const double sum = a + b;
  return {sum, b - (sum - a)};
}
inline Pair operator+(Pair a, Pair b) noexcept {
  const Pair sum = pair_sum(a.high, b.high);
  return ordered_sum(sum.high, sum.low + (a.low + b.low));
}
inline Pair pair_reciprocal(double x) noexcept {
  const double q = 1.0 / x;
  return {q, q * __builtin_fma(-q, x, 1.0)};
}
inline Pair operator-(Pair a) noexcept { return {-a.high, -a.low}; }
inline Pair operator*(Pair a, Pair b) noexcept {
  const double product = a.high * b.high;
  const double lost = __builtin_fma(a.high, b.high, -product);
  return ordered_sum(product, lost + (a.high * b.low + a.low * b.high));
}
// c[0] + c[1] x + ..., the even powers beside the odd ones.
template <std::size_t Count>
GORGO_INLINE double by_halves(double x, const double (&c)[Count]) noexcept {
  static_assert(Count % 2 == 0);
  const double z = x * x;
  double even = c[Count - 2];
  double odd = c[Count - 1];
  for (std::size_t i = Count - 2; i > 0; i -= 2) {
    even = even * z + c[i - 2];
    odd = odd * z + c[i - 1];
  }
  return even + x * odd;
}
constexpr double kAtanh[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11, 2.0 / 13,
                             2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21, 2.0 / 23, 2.0 / 25};
// ln x = e ln2 + 2 s + s^3 R(s^2), s = (m - 1) / (m + 1), x = 2^e m, m in [sqrt(1/2), sqrt(2)], for normal numbers.
inline Pair pair_log(Pair x) noexcept {
  const auto bits = __builtin_bit_cast(std::int64_t, x.high);
  const auto exponent = (bits - __builtin_bit_cast(std::int64_t, 0.70710678118654752440)) >> 52;
  const auto e = static_cast<double>(exponent);
  const double f = __builtin_bit_cast(double, bits - (exponent << 52)) - 1.0;
  const Pair d = pair_sum(2.0, f);
  const double s = f / d.high;
  const double s_low = (__builtin_fma(-s, d.high, f) - s * d.low) * (1.0 / d.high);
  const double z = s * s;
  const double series = by_halves(z, kAtanh);
  const Pair lead = pair_sum(e * Ln2<double>::kHigh, 2.0 * s);
  return ordered_sum(lead.high, lead.low + (2.0 * s_low + (s * z * series + (e * Ln2<double>::kLow + x.low / x.high))));
}

// ln Gamma(2 + v) = v P(v), |v| <= 1/2: the first coefficients are those of the series, error 2e-20.
constexpr Pair kLgammaFirst[] = {{0x1.b0ee6072093cep-2, 0x1.6cb90701fbfabp-58},
                                 {0x1.4a34cc4a60fa6p-2, 0x1.1873d8912200cp-56},
                                 {-0x1.13e001a557607p-4, 0x1.fb68be2f8821fp-58},
                                 {0x1.51322ac7d8483p-6, 0x1.afc89088cb729p-60}};
constexpr double kLgammaP[] = {-0.007385551028673986,   0.0028905103307415234,   -0.0011927539117031337,
                               0.0005096695247429813,   -0.0002231547584671383,  9.945751278831107e-05,
                               -4.492623618323146e-05,  2.0507212509556304e-05,  -9.439499626812466e-06,
                               4.374872233672839e-06,   -2.0390857182141496e-06, 9.550788547153739e-07,
                               -4.5011738184596737e-07, 2.1248925770298594e-07,  -9.707065941817772e-08,
                               4.608625613020706e-08,   -2.9536038197783483e-08, 1.411061796521007e-08};
// Stirling's series: B(2 j) / (2 j (2 j - 1)) by odd powers of 1 / x.
constexpr double kStirling[] = {1.0 / 12,   -1.0 / 360,        1.0 / 1260, -1.0 / 1680,
                                1.0 / 1188, -691.0 / 360360.0, 1.0 / 156,  -3617.0 / 122400.0};
constexpr double kStirlingFrom = 8.5;
constexpr double kLgammaEnd = 0x1.754d9278b51a8p+1014;  // from here on it overflows
inline Pair lgamma_by_series(double x) noexcept {
  const double series = by_halves(1.0 / (x * x), kStirling);
  // (x - 1/2) (ln x - 1) + (ln(2 pi) - 1) / 2 + series / x
  const Pair log = pair_log({x, 0.0}) + Pair{-1.0, 0.0};
  return pair_sum(x, -0.5) * log + pair_sum(0x1.acfe390c97d69p-2, series / x);
}
// Gamma(x) from Gamma(2 + v), x = 2 + v + (k - 2) with k the nearest whole number.
inline Pair lgamma_by_steps(double x) noexcept {
  const auto k = static_cast<int>(__builtin_rint(x));
  const double v = x - k;
  Pair p{by_halves(v, kLgammaP), 0.0};
  for (int i = static_cast<int>(std::size(kLgammaFirst)) - 1; i >= 0; --i) {
    const Pair& c = kLgammaFirst[i];
    const double product = p.high * v;
    const Pair next = ordered_sum(c.high, product);
    p = {next.high, next.low + (__builtin_fma(p.high, v, -product) + (p.low * v + c.low))};
  }
  const Pair sum = p * Pair{v, 0.0};
  if (k == 2) return sum;
  Pair product{1.0, 0.0};
  for (int j = k < 2 ? k : 2; j < k || j < 2; ++j) product = product * pair_sum(v, j);
  if (product.high < 0) product = -product;
  const Pair log = pair_log(product);
  return sum + (k > 2 ? log : -log);
}
// Next to those of its zeros that lie far from whole numbers the steps cancel: Taylor's series there, error 1e-18.
struct LgammaZero {
  Pair at;
  Pair slope;
  double c[6];
};
constexpr LgammaZero kLgammaZeros[] = {{{-0x1.3a7fc9600f86cp+1, -0x1.55f64f98af8d0p-55},
                                        {0x1.83fe966af535fp+0, -0x1.775909a36a6a4p-55},
                                        {4.8583209516339965, 1.41129114307798, 8.721782583815346, 5.800414566599873,
                                         24.824942121894072, 24.038823062292956}},
                                       {{-0x1.5fb410a1bd901p+1, 0x1.a19a96d2e6f85p-54},
                                        {-0x1.ea12da904b18cp+0, -0x1.220130f99b2cfp-54},
                                        {9.575189475709667, -20.095134916842603, 62.627282713513715,
                                         -194.76615530344623, 646.9059997129283, -2193.112776480624}},
                                       {{-0x1.9260dbc9e59afp+1, -0x1.f717cd335a7b3p-53},
                                        {0x1.f20a65f2fac55p+2, -0x1.1d258e4b0be84p-53},
                                        {25.831338372387957, 112.268986297176, 588.8907422380014, 3277.1937854953417,
                                         19023.061984356358, 113559.66423713516}}};
constexpr double kZeroReach = 0x1p-10;
// The C library's, in half the time: for float32, which does not show what it loses. lgamma writes a global in all but
// Microsoft's, hence lgamma_r.
inline double libm_lgamma(double x) noexcept {
#if defined(_WIN32)
  return ::lgamma(x);
#else
  int sign = 0;
  return ::lgamma_r(x, &sign);
#endif
}
inline double lgamma_of(double x) noexcept {
  const double magnitude = __builtin_fabs(x);
  if (!(magnitude < kLgammaEnd)) return magnitude * magnitude;  // NaN stays
  if (magnitude < 0x1p-60) return -__builtin_log(magnitude);
  if (x >= kStirlingFrom) return lgamma_by_series(x).high;
  if (x > -12.0) {
    if (x < 0 && x == __builtin_floor(x)) return FloatBits<double>::kInfinity;
    for (const auto& zero : kLgammaZeros) {
      const double from = x - zero.at.high;
      if (__builtin_fabs(from) < kZeroReach) {
        const double t = from - zero.at.low;
        const double rest = t * t * by_halves(t, zero.c) + t * zero.slope.low;
        return __builtin_fma(t, zero.slope.high, rest + ((from - t) - zero.at.low) * zero.slope.high);
      }
    }
    return lgamma_by_steps(x).high;
  }
  // Reflection: Gamma(x) Gamma(-x) = -pi / (x sin(pi x)).
  const double r = x - __builtin_rint(x);
  if (r == 0) return FloatBits<double>::kInfinity;
  const double m = __builtin_fabs(r);
  const bool steep = m > 0.25;
  const double t = steep ? 0.5 - m : m;
  const double z = t * t;
  double series = 0.0;
  for (int i = 6; i >= 0; --i) series = series * z + (steep ? kCosPi[i] : kSinPi[i]);
  const double sine = steep ? 0x1.45f306dc9c883p-2 + z * series : t + t * z * series;
  const Pair log = pair_log(Pair{magnitude, 0.0} * Pair{sine, 0.0});
  return (-(lgamma_by_series(magnitude) + log)).high;
}
template <class T, int N>
GORGO_INLINE Vec<T, N> lgamma(Vec<T, N> x) {
  return map_lanes<T>(x, [](T v) {
    if constexpr (std::is_same_v<T, float>) {
      return static_cast<float>(libm_lgamma(double{v}));
    } else {
      return lgamma_of(v);
    }
  });
}

// cot(pi x) for x that is no whole number.
inline double cot_pi(double x) noexcept {
  const double r = x - __builtin_nearbyint(x);
  return __builtin_fabs(r) <= 0.25 ? 1.0 / __builtin_tan(kPiValue * r)
                                   : __builtin_tan(kPiValue * ((r > 0 ? 0.5 : -0.5) - r));
}

// B(2 j) / (2 j), for the asymptotic series ln x - 1 / (2 x) - sum of B(2 j) / (2 j x^(2 j)).
constexpr double kDigammaTerms[] = {1.0 / 12, -1.0 / 120, 1.0 / 252, -1.0 / 240, 1.0 / 132, -691.0 / 32760, 1.0 / 12};
// On [1, 3] digamma is (x - x0) (c + (x - 2) P(x - 2)), relative error 2.4e-17, with its zero x0 in two parts.
constexpr double kDigammaZero[] = {1.4616321449683622, 9.549995429965697e-17};
constexpr double kDigammaFirst = 0.7853075386041053;
constexpr double kDigammaP[] = {
    -0.26073895468300085,   0.10899991701762683,    -0.04955103291774925,    0.023447309597687566,
    -0.01133843255015345,   0.005552254172301216,   -0.002739572945031115,   0.0013581421776326533,
    -0.0006753126885816091, 0.0003364324783591212,  -0.00016781989843268314, 8.377913417473871e-05,
    -4.182446593425895e-05, 2.089358177209281e-05,  -1.0510765637904638e-05, 5.264120168573167e-06,
    -2.475865490379904e-06, 1.219934593688609e-06,  -8.610682669816179e-07,  4.5209162513271094e-07,
    6.090484563375253e-08,  -4.839063826181336e-08, -2.0256802958565083e-07, 1.1103258730555903e-07,
    6.236785858363095e-08,  -3.430385298636324e-08, -1.9110617896138612e-08, 1.0001040640326828e-08};
inline double digamma_of(double x) noexcept {
  if (x == 0) return __builtin_copysign(__builtin_inf(), -x);
  if (__builtin_fabs(x) < 0x1p-60) return -1.0 / x;
  if (x < 0) {
    if (x == __builtin_floor(x)) return __builtin_nan("");
    return digamma_of(1.0 - x) - kPiValue * cot_pi(x);
  }
  if (x >= 10.0) {
    const double z = 1.0 / (x * x);
    double series = 0.0;
    for (int j = 6; j >= 0; --j) series = z * (kDigammaTerms[j] + series);
    return __builtin_log(x) - 0.5 / x - series;
  }
  Pair sum{0.0, 0.0};
  Pair at{x, 0.0};
  if (x < 1.0) {
    sum = -pair_reciprocal(x);
    at = pair_sum(x, 1.0);
  }
  while (at.high > 3.0) {
    at.high -= 1.0;
    sum = sum + pair_reciprocal(at.high);
  }
  const double t = at.high - 2.0;
  const Pair from = pair_sum(at.high - kDigammaZero[0], at.low - kDigammaZero[1]);
  return (sum + from * ordered_sum(kDigammaFirst, t * by_halves(t, kDigammaP))).high;
}
template <class T, int N>
GORGO_INLINE Vec<T, N> digamma(Vec<T, N> x) {
  return map_lanes<T>(x, [](T v) { return static_cast<T>(digamma_of(static_cast<double>(v))); });
}

// The n-th derivative of digamma. For x > 0 it is (-1)^(n+1) n! zeta(n + 1, x); below, reflection adds the n-th derivative
// of cot(pi x), a polynomial in the cotangent itself, whose coefficients are made once.
class Polygamma {
 public:
  explicit Polygamma(int64_t n) noexcept : n_(static_cast<int>(n)) {
    for (int i = 2; i <= n_; ++i) factorial_ *= i;
    // d/dx c^k = -pi (k c^(k-1) + k c^(k+1)) for c = cot(pi x).
    cot_[1] = 1.0;
    for (int i = 0; i < n_; ++i) {
      double next[kMost + 3] = {};
      for (int k = 1; k <= i + 1; ++k) {
        next[k - 1] -= kPiValue * k * cot_[k];
        next[k + 1] -= kPiValue * k * cot_[k];
      }
      for (int k = 0; k < kMost + 2; ++k) cot_[k] = next[k];
    }
  }
  double operator()(double x) const noexcept {
    if (n_ == 0) return digamma_of(x);
    if (__builtin_isinf(x)) return x > 0 ? 0.0 : __builtin_nan("");
    if (x > 0) return of_positive(x);
    if (!(x < 0)) return x == 0 ? (n_ % 2 == 1 ? __builtin_inf() : at_zero(x)) : x;
    if (x == __builtin_floor(x)) return n_ % 2 == 1 ? __builtin_inf() : __builtin_nan("");
    const double c = cot_pi(x);
    double slope = cot_[n_ + 1];
    for (int k = n_; k >= 0; --k) slope = slope * c + cot_[k];
    const double reflected = of_positive(1.0 - x);
    return (n_ % 2 == 0 ? reflected : -reflected) - kPiValue * slope;
  }

 private:
  static constexpr int kMost = 20;
  static double at_zero(double x) noexcept { return __builtin_copysign(__builtin_inf(), -x); }
  [[nodiscard]] double of_positive(double x) const noexcept {
    const double value = factorial_ * zeta(n_ + 1, x);
    return n_ % 2 == 1 ? value : -value;
  }
  // sum over k of (x + k)^-s: the first terms, then the integral, half a term and the corrections by Bernoulli numbers.
  static double zeta(int s, double x) noexcept {
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
    for (int j = 1; j <= 8; ++j) {
      factor /= 2.0 * j;
      sum += kBernoulli[j - 1] * factor * last;
      factor *= (s + 2.0 * j - 1.0) * (s + 2.0 * j) / ((2.0 * j + 1.0) * x * x);
    }
    return sum;
  }
  static double power(double x, int s) noexcept {
    double value = 1.0;
    for (int i = 0; i < s; ++i) value /= x;
    return value;
  }

  int n_;
  double factorial_ = 1.0;
  double cot_[kMost + 3] = {};
};

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
