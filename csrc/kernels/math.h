// Elementary functions over Vec<T, N>, Mask<W, N> and scalars: the vocabulary that functors are written in.
//
// Invariant: a lane's result depends on that lane's bits alone, and special values (signed zeros, infinities, NaN,
// denormals) come out as IEEE 754 and C's annex F say. Vector code exists for the hot functions; the others go lane by
// lane through the C library. Polynomials are minimax fits made for this file, each coefficient rounded to float before
// the next was fitted; ranges and errors stand beside them.
// Read next: ops/elementwise/functors.h, which is written in this vocabulary.
#pragma once

#include "kernels/vec.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

// ---- signs, comparisons, selection ----

template <class T>
constexpr bool kIsFloat = std::is_floating_point_v<T>;

template <class T, int N>
GORGO_INLINE Mask<static_cast<int>(sizeof(T)), N> isnan(Vec<T, N> x) {
  return x != x;
}

template <class T>
struct FloatBits;
template <>
struct FloatBits<float> {
  static constexpr std::uint32_t kSign = 0x80000000u;
  static constexpr float kInfinity = __builtin_inff();
  static constexpr float kNan = __builtin_nanf("");
  static constexpr float kWhole = 0x1p23f;  // from here on every value is a whole number
};
template <>
struct FloatBits<double> {
  static constexpr std::uint64_t kSign = 0x8000000000000000u;
  static constexpr double kInfinity = __builtin_inf();
  static constexpr double kNan = __builtin_nan("");
  static constexpr double kWhole = 0x1p52;
};

template <class T, int N>
GORGO_INLINE Vec<T, N> abs(Vec<T, N> x) {
  if constexpr (kIsFloat<T>) {
    using U = UnsignedLike<T>;
    return bits_as<T>(bits_as<U>(x) & broadcast<Vec<U, N>>(~FloatBits<T>::kSign));
  } else if constexpr (std::is_signed_v<T>) {
    return select(x < broadcast<Vec<T, N>>(0), -x, x);
  } else {
    return x;
  }
}

template <class T, int N>
GORGO_INLINE Mask<static_cast<int>(sizeof(T)), N> isinf(Vec<T, N> x) {
  if constexpr (!kIsFloat<T>) {
    return x != x;
  } else {
    return abs(x) == broadcast<Vec<T, N>>(FloatBits<T>::kInfinity);
  }
}
template <class T, int N>
GORGO_INLINE Mask<static_cast<int>(sizeof(T)), N> isfinite(Vec<T, N> x) {
  if constexpr (!kIsFloat<T>) {
    return x == x;
  } else {
    return abs(x) < broadcast<Vec<T, N>>(FloatBits<T>::kInfinity);
  }
}

// The magnitude of x with the sign of y.
template <class T, int N>
GORGO_INLINE Vec<T, N> copysign(Vec<T, N> x, Vec<T, N> y) {
  using U = UnsignedLike<T>;
  const auto sign = broadcast<Vec<U, N>>(FloatBits<T>::kSign);
#if defined(GORGO_ISA_AVX512)
  if constexpr (Vec<T, N>::kBytes == 64) {
    constexpr int kFirstPicks = 0xca;  // bits of the second operand where the first has ones, else of the third
    return {(RawVector<T, N>)_mm512_ternarylogic_epi64((__m512i)sign.raw, (__m512i)y.raw, (__m512i)x.raw, kFirstPicks)};
  }
#endif
  return bits_as<T>((bits_as<U>(x) & ~sign) | (bits_as<U>(y) & sign));
}

// -1, 0 or 1; keeps NaN and the sign of zero.
template <class T, int N>
GORGO_INLINE Vec<T, N> sign(Vec<T, N> x) {
  using V = Vec<T, N>;
  const auto zero = broadcast<V>(T{0});
  const auto one = broadcast<V>(T{1});
  if constexpr (kIsFloat<T>) {
    return select(abs(x) > zero, copysign(one, x), x);
  } else if constexpr (std::is_signed_v<T>) {
    return select(x > zero, one, select(x < zero, -one, zero));
  } else {
    return select(x != zero, one, zero);
  }
}

// The smaller and the larger; NaN if either is NaN.
template <class T, int N>
GORGO_INLINE Vec<T, N> minimum(Vec<T, N> a, Vec<T, N> b) {
  if constexpr (kIsFloat<T>) {
    return select(isnan(a), a, select(a < b, a, b));
  } else {
    return select(a < b, a, b);
  }
}
template <class T, int N>
GORGO_INLINE Vec<T, N> maximum(Vec<T, N> a, Vec<T, N> b) {
  if constexpr (kIsFloat<T>) {
    return select(isnan(a), a, select(a > b, a, b));
  } else {
    return select(a > b, a, b);
  }
}

// ---- exact or correctly rounded arithmetic ----

template <class T, int N>
GORGO_INLINE Vec<T, N> square(Vec<T, N> x) {
  return x * x;
}

// a * b + c rounded once, on every instruction set.
template <class T, int N>
GORGO_INLINE Vec<T, N> fma(Vec<T, N> a, Vec<T, N> b, Vec<T, N> c) {
  using V = Vec<T, N>;
  using R [[maybe_unused]] = typename V::Raw;
#if defined(GORGO_ISA_AVX512)
  if constexpr (std::is_same_v<T, float> && N == 16) {
    return {(R)_mm512_fmadd_ps((__m512)a.raw, (__m512)b.raw, (__m512)c.raw)};
  }
  if constexpr (std::is_same_v<T, double> && N == 8) {
    return {(R)_mm512_fmadd_pd((__m512d)a.raw, (__m512d)b.raw, (__m512d)c.raw)};
  }
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (std::is_same_v<T, float> && N == 8) {
    return {(R)_mm256_fmadd_ps((__m256)a.raw, (__m256)b.raw, (__m256)c.raw)};
  }
  if constexpr (std::is_same_v<T, double> && N == 4) {
    return {(R)_mm256_fmadd_pd((__m256d)a.raw, (__m256d)b.raw, (__m256d)c.raw)};
  }
#endif
#if defined(__aarch64__)
  if constexpr (std::is_same_v<T, float> && N == 4) {
    return {(R)vfmaq_f32((float32x4_t)c.raw, (float32x4_t)a.raw, (float32x4_t)b.raw)};
  }
  if constexpr (std::is_same_v<T, double> && N == 2) {
    return {(R)vfmaq_f64((float64x2_t)c.raw, (float64x2_t)a.raw, (float64x2_t)b.raw)};
  }
#endif
  V out;
  for (int i = 0; i < N; ++i) {
    if constexpr (std::is_same_v<T, float>) {
      out.raw[i] = __builtin_fmaf(a.raw[i], b.raw[i], c.raw[i]);
    } else {
      out.raw[i] = __builtin_fma(a.raw[i], b.raw[i], c.raw[i]);
    }
  }
  return out;
}

// a * b + c, rounded once where the machine can and twice elsewhere: for polynomials, whose error allows either.
template <class T, int N>
GORGO_INLINE Vec<T, N> mul_add(Vec<T, N> a, Vec<T, N> b, Vec<T, N> c) {
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2) || defined(__aarch64__)
  return fma(a, b, c);
#else
  return a * b + c;
#endif
}

// f over float64, rounded to float once: where the formula loses nothing in float64 that float shows.
template <class F, int N, class... More>
GORGO_INLINE Vec<float, N> through_float64(F f, Vec<float, N> x, More... more) {
  return by_wide_lanes([f](auto... lanes)
                           __attribute__((always_inline)) { return convert<float>(f(convert<double>(lanes)...)); },
                       x, more...);
}

// a * b + c with an error hardly above one rounding's, where a second one would show: without the instruction, float
// goes through float64, which holds the product exactly.
template <class T, int N>
GORGO_INLINE Vec<T, N> mul_add_once(Vec<T, N> a, Vec<T, N> b, Vec<T, N> c) {
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2) || defined(__aarch64__)
  return fma(a, b, c);
#else
  if constexpr (std::is_same_v<T, float>) {
    return through_float64([](auto u, auto v, auto w) __attribute__((always_inline)) { return u * v + w; }, a, b, c);
  } else {
    return fma(a, b, c);
  }
#endif
}

// What a rounded sum or product has lost, exactly: a + b - sum, a b - product.
template <class T, int N>
GORGO_INLINE Vec<T, N> sum_lost(Vec<T, N> a, Vec<T, N> b, Vec<T, N> sum) {
  const auto part = sum - a;
  return (a - (sum - part)) + (b - part);
}
template <class T, int N>
GORGO_INLINE Vec<T, N> product_lost(Vec<T, N> a, Vec<T, N> b, Vec<T, N> product) {
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2) || defined(__aarch64__)
  return fma(a, b, -product);
#else
  if constexpr (std::is_same_v<T, float>) {
    return mul_add_once(a, b, -product);
  } else {
    // Upper halves of the digits (Dekker): products of halves are exact.
    const auto upper = [](Vec<T, N> v) __attribute__((always_inline)) {
      const auto wide = v * broadcast<Vec<T, N>>(T{134217729});
      return wide - (wide - v);
    };
    const auto a_high = upper(a);
    const auto a_low = a - a_high;
    const auto b_high = upper(b);
    const auto b_low = b - b_high;
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
  }
#endif
}

template <class T, int N>
GORGO_INLINE Vec<T, N> sqrt(Vec<T, N> x) {
  using R [[maybe_unused]] = typename Vec<T, N>::Raw;
#if defined(GORGO_ISA_AVX512)
  if constexpr (std::is_same_v<T, float> && N == 16) return {(R)_mm512_sqrt_ps((__m512)x.raw)};
  if constexpr (std::is_same_v<T, double> && N == 8) return {(R)_mm512_sqrt_pd((__m512d)x.raw)};
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (std::is_same_v<T, float> && N == 8) return {(R)_mm256_sqrt_ps((__m256)x.raw)};
  if constexpr (std::is_same_v<T, double> && N == 4) return {(R)_mm256_sqrt_pd((__m256d)x.raw)};
#endif
#if defined(__x86_64__)
  if constexpr (std::is_same_v<T, float> && N == 4) return {(R)_mm_sqrt_ps((__m128)x.raw)};
  if constexpr (std::is_same_v<T, double> && N == 2) return {(R)_mm_sqrt_pd((__m128d)x.raw)};
#elif defined(__aarch64__)
  if constexpr (std::is_same_v<T, float> && N == 4) return {(R)vsqrtq_f32((float32x4_t)x.raw)};
  if constexpr (std::is_same_v<T, double> && N == 2) return {(R)vsqrtq_f64((float64x2_t)x.raw)};
#endif
  if constexpr (std::is_same_v<T, float>) {
    return map_lanes<T>(x, [](float v) { return __builtin_sqrtf(v); });
  } else {
    return map_lanes<T>(x, [](double v) { return __builtin_sqrt(v); });
  }
}

// Floats divide as IEEE 754 says. Integers truncate; by zero the quotient is 0, and the lowest value by -1 wraps.
template <class T, int N>
GORGO_INLINE Vec<T, N> operator/(Vec<T, N> a, Vec<T, N> b) {
  using V = Vec<T, N>;
  if constexpr (kIsFloat<T>) {
    return {a.raw / b.raw};
  } else {
    const auto zero = broadcast<V>(T{0});
    const auto one = broadcast<V>(T{1});
    const auto by_zero = b == zero;
    auto special = by_zero;
    if constexpr (std::is_signed_v<T>) special = special | (b == broadcast<V>(T{-1}));
    const auto safe = select(special, one, b);
    V quotient;
    if constexpr (sizeof(T) <= 4) {
      // The float64 quotient of integers of 32 bits lies nearer to the true one than that lies to the next whole
      // number.
      quotient = by_wide_lanes(
          [](auto n, auto d)
              __attribute__((always_inline)) { return convert<T>(convert<double>(n) / convert<double>(d)); },
          a, safe);
    } else {
      quotient = {a.raw / safe.raw};
    }
    if constexpr (std::is_signed_v<T>) quotient = select(special, -a, quotient);
    return select(by_zero, zero, quotient);
  }
}

