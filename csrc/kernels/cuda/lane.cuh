// The vocabulary of functors over one lane of a CUDA thread: Lane<T>, Truth, and the functions that kernels/math.h and
// kernels/special.h have for vectors, under the same names and with the same special values.
//
// Invariant: integers wrap and divide by zero to 0; NaN, infinities and signed zeros come out as on the CPU. What is not
// written out here is CUDA's own function. In gorgo::cuda the names below hide those of the C library: kernels that work on
// plain numbers write expf or ::exp.
// Read next: complex.cuh (the same for complex numbers), ops/elementwise/functors.h.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "device/cuda/launch.cuh"
#include "kernels/cuda/gamma.cuh"

namespace gorgo::cuda {

template <class T>
struct Lane {
  T v;
};
struct Truth {
  bool v;
};

// ---- constants, truth, selection ----

template <class T>
GORGO_DEVICE Lane<T> like(Lane<T>, double value) {
  return {static_cast<T>(value)};
}
template <class T>
GORGO_DEVICE Lane<T> conj(Lane<T> x) {
  return x;
}

GORGO_DEVICE Truth operator&(Truth a, Truth b) { return {a.v && b.v}; }
GORGO_DEVICE Truth operator|(Truth a, Truth b) { return {a.v || b.v}; }
GORGO_DEVICE Truth operator^(Truth a, Truth b) { return {a.v != b.v}; }
GORGO_DEVICE Truth operator~(Truth a) { return {!a.v}; }
GORGO_DEVICE Truth operator!(Truth a) { return {!a.v}; }
GORGO_DEVICE Truth operator==(Truth a, Truth b) { return {a.v == b.v}; }
GORGO_DEVICE Truth operator!=(Truth a, Truth b) { return {a.v != b.v}; }

template <class T>
GORGO_DEVICE Lane<T> select(Truth m, Lane<T> a, Lane<T> b) {
  return {m.v ? a.v : b.v};
}
GORGO_DEVICE Truth select(Truth m, Truth a, Truth b) { return {m.v ? a.v : b.v}; }

#define GORGO_LANE_COMPARE(OP)                           \
  template <class T>                                     \
  GORGO_DEVICE Truth operator OP(Lane<T> a, Lane<T> b) { \
    return {a.v OP b.v};                                 \
  }
GORGO_LANE_COMPARE(==)
GORGO_LANE_COMPARE(!=)
GORGO_LANE_COMPARE(<)
GORGO_LANE_COMPARE(<=)
GORGO_LANE_COMPARE(>)
GORGO_LANE_COMPARE(>=)
#undef GORGO_LANE_COMPARE

// ---- arithmetic ----

// Integers are added as unsigned numbers, which wrap.
#define GORGO_LANE_ARITHMETIC(OP)                                          \
  template <class T>                                                       \
  GORGO_DEVICE Lane<T> operator OP(Lane<T> a, Lane<T> b) {                 \
    if constexpr (std::is_integral_v<T>) {                                 \
      using U = std::make_unsigned_t<T>;                                   \
      return {static_cast<T>(static_cast<U>(a.v) OP static_cast<U>(b.v))}; \
    } else {                                                               \
      return {a.v OP b.v};                                                 \
    }                                                                      \
  }
GORGO_LANE_ARITHMETIC(+)
GORGO_LANE_ARITHMETIC(-)
GORGO_LANE_ARITHMETIC(*)
#undef GORGO_LANE_ARITHMETIC

template <class T>
GORGO_DEVICE Lane<T> operator-(Lane<T> a) {
  if constexpr (std::is_integral_v<T>) {
    return Lane<T>{0} - a;
  } else {
    return {-a.v};
  }
}
// Integers truncate; by zero the quotient is 0, and the lowest value by -1 wraps.
template <class T>
GORGO_DEVICE Lane<T> operator/(Lane<T> a, Lane<T> b) {
  if constexpr (std::is_integral_v<T>) {
    if (b.v == 0) return {0};
    if constexpr (std::is_signed_v<T>) {
      if (b.v == -1) return -a;
    }
  }
  return {a.v / b.v};
}

#define GORGO_LANE_BITWISE(OP)                             \
  template <class T>                                       \
  GORGO_DEVICE Lane<T> operator OP(Lane<T> a, Lane<T> b) { \
    static_assert(std::is_integral_v<T>);                  \
    return {a.v OP b.v};                                   \
  }
GORGO_LANE_BITWISE(&)
GORGO_LANE_BITWISE(|)
GORGO_LANE_BITWISE(^)
#undef GORGO_LANE_BITWISE
template <class T>
GORGO_DEVICE Lane<T> operator~(Lane<T> a) {
  return {~a.v};
}

// A count outside [0, bits) yields what shifting bit by bit yields: 0, or the sign.
template <class T>
GORGO_DEVICE Lane<T> shift_left(Lane<T> a, Lane<T> count) {
  using U = std::make_unsigned_t<T>;
  constexpr U kBits = sizeof(T) * 8;
  const U c = static_cast<U>(count.v);
  return {c < kBits ? static_cast<T>(static_cast<U>(a.v) << c) : T{0}};
}
template <class T>
GORGO_DEVICE Lane<T> shift_right(Lane<T> a, Lane<T> count) {
  using U = std::make_unsigned_t<T>;
  constexpr U kBits = sizeof(T) * 8;
  const U c = static_cast<U>(count.v);
  if constexpr (std::is_signed_v<T>) {
    return {static_cast<T>(a.v >> (c < kBits ? c : kBits - 1))};
  } else {
    return {c < kBits ? static_cast<T>(a.v >> c) : T{0}};
  }
}

// ---- signs and rounding ----

// Names the C library's function of float and of double.
#define GORGO_LANE_1(name, of_float, of_double)                              \
  GORGO_DEVICE Lane<float> name(Lane<float> x) { return {::of_float(x.v)}; } \
  GORGO_DEVICE Lane<double> name(Lane<double> x) { return {::of_double(x.v)}; }
#define GORGO_LANE_2(name, of_float, of_double)                                                  \
  GORGO_DEVICE Lane<float> name(Lane<float> a, Lane<float> b) { return {::of_float(a.v, b.v)}; } \
  GORGO_DEVICE Lane<double> name(Lane<double> a, Lane<double> b) { return {::of_double(a.v, b.v)}; }
// Whole numbers are their own rounding.
#define GORGO_LANE_ROUNDING(name, of_float, of_double) \
  template <class T>                                   \
  GORGO_DEVICE Lane<T> name(Lane<T> x) {               \
    if constexpr (std::is_same_v<T, float>) {          \
      return {::of_float(x.v)};                        \
    } else if constexpr (std::is_same_v<T, double>) {  \
      return {::of_double(x.v)};                       \
    } else {                                           \
      return x;                                        \
    }                                                  \
  }
GORGO_LANE_ROUNDING(round, rintf, rint)
GORGO_LANE_ROUNDING(floor, floorf, floor)
GORGO_LANE_ROUNDING(ceil, ceilf, ceil)
GORGO_LANE_ROUNDING(trunc, truncf, trunc)
#undef GORGO_LANE_ROUNDING

GORGO_LANE_2(copysign, copysignf, copysign)
GORGO_LANE_2(fmod, fmodf, fmod)

template <class T>
GORGO_DEVICE Lane<T> abs(Lane<T> x) {
  if constexpr (std::is_same_v<T, float>) {
    return {::fabsf(x.v)};
  } else if constexpr (std::is_same_v<T, double>) {
    return {::fabs(x.v)};
  } else if constexpr (std::is_signed_v<T>) {
    return x.v < 0 ? -x : x;
  } else {
    return x;
  }
}
template <class T>
GORGO_DEVICE Truth isnan(Lane<T> x) {
  return {x.v != x.v};
}
template <class T>
GORGO_DEVICE Truth isinf(Lane<T> x) {
  if constexpr (std::is_floating_point_v<T>) {
    return {abs(x).v == std::numeric_limits<T>::infinity()};
  } else {
    return {false};
  }
}
template <class T>
GORGO_DEVICE Truth isfinite(Lane<T> x) {
  if constexpr (std::is_floating_point_v<T>) {
    return {abs(x).v < std::numeric_limits<T>::infinity()};
  } else {
    return {true};
  }
}
GORGO_DEVICE Truth signbit(Lane<float> x) { return {__float_as_int(x.v) < 0}; }
GORGO_DEVICE Truth signbit(Lane<double> x) { return {__double_as_longlong(x.v) < 0}; }

// -1, 0 or 1; keeps NaN and the sign of zero.
template <class T>
GORGO_DEVICE Lane<T> sign(Lane<T> x) {
  if constexpr (std::is_floating_point_v<T>) {
    return abs(x).v > 0 ? copysign(Lane<T>{1}, x) : x;
  } else if constexpr (std::is_signed_v<T>) {
    return {static_cast<T>((x.v > 0) - (x.v < 0))};
  } else {
    return {static_cast<T>(x.v != 0)};
  }
}

// The smaller and the larger; NaN if either is NaN.
template <class T>
GORGO_DEVICE Lane<T> minimum(Lane<T> a, Lane<T> b) {
  if (a.v != a.v) return a;
  return {a.v < b.v ? a.v : b.v};
}
template <class T>
GORGO_DEVICE Lane<T> maximum(Lane<T> a, Lane<T> b) {
  if (a.v != a.v) return a;
  return {a.v > b.v ? a.v : b.v};
}

template <class T>
GORGO_DEVICE Lane<T> bits_as_lane(std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t> bits) {
  if constexpr (sizeof(T) == 4) {
    return {__uint_as_float(bits)};
  } else {
    return {__longlong_as_double(static_cast<long long>(bits))};
  }
}
template <class T>
GORGO_DEVICE auto bits_of(Lane<T> x) {
  if constexpr (sizeof(T) == 4) {
    return __float_as_uint(x.v);
  } else {
    return static_cast<uint64_t>(__double_as_longlong(x.v));
  }
}
// The next number after a in the direction of b: of the sign-and-magnitude bits, one more or one less.
template <class T>
GORGO_DEVICE Lane<T> nextafter(Lane<T> a, Lane<T> b) {
  if (a.v != a.v || b.v != b.v) return a + b;
  if (a.v == b.v) return b;
  if (a.v == 0) return copysign(bits_as_lane<T>(1), b);
  const bool outwards = (a.v < b.v) == (a.v > 0);
  return bits_as_lane<T>(outwards ? bits_of(a) + 1 : bits_of(a) - 1);
}

// ---- quotients and remainders ----

// The remainder with the sign of a; exact. Integers by zero leave 0.
template <class T>
GORGO_DEVICE Lane<T> truncated_remainder(Lane<T> a, Lane<T> b) {
  if constexpr (std::is_floating_point_v<T>) {
    return fmod(a, b);
  } else {
    return b.v == 0 ? b : a - (a / b) * b;
  }
}
// The remainder with the sign of b.
template <class T>
GORGO_DEVICE Lane<T> remainder(Lane<T> a, Lane<T> b) {
  const Lane<T> r = truncated_remainder(a, b);
  if constexpr (std::is_floating_point_v<T>) {
    if (r.v == 0) return copysign(r, b);
    return (b.v < 0) != (r.v < 0) ? r + b : r;
  } else if constexpr (std::is_signed_v<T>) {
    return r.v != 0 && (r.v < 0) != (b.v < 0) ? r + b : r;
  } else {
    return r;
  }
}
template <class T>
GORGO_DEVICE Lane<T> floor_divide(Lane<T> a, Lane<T> b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (b.v == 0) return a / b;
    const Lane<T> r = fmod(a, b);
    Lane<T> quotient = (a - r) / b;
    if (r.v != 0 && (b.v < 0) != (r.v < 0)) quotient.v -= T{1};
    if (quotient.v == 0) return copysign(Lane<T>{0}, a / b);
    // a - r is a whole multiple of b up to rounding: take the nearest whole number.
    const Lane<T> whole = floor(quotient);
    return (quotient - whole).v > T(0.5) ? whole + Lane<T>{1} : whole;
  } else if constexpr (std::is_signed_v<T>) {
    const Lane<T> quotient = a / b;
    const Lane<T> r = a - quotient * b;
    return b.v != 0 && r.v != 0 && (r.v < 0) != (b.v < 0) ? quotient - Lane<T>{1} : quotient;
  } else {
    return a / b;
  }
}
// floor_divide, but beside infinities the quotient rounded down, as the array API says.
template <class T>
GORGO_DEVICE Lane<T> whole_quotient(Lane<T> a, Lane<T> b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (isinf(a).v || isinf(b).v) return floor(a / b);
  }
  return floor_divide(a, b);
}

