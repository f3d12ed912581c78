// The micro-kernel: a tile of C, at most kTileRows<T> rows by two vectors, kept in registers over one block of k.
//
// Each element is one chain of multiply-adds over k in rising order, starting from zero, whatever the tile's size and wherever A
// and B lie: that is the invariant of gemm.h. run_micro picks the instantiation for a tile's rows, vectors, layout of A
// and ragged last vector. Read next: pack.h.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/gemm/lanes.h"

namespace gorgo {

// T: what is multiplied (Operands). One type for all sets, so that some may share tables of functions.
template <class T, class Element, class Word, class Sum>
struct MicroArgsOf {
  const Element* a = nullptr;
  std::int64_t a_row_stride = 0;  // not read when rows are adjacent
  std::int64_t a_col_stride = 0;  // from one k, or group of them, to the next
  const Word* b = nullptr;        // k rows of adjacent columns; groups are padded to whole vectors
  std::int64_t b_row_stride = 0;
  const std::int32_t* b_at = nullptr;  // run_micro_at: where row k begins, instead of b_row_stride
  Sum* c = nullptr;
  std::int64_t c_row_stride = 0;
  void* narrow = nullptr;  // groups only: where the sums go in C's narrower type; c is then only read, if `add`
  std::int64_t narrow_row_stride = 0;
  std::int64_t k = 0;             // in groups
  int edge_lanes = 0;             // lanes in use of the last vector
  bool add = false;               // c += instead of c =
  bool relu = false;              // after all sums
  const Sum* bias = nullptr;      // of the tile's columns, or null
  const Sum* row_bias = nullptr;  // of the tile's rows, or null
};

template <class Args, int kRows>
struct MicroTableOf {
  void (*at[kRows][2][2][2])(const Args&);  // rows - 1, vectors - 1, adjacent rows, ragged last vector
};

#if defined(GORGO_ISA_AVX512)
namespace isa_avx512 {
[[gnu::visibility("hidden")]] extern const MicroTableOf<MicroArgsOf<float, float, float, float>, 14> float_micro_table;
}
#endif

}  // namespace gorgo

