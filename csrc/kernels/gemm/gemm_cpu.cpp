// Chooses how a product runs: B in place, packed panel by panel on the stack, or packed beforehand into scratch; how C
// is cut into tasks; and the two shapes that are no matrix product at all (a single column; element types without a
// vector kernel).
//
// Which path is taken may depend on everything but must not be seen in the bits: the blocks of k come from (k, dtype,
// ISA) alone and the arithmetic is the micro-kernel's. A single column has its own order, for any layout of A.
#include "kernels/gemm/gemm.h"

#include <complex>
#include <cstdint>
#include <type_traits>

#include "core/counts.h"
#include "core/dtype.h"
#include "core/invariance.h"
#include "core/rounded.h"
#include "kernels/gemm/finish.h"
#include "kernels/gemm/lanes.h"
#include "kernels/gemm/micro.h"
#include "kernels/gemm/pack.h"
#include "kernels/gemm/plan.h"
#include "kernels/gemm/rounded.h"
#include "kernels/gemm/stored.h"

namespace gorgo::GORGO_ISA_NS {

// The sets over AVX-512 run its kernels.
#if !defined(GORGO_ISA_AMX) && !defined(GORGO_ISA_AVX512_BF16)
#if defined(GORGO_ISA_AVX512)
constinit const MicroTable<float> float_micro_table =
#else
constinit const MicroTable<float> SharedMicro<float>::table =
#endif
    make_micro_table<float>(std::make_integer_sequence<int, Lanes<float>::kRows>{});
constinit const MicroTable<double> SharedMicro<double>::table =
    make_micro_table<double>(std::make_integer_sequence<int, Lanes<double>::kRows>{});
#endif

namespace {

// B is read in place up to this size: it then stays in L2 together with A's strips. Out of an outer cache, though, a panel of
// it comes by a line or two of each row, which no prefetcher foresees; many rows of A pay for packing sooner.
constexpr std::int64_t kInPlaceBytes = 384 * 1024;
constexpr std::int64_t kManyRows = 96;
template <class T>
constexpr std::int64_t kInPlaceBytesOfMany = (kPanelColumns<T> * sizeof(T) > 64 ? 240 : 160) * std::int64_t{1024};
// B is packed once per task, on the stack, where that costs little beside the task.
constexpr std::int64_t kRepackElements = 16 * 1024;
// For so many rows of A, too, if there are panels enough to share out, each task packs its panels for itself: one that is
// multiplied at once stays near the core, and is fetched so many rows ahead. Not where rows of B are further apart than kNearBytes.
constexpr std::int64_t kSomeRows = 256;
constexpr std::int64_t kLeastPanels = 8;
constexpr std::int64_t kNearBytes = 3072;
constexpr std::int64_t kRowsAheadOfPacking = 32;
// A block of packed B (kMaxBlockK rows) that a task walks for every strip of A: half of a small L2.
constexpr std::int64_t kBlockBytes = 512 * 1024;
// A task of a large product takes so much of a block of A, if that makes so many tasks of all, and no fewer blocks of B than it
// must for that. Its strips are packed once, into scratch, and stay in L2 beside one block of B while the blocks pass by.
constexpr std::int64_t kTaskBytes = 256 * 1024;
constexpr std::int64_t kEnoughTasks = 24;
// Rows of each panel that are packed in turn with its neighbours': these lie on the same pages.
constexpr std::int64_t kPackRows = 16;
// Below this many multiply-adds a task is not worth a thread.
constexpr std::int64_t kTaskWork = 512 * 1024;
constexpr std::int64_t kMaxTasks = 48;
constexpr std::int64_t kSmallWork = 40 * 1024;
// A panel of B in place that stays in L1 while all strips of A pass by.
constexpr std::int64_t kPanelBytes = 24 * 1024;

// Whether tiles may take a product of S.
template <class S>
GORGO_GEMM_INLINE bool is_for_tiles([[maybe_unused]] const GemmProblem& p) {
#if defined(GORGO_ISA_AMX)
  if constexpr (std::is_same_v<S, float>) return may_go_by_pieces(p);
#endif
  return false;
}

// Whether gemm_pack and what is kept of it are the tiles' affair: not for a few rows whose B is kept, for multiply-adds.
template <class S>
GORGO_GEMM_INLINE bool is_packed_for_tiles([[maybe_unused]] const GemmProblem& p) {
#if defined(GORGO_ISA_AMX)
  return is_for_tiles<S>(p) && !(p.keeps_b && is_by_few_rows(p));
#else
  return false;
#endif
}
// Bytes of scratch that tiles may need, before any other.
template <class S>
std::size_t bytes_for_tiles([[maybe_unused]] const GemmProblem& p) {
#if defined(GORGO_ISA_AMX)
  if (is_for_tiles<S>(p))
    return static_cast<std::size_t>(round_up(static_cast<std::int64_t>(pieces_scratch_bytes(p)), 64));
#endif
  return 0;
}

template <class S>
constexpr bool kHasVectors =
    std::is_same_v<S, float> || std::is_same_v<S, double> || std::is_same_v<S, BFloat16> || std::is_same_v<S, Float16>;

template <class S>
Plan plan_of(const GemmProblem& p) {
  using T = typename Stored<S>::Compute;
  constexpr std::int64_t kRows = Lanes<T>::kRows;
  constexpr std::int64_t kColumns = kPanelColumns<T>;
  constexpr bool kConverts = Stored<S>::kConverts;
  Plan plan;
  if (p.m <= 0 || p.n <= 0) {
    plan.row_tasks = 0;
    return plan;
  }
  const std::int64_t work = p.m * p.n * most(p.k, 1);
  if (!kConverts && p.n == 1) {
    plan.path = PathB::column;
    plan.row_tiles = p.m;
    plan.pack_tasks = p.b_row_stride == 1 || p.k <= 1 || work <= kSmallWork ? 0 : 1;
    plan.row_tasks = work < 2 * kTaskWork ? 1 : least(kMaxTasks, least(p.m, work / kTaskWork));
    return plan;
  }
  plan.row_tiles = (p.m + kRows - 1) / kRows;
  plan.panels = (p.n + kColumns - 1) / kColumns;
  const BlocksOfK blocks = blocks_of_k(p.k);
  plan.k_blocks = blocks.count;
  plan.block_k = blocks.size;
  const std::int64_t b_elements = p.k * p.n;
  // Rows a multiple of 2 KiB apart fall into the same few sets of L1 and drive each other out.
  const std::int64_t a_stride = p.a_row_stride == 1 ? p.a_col_stride : p.a_row_stride;
  const bool a_collides = a_stride * static_cast<std::int64_t>(sizeof(T)) % 2048 == 0;
  const bool packs_for_itself =
      p.m <= kSomeRows && plan.panels >= kLeastPanels && !(a_collides && p.shares_scratch) &&
      (p.b_col_stride != 1 || p.b_row_stride * static_cast<std::int64_t>(sizeof(T)) <= kNearBytes);
  if (kConverts) {
    plan.path = p.n <= kColumns && plan.k_blocks == 1 ? PathB::stack : PathB::scratch;
  } else if (p.b_col_stride == 1 &&
             (p.m <= 2 * kRows || b_elements * static_cast<std::int64_t>(sizeof(T)) <=
                                      (p.m < kManyRows ? kInPlaceBytes : kInPlaceBytesOfMany<T>))) {
    plan.path = PathB::in_place;
  } else if (p.m <= 2 * kRows || b_elements <= kRepackElements || packs_for_itself) {
    plan.path = PathB::stack;
  } else {
    plan.path = PathB::scratch;
  }
  // What is packed once may be packed whenever it is not at hand.
  const bool at_hand = plan.path == PathB::in_place && b_elements * static_cast<std::int64_t>(sizeof(T)) <=
                                                           (p.m == 1 ? kInPlaceBytes : kInPlaceBytesOfMany<T>);
  if (p.keeps_b && p.k > 0 && !at_hand) plan.path = PathB::scratch;
  const bool collides_in_place =
      plan.path == PathB::in_place && p.m > 4 && p.n > kColumns && a_collides && p.a_row_stride != 1;
  if (kConverts || (plan.path == PathB::scratch && p.n > kColumns) || collides_in_place) plan.path_a = PathA::stack;
#if defined(GORGO_ISA_AMX)
  if (is_for_tiles<S>(p)) {
    // Few rows, which might have gone by tiles: cut as for these, and without scratch, which is theirs, but for what is kept.
    if (plan.path == PathB::scratch && !p.keeps_b) plan.path = PathB::stack;
    if (plan.path == PathB::stack) plan.path_a = PathA::in_place;
    if (plan.path == PathB::scratch) plan.pack_tasks = plan.k_blocks * ceil_div(plan.panels, kPackPanels);
    plan.column_tasks = pieces_tasks(p);
    return plan;
  }
#endif
  if (plan.path == PathB::scratch) plan.pack_tasks = plan.k_blocks * ceil_div(plan.panels, kPackPanels);
  if (work <= kSmallWork) return plan;
  const std::int64_t row_bytes = most(plan.block_k, 1) * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t block_panels = most(1, kBlockBytes / (row_bytes * kColumns));
  const std::int64_t column_blocks = ceil_div(plan.panels, block_panels);
  const std::int64_t wanted = least(kMaxTasks, work / kTaskWork);
  if (plan.path == PathB::scratch && plan.path_a == PathA::stack && !p.shares_scratch && column_blocks > 1) {
    const std::int64_t row_tasks = most(p.m * row_bytes / kTaskBytes, ceil_div(kEnoughTasks, column_blocks));
    plan.row_tasks = least(most(1, wanted), least(plan.row_tiles, row_tasks));
    plan.column_tasks = least(column_blocks, ceil_div(kEnoughTasks, plan.row_tasks));
    if (plan.column_tasks < column_blocks) {
      plan.path_a = PathA::once;
      plan.block_panels = block_panels;
    }
  } else if (plan.path == PathB::stack && packs_for_itself) {
    plan.column_tasks = least(plan.panels, most(1, wanted));
    if (a_collides && p.m > 4) {
      plan.path_a = PathA::ahead;
      plan.pack_tasks = plan.row_tiles;
    }
  } else {
    plan.column_tasks = column_blocks;
    plan.row_tasks = least(plan.row_tiles, most(1, wanted / column_blocks));
  }
  return plan;
}

#if defined(GORGO_ISA_AVX512_BF16)
// What products that may be rounded ask for, at any setting. Out of line, for the sake of small products.
struct Planned {
  std::size_t bytes;
  std::int64_t pack_tasks;
};
__attribute__((noinline)) Planned planned_with_rounding(const GemmProblem& p) {
  const Plan plan = plan_of<float>(p);
  const RoundedAhead ahead = rounded_ahead(p, plan);
  return {static_cast<std::size_t>(ahead.bytes), plan.pack_tasks == 0 && (ahead.a || ahead.b) ? 1 : plan.pack_tasks};
}
#endif

// Small products are answered without a plan, which would take longer than they do.
template <class S>
GORGO_GEMM_INLINE bool needs_no_scratch(const GemmProblem& p) {
  return !Stored<S>::kConverts && !p.keeps_b && p.m * p.n * most(p.k, 1) <= kSmallWork;
}

template <class S>
void run_block(const GemmProblem& p, const Plan& plan, void* scratch, std::int64_t task, std::int64_t tile_begin,
               std::int64_t tile_end, std::int64_t panel_begin, std::int64_t panel_end) {
  using T = typename Stored<S>::Compute;
  using L = Lanes<T>;
  constexpr int kColumns = kPanelColumns<T>;
  constexpr bool kConverts = Stored<S>::kConverts;
  alignas(64) T panel_buffer[kMaxBlockK * kColumns];
  alignas(64) T strip_buffer[strip_elements<T>(kMaxBlockK)];
  alignas(64) T tile_buffer[L::kRows * kColumns];

  const std::int64_t base = plan.row_tiles == 1 ? p.m : p.m / plan.row_tiles;
  const std::int64_t extra = p.m - base * plan.row_tiles;
  const bool in_registers = is_in_registers(p.epilogue);
  const std::int64_t padded_columns = plan.panels * kColumns;
  // Sums of earlier blocks of k: C itself, or where C is narrower than the sums a copy behind the packed B.
  T* partial = nullptr;
  std::int64_t partial_row_stride = 0;
  if constexpr (kConverts) {
    if (plan.k_blocks > 1) {
      partial = static_cast<T*>(scratch) + p.k * padded_columns;
      partial_row_stride = padded_columns;
    }
  } else {
    partial = static_cast<T*>(p.c);
    partial_row_stride = p.c_row_stride;
  }

  const std::int64_t strip_stride = strip_elements<T>(plan.block_k);
  T* strips = strip_buffer;
  if (plan.path_a == PathA::ahead) strips = static_cast<T*>(scratch);
  if (plan.path_a == PathA::once) {
    strips = static_cast<T*>(scratch) + elements_before_strips<S>(p, plan) + task * plan.most_strips() * strip_stride;
  }

  const bool looks_ahead = plan.path == PathB::scratch || plan.path_a == PathA::ahead;
  const RoundedAhead ahead = looks_ahead ? rounded_ahead(p, plan) : RoundedAhead{};
  MicroArgs<T> g;
  const auto run_k_block = [&](std::int64_t kb, std::int64_t first_panel, std::int64_t panel_end_here) {
    const std::int64_t k0 = kb * plan.block_k;
    const std::int64_t kc = least(plan.block_k, p.k - k0);
    const bool last = kb + 1 == plan.k_blocks;
    const bool to_tile = last && (kConverts || !in_registers);
    g.k = kc;
    g.add = !to_tile && (kb > 0 || (!kConverts && p.accumulate));

    const S* const a_block = static_cast<const S*>(p.a) + k0 * p.a_col_stride;
    T* strip = strips;
    const auto set_panel = [&](std::int64_t panel) __attribute__((always_inline)) {
      if (plan.path == PathB::scratch && ahead.has_floats(plan, scratch, kb, panel)) {
        g.b = static_cast<const T*>(scratch) + k0 * padded_columns + panel * kc * kColumns;
        g.b_row_stride = kColumns;
      } else {
        const S* b = static_cast<const S*>(p.b) + k0 * p.b_row_stride + panel * kColumns * p.b_col_stride;
        if (plan.path != PathB::in_place) {
          if (plan.path_a == PathA::ahead) strip = strips + kb * plan.row_tiles * strip_stride;
          const auto columns = static_cast<int>(least(kColumns, p.n - panel * kColumns));
          pack_panel<S>(panel_buffer, b, p.b_row_stride, p.b_col_stride, kc, columns, kRowsAheadOfPacking);
          g.b = panel_buffer;
          g.b_row_stride = kColumns;
        } else if constexpr (!kConverts) {
          g.b = b;
          g.b_row_stride = p.b_row_stride;
        }
      }
    };
    bool adjacent = false;
    const auto set_strip = [&](Rows rows) __attribute__((always_inline)) {
      const S* a = a_block + rows.first * p.a_row_stride;
      if (plan.path_a != PathA::in_place) {
        const bool is_ahead =
            plan.path_a == PathA::ahead && ahead.has_float_strip(plan, scratch, kb, tile_of(rows.first, base, extra));
        const bool is_packed = is_ahead || (plan.path_a == PathA::once && first_panel > panel_begin);
        T* const to = plan.path_a == PathA::ahead && !is_ahead ? strip_buffer : strip;
        if (!is_packed) pack_strip<S>(to, a, p.a_row_stride, p.a_col_stride, kc, rows.count);
        g.a = to;
        if (plan.path_a != PathA::stack) strip += strip_stride;
        g.a_col_stride = L::kRows;
        adjacent = true;
      } else if constexpr (!kConverts) {
        g.a = a;
        g.a_row_stride = p.a_row_stride;
        g.a_col_stride = p.a_col_stride;
        adjacent = p.a_row_stride == 1;
      }
    };
    const auto run_tile = [&](Rows rows, std::int64_t panel) __attribute__((always_inline)) {
      const std::int64_t column = panel * kColumns;
      const auto columns = static_cast<int>(least(kColumns, p.n - column));
      if (!to_tile) {
        g.c = partial + rows.first * partial_row_stride + column;
        g.c_row_stride = partial_row_stride;
        if constexpr (!kConverts) {
          if (last) {
            const GemmEpilogue& e = p.epilogue;
            g.relu = e.activation == GemmEpilogue::Activation::relu;
            g.bias = e.bias != nullptr ? static_cast<const T*>(e.bias) + column : nullptr;
            g.row_bias = e.row_bias != nullptr ? static_cast<const T*>(e.row_bias) + rows.first : nullptr;
          }
        }
        if (plan.path == PathB::scratch) fetch_tile(g.c, g.c_row_stride, rows.count, columns);
        run_micro(g, rows.count, columns, adjacent);
      } else {
        g.c = tile_buffer;
        g.c_row_stride = kColumns;
        run_micro(g, rows.count, columns, adjacent);
        const bool has_partial = kb > 0;
        finish_tile<S>(p, tile_buffer, rows.first, column, rows.count, columns,
                       has_partial ? partial + rows.first * partial_row_stride + column : nullptr, partial_row_stride);
      }
    };

    const bool panels_outside =
        plan.path == PathB::stack || (plan.path == PathB::in_place && plan.path_a == PathA::in_place &&
                                      kc * kColumns * static_cast<std::int64_t>(sizeof(T)) <= kPanelBytes);
    each_tile(panels_outside, {tile_begin, tile_end, first_panel, panel_end_here, base, extra}, set_panel, set_strip,
              run_tile);
  };
  const std::int64_t at_once = plan.path_a == PathA::once ? plan.block_panels : panel_end - panel_begin;
  for (std::int64_t kb = 0; kb < plan.k_blocks; ++kb) {
    for (std::int64_t panel = panel_begin; panel < panel_end; panel += at_once) {
      run_k_block(kb, panel, least(panel + at_once, panel_end));
    }
  }
}

// A single row: B is walked along its rows, and the sums of one block of k wait in a buffer that stays in L1. The chain
// of each element is the micro-kernel's.
constexpr int kRowBuffer = 1024;

template <class T>
void run_single_row(const GemmProblem& p, const Plan& plan, std::int64_t column, std::int64_t column_end) {
  using L = Lanes<T>;
  constexpr int kWidth = L::kWidth;
  constexpr int kAtOnce = 4;
  alignas(64) T sums[kRowBuffer];
  for (; column < column_end; column += kRowBuffer) {
    const std::int64_t columns = least(kRowBuffer, column_end - column);
    const std::int64_t whole = columns / kWidth * kWidth;
    const auto edge = L::edge(static_cast<int>(columns - whole));
    T* c = static_cast<T*>(p.c) + column;
    for (std::int64_t kb = 0; kb < plan.k_blocks; ++kb) {
      const std::int64_t k_end = least(p.k, (kb + 1) * plan.block_k);
      for (std::int64_t j = 0; j < columns; ++j) sums[j] = T{0};
      for (std::int64_t k = kb * plan.block_k; k < k_end; k += kAtOnce) {
        const T* a = static_cast<const T*>(p.a) + k * p.a_col_stride;
        const T* b = static_cast<const T*>(p.b) + k * p.b_row_stride + column;
        if (k + kAtOnce <= k_end) {
          const auto a0 = L::broadcast(a[0]);
          const auto a1 = L::broadcast(a[p.a_col_stride]);
          const auto a2 = L::broadcast(a[2 * p.a_col_stride]);
          const auto a3 = L::broadcast(a[3 * p.a_col_stride]);
          const T* b1 = b + p.b_row_stride;
          const T* b2 = b1 + p.b_row_stride;
          const T* b3 = b2 + p.b_row_stride;
          for (std::int64_t j = 0; j < whole; j += kWidth) {
            auto v = L::fma(a0, L::load(b + j), L::load(sums + j));
            v = L::fma(a1, L::load(b1 + j), v);
            v = L::fma(a2, L::load(b2 + j), v);
            L::store(sums + j, L::fma(a3, L::load(b3 + j), v));
          }
          if (whole < columns) {
            auto v = L::fma(a0, L::load_edge(b + whole, edge), L::load_edge(sums + whole, edge));
            v = L::fma(a1, L::load_edge(b1 + whole, edge), v);
            v = L::fma(a2, L::load_edge(b2 + whole, edge), v);
            L::store_edge(sums + whole, edge, L::fma(a3, L::load_edge(b3 + whole, edge), v));
          }
        } else {
          for (std::int64_t i = 0; i < k_end - k; ++i, b += p.b_row_stride) {
            const auto av = L::broadcast(a[i * p.a_col_stride]);
            for (std::int64_t j = 0; j < whole; j += kWidth)
              L::store(sums + j, L::fma(av, L::load(b + j), L::load(sums + j)));
            if (whole < columns) {
              L::store_edge(sums + whole, edge,
                            L::fma(av, L::load_edge(b + whole, edge), L::load_edge(sums + whole, edge)));
            }
          }
        }
      }
      if (kb > 0 || p.accumulate) {
        for (std::int64_t j = 0; j < columns; ++j) c[j] = c[j] + sums[j];
      } else {
        for (std::int64_t j = 0; j < columns; ++j) c[j] = sums[j];
      }
    }
    if (!is_plain(p.epilogue)) {
      GemmProblem rest = p;
      rest.accumulate = false;
      for (std::int64_t j = 0; j < columns; j += kPanelColumns<T>) {
        finish_tile<T>(rest, c + j, 0, column + j, 1, static_cast<int>(least(kPanelColumns<T>, columns - j)), nullptr,
                       0);
      }
    }
  }
}

// A single row against B transposed: blocks of B are turned in registers, so that the chains are again the
// micro-kernel's.
template <class T>
void run_single_row_transposed(const GemmProblem& p, const Plan& plan, std::int64_t column, std::int64_t column_end) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  constexpr int kWidth = L::kWidth;
  GemmProblem rest = p;
  for (; column < column_end; column += kWidth) {
    const auto count = static_cast<int>(least(kWidth, column_end - column));
    const auto edge = L::edge(count);
    T* c = static_cast<T*>(p.c) + column;
    Vec sum = L::zero();
    for (std::int64_t kb = 0; kb < plan.k_blocks; ++kb) {
      const std::int64_t k_end = least(p.k, (kb + 1) * plan.block_k);
      Vec acc = L::zero();
      for (std::int64_t k = kb * plan.block_k; k < k_end; k += kWidth) {
        const T* a = static_cast<const T*>(p.a) + k * p.a_col_stride;
        const T* b = static_cast<const T*>(p.b) + column * p.b_col_stride + k;
        Vec v[kWidth];
        if (k + kWidth <= k_end) {
          if (count == kWidth) {
            load_transposed<T, false>(v, b, p.b_col_stride, kWidth, kWidth);
          } else {
            load_transposed<T, false>(v, b, p.b_col_stride, count, kWidth);
          }
#pragma GCC unroll 16
          for (int i = 0; i < kWidth; ++i) acc = L::fma(L::broadcast(a[i * p.a_col_stride]), v[i], acc);
        } else {
          const auto left = static_cast<int>(k_end - k);
          load_transposed<T, true>(v, b, p.b_col_stride, count, left);
#pragma GCC unroll 16
          for (int i = 0; i < kWidth; ++i) {
            if (i < left) acc = L::fma(L::broadcast(a[i * p.a_col_stride]), v[i], acc);
          }
        }
      }
      if (kb > 0) {
        sum = sum + acc;
      } else {
        sum = p.accumulate ? L::load_edge(c, edge) + acc : acc;
      }
    }
    L::store_edge(c, edge, sum);
    if (!is_plain(p.epilogue)) {
      rest.accumulate = false;
      finish_tile<T>(rest, c, 0, column, 1, count, nullptr, 0);
    }
  }
}

// The products with a single column are summed in `width` interleaved chains, added pairwise at the end: lane l takes k
// = l, l + width, ...
template <class T>
GORGO_GEMM_INLINE T sum_lanes(T* lanes) {
  for (int half = Lanes<T>::kWidth / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
  }
  return lanes[0];
}

template <class T>
void finish_column_element(const GemmProblem& p, std::int64_t row, T v) {
  const GemmEpilogue& e = p.epilogue;
  T* c = static_cast<T*>(p.c) + row * p.c_row_stride;
  if (p.accumulate) v = *c + v;
  if (e.bias != nullptr) v = v + static_cast<const T*>(e.bias)[0];
  if (e.row_bias != nullptr) v = v + static_cast<const T*>(e.row_bias)[row * e.row_bias_stride];
  if (e.activation == GemmEpilogue::Activation::relu) v = v < T{0} ? T{0} : v;
  if (e.gate != nullptr) v = static_cast<const T*>(e.gate)[row * e.gate_row_stride] <= T{0} ? T{0} : v;
  *c = v;
}

template <class T, int kAtOnce>
void dot_rows(const GemmProblem& p, const T* b, std::int64_t row) {
  using L = Lanes<T>;
  const T* a = static_cast<const T*>(p.a) + row * p.a_row_stride;
  typename L::Vec acc[kAtOnce];
  for (int i = 0; i < kAtOnce; ++i) acc[i] = L::zero();
  std::int64_t k = 0;
  for (; k + L::kWidth <= p.k; k += L::kWidth) {
    const auto bv = L::load(b + k);
    for (int i = 0; i < kAtOnce; ++i) acc[i] = L::fma(L::load(a + i * p.a_row_stride + k), bv, acc[i]);
  }
  if (k < p.k) {
    const auto edge = L::edge(static_cast<int>(p.k - k));
    const auto bv = L::load_edge(b + k, edge);
    for (int i = 0; i < kAtOnce; ++i) acc[i] = L::fma(L::load_edge(a + i * p.a_row_stride + k, edge), bv, acc[i]);
  }
  for (int i = 0; i < kAtOnce; ++i) {
    alignas(64) T lanes[L::kWidth];
    L::store(lanes, acc[i]);
    finish_column_element<T>(p, row + i, sum_lanes<T>(lanes));
  }
}

// A transposed: A is walked along its columns, and the chains of a run of rows wait side by side in a buffer that stays
// in L1.
template <class T>
constexpr int kColumnBuffer = static_cast<int>(16 * 1024 / (Lanes<T>::kWidth * sizeof(T)));

template <class T>
void dot_adjacent_rows(const GemmProblem& p, const T* b, std::int64_t row, int rows) {
  using L = Lanes<T>;
  constexpr int kChains = L::kWidth;
  constexpr int kRun = kColumnBuffer<T>;
  alignas(64) T sums[kChains * kRun];
  const int padded = (rows + L::kWidth - 1) / L::kWidth * L::kWidth;
  const int whole = rows / L::kWidth * L::kWidth;
  const auto edge = L::edge(rows - whole);
  for (int chain = 0; chain < kChains; ++chain) {
    for (int i = 0; i < padded; ++i) sums[chain * kRun + i] = T{0};
  }
  const T* a = static_cast<const T*>(p.a) + row;
  for (std::int64_t k = 0; k < p.k; ++k, a += p.a_col_stride) {
    T* chain = sums + k % kChains * kRun;
    const auto bv = L::broadcast(b[k]);
    for (int i = 0; i < whole; i += L::kWidth) L::store(chain + i, L::fma(L::load(a + i), bv, L::load(chain + i)));
    if (whole < rows) L::store(chain + whole, L::fma(L::load_edge(a + whole, edge), bv, L::load(chain + whole)));
  }
  for (int half = kChains / 2; half > 0; half /= 2) {
    for (int chain = 0; chain < half; ++chain) {
      for (int i = 0; i < padded; ++i)
        sums[chain * kRun + i] = sums[chain * kRun + i] + sums[(chain + half) * kRun + i];
    }
  }
  for (int i = 0; i < rows; ++i) finish_column_element<T>(p, row + i, sums[i]);
}

template <class T>
void run_column(const GemmProblem& p, const Plan& plan, const void* scratch, std::int64_t row, std::int64_t row_end) {
  using L = Lanes<T>;
  const T* b = plan.pack_tasks != 0 ? static_cast<const T*>(scratch) : static_cast<const T*>(p.b);
  const std::int64_t b_stride = plan.pack_tasks != 0 || p.k <= 1 ? 1 : p.b_row_stride;
  if (b_stride == 1 && (p.a_col_stride == 1 || p.k <= 1)) {
    for (; row + 4 <= row_end; row += 4) dot_rows<T, 4>(p, b, row);
    for (; row < row_end; ++row) dot_rows<T, 1>(p, b, row);
  } else if (b_stride == 1 && p.a_row_stride == 1) {
    for (; row < row_end; row += kColumnBuffer<T>) {
      dot_adjacent_rows<T>(p, b, row, static_cast<int>(least(kColumnBuffer<T>, row_end - row)));
    }
  } else {
    for (; row < row_end; ++row) {
      const T* a = static_cast<const T*>(p.a) + row * p.a_row_stride;
      T lanes[L::kWidth] = {};
      for (std::int64_t k = 0; k < p.k; ++k) {
        T& lane = lanes[k % L::kWidth];
        lane = L::fma_one(a[k * p.a_col_stride], b[k * b_stride], lane);
      }
      finish_column_element<T>(p, row, sum_lanes<T>(lanes));
    }
  }
}

// ---- element types without a vector kernel: plain loops, unsigned inside so that integers wrap ----

template <class T>
struct Plain {
  using Sum = std::make_unsigned_t<T>;
  // Narrow operands are multiplied as uint32: promoted to int, 65535 * 65535 would overflow.
  using Wide = std::conditional_t<(sizeof(T) < 4), std::uint32_t, Sum>;
  GORGO_GEMM_INLINE Sum from(T x) { return static_cast<Sum>(x); }
  GORGO_GEMM_INLINE T to(Sum x) { return static_cast<T>(x); }
  GORGO_GEMM_INLINE Sum zero() { return 0; }
  GORGO_GEMM_INLINE Sum add(Sum a, Sum b) { return static_cast<Sum>(static_cast<Wide>(a) + static_cast<Wide>(b)); }
  GORGO_GEMM_INLINE Sum multiply_add(Sum a, Sum b, Sum c) {
    return static_cast<Sum>(static_cast<Wide>(a) * static_cast<Wide>(b) + static_cast<Wide>(c));
  }
};

template <class R>
struct Plain<std::complex<R>> {
  // Not std::complex: its operators are inline functions that the ISA objects would share.
  struct Sum {
    R re, im;
  };
  GORGO_GEMM_INLINE Sum from(const std::complex<R>& x) {
    const R* parts = reinterpret_cast<const R*>(&x);
    return {parts[0], parts[1]};
  }
  GORGO_GEMM_INLINE Sum zero() { return {R{0}, R{0}}; }
  GORGO_GEMM_INLINE Sum add(Sum a, Sum b) { return {a.re + b.re, a.im + b.im}; }
  GORGO_GEMM_INLINE Sum multiply_add(Sum a, Sum b, Sum c) {
    return {c.re + (rounded(a.re * b.re) - rounded(a.im * b.im)), c.im + (rounded(a.re * b.im) + rounded(a.im * b.re))};
  }
};

constexpr int kPlainColumns = 64;

// Activation and gate are the real types' affair; here bias only.
template <class T>
void run_plain(const GemmProblem& p, std::int64_t row_begin, std::int64_t row_end) {
  using P = Plain<T>;
  using Sum = typename P::Sum;
  const T* bias = static_cast<const T*>(p.epilogue.bias);
  const T* row_bias = static_cast<const T*>(p.epilogue.row_bias);
  for (std::int64_t i = row_begin; i < row_end; ++i) {
    const T* a = static_cast<const T*>(p.a) + i * p.a_row_stride;
    T* c = static_cast<T*>(p.c) + i * p.c_row_stride;
    for (std::int64_t j0 = 0; j0 < p.n; j0 += kPlainColumns) {
      const auto columns = static_cast<int>(least(kPlainColumns, p.n - j0));
      Sum acc[kPlainColumns];
      for (int j = 0; j < columns; ++j) acc[j] = P::zero();
      for (std::int64_t k = 0; k < p.k; ++k) {
        const Sum x = P::from(a[k * p.a_col_stride]);
        const T* b = static_cast<const T*>(p.b) + k * p.b_row_stride + j0 * p.b_col_stride;
        if (p.b_col_stride == 1) {
          for (int j = 0; j < columns; ++j) acc[j] = P::multiply_add(x, P::from(b[j]), acc[j]);
        } else {
          for (int j = 0; j < columns; ++j) acc[j] = P::multiply_add(x, P::from(b[j * p.b_col_stride]), acc[j]);
        }
      }
      for (int j = 0; j < columns; ++j) {
        Sum v = acc[j];
        if (p.accumulate) v = P::add(P::from(c[j0 + j]), v);
        if (bias != nullptr) v = P::add(v, P::from(bias[(j0 + j) * p.epilogue.bias_stride]));
        if (row_bias != nullptr) v = P::add(v, P::from(row_bias[i * p.epilogue.row_bias_stride]));
        if constexpr (std::is_integral_v<T>) {
          c[j0 + j] = P::to(v);
        } else {
          auto* parts = reinterpret_cast<decltype(v.re)*>(c + j0 + j);
          parts[0] = v.re;
          parts[1] = v.im;
        }
      }
    }
  }
}

[[maybe_unused]] std::int64_t plain_tasks(const GemmProblem& p) {
  if (p.m <= 0 || p.n <= 0) return 0;
  const std::int64_t work = p.m * p.n * most(p.k, 1);
  return work <= kSmallWork ? 1 : most(1, least(kMaxTasks, least(p.m, 8 * work / kTaskWork)));
}

}  // namespace

