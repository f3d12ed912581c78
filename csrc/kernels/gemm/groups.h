// Groups: elements that are neighbours along k, which one instruction multiplies and adds up. bfloat16 goes by pairs
// (AVX512_BF16, AMX), bytes by fours (VNNI, AMX), or widened to int16 by pairs where there is neither.
//
// A word is a group in 32 bits; the words of a vector belong to neighbouring columns of B or rows of A. Where A lies
// with k contiguous, its groups are words as they stand, and the micro-kernel reads them in place. Invariant: sums of
// bytes are exact modulo 2^32, so no instruction that saturates is used, and they are unsigned: C++ has those wrap.
// Read next: gemm_groups_cpu.cpp.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#include "kernels/gemm/lanes.h"
#include "kernels/gemm/micro.h"
#include "kernels/gemm/stored.h"
#include "kernels/zip.h"

namespace gorgo::GORGO_ISA_NS {

// The sums of bytes, and the words of every group.
template <>
struct Lanes<std::uint32_t> {
  using Vec = RawVector<std::uint32_t, Lanes<float>::kWidth>;
  using Edge = Lanes<float>::Edge;
  typedef std::uint32_t Memory __attribute__((vector_size(sizeof(Vec)), aligned(4), may_alias));
  static constexpr int kWidth = Lanes<float>::kWidth;
  static constexpr int kRows = Lanes<float>::kRows;
  static constexpr bool kEdgeIsFree = Lanes<float>::kEdgeIsFree;
  GORGO_GEMM_INLINE Vec zero() { return Vec{}; }
  GORGO_GEMM_INLINE Vec load(const std::uint32_t* p) { return *reinterpret_cast<const Memory*>(p); }
  GORGO_GEMM_INLINE void store(std::uint32_t* p, Vec v) { *reinterpret_cast<Memory*>(p) = v; }
  GORGO_GEMM_INLINE Edge edge(int count) { return Lanes<float>::edge(count); }
  GORGO_GEMM_INLINE Vec load_edge(const std::uint32_t* p, Edge e) {
    return reinterpret_cast<Vec>(Lanes<float>::load_edge(reinterpret_cast<const float*>(p), e));
  }
  GORGO_GEMM_INLINE void store_edge(std::uint32_t* p, Edge e, Vec v) {
    Lanes<float>::store_edge(reinterpret_cast<float*>(p), e, reinterpret_cast<Lanes<float>::Vec>(v));
  }
  GORGO_GEMM_INLINE Vec broadcast(std::uint32_t x) { return Vec{} + x; }
  GORGO_GEMM_INLINE Vec relu(Vec v) {  // of sums as int32
    return reinterpret_cast<RawVector<std::int32_t, kWidth>>(v) > 0 ? v : Vec{};
  }
};

using Words = Lanes<std::uint32_t>::Vec;

GORGO_GEMM_INLINE Words broadcast_word(const void* p) {
  std::uint32_t word;
  std::memcpy(&word, p, sizeof(word));
  return Lanes<std::uint32_t>::broadcast(word);
}

// What the kinds of groups below tell beside Operands' facts:
//   Source       what lies in memory
//   kInPlace     words of Source are words as multiplied
//   run          the words of one lane: kWidth groups that lie side by side; with a count of elements, zeros after them
//   interleave   a word for each lane, whose elements lie `stride` apart; `lanes` and `rows` of them, zeros around
//   kFlip        an operand's other signedness, see there

#if defined(GORGO_ISA_AVX512)

// How pairs of bfloat16 become words.
struct WordsOfBFloat16 {
  using Source = BFloat16;
  using Element = BFloat16;
  using Word = std::uint32_t;
  using Sum = float;
  using Vec = Words;
  static constexpr int kGroup = 2;