// A constant of x's kind; the conjugate, which is x itself for real numbers.
template <class T, int N>
GORGO_INLINE Vec<T, N> like(Vec<T, N>, double value) {
  return constant<Vec<T, N>>(value);
}
template <class T, int N>
GORGO_INLINE Vec<T, N> conj(Vec<T, N> x) {
  return x;
}

template <class T, int N>
GORGO_INLINE Vec<T, N> reciprocal(Vec<T, N> x) {
  return broadcast<Vec<T, N>>(T{1}) / x;
}
// The quotient by the rounded root, corrected by what it leaves of 1 = x y^2; not where y is 0, infinite or NaN.
template <class T, int N>
GORGO_INLINE Vec<T, N> rsqrt(Vec<T, N> x) {
  using V = Vec<T, N>;
  const auto y = broadcast<V>(T{1}) / sqrt(x);
  const auto root = x * y;
  const auto root_low = mul_add_once(x, y, -root);
  const auto rest = mul_add_once(-root, y, broadcast<V>(T{1})) - root_low * y;
  const auto ordinary = (y > broadcast<V>(T{0})) & (y < broadcast<V>(FloatBits<T>::kInfinity));
  return select(ordinary, mul_add(y * broadcast<V>(T(0.5)), rest, y), y);
}

// Rounding to a whole number, half to even. Adding 2^23 (2^52) makes the adder round at the unit.
template <class T, int N>
GORGO_INLINE Vec<T, N> round(Vec<T, N> x) {
  if constexpr (!kIsFloat<T>) {
    return x;
  } else {
    using V = Vec<T, N>;
    const auto magnitude = abs(x);
    const auto whole = broadcast<V>(FloatBits<T>::kWhole);
    const auto rounded = (magnitude + whole) - whole;
    return copysign(select(magnitude < whole, rounded, magnitude), x);
  }
}
template <class T, int N>
GORGO_INLINE Vec<T, N> floor(Vec<T, N> x) {
  if constexpr (!kIsFloat<T>) {
    return x;
  } else {
    const auto r = round(x);
    const auto one = broadcast<Vec<T, N>>(T{1});
    return copysign(select(r > x, r - one, r), x);
  }
}
template <class T, int N>
GORGO_INLINE Vec<T, N> ceil(Vec<T, N> x) {
  if constexpr (!kIsFloat<T>) {
    return x;
  } else {
    const auto r = round(x);
    const auto one = broadcast<Vec<T, N>>(T{1});
    return copysign(select(r < x, r + one, r), x);
  }
}
template <class T, int N>
GORGO_INLINE Vec<T, N> trunc(Vec<T, N> x) {
  if constexpr (!kIsFloat<T>) {
    return x;
  } else {
    return copysign(floor(abs(x)), x);
  }
}

// ---- lane by lane through the C library ----