namespace gorgo::GORGO_ISA_NS {

template <class T>
using MicroArgs = MicroArgsOf<T, typename Operands<T>::Element, typename Operands<T>::Word, typename Operands<T>::Sum>;

// Columns of a panel of B: two vectors.
template <class T>
constexpr int kPanelColumns = 2 * Lanes<typename Operands<T>::Sum>::kWidth;
template <class T>
constexpr int kTileRows = Lanes<typename Operands<T>::Sum>::kRows;

// Sums over k go in blocks of at most this many: a panel's block of rows then stays near the core while strips of A pass by
// (384 x 32 floats are 48 KiB), and rounding errors grow more slowly than in one long chain.
constexpr std::int64_t kMaxBlockK = 384;

struct BlocksOfK {
  std::int64_t count = 1;
  std::int64_t size = 0;
};
// Even blocks of multiples of eight; depends on k alone.
GORGO_GEMM_INLINE BlocksOfK blocks_of_k(std::int64_t k, std::int64_t most = kMaxBlockK) {
  if (k <= most) return {1, k};
  const std::int64_t count = (k + most - 1) / most;
  const std::int64_t size = ((k + count - 1) / count + 7) & ~std::int64_t{7};
  return {(k + size - 1) / size, size};
}

// Packed B is fetched so many rows before they are multiplied: the first strip of A to meet a block of it finds it in an
// outer cache or in memory.
constexpr int kRowsAhead = 32;

// kAt: rows of B lie where b_at says, and whole vectors of them may be read.
template <class T, int kRows, int kVectors, bool kAdjacentRows, bool kEdge, bool kAt = false>
static void micro(const MicroArgs<T>& g) {
  using O = Operands<T>;
  using Sum = typename O::Sum;
  using L = Lanes<Sum>;
  using Vec = typename L::Vec;
  constexpr int kLast = kVectors - 1;
  // Rows in threes, so that [p], [p + s] and [p + 2 s] come from one pointer and one stride in registers.
  constexpr int kGroups = kAdjacentRows ? 1 : (kRows + 2) / 3;
  const std::int64_t s = g.a_row_stride;
  const std::int64_t a_step = g.a_col_stride;
  const std::int64_t b_step = g.b_row_stride;
  const typename O::Element* a[kGroups];
#pragma GCC unroll 8
  for (int i = 0; i < kGroups; ++i) a[i] = g.a + 3 * i * s;
  const typename O::Word* b = g.b;
  const auto edge = L::edge(g.edge_lanes);
  // Strips of A are packed for large products only; numbers of four bytes come fast enough by themselves.
  constexpr bool kFetches = kAdjacentRows && !kAt && 2 * kRows > kTileRows<T> && sizeof(Sum) == 8;
  constexpr int kLine = 64 / static_cast<int>(sizeof(typename O::Word));
  const std::int64_t ahead = kRowsAhead * b_step;

  Vec acc[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) acc[i][j] = L::zero();
  }
  const std::int32_t* at = g.b_at;
  for (std::int64_t k = g.k; k > 0; --k) {
    if constexpr (kAt) b = g.b + *at++;
    typename O::Vec bv[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kLast; ++j) bv[j] = O::load(b + j * L::kWidth);
    if constexpr (kEdge && !kAt && O::kGroup == 1) {
      bv[kLast] = L::load_edge(b + kLast * L::kWidth, edge);
    } else {
      bv[kLast] = O::load(b + kLast * L::kWidth);
    }
    if constexpr (kFetches) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors * L::kWidth; j += kLine) __builtin_prefetch(b + ahead + j);
    }
    if constexpr (!kAt) b += b_step;
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const typename O::Vec av = O::broadcast(kAdjacentRows ? a[0] + i * O::kGroup : a[i / 3 % kGroups] + (i % 3) * s);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) acc[i][j] = O::multiply_add(av, bv[j], acc[i][j]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kGroups; ++i) a[i] += a_step;
  }

  Sum* c = g.c;
  const auto read = [&](const Sum* row, int j) __attribute__((always_inline)) {
    return kEdge && j == kLast ? L::load_edge(row + j * L::kWidth, edge) : L::load(row + j * L::kWidth);
  };
  if (g.add) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) acc[i][j] = read(c + i * g.c_row_stride, j) + acc[i][j];
    }
  }
  if (g.bias != nullptr) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      const Vec bias = read(g.bias, j);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) acc[i][j] = acc[i][j] + bias;
    }
  }
  if (g.row_bias != nullptr) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const Vec bias = L::broadcast(g.row_bias[i]);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) acc[i][j] = acc[i][j] + bias;
    }
  }
  if (g.relu) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) acc[i][j] = L::relu(acc[i][j]);
    }
  }
  if constexpr (O::kGroup > 1) {
    if (g.narrow != nullptr) {
      auto* to = static_cast<typename O::Narrow*>(g.narrow);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i, to += g.narrow_row_stride) {
#pragma GCC unroll 8
        for (int j = 0; j < kLast; ++j) O::narrow(to + j * L::kWidth, acc[i][j]);
        if constexpr (kEdge) {
          O::narrow_edge(to + kLast * L::kWidth, edge, g.edge_lanes, acc[i][kLast]);
        } else {
          O::narrow(to + kLast * L::kWidth, acc[i][kLast]);
        }
      }
      return;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    Sum* row = c + i * g.c_row_stride;
#pragma GCC unroll 8
    for (int j = 0; j < kLast; ++j) L::store(row + j * L::kWidth, acc[i][j]);
    if constexpr (kEdge) {
      L::store_edge(row + kLast * L::kWidth, edge, acc[i][kLast]);
    } else {
      L::store(row + kLast * L::kWidth, acc[i][kLast]);
    }
  }
}

template <class T>
using MicroTable = MicroTableOf<MicroArgs<T>, kTileRows<T>>;

