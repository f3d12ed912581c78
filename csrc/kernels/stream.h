// Stores past the caches, for outputs that would fill them.
//
// For kernel files (compiled per ISA). Invariant: a task that streams ends with end_streams.
#pragma once

#include <cstring>

#include "kernels/vec.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

// Stores a whole vector, aligned, past the caches.
template <class V>
GORGO_INLINE void stream_raw(unsigned char* to, V v) noexcept {
#if defined(GORGO_ISA_AVX512)
  if constexpr (V::kBytes == 64) return _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)v.raw);
#endif
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2)
  if constexpr (V::kBytes == 32) return _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)v.raw);
#endif
#if defined(__x86_64__)
  if constexpr (V::kBytes == 16) return _mm_stream_si128(reinterpret_cast<__m128i*>(to), (__m128i)v.raw);
#endif
  std::memcpy(to, &v.raw, sizeof v.raw);
}
// What was stored so is seen by other threads before what follows is.
GORGO_INLINE void end_streams() noexcept {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