  template <bool>
  GORGO_GEMM_INLINE Vec run(const BFloat16* p) {
    return reinterpret_cast<Vec>(_mm512_loadu_si512(p));
  }
  template <bool>
  GORGO_GEMM_INLINE Vec run(const BFloat16* p, int count) {
    return reinterpret_cast<Vec>(_mm512_maskz_loadu_epi16((1U << count) - 1U, p));
  }
  template <bool>
  GORGO_GEMM_INLINE Vec interleave(const BFloat16* p, std::int64_t stride) {
    return zip(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
               _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + stride)));
  }
  template <bool>
  GORGO_GEMM_INLINE Vec interleave(const BFloat16* p, std::int64_t stride, int rows, int lanes) {
    const auto mask = static_cast<__mmask16>((1U << lanes) - 1U);
    return zip(_mm256_maskz_loadu_epi16(mask, p),
               _mm256_maskz_loadu_epi16(rows == 2 ? mask : __mmask16{0}, rows == 2 ? p + stride : p));
  }

  // The first half's elements and the second's, in turn.
  GORGO_GEMM_INLINE __m512i in_turn(__m512i both) {
    typedef short Short32 __attribute__((vector_size(64)));
    constexpr Short32 kInTurn = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(reinterpret_cast<__m512i>(kInTurn), both);
  }

 private:
  GORGO_GEMM_INLINE Vec zip(__m256i even, __m256i odd) {
    return reinterpret_cast<Vec>(in_turn(_mm512_inserti64x4(_mm512_castsi256_si512(even), odd, 1)));
  }
};

// How fours of bytes do; kFlip moves them by 128 into the other signedness's range.
struct WordsOfBytes {
  using Source = std::uint8_t;
  using Element = std::uint8_t;
  using Word = std::uint32_t;
  using Sum = std::uint32_t;
  using Vec = Words;
  static constexpr int kGroup = 4;

  template <bool kFlip>
  GORGO_GEMM_INLINE Vec run(const std::uint8_t* p) {
    return flip<kFlip>(_mm512_loadu_si512(p));
  }
  template <bool kFlip>
  GORGO_GEMM_INLINE Vec run(const std::uint8_t* p, int count) {
    return flip<kFlip>(_mm512_maskz_loadu_epi8((std::uint64_t{1} << count) - 1U, p));
  }
  template <bool kFlip>
  GORGO_GEMM_INLINE Vec interleave(const std::uint8_t* p, std::int64_t stride) {
    const auto row = [&](int i) __attribute__((always_inline)) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i * stride));
    };
    return flip<kFlip>(zip(row(0), row(1), row(2), row(3)));
  }
  template <bool kFlip>
  GORGO_GEMM_INLINE Vec interleave(const std::uint8_t* p, std::int64_t stride, int rows, int lanes) {
    const auto mask = static_cast<__mmask16>((1U << lanes) - 1U);
    const auto row = [&](int i) __attribute__((always_inline)) {
      return i < rows ? _mm_maskz_loadu_epi8(mask, p + i * stride) : _mm_setzero_si128();
    };
    return flip<kFlip>(zip(row(0), row(1), row(2), row(3)));
  }

 private:
  template <bool kFlip>
  GORGO_GEMM_INLINE Vec flip(__m512i bytes) {
    return reinterpret_cast<Vec>(kFlip ? _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)) : bytes);
  }
  GORGO_GEMM_INLINE __m512i zip(__m128i a, __m128i b, __m128i c, __m128i d) {
    constexpr Words kFours = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    const __m512i rows =
        _mm512_inserti32x4(_mm512_inserti32x4(_mm512_inserti32x4(_mm512_castsi128_si512(a), b, 1), c, 2), d, 3);
    const __m512i fours = _mm512_permutexvar_epi32(reinterpret_cast<__m512i>(kFours), rows);
    const __m128i square = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_shuffle_epi8(fours, _mm512_broadcast_i32x4(square));
  }
};

#endif

struct PairsOfBFloat16 {};

#if defined(GORGO_ISA_AMX)

// Tiles multiply words (tiles.h); bytes of either signedness go as they are.
struct FoursOfBytes {};

template <>
struct Operands<PairsOfBFloat16> : WordsOfBFloat16 {};
template <>
struct Operands<FoursOfBytes> : WordsOfBytes {};

#elif defined(GORGO_ISA_AVX512_BF16)

template <>
struct Operands<PairsOfBFloat16> : WordsOfBFloat16 {
  using Narrow = BFloat16;
  static constexpr bool kInPlace = true;
  GORGO_GEMM_INLINE Vec load(const Word* p) { return Lanes<Word>::load(p); }
  GORGO_GEMM_INLINE Vec broadcast(const BFloat16* p) { return broadcast_word(p); }
  GORGO_GEMM_INLINE __m512 multiply_add(Vec a, Vec b, __m512 c) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  GORGO_GEMM_INLINE void narrow(BFloat16* p, __m512 v) { Stored<BFloat16>::store(p, v); }
  GORGO_GEMM_INLINE void narrow_edge(BFloat16* p, Lanes<float>::Edge edge, int count, __m512 v) {
    Stored<BFloat16>::store_edge(p, edge, count, v);
  }
};