#define GORGO_LIBM_1(name)                                                \
  template <class T, int N>                                               \
  GORGO_INLINE Vec<T, N> libm_##name(Vec<T, N> x) {                       \
    if constexpr (std::is_same_v<T, float>) {                             \
      return map_lanes<T>(x, [](T v) { return __builtin_##name##f(v); }); \
    } else {                                                              \
      return map_lanes<T>(x, [](T v) { return __builtin_##name(v); });    \
    }                                                                     \
  }
#define GORGO_LIBM_2(name)                                                           \
  template <class T, int N>                                                          \
  GORGO_INLINE Vec<T, N> libm_##name(Vec<T, N> x, Vec<T, N> y) {                     \
    if constexpr (std::is_same_v<T, float>) {                                        \
      return map_lanes<T>(x, y, [](T v, T w) { return __builtin_##name##f(v, w); }); \
    } else {                                                                         \
      return map_lanes<T>(x, y, [](T v, T w) { return __builtin_##name(v, w); });    \
    }                                                                                \
  }
GORGO_LIBM_1(sin)
GORGO_LIBM_1(cos)
GORGO_LIBM_1(tan)
GORGO_LIBM_1(asin)
GORGO_LIBM_1(acos)
GORGO_LIBM_1(atan)
GORGO_LIBM_1(sinh)
GORGO_LIBM_1(cosh)
GORGO_LIBM_1(tanh)
GORGO_LIBM_1(asinh)
GORGO_LIBM_1(acosh)
GORGO_LIBM_1(atanh)
GORGO_LIBM_1(expm1)
GORGO_LIBM_1(exp2)
GORGO_LIBM_1(log1p)
GORGO_LIBM_1(log2)
GORGO_LIBM_1(log10)
GORGO_LIBM_1(erf)
GORGO_LIBM_1(erfc)
GORGO_LIBM_2(pow)
GORGO_LIBM_2(atan2)
GORGO_LIBM_2(fmod)
#undef GORGO_LIBM_1
#undef GORGO_LIBM_2

// The remainder with the sign of x, as C has it; exact.
template <class T, int N>
GORGO_INLINE Vec<T, N> fmod(Vec<T, N> x, Vec<T, N> y) {
  return libm_fmod(x, y);
}

// Division rounded towards minus infinity and its remainder, which has the sign of b. Floats as Python defines them on
// top of fmod; integers divided by zero give 0 and leave 0.
template <class T, int N>
GORGO_INLINE Vec<T, N> remainder(Vec<T, N> a, Vec<T, N> b) {
  using V = Vec<T, N>;
  const auto zero = broadcast<V>(T{0});
  if constexpr (kIsFloat<T>) {
    const auto r = fmod(a, b);
    const auto moved = select((b < zero) != (r < zero), r + b, r);
    return select(r == zero, copysign(zero, b), moved);
  } else {
    const auto r = a - (a / b) * b;
    const auto kept = select(b == zero, zero, r);
    if constexpr (std::is_signed_v<T>) {
      return select((kept != zero) & ((kept < zero) != (b < zero)), kept + b, kept);
    } else {
      return kept;
    }
  }
}
template <class T, int N>
GORGO_INLINE Vec<T, N> floor_divide(Vec<T, N> a, Vec<T, N> b) {
  using V = Vec<T, N>;
  const auto zero = broadcast<V>(T{0});
  const auto one = broadcast<V>(T{1});
  if constexpr (kIsFloat<T>) {
    const auto r = fmod(a, b);
    auto quotient = (a - r) / b;
    quotient = select((r != zero) & ((b < zero) != (r < zero)), quotient - one, quotient);
    // a - r is a whole multiple of b up to rounding: take the nearest whole number.
    const auto whole = floor(quotient);
    const auto nearest = select(quotient - whole > broadcast<V>(T(0.5)), whole + one, whole);
    const auto value = select(quotient == zero, copysign(zero, a / b), nearest);
    return select(b == zero, a / b, value);
  } else if constexpr (std::is_signed_v<T>) {
    const auto quotient = a / b;
    const auto r = a - quotient * b;
    return select((b != zero) & (r != zero) & ((r < zero) != (b < zero)), quotient - one, quotient);
  } else {
    return a / b;
  }
}

// ---- polynomials and scaling ----

// c[0] + c[1] x + ... by Horner's rule, unrolled. Coefficients that are floats serve float64 too.
template <class T, int N, class C, std::size_t Count, std::size_t... I>
GORGO_INLINE Vec<T, N> horner(Vec<T, N> x, const C (&c)[Count], std::index_sequence<I...> /*steps*/) {
  static_assert(sizeof(C) <= sizeof(T));
  auto sum = broadcast<Vec<T, N>>(T{c[Count - 1]});
  ((sum = mul_add(sum, x, broadcast<Vec<T, N>>(T{c[Count - 2 - I]}))), ...);
  return sum;
}
template <class T, int N, class C, std::size_t Count>
GORGO_INLINE Vec<T, N> polynomial(Vec<T, N> x, const C (&c)[Count]) {
  return horner(x, c, std::make_index_sequence<Count - 1>());
}

// 2^n for n within the normal exponents.
template <int N>
GORGO_INLINE Vec<float, N> power_of_two(Vec<std::int32_t, N> n) {
  return bits_as<float>(shift_left_by<23>(n + broadcast<Vec<std::int32_t, N>>(127)));
}
template <int N>
GORGO_INLINE Vec<double, N> power_of_two(Vec<std::int64_t, N> n) {
  return bits_as<double>(shift_left_by<52>(n + broadcast<Vec<std::int64_t, N>>(1023)));
}
// x 2^n in two steps, so that the result may be denormal or infinite; rounds at most once when |x| is in [1/2, 2].
template <int N>
GORGO_INLINE Vec<float, N> scale(Vec<float, N> x, Vec<std::int32_t, N> n) {
  const auto half = shift_right_by<1>(n);
  return x * power_of_two(half) * power_of_two(n - half);
}
template <int N>
GORGO_INLINE Vec<double, N> scale(Vec<double, N> x, Vec<std::int64_t, N> n) {
  // Shifting a negative number to the right lacks an instruction before AVX-512, hence the offset.
  using I = Vec<std::int64_t, N>;
  const auto half =
      bits_as<std::int64_t>(shift_right_by<1>(bits_as<std::uint64_t>(n + broadcast<I>(4096)))) - broadcast<I>(2048);
  return x * power_of_two(half) * power_of_two(n - half);
}

// ---- exp and what rests on it ----

// x = n ln2 + r + low with |r| <= ln2 / 2. The first product is exact: ln2's upper part ends in zeros.
template <class T, int N>
struct ExpReduced {
  Vec<SignedLike<T>, N> n;
  Vec<T, N> whole;  // n as well
  Vec<T, N> r;
  Vec<T, N> low;
};
template <class T>
struct Ln2;
template <>
struct Ln2<float> {
  static constexpr float kInverse = 0x1.715476p+0f;
  static constexpr float kHigh = 0x1.62e4p-1f;
  static constexpr float kLow = 0x1.7f7d1cp-20f;
  static constexpr float kMagic = 0x1.8p23f;
};
template <>
struct Ln2<double> {
  static constexpr double kInverse = 0x1.71547652b82fep+0;
  static constexpr double kHigh = 0x1.62e42fefa2p-1;
  static constexpr double kLow = 0x1.9ef35793c7673p-41;
  static constexpr double kMagic = 0x1.8p52;
};
template <class T, int N>
GORGO_INLINE ExpReduced<T, N> exp_reduce(Vec<T, N> x) {
  using V = Vec<T, N>;
  using I = SignedLike<T>;
  const auto magic = broadcast<V>(Ln2<T>::kMagic);
  const auto shifted = mul_add(x, broadcast<V>(Ln2<T>::kInverse), magic);
  const auto whole = shifted - magic;
  const auto head = mul_add(-whole, broadcast<V>(Ln2<T>::kHigh), x);
  const auto tail = whole * broadcast<V>(Ln2<T>::kLow);
  const auto r = head - tail;
  return {bits_as<I>(shifted) - bits_as<I>(magic), whole, r, (head - r) - tail};
}
// The same of x + x_low.
template <class T, int N>
GORGO_INLINE ExpReduced<T, N> exp_reduce(Vec<T, N> x, Vec<T, N> x_low) {
  auto e = exp_reduce(x);
  const auto moved = e.low + x_low;
  const auto r = e.r + moved;
  e.low = (e.r - r) + moved;
  e.r = r;
  return e;
}
// x 2^n for whole n by one instruction, which rounds once; for the vectors that have one.
#if defined(GORGO_ISA_AVX512)
template <class T, int N>
constexpr bool kHasTimesPower = N * sizeof(T) == 64;
template <class T, int N>
GORGO_INLINE Vec<T, N> times_power_of_two(Vec<T, N> x, Vec<T, N> n) {
  using R = RawVector<T, N>;
  if constexpr (std::is_same_v<T, float>) return {(R)_mm512_scalef_ps((__m512)x.raw, (__m512)n.raw)};
  if constexpr (std::is_same_v<T, double>) return {(R)_mm512_scalef_pd((__m512d)x.raw, (__m512d)n.raw)};
}
#else
template <class T, int N>
constexpr bool kHasTimesPower = false;
#endif
// x 2^n and x 2^-n.
template <class T, int N>
GORGO_INLINE Vec<T, N> times_power(Vec<T, N> x, const ExpReduced<T, N>& e) {
  if constexpr (kHasTimesPower<T, N>) {
    return times_power_of_two(x, e.whole);
  } else {
    return scale(x, e.n);
  }
}
template <class T, int N>
GORGO_INLINE Vec<T, N> over_power(Vec<T, N> x, const ExpReduced<T, N>& e) {
  return times_power(x, ExpReduced<T, N>{-e.n, -e.whole, e.r, e.low});
}
// 2^-n, for those to whom all below 2^-kLeast is alike. The exponent stays a normal one where that is cheaper.
template <int kLeast, class T, int N>
GORGO_INLINE Vec<T, N> inverse_power(const ExpReduced<T, N>& e) {
  if constexpr (kHasTimesPower<T, N>) {
    return over_power(broadcast<Vec<T, N>>(T{1}), e);
  } else {
    const auto most = broadcast<Vec<SignedLike<T>, N>>(kLeast);
    return power_of_two(-select(e.n < most, e.n, most));
  }
}

// e^r = 1 + r + r^2 Q(r) on |r| <= ln2 / 2, error 1.1e-10.
constexpr float kExpQ32[] = {0x1p-1f, 0x1.555556p-3f, 0x1.5554e8p-5f, 0x1.110ff4p-7f, 0x1.6d4cc6p-10f, 0x1.a266d8p-13f};
// The same, error 3.4e-18.
constexpr double kExpQ64[] = {0.500000000000001289,     0.166666666666666923,   0.0416666666665144073,
                              0.00833333333331114819,   0.00138888889472440078, 0.000198412699095044337,
                              0.0000248014897361252316, 2.75572228896068532e-6, 2.76313451507181378e-7,
                              2.51158868776908431e-8};
template <int N>
GORGO_INLINE Vec<float, N> exp_q(Vec<float, N> r) {
  return polynomial(r, kExpQ32);
}
template <int N>
GORGO_INLINE Vec<double, N> exp_q(Vec<double, N> r) {
  return polynomial(r, kExpQ64);
}

// The smaller of x and a limit, the larger, and what lies between two; NaN stays. In this order of the operands it is one
// instruction, which compilers do not find for vectors of 32 and 64 bytes.
template <class V>
GORGO_INLINE V at_most(V x, V high) {
#if defined(GORGO_ISA_AVX512)
  if constexpr (std::is_same_v<V, Vec<float, 16>>)
    return {(typename V::Raw)_mm512_min_ps((__m512)high.raw, (__m512)x.raw)};
  if constexpr (std::is_same_v<V, Vec<double, 8>>)
    return {(typename V::Raw)_mm512_min_pd((__m512d)high.raw, (__m512d)x.raw)};
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (std::is_same_v<V, Vec<float, 8>>)
    return {(typename V::Raw)_mm256_min_ps((__m256)high.raw, (__m256)x.raw)};
  if constexpr (std::is_same_v<V, Vec<double, 4>>)
    return {(typename V::Raw)_mm256_min_pd((__m256d)high.raw, (__m256d)x.raw)};
#endif
  return select(high < x, high, x);
}
template <class V>
GORGO_INLINE V at_least(V x, V low) {
#if defined(GORGO_ISA_AVX512)
  if constexpr (std::is_same_v<V, Vec<float, 16>>)
    return {(typename V::Raw)_mm512_max_ps((__m512)low.raw, (__m512)x.raw)};
  if constexpr (std::is_same_v<V, Vec<double, 8>>)
    return {(typename V::Raw)_mm512_max_pd((__m512d)low.raw, (__m512d)x.raw)};
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (std::is_same_v<V, Vec<float, 8>>)
    return {(typename V::Raw)_mm256_max_ps((__m256)low.raw, (__m256)x.raw)};
  if constexpr (std::is_same_v<V, Vec<double, 4>>)
    return {(typename V::Raw)_mm256_max_pd((__m256d)low.raw, (__m256d)x.raw)};
#endif
  return select(low > x, low, x);
}
template <class V>
GORGO_INLINE V clamp(V x, V low, V high) {
  return at_least(at_most(x, high), low);
}

// The smaller of |x| and a limit; what NaN gives does not matter to those who ask. AVX-512 has one instruction for it.
template <class T, int N>
GORGO_INLINE Vec<T, N> magnitude_at_most(Vec<T, N> x, T limit) {
  const auto high = broadcast<Vec<T, N>>(limit);
#if defined(GORGO_ISA_AVX512)
  constexpr int kLeastMagnitudePositive = 0b1010;
  using R = RawVector<T, N>;
  if constexpr (std::is_same_v<T, float> && N == 16) {
    return {(R)_mm512_range_ps((__m512)x.raw, (__m512)high.raw, kLeastMagnitudePositive)};
  }
#endif
  return at_most(abs(x), high);
}

// e^(r + low) - 1 on |r| <= ln2 / 2.
template <class T, int N>
GORGO_INLINE Vec<T, N> exp_rise_exact(Vec<T, N> r, Vec<T, N> low) {
  return r + mul_add(r * r, exp_q(r), low);
}
template <int N>
GORGO_INLINE Vec<float, N> exp(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto e = exp_reduce(clamp(x, broadcast<V>(-104.0f), broadcast<V>(89.0f)));
  return times_power(broadcast<V>(1.0f) + exp_rise_exact(e.r, e.low), e);
}
template <int N>
GORGO_INLINE Vec<double, N> exp(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto e = exp_reduce(clamp(x, broadcast<V>(-746.0), broadcast<V>(710.0)));
  return times_power(broadcast<V>(1.0) + exp_rise_exact(e.r, e.low), e);
}

// e^r - 1 on |r| <= ln2 / 2 for those to whom one place of r is enough: a term less, error 3.1e-9 (exp and expm1 pass on
// every place).
constexpr float kRiseQ[] = {0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558b6p-5f, 0x1.1239a2p-7f, 0x1.6a4748p-10f};
template <int N>
GORGO_INLINE Vec<float, N> rise_q(Vec<float, N> r) {
  return polynomial(r, kRiseQ);
}
template <int N>
GORGO_INLINE Vec<double, N> rise_q(Vec<double, N> r) {
  return exp_q(r);
}
template <int N>
GORGO_INLINE Vec<float, N> exp_rise(Vec<float, N> r) {
  return mul_add(r * r, rise_q(r), r);
}
// x = u v reduced without a rest for them: the product rounds when its first multiple of ln2 has gone.
template <int N>
GORGO_INLINE ExpReduced<float, N> exp_reduce_product(Vec<float, N> u, Vec<float, N> v) {
  using V = Vec<float, N>;
  const auto magic = broadcast<V>(Ln2<float>::kMagic);
  const auto shifted = mul_add(u * v, broadcast<V>(Ln2<float>::kInverse), magic);
  const auto whole = shifted - magic;
  const auto head = mul_add_once(u, v, -(whole * broadcast<V>(Ln2<float>::kHigh)));
  const auto r = mul_add(-whole, broadcast<V>(Ln2<float>::kLow), head);
  return {bits_as<std::int32_t>(shifted) - bits_as<std::int32_t>(magic), whole, r, broadcast<V>(0.0f)};
}
// 1 / (d + d_low), the quotient corrected by its remainder.
template <int N>
GORGO_INLINE Vec<float, N> corrected_reciprocal(Vec<float, N> d, Vec<float, N> d_low) {
  const auto one = broadcast<Vec<float, N>>(1.0f);
  const auto q = one / d;
  const auto rest = mul_add(-q, d_low, mul_add_once(-q, d, one));
  return mul_add(rest, q, q);
}

template <int N>
GORGO_INLINE Vec<float, N> expm1(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto e = exp_reduce(clamp(x, broadcast<V>(-18.0f), broadcast<V>(89.0f)));
  // 2^n (e^r - 1) + (2^n - 1) = 2^n ((1 - 2^-n) + (e^r - 1)); past n = 30 the 2^-n no longer shows.
  const auto one = broadcast<V>(1.0f);
  const auto power = inverse_power<30>(e);
  const auto c = one - power;
  const auto high = c + e.r;
  const auto low = (e.r - (high - c)) + (e.low + ((one - c) - power));
  const auto sum = high + mul_add(e.r * e.r, exp_q(e.r), low);
  return select(x == broadcast<V>(0.0f), x, times_power(sum, e));
}
template <int N>
GORGO_INLINE Vec<double, N> expm1(Vec<double, N> x) {
  return libm_expm1(x);
}

// 1 / (1 + e^h) = 2^-n / ((1 + 2^-n) + (e^r - 1)): the divisor in two parts. Below 2^-60 nothing of the power shows beside 1.
template <class T, int N>
struct LogisticDivisor {
  Vec<T, N> d;
  Vec<T, N> low;
};
template <int N>
GORGO_INLINE LogisticDivisor<float, N> logistic_divisor(const ExpReduced<float, N>& e) {
  const auto one = broadcast<Vec<float, N>>(1.0f);
  const auto power = inverse_power<60>(e);
  const auto whole = one + power;
  const auto rise = exp_rise(e.r);
  const auto d = whole + rise;
  return {d, (rise - (d - whole)) + (power - (whole - one))};
}
// The same, with all that r tells: r joins the first part, and what that loses the rest of the rise.
template <class T, int N>
GORGO_INLINE LogisticDivisor<T, N> logistic_divisor_exact(const ExpReduced<T, N>& e) {
  const auto one = broadcast<Vec<T, N>>(T{1});
  const auto power = inverse_power<60>(e);
  const auto whole = one + power;
  const auto first = whole + e.r;
  const auto lost = (e.r - (first - whole)) + (power - (whole - one));
  const auto rest = mul_add(e.r * e.r, rise_q(e.r), e.low) + lost;
  const auto d = first + rest;
  return {d, rest - (d - first)};
}

template <int N>
GORGO_INLINE Vec<float, N> sigmoid(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto one = broadcast<V>(1.0f);
  const auto e = exp_reduce(at_most(abs(x), broadcast<V>(104.0f)));
  const auto [d, d_low] = logistic_divisor(e);
  const auto tail = over_power(corrected_reciprocal(d, d_low), e);
  return select(x < broadcast<V>(0.0f), tail, one - tail);
}
template <int N>
GORGO_INLINE Vec<double, N> sigmoid(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto one = broadcast<V>(1.0);
  const auto z = exp(-abs(x));
  return select(x < broadcast<V>(0.0), z, one) / (one + z);
}

// x sigmoid(h) for h of the sign of x, |h| = n ln2 + r + low. The quotient keeps what it loses, so that the product
// is the first to round. -inf times 0 is NaN.
template <class T, int N>
GORGO_INLINE Vec<T, N> times_logistic(Vec<T, N> x, Vec<T, N> magnitude, const ExpReduced<T, N>& e) {
  using V = Vec<T, N>;
  const auto one = broadcast<V>(T{1});
  const auto zero = broadcast<V>(T{0});
  const auto [d, d_low] = logistic_divisor_exact(e);
  const auto q = one / d;
  const auto q_low = mul_add(-q, d_low, mul_add_once(-q, d, one)) * q;
  const auto v = mul_add_once(magnitude, q, magnitude * q_low);
  return select(x < zero, x * zero, x) - over_power(v, e);
}
// Beyond these the result for negative x is 0.
template <class T>
struct LogisticLimits;
template <>
struct LogisticLimits<float> {
  static constexpr float kSilu = 110.0f;
  static constexpr float kGelu = 11.5f;
};
template <>
struct LogisticLimits<double> {
  static constexpr double kSilu = 760.0;
  static constexpr double kGelu = 22.0;
};
template <class T, int N>
GORGO_INLINE Vec<T, N> silu(Vec<T, N> x) {
  const auto m = magnitude_at_most(x, LogisticLimits<T>::kSilu);
  return times_logistic(x, m, exp_reduce(m));
}
// x sigmoid(a x + b x^3), a = sqrt(8 / pi), b = 0.044715 a. The argument is formed in two parts: where it is large, its
// last place is the result's first ones.
template <class T>
struct GeluTanhFactors;
template <>
struct GeluTanhFactors<float> {
  static constexpr float kA[] = {0x1.988454p+0f, -0x1.857936p-25f};
  static constexpr float kB[] = {0x1.2444f2p-4f, 0x1.49b16ap-29f};
};
template <>
struct GeluTanhFactors<double> {
  static constexpr double kA[] = {0x1.9884533d43651p+0, -0x1.cbc0d30ebfd15p-54};
  static constexpr double kB[] = {0x1.2444f2a4d8b4bp-4, -0x1.6c843a29d1c70p-61};
};
template <class T, int N>
GORGO_INLINE Vec<T, N> gelu_tanh(Vec<T, N> x) {
  using V = Vec<T, N>;
  using Factors = GeluTanhFactors<T>;
  const auto a = broadcast<V>(Factors::kA[0]);
  const auto b = broadcast<V>(Factors::kB[0]);
  const auto m = magnitude_at_most(x, LogisticLimits<T>::kGelu);
  const auto square = m * m;
  const auto square_low = mul_add_once(m, m, -square);
  const auto term = b * square;
  const auto term_low =
      mul_add(broadcast<V>(Factors::kB[1]), square, mul_add(b, square_low, mul_add_once(b, square, -term)));
  const auto sum = a + term;
  const auto part = sum - a;
  const auto sum_low = ((a - (sum - part)) + (term - part)) + (broadcast<V>(Factors::kA[1]) + term_low);
  const auto h = m * sum;
  return times_logistic(x, m, exp_reduce(h, mul_add(m, sum_low, mul_add_once(m, sum, -h))));
}

// tanh x = x + x z P(z), z = x^2, |x| < 0.625, relative error 1.6e-10.
constexpr float kTanhP[] = {-0x1.555554p-2f, 0x1.11107cp-3f,  -0x1.b9f21cp-5f,
                            0x1.63acc4p-6f,  -0x1.0c8726p-7f, 0x1.1ac484p-9f};
template <int N>
GORGO_INLINE Vec<float, N> tanh_by_quotient(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto one = broadcast<V>(1.0f);
  const auto magnitude = abs(x);
  const auto z = x * x;
  const auto small = mul_add(x * z, polynomial(z, kTanhP), x);
  // 1 - 2 / (e^2|x| + 1). The divisor is (2^n + 1) + 2^n (e^r - 1), whose first part is exact.
  const auto e = exp_reduce(at_most(magnitude + magnitude, broadcast<V>(20.0f)));
  const auto power = times_power(one, e);
  const auto rise = power * exp_rise(e.r);
  const auto whole = power + one;
  const auto d = whole + rise;
  const auto large = mul_add(broadcast<V>(-2.0f), corrected_reciprocal(d, rise - (d - whole)), one);
  return copysign(select(magnitude < broadcast<V>(0.625f), small, large), x);
}

// A function of m >= 0 by pieces, as many as a table has entries that one instruction picks from: value + t P(t), t = m - centre. A
// piece is two or one of the leading bits of m kScale + kOffset behind its first. At a centre the function is next to a float, to a
// thousandth of a place; in the first piece, which lies around 0, the value is a multiple of m that the caller knows.
template <int N>
struct Piece {
  Vec<float, N> t;
  Vec<float, N> p;
  Vec<float, N> value;
};
template <class Pieces, int N, int I = 0>
GORGO_INLINE Vec<float, N> polynomial_of_piece(Vec<float, N> t, Vec<std::int32_t, N> index) {
  const auto c = pick(Pieces::kC[I], index);
  if constexpr (I + 1 == sizeof Pieces::kC / sizeof Pieces::kC[0]) {
    return c;
  } else {
    return mul_add(polynomial_of_piece<Pieces, N, I + 1>(t, index), t, c);
  }
}
template <class Pieces, int N>
GORGO_INLINE Piece<N> piece_of(Vec<float, N> m, Vec<float, N> first_value) {
  using V = Vec<float, N>;
  constexpr int kBits = kPickSize == 16 ? 2 : 1;
  constexpr float kFirstEnd = 1.0f + 1.0f / (1 << kBits);
  const auto place = mul_add(m, broadcast<V>(Pieces::kScale), broadcast<V>(Pieces::kOffset));
  const auto index = shift_right_by<23 - kBits>(bits_as<std::int32_t>(place));
  const auto t = m - pick(Pieces::kCentre, index);
  const auto p = polynomial_of_piece<Pieces>(t, index);
  return {t, p, select(place < broadcast<V>(kFirstEnd), first_value, pick(Pieces::kValue, index))};
}

// tanh on [0, kEnd], from where on it is 1, error 0.09 places; with eight pieces 0.24.
template <int Count>
struct TanhPieces;
template <>
struct TanhPieces<16> {
  static constexpr float kEnd = 10.0f;
  static constexpr float kScale = 1.0f;
  static constexpr float kOffset = 1.0f;
  alignas(64) static constexpr float kCentre[16] = {0x1.3fed1ep+0f, 0x1.bff09ap+0f, 0x1.202ec8p+1f, 0x1.5fe7f2p+1f,
                                                    0x1.c01338p+1f, 0x1.1fe142p+2f, 0x1.5fe8bep+2f, 0x1.9fef28p+2f,
                                                    0x1.0a2b24p+3f, 0x1.2p+3f,      0x1.2p+3f,      0x1.2p+3f,
                                                    0x0p+0f,        0x1.80169p-2f,  0x1.400dfap-1f, 0x1.c0129cp-1f};
  alignas(64) static constexpr float kValue[16] = {0x1.b247a4p-1f, 0x1.e1f878p-1f, 0x1.f4c7f6p-1f, 0x1.fbd37ap-1f,
                                                   0x1.ff1174p-1f, 0x1.ffdf88p-1f, 0x1.fffb9cp-1f, 0x1.ffff68p-1f,
                                                   0x1.fffffcp-1f, 0x1p+0f,        0x1p+0f,        0x1p+0f,
                                                   0x0p+0f,        0x1.6f08e8p-2f, 0x1.1bfe2cp-1f, 0x1.686fb4p-1f};
  alignas(64) static constexpr float kC[6][16] = {
      {0x1.1f48fcp-2f, 0x1.d26162p-4f, 0x1.631256p-5f, 0x1.0a0ac4p-6f, 0x1.dcab24p-9f, 0x1.03b92ap-11f, 0x1.190054p-14f,
       0x1.30017ep-17f, 0x1.fefa4cp-23f, 0x0p+0f, 0x0p+0f, 0x0p+0f, 0x1.5a01a4p-28f, 0x1.be38aep-1f, 0x1.627a08p-1f,
       0x1.0242d2p-1f},
      {-0x1.e75a36p-3f, -0x1.b706cep-4f, -0x1.5b4a8ep-5f, -0x1.07df88p-6f, -0x1.dbcc52p-9f, -0x1.03a81cp-11f,
       -0x1.18fd5ap-14f, -0x1.300096p-17f, -0x1.017678p-22f, 0x0p+0f, 0x0p+0f, 0x0p+0f, -0x1.8de414p-20f,
       -0x1.3fe164p-2f, -0x1.893cd8p-2f, -0x1.6b9ea8p-2f},
      {0x1.bbc32ep-4f, 0x1.01d826p-4f, 0x1.baa752p-6f, 0x1.5a1234p-7f, 0x1.3bbf3ep-9f, 0x1.59acf4p-12f, 0x1.763b0ap-15f,
       0x1.94e6c4p-18f, 0x1.5e6a3p-23f, 0x0p+0f, 0x0p+0f, 0x0p+0f, -0x1.5542bp-2f, -0x1.6da45ep-3f, -0x1.23582ap-6f,
       0x1.4f3bd8p-4f},
      {-0x1.9b63ccp-7f, -0x1.817dbcp-6f, -0x1.92e07p-7f, -0x1.4eb1acp-8f, -0x1.398092p-10f, -0x1.596ebcp-13f,
       -0x1.76458ap-16f, -0x1.94facap-19f, -0x1.320078p-24f, 0x0p+0f, 0x0p+0f, 0x0p+0f, -0x1.483d24p-10f,
       0x1.584f0ap-3f, 0x1.1a56c8p-3f, 0x1.f1ad46p-5f},
      {-0x1.430048p-6f, 0x1.c81e84p-9f, 0x1.0443dcp-8f, 0x1.f6927ap-10f, 0x1.00bf22p-11f, 0x1.1f7ef6p-14f,
       0x1.382ffcp-17f, 0x1.51ead4p-20f, 0x1.c191d8p-26f, 0x0p+0f, 0x0p+0f, 0x0p+0f, 0x1.25937p-3f, 0x1.312daap-6f,
       -0x1.bbcecep-5f, -0x1.e174eep-5f},
      {0x1.edced8p-7f, 0x1.12bfecp-9f, -0x1.77621ap-11f, -0x1.1dff72p-11f, -0x1.4a9808p-13f, -0x1.7b742cp-16f,
       -0x1.9df9bap-19f, -0x1.c0a80ep-22f, -0x1.8ee1cap-26f, 0x0p+0f, 0x0p+0f, 0x0p+0f, -0x1.320272p-5f,
       -0x1.1b61e2p-4f, -0x1.8349eap-6f, 0x1.ab94d6p-7f}};
};
template <>
struct TanhPieces<8> {
  static constexpr float kEnd = 9.02f;
  static constexpr float kScale = 1.66f;
  static constexpr float kOffset = 1.0f;
  alignas(64) static constexpr float kCentre[8] = {0x1.d41334p-1f, 0x1.81bdbap+0f, 0x1.36bdc4p+1f, 0x1.d0fe5ep+1f,
                                                   0x1.5a0bdap+2f, 0x1.f70402p+2f, 0x0p+0f,        0x1.d44e6ep-2f};
  alignas(64) static constexpr float kValue[8] = {0x1.72403cp-1f, 0x1.d00fb2p-1f, 0x1.f81686p-1f, 0x1.ff48d4p-1f,
                                                  0x1.fffabap-1f, 0x1.fffff6p-1f, 0x0p+0f,        0x1.b62cfap-2f};
  alignas(64) static constexpr float kC[7][8] = {{0x1.e8823ep-2f, 0x1.6d8e34p-3f, 0x1.f67532p-6f, 0x1.6e165ap-9f,
                                                  0x1.517598p-14f, 0x1.3fe596p-21f, 0x1.56d05p-31f, 0x1.a24042p-1f},
                                                 {-0x1.6143b4p-2f, -0x1.4b5404p-3f, -0x1.eeae78p-6f, -0x1.6d95a2p-9f,
                                                  -0x1.52282cp-14f, -0x1.409e44p-21f, -0x1.a5cp-23f, -0x1.65f1b6p-2f},
                                                 {0x1.728756p-4f, 0x1.64e86cp-4f, 0x1.3f85fep-6f, 0x1.e61a62p-10f,
                                                  0x1.c29228p-15f, 0x1.ac7368p-22f, -0x1.5552b2p-2f, -0x1.f6ab4p-4f},
                                                 {0x1.96cf66p-5f, -0x1.9a8f22p-6f, -0x1.2bcc8ep-7f, -0x1.e2cae2p-11f,
                                                  -0x1.b6aef2p-16f, -0x1.a062dp-23f, -0x1.927e88p-13f, 0x1.5a2b48p-3f},
                                                 {-0x1.c77cf2p-5f, -0x1.370a14p-9f, 0x1.a2f582p-9f, 0x1.7d60bcp-12f,
                                                  0x1.6165a8p-17f, 0x1.46cffcp-24f, 0x1.14917p-3f, -0x1.b2b7bcp-7f},
                                                 {0x1.d64968p-7f, 0x1.cfa648p-8f, -0x1.715e9cp-11f, -0x1.03c798p-13f,
                                                  -0x1.2376acp-18f, -0x1.13e418p-25f, -0x1.e83f2p-8f, -0x1.daf0aap-5f},
                                                 {0x1.3ca0e2p-7f, -0x1.fe2726p-9f, -0x1.10761p-19f, 0x1.2258bep-15f,
                                                  0x1.42321p-20f, 0x1.531664p-27f, -0x1.4a07dep-5f, 0x1.89e378p-6f}};
};
template <int N>
GORGO_INLINE Vec<float, N> tanh_by_pieces(Vec<float, N> x) {
  using Pieces = TanhPieces<kPickSize>;
  const auto m = at_most(abs(x), broadcast<Vec<float, N>>(Pieces::kEnd));
  const auto piece = piece_of<Pieces>(m, m);
  return copysign(mul_add(piece.t, piece.p, piece.value), x);
}
template <int N>
GORGO_INLINE Vec<float, N> tanh(Vec<float, N> x) {
  if constexpr (kPicks) {
    return tanh_by_pieces(x);
  } else {
    return tanh_by_quotient(x);
  }
}
template <int N>
GORGO_INLINE Vec<double, N> tanh(Vec<double, N> x) {
  return libm_tanh(x);
}

// erf x = x + x P(x^2), |x| < 1, relative error 1.3e-9; ln erfc(1 + t) for t in [0, 3], absolute error in erfc 8e-9.
constexpr float kErfP0 = 0x1.06eba8p-3f;
constexpr float kErfP[] = {-0x1.81274p-2f, 0x1.ce2d5p-4f,    -0x1.b7fe9p-6f,
                           0x1.542e0ep-8f, -0x1.a50aeap-11f, 0x1.4c33aep-14f};
constexpr float kLnErfc0 = -0x1.d97fcp+0f;
constexpr float kLnErfc[] = {-0x1.51c98cp+1f, -0x1.afb326p-1f,  -0x1.525fe6p-5f,
                             0x1.388acep-7f,  -0x1.96c246p-10f, 0x1.ceee68p-14f};
template <int N>
GORGO_INLINE Vec<float, N> erf(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto one = broadcast<V>(1.0f);
  const auto magnitude = abs(x);
  const auto z = x * x;
  const auto small = mul_add_once(x, mul_add_once(z, polynomial(z, kErfP), broadcast<V>(kErfP0)), x);
  const auto t = clamp(magnitude, one, broadcast<V>(4.0f)) - one;
  // What the exponent loses by rounding shows near 1: exp(h + low) = exp(h) + low exp(h).
  const auto factor = polynomial(t, kLnErfc);
  const auto h = mul_add_once(t, factor, broadcast<V>(kLnErfc0));
  const auto low = mul_add_once(t, factor, broadcast<V>(kLnErfc0) - h);
  const auto tail = exp(h);
  const auto large = one - mul_add(tail, low, tail);
  return select(magnitude < one, small, copysign(large, x));
}
template <int N>
GORGO_INLINE Vec<double, N> erf(Vec<double, N> x) {
  return libm_erf(x);
}

// erfc x = e^(-x^2) P(t) / (1 + 2 x), t = (x - 2) / (x + 2), for x in [0.5, 10.1], relative error 6.4e-9. Through
// float64, where x^2 is exact.
constexpr double kErfcP[] = {0x1.46e80ep+0,  -0x1.7bf5eap-4, -0x1.5407bap-3, 0x1.4ff962p-3,   -0x1.bc22c4p-5,
                             -0x1.068ea6p-7, 0x1.1c4588p-7,  0x1.308ca6p-10, -0x1.50bf38p-10, -0x1.ed7856p-13};
template <int N>
GORGO_INLINE Vec<float, N> erfc(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto z = x * x;
  const auto near_factor = mul_add(z, polynomial(z, kErfP), broadcast<V>(kErfP0));
  return through_float64(
      [](auto wide, auto factor) __attribute__((always_inline)) {
        const auto one = like(wide, 1.0);
        const auto two = like(wide, 2.0);
        const auto m = at_most(abs(wide), like(wide, 10.1));
        const auto t = (m - two) / (m + two);
        const auto tail = exp(-(m * m)) * (polynomial(t, kErfcP) / (one + two * m));
        const auto far_value = select(wide < like(wide, 0.0), two - tail, tail);
        const auto near_value = (one - wide) - wide * factor;
        return select(m < like(wide, 0.5), near_value, far_value);
      },
      x, near_factor);
}
// erfc x = e^(-x^2) (1 + A x) / (1 + B x + C x^2) (1 + G(t)), t = (x - 3) / (x + 3), for x in [0, 27.4], error 7e-18. The first
// quotient is within 0.3 percent, and so flat a G does not mind what t has lost. Of y in place of x = y / sqrt(2) the same.
struct TailOfErf {
  static constexpr double kA[] = {0x1.2acp-1, 0.0};
  static constexpr double kB[] = {0x1.acep+0, 0.0};
  static constexpr double kC = 0x1.098p+0;
  static constexpr double kCentre = 3.0;
};
struct TailOfNormal {
  static constexpr double kA[] = {0x1.a67f0da1cfb09p-2, -0x1.946485fc6e970p-60};
  static constexpr double kB[] = {0x1.2f42aaefb33a7p+0, 0x1.529cb61808429p-55};
  static constexpr double kC = 0x1.098p-1;
  static constexpr double kCentre = 4.242640687119285;
};
constexpr double kTailG[] = {
    -0.00038359440564819983, -0.010210723279146008,   0.005353948548853781,    0.021566699999172614,
    -0.018363255303099252,   0.0009039492280391411,   0.009975045923377177,    -0.009751266548875225,
    0.004824799169048417,    -0.0011519826355358182,  -4.1470603962368616e-05, 5.9220532131302915e-05,
    3.28804232280065e-05,    -2.12586255844097e-05,   -2.0432819076418364e-06, 2.7495461768731613e-06,
    7.703784914474921e-07,   -5.126442804710007e-07,  -1.8461299070955283e-07, 6.28298439106142e-08,
    4.5523774445028065e-08,  -1.7084947618927196e-09, -6.432890613517504e-09,  -1.367172660858447e-09};
template <class T, int N>
struct Parts {
  Vec<T, N> high;
  Vec<T, N> low;
};
// e^(x^2) erfc x of x >= 0.
template <class Tail, int N>
GORGO_INLINE Parts<double, N> scaled_tail(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto one = broadcast<V>(1.0);
  const auto linear = [&](const double (&factor)[2]) __attribute__((always_inline)) {
    const auto high = broadcast<V>(factor[0]) * x;
    const auto lost = product_lost(broadcast<V>(factor[0]), x, high);
    return Parts<double, N>{high, mul_add(broadcast<V>(factor[1]), x, lost)};
  };
  const auto ax = linear(Tail::kA);
  const auto top = one + ax.high;
  const auto top_low = sum_lost(one, ax.high, top) + ax.low;
  const auto bx = linear(Tail::kB);
  const auto cx = broadcast<V>(Tail::kC) * x;
  const auto cx_low = product_lost(broadcast<V>(Tail::kC), x, cx);
  const auto cxx = cx * x;
  const auto cxx_low = mul_add(cx_low, x, product_lost(cx, x, cxx));
  const auto first = bx.high + cxx;
  const auto d = one + first;
  const auto d_low = sum_lost(one, first, d) + (sum_lost(bx.high, cxx, first) + (bx.low + cxx_low));
  // One division for both quotients.
  const auto centre = broadcast<V>(Tail::kCentre);
  const auto beyond = x + centre;
  const auto both = one / (d * beyond);
  const auto g = polynomial((x - centre) * (d * both), kTailG);
  const auto q = both * beyond;
  const auto dq = d * q;
  const auto q_low = q * (((one - dq) - product_lost(d, q, dq)) - d_low * q);
  const auto w = top * q;
  const auto w_low = product_lost(top, q, w) + mul_add(top_low, q, top * q_low);
  return {w, mul_add(w, g, w_low)};
}
// (high + low) e^x, x reduced, hardly more than once rounded.
template <int N>
GORGO_INLINE Vec<double, N> times_exp(const Parts<double, N>& w, const ExpReduced<double, N>& e) {
  const auto wr = w.high * e.r;
  const auto u = w.high + wr;
  const auto u_low = ((w.high - u) + wr) + product_lost(w.high, e.r, wr);
  const auto rest = mul_add(e.r * e.r, exp_q(e.r), e.low);
  const auto growth = (broadcast<Vec<double, N>>(1.0) + e.r) + rest;
  return times_power(u + mul_add(w.low, growth, mul_add(w.high, rest, u_low)), e);
}
// erf x = x + x P(x^2), |x| < 0.46, error 1.3e-17.
constexpr double kErfNear[] = {0.1283791670955126,     -0.37612638903183754,    0.11283791670955055,
                               -0.02686617064508844,   0.005223977624130852,    -0.0008548326792600122,
                               0.00012055308216208789, -1.4924003141288705e-05, 1.639567785186546e-06,
                               -1.4869611900918412e-07};
template <int N>
GORGO_INLINE Vec<double, N> erfc(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto m = at_most(abs(x), broadcast<V>(27.4));
  const auto square = m * m;
  const auto e = exp_reduce(-square, -product_lost(m, m, square));
  const auto tail = times_exp(scaled_tail<TailOfErf>(m), e);
  const auto far_value = select(x < broadcast<V>(0.0), broadcast<V>(2.0) - tail, tail);
  const auto near_value = (broadcast<V>(1.0) - x) - x * polynomial(square, kErfNear);
  return select(m < broadcast<V>(0.46), near_value, far_value);
}

// The normal distribution's tail P(X > m) is e^(-m^2/2) W(m); W as a quotient of polynomials in m without a negative
// coefficient, relative error 1.7e-8 for m in [0, 14.7].
constexpr float kTailTop[] = {0x1p-1f, 0x1.c13998p-2f, 0x1.77e01ap-3f, 0x1.4db0d8p-5f, 0x1.0ebf1ep-8f};
constexpr float kTailBottom[] = {0x1p+0f,        0x1.acdefcp+0f, 0x1.34283ep+0f,
                                 0x1.e18b02p-2f, 0x1.a23ec8p-4f, 0x1.5353a0p-7f};
template <class T, int N>
GORGO_INLINE Vec<T, N> normal_weight(Vec<T, N> m) {
  return polynomial(m, kTailTop) / polynomial(m, kTailBottom);
}
// e^(-m^2/2) = 2^n (1 + rise) for m up to where P(X > m) rounds to 0.
constexpr float kTailEnd = 15.0f;
template <int N>
GORGO_INLINE ExpReduced<float, N> normal_exponent(Vec<float, N> m) {
  return exp_reduce_product(broadcast<Vec<float, N>>(-0.5f) * m, m);
}

// m W(m) for m up to kEnd, where gelu rounds to 0, error 0.04 places; with eight pieces 0.19.
struct GeluRange {
  static constexpr float kEnd = 14.37f;
  static constexpr float kScale = 1.0368f;
  static constexpr float kOffset = 1.1f;
};
template <int Count>
struct GeluPieces;
template <>
struct GeluPieces<16> : GeluRange {
  alignas(64) static constexpr float kCentre[16] = {0x1.1ab272p+0f, 0x1.984d7ep+0f, 0x1.08c0eep+1f, 0x1.47d1fcp+1f,
                                                    0x1.a6303ap+1f, 0x1.106506p+2f, 0x1.4ccfaap+2f, 0x1.8b54fcp+2f,
                                                    0x1.e89668p+2f, 0x1.308f9p+3f,  0x1.6eb6b2p+3f, 0x1.ac585ep+3f,
                                                    0x0p+0f,        0x1.0e6c38p-2f, 0x1.036e56p-1f, 0x1.812ee6p-1f};
  alignas(64) static constexpr float kValue[16] = {0x1.1852e8p-2f, 0x1.42968ep-2f, 0x1.5b2a04p-2f, 0x1.6b7912p-2f,
                                                   0x1.7a4f34p-2f, 0x1.84f10cp-2f, 0x1.8ad64ap-2f, 0x1.8e8ef4p-2f,
                                                   0x1.91d72cp-2f, 0x1.942614p-2f, 0x1.957986p-2f, 0x1.96462cp-2f,
                                                   0x0p+0f,        0x1.bb63d6p-4f, 0x1.694138p-3f, 0x1.cdf5c2p-3f};
  alignas(64) static constexpr float kC[6][16] = {
      {0x1.c1282cp-4f, 0x1.04d488p-4f, 0x1.478848p-5f, 0x1.a8f186p-6f, 0x1.e1fa9ap-7f, 0x1.0227a4p-7f, 0x1.3291ep-8f,
       0x1.810b0cp-9f, 0x1.ab1832p-10f, 0x1.c77f0ep-11f, 0x1.09efaep-11f, 0x1.519c16p-12f, -0x1.69c444p-35f,
       0x1.5521dep-2f, 0x1.e202bp-3f, 0x1.5aedcp-3f},
      {-0x1.08c604p-4f, -0x1.0f6c82p-5f, -0x1.302e32p-6f, -0x1.611606p-7f, -0x1.578c8p-8f, -0x1.3423e2p-9f,
       -0x1.399a58p-10f, -0x1.55df8ep-11f, -0x1.3b9674p-12f, -0x1.13957cp-13f, -0x1.0e85bcp-14f, -0x1.283822p-15f,
       -0x1.988452p-2f, -0x1.f9403cp-3f, -0x1.4da95p-3f, -0x1.c1263ap-4f},
      {0x1.fc708ep-6f, 0x1.d219fcp-7f, 0x1.d73c86p-8f, 0x1.ee0dcap-9f, 0x1.a0fddcp-10f, 0x1.3c8c58p-11f,
       0x1.16286ap-12f, 0x1.08a49ep-13f, 0x1.98bc44p-15f, 0x1.258e6cp-16f, 0x1.e5d552p-18f, 0x1.cba57p-19f,
       0x1.ffff32p-3f, 0x1.28a63ap-3f, 0x1.714c1ap-4f, 0x1.d494ep-5f},
      {-0x1.a94f8cp-7f, -0x1.600c4p-8f, -0x1.43cb2cp-9f, -0x1.34e03ep-10f, -0x1.c84f18p-12f, -0x1.27e7dep-13f,
       -0x1.c4056ep-15f, -0x1.791c24p-16f, -0x1.e9a48ep-18f, -0x1.228ef2p-19f, -0x1.965142p-21f, -0x1.4cacfep-22f,
       -0x1.103fd4p-3f, -0x1.29b23cp-4f, -0x1.5f542p-5f, -0x1.a6a0a2p-6f},
      {0x1.44458p-8f, 0x1.e786aap-10f, 0x1.99b612p-11f, 0x1.652ce8p-12f, 0x1.d95456p-14f, 0x1.06c246p-15f,
       0x1.5d28b2p-17f, 0x1.ff822cp-19f, 0x1.1e7b7p-20f, 0x1.170126p-22f, 0x1.490dd2p-24f, 0x1.d16cd8p-26f,
       0x1.fac6bcp-5f, 0x1.0b4d52p-5f, 0x1.2b30d6p-6f, 0x1.58302p-7f},
      {-0x1.bf39e6p-10f, -0x1.38390ap-11f, -0x1.db921ap-13f, -0x1.84da76p-14f, -0x1.d2c34ep-16f, -0x1.ba331ap-18f,
       -0x1.f7c88ep-20f, -0x1.4b158ap-21f, -0x1.3e2766p-23f, -0x1.f0d43ep-26f, -0x1.f6268cp-28f, -0x1.341cc2p-29f,
       -0x1.70e314p-6f, -0x1.a09f06p-7f, -0x1.cb1382p-8f, -0x1.ebcf14p-9f}};
};
template <>
struct GeluPieces<8> : GeluRange {
  alignas(64) static constexpr float kCentre[8] = {0x1.568e38p+0f, 0x1.2951f4p+1f, 0x1.e3d1bap+1f, 0x1.6d4p+2f,
                                                   0x1.10c724p+3f, 0x1.8ea65cp+3f, 0x0p+0f,        0x1.3fd0b8p-1f};
  alignas(64) static constexpr float kValue[8] = {0x1.2f5492p-2f, 0x1.647626p-2f, 0x1.807a42p-2f, 0x1.8cfb7ap-2f,
                                                  0x1.931cc6p-2f, 0x1.95ef18p-2f, 0x0p+0f,        0x1.9dbf74p-3f};
  alignas(64) static constexpr float kC[7][8] = {
      {0x1.57bd9ap-4f, 0x1.045e8cp-5f, 0x1.5b4dcap-7f, 0x1.ddb546p-9f, 0x1.385a14p-10f, 0x1.a0c2fep-12f,
       -0x1.c08246p-32f, 0x1.9a787cp-3f},
      {-0x1.7d8838p-5f, -0x1.c831a8p-7f, -0x1.c389d2p-9f, -0x1.c51bd6p-11f, -0x1.a21924p-13f, -0x1.87a88ap-15f,
       -0x1.98844cp-2f, -0x1.13168p-3f},
      {0x1.5b2172p-6f, 0x1.4f0b5cp-8f, 0x1.f6e362p-11f, 0x1.75d0dcp-13f, 0x1.ebb468p-16f, 0x1.453f7cp-18f,
       0x1.fffdaep-3f, 0x1.27eb8ep-4f},
      {-0x1.1446a2p-7f, -0x1.b621a6p-10f, -0x1.fa5b72p-13f, -0x1.1b046p-15f, -0x1.0b0dbep-18f, -0x1.f6fe3cp-22f,
       -0x1.10346cp-3f, -0x1.125a58p-5f},
      {0x1.8e232cp-9f, 0x1.06a78ep-11f, 0x1.d9ea2ap-15f, 0x1.934136p-18f, 0x1.1536cap-21f, 0x1.733c5p-25f,
       0x1.fbd8ap-5f, 0x1.c5e656p-7f},
      {-0x1.139534p-10f, -0x1.2ed71cp-13f, -0x1.c8c738p-17f, -0x1.20455cp-20f, -0x1.321596p-24f, -0x1.183b48p-28f,
       -0x1.93665p-6f, -0x1.5be2c4p-8f},
      {0x1.529954p-12f, 0x1.46518p-15f, 0x1.94dee2p-19f, 0x1.861658p-23f, 0x1.1df0b4p-27f, 0x1.8ea44p-32f,
       0x1.a412b2p-8f, 0x1.1197a2p-9f}};
};
// 2^(k / Count), as sums; e^r = 1 + r + r^2 Q(r) on |r| <= ln2 / (2 Count), errors 1.6e-9 and 1.7e-10.
template <int Count>
struct ExpSteps;
template <>
struct ExpSteps<16> {
  alignas(64) static constexpr float kHigh[16] = {0x1p+0f,        0x1.0b5586p+0f, 0x1.172b84p+0f, 0x1.2387a6p+0f,
                                                  0x1.306fep+0f,  0x1.3dea64p+0f, 0x1.4bfdaep+0f, 0x1.5ab07ep+0f,
                                                  0x1.6a09e6p+0f, 0x1.7a1148p+0f, 0x1.8ace54p+0f, 0x1.9c4918p+0f,
                                                  0x1.ae89fap+0f, 0x1.c199bep+0f, 0x1.d5818ep+0f, 0x1.ea4afap+0f};
  alignas(64) static constexpr float kLow[16] = {0x0p+0f,          0x1.9f3122p-25f,  -0x1.c15742p-27f, 0x1.ceac48p-25f,
                                                 0x1.4636e2p-25f,  0x1.824684p-25f,  -0x1.593abcp-25f, -0x1.5bd5ecp-27f,
                                                 0x1.9fcef4p-26f,  -0x1.829fdp-25f,  0x1.15506ep-27f,  0x1.51f848p-27f,
                                                 -0x1.a94b14p-26f, -0x1.3d56b2p-27f, -0x1.822dbcp-27f, 0x1.52486cp-27f};
  static constexpr float kQ[] = {0x1.000220p-1f, 0x1.55571cp-3f};
};
template <>
struct ExpSteps<8> {
  alignas(64) static constexpr float kHigh[8] = {0x1p+0f,        0x1.172b84p+0f, 0x1.306fep+0f,  0x1.4bfdaep+0f,
                                                 0x1.6a09e6p+0f, 0x1.8ace54p+0f, 0x1.ae89fap+0f, 0x1.d5818ep+0f};
  alignas(64) static constexpr float kLow[8] = {0x0p+0f,         -0x1.c15742p-27f, 0x1.4636e2p-25f,  -0x1.593abcp-25f,
                                                0x1.9fcef4p-26f, 0x1.15506ep-27f,  -0x1.a94b14p-26f, -0x1.822dbcp-27f};
  static constexpr float kQ[] = {0x1p-1f, 0x1.555c76p-3f, 0x1.555a42p-5f};
};
// m P(X > m). What products and sums lose is carried on until the power of 2 is in, so that denormal results are good too.
template <int N>
GORGO_INLINE Vec<float, N> gelu_tail(Vec<float, N> m) {
  using V = Vec<float, N>;
  using Steps = ExpSteps<kPickSize>;
  using L = Ln2<float>;
  const auto half = broadcast<V>(0.5f) * m;
  const auto piece = piece_of<GeluPieces<kPickSize>>(m, half);
  const auto g = mul_add(piece.t, piece.p, piece.value);
  const auto g_low = mul_add(piece.t, piece.p, piece.value - g);
  // -m^2 / 2 = whole ln2 + r, whole in steps of 1 / kPickSize. The bits of `shifted` end with 64 + 127 + whole, its fraction first.
  const auto h = half * m;
  const auto h_low = mul_add_once(half, m, -h);
  const auto magic = broadcast<V>(L::kMagic / kPickSize + 191.0f);
  const auto shifted = mul_add(h, broadcast<V>(-L::kInverse), magic);
  const auto whole = shifted - magic;
  const auto head = mul_add(-whole, broadcast<V>(L::kHigh), -h);
  const auto r = head - mul_add(whole, broadcast<V>(L::kLow), h_low);
  const auto rise = mul_add(r * r, polynomial(r, Steps::kQ), r);
  const auto bits = bits_as<std::int32_t>(shifted);
  const auto step = pick(Steps::kHigh, bits);
  const auto u = g * step;
  const auto u_low = mul_add(g_low, step, mul_add(g, step, -u));
  const auto v = u + mul_add(g, mul_add(step, rise, pick(Steps::kLow, bits)), u_low);
  if constexpr (kHasTimesPower<float, N>) {
    return times_power_of_two(v, whole);  // rounds `whole` down
  } else {
    const auto exponent = broadcast<Vec<std::int32_t, N>>(static_cast<std::int32_t>(0xff800000u));
    const auto power = bits_as<float>(shift_left_by<kPickSize == 16 ? 19 : 20>(bits) & exponent);
    return v * power * broadcast<V>(0x1p-64f);
  }
}

// x times the normal distribution function of x, as max(x, 0) - |x| P(X > |x|), so that neither side cancels; its
// slope. -inf times 0 is NaN here too. functors.h has the plain formulas, for everything but float32.
template <int N>
GORGO_INLINE Vec<float, N> gelu(Vec<float, N> x) {
  if constexpr (kPicks) {
    const auto tail = gelu_tail(magnitude_at_most(x, GeluRange::kEnd));
    const auto zero = broadcast<Vec<float, N>>(0.0f);
    return select(x < zero, x * zero, x) - tail;
  } else {
    return through_float64(
        [](auto wide) __attribute__((always_inline)) {
          const auto zero = like(wide, 0.0);
          const auto m = at_most(abs(wide), like(wide, kTailEnd));
          return select(wide < zero, wide * zero, wide) - m * normal_weight(m) * exp(like(m, -0.5) * m * m);
        },
        x);
  }
}
template <int N>
GORGO_INLINE Vec<float, N> gelu_slope(Vec<float, N> x) {
  using V = Vec<float, N>;
  constexpr float kInvSqrtTwoPi = 0x1.988454p-2f;
  const auto m = at_most(abs(x), broadcast<V>(kTailEnd));
  const auto e = normal_exponent(m);
  const auto v = normal_weight(m) - m * broadcast<V>(kInvSqrtTwoPi);
  const auto slope = times_power(mul_add(v, exp_rise(e.r), v), e);
  return select(x < broadcast<V>(0.0f), slope, broadcast<V>(1.0f) - slope);
}
template <int N>
GORGO_INLINE Vec<double, N> gelu(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto m = magnitude_at_most(x, 38.7);
  const auto half = broadcast<V>(0.5) * m;
  const auto h = half * m;
  const auto e = exp_reduce(-h, -product_lost(half, m, h));
  const auto w = scaled_tail<TailOfNormal>(m);
  const auto v = half * w.high;
  const auto v_low = mul_add(half, w.low, product_lost(half, w.high, v));
  const auto zero = broadcast<V>(0.0);
  return select(x < zero, x * zero, x) - times_exp({v, v_low}, e);
}
// Through float64, whose exponential loses nothing that a float shows; near zero sinh x = x + x^3 / 6.
template <int N>
GORGO_INLINE Vec<float, N> cosh(Vec<float, N> x) {
  return through_float64(
      [](auto wide) __attribute__((always_inline)) {
        const auto e = exp(abs(wide));
        return like(e, 0.5) * (e + like(e, 1.0) / e);
      },
      x);
}
template <int N>
GORGO_INLINE Vec<float, N> sinh(Vec<float, N> x) {
  const auto magnitude = abs(x);
  const auto far_value = through_float64(
      [](auto m) __attribute__((always_inline)) {
        const auto e = exp(m);
        return like(e, 0.5) * (e - like(e, 1.0) / e);
      },
      magnitude);
  const auto near_value = mul_add(magnitude * magnitude, magnitude * like(x, 1.0 / 6.0), magnitude);
  return copysign(select(magnitude < like(x, 1e-3), near_value, far_value), x);
}
template <int N>
GORGO_INLINE Vec<double, N> cosh(Vec<double, N> x) {
  return libm_cosh(x);
}
template <int N>
GORGO_INLINE Vec<double, N> sinh(Vec<double, N> x) {
  return libm_sinh(x);
}

// ---- log and what rests on it ----

// x = 2^e m with m in [sqrt(1/2), sqrt(2)), for positive finite x, denormals too.
template <class T, int N>
struct LogReduced {
  Vec<T, N> e;
  Vec<T, N> m;
};
template <int N>
GORGO_INLINE LogReduced<float, N> log_reduce(Vec<float, N> x) {
  using V = Vec<float, N>;
  using I = Vec<std::int32_t, N>;
  const auto tiny = x < broadcast<V>(0x1p-126f);
  const auto normal = select(tiny, x * broadcast<V>(0x1p23f), x);
  const auto bits = bits_as<std::int32_t>(normal);
  const auto e = shift_right_by<23>(bits - broadcast<I>(0x3f3504f3));
  const auto m = bits_as<float>(bits - shift_left_by<23>(e));
  const auto shift = select(tiny, broadcast<V>(23.0f), broadcast<V>(0.0f));
  return {convert<float>(e) - shift, m};
}
template <int N>
GORGO_INLINE LogReduced<double, N> log_reduce(Vec<double, N> x) {
  using V = Vec<double, N>;
  using U = Vec<std::uint64_t, N>;
  const auto tiny = x < broadcast<V>(0x1p-1022);
  const auto normal = select(tiny, x * broadcast<V>(0x1p52), x);
  // The exponent plus 1024 is positive, and as the low bits of 2^52 it becomes a float64 without a 64-bit conversion.
  const auto bits = bits_as<std::uint64_t>(normal);
  const auto biased =
      shift_right_by<52>(bits - broadcast<U>(0x3fe6a09e667f3bcdu) + broadcast<U>(std::uint64_t{1024} << 52));
  const auto exponent = biased - broadcast<U>(1024);
  const auto m = bits_as<double>(bits - shift_left_by<52>(exponent));
  const auto e = bits_as<double>(biased | broadcast<U>(0x4330000000000000u)) - broadcast<V>(0x1p52 + 1024.0);
  const auto shift = select(tiny, broadcast<V>(52.0), broadcast<V>(0.0));
  return {e - shift, m};
}
// Puts in what the reduction does not cover: 0, negative numbers, infinity, NaN.
template <class T, int N>
GORGO_INLINE Vec<T, N> log_specials(Vec<T, N> x, Vec<T, N> value) {
  using V = Vec<T, N>;
  const auto zero = broadcast<V>(T{0});
  const auto infinity = broadcast<V>(FloatBits<T>::kInfinity);
  value = select(x < infinity, value, x);  // infinity and NaN stay
  value = select(x == zero, -infinity, value);
  return select(x < zero, broadcast<V>(FloatBits<T>::kNan), value);
}

// log(1 + f) = f - f^2 / 2 + f^3 P(f), f in [sqrt(1/2) - 1, sqrt(2) - 1], relative error 7.7e-10.
constexpr float kLogP[] = {0x1.555548p-2f,  -0x1.000006p-2f, 0x1.99a47ap-3f, -0x1.555c52p-3f, 0x1.233b46p-3f,
                           -0x1.fc25b2p-4f, 0x1.e6c23p-4f,   -0x1.de17p-4f,  0x1.148978p-4f};
// e ln2 + log(1 + f) + low, as a sum of two numbers.
template <int N>
struct LogSum {
  Vec<float, N> lead;
  Vec<float, N> rest;
};
template <int N>
GORGO_INLINE LogSum<N> log_sum(Vec<float, N> e, Vec<float, N> f, Vec<float, N> low) {
  using V = Vec<float, N>;
  const auto f2 = f * f;
  auto rest = mul_add(f * f2, polynomial(f, kLogP), low);
  rest = mul_add(e, broadcast<V>(Ln2<float>::kLow), rest);
  const auto half = broadcast<V>(0.5f) * f2;
  const auto high = e * broadcast<V>(Ln2<float>::kHigh);
  // The larger of the two leading terms first, keeping what its addition loses.
  const auto lead = high + f;
  const auto lost = select(e == broadcast<V>(0.0f), broadcast<V>(0.0f), f - (lead - high));
  return {lead, (rest - half) + lost};
}
template <int N>
GORGO_INLINE Vec<float, N> log(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto parts = log_reduce(x);
  const auto sum = log_sum(parts.e, parts.m - broadcast<V>(1.0f), broadcast<V>(0.0f));
  return log_specials(x, sum.lead + sum.rest);
}
// With s = f / (2 + f): log(1 + f) = 2 s + s^3 R(s^2), error 2.5e-18.
constexpr double kLogR[] = {0.666666666666673443, 0.399999999994148728, 0.285714287423243159, 0.222221985801243795,
                            0.181835639785044553, 0.153140586814405661, 0.147958780662560973};
template <int N>
GORGO_INLINE Vec<double, N> log(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto parts = log_reduce(x);
  const auto f = parts.m - broadcast<V>(1.0);
  const auto s = f / (broadcast<V>(2.0) + f);
  const auto z = s * s;
  const auto half = broadcast<V>(0.5) * f * f;
  // 2 s + s^3 R = f - f^2/2 + s (f^2/2 + s^2 R): the leading term is exact.
  const auto rest = mul_add(parts.e, broadcast<V>(Ln2<double>::kLow), s * mul_add(z, polynomial(z, kLogR), half));
  const auto value = parts.e * broadcast<V>(Ln2<double>::kHigh) - ((half - rest) - f);
  return log_specials(x, value);
}

// log(1 + x + x_low) for x > -1, where 1 + x may have lost digits, as `sum` says.
template <int N>
GORGO_INLINE LogSum<N> log1p_sum(Vec<float, N> x, Vec<float, N> x_low, Vec<float, N> sum) {
  using V = Vec<float, N>;
  const auto one = broadcast<V>(1.0f);
  const auto lost = select(x > one, one - (sum - x), x - (sum - one));
  const auto parts = log_reduce(sum);
  const auto near = parts.e == broadcast<V>(0.0f);  // there x itself is the exact argument
  const auto f = select(near, x, parts.m - one);
  // What the sum lost, times the slope of log there.
  return log_sum(parts.e, f, (select(near, broadcast<V>(0.0f), lost) + x_low) / sum);
}
template <int N>
GORGO_INLINE Vec<float, N> log1p(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto zero = broadcast<V>(0.0f);
  const auto sum = broadcast<V>(1.0f) + x;
  const auto value = log1p_sum(x, zero, sum);
  return select(x == zero, x, log_specials(sum, value.lead + value.rest));
}
template <int N>
GORGO_INLINE Vec<double, N> log1p(Vec<double, N> x) {
  return libm_log1p(x);
}

// max(x, 0) + log1p(e^-|x|). For float32 the exponential comes with what its last addition loses, and the sum keeps its
// own loss, so that it rounds about once.
template <int N>
GORGO_INLINE Vec<float, N> softplus(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto one = broadcast<V>(1.0f);
  const auto e = exp_reduce(at_least(-abs(x), broadcast<V>(-104.0f)));
  const auto rise = exp_rise_exact(e.r, e.low);
  const auto high = one + rise;
  const auto z = times_power(high, e);
  const auto z_low = times_power((one - high) + rise, e);
  const auto value = log1p_sum(z, z_low, one + z);
  const auto ramp = at_least(x, broadcast<V>(0.0f));
  const auto sum = ramp + value.lead;
  const auto part = sum - ramp;
  const auto lost = (ramp - (sum - part)) + (value.lead - part);
  // From 32 on the logarithm does not show; infinity and NaN stay so.
  return select(x < broadcast<V>(32.0f), sum + (lost + value.rest), x);
}
template <int N>
GORGO_INLINE Vec<double, N> softplus(Vec<double, N> x) {
  return at_least(x, broadcast<Vec<double, N>>(0.0)) + log1p(exp(-abs(x)));
}

// ---- float functions by way of float64, where that is the short road to the last bit ----

// log2 m = s R(s^2) for s = (m - 1) / (m + 1), relative error 2.6e-14.
constexpr double kLog2R[] = {2.88539008177784963, 0.961796694113970542, 0.577077942192071176,
                             0.41220926903299331, 0.319905041227316886, 0.28290919709811049};
template <int N>
GORGO_INLINE Vec<double, N> log2_of_float(Vec<float, N> x) {
  using V = Vec<double, N>;
  const auto parts = log_reduce(x);
  const auto m = convert<double>(parts.m);
  const auto one = broadcast<V>(1.0);
  const auto s = (m - one) / (m + one);
  return convert<double>(parts.e) + s * polynomial(s * s, kLog2R);
}
template <int N>
GORGO_INLINE Vec<float, N> log2(Vec<float, N> x) {
  const auto value =
      by_wide_lanes([](auto v) __attribute__((always_inline)) { return convert<float>(log2_of_float(v)); }, x);
  return log_specials(x, value);
}
template <int N>
GORGO_INLINE Vec<double, N> log2(Vec<double, N> x) {
  return libm_log2(x);
}
template <int N>
GORGO_INLINE Vec<float, N> log10(Vec<float, N> x) {
  const auto value = by_wide_lanes(
      [](auto v) __attribute__((always_inline)) {
        const auto wide = log2_of_float(v);
        return convert<float>(wide * like(wide, 0x1.34413509f79ffp-2));
      },
      x);
  return log_specials(x, value);
}
template <int N>
GORGO_INLINE Vec<double, N> log10(Vec<double, N> x) {
  return libm_log10(x);
}

// 2^t on [-1/2, 1/2], relative error 4e-11.
constexpr double kExp2P[] = {0.999999999959558029,    0.693147180535475639,    0.240226512135246299,
                             0.055504109746639213,    0.00961802561050114167,  0.00133334238049947226,
                             0.000154697299630863616, 0.0000153161961439203505};
template <int N>
GORGO_INLINE Vec<float, N> float_exp2(Vec<double, N> x) {
  using V = Vec<double, N>;
  using I = std::int64_t;
  const auto z = clamp(x, broadcast<V>(-160.0), broadcast<V>(160.0));
  const auto magic = broadcast<V>(0x1.8p52);
  const auto shifted = z + magic;
  const auto p = polynomial(z - (shifted - magic), kExp2P);
  return convert<float>(p * power_of_two(bits_as<I>(shifted) - bits_as<I>(magic)));
}
template <int N>
GORGO_INLINE Vec<float, N> exp2(Vec<float, N> x) {
  return by_wide_lanes([](auto v) __attribute__((always_inline)) { return float_exp2(convert<double>(v)); }, x);
}
template <int N>
GORGO_INLINE Vec<double, N> exp2(Vec<double, N> x) {
  return libm_exp2(x);
}

template <int N>
GORGO_INLINE Vec<float, N> pow(Vec<float, N> x, Vec<float, N> y) {
  using V = Vec<float, N>;
  const auto zero = broadcast<V>(0.0f);
  const auto one = broadcast<V>(1.0f);
  const auto infinity = broadcast<V>(FloatBits<float>::kInfinity);
  const auto magnitude = abs(x);
  auto value = by_wide_lanes(
      [](auto m, auto e) __attribute__((always_inline)) {
        const auto huge = like(convert<double>(m), FloatBits<double>::kInfinity);
        auto exponent = log2_of_float(m);
        exponent = select(m == like(m, 0.0), -huge, exponent);
        exponent = select(convert<double>(m) == huge, huge, exponent);
        return float_exp2(convert<double>(e) * exponent);
      },
      magnitude, y);
  const auto half_y = y * broadcast<V>(0.5f);
  const auto whole = trunc(y) == y;
  const auto odd = whole & (trunc(half_y) != half_y);
  value = select(odd, copysign(value, x), value);
  value = select((x < zero) & (magnitude < infinity) & !whole, broadcast<V>(FloatBits<float>::kNan), value);
  value = select(isnan(x) | isnan(y), x + y, value);
  return select((y == zero) | (x == one) | ((x == -one) & isinf(y)), one, value);
}
template <int N>
GORGO_INLINE Vec<double, N> pow(Vec<double, N> x, Vec<double, N> y) {
  return libm_pow(x, y);
}
// Integers wrap; a negative exponent gives 0 except for bases 1 and -1.
template <class T, int N>
GORGO_INLINE Vec<T, N> pow(Vec<T, N> x, Vec<T, N> y) {
  using U = UnsignedLike<T>;
  return map_lanes<T>(x, y, [](T base, T exponent) {
    if constexpr (std::is_signed_v<T>) {
      if (exponent < 0) {
        if (base == 1) return T{1};
        if (base == -1) return static_cast<T>((exponent & 1) != 0 ? -1 : 1);
        return T{0};
      }
    }
    auto factor = static_cast<std::uint64_t>(base);
    std::uint64_t result = 1;
    for (auto left = static_cast<std::uint64_t>(exponent); left != 0; left >>= 1) {
      if ((left & 1) != 0) result *= factor;
      factor *= factor;
    }
    return static_cast<T>(static_cast<U>(result));
  });
}

// sin and cos of r on |r| <= pi / 4: r + r z S(z) and 1 - z / 2 + z^2 C(z), z = r^2, errors 5e-12 and 1e-13.
constexpr double kSinS[] = {-0.166666666415751377, 0.00833332937993358126, -0.000198393325673621354,
                            2.71828709362154429e-6};
constexpr double kCosC[] = {0.0416666666226936603, -0.00138888837385933334, 0.0000247995157120286733,
                            -2.72098688624350039e-7};
template <int N>
struct SinCos {
  Vec<double, N> sin;
  Vec<double, N> cos;
};
// Valid for |x| < 2^20: pi / 2 comes in three parts, the products by the first two are exact.
template <int N>
GORGO_INLINE SinCos<N> sin_cos_of_float(Vec<float, N> x) {
  using V = Vec<double, N>;
  using U = Vec<std::uint64_t, N>;
  const auto wide = convert<double>(x);
  const auto magic = broadcast<V>(0x1.8p52);
  const auto shifted = mul_add(wide, broadcast<V>(0x1.45f306dc9c883p-1), magic);
  const auto n = shifted - magic;
  auto r = wide - n * broadcast<V>(0x1.921fb544p+0);
  r = r - n * broadcast<V>(0x1.0b4611a6p-34);
  r = r - n * broadcast<V>(0x1.3198a2e037073p-69);
  const auto z = r * r;
  const auto one = broadcast<V>(1.0);
  const auto s = mul_add(r * z, polynomial(z, kSinS), r);
  const auto c = mul_add(z * z, polynomial(z, kCosC), one - broadcast<V>(0.5) * z);
  const auto quadrant = bits_as<std::uint64_t>(shifted);
  const auto swap = (quadrant & broadcast<U>(1)) != broadcast<U>(0);
  const auto sin_sign = shift_left_by<62>(quadrant & broadcast<U>(2));
  const auto cos_sign = shift_left_by<62>((quadrant + broadcast<U>(1)) & broadcast<U>(2));
  const auto sin_value = bits_as<std::uint64_t>(select(swap, c, s)) ^ sin_sign;
  const auto cos_value = bits_as<std::uint64_t>(select(swap, s, c)) ^ cos_sign;
  return {bits_as<double>(sin_value), bits_as<double>(cos_value)};
}
constexpr float kSinCosLimit = 0x1p20f;
template <int N>
GORGO_INLINE Mask<4, N> beyond_sin_cos(Vec<float, N> x) {
  return !(abs(x) < broadcast<Vec<float, N>>(kSinCosLimit));
}
template <int N>
GORGO_INLINE Vec<float, N> sin(Vec<float, N> x) {
  const auto value =
      by_wide_lanes([](auto v) __attribute__((always_inline)) { return convert<float>(sin_cos_of_float(v).sin); }, x);
  const auto beyond = beyond_sin_cos(x);
  const auto kept = select(x == broadcast<Vec<float, N>>(0.0f), x, value);
  if (__builtin_expect(!any(beyond), 1)) return kept;
  return select(beyond, libm_sin(x), kept);
}
template <int N>
GORGO_INLINE Vec<float, N> cos(Vec<float, N> x) {
  const auto value =
      by_wide_lanes([](auto v) __attribute__((always_inline)) { return convert<float>(sin_cos_of_float(v).cos); }, x);
  const auto beyond = beyond_sin_cos(x);
  if (__builtin_expect(!any(beyond), 1)) return value;
  return select(beyond, libm_cos(x), value);
}
template <int N>
GORGO_INLINE Vec<float, N> tan(Vec<float, N> x) {
  const auto value = by_wide_lanes(
      [](auto v) __attribute__((always_inline)) {
        const auto both = sin_cos_of_float(v);
        return convert<float>(both.sin / both.cos);
      },
      x);
  const auto kept = select(x == broadcast<Vec<float, N>>(0.0f), x, value);
  const auto beyond = beyond_sin_cos(x);
  if (__builtin_expect(!any(beyond), 1)) return kept;
  // The C library's tangent of float32 is off by more than a place here.
  const auto far_value = map_lanes<float>(x, [](float v) { return static_cast<float>(__builtin_tan(double{v})); });
  return select(beyond, far_value, kept);
}
template <int N>
GORGO_INLINE Vec<double, N> sin(Vec<double, N> x) {
  return libm_sin(x);
}
template <int N>
GORGO_INLINE Vec<double, N> cos(Vec<double, N> x) {
  return libm_cos(x);
}
template <int N>
GORGO_INLINE Vec<double, N> tan(Vec<double, N> x) {
  return libm_tan(x);
}

// ---- scalars: one lane of the vector code, so that both give the same bits ----

#define GORGO_SCALAR_1(name)                  \
  template <class T>                          \
    requires std::is_arithmetic_v<T>          \
  GORGO_INLINE T name(T x) {                  \
    return name(broadcast<Vec<T>>(x)).raw[0]; \
  }
GORGO_SCALAR_1(abs)
GORGO_SCALAR_1(sign)
GORGO_SCALAR_1(square)
GORGO_SCALAR_1(sqrt)
GORGO_SCALAR_1(rsqrt)
GORGO_SCALAR_1(reciprocal)
GORGO_SCALAR_1(round)
GORGO_SCALAR_1(floor)
GORGO_SCALAR_1(ceil)
GORGO_SCALAR_1(trunc)
GORGO_SCALAR_1(exp)
GORGO_SCALAR_1(exp2)
GORGO_SCALAR_1(expm1)
GORGO_SCALAR_1(log)
GORGO_SCALAR_1(log2)
GORGO_SCALAR_1(log10)
GORGO_SCALAR_1(log1p)
GORGO_SCALAR_1(sin)
GORGO_SCALAR_1(cos)
GORGO_SCALAR_1(tan)
GORGO_SCALAR_1(sinh)
GORGO_SCALAR_1(cosh)
GORGO_SCALAR_1(tanh)
GORGO_SCALAR_1(erf)
GORGO_SCALAR_1(erfc)
GORGO_SCALAR_1(sigmoid)
GORGO_SCALAR_1(softplus)
#undef GORGO_SCALAR_1

#define GORGO_SCALAR_2(name)                                        \
  template <class T>                                                \
    requires std::is_arithmetic_v<T>                                \
  GORGO_INLINE T name(T x, T y) {                                   \
    return name(broadcast<Vec<T>>(x), broadcast<Vec<T>>(y)).raw[0]; \
  }
GORGO_SCALAR_2(minimum)
GORGO_SCALAR_2(maximum)
GORGO_SCALAR_2(copysign)
GORGO_SCALAR_2(pow)
GORGO_SCALAR_2(fmod)
#undef GORGO_SCALAR_2

template <class T>
  requires std::is_arithmetic_v<T>
GORGO_INLINE T fma(T a, T b, T c) {
  return fma(broadcast<Vec<T>>(a), broadcast<Vec<T>>(b), broadcast<Vec<T>>(c)).raw[0];
}
template <class T>
  requires std::is_arithmetic_v<T>
GORGO_INLINE T select(bool m, T a, T b) {
  return m ? a : b;
}
template <class T>
  requires std::is_arithmetic_v<T>
GORGO_INLINE bool isnan(T x) {
  return x != x;
}
template <class T>
  requires std::is_arithmetic_v<T>
GORGO_INLINE bool isinf(T x) {
  return __builtin_isinf(x) != 0;
}
template <class T>
  requires std::is_arithmetic_v<T>
GORGO_INLINE bool isfinite(T x) {
  return __builtin_isfinite(x) != 0;
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
