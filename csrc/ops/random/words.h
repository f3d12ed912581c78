// What the words of a draw become: uniforms, integers and decisions, on every device the same bits.
//
// For kernel files (compiled per ISA). Read next: philox.h (where words come from), kernels_cpu.cpp, kernels_cuda.cu.
#pragma once

#include <type_traits>

#include "core/dtype.h"

namespace gorgo::GORGO_ISA_NS {

// Element i of a 64-bit draw.
GORGO_INLINE uint64_t wide_word(const uint32_t* words, int64_t i) noexcept {
  return words[2 * i] | static_cast<uint64_t>(words[2 * i + 1]) << 32;
}

// A word's leading bits as a number in [0, 1), as many as T holds exactly.
template <class T>
GORGO_INLINE ComputeType<T> unit_of(const uint32_t* words, int64_t i) noexcept {
  if constexpr (std::is_same_v<T, double>) {
    return static_cast<double>(wide_word(words, i) >> 11) * 0x1p-53;
  } else if constexpr (std::is_same_v<T, float>) {
    return static_cast<float>(words[i] >> 8) * 0x1p-24f;
  } else if constexpr (std::is_same_v<T, Float16>) {
    return static_cast<float>(words[i] >> 21) * 0x1p-11f;
  } else {
    return static_cast<float>(words[i] >> 24) * 0x1p-8f;
  }
}

// Element i of a 64-bit draw mapped to [0, range) by the high half of a product: the bias is below range / 2**64.
GORGO_INLINE uint64_t scaled_word(const uint32_t* words, int64_t i, uint64_t range) noexcept {
  // The high 64 bits of (hi, lo) * range, by halves: portable, and the same everywhere.
  const uint64_t hi = words[2 * i + 1];
  const uint64_t lo = words[2 * i];
  const uint64_t range_hi = range >> 32;
  const uint64_t range_lo = range & 0xffffffffu;
  const uint64_t middle = hi * range_lo + (lo * range_lo >> 32);
  const uint64_t other = lo * range_hi + (middle & 0xffffffffu);
  return hi * range_hi + (middle >> 32) + (other >> 32);
}

// Words below this are a success of probability p; 2**32 when p is 1.
GORGO_INLINE uint64_t threshold_of(double p) noexcept { return static_cast<uint64_t>(p * 0x1p32); }

template <class C>
GORGO_INLINE C dropout_scale(double p) noexcept {
  return static_cast<C>(p < 1.0 ? 1.0 / (1.0 - p) : 0.0);
}

}  // namespace gorgo::GORGO_ISA_NS