// gemm_groups_cpu.cpp has them.
template <>
struct SharedMicro<PairsOfBFloat16> {
  [[gnu::visibility("hidden")]] static const MicroTable<PairsOfBFloat16> table;
};

#elif defined(GORGO_ISA_AVX512_VNNI)

// The instruction multiplies unsigned bytes with signed ones. A is read as it is; B is, if it has A's signedness, moved
// by 128 (kFlip) into the other range, and 128 times the sums of A's rows set that right.
template <bool kSignedA>
struct FoursOfBytes {};

template <bool kSignedA>
struct Operands<FoursOfBytes<kSignedA>> : WordsOfBytes {
  using Narrow = std::uint8_t;
  static constexpr bool kInPlace = true;
  GORGO_GEMM_INLINE Vec load(const Word* p) { return Lanes<Word>::load(p); }
  GORGO_GEMM_INLINE Vec broadcast(const std::uint8_t* p) { return broadcast_word(p); }
  GORGO_GEMM_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
    // GCC 12 copies the sums around the intrinsic of this instruction.
    const Vec& of_unsigned = kSignedA ? b : a;
    const Vec& of_signed = kSignedA ? a : b;
    __asm__("vpdpbusd %2, %1, %0" : "+v"(c) : "v"(of_unsigned), "v"(of_signed));
    return c;
  }
  GORGO_GEMM_INLINE void narrow(std::uint8_t* p, Vec v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v)));
  }
  GORGO_GEMM_INLINE void narrow_edge(std::uint8_t* p, Lanes<float>::Edge edge, int, Vec v) {
    _mm_mask_storeu_epi8(p, edge, _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v)));
  }
};

// The sums over k of `count` bytes of A that lie side by side.
template <bool kSignedA>
GORGO_GEMM_INLINE std::uint32_t sum_of_bytes(const std::uint8_t* p, std::int64_t count) {
  using O = Operands<FoursOfBytes<kSignedA>>;
  const Words ones = Words{} + 0x01010101;
  Words sum{};
  std::int64_t i = 0;
  for (; i + 64 <= count; i += 64) sum = O::multiply_add(O::template run<false>(p + i), ones, sum);
  if (i < count) sum = O::multiply_add(O::template run<false>(p + i, static_cast<int>(count - i)), ones, sum);
  return static_cast<std::uint32_t>(_mm512_reduce_add_epi32(reinterpret_cast<__m512i>(sum)));
}

#else

// Bytes widened to int16: the sum of two products of bytes fits int32. kFlip: the bytes are signed.
struct PairsOfInt16 {};

template <>
struct Operands<PairsOfInt16> {
  using Source = std::uint8_t;
  using Element = std::int16_t;
  using Narrow = std::uint8_t;
  using Word = std::uint32_t;
  using Sum = std::uint32_t;
  using Vec = Words;
  static constexpr int kGroup = 2;
  static constexpr bool kInPlace = false;
  static constexpr int kWidth = Lanes<Word>::kWidth;
  GORGO_GEMM_INLINE Vec load(const Word* p) { return Lanes<Word>::load(p); }
  GORGO_GEMM_INLINE Vec broadcast(const std::int16_t* p) { return broadcast_word(p); }
  GORGO_GEMM_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
#if defined(GORGO_ISA_AVX512)
    return c + reinterpret_cast<Vec>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(GORGO_ISA_AVX2)
    return c + reinterpret_cast<Vec>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__SSE2__)
    return c + reinterpret_cast<Vec>(_mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
    using Signed = RawVector<std::int32_t, kWidth>;
    const auto low = [](Vec v) { return reinterpret_cast<Signed>(v << 16) >> 16; };
    const auto high = [](Vec v) { return reinterpret_cast<Signed>(v) >> 16; };
    return c + reinterpret_cast<Vec>(low(a) * low(b) + high(a) * high(b));
#endif
  }
  GORGO_GEMM_INLINE void narrow(std::uint8_t* p, Vec v) {
#if defined(GORGO_ISA_AVX512)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v)));
#else
    for (int i = 0; i < kWidth; ++i) p[i] = static_cast<std::uint8_t>(v[i]);
#endif
  }
  GORGO_GEMM_INLINE void narrow_edge(std::uint8_t* p, Lanes<float>::Edge, int count, Vec v) {
    alignas(64) Word lanes[kWidth];
    Lanes<Word>::store(lanes, v);
    for (int i = 0; i < count; ++i) p[i] = static_cast<std::uint8_t>(lanes[i]);
  }

  template <bool kFlip>
  GORGO_GEMM_INLINE Vec run(const std::uint8_t* p) {
#if defined(GORGO_ISA_AVX512)
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return reinterpret_cast<Vec>(kFlip ? _mm512_cvtepi8_epi16(bytes) : _mm512_cvtepu8_epi16(bytes));
#elif defined(GORGO_ISA_AVX2)
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return reinterpret_cast<Vec>(kFlip ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes));
#else
    Vec words;
    for (int i = 0; i < kWidth; ++i) words[i] = pair<kFlip>(p[2 * i], p[2 * i + 1]);
    return words;
