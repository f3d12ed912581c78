// The vector of one instruction set, as the matrix kernels need it: load, store, broadcast, fma, and the two
// interleavings from which transposes are built.
//
// Lanes<T> is specialised for float and double. Everything is force-inlined and lives in the ISA's namespace, so that
// no copy compiled for a wider instruction set can be linked into a narrower one. Edge accesses touch the first `count`
// lanes only. Read next: micro.h.
#pragma once

#include <cstdint>

#if defined(GORGO_ISA_AVX2) || defined(GORGO_ISA_AVX512)
#include <immintrin.h>
#endif

#define GORGO_GEMM_INLINE static inline __attribute__((always_inline))

namespace gorgo::GORGO_ISA_NS {

template <class T>
struct Lanes;

// What the micro-kernel multiplies: for float and double an element of A with one of B. Where an instruction multiplies
// several neighbours along k and adds them up, a word holds so many of them (groups.h).
template <class T>
struct Operands {
  using Element = T;  // A's, in memory
  using Word = T;     // B's
  using Sum = T;
  using Vec = typename Lanes<T>::Vec;
  static constexpr int kGroup = 1;  // elements in a word
  GORGO_GEMM_INLINE Vec load(const T* p) { return Lanes<T>::load(p); }
  GORGO_GEMM_INLINE Vec broadcast(const T* p) { return Lanes<T>::broadcast(*p); }
  GORGO_GEMM_INLINE Vec multiply_add(Vec a, Vec b, Vec c) { return Lanes<T>::fma(a, b, c); }
};

#if defined(GORGO_ISA_AVX512)

template <>
struct Lanes<float> {
  using Vec = __m512;
  using Edge = __mmask16;
  static constexpr int kWidth = 16;
  static constexpr int kRows = 14;           // 14 x 2 accumulators, 2 vectors of B, 1 broadcast: 31 of 32 registers
  static constexpr bool kEdgeIsFree = true;  // a masked access costs what a plain one does
  GORGO_GEMM_INLINE Vec zero() { return _mm512_setzero_ps(); }
  GORGO_GEMM_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
  GORGO_GEMM_INLINE void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  GORGO_GEMM_INLINE Edge edge(int count) { return static_cast<Edge>((1U << count) - 1U); }
  GORGO_GEMM_INLINE Vec load_edge(const float* p, Edge e) { return _mm512_maskz_loadu_ps(e, p); }
  // Lanes [first, last) of a vector, zeros around them.
  using Part = Edge;
  GORGO_GEMM_INLINE Part part(int first, int last) { return static_cast<Edge>(edge(last) & ~edge(first)); }
  GORGO_GEMM_INLINE Vec load_part(const float* p, Part e) { return _mm512_maskz_loadu_ps(e, p); }
  GORGO_GEMM_INLINE Vec load_range(const float* p, int first, int last) { return load_part(p, part(first, last)); }
  GORGO_GEMM_INLINE void store_edge(float* p, Edge e, Vec v) { _mm512_mask_storeu_ps(p, e, v); }
  GORGO_GEMM_INLINE Vec broadcast(float x) { return _mm512_set1_ps(x); }
  GORGO_GEMM_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  GORGO_GEMM_INLINE Vec relu(Vec v) { return _mm512_max_ps(_mm512_setzero_ps(), v); }
  GORGO_GEMM_INLINE Vec keep_where_positive(Vec gate, Vec v) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(gate, _mm512_setzero_ps(), _CMP_NLE_UQ), v);
  }
  GORGO_GEMM_INLINE float fma_one(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  GORGO_GEMM_INLINE float sum(Vec v) { return _mm512_reduce_add_ps(v); }
};

template <>
struct Lanes<double> {
  using Vec = __m512d;
  using Edge = __mmask8;
  static constexpr int kWidth = 8;
  static constexpr int kRows = 14;
  static constexpr bool kEdgeIsFree = true;
  GORGO_GEMM_INLINE Vec zero() { return _mm512_setzero_pd(); }
  GORGO_GEMM_INLINE Vec load(const double* p) { return _mm512_loadu_pd(p); }
  GORGO_GEMM_INLINE void store(double* p, Vec v) { _mm512_storeu_pd(p, v); }
  GORGO_GEMM_INLINE Edge edge(int count) { return static_cast<Edge>((1U << count) - 1U); }
  GORGO_GEMM_INLINE Vec load_edge(const double* p, Edge e) { return _mm512_maskz_loadu_pd(e, p); }
  // Lanes [first, last) of a vector, zeros around them.
  using Part = Edge;
  GORGO_GEMM_INLINE Part part(int first, int last) { return static_cast<Edge>(edge(last) & ~edge(first)); }
  GORGO_GEMM_INLINE Vec load_part(const double* p, Part e) { return _mm512_maskz_loadu_pd(e, p); }
  GORGO_GEMM_INLINE Vec load_range(const double* p, int first, int last) { return load_part(p, part(first, last)); }
  GORGO_GEMM_INLINE void store_edge(double* p, Edge e, Vec v) { _mm512_mask_storeu_pd(p, e, v); }
  GORGO_GEMM_INLINE Vec broadcast(double x) { return _mm512_set1_pd(x); }
  GORGO_GEMM_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_pd(a, b, c); }
  GORGO_GEMM_INLINE Vec relu(Vec v) { return _mm512_max_pd(_mm512_setzero_pd(), v); }
  GORGO_GEMM_INLINE Vec keep_where_positive(Vec gate, Vec v) {
    return _mm512_maskz_mov_pd(_mm512_cmp_pd_mask(gate, _mm512_setzero_pd(), _CMP_NLE_UQ), v);
  }
  GORGO_GEMM_INLINE double fma_one(double a, double b, double c) { return __builtin_fma(a, b, c); }
  GORGO_GEMM_INLINE double sum(Vec v) { return _mm512_reduce_add_pd(v); }
};

