// Products on the tiles of AMX: bfloat16, bytes, and float32 as pieces of bfloat16 (pieces.h); how they are cut into tasks, packed,
// summed and finished.
//
// B is packed panel by panel, beforehand or by the only task that needs the panel; A is read in place where its words lie
// side by side. Invariant: an element's sums are one chain over k (float32: one for each block of k), whose order comes from k alone; a
// row's numbers alone decide, with those of a panel of B, whether tiles or multiply-adds sum it.
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/counts.h"
#include "core/dtype.h"
#include "kernels/gemm/finish.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/groups.h"
#include "kernels/gemm/lanes.h"
#include "kernels/gemm/micro.h"
#include "kernels/gemm/pack.h"
#include "kernels/gemm/panels_of_pieces.h"
#include "kernels/gemm/pieces.h"
#include "kernels/gemm/tile_sums.h"
#include "kernels/gemm/tiles.h"

namespace gorgo::GORGO_ISA_NS {

namespace {

constexpr std::int64_t kMaxTasks = 48;
// A task of few rows has as many at least: it packs all of A for itself.
constexpr std::int64_t kLeastPanels = 4;
// A block of packed B that a task walks for every strip of A: less than half of L2.
constexpr std::int64_t kBlockBytes = 768 * 1024;
constexpr std::int64_t kCacheLine = 64;

struct Plan {
  std::int64_t steps = 0;  // of a block of k
  std::int64_t k_blocks = 1;
  std::int64_t strips = 0;
  std::int64_t panels = 0;
  std::int64_t row_tasks = 0;
  std::int64_t column_tasks = 1;
  std::int64_t pack_tasks = 0;
  std::int64_t panel_bytes = 0;  // of a block of k
  std::int64_t packed_at = 0;    // where packed B begins in scratch, and where what each task has for itself does
  std::int64_t own_at = 0;
  std::int64_t own_bytes = 0;
  bool keeps = false;  // packed B

  [[nodiscard]] bool packs_ahead() const { return row_tasks > 1 || keeps; }
  // A panel that a single strip uses is done with before the next one, and takes its place.
  [[nodiscard]] bool uses_panels_once() const { return strips == 1 && !keeps; }
  [[nodiscard]] std::int64_t bytes() const { return own_at + row_tasks * column_tasks * own_bytes; }

