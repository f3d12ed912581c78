// Arithmetic over Vec<T, N>: signs, comparisons, limits, products and roots that round once, quotients and remainders, the C
// library lane by lane, polynomials and powers of 2. What elementary functions are made of.
//
// Invariant: as in math.h, which brings the functions together.
// Read next: exp_log.h.
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
// The smaller and the larger; NaN if either is NaN.
template <class T, int N>
GORGO_INLINE Vec<T, N> minimum(Vec<T, N> a, Vec<T, N> b) {
  if constexpr (kIsFloat<T>) {
    return select(isnan(a), a, at_most(b, a));
  } else {
    return select(a < b, a, b);
  }
}
template <class T, int N>
GORGO_INLINE Vec<T, N> maximum(Vec<T, N> a, Vec<T, N> b) {
  if constexpr (kIsFloat<T>) {
    return select(isnan(a), a, at_least(b, a));
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
    if constexpr (sizeof(T) <= 2) {
      // As below, with float32 and 16 bits.
      quotient = by_lanes_of<4>(
          [](auto n, auto d) __attribute__((always_inline)) {
            using I = decltype(convert<std::int32_t>(n));
            const auto q = convert<float>(convert<std::int32_t>(n)) / convert<float>(convert<std::int32_t>(d));
            return convert<T>(I{__builtin_convertvector(q.raw, typename I::Raw)});
          },
          a, safe);
    } else if constexpr (sizeof(T) == 4) {
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

// Rounding to a whole number, where it is one instruction.
enum class Rounding : int { Nearest = 0, Down = 1, Up = 2, TowardsZero = 3 };
template <class T, int N>
constexpr bool kRoundsAtOnce =
    kIsFloat<T> && kVectorBytes >= 32 && (Vec<T, N>::kBytes == kVectorBytes || Vec<T, N>::kBytes == 32);
template <Rounding Way, class T, int N>
GORGO_INLINE Vec<T, N> rounded_at_once(Vec<T, N> x) {
  using R [[maybe_unused]] = RawVector<T, N>;
  [[maybe_unused]] constexpr int kWay = static_cast<int>(Way) | 8;  // without exceptions
#if defined(GORGO_ISA_AVX512)
  if constexpr (std::is_same_v<T, float> && N == 16) return {(R)_mm512_roundscale_ps((__m512)x.raw, kWay)};
  if constexpr (std::is_same_v<T, double> && N == 8) return {(R)_mm512_roundscale_pd((__m512d)x.raw, kWay)};
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (std::is_same_v<T, float> && N == 8) return {(R)_mm256_round_ps((__m256)x.raw, kWay)};
  if constexpr (std::is_same_v<T, double> && N == 4) return {(R)_mm256_round_pd((__m256d)x.raw, kWay)};
#endif
  return x;
}
// Half to even. Adding 2^23 (2^52) makes the adder round at the unit.
template <class T, int N>
GORGO_INLINE Vec<T, N> round(Vec<T, N> x) {
  if constexpr (!kIsFloat<T>) {
    return x;
  } else if constexpr (kRoundsAtOnce<T, N>) {
    return rounded_at_once<Rounding::Nearest>(x);
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
  } else if constexpr (kRoundsAtOnce<T, N>) {
    return rounded_at_once<Rounding::Down>(x);
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
  } else if constexpr (kRoundsAtOnce<T, N>) {
    return rounded_at_once<Rounding::Up>(x);
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
  } else if constexpr (kRoundsAtOnce<T, N>) {
    return rounded_at_once<Rounding::TowardsZero>(x);
  } else {
    return copysign(floor(abs(x)), x);
  }
}

// ---- limits ----

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
GORGO_LIBM_2(fmod)
#undef GORGO_LIBM_1
#undef GORGO_LIBM_2

// Not inlined: the C library is called for every lane.
template <class T, int N>
[[gnu::noinline]] void fmod_by_lanes(const Vec<T, N>& x, const Vec<T, N>& y, Vec<T, N>& out) noexcept {
  out = libm_fmod(x, y);
}
// The remainder with the sign of x, as C has it; exact. A rounded quotient below 2^23 (2^52) is at least the true one and at most the
// next whole number, so what its whole part leaves of |x| is exact, and at least -|y|. Other quotients go to the C library.
template <class T, int N>
GORGO_INLINE Vec<T, N> fmod(Vec<T, N> x, Vec<T, N> y) {
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2) || defined(__aarch64__)
  using V = Vec<T, N>;
  const auto a = abs(x);
  const auto b = abs(y);
  const auto quotient = a / b;
  const auto left = fma(-trunc(quotient), b, a);
  V rest = copysign(select(left < broadcast<V>(T{0}), left + b, left), x);
  const auto small = (quotient < broadcast<V>(FloatBits<T>::kWhole)) & (b < broadcast<V>(FloatBits<T>::kInfinity));
  if (__builtin_expect(!all(small), 0)) fmod_by_lanes(x, y, rest);
  return rest;
#else
  return libm_fmod(x, y);
#endif
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
GORGO_INLINE Vec<T, N> polynomial_steps(Vec<T, N> x, const C (&c)[Count], std::index_sequence<I...> /*steps*/) {
  static_assert(sizeof(C) <= sizeof(T));
  auto sum = broadcast<Vec<T, N>>(T{c[Count - 1]});
  ((sum = mul_add(sum, x, broadcast<Vec<T, N>>(T{c[Count - 2 - I]}))), ...);
  return sum;
}
template <class T, int N, class C, std::size_t Count>
GORGO_INLINE Vec<T, N> polynomial(Vec<T, N> x, const C (&c)[Count]) {
  return polynomial_steps(x, c, std::make_index_sequence<Count - 1>());
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

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
