// Rarer elementary and special functions over Vec<T, N>, in the vocabulary of math.h: neighbours and signs of numbers,
// hypot, logaddexp, greatest common divisors, the gamma function's logarithm and its derivatives, the inverse of erf.
//
// Invariant: as in math.h. What has no vector code is computed lane by lane in float64, whatever the lanes are.
// Sources: recurrence, reflection and asymptotic series of the gamma functions, Abramowitz and Stegun 6.1 to 6.4; the
// remainder of the Hurwitz zeta function by Euler and Maclaurin, DLMF 25.11.5.
// Read next: ops/elementwise/functors_special.h.
#pragma once

#include <math.h>  // lgamma_r is POSIX, not C++

#include <iterator>

#include "kernels/arcs.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

// ---- bits ----

template <class T, int N>
GORGO_INLINE Mask<static_cast<int>(sizeof(T)), N> signbit(Vec<T, N> x) {
  using U = UnsignedLike<T>;
  const auto zero = broadcast<Vec<U, N>>(U{0});
  return (bits_as<U>(x) & broadcast<Vec<U, N>>(FloatBits<T>::kSign)) != zero;
}

// The next number after a in the direction of b: of the sign-and-magnitude bits, one more or one less.
template <class T, int N>
GORGO_INLINE Vec<T, N> nextafter(Vec<T, N> a, Vec<T, N> b) {
  using U = UnsignedLike<T>;
  const auto zero = broadcast<Vec<T, N>>(T{0});
  const auto one = broadcast<Vec<U, N>>(U{1});
  const auto sign = broadcast<Vec<U, N>>(FloatBits<T>::kSign);
  const auto bits = bits_as<U>(a);
  const auto outwards = (a < b) == (a > zero);
  const auto stepped = bits_as<T>(select(outwards, bits + one, bits - one));
  const auto smallest = bits_as<T>((bits_as<U>(b) & sign) | one);
  const auto moved = select(a == zero, smallest, stepped);
  return select(isnan(a) | isnan(b), a + b, select(a == b, b, moved));
}

// ---- two numbers ----

// floor_divide, but beside infinities the quotient rounded down, as the array API says; Python has NaN and -1 there.
template <class T, int N>
GORGO_INLINE Vec<T, N> whole_quotient(Vec<T, N> a, Vec<T, N> b) {
  if constexpr (kIsFloat<T>) {
    return select(isinf(a) | isinf(b), floor(a / b), floor_divide(a, b));
  } else {
    return floor_divide(a, b);
  }
}

// The remainder with the sign of a; exact. Integers by zero leave 0.
template <class T, int N>
GORGO_INLINE Vec<T, N> truncated_remainder(Vec<T, N> a, Vec<T, N> b) {
  if constexpr (kIsFloat<T>) {
    return fmod(a, b);
  } else {
    const auto zero = broadcast<Vec<T, N>>(T{0});
    return select(b == zero, zero, a - (a / b) * b);
  }
}

template <int N>
GORGO_INLINE Vec<float, N> hypot(Vec<float, N> a, Vec<float, N> b) {
  using V = Vec<float, N>;
  const auto value =
      through_float64([](auto u, auto v) __attribute__((always_inline)) { return sqrt(u * u + v * v); }, a, b);
  return select(isinf(a) | isinf(b), broadcast<V>(FloatBits<float>::kInfinity), value);
}
template <int N>
GORGO_INLINE Vec<double, N> hypot(Vec<double, N> a, Vec<double, N> b) {
  return map_lanes<double>(a, b, [](double u, double v) { return __builtin_hypot(u, v); });
}

// Equal operands are told apart, since the difference of equal infinities is NaN.
template <class T, int N>
GORGO_INLINE Vec<T, N> logaddexp(Vec<T, N> a, Vec<T, N> b) {
  const auto sum = maximum(a, b) + log1p(exp(-abs(a - b)));
  return select(a == b, a + like(a, 0.69314718055994530942), sum);
}
template <class T, int N>
GORGO_INLINE Vec<T, N> logaddexp2(Vec<T, N> a, Vec<T, N> b) {
  const auto sum = maximum(a, b) + log1p(exp2(-abs(a - b))) * like(a, 1.4426950408889634074);
  return select(a == b, a + like(a, 1.0), sum);
}