#endif
  }
  template <bool kFlip>
  GORGO_GEMM_INLINE Vec run(const std::uint8_t* p, int count) {
    std::uint8_t bytes[2 * kWidth] = {};
    for (int i = 0; i < count; ++i) bytes[i] = p[i];
    return run<kFlip>(bytes);
  }
  template <bool kFlip>
  GORGO_GEMM_INLINE Vec interleave(const std::uint8_t* p, std::int64_t stride) {
#if defined(GORGO_ISA_AVX512)
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + stride));
    const __m256i bytes =
        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi8(a, b)), _mm_unpackhi_epi8(a, b), 1);
    return reinterpret_cast<Vec>(kFlip ? _mm512_cvtepi8_epi16(bytes) : _mm512_cvtepu8_epi16(bytes));
#elif defined(GORGO_ISA_AVX2)
    const __m128i bytes = _mm_unpacklo_epi8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)),
                                            _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + stride)));
    return reinterpret_cast<Vec>(kFlip ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes));
#else
    Vec words;
    for (int i = 0; i < kWidth; ++i) words[i] = pair<kFlip>(p[i], p[stride + i]);
    return words;
#endif
  }
  template <bool kFlip>
  GORGO_GEMM_INLINE Vec interleave(const std::uint8_t* p, std::int64_t stride, int rows, int lanes) {
    std::uint8_t bytes[2 * kWidth] = {};
    for (int row = 0; row < rows; ++row) {
      for (int i = 0; i < lanes; ++i) bytes[row * kWidth + i] = p[row * stride + i];
    }
    return interleave<kFlip>(bytes, kWidth);
  }

 private:
  template <bool kFlip>
  GORGO_GEMM_INLINE Word pair(std::uint8_t low, std::uint8_t high) {
    const auto widen = [](std::uint8_t x) {
      return static_cast<std::uint16_t>(kFlip ? static_cast<std::int16_t>(static_cast<std::int8_t>(x))
                                              : std::int16_t{x});
    };
    return Word{widen(high)} << 16 | widen(low);
  }
};

#endif

template <class T>
GORGO_GEMM_INLINE std::int64_t words_of(std::int64_t k) {
  constexpr int kGroup = Operands<T>::kGroup;
  return (k + kGroup - 1) / kGroup;
}

// Rows of k elements side by side, copied as words of one row side by side: `to_stride` words apart, which whole vectors
// fit into. What the micro-kernel reads as it reads A in place.
template <class T, bool kFlip>
static void copy_rows(std::uint32_t* to, std::int64_t to_stride, const typename Operands<T>::Source* from,
                      std::int64_t row_stride, std::int64_t k, int rows) {
  using O = Operands<T>;
  using L = Lanes<std::uint32_t>;
  constexpr int kRun = L::kWidth * O::kGroup;
  for (int row = 0; row < rows; ++row, to += to_stride, from += row_stride) {
    std::uint32_t* at = to;
    std::int64_t i = 0;
    for (; i + kRun <= k; i += kRun, at += L::kWidth) L::store(at, O::template run<kFlip>(from + i));
    if (i < k) L::store(at, O::template run<kFlip>(from + i, static_cast<int>(k - i)));
  }
}

