// float32 at set_float32_matmul_precision("medium") where AVX512_BF16 multiplies pairs: factors are rounded to bfloat16 while they are
// packed, and summed as float32.
//
// Blocks of k, strips, panels and tasks are those of multiply-adds (plan.h), so that it does not matter when the setting changes: what
// is packed says how it was, and who finds it otherwise packs for itself. Invariant: an element is one chain over each block of k;
// whether multiply-adds sum that instead is decided by the numbers of its row and of its panel of B in the block (pieces.h).
// Read next: gemm_cpu.cpp (who calls it).
#pragma once

#include <cstdint>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/plan.h"

#if defined(GORGO_ISA_AVX512_BF16)
#include "core/counts.h"
#include "core/float32_mode.h"
#include "core/invariance.h"
#include "kernels/gemm/finish.h"
#include "kernels/gemm/groups.h"
#include "kernels/gemm/pack.h"
#include "kernels/gemm/panels_of_pieces.h"
#include "kernels/gemm/pieces.h"
#endif

namespace gorgo::GORGO_ISA_NS {

#if defined(GORGO_ISA_AVX512_BF16)

static_assert(kPanelColumns<float> == kTilePanel && kMaxBlockK <= kBlockK);

// Below this many of k or n, or this many rows, products of float32 are not rounded: that takes as long as it saves. Rows
// do not count under set_batch_invariant(True), and tasks never depend on whether they do.
constexpr std::int64_t kRoundedFrom = 64;
constexpr std::int64_t kRoundedRows = 32;
GORGO_GEMM_INLINE bool may_be_rounded(const GemmProblem& p) { return p.k >= kRoundedFrom && p.n >= kRoundedFrom; }
GORGO_GEMM_INLINE bool is_by_few_rows(const GemmProblem& p) { return p.m < kRoundedRows; }

// Whether factors are rounded, as things are set.
GORGO_GEMM_INLINE bool is_rounded(const GemmProblem& p) {
  return may_be_rounded(p) && float32_mode_now() == Float32Mode::medium &&
         (!is_by_few_rows(p) || asks_for_batch_invariance());
}

// What a packed strip of a block of k holds.
struct StripFacts {
  Extremes sizes[kTileRows<float>];
  Extremes whole;
  std::int32_t pieces = 0;
};

// What is packed ahead of all tasks, and where in scratch; offsets are bytes. Packed B takes the place of multiply-adds'.
struct RoundedAhead {
  bool a = false, b = false;
  std::int64_t panel_facts_at = 0, panels_at = 0, panel_bytes = 0;
  std::int64_t strip_facts_at = 0, strips_at = 0, strip_bytes = 0;
  std::int64_t bytes = 0;  // of all scratch

