// How an element lies in memory against how it is computed: Stored<S> reads vectors of S as the lanes of its compute
// type, and rounds results back (to nearest, ties to even). Read next: pack.h.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "kernels/gemm/lanes.h"
#include "kernels/vec.h"

namespace gorgo::GORGO_ISA_NS {

template <class S>
struct Stored {
  using Compute = S;
  using L = Lanes<S>;
  static constexpr bool kConverts = false;
  GORGO_GEMM_INLINE S value(S x) { return x; }
  GORGO_GEMM_INLINE S round(S x) { return x; }
  GORGO_GEMM_INLINE typename L::Vec load(const S* p) { return L::load(p); }
  GORGO_GEMM_INLINE typename L::Vec load_edge(const S* p, typename L::Edge edge, int) { return L::load_edge(p, edge); }
  GORGO_GEMM_INLINE void store(S* p, typename L::Vec v) { L::store(p, v); }
  GORGO_GEMM_INLINE void store_edge(S* p, typename L::Edge edge, int, typename L::Vec v) { L::store_edge(p, edge, v); }
};

// The 16-bit floats go through float one element at a time; with a constant count the compiler makes vectors of these
// loops, and what AVX2 and AVX-512 convert in one instruction is written out below.
template <class S>
struct StoredHalf {
  using Compute = float;
  using L = Lanes<float>;
  using Vec = L::Vec;
  static constexpr bool kConverts = true;
  GORGO_GEMM_INLINE float value(S x) { return static_cast<float>(x); }
  GORGO_GEMM_INLINE S round(float x) { return S(x); }
  GORGO_GEMM_INLINE Vec load_edge(const S* p, L::Edge, int count) {
    float lanes[L::kWidth] = {};
    for (int i = 0; i < count; ++i) lanes[i] = static_cast<float>(p[i]);
    return L::load(lanes);
  }
  GORGO_GEMM_INLINE Vec load(const S* p) {
    float lanes[L::kWidth];
    for (int i = 0; i < L::kWidth; ++i) lanes[i] = static_cast<float>(p[i]);
    return L::load(lanes);
  }
  GORGO_GEMM_INLINE void store_edge(S* p, L::Edge, int count, Vec v) {
    float lanes[L::kWidth];
    L::store(lanes, v);
    for (int i = 0; i < count; ++i) p[i] = S(lanes[i]);
  }
  GORGO_GEMM_INLINE void store(S* p, Vec v) {
    float lanes[L::kWidth];
    L::store(lanes, v);
    for (int i = 0; i < L::kWidth; ++i) p[i] = S(lanes[i]);
  }
};

template <>
struct Stored<BFloat16> : StoredHalf<BFloat16> {
  using Values = gorgo::GORGO_ISA_NS::Vec<float, L::kWidth>;  // the same lanes as other kernels know them
#if defined(GORGO_ISA_AVX512)
  GORGO_GEMM_INLINE Vec widen(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  GORGO_GEMM_INLINE Vec load(const BFloat16* p) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  GORGO_GEMM_INLINE Vec load_edge(const BFloat16* p, L::Edge edge, int) {
    return widen(_mm256_maskz_loadu_epi16(edge, p));
  }
#if defined(GORGO_ISA_AVX512_BF16)
  GORGO_GEMM_INLINE __m256i narrow(Vec v) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)); }
  GORGO_GEMM_INLINE void store(BFloat16* p, Vec v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(v)); }
  GORGO_GEMM_INLINE void store_edge(BFloat16* p, L::Edge edge, int, Vec v) {
    _mm256_mask_storeu_epi16(p, edge, narrow(v));
  }
#else
  GORGO_GEMM_INLINE void store(BFloat16* p, Vec v) { gorgo::GORGO_ISA_NS::store(p, Values{(Values::Raw)v}); }
  GORGO_GEMM_INLINE void store_edge(BFloat16* p, L::Edge, int count, Vec v) {
    store_partial(p, Values{(Values::Raw)v}, count);
  }
#endif
#elif defined(GORGO_ISA_AVX2)
  GORGO_GEMM_INLINE Vec load(const BFloat16* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  GORGO_GEMM_INLINE void store(BFloat16* p, Vec v) { gorgo::GORGO_ISA_NS::store(p, Values{(Values::Raw)v}); }
#endif
};

template <>
struct Stored<Float16> : StoredHalf<Float16> {
#if defined(GORGO_ISA_AVX512)
  GORGO_GEMM_INLINE Vec load(const Float16* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  GORGO_GEMM_INLINE Vec load_edge(const Float16* p, L::Edge edge, int) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(edge, p));
  }
  GORGO_GEMM_INLINE void store(Float16* p, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  GORGO_GEMM_INLINE void store_edge(Float16* p, L::Edge edge, int, Vec v) {
    _mm256_mask_storeu_epi16(p, edge, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
#elif defined(GORGO_ISA_AVX2)
  GORGO_GEMM_INLINE Vec load(const Float16* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  GORGO_GEMM_INLINE void store(Float16* p, Vec v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
#endif
};

}  // namespace gorgo::GORGO_ISA_NS
