// The upper half of the product of 16-bit numbers, for division by multiplication.
//
// For kernel files (compiled per ISA). Read next: ops/elementwise/uniform.h.
#pragma once

#include "kernels/vec.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

template <int N>
GORGO_INLINE Vec<std::uint16_t, N> high_product(Vec<std::uint16_t, N> a, Vec<std::uint16_t, N> b) {
  using R [[maybe_unused]] = RawVector<std::uint16_t, N>;
#if defined(GORGO_ISA_AVX512)
  if constexpr (N == 32) return {(R)_mm512_mulhi_epu16((__m512i)a.raw, (__m512i)b.raw)};
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (N == 16) return {(R)_mm256_mulhi_epu16((__m256i)a.raw, (__m256i)b.raw)};
#endif
  return convert<std::uint16_t>(shift_right_by<16>(convert<std::uint32_t>(a) * convert<std::uint32_t>(b)));
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