template <class T>
std::size_t gemm_scratch_bytes(const GemmProblem& p) {
  const std::size_t for_tiles = bytes_for_tiles<T>(p);
  if (is_packed_for_tiles<T>(p)) return for_tiles;
  if constexpr (kHasVectors<T>) {
    if (needs_no_scratch<T>(p)) return 0;
#if defined(GORGO_ISA_AVX512_BF16)
    if (may_be_rounded(p)) return planned_with_rounding(p).bytes;
#endif
    return for_tiles + static_cast<std::size_t>(bytes_of<T>(p, plan_of<T>(p)));
  } else {
    return 0;
  }
}

template <class T>
std::int64_t gemm_pack_tasks(const GemmProblem& p) {
#if defined(GORGO_ISA_AMX)
  if (is_packed_for_tiles<T>(p)) return pieces_pack_tasks(p);
#endif
  if constexpr (kHasVectors<T>) {
    if (needs_no_scratch<T>(p)) return 0;
#if defined(GORGO_ISA_AVX512_BF16)
    if (may_be_rounded(p)) return planned_with_rounding(p).pack_tasks;
#endif
    return plan_of<T>(p).pack_tasks;
  } else {
    return 0;
  }
}

template <class T>
void gemm_pack(const GemmProblem& p, void* scratch, std::int64_t task) {
#if defined(GORGO_ISA_AMX)
  if (is_packed_for_tiles<T>(p)) return pieces_pack(p, scratch, task);
#endif
  if constexpr (kHasVectors<T>) {
    using C = typename Stored<T>::Compute;
    constexpr std::int64_t kColumns = kPanelColumns<C>;
    const Plan plan = plan_of<T>(p);
#if defined(GORGO_ISA_AVX512_BF16)
    const RoundedAhead ahead = rounded_ahead(p, plan);
    if (ahead.a || ahead.b) {
      const bool rounds = is_rounded(p);
      pack_rounded(p, plan, ahead, scratch, task, rounds);
      if (rounds || plan.pack_tasks == 0) return;
    }
#endif
    C* to = reinterpret_cast<C*>(static_cast<unsigned char*>(scratch) + bytes_for_tiles<T>(p));
    if (plan.path == PathB::column) {
      const T* b = static_cast<const T*>(p.b);
      for (std::int64_t k = 0; k < p.k; ++k) to[k] = Stored<T>::value(b[k * p.b_row_stride]);
      return;
    }
    if (plan.path_a == PathA::ahead) {
      const Rows rows = rows_of(task, p.m / plan.row_tiles, p.m % plan.row_tiles);
      for (std::int64_t kb = 0; kb < plan.k_blocks; ++kb) {
        const std::int64_t k0 = kb * plan.block_k;
        pack_strip<T>(to + (kb * plan.row_tiles + task) * strip_elements<C>(plan.block_k),
                      static_cast<const T*>(p.a) + rows.first * p.a_row_stride + k0 * p.a_col_stride, p.a_row_stride,
                      p.a_col_stride, least(plan.block_k, p.k - k0), rows.count);
      }
      return;
    }
    const std::int64_t groups = ceil_div(plan.panels, kPackPanels);
    const std::int64_t kb = task / groups;
    const std::int64_t k0 = kb * plan.block_k;
    const std::int64_t kc = least(plan.block_k, p.k - k0);
    const std::int64_t first = task % groups * kPackPanels;
    const std::int64_t end = least(first + kPackPanels, plan.panels);
    const std::int64_t at_once = p.b_col_stride == 1 ? kPackRows : kc;
    to += k0 * plan.panels * kColumns;
    for (std::int64_t row = 0; row < kc; row += at_once) {
      const T* b = static_cast<const T*>(p.b) + (k0 + row) * p.b_row_stride;
      for (std::int64_t panel = first; panel < end; ++panel) {
        pack_panel<T>(to + (panel * kc + row) * kColumns, b + panel * kColumns * p.b_col_stride, p.b_row_stride,
                      p.b_col_stride, least(at_once, kc - row),
                      static_cast<int>(least(kColumns, p.n - panel * kColumns)));
      }
    }
  }
}

