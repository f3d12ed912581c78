// Packing: operands laid out as the micro-kernel reads them, converted to the type it computes in.
//
// A panel of B is k rows of kPanelColumns<T>, padded with zeros; a strip of A is k columns of Lanes<T>::kRows rows, of
// which the rows beyond the strip are undefined. Transposes go by square blocks in registers: log2(width) rounds of
// interleaving. Read next: gemm_cpu.cpp.
#pragma once

#include <cstdint>

#include "kernels/gemm/lanes.h"
#include "kernels/gemm/micro.h"
#include "kernels/gemm/stored.h"
#include "kernels/zip.h"

namespace gorgo::GORGO_ISA_NS {

// Reads `count` <= width rows of a vector each (`edge_lanes` of it when ragged), and transposes: v[i] is what stood at
// i of each row.
template <class S, bool kEdge>
GORGO_GEMM_INLINE void load_transposed(typename Lanes<typename Stored<S>::Compute>::Vec* v, const S* from,
                                       std::int64_t from_stride, int count, int edge_lanes) {
  using T = typename Stored<S>::Compute;
  using L = Lanes<T>;
  const auto edge = L::edge(edge_lanes);
#pragma GCC unroll 16
  for (int i = 0; i < L::kWidth; ++i) {
    v[i] = i >= count ? L::zero()
           : kEdge    ? Stored<S>::load_edge(from + i * from_stride, edge, edge_lanes)
                      : Stored<S>::load(from + i * from_stride);
  }
  transpose_square<T, L::kWidth>(v);
}

// The same, stored as rows of a full vector, `to_stride` apart.
template <class S, bool kEdge>
GORGO_GEMM_INLINE void transpose_block(typename Stored<S>::Compute* to, std::int64_t to_stride, const S* from,
                                       std::int64_t from_stride, int count, int edge_lanes) {
  using T = typename Stored<S>::Compute;
  using L = Lanes<T>;
  typename L::Vec v[L::kWidth];
  load_transposed<S, kEdge>(v, from, from_stride, count, edge_lanes);
#pragma GCC unroll 16
  for (int i = 0; i < L::kWidth; ++i) {
    if (!kEdge || i < edge_lanes) L::store(to + i * to_stride, v[i]);
  }
}

// One panel: `columns` <= kPanelColumns columns of k rows. Rows of a whole panel are fetched `ahead` of their turn, if not 0.
template <class S>
static void pack_panel(typename Stored<S>::Compute* to, const S* b, std::int64_t row_stride, std::int64_t col_stride,
                       std::int64_t k, int columns, std::int64_t ahead = 0) {
  using T = typename Stored<S>::Compute;
  using L = Lanes<T>;
  constexpr int kWidth = L::kWidth;
  constexpr int kColumns = kPanelColumns<T>;
  if (col_stride == 1 && columns == kColumns) {
    for (std::int64_t i = 0; i < k; ++i, b += row_stride, to += kColumns) {
      if (ahead != 0) {
        __builtin_prefetch(b + ahead * row_stride);
        __builtin_prefetch(b + ahead * row_stride + kWidth);
      }
      L::store(to, Stored<S>::load(b));
      L::store(to + kWidth, Stored<S>::load(b + kWidth));
    }
  } else if (col_stride == 1) {
    const int first = columns < kWidth ? columns : kWidth;
    const int second = columns - first;
    const auto first_edge = L::edge(first);
    const auto second_edge = L::edge(second);
    for (std::int64_t i = 0; i < k; ++i, b += row_stride, to += kColumns) {
      L::store(to, Stored<S>::load_edge(b, first_edge, first));
      L::store(to + kWidth, second > 0 ? Stored<S>::load_edge(b + kWidth, second_edge, second) : L::zero());
    }
  } else if (row_stride == 1) {
    for (int j = 0; j < kColumns; j += kWidth) {
      int count = columns - j;
      count = count < 0 ? 0 : count > kWidth ? kWidth : count;
      const S* from = b + j * col_stride;
      std::int64_t i = 0;
      for (; i + kWidth <= k; i += kWidth) {
        if (count == kWidth) {
          transpose_block<S, false>(to + i * kColumns + j, kColumns, from + i, col_stride, kWidth, kWidth);
        } else {
          transpose_block<S, false>(to + i * kColumns + j, kColumns, from + i, col_stride, count, kWidth);
        }
      }
      if (i < k) {
        transpose_block<S, true>(to + i * kColumns + j, kColumns, from + i, col_stride, count, static_cast<int>(k - i));
      }
    }
  } else {
    for (std::int64_t i = 0; i < k; ++i, b += row_stride, to += kColumns) {
      for (int j = 0; j < columns; ++j) to[j] = Stored<S>::value(b[j * col_stride]);
      for (int j = columns; j < kColumns; ++j) to[j] = T{0};
    }
  }
}

// Elements of a packed strip of A: the last store may run over its end.
template <class T>
constexpr std::int64_t strip_elements(std::int64_t k) {
  return k * Lanes<T>::kRows + Lanes<T>::kWidth;
}

// One strip: `rows` <= kRows rows of k columns. Stores of whole vectors run into the next column, which is written
// after them: so columns rise and, within a column, blocks of rows fall.
template <class S>
static void pack_strip(typename Stored<S>::Compute* to, const S* a, std::int64_t row_stride, std::int64_t col_stride,
                       std::int64_t k, int rows) {
  using T = typename Stored<S>::Compute;
  using L = Lanes<T>;
  constexpr int kWidth = L::kWidth;
  constexpr int kRows = L::kRows;
  constexpr int kBlocks = (kRows + kWidth - 1) / kWidth;
  if (col_stride == 1) {
    std::int64_t i = 0;
    for (; i + kWidth <= k; i += kWidth) {
      for (int block = kBlocks - 1; block >= 0; --block) {
        int count = rows - block * kWidth;
        if (count > kWidth) count = kWidth;
        if (count <= 0) continue;
        transpose_block<S, false>(to + i * kRows + block * kWidth, kRows, a + i + block * kWidth * row_stride,
                                  row_stride, count, kWidth);
      }
    }
    if (i < k) {
      for (int block = kBlocks - 1; block >= 0; --block) {
        int count = rows - block * kWidth;
        if (count > kWidth) count = kWidth;
        if (count <= 0) continue;
        transpose_block<S, true>(to + i * kRows + block * kWidth, kRows, a + i + block * kWidth * row_stride,
                                 row_stride, count, static_cast<int>(k - i));
      }
    }
  } else if (row_stride == 1) {
    for (std::int64_t i = 0; i < k; ++i, a += col_stride, to += kRows) {
      for (int block = kBlocks - 1; block >= 0; --block) {
        const int count = rows - block * kWidth;
        if (count >= kWidth) {
          L::store(to + block * kWidth, Stored<S>::load(a + block * kWidth));
        } else if (count > 0) {
          L::store(to + block * kWidth, Stored<S>::load_edge(a + block * kWidth, L::edge(count), count));
        }
      }
    }
  } else {
    for (std::int64_t i = 0; i < k; ++i, a += col_stride, to += kRows) {
      for (int r = 0; r < rows; ++r) to[r] = Stored<S>::value(a[r * row_stride]);
    }
  }
}

}  // namespace gorgo::GORGO_ISA_NS