  // Whether floats lie where multiply-adds look for them.
  [[nodiscard]] GORGO_INLINE bool has_floats(const Plan& plan, void* scratch, std::int64_t kb,
                                             std::int64_t panel) const {
    return !b || panel_facts(plan, scratch, kb, panel).pieces == 0;
  }
  [[nodiscard]] GORGO_INLINE bool has_float_strip(const Plan& plan, void* scratch, std::int64_t kb,
                                                  std::int64_t tile) const {
    return !a || strip_facts(plan, scratch, kb, tile).pieces == 0;
  }
  [[nodiscard]] GORGO_INLINE PanelFacts& panel_facts(const Plan& plan, void* scratch, std::int64_t kb,
                                                     std::int64_t panel) const {
    return reinterpret_cast<PanelFacts*>(static_cast<unsigned char*>(scratch) +
                                         panel_facts_at)[kb * plan.panels + panel];
  }
  [[nodiscard]] GORGO_INLINE unsigned char* panel(const Plan& plan, void* scratch, std::int64_t kb,
                                                  std::int64_t panel) const {
    return static_cast<unsigned char*>(scratch) + panels_at + (kb * plan.panels + panel) * panel_bytes;
  }
  [[nodiscard]] GORGO_INLINE StripFacts& strip_facts(const Plan& plan, void* scratch, std::int64_t kb,
                                                     std::int64_t tile) const {
    return reinterpret_cast<StripFacts*>(static_cast<unsigned char*>(scratch) +
                                         strip_facts_at)[kb * plan.row_tiles + tile];
  }
  [[nodiscard]] GORGO_INLINE std::uint32_t* strip(const Plan& plan, void* scratch, std::int64_t kb,
                                                  std::int64_t tile) const {
    return reinterpret_cast<std::uint32_t*>(static_cast<unsigned char*>(scratch) + strips_at +
                                            (kb * plan.row_tiles + tile) * strip_bytes);
  }
};

// Words from row to row of a strip: an odd number of cache lines keeps the rows in different sets of L1.
GORGO_GEMM_INLINE std::int64_t rounded_stride(std::int64_t k) { return (ceil_div(k, kStepK) | 1) * kTileWords; }

static RoundedAhead rounded_ahead(const GemmProblem& p, const Plan& plan) {
  RoundedAhead at;
  at.bytes = bytes_of<float>(p, plan);
  if (!may_be_rounded(p) || p.m <= 0) return at;
  // Where tasks share B, and where they share A.
  at.b = plan.path == PathB::scratch || (plan.row_tasks > 1 && !is_by_few_rows(p));
  at.a = plan.path == PathB::stack && plan.column_tasks > 1 && !is_by_few_rows(p) && !p.shares_scratch;
  const auto take = [&](std::int64_t size) {
    const std::int64_t begin = round_up(at.bytes, 64);
    at.bytes = begin + size;
    return begin;
  };
  if (at.b) {
    at.panel_bytes = ceil_div(plan.block_k, kStepK) * kStepBytes;
    const std::int64_t all = plan.k_blocks * plan.panels;
    if (plan.path != PathB::scratch) at.panels_at = take(all * at.panel_bytes);
    at.panel_facts_at = take(all * static_cast<std::int64_t>(sizeof(PanelFacts)));
  }
  if (at.a) {
    at.strip_bytes = kTileRows<float> * rounded_stride(plan.block_k) * 4;
    const std::int64_t all = plan.k_blocks * plan.row_tiles;
    at.strips_at = take(all * at.strip_bytes);
    at.strip_facts_at = take(all * static_cast<std::int64_t>(sizeof(StripFacts)));
  }
  return at;
}

GORGO_GEMM_INLINE Range block_of_k(const GemmProblem& p, const Plan& plan, std::int64_t kb) {
  return {kb * plan.block_k, least(p.k, (kb + 1) * plan.block_k)};
}

// Packs a strip's words of a block of k, row by row.
__attribute__((noinline)) static void round_strip(std::uint32_t* to, const GemmProblem& p, const Range& block,
                                                  const Rows& rows, StripFacts* facts) {
  using L = Lanes<float>;
  constexpr int kWidth = L::kWidth;
  alignas(64) float copy[kTileRows<float> * kStepK];
  LaneSizes sizes[kTileRows<float>];
  const std::int64_t k = block.end - block.begin;
  const std::int64_t stride = rounded_stride(k);
  const float* a = static_cast<const float*>(p.a) + rows.first * p.a_row_stride + block.begin * p.a_col_stride;
  const auto take = [&](unsigned char* at, const float* from, int count, LaneSizes& noted)
                        __attribute__((always_inline)) {
                          if (count == kStepK) {
                            const __m512 x0 = L::load(from);
                            const __m512 x1 = L::load(from + kWidth);
                            noted.note(x0);
                            noted.note(x1);
                            split_to_words<1, false>(x0, x1, at, 0);
                            return;
                          }
                          split_step_of_row<1>(at, from, L::edge(count < kWidth ? count : kWidth),
                                               L::edge(count < kWidth ? 0 : count - kWidth), noted);
                        };
  if (p.a_col_stride == 1) {
    for (int row = 0; row < rows.count; ++row, a += p.a_row_stride) {
      auto* at = reinterpret_cast<unsigned char*>(to + row * stride);
      LaneSizes noted;
      for (std::int64_t i = 0; i < k; i += kStepK, at += kTileRowBytes) {
        take(at, a + i, static_cast<int>(least(kStepK, k - i)), noted);
      }
      sizes[row] = noted;
    }
  } else {
    for (std::int64_t i = 0; i < k; i += kStepK, a += kStepK * p.a_col_stride) {
      const auto count = static_cast<int>(least(kStepK, k - i));
      pack_panel<float>(copy, a, p.a_row_stride, p.a_col_stride, rows.count, count);
      for (int row = 0; row < rows.count; ++row) {
        take(reinterpret_cast<unsigned char*>(to + row * stride + i / 2), copy + row * kStepK, count, sizes[row]);
      }
    }
  }
  LaneSizes whole;
  for (int row = 0; row < rows.count; ++row) {
    facts->sizes[row] = sizes[row].of_row();
    whole.join(sizes[row]);
  }
  facts->whole = whole.of_row();
  facts->pieces = 1;
}

// gemm_pack's tasks as they are for multiply-adds, or else one. With `rounds` unset nothing is packed, which is noted.
__attribute__((noinline)) static void pack_rounded(const GemmProblem& p, const Plan& plan, const RoundedAhead& at,
                                                   void* scratch, std::int64_t task, bool rounds) {
  if (at.b) {
    const std::int64_t groups = ceil_div(plan.panels, kPackPanels);
    const bool takes_all = plan.pack_tasks == 0;
    for (std::int64_t i = takes_all ? 0 : task; i < (takes_all ? plan.k_blocks * groups : task + 1); ++i) {
      const std::int64_t kb = i / groups;
      const std::int64_t first = i % groups * kPackPanels;
      const Range panels{first, least(first + kPackPanels, plan.panels)};
      PanelFacts* facts = &at.panel_facts(plan, scratch, kb, first);
      if (rounds) {
        pack_panels_of_pieces<1>(p, block_of_k(p, plan, kb), at.panel(plan, scratch, kb, first), at.panel_bytes, panels,
                                 facts);
      } else {
        for (std::int64_t panel = first; panel < panels.end; ++panel, ++facts) facts->pieces = 0;
      }
    }
  }
  if (at.a) {
    const bool takes_all = plan.pack_tasks == 0;
    for (std::int64_t tile = takes_all ? 0 : task; tile < (takes_all ? plan.row_tiles : task + 1); ++tile) {
      const Rows rows = rows_of(tile, p.m / plan.row_tiles, p.m % plan.row_tiles);
      for (std::int64_t kb = 0; kb < plan.k_blocks; ++kb) {
        StripFacts* facts = &at.strip_facts(plan, scratch, kb, tile);
        if (rounds) {
          round_strip(at.strip(plan, scratch, kb, tile), p, block_of_k(p, plan, kb), rows, facts);
        } else {
          facts->pieces = 0;
        }
      }
    }
  }
}

// Strips that stay on the stack while the panels of a task pass by, if all of them fit.
constexpr std::int64_t kStripWords = 10 * 1024;
constexpr std::int64_t kMostStrips = 16;

__attribute__((noinline)) static void run_rounded(const GemmProblem& p, const Plan& plan, void* scratch,
                                                  std::int64_t tile_begin, std::int64_t tile_end,
                                                  std::int64_t panel_begin, std::int64_t panel_end) {
  constexpr int kColumns = kPanelColumns<float>;
  constexpr int kRows = kTileRows<float>;
  static_assert(kRows * (kMaxBlockK / kStepK + 1) * kTileWords <= kStripWords);
  alignas(64) unsigned char panel_buffer[kMaxBlockK / kStepK * kStepBytes];
  alignas(64) std::uint32_t strip_buffer[kStripWords];
  alignas(64) float sums[kRows * kColumns];
  StripFacts own_strips[kMostStrips];
  PanelFacts own_panel;
  const RoundedAhead at = rounded_ahead(p, plan);
  const bool in_registers = is_in_registers(p.epilogue);
  const Block all{tile_begin, tile_end, panel_begin, panel_end, p.m / plan.row_tiles, p.m % plan.row_tiles};
  GemmProblem partly = p;  // all blocks of k but the last leave their sums in C
  partly.epilogue = {};
  MicroArgs<PairsOfBFloat16> g;
  g.b_row_stride = kColumns;
  g.a_col_stride = 2;
  for (std::int64_t kb = 0; kb < plan.k_blocks; ++kb) {
    const Range block = block_of_k(p, plan, kb);
    const bool last = kb + 1 == plan.k_blocks;
    const std::int64_t stride = rounded_stride(block.end - block.begin);
    const bool stay =
        !at.b && tile_end - tile_begin <= kMostStrips && (tile_end - tile_begin) * kRows * stride <= kStripWords;
    g.k = words_of<PairsOfBFloat16>(block.end - block.begin);
    g.a_row_stride = 2 * stride;
    partly.accumulate = p.accumulate || kb > 0;
    const PanelFacts* panel_facts = nullptr;
    const StripFacts* strip_facts = nullptr;
    bool is_first_panel = true;
    const auto set_panel = [&](std::int64_t panel) __attribute__((always_inline)) {
      panel_facts = at.b ? &at.panel_facts(plan, scratch, kb, panel) : nullptr;
      const unsigned char* packed = at.b ? at.panel(plan, scratch, kb, panel) : nullptr;
      if (!at.b || panel_facts->pieces != 1) {
        pack_panels_of_pieces<1>(p, block, panel_buffer, 0, {panel, panel + 1}, &own_panel);
        panel_facts = &own_panel;
        packed = panel_buffer;
      }
      g.b = reinterpret_cast<const std::uint32_t*>(packed);
      is_first_panel = panel == panel_begin;
    };
    const auto set_strip = [&](Rows rows) __attribute__((always_inline)) {
      const std::int64_t here = tile_of(rows.first, all.base, all.extra);
      const std::uint32_t* words = nullptr;
      if (at.a && at.strip_facts(plan, scratch, kb, here).pieces == 1) {
        strip_facts = &at.strip_facts(plan, scratch, kb, here);
        words = at.strip(plan, scratch, kb, here);
      } else {
        const std::int64_t place = stay ? here - tile_begin : 0;
        std::uint32_t* const to = strip_buffer + place * kRows * stride;
        if (!stay || is_first_panel) round_strip(to, p, block, rows, own_strips + place);
        strip_facts = own_strips + place;
        words = to;
      }
      g.a = reinterpret_cast<const BFloat16*>(words);
    };
    const auto run_tile = [&](Rows rows, std::int64_t panel) __attribute__((always_inline)) {
      const std::int64_t column = panel * kColumns;
      const int columns = columns_at(p, panel);
      const std::uint32_t others =
          rows_that_do_not_fit(panel_facts->sizes, strip_facts->whole, rows.count,
                               [&](int row) __attribute__((always_inline)) { return strip_facts->sizes[row]; });
      const bool is_direct = others == 0 && (!last || in_registers);
      float* const c = static_cast<float*>(p.c) + rows.first * p.c_row_stride + column;
      fetch_tile(c, p.c_row_stride, rows.count, columns);
      const GemmEpilogue& e = is_direct && last ? p.epilogue : partly.epilogue;
      g.c = is_direct ? c : sums;
      g.c_row_stride = is_direct ? p.c_row_stride : kColumns;
      g.add = is_direct && partly.accumulate;
      g.relu = e.activation == GemmEpilogue::Activation::relu;
      g.bias = e.bias != nullptr ? static_cast<const float*>(e.bias) + column : nullptr;
      g.row_bias = e.row_bias != nullptr ? static_cast<const float*>(e.row_bias) + rows.first : nullptr;
      if (others != (1U << rows.count) - 1U) {
        run_micro(g, rows.count, columns, false);
      }
      if (is_direct) return;
      if (others != 0) multiply_add_rows(p, block, rows, others, column, columns, sums);
      finish_tile<float>(last ? p : partly, sums, rows.first, column, rows.count, columns, last && kb > 0 ? c : nullptr,
                         p.c_row_stride);
    };
    each_tile(!at.b, all, set_panel, set_strip, run_tile);
  }
}

#else

// Other sets round nothing.
struct RoundedAhead {
  GORGO_GEMM_INLINE bool has_floats(const Plan&, void*, std::int64_t, std::int64_t) { return true; }
  GORGO_GEMM_INLINE bool has_float_strip(const Plan&, void*, std::int64_t, std::int64_t) { return true; }
};
GORGO_GEMM_INLINE RoundedAhead rounded_ahead(const GemmProblem&, const Plan&) { return {}; }

#endif

}  // namespace gorgo::GORGO_ISA_NS