// Euclid's algorithm on magnitudes; the lowest integer stands for its own.
template <class T>
GORGO_DEVICE auto magnitude_bits(Lane<T> x) {
  using U = std::make_unsigned_t<T>;
  if constexpr (std::is_signed_v<T>) {
    if (x.v < 0) return U{0} - static_cast<U>(x.v);
  }
  return static_cast<U>(x.v);
}
template <class U>
GORGO_DEVICE U gcd_of(U a, U b) {
  while (b != 0) {
    const U rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}
template <class T>
GORGO_DEVICE Lane<T> gcd(Lane<T> a, Lane<T> b) {
  return {static_cast<T>(gcd_of(magnitude_bits(a), magnitude_bits(b)))};
}
template <class T>
GORGO_DEVICE Lane<T> lcm(Lane<T> a, Lane<T> b) {
  const auto u = magnitude_bits(a);
  const auto v = magnitude_bits(b);
  const auto divisor = gcd_of(u, v);
  return {divisor == 0 ? T{0} : static_cast<T>(u / divisor * v)};
}

// ---- powers, exponentials, logarithms ----

GORGO_LANE_1(sqrt, sqrtf, sqrt)
GORGO_LANE_1(exp, expf, exp)
GORGO_LANE_1(exp2, exp2f, exp2)
GORGO_LANE_1(expm1, expm1f, expm1)
GORGO_LANE_1(log, logf, log)
GORGO_LANE_1(log1p, log1pf, log1p)
GORGO_LANE_1(log2, log2f, log2)
GORGO_LANE_1(log10, log10f, log10)

template <class T>
GORGO_DEVICE Lane<T> reciprocal(Lane<T> x) {
  return {T{1} / x.v};
}
template <class T>
GORGO_DEVICE Lane<T> rsqrt(Lane<T> x) {
  return {T{1} / sqrt(x).v};
}

// Integers wrap; a negative exponent gives 0 except for bases 1 and -1.
template <class T>
GORGO_DEVICE Lane<T> pow(Lane<T> x, Lane<T> y) {
  if constexpr (std::is_same_v<T, float>) {
    return {::powf(x.v, y.v)};
  } else if constexpr (std::is_same_v<T, double>) {
    return {::pow(x.v, y.v)};
  } else {
    if constexpr (std::is_signed_v<T>) {
      if (y.v < 0) {
        if (x.v == 1) return {1};
        if (x.v == -1) return {static_cast<T>((y.v & 1) != 0 ? -1 : 1)};
        return {0};
      }
    }
    using U = std::make_unsigned_t<T>;
    U factor = static_cast<U>(x.v);
    U result = 1;
    for (U left = static_cast<U>(y.v); left != 0; left >>= 1) {
      if ((left & 1) != 0) result *= factor;
      factor *= factor;
    }
    return {static_cast<T>(result)};
  }
}

// Equal operands are told apart, since the difference of equal infinities is NaN.
template <class T>
GORGO_DEVICE Lane<T> logaddexp(Lane<T> a, Lane<T> b) {
  if (a.v == b.v) return a + like(a, 0.69314718055994530942);
  return maximum(a, b) + log1p(exp(-abs(a - b)));
}
template <class T>
GORGO_DEVICE Lane<T> logaddexp2(Lane<T> a, Lane<T> b) {
  if (a.v == b.v) return a + Lane<T>{1};
  return maximum(a, b) + log1p(exp2(-abs(a - b))) * like(a, 1.4426950408889634074);
}

// ---- circular and hyperbolic functions ----

GORGO_LANE_1(sin, sinf, sin)
GORGO_LANE_1(cos, cosf, cos)
GORGO_LANE_1(tan, tanf, tan)
GORGO_LANE_1(asin, asinf, asin)
GORGO_LANE_1(acos, acosf, acos)
GORGO_LANE_1(atan, atanf, atan)
GORGO_LANE_1(sinh, sinhf, sinh)
GORGO_LANE_1(cosh, coshf, cosh)
GORGO_LANE_1(tanh, tanhf, tanh)
GORGO_LANE_1(asinh, asinhf, asinh)
GORGO_LANE_1(acosh, acoshf, acosh)
GORGO_LANE_1(atanh, atanhf, atanh)
GORGO_LANE_1(sin_pi, sinpif, sinpi)
GORGO_LANE_2(atan2, atan2f, atan2)

template <class T>
GORGO_DEVICE Lane<T> hypot(Lane<T> a, Lane<T> b) {
  if constexpr (std::is_same_v<T, float>) {
    // float64 holds the squares' sum without overflow; infinity wins over NaN.
    const double x = a.v;
    const double y = b.v;
    return isinf(a).v || isinf(b).v ? Lane<T>{std::numeric_limits<float>::infinity()}
                                    : Lane<T>{static_cast<float>(::sqrt(x * x + y * y))};
  } else {
    return {::hypot(a.v, b.v)};
  }
}
// sin(pi x) / (pi x), exactly 0 at the other whole numbers.
template <class T>
GORGO_DEVICE Lane<T> sinc(Lane<T> x) {
  if (x.v == 0) return {1};
  if (isinf(x).v) return {0};
  return sin_pi(x) / (like(x, 3.14159265358979323846) * x);
}

// ---- what networks use ----

GORGO_LANE_1(erf, erff, erf)
GORGO_LANE_1(erfc, erfcf, erfc)
GORGO_LANE_1(erfinv, erfinvf, erfinv)

template <class T>
GORGO_DEVICE Lane<T> sigmoid(Lane<T> x) {
  const T z = exp(-abs(x)).v;
  return {(x.v < 0 ? z : T{1}) / (T{1} + z)};
}
template <class T>
GORGO_DEVICE Lane<T> softplus(Lane<T> x) {
  return maximum(x, Lane<T>{0}) + log1p(exp(-abs(x)));
}

// The normal distribution's tail P(X > m) = e^(-m^2/2) W(m) for m = min(|x|, 15): the quotient of polynomials of
// kernels/math.h, relative error 1.7e-8. The exponent is held to twice a float's digits, and e^-16 is split off where the power
// would have lost digits as a denormal.
struct NormalTail {
  float m;
  float w;
  float e;
  float rest;
  explicit GORGO_DEVICE NormalTail(float x) {
    m = 15.0f < ::fabsf(x) ? 15.0f : ::fabsf(x);
    float top = 0x1.0ebf1ep-8f;
    top = ::fmaf(top, m, 0x1.4db0d8p-5f);
    top = ::fmaf(top, m, 0x1.77e01ap-3f);
    top = ::fmaf(top, m, 0x1.c13998p-2f);
    top = ::fmaf(top, m, 0x1p-1f);
    float bottom = 0x1.5353a0p-7f;
    bottom = ::fmaf(bottom, m, 0x1.a23ec8p-4f);
    bottom = ::fmaf(bottom, m, 0x1.e18b02p-2f);
    bottom = ::fmaf(bottom, m, 0x1.34283ep+0f);
    bottom = ::fmaf(bottom, m, 0x1.acdefcp+0f);
    bottom = ::fmaf(bottom, m, 0x1p+0f);
    w = top / bottom;
    const float half = -0.5f * m;
    const float h = half * m;
    const bool deep = h < -64.0f;
    const float rough = ::expf(deep ? h + 16.0f : h);  // the sum is exact
    e = ::fmaf(rough, ::fmaf(half, m, -h), rough);
    rest = deep ? 0x1.e355bcp-24f : 1.0f;
  }
  // v e^(-m^2/2)
  GORGO_DEVICE float times(float v) const { return v * e * rest; }
};
// max(x, 0) - |x| P(X > |x|), so that neither side cancels; its slope. -inf times 0 is NaN. functors.h has the plain
// formulas, for float64.
GORGO_DEVICE Lane<float> gelu(Lane<float> x) {
  const NormalTail t(x.v);
  return {(x.v < 0.0f ? x.v * 0.0f : x.v) - t.times(t.m * t.w)};
}
GORGO_DEVICE Lane<float> gelu_slope(Lane<float> x) {
  constexpr float kInvSqrtTwoPi32 = 0x1.988454p-2f;
  const NormalTail t(x.v);
  const float slope = t.times(t.w - t.m * kInvSqrtTwoPi32);
  return {x.v < 0.0f ? slope : 1.0f - slope};
}

// ---- the gamma functions, in float64 ----

template <class T>
GORGO_DEVICE Lane<T> lgamma(Lane<T> x) {
  return {static_cast<T>(lgamma_of(static_cast<double>(x.v)))};
}
template <class T>
GORGO_DEVICE Lane<T> digamma(Lane<T> x) {
  return {static_cast<T>(digamma_of(static_cast<double>(x.v)))};
}

#undef GORGO_LANE_1
#undef GORGO_LANE_2

}  // namespace gorgo::cuda