#elif defined(GORGO_ISA_AVX2)

// Masks for maskload: a window of this table that starts 8 (4) before the end of the ones.
alignas(64) static constexpr std::int32_t kEdgeWindow[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

template <>
struct Lanes<float> {
  using Vec = __m256;
  struct Edge {
    __m256i mask;
    int count;
  };
  static constexpr int kWidth = 8;
  static constexpr int kRows = 6;  // 6 x 2 accumulators, 2 vectors of B, 1 broadcast: 15 of 16 registers
  static constexpr bool kEdgeIsFree = false;
  GORGO_GEMM_INLINE Vec zero() { return _mm256_setzero_ps(); }
  GORGO_GEMM_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
  GORGO_GEMM_INLINE void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
  GORGO_GEMM_INLINE Edge edge(int count) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(kEdgeWindow + 8 - count)), count};
  }
  GORGO_GEMM_INLINE Vec load_edge(const float* p, Edge e) { return _mm256_maskload_ps(p, e.mask); }
  using Part = __m256i;
  GORGO_GEMM_INLINE Part part(int first, int last) { return _mm256_andnot_si256(edge(first).mask, edge(last).mask); }
  GORGO_GEMM_INLINE Vec load_part(const float* p, Part lanes) { return _mm256_maskload_ps(p, lanes); }
  GORGO_GEMM_INLINE Vec load_range(const float* p, int first, int last) { return load_part(p, part(first, last)); }
  GORGO_GEMM_INLINE void store_edge(float* p, Edge e, Vec v) {
    // A masked store takes tens of cycles on AMD's cores, a few narrower ones do not.
    if (e.count == kWidth) return store(p, v);
    __m128 left = _mm256_castps256_ps128(v);
    if ((e.count & 4) != 0) {
      _mm_storeu_ps(p, left);
      left = _mm256_extractf128_ps(v, 1);
      p += 4;
    }
    if ((e.count & 2) != 0) {
      _mm_storel_pi(reinterpret_cast<__m64*>(p), left);
      left = _mm_movehl_ps(left, left);
      p += 2;
    }
    if ((e.count & 1) != 0) _mm_store_ss(p, left);
  }
  GORGO_GEMM_INLINE Vec broadcast(float x) { return _mm256_set1_ps(x); }
  GORGO_GEMM_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  GORGO_GEMM_INLINE Vec relu(Vec v) { return _mm256_max_ps(_mm256_setzero_ps(), v); }
  GORGO_GEMM_INLINE Vec keep_where_positive(Vec gate, Vec v) {
    return _mm256_and_ps(_mm256_cmp_ps(gate, _mm256_setzero_ps(), _CMP_NLE_UQ), v);
  }
  GORGO_GEMM_INLINE float fma_one(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  GORGO_GEMM_INLINE float sum(Vec v) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
};

