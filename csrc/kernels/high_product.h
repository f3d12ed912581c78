// The upper halves of products of 16 and of 64 bits, for division by multiplication.
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

__extension__ using UInt128 = unsigned __int128;

// The products of the lower halves of lanes.
template <int N>
GORGO_INLINE Vec<std::uint64_t, N> product_of_low_halves(Vec<std::uint64_t, N> a, Vec<std::uint64_t, N> b) {
  using R [[maybe_unused]] = RawVector<std::uint64_t, N>;
#if defined(GORGO_ISA_AVX512)
  if constexpr (N == 8) return {(R)_mm512_mul_epu32((__m512i)a.raw, (__m512i)b.raw)};
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (N == 4) return {(R)_mm256_mul_epu32((__m256i)a.raw, (__m256i)b.raw)};
#endif
  const auto low = broadcast<Vec<std::uint64_t, N>>(0xffffffffu);
  return (a & low) * (b & low);
}
template <int N>
GORGO_INLINE Vec<std::uint64_t, N> high_product(Vec<std::uint64_t, N> a, Vec<std::uint64_t, N> b) {
  const auto a_high = shift_right_by<32>(a);
  const auto b_high = shift_right_by<32>(b);
  const auto low = product_of_low_halves(a, b);
  const auto middle = product_of_low_halves(a_high, b) + shift_right_by<32>(low);
  const auto rest = product_of_low_halves(a, b_high) + (middle & broadcast<Vec<std::uint64_t, N>>(0xffffffffu));
  return product_of_low_halves(a_high, b_high) + shift_right_by<32>(middle) + shift_right_by<32>(rest);
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