template <class T>
std::int64_t gemm_tasks(const GemmProblem& p) {
#if defined(GORGO_ISA_AMX)
  if (is_for_tiles<T>(p)) return pieces_tasks(p);
#endif
  if constexpr (kHasVectors<T>) {
    if (p.m > 0 && p.n > 0 && needs_no_scratch<T>(p)) return 1;
    const Plan plan = plan_of<T>(p);
    return plan.row_tasks * plan.column_tasks;
  } else {
    return plain_tasks(p);
  }
}

template <class T>
void gemm_run(const GemmProblem& p, void* scratch, std::int64_t task) {
#if defined(GORGO_ISA_AMX)
  if (is_for_tiles<T>(p) && (!is_by_few_rows(p) || asks_for_batch_invariance())) return pieces_run(p, scratch, task);
#endif
  if constexpr (kHasVectors<T>) {
    const Plan plan = plan_of<T>(p);
    std::int64_t tile_begin = 0;
    std::int64_t tile_end = plan.row_tiles;
    std::int64_t panel_begin = 0;
    std::int64_t panel_end = plan.panels;
    if (plan.row_tasks * plan.column_tasks != 1) {
      const std::int64_t row_task = task / plan.column_tasks;
      const std::int64_t column_task = task % plan.column_tasks;
      tile_begin = plan.row_tiles * row_task / plan.row_tasks;
      tile_end = plan.row_tiles * (row_task + 1) / plan.row_tasks;
      panel_begin = plan.panels * column_task / plan.column_tasks;
      panel_end = plan.panels * (column_task + 1) / plan.column_tasks;
    }
#if defined(GORGO_ISA_AVX512_BF16)
    if (is_rounded(p)) {
      return run_rounded(p, plan, scratch, tile_begin, tile_end, panel_begin, panel_end);
    }
#endif
    if constexpr (!Stored<T>::kConverts) {
      if (plan.path == PathB::column) return run_column<T>(p, plan, scratch, tile_begin, tile_end);
      if (p.m == 1 && plan.path == PathB::in_place && p.n > kPanelColumns<T>) {
        return run_single_row<T>(p, plan, panel_begin * kPanelColumns<T>, least(p.n, panel_end * kPanelColumns<T>));
      }
      if (p.m == 1 && plan.path == PathB::stack && p.b_row_stride == 1) {
        return run_single_row_transposed<T>(p, plan, panel_begin * kPanelColumns<T>,
                                            least(p.n, panel_end * kPanelColumns<T>));
      }
    }
    run_block<T>(p, plan, static_cast<unsigned char*>(scratch) + bytes_for_tiles<T>(p), task, tile_begin, tile_end,
                 panel_begin, panel_end);
  } else {
    const std::int64_t tasks = plain_tasks(p);
    run_plain<T>(p, p.m * task / tasks, p.m * (task + 1) / tasks);
  }
}

GORGO_GEMM_INSTANTIATE(float)
#if !defined(GORGO_ISA_AMX) && !defined(GORGO_ISA_AVX512_BF16)
GORGO_GEMM_INSTANTIATE(double)
GORGO_GEMM_INSTANTIATE(BFloat16)
GORGO_GEMM_INSTANTIATE(Float16)
GORGO_GEMM_INSTANTIATE(std::int32_t)
GORGO_GEMM_INSTANTIATE(std::int64_t)
#endif
#ifdef GORGO_WITH_RARE_DTYPES
GORGO_GEMM_INSTANTIATE(std::int16_t)
GORGO_GEMM_INSTANTIATE(std::uint16_t)
GORGO_GEMM_INSTANTIATE(std::uint32_t)
GORGO_GEMM_INSTANTIATE(std::uint64_t)
GORGO_GEMM_INSTANTIATE(std::complex<float>)
GORGO_GEMM_INSTANTIATE(std::complex<double>)
#endif

}  // namespace gorgo::GORGO_ISA_NS