  // To be called once: what a task has for itself, beside its panel.
  void set_own(std::int64_t bytes) {
    own_at = packed_at + (uses_panels_once() ? 0 : k_blocks * panels * panel_bytes);
    own_bytes = bytes + (uses_panels_once() ? panel_bytes : 0);
  }
  [[nodiscard]] std::int64_t own_of(std::int64_t task) const { return own_at + task * own_bytes; }
  // Where a panel of a block of k lies for a task.
  [[nodiscard]] std::int64_t panel_of(std::int64_t task, std::int64_t kb, std::int64_t panel) const {
    return uses_panels_once() ? own_of(task + 1) - panel_bytes : packed_at + (kb * panels + panel) * panel_bytes;
  }
};

// `task_work` multiply-adds are worth a task.
Plan cut(const GemmProblem& p, std::int64_t steps, std::int64_t k_blocks, int pieces, std::int64_t task_work,
         bool keeps) {
  Plan plan;
  if (p.m <= 0 || p.n <= 0) return plan;
  plan.keeps = keeps && p.k > 0;
  plan.steps = steps;
  plan.k_blocks = k_blocks;
  plan.strips = ceil_div(p.m, kStripRows);
  plan.panels = ceil_div(p.n, kTilePanel);
  plan.panel_bytes = steps * pieces * kStepBytes;
  const std::int64_t wanted = most(1, least(kMaxTasks, p.m * p.n * most(p.k, 1) / task_work));
  const std::int64_t block_panels = most(1, kBlockBytes / most(plan.panel_bytes, 1));
  // Few rows: a panel is packed by the task that uses it.
  plan.column_tasks =
      plan.strips <= 2 ? least(ceil_div(plan.panels, kLeastPanels), wanted) : ceil_div(plan.panels, block_panels);
  plan.row_tasks = plan.strips <= 2 ? 1 : least(plan.strips, most(1, wanted / plan.column_tasks));
  if (plan.packs_ahead()) plan.pack_tasks = k_blocks * ceil_div(plan.panels, kPackPanels);
  return plan;
}

Range strips_of(const Plan& plan, std::int64_t task) {
  const std::int64_t row_task = task / plan.column_tasks;
  return {plan.strips * row_task / plan.row_tasks, plan.strips * (row_task + 1) / plan.row_tasks};
}
Range panels_of(const Plan& plan, std::int64_t task) {
  const std::int64_t column_task = task % plan.column_tasks;
  return {plan.panels * column_task / plan.column_tasks, plan.panels * (column_task + 1) / plan.column_tasks};
}
// The block of k and the panels of a task that packs.
std::int64_t block_of(const Plan& plan, std::int64_t task) { return task / ceil_div(plan.panels, kPackPanels); }
Range packed_by(const Plan& plan, std::int64_t task) {
  const std::int64_t first = task % ceil_div(plan.panels, kPackPanels) * kPackPanels;
  return {first, least(first + kPackPanels, plan.panels)};
}
int rows_at(const GemmProblem& p, std::int64_t strip) {
  return static_cast<int>(least(kStripRows, p.m - strip * kStripRows));
}
// Sums that nothing is done to are stored to C at once, four whole tiles of them.
bool is_whole(const Rows& rows, int columns) { return rows.count == kStripRows && columns == kTilePanel; }
template <class Sum>
TileSums in_c(const GemmProblem& p, const Rows& rows, std::int64_t column) {
  return {static_cast<Sum*>(p.c) + rows.first * p.c_row_stride + column,
          p.c_row_stride * static_cast<std::int64_t>(sizeof(Sum))};
}
unsigned char* bytes_at(void* scratch, std::int64_t offset) { return static_cast<unsigned char*>(scratch) + offset; }

// ---- words as they lie: bfloat16 and bytes ----

template <class S>
using WordsOf = std::conditional_t<std::is_same_v<S, BFloat16>, PairsOfBFloat16, FoursOfBytes>;
// Elements of k in a step.
template <class T>
constexpr std::int64_t kStepOf = kTileWords * Operands<T>::kGroup;
// What takes about as long as one another: a task's worth.
template <class S>
constexpr std::int64_t kTaskWorkOf = (std::is_same_v<S, BFloat16> ? 4 : 8) * std::int64_t{1024 * 1024};

bool reads_in_place(const GemmProblem& p) { return p.a_col_stride == 1; }

template <class S>
Plan plan_of(const GemmProblem& p) {
  Plan plan = cut(p, ceil_div(p.k, kStepOf<WordsOf<S>>), 1, 1, kTaskWorkOf<S>, p.keeps_b);
  // Strips that do not lie as tiles, or not wholly, are copied.
  plan.set_own(reads_in_place(p) && p.m % kStripRows == 0 ? 0 : plan.steps * kStepBytes);
  return plan;
}

// Panels side by side at `to`: rows of B are read as far as all of them reach.
template <class T>
void pack_panels_of_words(const GemmProblem& p, const Plan& plan, unsigned char* to, Range panels) {
  const auto* b = static_cast<const typename Operands<T>::Source*>(p.b) + panels.begin * kTilePanel * p.b_col_stride;
  const auto columns =
      static_cast<int>(least((panels.end - panels.begin) * kTilePanel, p.n - panels.begin * kTilePanel));
  pack_words<T, false>(reinterpret_cast<std::uint32_t*>(to), {kTilePanel, kTileWords, plan.panel_bytes / 4}, b,
                       p.b_col_stride, p.b_row_stride, p.k, columns);
  const std::int64_t used = words_of<T>(p.k) * kPanelStride;
  if (used == plan.panel_bytes) return;
  for (std::int64_t i = panels.begin; i < panels.end; ++i, to += plan.panel_bytes) {
    std::memset(to + used, 0, static_cast<std::size_t>(plan.panel_bytes - used));
  }
}

// The tiles of a strip, densely: `rows` rows of k elements, zeros around them.
template <class T>
void pack_strip_of_words(unsigned char* to, const typename Operands<T>::Source* a, std::int64_t row_stride,
                         std::int64_t col_stride, std::int64_t k, int rows) {
  using O = Operands<T>;
  using L = Lanes<std::uint32_t>;
  constexpr int kGroup = O::kGroup;
  constexpr auto kStep = static_cast<int>(kStepOf<T>);
  for (std::int64_t k0 = 0; k0 < k; k0 += kStep, to += kStepBytes, a += kStep * col_stride) {
    const auto count = static_cast<int>(least(kStep, k - k0));
    for (int tile = 0; tile < 2; ++tile) {
      const auto* from = a + tile * kTileHeight * row_stride;
      int here = rows - tile * kTileHeight;
      here = here < 0 ? 0 : here > kTileHeight ? kTileHeight : here;
      Words v[kTileHeight];
      if (col_stride != 1 && row_stride == 1) {
#pragma GCC unroll 16
        for (int word = 0; word < kTileWords; ++word) {
          const auto* p = from + word * kGroup * col_stride;
          const int left = count - word * kGroup;
          v[word] = left <= 0 || here == 0 ? L::zero()
                    : left >= kGroup && here == kTileHeight
                        ? O::template interleave<false>(p, col_stride)
                        : O::template interleave<false>(p, col_stride, left < kGroup ? left : kGroup, here);
        }
        transpose_square<std::uint32_t, kTileHeight>(v);
      } else {
        for (int row = 0; row < kTileHeight; ++row) {
          const auto* p = from + row * row_stride;
          typename O::Source gathered[kStep];
          if (col_stride != 1 && row < here) {
            for (int i = 0; i < count; ++i) gathered[i] = p[i * col_stride];
            p = gathered;
          }
          v[row] = row >= here      ? L::zero()
                   : count == kStep ? O::template run<false>(p)
                                    : O::template run<false>(p, count);
        }
      }
      auto* words = reinterpret_cast<std::uint32_t*>(to + tile * kTileBytes);
      for (int row = 0; row < kTileHeight; ++row) L::store(words + row * kTileWords, v[row]);
    }
  }
}

template <class S, TileProduct kProduct>
void run_words(const GemmProblem& p, void* scratch, std::int64_t task) {
  using T = WordsOf<S>;
  using O = Operands<T>;
  using Sum = typename O::Sum;
  constexpr auto kBytes = static_cast<std::int64_t>(sizeof(typename O::Source));
  const Plan plan = plan_of<S>(p);
  const Range strips = strips_of(plan, task);
  const Range panels = panels_of(plan, task);
  unsigned char* const own = bytes_at(scratch, plan.own_of(task));
  alignas(kCacheLine) unsigned char tail[kStepBytes];
  alignas(kCacheLine) Sum sums[kStripRows * kTilePanel];
  Tiles tiles;
  for (std::int64_t t = strips.begin; t < strips.end; ++t) {
    const Rows rows{t * kStripRows, rows_at(p, t)};
    const auto* a = static_cast<const typename O::Source*>(p.a) + rows.first * p.a_row_stride;
    TileStrip strip;
    if (reads_in_place(p) && rows.count == kStripRows) {
      strip.at = reinterpret_cast<const unsigned char*>(a);
      strip.row_stride = p.a_row_stride * kBytes;
      strip.tile_stride = kTileHeight * strip.row_stride;
      strip.step_stride = kTileRowBytes;
      const std::int64_t whole = p.k / kStepOf<T> * kStepOf<T>;
      if (whole < p.k) {
        pack_strip_of_words<T>(tail, a + whole, p.a_row_stride, 1, p.k - whole, rows.count);
        strip.tail = tail;
      }
    } else {
      pack_strip_of_words<T>(own, a, p.a_row_stride, p.a_col_stride, p.k, rows.count);
      strip.at = own;
    }
    for (std::int64_t panel = panels.begin; panel < panels.end; ++panel) {
      unsigned char* const packed = bytes_at(scratch, plan.panel_of(task, 0, panel));
      if (!plan.packs_ahead() && t == strips.begin) pack_panels_of_words<T>(p, plan, packed, {panel, panel + 1});
      const std::int64_t column = panel * kTilePanel;
      const int columns = columns_at(p, panel);
      TileSums to{sums};
      if constexpr (std::is_same_v<S, BytesToInt32>) {
        if (!p.accumulate && is_whole(rows, columns)) to = in_c<Sum>(p, rows, column);
      }
      sum_tiles_of<kProduct, 1>(tiles, rows.count, columns, strip, TilePanel{packed}, plan.steps, to,
                                [](std::int64_t) {});
      if (to.at == sums)
        finish_sums<S>(p, sums, kTilePanel, rows, column, columns, static_cast<const Sum*>(nullptr), 0);
    }
  }
}

// ---- float32 by pieces ----

// Of multiply-adds: several strips to a task, so that all but the first are split in the shadow of the one before.
constexpr std::int64_t kTaskWorkOfPieces = 4 * 1024 * 1024;

Plan plan_of_pieces(const GemmProblem& p) {
  // Blocks as even as whole steps allow.
  const std::int64_t blocks = most(1, ceil_div(p.k, kBlockK));
  const std::int64_t steps = ceil_div(ceil_div(p.k, blocks), kStepK);
  Plan plan = cut(p, steps, most(1, ceil_div(p.k, most(1, steps) * kStepK)), kMostPieces, kTaskWorkOfPieces,
                  p.keeps_b && !is_by_few_rows(p));
  plan.packed_at = round_up(plan.k_blocks * plan.panels * static_cast<std::int64_t>(sizeof(PanelFacts)), kCacheLine);
  // Two strips, one of which is split while the other is multiplied, and a copy of one that does not lie by rows.
  plan.set_own(2 * steps * kMostPieces * kStepBytes + (reads_in_place(p) ? 0 : steps * kStepK * kStripRows * 4));
  return plan;
}

// Which numbers of k a block has.
Range block_at(const GemmProblem& p, const Plan& plan, std::int64_t kb) {
  const std::int64_t size = plan.steps * kStepK;
  return {kb * size, least(p.k, (kb + 1) * size)};
}

PanelFacts& facts_of(const Plan& plan, void* scratch, std::int64_t kb, std::int64_t panel) {
  return static_cast<PanelFacts*>(scratch)[kb * plan.panels + panel];
}

// One strip of A in a block of k: where it lies, and where its pieces go.
struct Splitting {
  StepRows from;
  unsigned char* to = nullptr;
  int rows = 0;
  std::int64_t k = 0;
  LaneSizes sizes[kStripRows];
};

// Makes a strip ready to be split; one that does not lie by rows is copied.
void prepare(Splitting& s, const GemmProblem& p, const Range& block, std::int64_t strip, unsigned char* to,
             float* copy) {
  s.to = to;
  s.rows = rows_at(p, strip);
  s.k = block.end - block.begin;
  const float* a = static_cast<const float*>(p.a) + strip * kStripRows * p.a_row_stride + block.begin * p.a_col_stride;
  if (reads_in_place(p)) {
    s.from = {a, p.a_row_stride, kStepK};
  } else {
    float* at = copy;
    for (std::int64_t k = 0; k < s.k; k += kStepK, at += kStripRows * kStepK, a += kStepK * p.a_col_stride) {
      pack_panel<float>(at, a, p.a_row_stride, p.a_col_stride, s.rows, static_cast<int>(least(kStepK, s.k - k)));
    }
    s.from = {copy, kStepK, kStripRows * kStepK};
  }
  for (int row = 0; row < s.rows; ++row) s.sizes[row] = {};
}

template <int kPieces>
GORGO_GEMM_INLINE void split_rows_of(Splitting& s, std::int64_t step, int first, int end) {
  const std::int64_t left = s.k - step * kStepK;
  if (left <= 0 || first >= end) return;
  split_rows<kPieces>(s.to, s.from, step, static_cast<int>(least(kStepK, left)), first, end, s.sizes);
}

void run_pieces(const GemmProblem& p, void* scratch, std::int64_t task) {
  const Plan plan = plan_of_pieces(p);
  const Range strips = strips_of(plan, task);
  const Range panels = panels_of(plan, task);
  const std::int64_t strip_bytes = plan.steps * kMostPieces * kStepBytes;
  unsigned char* const own = bytes_at(scratch, plan.own_of(task));
  auto* const copy = reinterpret_cast<float*>(own + 2 * strip_bytes);
  const int pieces = pieces_now();
  GemmProblem partly = p;  // all blocks of k but the last leave their sums in C
  partly.epilogue = {};
  alignas(kCacheLine) float sums[kStripRows * kTilePanel];

  // While a strip is multiplied the next one is split, a share of its rows beside each panel. After a block's last strip comes
  // the first one in the next block, which is no longer.
  struct Turn {
    std::int64_t kb, strip;
  };
  const auto share = static_cast<int>(ceil_div(kStripRows, panels.end - panels.begin));
  Splitting both[2];
  Turn turn{0, strips.begin};
  prepare(both[0], p, block_at(p, plan, turn.kb), turn.strip, own, copy);
  with_pieces(pieces, [&](auto n) {
    for (std::int64_t step = 0; step < plan.steps; ++step) split_rows_of<n.value>(both[0], step, 0, both[0].rows);
  });

  Tiles tiles;
  for (int side = 0; turn.kb < plan.k_blocks; side ^= 1) {
    const Splitting& now = both[side];
    Splitting& next = both[side ^ 1];
    const Range block = block_at(p, plan, turn.kb);
    const std::int64_t steps = ceil_div(block.end - block.begin, kStepK);
    const bool is_last = turn.kb + 1 == plan.k_blocks;
    const Rows rows{turn.strip * kStripRows, now.rows};
    const TileStrip strip{now.to, kTileRowBytes, kTileBytes, pieces * kStepBytes, nullptr};
    LaneSizes all_rows;
    for (int row = 0; row < rows.count; ++row) all_rows.join(now.sizes[row]);
    const Extremes whole = all_rows.of_row();
    const Turn then = turn.strip + 1 < strips.end ? Turn{turn.kb, turn.strip + 1} : Turn{turn.kb + 1, strips.begin};
    if (then.kb < plan.k_blocks) {
      prepare(next, p, block_at(p, plan, then.kb), then.strip, own + (side ^ 1) * strip_bytes, copy);
    } else {
      next.rows = 0;
    }
    partly.accumulate = p.accumulate || turn.kb > 0;
    for (std::int64_t panel = panels.begin; panel < panels.end; ++panel) {
      unsigned char* const packed = bytes_at(scratch, plan.panel_of(task, turn.kb, panel));
      PanelFacts& facts = facts_of(plan, scratch, turn.kb, panel);
      if (!plan.packs_ahead() && turn.strip == strips.begin) {
        with_pieces(pieces, [&](auto n) {
          pack_panels_of_pieces<n.value>(p, block, packed, plan.panel_bytes, {panel, panel + 1}, &facts);
        });
      }
      const std::int64_t column = panel * kTilePanel;
      const int columns = columns_at(p, panel);
      const auto first = static_cast<int>((panel - panels.begin) * share);
      const auto end = static_cast<int>(least(first + share, next.rows));
      const float* c = static_cast<const float*>(p.c) + rows.first * p.c_row_stride + column;
      std::uint32_t others = 0;
      if (facts.pieces != pieces) {  // the setting was changed meanwhile
        others = ~std::uint32_t{0};
      } else {
        others = rows_that_do_not_fit(facts.sizes, whole, rows.count,
                                      [&](int row) __attribute__((always_inline)) { return now.sizes[row].of_row(); });
      }
      // The first block's sums go to C as they are, or the only one's; what follows is added to them.
      const bool is_direct =
          others == 0 && is_whole(rows, columns) && !partly.accumulate && (!is_last || is_plain(p.epilogue));
      const TileSums to = is_direct ? in_c<float>(p, rows, column) : TileSums{sums};
      const std::uint32_t every = ~std::uint32_t{0} >> (kStripRows - rows.count);
      with_pieces(pieces, [&](auto n) {
        if ((others & every) == every) {
          for (std::int64_t step = 0; step < steps; ++step) split_rows_of<n.value>(next, step, first, end);
          return;
        }
        const auto between = [&](std::int64_t step) __attribute__((always_inline)) {
          for (std::int64_t row = 2 * step; row < least(2 * step + 2, rows.count); ++row) {
            __builtin_prefetch(c + row * p.c_row_stride, 1);
            __builtin_prefetch(c + row * p.c_row_stride + columns - 1, 1);
          }
          split_rows_of<n.value>(next, step, first, end);
        };
        sum_tiles_of<TileProduct::bfloat16, n.value>(tiles, rows.count, columns, strip,
                                                     TilePanel{packed, pieces * kStepBytes}, steps, to, between);
      });
      if (is_direct) continue;
      if (others != 0) multiply_add_rows(p, block, rows, others, column, columns, sums);
      const float* partial = is_last && turn.kb > 0 ? c : nullptr;
      finish_tile<float>(is_last ? p : partly, sums, rows.first, column, rows.count, columns, partial, p.c_row_stride);
    }
    turn = then;
  }
}

}  // namespace

std::size_t pieces_scratch_bytes(const GemmProblem& p) { return static_cast<std::size_t>(plan_of_pieces(p).bytes()); }
std::int64_t pieces_pack_tasks(const GemmProblem& p) { return plan_of_pieces(p).pack_tasks; }
void pieces_pack(const GemmProblem& p, void* scratch, std::int64_t task) {
  const Plan plan = plan_of_pieces(p);
  const Range panels = packed_by(plan, task);
  const std::int64_t kb = block_of(plan, task);
  with_pieces(pieces_now(), [&](auto n) {
    pack_panels_of_pieces<n.value>(p, block_at(p, plan, kb), bytes_at(scratch, plan.panel_of(0, kb, panels.begin)),
                                   plan.panel_bytes, panels, &facts_of(plan, scratch, kb, panels.begin));
  });
}
std::int64_t pieces_tasks(const GemmProblem& p) {
  const Plan plan = plan_of_pieces(p);
  return plan.row_tasks * plan.column_tasks;
}
void pieces_run(const GemmProblem& p, void* scratch, std::int64_t task) { run_pieces(p, scratch, task); }

template <class S>
std::size_t gemm_scratch_bytes(const GemmProblem& p) {
  return static_cast<std::size_t>(plan_of<S>(p).bytes());
}

template <class S>
std::int64_t gemm_pack_tasks(const GemmProblem& p) {
  return plan_of<S>(p).pack_tasks;
}

template <class S>
void gemm_pack(const GemmProblem& p, void* scratch, std::int64_t task) {
  const Plan plan = plan_of<S>(p);
  const Range panels = packed_by(plan, task);
  pack_panels_of_words<WordsOf<S>>(p, plan, bytes_at(scratch, plan.panel_of(0, 0, panels.begin)), panels);
}

template <class S>
std::int64_t gemm_tasks(const GemmProblem& p) {
  const Plan plan = plan_of<S>(p);
  return plan.row_tasks * plan.column_tasks;
}

template <class S>
void gemm_run(const GemmProblem& p, void* scratch, std::int64_t task) {
  if constexpr (std::is_same_v<S, BFloat16>) {
    run_words<S, TileProduct::bfloat16>(p, scratch, task);
  } else if constexpr (!std::is_same_v<S, BytesToInt32>) {
    run_words<S, TileProduct::unsigned_unsigned>(p, scratch, task);  // low bits are the same whatever the signs
  } else if (p.a_is_signed) {
    if (p.b_is_signed) return run_words<S, TileProduct::signed_signed>(p, scratch, task);
    run_words<S, TileProduct::signed_unsigned>(p, scratch, task);
  } else {
    if (p.b_is_signed) return run_words<S, TileProduct::unsigned_signed>(p, scratch, task);
    run_words<S, TileProduct::unsigned_unsigned>(p, scratch, task);
  }
}

GORGO_GEMM_INSTANTIATE(BFloat16)
GORGO_GEMM_INSTANTIATE(std::int8_t)
GORGO_GEMM_INSTANTIATE(std::uint8_t)
GORGO_GEMM_INSTANTIATE(BytesToInt32)

}  // namespace gorgo::GORGO_ISA_NS