template <class T, int... kRowsMinus1>
static constexpr MicroTable<T> make_micro_table(std::integer_sequence<int, kRowsMinus1...>) noexcept {
  constexpr bool kPlainIsEdge = Lanes<typename Operands<T>::Sum>::kEdgeIsFree;
  return {{{{{micro<T, kRowsMinus1 + 1, 1, false, kPlainIsEdge>, micro<T, kRowsMinus1 + 1, 1, false, true>},
             {micro<T, kRowsMinus1 + 1, 1, true, kPlainIsEdge>, micro<T, kRowsMinus1 + 1, 1, true, true>}},
            {{micro<T, kRowsMinus1 + 1, 2, false, kPlainIsEdge>, micro<T, kRowsMinus1 + 1, 2, false, true>},
             {micro<T, kRowsMinus1 + 1, 2, true, kPlainIsEdge>, micro<T, kRowsMinus1 + 1, 2, true, true>}}}...}};
}

// One copy of these kernels serves all who multiply: gemm_cpu.cpp has it, for the sets over AVX-512 that of AVX-512.
template <class T>
struct SharedMicro;
template <>
struct SharedMicro<float> {
#if defined(GORGO_ISA_AVX512)
  static constexpr const MicroTable<float>& table = isa_avx512::float_micro_table;
#else
  [[gnu::visibility("hidden")]] static const MicroTable<float> table;
#endif
};
template <>
struct SharedMicro<double> {
  [[gnu::visibility("hidden")]] static const MicroTable<double> table;
};

// Computes a tile of `rows` by `columns` (at most kRows by kPanelColumns). The caller fills all of `args` but
// edge_lanes.
template <class T>
GORGO_GEMM_INLINE void run_micro_of(const MicroTable<T>& table, MicroArgs<T>& args, int rows, int columns,
                                    bool adjacent_rows) {
  constexpr int kWidth = kPanelColumns<T> / 2;
  const bool two = columns > kWidth;
  args.edge_lanes = two ? columns - kWidth : columns;
  table.at[rows - 1][two][adjacent_rows][args.edge_lanes != kWidth](args);
}
template <class T>
GORGO_GEMM_INLINE void run_micro(MicroArgs<T>& args, int rows, int columns, bool adjacent_rows) {
  run_micro_of(SharedMicro<T>::table, args, rows, columns, adjacent_rows);
}

// The same for rows of B that lie anywhere: rows - 1, vectors - 1, adjacent rows, ragged last vector.
template <class T, int... kRowsMinus1>
static constexpr MicroTable<T> make_micro_at_table(std::integer_sequence<int, kRowsMinus1...>) noexcept {
  constexpr bool kPlainIsEdge = Lanes<typename Operands<T>::Sum>::kEdgeIsFree;
  return {{{{{micro<T, kRowsMinus1 + 1, 1, false, kPlainIsEdge, true>, micro<T, kRowsMinus1 + 1, 1, false, true, true>},
             {micro<T, kRowsMinus1 + 1, 1, true, kPlainIsEdge, true>, micro<T, kRowsMinus1 + 1, 1, true, true, true>}},
            {{micro<T, kRowsMinus1 + 1, 2, false, kPlainIsEdge, true>, micro<T, kRowsMinus1 + 1, 2, false, true, true>},
             {micro<T, kRowsMinus1 + 1, 2, true, kPlainIsEdge, true>,
              micro<T, kRowsMinus1 + 1, 2, true, true, true>}}}...}};
}

template <class T>
static constexpr MicroTable<T> kMicroAtTable = make_micro_at_table<T>(std::make_integer_sequence<int, kTileRows<T>>{});

// As run_micro, with `b_at` filled in. What lies behind a row's `columns` is read, up to whole vectors, and not used.
template <class T>
GORGO_GEMM_INLINE void run_micro_at(MicroArgs<T>& args, int rows, int columns, bool adjacent_rows) {
  run_micro_of(kMicroAtTable<T>, args, rows, columns, adjacent_rows);
}

}  // namespace gorgo::GORGO_ISA_NS
