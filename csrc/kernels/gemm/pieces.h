// float32 as a sum of bfloat16 pieces: x = high + middle + low, exactly, while no piece is denormal. Strips of A and panels of B are split while
// they are packed for tiles, and the sizes of their numbers are noted.
//
// Tiles multiply the pieces; the products left out are smaller than a rounding of the ones kept. Not so for infinities, NaN,
// numbers near the ends of the range and what is denormal: fits() tells, from the sizes in a row of A and in a panel of B, whether
// tiles give what multiply-adds would. Read next: gemm_tiles_cpu.cpp.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/counts.h"
#include "core/float32_mode.h"
#include "kernels/gemm/groups.h"
#include "kernels/gemm/lanes.h"
#include "kernels/gemm/tile_sums.h"

namespace gorgo::GORGO_ISA_NS {

// Sums over k go in blocks of at most this many steps: what is added up in one tile then stays less than a chain of
// multiply-adds would round away, and strips and panels stay in L2.
constexpr std::int64_t kBlockSteps = 16;
constexpr std::int64_t kStepK = 2 * kTileWords;  // elements of k in a step
constexpr std::int64_t kBlockK = kBlockSteps * kStepK;
constexpr int kMostPieces = 3;

// The extreme sizes of the numbers of a row of A or of a panel of B, as the bits of a float without its sign, which order as the sizes do.
struct Extremes {
  std::uint32_t greatest = 0;
  std::uint32_t least_greatest = 0;         // of a panel: in the column where it is least; of a row: the same
  std::uint32_t least = ~std::uint32_t{0};  // of those that are not zero, minus one
  std::uint32_t least_of_all = ~std::uint32_t{0};
};

// The same for each of sixteen lanes.
struct LaneSizes {
  __m512i greatest = _mm512_setzero_si512();
  __m512i least = _mm512_set1_epi32(-1);
  __m512i least_of_all = _mm512_set1_epi32(-1);