// Where packed lanes go: words of one k stand `word_stride` apart; each further vector of lanes `vector_stride` after the
// last, or `pair_stride` after the one before that.
struct PackedLanes {
  std::int64_t word_stride = 0;
  std::int64_t vector_stride = 0;
  std::int64_t pair_stride = 0;
  [[nodiscard]] GORGO_INLINE std::int64_t at(int vector) const {
    return vector / 2 * pair_stride + vector % 2 * vector_stride;
  }
};

// Packs `lanes` lanes of k elements: words_of(k) of each. Whole vectors are stored, in rising order.
template <class T, bool kFlip>
static void pack_words(std::uint32_t* to, PackedLanes packed, const typename Operands<T>::Source* from,
                       std::int64_t lane_stride, std::int64_t k_stride, std::int64_t k, int lanes) {
  using O = Operands<T>;
  using L = Lanes<std::uint32_t>;
  constexpr int kWidth = L::kWidth;
  constexpr int kGroup = O::kGroup;
  if (k_stride == 1) {
    constexpr int kRun = kWidth * kGroup;
    const auto transposed = [&](std::int64_t i, int count, int here, std::uint32_t* at) __attribute__((always_inline)) {
      const auto* const first = from + i;
      Words v[kWidth];
#pragma GCC unroll 16
      for (int lane = 0; lane < kWidth; ++lane) {
        const auto* const p = first + lane * lane_stride;
        v[lane] = lane >= here    ? L::zero()
                  : count == kRun ? O::template run<kFlip>(p)
                                  : O::template run<kFlip>(p, count);
        if (lane < here && count == kRun) __builtin_prefetch(p + 8 * kRun);
      }
      transpose_square<std::uint32_t, kWidth>(v);
#pragma GCC unroll 16
      for (int word = 0; word < kWidth; ++word, at += packed.word_stride) {
        if (word * kGroup < count) L::store(at, v[word]);
      }
    };
    for (int lane = 0; lane < lanes; lane += kWidth, from += kWidth * lane_stride) {
      const int here = lanes - lane < kWidth ? lanes - lane : kWidth;
      std::uint32_t* at = to + packed.at(lane / kWidth);
      std::int64_t i = 0;
      for (; i + kRun <= k; i += kRun, at += kWidth * packed.word_stride) transposed(i, kRun, here, at);
      if (i < k) transposed(i, static_cast<int>(k - i), here, at);
    }
    return;
  }
  if (lane_stride == 1 && lanes < kWidth) {  // a strip of A
    std::int64_t i = 0;
    for (; i + kGroup <= k; i += kGroup, to += packed.word_stride) {
      L::store(to, O::template interleave<kFlip>(from + i * k_stride, k_stride, kGroup, lanes));
    }
    if (i < k) {
      L::store(to, O::template interleave<kFlip>(from + i * k_stride, k_stride, static_cast<int>(k - i), lanes));
    }
    return;
  }
  const int whole = lane_stride == 1 ? lanes / kWidth : 0;
  for (std::int64_t i = 0; i < k; i += kGroup, to += packed.word_stride, from += kGroup * k_stride) {
    const auto rows = static_cast<int>(k - i < kGroup ? k - i : kGroup);
    const int vectors = rows == kGroup ? whole : 0;
    for (int j = 0; j < vectors; ++j) {
      L::store(to + packed.at(j), O::template interleave<kFlip>(from + j * kWidth, k_stride));
    }
    for (int j = vectors; j * kWidth < lanes; ++j) {
      const int here = lanes - j * kWidth < kWidth ? lanes - j * kWidth : kWidth;
      if (lane_stride == 1) {
        L::store(to + packed.at(j), O::template interleave<kFlip>(from + j * kWidth, k_stride, rows, here));
      } else {
        typename O::Source gathered[kGroup * kWidth] = {};
        for (int row = 0; row < rows; ++row) {
          for (int lane = 0; lane < here; ++lane) {
            gathered[row * kWidth + lane] = from[(j * kWidth + lane) * lane_stride + row * k_stride];
          }
        }
        L::store(to + packed.at(j), O::template interleave<kFlip>(gathered, kWidth));
      }
    }
  }
}

}  // namespace gorgo::GORGO_ISA_NS
