// Integer lanes of one width as lanes of another: wider ones by sign or by zeros, narrower ones by their low bits.
//
// Compilers take such conversions apart, at worst lane by lane; hence instructions are named here. They lie below Vec's own
// conversions (convert, mask_as), which everybody else uses.
// For kernel files (compiled per ISA). Read next: vec.h.
#pragma once

#include <cstdint>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
// The low bytes of a register that a short vector fills, and a short vector of them.
template <class Raw>
GORGO_INLINE auto in_register(Raw v) {
  if constexpr (sizeof(Raw) == 32) {
    return (__m256i)v;
  } else if constexpr (sizeof(Raw) == 16) {
    return (__m128i)v;
  } else if constexpr (sizeof(Raw) == 8) {
    long long bits;
    __builtin_memcpy(&bits, &v, sizeof bits);
    return _mm_cvtsi64_si128(bits);
  } else {
    int bits = 0;
    __builtin_memcpy(&bits, &v, sizeof v);
    return _mm_cvtsi32_si128(bits);
  }
}
template <class Raw>
GORGO_INLINE Raw out_of_register(__m128i v) {
  if constexpr (sizeof(Raw) == 16) {
    return (Raw)v;
  } else {
    Raw low;
    const long long bits = _mm_cvtsi128_si64(v);
    __builtin_memcpy(&low, &bits, sizeof low);
    return low;
  }
}

// One instruction each: lanes of `To` bytes that fill a register of `Bytes`, made of narrower ones.
#if defined(GORGO_ISA_AVX512)
#define GORGO_WIDEN_512(name) \
  if constexpr (Bytes == 64) return Signed ? _mm512_cvtepi##name(in_register(v)) : _mm512_cvtepu##name(in_register(v));
#else
#define GORGO_WIDEN_512(name)
#endif
#define GORGO_WIDEN(to, from, name)                                                                                 \
  if constexpr (To == to && From == from) {                                                                         \
    if constexpr (Bytes == 16) return Signed ? _mm_cvtepi##name(in_register(v)) : _mm_cvtepu##name(in_register(v)); \
    if constexpr (Bytes == 32)                                                                                      \
      return Signed ? _mm256_cvtepi##name(in_register(v)) : _mm256_cvtepu##name(in_register(v));                    \
    GORGO_WIDEN_512(name)                                                                                           \
  }
template <int Bytes, int To, int From, bool Signed, class Raw>
GORGO_INLINE auto widened_register(Raw v) {
  GORGO_WIDEN(2, 1, 8_epi16)
  GORGO_WIDEN(4, 1, 8_epi32)
  GORGO_WIDEN(8, 1, 8_epi64)
  GORGO_WIDEN(4, 2, 16_epi32)
  GORGO_WIDEN(8, 2, 16_epi64)
  GORGO_WIDEN(8, 4, 32_epi64)
}
#undef GORGO_WIDEN
#undef GORGO_WIDEN_512

#if defined(GORGO_ISA_AVX512)
template <int Bytes, int To, int From, class Raw>
GORGO_INLINE auto narrowed_register(Raw v) {
#define GORGO_NARROW(to, from, name)                                   \
  if constexpr (To == to && From == from) {                            \
    if constexpr (Bytes == 64) return _mm512_cvtepi##name((__m512i)v); \
    if constexpr (Bytes == 32) return _mm256_cvtepi##name((__m256i)v); \
    if constexpr (Bytes == 16) return _mm_cvtepi##name((__m128i)v);    \
  }
  GORGO_NARROW(1, 2, 16_epi8)
  GORGO_NARROW(1, 4, 32_epi8)
  GORGO_NARROW(1, 8, 64_epi8)
  GORGO_NARROW(2, 4, 32_epi16)
  GORGO_NARROW(2, 8, 64_epi16)
  GORGO_NARROW(4, 8, 64_epi32)
#undef GORGO_NARROW
}
#else
// Where the low `To` bytes of each lane of `From` are; none after them.
template <int To, int From>
struct LowBytes {
  signed char at[16];
  constexpr LowBytes() : at() {
    for (int i = 0; i < 16; ++i) at[i] = static_cast<signed char>(i < 16 / From * To ? i / To * From + i % To : -1);
  }
};
template <int Bytes, int To, int From, class Raw>
GORGO_INLINE __m128i narrowed_register(Raw v) {
  constexpr LowBytes<To, From> kLow;
  __m128i pick;
  __builtin_memcpy(&pick, kLow.at, sizeof pick);
  if constexpr (Bytes == 16) {
    return _mm_shuffle_epi8((__m128i)v, pick);
  } else if constexpr (To == 4 && From == 8) {
    const auto even = _mm256_permutevar8x32_epi32((__m256i)v, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    return _mm256_castsi256_si128(even);
  } else {
    const auto halves = _mm256_shuffle_epi8((__m256i)v, _mm256_broadcastsi128_si256(pick));
    const auto low = _mm256_castsi256_si128(halves);
    const auto high = _mm256_extracti128_si256(halves, 1);
    if constexpr (From == 2 * To) return _mm_unpacklo_epi64(low, high);
    if constexpr (From == 4 * To) return _mm_unpacklo_epi32(low, high);
    if constexpr (From == 8 * To) return _mm_unpacklo_epi16(low, high);
  }
}
#endif
#endif

// N integers T as integers U.
template <class U, class T, int N>
GORGO_INLINE RawVector<U, N> resized(RawVector<T, N> v) {
  static_assert(std::is_integral_v<U> && std::is_integral_v<T>);
  using R = RawVector<U, N>;
  constexpr int kTo = static_cast<int>(sizeof(U));
  constexpr int kFrom = static_cast<int>(sizeof(T));
  [[maybe_unused]] constexpr int kBytes = N * (kTo > kFrom ? kTo : kFrom);  // of the wider of the two
  if constexpr (kTo == kFrom) {
    return (R)v;
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  } else if constexpr (kBytes > kVectorBytes) {
    RawVector<T, N / 2> half[2];
    __builtin_memcpy(half, &v, sizeof half);
    const RawVector<U, N / 2> both[2] = {resized<U, T, N / 2>(half[0]), resized<U, T, N / 2>(half[1])};
    R out;
    __builtin_memcpy(&out, both, sizeof out);
    return out;
  } else if constexpr (kBytes >= 16 && kTo > kFrom) {
    return (R)widened_register<kBytes, kTo, kFrom, std::is_signed_v<T>>(v);
  } else if constexpr (kBytes >= 16) {
    if constexpr (sizeof(R) == 32) {
      return (R)narrowed_register<kBytes, kTo, kFrom>(v);
    } else {
      return out_of_register<R>(narrowed_register<kBytes, kTo, kFrom>(v));
    }
#endif
  } else {
    return __builtin_convertvector(v, R);
  }
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
