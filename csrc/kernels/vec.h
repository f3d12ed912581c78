// Vectors of lanes: the one way in which CPU kernels do the same thing to several elements at once.
//
// This header is compiled once per instruction set: the build defines GORGO_ISA_NS (the namespace) and one of
// GORGO_ISA_BASE, GORGO_ISA_AVX2, GORGO_ISA_AVX512 together with the compiler flags. Everything here lives in that
// namespace and is force-inlined, so no symbol is shared between the copies. The types are the vector extensions of GCC
// and Clang, hence any other architecture gets the same types; intrinsics stand where they pay.
//
// Invariants: a partial load or store touches exactly the lanes it names; what a lane computes depends on nothing but
// that lane, so tails and full vectors yield the same bits.
// Read next: math.h (the functions over these types).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "core/dtype.h"

#ifndef GORGO_ISA_NS
#error "vec.h is for files compiled per instruction set: the build must define GORGO_ISA_NS"
#endif

// Vectors wider than a register are passed by value here, always between force-inlined functions.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

// For lambdas, where the attribute stands after the parameters.
#define GORGO_INLINE_LAMBDA __attribute__((always_inline))

namespace gorgo::GORGO_ISA_NS {

#if defined(GORGO_ISA_AVX512)
constexpr int kVectorBytes = 64;
#elif defined(GORGO_ISA_AVX2)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <int Bytes>
struct IntOfBytes;
template <>
struct IntOfBytes<1> {
  using Signed = std::int8_t;
  using Unsigned = std::uint8_t;
};
template <>
struct IntOfBytes<2> {
  using Signed = std::int16_t;
  using Unsigned = std::uint16_t;
};
template <>
struct IntOfBytes<4> {
  using Signed = std::int32_t;
  using Unsigned = std::uint32_t;
};
template <>
struct IntOfBytes<8> {
  using Signed = std::int64_t;
  using Unsigned = std::uint64_t;
};
template <class T>
using SignedLike = typename IntOfBytes<sizeof(T)>::Signed;
template <class T>
using UnsignedLike = typename IntOfBytes<sizeof(T)>::Unsigned;
// Flips the bits of an integer, or of bool, such that they are in order as those of a signed integer; its complement, in falling
// order. So integers of one width may share a kernel.
template <class T>
constexpr SignedLike<T> kOrderFlip =
    std::is_signed_v<T> || std::is_same_v<T, bool> ? SignedLike<T>{0} : std::numeric_limits<SignedLike<T>>::min();

template <class T, int N>
struct RawVectorOf {
  typedef T type __attribute__((vector_size(sizeof(T) * N)));
};
template <class T, int N>
using RawVector = typename RawVectorOf<T, N>::type;

}  // namespace gorgo::GORGO_ISA_NS

#include "kernels/widths.h"