  GORGO_INLINE void note(__m512i bits, __mmask16 which) {
    const __m512i size = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
    greatest = _mm512_mask_max_epu32(greatest, which, greatest, size);
    least = _mm512_mask_min_epu32(least, which, least, _mm512_sub_epi32(size, _mm512_set1_epi32(1)));
    least_of_all = _mm512_mask_min_epu32(least_of_all, which, least_of_all, size);
  }
  GORGO_INLINE void note(__m512 numbers) { note(_mm512_castps_si512(numbers), 0xffff); }
  // From and to arrays, where least_of_all is left out.
  GORGO_INLINE void join(const std::uint32_t* greatest_at, const std::uint32_t* least_at) {
    greatest = _mm512_max_epu32(greatest, _mm512_loadu_si512(greatest_at));
    least = _mm512_min_epu32(least, _mm512_loadu_si512(least_at));
  }
  GORGO_INLINE void store(std::uint32_t* greatest_at, std::uint32_t* least_at, __mmask16 which) const {
    _mm512_mask_storeu_epi32(greatest_at, which, greatest);
    _mm512_mask_storeu_epi32(least_at, which, least);
  }
  GORGO_INLINE void join(const LaneSizes& other) {
    greatest = _mm512_max_epu32(greatest, other.greatest);
    least = _mm512_min_epu32(least, other.least);
    least_of_all = _mm512_min_epu32(least_of_all, other.least_of_all);
  }
  // Of a row, whose numbers are in all lanes.
  [[nodiscard]] GORGO_INLINE Extremes of_row() const {
    const std::uint32_t most = _mm512_reduce_max_epu32(greatest);
    return {most, most, _mm512_reduce_min_epu32(least), _mm512_reduce_min_epu32(least_of_all)};
  }
  // Of the columns that the lanes are.
  [[nodiscard]] GORGO_INLINE Extremes of_columns(__mmask16 which) const {
    return {_mm512_reduce_max_epu32(greatest), _mm512_mask_reduce_min_epu32(which, greatest),
            _mm512_reduce_min_epu32(least), _mm512_reduce_min_epu32(least_of_all)};
  }
};

GORGO_GEMM_INLINE Extremes join(const Extremes& a, const Extremes& b) {
  const auto less = [](std::uint32_t x, std::uint32_t y) { return x < y ? x : y; };
  return {a.greatest > b.greatest ? a.greatest : b.greatest, less(a.least_greatest, b.least_greatest),
          less(a.least, b.least), less(a.least_of_all, b.least_of_all)};
}

// Exponents are biased by 127 in what follows; a sum over a block has at most 2^9 terms.
constexpr std::int64_t kBlockBits = 9;
static_assert(kBlockK == std::int64_t{1} << kBlockBits);

// No sum over a block overflows, whatever its order: its terms add up to less than 2^127.
GORGO_GEMM_INLINE bool stays_finite(const Extremes& a, const Extremes& b) {
  constexpr std::int64_t kMostExponent = 253;  // of what is never rounded up to infinity
  const std::int64_t ea = a.greatest >> 23;
  const std::int64_t eb = b.greatest >> 23;
  return ea <= kMostExponent && eb <= kMostExponent && ea + eb + kBlockBits <= 2 * 127 + 124;
}
// Nothing that counts is denormal: all pieces are normal numbers, and so are their products as far down as a rounding of the
// whole.
GORGO_GEMM_INLINE bool stays_normal(const Extremes& a, const Extremes& b) {
  constexpr std::int64_t kLeastExponent = 127 - 102;
  constexpr std::int64_t kLeastProduct = 2 * 127 - 100;
  if (a.greatest == 0 || b.greatest == 0) return true;
  const std::int64_t ea = (a.least + 1) >> 23;
  const std::int64_t eb = (b.least + 1) >> 23;
  return ea >= kLeastExponent && eb >= kLeastExponent && ea + eb >= kLeastProduct;
}
// What is lost as denormal is less than a quarter of a rounding, beside one product of which no factor is missing: the largest
// number of the row, or of the column, with the least of the other.
GORGO_GEMM_INLINE bool loses_nothing(const Extremes& a, const Extremes& b) {
  const std::int64_t ea = a.greatest >> 23;
  const std::int64_t eb = b.greatest >> 23;
  // A piece is lost below 2^-126, two at most of an element, and so are products: 3 terms for each of a block's elements.
  const std::int64_t lost = kBlockBits + 2 + most(most(ea, eb), 127 + 1) - 127 - 124;  // plain exponent
  const auto product = [](std::int64_t greatest, std::uint32_t least_of_all) {
    const std::int64_t exponent = least_of_all >> 23;
    return exponent == 0 ? std::int64_t{-1000} : greatest + exponent - 2 * 127;
  };
  return lost + 26 <= most(product(ea, b.least_of_all), product(b.least_greatest >> 23, a.least_of_all));
}

GORGO_GEMM_INLINE bool fits(const Extremes& a, const Extremes& b) {
  return stays_finite(a, b) && (stays_normal(a, b) || loses_nothing(a, b));
}

// The pieces of sixteen numbers, as floats whose low halves are zero. All but the last are rounded, and what is left is exact;
// the last is to nearest even, which changes nothing where it is the third.
template <int kPieces>
GORGO_GEMM_INLINE void split(__m512 x, __m512i* pieces) {
  const __m512i high_half = _mm512_set1_epi32(static_cast<int>(0xffff0000U));
#pragma GCC unroll 3
  for (int i = 0; i < kPieces; ++i) {
    const __m512i bits = _mm512_castps_si512(x);
    if (i == 2) {
      pieces[i] = _mm512_and_si512(bits, high_half);  // eight digits are left
    } else if (i + 1 == kPieces) {
      const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
      const __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
      pieces[i] = _mm512_and_si512(up, high_half);
    } else {
      pieces[i] = _mm512_and_si512(_mm512_add_epi32(bits, _mm512_set1_epi32(0x8000)), high_half);
      x = _mm512_sub_ps(x, _mm512_castsi512_ps(pieces[i]));
    }
  }
}

// The high halves of two vectors, one after the other.
GORGO_GEMM_INLINE __m512i high_halves(__m512i first, __m512i second) {
  typedef short Short32 __attribute__((vector_size(64)));
  constexpr Short32 kHighHalves = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                   33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  return _mm512_permutex2var_epi16(first, reinterpret_cast<__m512i>(kHighHalves), second);
}

// Splits two vectors and stores each piece as sixteen words, pieces piece_stride bytes apart: pairs of one's numbers and the other's, or the
// one's neighbours and then the other's.
template <int kPieces, bool kPairs>
GORGO_GEMM_INLINE void split_to_words(__m512 x, __m512 y, unsigned char* to, std::int64_t piece_stride) {
#if defined(GORGO_ISA_AVX512_BF16)
  if constexpr (kPieces == 1) {  // what is denormal becomes zero, which it counts as
    const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(y, x));
    _mm512_storeu_si512(to, kPairs ? WordsOfBFloat16::in_turn(both) : both);
    return;
  }
#endif
  __m512i of_x[kPieces];
  __m512i of_y[kPieces];
  split<kPieces>(x, of_x);
  split<kPieces>(y, of_y);
#pragma GCC unroll 3
  for (int i = 0; i < kPieces; ++i) {
    _mm512_storeu_si512(to + i * piece_stride, kPairs ? _mm512_or_si512(_mm512_srli_epi32(of_x[i], 16), of_y[i])
                                                      : high_halves(of_x[i], of_y[i]));
  }
}

// Into how many pieces numbers are split as things are set.
GORGO_GEMM_INLINE int pieces_now() {
  switch (float32_mode_now()) {
    case Float32Mode::highest:
      return 3;
    case Float32Mode::high:
      return 2;
    default:
      return 1;
  }
}