// Euclid's algorithm on magnitudes; the lowest integer stands for its own.
template <class U>
inline U gcd_of(U a, U b) noexcept {
  while (b != 0) {
    const U rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}
template <class T>
GORGO_INLINE auto magnitude_bits(T x) noexcept {
  using U = UnsignedLike<T>;
  return x < T{0} ? static_cast<U>(U{0} - static_cast<U>(x)) : static_cast<U>(x);
}
template <class T, int N>
GORGO_INLINE Vec<T, N> gcd(Vec<T, N> a, Vec<T, N> b) {
  return map_lanes<T>(a, b, [](T x, T y) { return static_cast<T>(gcd_of(magnitude_bits(x), magnitude_bits(y))); });
}
template <class T, int N>
GORGO_INLINE Vec<T, N> lcm(Vec<T, N> a, Vec<T, N> b) {
  return map_lanes<T>(a, b, [](T x, T y) {
    const auto u = magnitude_bits(x);
    const auto v = magnitude_bits(y);
    const auto divisor = gcd_of(u, v);
    return divisor == 0 ? T{0} : static_cast<T>(u / divisor * v);
  });
}

// ---- sinc ----

// sin(pi x) / (pi x), exactly 0 at the other whole numbers: x less its nearest even number, folded into [-1/2, 1/2].
template <class T, int N>
GORGO_INLINE Vec<T, N> sinc_folded(Vec<T, N> x) {
  const auto even = like(x, 2.0) * round(like(x, 0.5) * x);
  const auto r = x - even;
  return select(abs(r) > like(x, 0.5), copysign(like(x, 1.0), r) - r, r);
}
template <class T, int N>
GORGO_INLINE Vec<T, N> sinc_ends(Vec<T, N> x, Vec<T, N> value) {
  const auto zero = like(x, 0.0);
  const auto bounded = select(isinf(x) | (value == zero), zero, value);
  return select(x == zero, like(x, 1.0), bounded);
}
template <int N>
GORGO_INLINE Vec<float, N> sinc(Vec<float, N> x) {
  const auto value = through_float64(
      [](auto wide, auto r) __attribute__((always_inline)) {
        const auto m = abs(r);
        const auto steep = m > like(r, 0.25);
        const auto t = like(r, kPiValue) * select(steep, like(r, 0.5) - m, m);
        const auto z = t * t;
        const auto sine = mul_add(t * z, polynomial(z, kSinS), t);
        const auto cosine = mul_add(z * z, polynomial(z, kCosC), like(z, 1.0) - like(z, 0.5) * z);
        const auto signed_value = copysign(select(steep, cosine, sine), r);
        return signed_value / (like(r, kPiValue) * wide);
      },
      x, sinc_folded(x));
  return sinc_ends(x, value);
}
// sin(pi r) / pi = r + r z S(z), |r| <= 1/4, and cos(pi r) / pi = 1 / pi + z C(z), z = r^2, errors 2e-18 and 4e-18.
constexpr double kSinPi[] = {-1.6449340668482264,    0.8117424252833535,     -0.19075182412203792,  0.0261478478132175,
                             -0.0023460808328646244, 0.00014842404363629607, -6.920627065721436e-06};
constexpr double kCosPi[] = {-1.5707963267948966,  1.2919281950124915,    -0.4250273399793073,    0.0749080661411046,
                             -0.00821458756557135, 0.0006141768939480378, -3.3008523999403296e-05};
template <int N>
GORGO_INLINE Vec<double, N> sinc(Vec<double, N> x) {
  const auto r = sinc_folded(x);
  const auto m = abs(r);
  const auto steep = m > like(r, 0.25);
  const auto t = select(steep, like(r, 0.5) - m, m);
  const auto z = t * t;
  const auto sine = mul_add(t * z, polynomial(z, kSinPi), t);
  // What z has lost shows in the cosine, and so does what 1 / pi has.
  const auto lost = mul_add(product_lost(t, t, z), like(z, kCosPi[0]), like(z, -0x1.6b01ec5417056p-56));
  const auto cosine = like(z, 0x1.45f306dc9c883p-2) + mul_add(z, polynomial(z, kCosPi), lost);
  return sinc_ends(x, copysign(select(steep, cosine, sine), r) / x);
}

// ---- the gamma functions ----

// lgamma_r, since lgamma writes a global in all C libraries but Microsoft's.
inline double lgamma_of(double x) noexcept {
#if defined(_WIN32)
  return ::lgamma(x);
#else
  int sign = 0;
  return ::lgamma_r(x, &sign);
#endif
}
template <class T, int N>
GORGO_INLINE Vec<T, N> lgamma(Vec<T, N> x) {
  return map_lanes<T>(x, [](T v) { return static_cast<T>(lgamma_of(static_cast<double>(v))); });
}

// cot(pi x) for x that is no whole number.
inline double cot_pi(double x) noexcept {
  const double r = x - __builtin_nearbyint(x);
  return __builtin_fabs(r) <= 0.25 ? 1.0 / __builtin_tan(kPiValue * r)
                                   : __builtin_tan(kPiValue * ((r > 0 ? 0.5 : -0.5) - r));
}

// B(2 j) / (2 j), for the asymptotic series ln x - 1 / (2 x) - sum of B(2 j) / (2 j x^(2 j)).
constexpr double kDigammaTerms[] = {1.0 / 12, -1.0 / 120, 1.0 / 252, -1.0 / 240, 1.0 / 132, -691.0 / 32760, 1.0 / 12};
// On [1, 3] digamma is (x - x0) P(x - 2), relative error 2.4e-17, with its zero x0 in two parts.
constexpr double kDigammaZero[] = {1.4616321449683622, 9.549995429965697e-17};
constexpr double kDigammaP[] = {
    0.7853075386041053,     -0.26073895468300085,   0.10899991701762683,    -0.04955103291774925,
    0.023447309597687566,   -0.01133843255015345,   0.005552254172301216,   -0.002739572945031115,
    0.0013581421776326533,  -0.0006753126885816091, 0.0003364324783591212,  -0.00016781989843268314,
    8.377913417473871e-05,  -4.182446593425895e-05, 2.089358177209281e-05,  -1.0510765637904638e-05,
    5.264120168573167e-06,  -2.475865490379904e-06, 1.219934593688609e-06,  -8.610682669816179e-07,
    4.5209162513271094e-07, 6.090484563375253e-08,  -4.839063826181336e-08, -2.0256802958565083e-07,
    1.1103258730555903e-07, 6.236785858363095e-08,  -3.430385298636324e-08, -1.9110617896138612e-08,
    1.0001040640326828e-08};
inline double digamma_of(double x) noexcept {
  if (x == 0) return __builtin_copysign(__builtin_inf(), -x);
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
  double sum = 0.0;
  if (x < 1.0) {
    sum = -1.0 / x;
    x += 1.0;
  }
  while (x > 3.0) {
    x -= 1.0;
    sum += 1.0 / x;
  }
  double p = 0.0;
  for (int i = static_cast<int>(std::size(kDigammaP)) - 1; i >= 0; --i) p = p * (x - 2.0) + kDigammaP[i];
  return sum + ((x - kDigammaZero[0]) - kDigammaZero[1]) * p;
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

// ---- the inverse of erf ----

// A guess with a relative error of 2e-3, then three steps of Halley's method on erf y - x, each of which cubes it; near 1
// the difference is taken from erfc, which keeps what 1 - x tells.
inline double erfinv_of(double x) noexcept {
  constexpr double kHalfSqrtPi = 0.88622692545275801365;
  const double a = __builtin_fabs(x);
  if (!(a < 1.0)) return a == 1.0 ? __builtin_copysign(__builtin_inf(), x) : __builtin_nan("");
  double y = 0.0;
  if (a < 0.5) {
    const double z = a * a;
    y = a * (kHalfSqrtPi + z * (0.2320136665346545 + z * 0.1275561753055979));
  } else {
    const double log = __builtin_log((1.0 - a) * (1.0 + a));
    const double t = 4.330746750799873 + 0.5 * log;  // 2 / (0.147 pi)
    y = __builtin_sqrt(__builtin_sqrt(t * t - log / 0.147) - t);
  }
  for (int i = 0; i < 3; ++i) {
    const double error = a < 0.5 ? __builtin_erf(y) - a : (1.0 - a) - __builtin_erfc(y);
    const double step = error * kHalfSqrtPi * __builtin_exp(y * y);
    y -= step / (1.0 + y * step);
  }
  return __builtin_copysign(y, x);
}
template <class T, int N>
GORGO_INLINE Vec<T, N> erfinv(Vec<T, N> x) {
  return map_lanes<T>(x, [](T v) { return static_cast<T>(erfinv_of(static_cast<double>(v))); });
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