template <>
struct Lanes<double> {
  using Vec = __m256d;
  struct Edge {
    __m256i mask;
    int count;
  };
  static constexpr int kWidth = 4;
  static constexpr int kRows = 6;
  static constexpr bool kEdgeIsFree = false;
  GORGO_GEMM_INLINE Vec zero() { return _mm256_setzero_pd(); }
  GORGO_GEMM_INLINE Vec load(const double* p) { return _mm256_loadu_pd(p); }
  GORGO_GEMM_INLINE void store(double* p, Vec v) { _mm256_storeu_pd(p, v); }
  GORGO_GEMM_INLINE Edge edge(int count) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(kEdgeWindow + 8 - 2 * count)), count};
  }
  GORGO_GEMM_INLINE Vec load_edge(const double* p, Edge e) { return _mm256_maskload_pd(p, e.mask); }
  using Part = __m256i;
  GORGO_GEMM_INLINE Part part(int first, int last) { return _mm256_andnot_si256(edge(first).mask, edge(last).mask); }
  GORGO_GEMM_INLINE Vec load_part(const double* p, Part lanes) { return _mm256_maskload_pd(p, lanes); }
  GORGO_GEMM_INLINE Vec load_range(const double* p, int first, int last) { return load_part(p, part(first, last)); }
  GORGO_GEMM_INLINE void store_edge(double* p, Edge e, Vec v) {
    if (e.count == kWidth) return store(p, v);
    __m128d left = _mm256_castpd256_pd128(v);
    if ((e.count & 2) != 0) {
      _mm_storeu_pd(p, left);
      left = _mm256_extractf128_pd(v, 1);
      p += 2;
    }
    if ((e.count & 1) != 0) _mm_store_sd(p, left);
  }
  GORGO_GEMM_INLINE Vec broadcast(double x) { return _mm256_set1_pd(x); }
  GORGO_GEMM_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_pd(a, b, c); }
  GORGO_GEMM_INLINE Vec relu(Vec v) { return _mm256_max_pd(_mm256_setzero_pd(), v); }
  GORGO_GEMM_INLINE Vec keep_where_positive(Vec gate, Vec v) {
    return _mm256_and_pd(_mm256_cmp_pd(gate, _mm256_setzero_pd(), _CMP_NLE_UQ), v);
  }
  GORGO_GEMM_INLINE double fma_one(double a, double b, double c) { return __builtin_fma(a, b, c); }
  GORGO_GEMM_INLINE double sum(Vec v) {
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
};

#else

// 16-byte vectors of the compiler: SSE2 on x86, where a product is rounded before its sum, and NEON on ARM.
template <class T, class Int>
struct GenericLanes {
  typedef T Vec __attribute__((vector_size(16)));
  typedef Int IntVec __attribute__((vector_size(16)));
  typedef T Unaligned __attribute__((vector_size(16), aligned(alignof(T)), may_alias));
  using Edge = int;
  static constexpr int kWidth = static_cast<int>(16 / sizeof(T));
  static constexpr int kRows = 6;
  static constexpr bool kEdgeIsFree = false;
  GORGO_GEMM_INLINE Vec zero() { return Vec{}; }
  GORGO_GEMM_INLINE Vec load(const T* p) { return *reinterpret_cast<const Unaligned*>(p); }
  GORGO_GEMM_INLINE void store(T* p, Vec v) { *reinterpret_cast<Unaligned*>(p) = v; }
  GORGO_GEMM_INLINE Edge edge(int count) { return count; }
  GORGO_GEMM_INLINE Vec load_edge(const T* p, Edge e) {
    Vec v{};
    for (int i = 0; i < kWidth; ++i) v[i] = i < e ? p[i] : T{0};
    return v;
  }
  struct Part {
    int first, last;
  };
  GORGO_GEMM_INLINE Part part(int first, int last) { return {first, last}; }
  GORGO_GEMM_INLINE Vec load_part(const T* p, Part lanes) {
    Vec v{};
    for (int i = 0; i < kWidth; ++i) v[i] = i >= lanes.first && i < lanes.last ? p[i] : T{0};
    return v;
  }
  GORGO_GEMM_INLINE Vec load_range(const T* p, int first, int last) { return load_part(p, part(first, last)); }
  GORGO_GEMM_INLINE void store_edge(T* p, Edge e, Vec v) {
    for (int i = 0; i < kWidth; ++i) {
      if (i < e) p[i] = v[i];
    }
  }
  GORGO_GEMM_INLINE Vec broadcast(T x) {
    Vec v{};
    for (int i = 0; i < kWidth; ++i) v[i] = x;
    return v;
  }
#if defined(__ARM_FEATURE_FMA)
  GORGO_GEMM_INLINE T fma_one(T a, T b, T c) {
    if constexpr (sizeof(T) == 4) {
      return __builtin_fmaf(a, b, c);
    } else {
      return __builtin_fma(a, b, c);
    }
  }
  GORGO_GEMM_INLINE Vec fma(Vec a, Vec b, Vec c) {
    for (int i = 0; i < kWidth; ++i) c[i] = fma_one(a[i], b[i], c[i]);
    return c;
  }
#else
  GORGO_GEMM_INLINE T fma_one(T a, T b, T c) { return a * b + c; }
  GORGO_GEMM_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
#endif
  GORGO_GEMM_INLINE T sum(Vec v) {
    if constexpr (kWidth == 4) {
      return (v[0] + v[2]) + (v[1] + v[3]);
    } else {
      return v[0] + v[1];
    }
  }
  GORGO_GEMM_INLINE Vec relu(Vec v) { return v < Vec{} ? Vec{} : v; }
  GORGO_GEMM_INLINE Vec keep_where_positive(Vec gate, Vec v) { return gate <= Vec{} ? Vec{} : v; }
};

template <>
struct Lanes<float> : GenericLanes<float, std::int32_t> {};
template <>
struct Lanes<double> : GenericLanes<double, std::int64_t> {};

#endif

}  // namespace gorgo::GORGO_ISA_NS