template <class Use>
GORGO_GEMM_INLINE void with_pieces(int pieces, const Use& use) {
  if (pieces == 3) {
    use(std::integral_constant<int, 3>{});
  } else if (pieces == 2) {
    use(std::integral_constant<int, 2>{});
  } else {
    use(std::integral_constant<int, 1>{});
  }
}

// use(row, height) for the rows of a strip that `which` has a bit for, as many adjacent ones at a time as multiply-adds take.
template <class Use>
GORGO_GEMM_INLINE void each_run_of_rows(std::uint32_t which, int rows, const Use& use) {
  for (int row = 0; row < rows;) {
    int height = 0;
    while (height < Lanes<float>::kRows && row + height < rows && (which >> (row + height) & 1U) != 0) ++height;
    if (height > 0) use(row, height);
    row += height > 0 ? height : 1;
  }
}

// Rows of A as they are read: row r of step s at from + r * row_stride + s * step_stride, kStepK numbers side by side.
struct StepRows {
  const float* from = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t step_stride = 0;
};

// The pieces of kStepK numbers side by side at `from`, those behind the edges zero.
template <int kPieces>
GORGO_GEMM_INLINE void split_step_of_row(unsigned char* to, const float* from, Lanes<float>::Edge edge0,
                                         Lanes<float>::Edge edge1, LaneSizes& sizes) {
  using L = Lanes<float>;
  const __m512 x0 = L::load_edge(from, edge0);
  const __m512 x1 = L::load_edge(from + L::kWidth, edge1);
  sizes.note(_mm512_castps_si512(x0), edge0);
  sizes.note(_mm512_castps_si512(x1), edge1);
  split_to_words<kPieces, false>(x0, x1, to, kStepBytes);
}

// Splits rows [first, last) of one step into a strip at `to`: `count` <= kStepK numbers each, and zeros behind them.
template <int kPieces>
static void split_rows(unsigned char* to, const StepRows& rows, std::int64_t step, int count, int first, int last,
                       LaneSizes* sizes) {
  using L = Lanes<float>;
  constexpr int kWidth = L::kWidth;
  const auto edge0 = L::edge(count < kWidth ? count : kWidth);
  const auto edge1 = L::edge(count < kWidth ? 0 : count - kWidth);
  to += step * kPieces * kStepBytes;
  const float* from = rows.from + step * rows.step_stride;
  for (int row = first; row < last; ++row) {
    split_step_of_row<kPieces>(to + row * kTileRowBytes, from + row * rows.row_stride, edge0, edge1, sizes[row]);
  }
}

// Splits a step of a panel of B: `count` <= kStepK rows of `columns` numbers at `from`; kTilePanel numbers of each row may be
// read. There are sizes for each of the panel's vectors.
template <int kPieces>
static void split_panel_step(unsigned char* to, const float* from, std::int64_t row_stride, int count, int columns,
                             LaneSizes* sizes) {
  using L = Lanes<float>;
  constexpr int kWidth = L::kWidth;
  for (int j = 0; j < columns; j += kWidth) {
    const auto edge = L::edge(columns - j < kWidth ? columns - j : kWidth);
    LaneSizes noted = sizes[j / kWidth];
    for (int k = 0; k < static_cast<int>(kStepK); k += 2) {
      const float* p = from + k * row_stride + j;
      const __m512 even = k < count ? L::load(p) : L::zero();
      const __m512 odd = k + 1 < count ? L::load(p + row_stride) : L::zero();
      if (k < count) noted.note(_mm512_castps_si512(even), edge);
      if (k + 1 < count) noted.note(_mm512_castps_si512(odd), edge);
      split_to_words<kPieces, true>(even, odd, to + k / 2 * kPanelStride + j * 4, kStepBytes);
    }
    sizes[j / kWidth] = noted;
  }
}

// Splits a step of a panel of B whose columns lie as rows: kStepK numbers of each.
template <int kPieces>
static void split_columns(unsigned char* to, const float* from, std::int64_t row_stride, int columns,
                          LaneSizes* sizes) {
  alignas(64) unsigned char strip[kPieces * kStepBytes];
  std::memset(strip, 0, sizeof(strip));
  split_rows<kPieces>(strip, {from, row_stride, 0}, 0, static_cast<int>(kStepK), 0, columns, sizes);
  for (int tile = 0; tile < 2 * kPieces; ++tile) {
    Words v[kTileWords];
    for (int i = 0; i < kTileWords; ++i)
      v[i] = Lanes<std::uint32_t>::load(reinterpret_cast<const std::uint32_t*>(strip + tile * kTileBytes) +
                                        i * kTileWords);
    transpose_square<std::uint32_t, kTileWords>(v);
    auto* const words = reinterpret_cast<std::uint32_t*>(to + tile / 2 * kStepBytes + tile % 2 * kTileRowBytes);
    for (int i = 0; i < kTileWords; ++i) Lanes<std::uint32_t>::store(words + i * kPanelStride / 4, v[i]);
  }
}

}  // namespace gorgo::GORGO_ISA_NS