namespace gorgo::GORGO_ISA_NS {

// N lanes of T. N is a power of two and may differ from a register's worth (a float64 and a bool operand share N).
template <class T, int N = kVectorBytes / static_cast<int>(sizeof(T))>
struct Vec {
  using Lane = T;
  using Raw = RawVector<T, N>;
  static constexpr int kLanes = N;
  static constexpr int kBytes = N * static_cast<int>(sizeof(T));
  Raw raw;
};

// N truth values as lanes of W bytes, all ones or all zeros; W is the width of the lanes that it selects.
template <int W, int N = kVectorBytes / W>
struct Mask {
  using Lane = typename IntOfBytes<W>::Signed;
  using Raw = RawVector<Lane, N>;
  static constexpr int kLanes = N;
  Raw raw;
};

template <class V>
struct IsVec : std::false_type {};
template <class T, int N>
struct IsVec<Vec<T, N>> : std::true_type {};
template <class V>
struct IsMask : std::false_type {};
template <int W, int N>
struct IsMask<Mask<W, N>> : std::true_type {};

// Reinterprets the bits of all lanes.
template <class U, class T, int N>
GORGO_INLINE Vec<U, N> bits_as(Vec<T, N> v) {
  static_assert(sizeof(U) == sizeof(T));
  return {(RawVector<U, N>)(v.raw)};
}
template <class T, int N>
GORGO_INLINE Vec<SignedLike<T>, N> mask_bits(Mask<static_cast<int>(sizeof(T)), N> m) {
  return {m.raw};
}

template <class V, int... I>
GORGO_INLINE V broadcast_lanes(typename V::Lane x, std::integer_sequence<int, I...>) {
  return {typename V::Raw{((void)I, x)...}};
}
template <class V>
GORGO_INLINE V broadcast(typename V::Lane x) {
  return broadcast_lanes<V>(x, std::make_integer_sequence<int, V::kLanes>{});
}

template <class V, int... I>
GORGO_INLINE V iota_lanes(std::integer_sequence<int, I...>) {
  return {typename V::Raw{static_cast<typename V::Lane>(I)...}};
}
// 0, 1, 2, ... in the lanes.
template <class V>
GORGO_INLINE V iota() {
  return iota_lanes<V>(std::make_integer_sequence<int, V::kLanes>{});
}

// A constant of the value type: the one spelling that functors use, for scalars as for vectors.
template <class V>
GORGO_INLINE V constant(double x) {
  if constexpr (IsVec<V>::value) {
    return broadcast<V>(static_cast<typename V::Lane>(x));
  } else {
    return static_cast<V>(x);
  }
}

// The lower and the upper half of the lanes, and back.
template <class T, int N>
GORGO_INLINE Vec<T, N / 2> low_half(Vec<T, N> v) {
  using R [[maybe_unused]] = RawVector<T, N / 2>;
#if defined(GORGO_ISA_AVX512)
  if constexpr (Vec<T, N>::kBytes == 64) return {(R)_mm512_castsi512_si256((__m512i)v.raw)};
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (Vec<T, N>::kBytes == 32) return {(R)_mm256_castsi256_si128((__m256i)v.raw)};
#endif
  Vec<T, N / 2> half;
  __builtin_memcpy(&half.raw, &v.raw, sizeof half.raw);
  return half;
}
template <class T, int N>
GORGO_INLINE Vec<T, N / 2> high_half(Vec<T, N> v) {
  using R [[maybe_unused]] = RawVector<T, N / 2>;
#if defined(GORGO_ISA_AVX512)
  if constexpr (Vec<T, N>::kBytes == 64) return {(R)_mm512_extracti64x4_epi64((__m512i)v.raw, 1)};
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (Vec<T, N>::kBytes == 32) return {(R)_mm256_extracti128_si256((__m256i)v.raw, 1)};
#endif
  Vec<T, N / 2> half;
  __builtin_memcpy(&half.raw, reinterpret_cast<const char*>(&v.raw) + sizeof half.raw, sizeof half.raw);
  return half;
}
template <class T, int N>
GORGO_INLINE Vec<T, 2 * N> join(Vec<T, N> low, Vec<T, N> high) {
  using R [[maybe_unused]] = RawVector<T, 2 * N>;
#if defined(GORGO_ISA_AVX512)
  if constexpr (Vec<T, N>::kBytes == 32) {
    return {(R)_mm512_inserti64x4(_mm512_castsi256_si512((__m256i)low.raw), (__m256i)high.raw, 1)};
  }
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (Vec<T, N>::kBytes == 16) {
    return {(R)_mm256_inserti128_si256(_mm256_castsi128_si256((__m128i)low.raw), (__m128i)high.raw, 1)};
  }
#endif
  Vec<T, 2 * N> both;
  __builtin_memcpy(&both.raw, &low.raw, sizeof low.raw);
  __builtin_memcpy(reinterpret_cast<char*>(&both.raw) + sizeof low.raw, &high.raw, sizeof high.raw);
  return both;
}
// f over so few lanes at a time that `Bytes` for each of them fit a register.
template <int Bytes, class F, class T, int N, class... More>
GORGO_INLINE auto by_lanes_of(F f, Vec<T, N> x, More... more) {
  if constexpr (N * Bytes <= kVectorBytes || N <= 2) {
    return f(x, more...);
  } else {
    return join(by_lanes_of<Bytes>(f, low_half(x), low_half(more)...),
                by_lanes_of<Bytes>(f, high_half(x), high_half(more)...));
  }
}
// For functions that pass through float64.
template <class F, class T, int N, class... More>
GORGO_INLINE auto by_wide_lanes(F f, Vec<T, N> x, More... more) {
  return by_lanes_of<8>(f, x, more...);
}

// Applies a scalar function lane by lane: the way out for what has no vector code.
template <class U, class T, int N, class F>
GORGO_INLINE Vec<U, N> map_lanes(Vec<T, N> v, F f) {
  Vec<U, N> out;
  for (int i = 0; i < N; ++i) out.raw[i] = f(v.raw[i]);
  return out;
}
template <class U, class T, int N, class F>
GORGO_INLINE Vec<U, N> map_lanes(Vec<T, N> a, Vec<T, N> b, F f) {
  Vec<U, N> out;
  for (int i = 0; i < N; ++i) out.raw[i] = f(a.raw[i], b.raw[i]);
  return out;
}

// table[index mod kPickSize] for each lane. Where kPicks holds, a whole vector takes one instruction.
constexpr bool kPicks = kVectorBytes >= 32;
constexpr int kPickSize = kVectorBytes == 64 ? 16 : 8;
template <int N>
GORGO_INLINE Vec<float, N> pick(const float (&table)[kPickSize], Vec<std::int32_t, N> index) {
  using R [[maybe_unused]] = RawVector<float, N>;
#if defined(GORGO_ISA_AVX512)
  if constexpr (N == 16) return {(R)_mm512_permutexvar_ps((__m512i)index.raw, _mm512_load_ps(table))};
  if constexpr (N == 8) {
    return {(R)_mm256_permutex2var_ps(_mm256_load_ps(table), (__m256i)index.raw, _mm256_load_ps(table + 8))};
  }
#elif defined(GORGO_ISA_AVX2)
  if constexpr (N == 8) return {(R)_mm256_permutevar8x32_ps(_mm256_load_ps(table), (__m256i)index.raw)};
#endif
  if constexpr (N * 4 > kVectorBytes && N > 4) {
    return join(pick(table, low_half(index)), pick(table, high_half(index)));
  } else {
    return map_lanes<float>(index, [&table](std::int32_t i) { return table[i & (kPickSize - 1)]; });
  }
}

// table[index mod 16]: with AVX-512 one instruction, with AVX2 a gather.
template <int N>
GORGO_INLINE Vec<double, N> pick(const double (&table)[16], Vec<std::int64_t, N> index) {
  using R [[maybe_unused]] = RawVector<double, N>;
#if defined(GORGO_ISA_AVX512)
  if constexpr (N == 8) {
    return {(R)_mm512_permutex2var_pd(_mm512_load_pd(table), (__m512i)index.raw, _mm512_load_pd(table + 8))};
  }
#elif defined(GORGO_ISA_AVX2)
  if constexpr (N == 4) {
    return {(R)_mm256_i64gather_pd(table, (__m256i)(index.raw & 15), 8)};
  }
#endif
  return map_lanes<double>(index, [&table](std::int64_t i) { return table[i & 15]; });
}

#if !defined(GORGO_ISA_AVX512)
template <int N>
GORGO_INLINE Vec<float, N> pick(const float (&table)[16], Vec<std::int32_t, N> index) {
#if defined(GORGO_ISA_AVX2)
  if constexpr (N == 8) {
    const auto i = (__m256i)index.raw;
    const auto low = _mm256_permutevar8x32_ps(_mm256_load_ps(table), i);
    const auto high = _mm256_permutevar8x32_ps(_mm256_load_ps(table + 8), i);
    const auto upper = _mm256_castsi256_ps(_mm256_slli_epi32(i, 28));
    return {(RawVector<float, N>)_mm256_blendv_ps(low, high, upper)};
  }
#endif
  return map_lanes<float>(index, [&table](std::int32_t i) { return table[i & 15]; });
}
#endif

// Loads and stores of whole vectors, at any address.

template <class V, class T>
GORGO_INLINE V load_raw(const T* p) {
  V v;
  __builtin_memcpy(&v.raw, p, sizeof v.raw);
  return v;
}
template <class T, int N>
GORGO_INLINE void store_raw(T* p, Vec<T, N> v) {
  __builtin_memcpy(p, &v.raw, sizeof v.raw);
}

// The first n lanes, 0 <= n <= N; the others are zero.
template <class V, class T>
GORGO_INLINE V load_raw_partial(const T* p, int n) {
  V v;
#if defined(GORGO_ISA_AVX512)
  if constexpr (V::kBytes >= 16) {
    using R = typename V::Raw;
    const std::uint64_t bits = n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
    if constexpr (sizeof(T) == 1) {
      const auto k = static_cast<__mmask64>(bits);
      if constexpr (V::kBytes == 64) v.raw = (R)_mm512_maskz_loadu_epi8(k, p);
      if constexpr (V::kBytes == 32) v.raw = (R)_mm256_maskz_loadu_epi8(static_cast<__mmask32>(k), p);
      if constexpr (V::kBytes == 16) v.raw = (R)_mm_maskz_loadu_epi8(static_cast<__mmask16>(k), p);
    } else if constexpr (sizeof(T) == 2) {
      const auto k = static_cast<__mmask32>(bits);
      if constexpr (V::kBytes == 64) v.raw = (R)_mm512_maskz_loadu_epi16(k, p);
      if constexpr (V::kBytes == 32) v.raw = (R)_mm256_maskz_loadu_epi16(static_cast<__mmask16>(k), p);
      if constexpr (V::kBytes == 16) v.raw = (R)_mm_maskz_loadu_epi16(static_cast<__mmask8>(k), p);
    } else if constexpr (sizeof(T) == 4) {
      const auto k = static_cast<__mmask16>(bits);
      if constexpr (V::kBytes == 64) v.raw = (R)_mm512_maskz_loadu_epi32(k, p);
      if constexpr (V::kBytes == 32) v.raw = (R)_mm256_maskz_loadu_epi32(static_cast<__mmask8>(k), p);
      if constexpr (V::kBytes == 16) v.raw = (R)_mm_maskz_loadu_epi32(static_cast<__mmask8>(k), p);
    } else {
      const auto k = static_cast<__mmask8>(bits);
      if constexpr (V::kBytes == 64) v.raw = (R)_mm512_maskz_loadu_epi64(k, p);
      if constexpr (V::kBytes == 32) v.raw = (R)_mm256_maskz_loadu_epi64(k, p);
      if constexpr (V::kBytes == 16) v.raw = (R)_mm_maskz_loadu_epi64(k, p);
    }
    if constexpr (V::kBytes <= 64) return v;
  }
#elif defined(GORGO_ISA_AVX2)
  if constexpr (V::kBytes == 32 && sizeof(T) == 4) {
    const auto live = iota<Vec<std::int32_t, 8>>().raw < broadcast<Vec<std::int32_t, 8>>(n).raw;
    v.raw = (typename V::Raw)_mm256_maskload_epi32(reinterpret_cast<const int*>(p), (__m256i)live);
    return v;
  }
  if constexpr (V::kBytes == 32 && sizeof(T) == 8) {
    const auto live = iota<Vec<std::int64_t, 4>>().raw < broadcast<Vec<std::int64_t, 4>>(n).raw;
    v.raw = (typename V::Raw)_mm256_maskload_epi64(reinterpret_cast<const long long*>(p), (__m256i)live);
    return v;
  }
#endif
  v.raw = typename V::Raw{};
  __builtin_memcpy(&v.raw, p, static_cast<std::size_t>(n) * sizeof(T));
  return v;
}

template <class T, int N>
GORGO_INLINE void store_raw_partial(T* p, Vec<T, N> v, int n) {
  [[maybe_unused]] constexpr int kBytes = Vec<T, N>::kBytes;
#if defined(GORGO_ISA_AVX512)
  if constexpr (kBytes >= 16 && kBytes <= 64) {
    const std::uint64_t bits = n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
    if constexpr (sizeof(T) == 1) {
      const auto k = static_cast<__mmask64>(bits);
      if constexpr (kBytes == 64) _mm512_mask_storeu_epi8(p, k, (__m512i)v.raw);
      if constexpr (kBytes == 32) _mm256_mask_storeu_epi8(p, static_cast<__mmask32>(k), (__m256i)v.raw);
      if constexpr (kBytes == 16) _mm_mask_storeu_epi8(p, static_cast<__mmask16>(k), (__m128i)v.raw);
    } else if constexpr (sizeof(T) == 2) {
      const auto k = static_cast<__mmask32>(bits);
      if constexpr (kBytes == 64) _mm512_mask_storeu_epi16(p, k, (__m512i)v.raw);
      if constexpr (kBytes == 32) _mm256_mask_storeu_epi16(p, static_cast<__mmask16>(k), (__m256i)v.raw);
      if constexpr (kBytes == 16) _mm_mask_storeu_epi16(p, static_cast<__mmask8>(k), (__m128i)v.raw);
    } else if constexpr (sizeof(T) == 4) {
      const auto k = static_cast<__mmask16>(bits);
      if constexpr (kBytes == 64) _mm512_mask_storeu_epi32(p, k, (__m512i)v.raw);
      if constexpr (kBytes == 32) _mm256_mask_storeu_epi32(p, static_cast<__mmask8>(k), (__m256i)v.raw);
      if constexpr (kBytes == 16) _mm_mask_storeu_epi32(p, static_cast<__mmask8>(k), (__m128i)v.raw);
    } else {
      const auto k = static_cast<__mmask8>(bits);
      if constexpr (kBytes == 64) _mm512_mask_storeu_epi64(p, k, (__m512i)v.raw);
      if constexpr (kBytes == 32) _mm256_mask_storeu_epi64(p, k, (__m256i)v.raw);
      if constexpr (kBytes == 16) _mm_mask_storeu_epi64(p, k, (__m128i)v.raw);
    }
    return;
  }
#elif defined(GORGO_ISA_AVX2)
  if constexpr (kBytes == 32 && sizeof(T) == 4) {
    const auto live = iota<Vec<std::int32_t, 8>>().raw < broadcast<Vec<std::int32_t, 8>>(n).raw;
    _mm256_maskstore_epi32(reinterpret_cast<int*>(p), (__m256i)live, (__m256i)v.raw);
    return;
  }
  if constexpr (kBytes == 32 && sizeof(T) == 8) {
    const auto live = iota<Vec<std::int64_t, 4>>().raw < broadcast<Vec<std::int64_t, 4>>(n).raw;
    _mm256_maskstore_epi64(reinterpret_cast<long long*>(p), (__m256i)live, (__m256i)v.raw);
    return;
  }
#endif
  __builtin_memcpy(p, &v.raw, static_cast<std::size_t>(n) * sizeof(T));
}

// Arithmetic. Integers wrap: they are added as unsigned numbers, where that is defined.

#define GORGO_VEC_ARITHMETIC(OP)                                 \
  template <class T, int N>                                      \
  GORGO_INLINE Vec<T, N> operator OP(Vec<T, N> a, Vec<T, N> b) { \
    if constexpr (std::is_integral_v<T>) {                       \
      using U = RawVector<UnsignedLike<T>, N>;                   \
      return {(RawVector<T, N>)((U)a.raw OP(U) b.raw)};          \
    } else {                                                     \
      return {a.raw OP b.raw};                                   \
    }                                                            \
  }
GORGO_VEC_ARITHMETIC(+)
GORGO_VEC_ARITHMETIC(-)
GORGO_VEC_ARITHMETIC(*)
#undef GORGO_VEC_ARITHMETIC

template <class T, int N>
GORGO_INLINE Vec<T, N> operator-(Vec<T, N> a) {
  if constexpr (std::is_integral_v<T>) {
    return broadcast<Vec<T, N>>(0) - a;
  } else {
    return {-a.raw};
  }
}

#define GORGO_VEC_BITWISE(OP)                                       \
  template <class T, int N>                                         \
  GORGO_INLINE Vec<T, N> operator OP(Vec<T, N> a, Vec<T, N> b) {    \
    static_assert(std::is_integral_v<T>);                           \
    return {a.raw OP b.raw};                                        \
  }                                                                 \
  template <int W, int N>                                           \
  GORGO_INLINE Mask<W, N> operator OP(Mask<W, N> a, Mask<W, N> b) { \
    return {a.raw OP b.raw};                                        \
  }
GORGO_VEC_BITWISE(&)
GORGO_VEC_BITWISE(|)
GORGO_VEC_BITWISE(^)
#undef GORGO_VEC_BITWISE

template <class T, int N>
GORGO_INLINE Vec<T, N> operator~(Vec<T, N> a) {
  return {~a.raw};
}
template <int W, int N>
GORGO_INLINE Mask<W, N> operator~(Mask<W, N> a) {
  return {~a.raw};
}
template <int W, int N>
GORGO_INLINE Mask<W, N> operator!(Mask<W, N> a) {
  return {~a.raw};
}

#define GORGO_VEC_COMPARE(OP)                                                               \
  template <class T, int N>                                                                 \
  GORGO_INLINE Mask<static_cast<int>(sizeof(T)), N> operator OP(Vec<T, N> a, Vec<T, N> b) { \
    return {(typename Mask<static_cast<int>(sizeof(T)), N>::Raw)(a.raw OP b.raw)};          \
  }
GORGO_VEC_COMPARE(==)
GORGO_VEC_COMPARE(!=)
GORGO_VEC_COMPARE(<)
GORGO_VEC_COMPARE(<=)
GORGO_VEC_COMPARE(>)
GORGO_VEC_COMPARE(>=)
#undef GORGO_VEC_COMPARE
template <int W, int N>
GORGO_INLINE Mask<W, N> operator==(Mask<W, N> a, Mask<W, N> b) {
  return {~(a.raw ^ b.raw)};
}
template <int W, int N>
GORGO_INLINE Mask<W, N> operator!=(Mask<W, N> a, Mask<W, N> b) {
  return {a.raw ^ b.raw};
}

// The same truth values in lanes of another width.
template <int W, int V, int N>
GORGO_INLINE Mask<W, N> mask_as(Mask<V, N> m) {
  if constexpr (W == V) {
    return m;
  } else {
    return {resized<typename Mask<W, N>::Lane, typename Mask<V, N>::Lane, N>(m.raw)};
  }
}

// a where the mask holds, else b.
template <int W, class T, int N>
GORGO_INLINE Vec<T, N> select(Mask<W, N> m, Vec<T, N> a, Vec<T, N> b) {
  return {mask_as<static_cast<int>(sizeof(T))>(m).raw ? a.raw : b.raw};
}
template <int W, int V, int N>
GORGO_INLINE Mask<V, N> select(Mask<W, N> m, Mask<V, N> a, Mask<V, N> b) {
  const auto k = mask_as<V>(m);
  return (k & a) | (~k & b);
}

// Whether any, or every, lane holds.
template <int W, int N>
GORGO_INLINE bool any(Mask<W, N> m) {
#if defined(GORGO_ISA_AVX512)
  if constexpr (W * N == 64) return _mm512_test_epi64_mask((__m512i)m.raw, (__m512i)m.raw) != 0;
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (W * N == 32) return _mm256_testz_si256((__m256i)m.raw, (__m256i)m.raw) == 0;
#endif
  typename Mask<W, N>::Lane bits = 0;
  for (int i = 0; i < N; ++i) bits = static_cast<typename Mask<W, N>::Lane>(bits | m.raw[i]);
  return bits != 0;
}
template <int W, int N>
GORGO_INLINE bool all(Mask<W, N> m) {
  return !any(~m);
}

template <class U, class T, int N>
GORGO_INLINE Vec<U, N> convert(Vec<T, N> v);

// Shifts: a count outside [0, bits) yields what shifting bit by bit yields (0, or the sign for a signed >>). Lanes of 1 and 2 bytes
// are shifted as lanes of 4, for which there are instructions.
template <class T>
using ShiftLane =
    std::conditional_t<sizeof(T) >= 4, T, std::conditional_t<std::is_signed_v<T>, std::int32_t, std::uint32_t>>;
template <class T, int N>
GORGO_INLINE Vec<T, N> shift_left(Vec<T, N> a, Vec<T, N> count) {
  if constexpr (sizeof(T) < 4) {
    using L = ShiftLane<T>;
    return by_lanes_of<4>(
        [](auto x, auto c)
            __attribute__((always_inline)) { return convert<T>(shift_left(convert<L>(x), convert<L>(c))); },
        a, count);
  } else {
    using U = UnsignedLike<T>;
    constexpr U kBits = sizeof(T) * 8;
    const auto c = bits_as<U>(count);
    const auto limit = broadcast<Vec<U, N>>(kBits - 1);
    const auto in_range = c <= limit;
    const auto shifted = Vec<U, N>{bits_as<U>(a).raw << (c & limit).raw};
    return bits_as<T>(select(in_range, shifted, broadcast<Vec<U, N>>(0)));
  }
}
template <class T, int N>
GORGO_INLINE Vec<T, N> shift_right(Vec<T, N> a, Vec<T, N> count) {
  if constexpr (sizeof(T) < 4) {
    using L = ShiftLane<T>;
    return by_lanes_of<4>(
        [](auto x, auto c)
            __attribute__((always_inline)) { return convert<T>(shift_right(convert<L>(x), convert<L>(c))); },
        a, count);
  } else {
    using U = UnsignedLike<T>;
    constexpr U kBits = sizeof(T) * 8;
    const auto c = bits_as<U>(count);
    const auto limit = broadcast<Vec<U, N>>(kBits - 1);
    const auto in_range = c <= limit;
    if constexpr (std::is_signed_v<T>) {
      return {a.raw >> bits_as<T>(select(in_range, c, limit)).raw};
    } else {
      return select(in_range, Vec<T, N>{a.raw >> (c & limit).raw}, broadcast<Vec<T, N>>(0));
    }
  }
}
template <int Count, class T, int N>
GORGO_INLINE Vec<T, N> shift_left_by(Vec<T, N> a) {
  using U = UnsignedLike<T>;
  return {(RawVector<T, N>)((RawVector<U, N>)a.raw << Count)};
}
template <int Count, class T, int N>
GORGO_INLINE Vec<T, N> shift_right_by(Vec<T, N> a) {
  return {a.raw >> Count};
}

// Floats to 32 bits towards zero; the lowest integer where there is none. kTruncates: it is one instruction.
template <class U, class T, int N>
constexpr bool kTruncates = kVectorBytes >= 32 && std::is_same_v<U, std::int32_t> &&
                            (N * static_cast<int>(sizeof(T)) == kVectorBytes || N * static_cast<int>(sizeof(T)) == 32);
template <class T, int N>
GORGO_INLINE Vec<std::int32_t, N> truncated(Vec<T, N> v) {
  using R = RawVector<std::int32_t, N>;
#if defined(GORGO_ISA_AVX512)
  if constexpr (std::is_same_v<T, float> && N == 16) return {(R)_mm512_cvttps_epi32((__m512)v.raw)};
  if constexpr (std::is_same_v<T, double> && N == 8) return {(R)_mm512_cvttpd_epi32((__m512d)v.raw)};
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (std::is_same_v<T, float> && N == 8) return {(R)_mm256_cvttps_epi32((__m256)v.raw)};
  if constexpr (std::is_same_v<T, double> && N == 4) return {(R)_mm256_cvttpd_epi32((__m256d)v.raw)};
#endif
  return {__builtin_convertvector(v.raw, R)};
}

// Conversion between lane types. Integers wrap; a float outside the integer's range takes the nearest end, NaN takes 0.
template <class U, class T, int N>
GORGO_INLINE Vec<U, N> convert(Vec<T, N> v) {
  if constexpr (std::is_same_v<T, U>) {
    return v;
  } else if constexpr (std::is_floating_point_v<T> && std::is_integral_v<U>) {
    using V = Vec<T, N>;
    constexpr int kBits = sizeof(U) * 8 - (std::is_signed_v<U> ? 1 : 0);
    constexpr T kAbove = static_cast<T>(std::uint64_t{1} << (kBits - 1)) * 2;  // one past the largest: a power of two
    constexpr T kLowest = std::is_signed_v<U> ? -kAbove : T{0};
    constexpr U kMax = static_cast<U>(~std::uint64_t{0} >> (64 - kBits));
    const auto too_high = v >= broadcast<V>(kAbove);
    if constexpr (kTruncates<U, T, N>) {
      // What is too low has become the lowest number already, and so has all else that has none: too high or NaN.
      const auto flipped = truncated(v) ^ Vec<U, N>{mask_as<static_cast<int>(sizeof(U))>(too_high).raw};
      return Vec<U, N>{flipped.raw & mask_as<static_cast<int>(sizeof(U))>(v == v).raw};
    } else {
      const auto in_range = (v > broadcast<V>(kLowest)) & ~too_high;
      const auto safe = select(in_range, v, broadcast<V>(T{0}));
      Vec<U, N> whole;
      if constexpr (sizeof(U) < 4) {
        whole.raw = resized<U, std::int32_t, N>(__builtin_convertvector(safe.raw, RawVector<std::int32_t, N>));
      } else {
        whole.raw = __builtin_convertvector(safe.raw, RawVector<U, N>);
      }
      whole = select(too_high, broadcast<Vec<U, N>>(kMax), whole);
      if constexpr (std::is_signed_v<U>) {
        whole = select(v <= broadcast<V>(kLowest), broadcast<Vec<U, N>>(static_cast<U>(-kMax - 1)), whole);
      }
      return whole;
    }
  } else if constexpr (std::is_integral_v<T> && std::is_integral_v<U>) {
    return {resized<U, T, N>(v.raw)};
  } else {
#if defined(GORGO_ISA_AVX512)
    // Of eight lanes compilers make two conversions of four.
    using R [[maybe_unused]] = RawVector<U, N>;
    if constexpr (N == 8 && std::is_same_v<T, float> && std::is_same_v<U, double>) {
      return {(R)_mm512_cvtps_pd((__m256)v.raw)};
    }
    if constexpr (N == 8 && std::is_same_v<T, std::int32_t> && std::is_same_v<U, double>) {
      return {(R)_mm512_cvtepi32_pd((__m256i)v.raw)};
    }
    if constexpr (N == 8 && std::is_same_v<T, double> && std::is_same_v<U, float>) {
      return {(R)_mm512_cvtpd_ps((__m512d)v.raw)};
    }
#endif
    return {__builtin_convertvector(v.raw, RawVector<U, N>)};
  }
}
template <class U, int W, int N>
GORGO_INLINE Vec<U, N> convert(Mask<W, N> m) {
  return select(m, broadcast<Vec<U, N>>(U{1}), broadcast<Vec<U, N>>(U{0}));
}

// Half types: their bits to float and back, rounding to nearest even. NaN stays NaN.

template <int N>
GORGO_INLINE Vec<float, N> float_of_bfloat16(Vec<std::uint16_t, N> bits) {
  return bits_as<float>(shift_left_by<16>(convert<std::uint32_t>(bits)));
}
template <int N>
GORGO_INLINE Vec<std::uint16_t, N> bfloat16_of_float(Vec<float, N> v) {
  using U = Vec<std::uint32_t, N>;
  const auto bits = bits_as<std::uint32_t>(v);
  const auto odd = shift_right_by<16>(bits) & broadcast<U>(1);
  const auto rounded = bits + broadcast<U>(0x7fff) + odd;
  const auto quiet = bits | broadcast<U>(0x00400000);
  return convert<std::uint16_t>(shift_right_by<16>(select(v != v, quiet, rounded)));
}

template <int N>
GORGO_INLINE Vec<float, N> float_of_float16(Vec<std::uint16_t, N> bits) {
#if defined(GORGO_ISA_AVX512)
  if constexpr (N == 16) return {(RawVector<float, N>)_mm512_cvtph_ps((__m256i)bits.raw)};
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (N == 8) return {(RawVector<float, N>)_mm256_cvtph_ps((__m128i)bits.raw)};
  if constexpr (N < 8) {
    Vec<std::uint16_t, 8> wide{};
    __builtin_memcpy(&wide.raw, &bits.raw, sizeof bits.raw);
    const auto floats = float_of_float16(wide);
    Vec<float, N> out;
    __builtin_memcpy(&out.raw, &floats.raw, sizeof out.raw);
    return out;
  }
#endif
  // Shift exponent and fraction into float's place; a multiplication by 2^112 moves the exponent and makes denormals
  // normal, exactly; infinity and NaN are put right after.
  using U = Vec<std::uint32_t, N>;
  const auto wide = convert<std::uint32_t>(bits);
  const auto magnitude = wide & broadcast<U>(0x7fff);
  const auto sign = shift_left_by<16>(wide & broadcast<U>(0x8000));
  const auto scaled = bits_as<float>(shift_left_by<13>(magnitude)) * broadcast<Vec<float, N>>(0x1p112f);
  const auto special = shift_left_by<13>(magnitude) | broadcast<U>(0x7f800000);
  const auto nan_quiet = select(magnitude > broadcast<U>(0x7c00), broadcast<U>(0x00400000), broadcast<U>(0));
  const auto value = select(magnitude >= broadcast<U>(0x7c00), special | nan_quiet, bits_as<std::uint32_t>(scaled));
  return bits_as<float>(value | sign);
}
template <int N>
GORGO_INLINE Vec<std::uint16_t, N> float16_of_float(Vec<float, N> v) {
#if defined(GORGO_ISA_AVX512)
  if constexpr (N == 16) {
    const auto halves = _mm512_cvtps_ph((__m512)v.raw, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return {(RawVector<std::uint16_t, N>)halves};
  }
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (N == 8) {
    const auto halves = _mm256_cvtps_ph((__m256)v.raw, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return {(RawVector<std::uint16_t, N>)halves};
  }
  if constexpr (N < 8) {
    Vec<float, 8> wide{};
    __builtin_memcpy(&wide.raw, &v.raw, sizeof v.raw);
    const auto halves = float16_of_float(wide);
    Vec<std::uint16_t, N> out;
    __builtin_memcpy(&out.raw, &halves.raw, sizeof out.raw);
    return out;
  }
#endif
  using U = Vec<std::uint32_t, N>;
  using F = Vec<float, N>;
  const auto bits = bits_as<std::uint32_t>(v);
  const auto sign = shift_right_by<16>(bits & broadcast<U>(0x80000000u));
  const auto magnitude = bits & broadcast<U>(0x7fffffff);
  // Normal results: drop 13 bits with round-to-nearest-even; a carry runs into the exponent, at the end into infinity.
  const auto odd = shift_right_by<13>(magnitude) & broadcast<U>(1);
  const auto rebased = magnitude - broadcast<U>(112u << 23);
  const auto normal = shift_right_by<13>(rebased + broadcast<U>(0xfff) + odd);
  // Denormal results: adding 1/2 puts the last kept bit at float's last place, so the addition itself rounds.
  const auto shifted = bits_as<float>(magnitude) + broadcast<F>(0.5f);
  const auto denormal = bits_as<std::uint32_t>(shifted) - broadcast<U>(0x3f000000);
  const auto nan = shift_right_by<13>(magnitude & broadcast<U>(0x007fffff)) | broadcast<U>(0x7e00);
  auto half = select(magnitude < broadcast<U>(113u << 23), denormal, normal);
  half = select(magnitude >= broadcast<U>(0x477ff000), broadcast<U>(0x7c00), half);  // 65520 and more round to infinity
  half = select(v != v, nan, half);
  return convert<std::uint16_t>(half | sign);
}

// Loads and stores by storage type. S is what lies in memory; the result is what kernels compute in: Vec<float, N> for
// the half types, Mask<W, N> for bool, else Vec<S, N>. `count` < N asks for a partial access.

template <class S>
constexpr bool kIsHalf = std::is_same_v<S, Float16> || std::is_same_v<S, BFloat16>;

template <class S, int N, int W>
struct LoadedOf {
  using type = Vec<ComputeType<S>, N>;
};
template <int N, int W>
struct LoadedOf<bool, N, W> {
  using type = Mask<W, N>;
};
template <class S, int N, int W = 1>
using Loaded = typename LoadedOf<S, N, W>::type;

template <class S, int N, int W, class Bits>
GORGO_INLINE Loaded<S, N, W> loaded_of_bits(Bits bits) {
  if constexpr (std::is_same_v<S, bool>) {
    return mask_as<W>(bits != broadcast<Bits>(0));
  } else if constexpr (std::is_same_v<S, Float16>) {
    return float_of_float16(bits);
  } else if constexpr (std::is_same_v<S, BFloat16>) {
    return float_of_bfloat16(bits);
  } else {
    return bits;
  }
}
template <class S>
using MemoryLane =
    std::conditional_t<std::is_same_v<S, bool>, std::uint8_t, std::conditional_t<kIsHalf<S>, std::uint16_t, S>>;

template <class S, int N, int W = 1>
GORGO_INLINE Loaded<S, N, W> load(const S* p) {
  using M = MemoryLane<S>;
  return loaded_of_bits<S, N, W>(load_raw<Vec<M, N>>(reinterpret_cast<const M*>(p)));
}
template <class S, int N, int W = 1>
GORGO_INLINE Loaded<S, N, W> load_partial(const S* p, int count) {
  using M = MemoryLane<S>;
  return loaded_of_bits<S, N, W>(load_raw_partial<Vec<M, N>>(reinterpret_cast<const M*>(p), count));
}
template <class S, int N, int W = 1>
GORGO_INLINE Loaded<S, N, W> load_splat(const S* p) {
  using M = MemoryLane<S>;
  M x;
  __builtin_memcpy(&x, p, sizeof x);
  return loaded_of_bits<S, N, W>(broadcast<Vec<M, N>>(x));
}
// Lanes `stride` elements apart; `count` of them.
template <class S, int N, int W = 1>
GORGO_INLINE Loaded<S, N, W> load_strided(const S* p, std::ptrdiff_t stride, int count) {
  using M = MemoryLane<S>;
  M lanes[N] = {};
  for (int i = 0; i < count; ++i) __builtin_memcpy(&lanes[i], p + i * stride, sizeof(M));
  return loaded_of_bits<S, N, W>(load_raw<Vec<M, N>>(lanes));
}

template <class S, class V>
GORGO_INLINE auto bits_of_stored(V v) {
  if constexpr (IsMask<V>::value) {
    static_assert(std::is_same_v<S, bool>);
    const auto narrow = mask_as<1>(v);
    return Vec<std::uint8_t, V::kLanes>{(RawVector<std::uint8_t, V::kLanes>)narrow.raw} &
           broadcast<Vec<std::uint8_t, V::kLanes>>(1);
  } else if constexpr (std::is_same_v<S, Float16>) {
    return float16_of_float(v);
  } else if constexpr (std::is_same_v<S, BFloat16>) {
    return bfloat16_of_float(v);
  } else {
    static_assert(std::is_same_v<S, typename V::Lane>);
    return v;
  }
}
template <class S, class V>
GORGO_INLINE void store(S* p, V v) {
  store_raw(reinterpret_cast<MemoryLane<S>*>(p), bits_of_stored<S>(v));
}
template <class S, class V>
GORGO_INLINE void store_partial(S* p, V v, int count) {
  store_raw_partial(reinterpret_cast<MemoryLane<S>*>(p), bits_of_stored<S>(v), count);
}
template <class S, class V>
GORGO_INLINE void store_strided(S* p, std::ptrdiff_t stride, V v, int count) {
  using M = MemoryLane<S>;
  M lanes[V::kLanes];
  store_raw(lanes, bits_of_stored<S>(v));
  for (int i = 0; i < count; ++i) __builtin_memcpy(p + i * stride, &lanes[i], sizeof(M));
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
