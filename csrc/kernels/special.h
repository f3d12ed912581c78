// Rarer elementary and special functions over Vec<T, N>, in the vocabulary of math.h: neighbours and signs of numbers,
// hypot, logaddexp, greatest common divisors, the inverse of erf.
//
// Invariant: as in math.h. What has no vector code is computed lane by lane in float64, whatever the lanes are.
// Read next: gamma.h.
#pragma once

#include "kernels/math.h"

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
