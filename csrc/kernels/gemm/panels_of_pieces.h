// What products of float32 by pieces of bfloat16 have in common, on tiles or by AVX512_BF16: panels of B in pieces with the sizes of
// their numbers, and multiply-adds for the rows of A that these do not fit.
//
// Read next: gemm_tiles_cpu.cpp, rounded.h.
#pragma once

#include <cstdint>

#include "core/counts.h"
#include "kernels/gemm/finish.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/lanes.h"
#include "kernels/gemm/micro.h"
#include "kernels/gemm/pack.h"
#include "kernels/gemm/pieces.h"
#include "kernels/gemm/tile_sums.h"

namespace gorgo::GORGO_ISA_NS {

struct Range {
  std::int64_t begin, end;
};
GORGO_GEMM_INLINE int columns_at(const GemmProblem& p, std::int64_t panel) {
  return static_cast<int>(least(kTilePanel, p.n - panel * kTilePanel));
}

// What a packed panel of a block of k holds.
struct PanelFacts {
  Extremes sizes;
  std::int32_t pieces = 0;
};

// At most kPackPanels panels of a block of k side by side at `to`, panel_bytes apart, and zeros up to a whole step: rows of B are read as far as all of
// them reach.
template <int kPieces>
__attribute__((noinline)) static void pack_panels_of_pieces(const GemmProblem& p, const Range& block, unsigned char* to,
                                                            std::int64_t panel_bytes, const Range& panels,
                                                            PanelFacts* facts) {
  alignas(64) float copy[kStepK * kTilePanel];
  LaneSizes sizes[kPackPanels][2];
  for (std::int64_t k = block.begin; k < block.end; k += kStepK, to += kPieces * kStepBytes) {
    const auto count = static_cast<int>(least(kStepK, block.end - k));
    for (std::int64_t panel = panels.begin; panel < panels.end; ++panel) {
      const std::int64_t i = panel - panels.begin;
      const int columns = columns_at(p, panel);
      const float* b = static_cast<const float*>(p.b) + k * p.b_row_stride + panel * kTilePanel * p.b_col_stride;
      std::int64_t stride = p.b_row_stride;
      if (p.b_row_stride == 1) {
        for (std::int64_t column = 0; column < columns; ++column) {
          __builtin_prefetch(b + column * p.b_col_stride + 4 * kStepK);
          __builtin_prefetch(b + column * p.b_col_stride + 4 * kStepK + kTileWords);
        }
      }
      if (p.b_col_stride == 1) {  // fetches the next step
        for (std::int64_t row = kStepK; row < 2 * kStepK; ++row) {
          __builtin_prefetch(b + row * stride);
          __builtin_prefetch(b + row * stride + kTileWords);
        }
      }
      if (p.b_col_stride != 1 || columns < kTilePanel) {
        pack_panel<float>(copy, b, p.b_row_stride, p.b_col_stride, count, columns);
        b = copy;
        stride = kTilePanel;
      }
      split_panel_step<kPieces>(to + i * panel_bytes, b, stride, count, columns, sizes[i]);
    }
  }
  for (std::int64_t panel = panels.begin; panel < panels.end; ++panel, ++facts) {
    const LaneSizes(&own)[2] = sizes[panel - panels.begin];
    const int columns = columns_at(p, panel);
    const auto edge = [&](int first) {
      return Lanes<float>::edge(static_cast<int>(least(columns - first, kTileWords)));
    };
    *facts = {own[0].of_columns(edge(0)), kPieces};
    if (columns > kTileWords) facts->sizes = join(facts->sizes, own[1].of_columns(edge(kTileWords)));
  }
}

// The rows of a strip that a panel's pieces do not fit, a bit for each; `whole` are the sizes of all its rows, sizes_of(row) of one.
template <class SizesOf>
GORGO_GEMM_INLINE std::uint32_t rows_that_do_not_fit(const Extremes& panel, const Extremes& whole, int rows,
                                                     const SizesOf& sizes_of) {
  std::uint32_t which = 0;
  if (stays_finite(whole, panel) && stays_normal(whole, panel)) return which;
  for (int row = 0; row < rows; ++row) which |= std::uint32_t{!fits(sizes_of(row), panel)} << row;
  return which;
}

// The sums of these rows by multiply-adds, over a block of k.
__attribute__((noinline)) static void multiply_add_rows(const GemmProblem& p, const Range& block, Rows rows,
                                                        std::uint32_t which, std::int64_t column, int columns,
                                                        float* sums) {
  alignas(64) float panel[kMaxBlockK * kTilePanel];
  const BlocksOfK parts = blocks_of_k(block.end - block.begin);
  MicroArgs<float> g;
  g.a_row_stride = p.a_row_stride;
  g.a_col_stride = p.a_col_stride;
  g.c_row_stride = kTilePanel;
  for (std::int64_t part = 0; part < parts.count; ++part) {
    const std::int64_t k = block.begin + part * parts.size;
    g.k = least(parts.size, block.end - k);
    g.add = part > 0;
    g.b = static_cast<const float*>(p.b) + k * p.b_row_stride + column * p.b_col_stride;
    g.b_row_stride = p.b_row_stride;
    if (p.b_col_stride != 1) {
      pack_panel<float>(panel, g.b, p.b_row_stride, p.b_col_stride, g.k, columns);
      g.b = panel;
      g.b_row_stride = kTilePanel;
    }
    each_run_of_rows(which, rows.count, [&](int row, int count) __attribute__((always_inline)) {
      g.a = static_cast<const float*>(p.a) + (rows.first + row) * p.a_row_stride + k * p.a_col_stride;
      g.c = sums + row * kTilePanel;
      run_micro(g, count, columns, p.a_row_stride == 1);
    });
  }
}

}  // namespace gorgo::GORGO_ISA_NS
