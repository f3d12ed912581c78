// Which elements of a block are not zero, as the bits of one number, and the places of such bits.
//
// For kernel files (compiled per ISA). Read next: ops/index/kernels_cpu_nonzero.cpp.
#pragma once

#include "kernels/vec.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

constexpr int kPlacesBlock = 64;
// Whether ones_of takes vectors, and not one element after the other.
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
constexpr bool kOnesByVectors = true;
#else
constexpr bool kOnesByVectors = false;
#endif

// Which of 64 elements, of `kParts` numbers each, are not zero.
template <class U, int kParts>
GORGO_INLINE uint64_t ones_of(const U* p, U telling) noexcept {
  uint64_t ones = 0;
  if constexpr (kParts == 1) {
#if defined(GORGO_ISA_AVX512)
    constexpr int kLanes = 64 / static_cast<int>(sizeof(U));
    const auto tell = (__m512i)broadcast<Vec<U>>(telling).raw;
    for (int i = 0; i < kPlacesBlock; i += kLanes) {
      const auto v = (__m512i)load_raw<Vec<U>>(p + i).raw;
      if constexpr (sizeof(U) == 1) ones |= _mm512_test_epi8_mask(v, tell);
      if constexpr (sizeof(U) == 2) ones |= static_cast<uint64_t>(_mm512_test_epi16_mask(v, tell)) << i;
      if constexpr (sizeof(U) == 4) ones |= static_cast<uint64_t>(_mm512_test_epi32_mask(v, tell)) << i;
      if constexpr (sizeof(U) == 8) ones |= static_cast<uint64_t>(_mm512_test_epi64_mask(v, tell)) << i;
    }
    return ones;
#elif defined(GORGO_ISA_AVX2)
    constexpr int kLanes = 32 / static_cast<int>(sizeof(U));
    using V = Vec<U>;
    const auto zeros = [&](int i) GORGO_INLINE_LAMBDA {
      return (__m256i)((load_raw<V>(p + i) & broadcast<V>(telling)) == broadcast<V>(U{0})).raw;
    };
    for (int i = 0; i < kPlacesBlock; i += 32) {
      uint32_t some = 0;
      if constexpr (sizeof(U) == 1) {
        some = static_cast<uint32_t>(_mm256_movemask_epi8(zeros(i)));
      } else if constexpr (sizeof(U) == 2) {
        const auto packed = _mm256_packs_epi16(zeros(i), zeros(i + kLanes));
        some = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_permute4x64_epi64(packed, 0xd8)));
      } else {
        for (int j = 0; j < 32; j += kLanes) {
          const auto z = zeros(i + j);
          const int mask = sizeof(U) == 4 ? _mm256_movemask_ps((__m256)z) : _mm256_movemask_pd((__m256d)z);
          some |= static_cast<uint32_t>(mask) << j;
        }
      }
      ones |= static_cast<uint64_t>(~some) << i;
    }
    return ones;
#endif
  }
  for (int i = 0; i < kPlacesBlock; ++i) {
    U part = 0;
    for (int k = 0; k < kParts; ++k)
      part = static_cast<U>(part | (load_raw<Vec<U, 1>>(p + i * kParts + k).raw[0] & telling));
    ones |= static_cast<uint64_t>(part != 0) << i;
  }
  return ones;
}

// Writes first + the places of the ones, and returns where the next belongs. Up to `end` more may be overwritten.
GORGO_INLINE int64_t* write_places(uint64_t ones, int64_t first, int64_t* to, const int64_t* end) noexcept {
#if defined(GORGO_ISA_AVX512)
  if (end - to >= kPlacesBlock) {
    auto places = _mm512_add_epi64(_mm512_set1_epi64(first), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
    for (; ones != 0; ones >>= 8) {
      const auto eight = static_cast<__mmask8>(ones);
      _mm512_storeu_si512(to, _mm512_maskz_compress_epi64(eight, places));
      to += __builtin_popcount(eight);
      places = _mm512_add_epi64(places, _mm512_set1_epi64(8));
    }
    return to;
  }
#elif defined(GORGO_ISA_AVX2)
  // For each set of four lanes, which to take, as pairs of 32-bit lanes.
  alignas(32) static constexpr auto kTaken = [] {
    struct Table {
      int32_t lanes[16][8];
    } table{};
    for (int set = 0; set < 16; ++set) {
      int at = 0;
      for (int i = 0; i < 4; ++i) {
        if ((set >> i & 1) == 0) continue;
        table.lanes[set][at++] = 2 * i;
        table.lanes[set][at++] = 2 * i + 1;
      }
    }
    return table;
  }();
  if (end - to >= kPlacesBlock) {
    auto places = _mm256_add_epi64(_mm256_set1_epi64x(first), _mm256_setr_epi64x(0, 1, 2, 3));
    for (; ones != 0; ones >>= 4) {
      const auto four = static_cast<int>(ones & 15);
      const auto lanes = _mm256_load_si256(reinterpret_cast<const __m256i*>(kTaken.lanes[four]));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permutevar8x32_epi32(places, lanes));
      to += __builtin_popcount(static_cast<unsigned>(four));
      places = _mm256_add_epi64(places, _mm256_set1_epi64x(4));
    }
    return to;
  }
#endif
  static_cast<void>(end);
  for (; ones != 0; ones &= ones - 1) *to++ = first + __builtin_ctzll(ones);
  return to;
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
