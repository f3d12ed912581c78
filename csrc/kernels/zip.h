// Interleaving of two vectors and its reverse, and what they make: transposes of square blocks, sums across lanes, elements by twos.
//
// For kernel files (compiled per ISA). Read next: vec.h.
#pragma once

#include <utility>

#include "kernels/vec.h"

namespace gorgo::GORGO_ISA_NS {

// For any vector type of N elements T.
template <class T, int N>
struct Zip {
  using Index [[maybe_unused]] = RawVector<SignedLike<T>, N>;
  using Places = std::make_integer_sequence<int, N>;

  // a0 b0 a1 b1 ... of the first halves, and of the second.
  template <class Raw>
  GORGO_INLINE static Raw low(Raw a, Raw b) {
    return zip<0>(a, b, Places{});
  }
  template <class Raw>
  GORGO_INLINE static Raw high(Raw a, Raw b) {
    return zip<N / 2>(a, b, Places{});
  }
  // a0 a2 ... b0 b2 ..., and a1 a3 ... b1 b3 ...
  template <class Raw>
  GORGO_INLINE static Raw even(Raw a, Raw b) {
    return unzip<0>(a, b, Places{});
  }
  template <class Raw>
  GORGO_INLINE static Raw odd(Raw a, Raw b) {
    return unzip<1>(a, b, Places{});
  }
  // The lower halves of all runs of 2 * kHalf lanes, a's before b's, and the upper ones.
  template <int kHalf, class Raw>
  GORGO_INLINE static Raw lower(Raw a, Raw b) {
    return halves<kHalf, 0>(a, b, Places{});
  }
  template <int kHalf, class Raw>
  GORGO_INLINE static Raw upper(Raw a, Raw b) {
    return halves<kHalf, kHalf>(a, b, Places{});
  }

 private:
#if defined(__clang__)
#define GORGO_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define GORGO_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Index{__VA_ARGS__})
#endif
  template <int From, class Raw, int... I>
  GORGO_INLINE static Raw zip(Raw a, Raw b, std::integer_sequence<int, I...>) {
    return GORGO_SHUFFLE(a, b, (From + I / 2 + I % 2 * N)...);
  }
  template <int From, class Raw, int... I>
  GORGO_INLINE static Raw unzip(Raw a, Raw b, std::integer_sequence<int, I...>) {
    return GORGO_SHUFFLE(a, b, (From + 2 * I)...);
  }
  template <int kHalf, int From, class Raw, int... I>
  GORGO_INLINE static Raw halves(Raw a, Raw b, std::integer_sequence<int, I...>) {
    return GORGO_SHUFFLE(a, b, (From + I / kHalf * 2 * kHalf + I % kHalf)...);
  }
#undef GORGO_SHUFFLE
};

// In place: lane i of v[0] becomes the sum of v[i]'s lanes, halves by halves.
template <class T, int N, int kHalf = N / 2, class Raw>
GORGO_INLINE void sum_square(Raw* v) {
#pragma GCC unroll 8
  for (int i = 0; i < kHalf; ++i) {
    v[i] = Zip<T, N>::template lower<kHalf>(v[2 * i], v[2 * i + 1]) +
           Zip<T, N>::template upper<kHalf>(v[2 * i], v[2 * i + 1]);
  }
  if constexpr (kHalf > 1) sum_square<T, N, kHalf / 2>(v);
}

// In place: v[i] becomes column i of the square whose N rows were v, after log2(N) rounds.
template <class T, int N, class Raw>
GORGO_INLINE void transpose_square(Raw* v) {
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (sizeof(T) == 8 && N == 4) {  // within halves of a register, then between them
    const auto ab_even = _mm256_unpacklo_pd((__m256d)v[0], (__m256d)v[1]);
    const auto ab_odd = _mm256_unpackhi_pd((__m256d)v[0], (__m256d)v[1]);
    const auto cd_even = _mm256_unpacklo_pd((__m256d)v[2], (__m256d)v[3]);
    const auto cd_odd = _mm256_unpackhi_pd((__m256d)v[2], (__m256d)v[3]);
    v[0] = (Raw)_mm256_permute2f128_pd(ab_even, cd_even, 0x20);
    v[1] = (Raw)_mm256_permute2f128_pd(ab_odd, cd_odd, 0x20);
    v[2] = (Raw)_mm256_permute2f128_pd(ab_even, cd_even, 0x31);
    v[3] = (Raw)_mm256_permute2f128_pd(ab_odd, cd_odd, 0x31);
    return;
  }
#endif
#pragma GCC unroll 4
  for (int round = 1; round < N; round *= 2) {
    Raw out[N];
#pragma GCC unroll 16
    for (int i = 0; i < N / 2; ++i) {
      out[2 * i] = Zip<T, N>::low(v[i], v[i + N / 2]);
      out[2 * i + 1] = Zip<T, N>::high(v[i], v[i + N / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) v[i] = out[i];
  }
}

}  // namespace gorgo::GORGO_ISA_NS
