// Products of types whose elements are multiplied by groups (groups.h): how they are cut into tasks, packed and finished.
//
// B is always packed, panel by panel on the stack by the task that uses it or beforehand into scratch; A is read in
// place where its groups lie as words. None of this shows in the bits: the blocks of k come from (k, dtype, ISA) alone,
// and each element is one chain of the micro-kernel over each.
#include <cstdint>
#include <type_traits>

#include "core/counts.h"
#include "core/dtype.h"
#include "kernels/gemm/finish.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/groups.h"
#include "kernels/gemm/lanes.h"
#include "kernels/gemm/micro.h"

namespace gorgo::GORGO_ISA_NS {

#if defined(GORGO_ISA_AVX512_BF16)
constinit const MicroTable<PairsOfBFloat16> SharedMicro<PairsOfBFloat16>::table =
    make_micro_table<PairsOfBFloat16>(std::make_integer_sequence<int, kTileRows<PairsOfBFloat16>>{});
#endif

namespace {

#if !defined(GORGO_ISA_AVX512_BF16)
template <class T>
constexpr MicroTable<T> kMicroTable = make_micro_table<T>(std::make_integer_sequence<int, kTileRows<T>>{});
#endif
template <class T>
GORGO_GEMM_INLINE void run_micro_of_groups(MicroArgs<T>& args, int rows, int columns, bool adjacent_rows) {
#if defined(GORGO_ISA_AVX512_BF16)
  run_micro(args, rows, columns, adjacent_rows);
#else
  run_micro_of(kMicroTable<T>, args, rows, columns, adjacent_rows);
#endif
}

// What a task must be worth in multiply-adds of a group.
constexpr std::int64_t kTaskWork = 512 * 1024;
constexpr std::int64_t kMaxTasks = 48;
// A in place that stays in L2 while all panels of B pass by, and how many rows of it.
constexpr std::int64_t kResidentBytes = 512 * 1024;
constexpr std::int64_t kResidentRows = 512;
// A block of packed B that a task walks for every strip of A: half of a small L2.
constexpr std::int64_t kBlockBytes = 512 * 1024;
// Words from one k of a packed strip of A to the next: rows, in whole vectors.
template <class T>
constexpr std::int64_t kStripStride = round_up(kTileRows<T>, kPanelColumns<T> / 2);
// Rows whose bytes one task sums.
constexpr std::int64_t kOffsetRows = 128;

// How the factors of a problem become groups of T. 128 times the sums of A's rows, of this sign, are added.
template <class T, bool kFlipOfA, bool kFlipOfB, int kSignOfOffset>
struct Groups {
  using Product = T;
  static constexpr bool kFlipA = kFlipOfA;
  static constexpr bool kFlipB = kFlipOfB;
  static constexpr int kSign = kSignOfOffset;
};

#if defined(GORGO_ISA_AVX512_BF16)
template <class S>
using ProductOf = PairsOfBFloat16;

template <class S, class Use>
GORGO_GEMM_INLINE void with_groups(const GemmProblem&, Use use) {
  use(Groups<PairsOfBFloat16, false, false, 0>{});
}
#else
#if defined(GORGO_ISA_AVX512_VNNI)
template <class S>
using ProductOf = FoursOfBytes<false>;

template <bool kSignedA, bool kSignedB>
using GroupsOf = Groups<FoursOfBytes<kSignedA>, false, kSignedA == kSignedB,
                        kSignedA != kSignedB ? 0
                        : kSignedA           ? -1
                                             : 1>;
#else
template <class S>
using ProductOf = PairsOfInt16;

template <bool kSignedA, bool kSignedB>
using GroupsOf = Groups<PairsOfInt16, kSignedA, kSignedB, 0>;
#endif

template <class S, class Use>
GORGO_GEMM_INLINE void with_groups(const GemmProblem& p, Use use) {
  if constexpr (std::is_same_v<S, BytesToInt32>) {
    if (p.a_is_signed) return p.b_is_signed ? use(GroupsOf<true, true>{}) : use(GroupsOf<true, false>{});
    return p.b_is_signed ? use(GroupsOf<false, true>{}) : use(GroupsOf<false, false>{});
  } else {
    // The low bits of the sums are the same whatever the signs.
    use(GroupsOf<false, true>{});
  }
}
#endif

// Whether products with a B that was moved need setting right (groups.h).
template <class S>
GORGO_GEMM_INLINE bool is_offset(const GemmProblem& p) {
  bool is = false;
  with_groups<S>(p, [&](auto groups) { is = decltype(groups)::kSign != 0; });
  return is;
}

template <class S>
constexpr bool kNarrows = !std::is_same_v<S, BytesToInt32>;

// A single column is a single row of the transposed product.
template <class S>
GORGO_GEMM_INLINE GemmProblem turned(const GemmProblem& p) {
  GemmProblem q = p;
  if (p.n != 1 || p.m <= 1 || p.c_row_stride != 1 || p.epilogue.gate != nullptr) return q;
  q.m = 1;
  q.n = p.m;
  q.a = p.b;
  q.b = p.a;
  q.a_row_stride = p.k;
  q.a_col_stride = p.b_row_stride;
  q.b_row_stride = p.a_col_stride;
  q.b_col_stride = p.a_row_stride;
  q.c_row_stride = p.m;
  q.a_is_signed = p.b_is_signed;
  q.b_is_signed = p.a_is_signed;
  q.epilogue.bias = p.epilogue.row_bias;
  q.epilogue.bias_stride = p.epilogue.row_bias_stride;
  q.epilogue.row_bias = p.epilogue.bias;
  q.epilogue.row_bias_stride = p.epilogue.bias_stride;
  return q;
}

struct Plan {
  bool a_in_place = false;
  bool packs_ahead = false;    // B, into scratch
  bool offsets_ahead = false;  // what sets A's rows right, into scratch
  std::int64_t k_blocks = 1;
  std::int64_t block_k = 0;
  std::int64_t row_tiles = 0;  // strips of A; rows are split evenly among them
  std::int64_t panels = 0;
  std::int64_t row_tasks = 0;
  std::int64_t column_tasks = 1;
  std::int64_t pack_tasks = 0;
};

template <class S>
Plan plan_of(const GemmProblem& p) {
  using T = ProductOf<S>;
  using O = Operands<T>;
  constexpr std::int64_t kRows = kTileRows<T>;
  constexpr std::int64_t kColumns = kPanelColumns<T>;
  Plan plan;
  if (p.m <= 0 || p.n <= 0) return plan;
  plan.row_tiles = ceil_div(p.m, kRows);
  plan.panels = ceil_div(p.n, kColumns);
  const BlocksOfK blocks = blocks_of_k(p.k, kMaxBlockK * O::kGroup);
  plan.k_blocks = blocks.count;
  plan.block_k = blocks.size;
  plan.a_in_place = O::kInPlace && p.a_col_stride == 1 && p.k % O::kGroup == 0;
  const bool is_used_up = plan.row_tiles <= 2 || plan.panels == 1;
  const bool a_is_resident = plan.a_in_place && plan.k_blocks == 1 && p.m <= kResidentRows &&
                             p.m * p.k * static_cast<std::int64_t>(sizeof(typename O::Source)) <= kResidentBytes;
  const bool is_kept = p.keeps_b && p.k > 0 && (p.m > 1 || p.b_col_stride != 1);
  plan.packs_ahead = is_kept || (!is_used_up && !a_is_resident);
  if (plan.packs_ahead) plan.a_in_place = false;
  const std::int64_t wanted = most(1, least(kMaxTasks, p.m * p.n * words_of<T>(p.k) / kTaskWork));
  if (plan.packs_ahead) {
    const std::int64_t block_panels =
        most(1, kBlockBytes / (most(words_of<T>(plan.block_k), 1) * kColumns * std::int64_t{sizeof(typename O::Word)}));
    plan.pack_tasks = plan.k_blocks * ceil_div(plan.panels, kPackPanels);
    plan.column_tasks = ceil_div(plan.panels, block_panels);
  } else {
    plan.column_tasks = least(plan.panels, wanted);
    plan.offsets_ahead = plan.column_tasks > 1 && !is_used_up && is_offset<S>(p);
    if (plan.offsets_ahead) plan.pack_tasks = ceil_div(p.m, kOffsetRows);
  }
  plan.row_tasks = least(plan.row_tiles, most(1, wanted / plan.column_tasks));
  return plan;
}

// Words of the packed B, behind which the sums of earlier blocks of k lie where C is narrower than they are.
template <class S>
std::int64_t packed_words(const GemmProblem& p, const Plan& plan) {
  using T = ProductOf<S>;
  return plan.packs_ahead ? words_of<T>(p.k) * plan.panels * kPanelColumns<T> : 0;
}

// The biases of a tile's rows or columns, as sums; of bytes the low bits count.
template <class S, class Sum>
GORGO_GEMM_INLINE void load_bias(Sum* to, const void* bias, std::int64_t first, std::int64_t stride, int count) {
  if constexpr (kNarrows<S>) {
    const S* from = static_cast<const S*>(bias) + first * stride;
    for (int i = 0; i < count; ++i, from += stride) {
      if constexpr (std::is_integral_v<S>) {
        to[i] = static_cast<std::uint8_t>(*from);
      } else {
        to[i] = static_cast<Sum>(*from);
      }
    }
  }
}

// Panels of one block of k, one after the other.
template <class G>
void pack_b(std::uint32_t* to, const GemmProblem& p, std::int64_t k0, std::int64_t kc, std::int64_t first_panel,
            std::int64_t panels) {
  using T = typename G::Product;
  constexpr int kColumns = kPanelColumns<T>;
  const std::int64_t column = first_panel * kColumns;
  const auto* b = static_cast<const typename Operands<T>::Source*>(p.b) + k0 * p.b_row_stride + column * p.b_col_stride;
  pack_words<T, G::kFlipB>(to, {kColumns, kColumns / 2, words_of<T>(kc) * kColumns}, b, p.b_col_stride, p.b_row_stride,
                           kc, static_cast<int>(least(panels * kColumns, p.n - column)));
}

#if defined(GORGO_ISA_AVX512_VNNI)
// What sets right the products of rows of A that lie in place, or packed, with a B that was moved.
template <class G>
constexpr std::uint32_t kOffset = static_cast<std::uint32_t>(128 * G::kSign);

template <class G>
void offset_rows(std::uint32_t* to, const std::uint8_t* a, std::int64_t row_stride, std::int64_t rows, std::int64_t k) {
  for (std::int64_t i = 0; i < rows; ++i) to[i] = kOffset<G> * sum_of_bytes<(G::kSign < 0)>(a + i * row_stride, k);
}

template <class G>
void offset_strip(std::uint32_t* to, const std::uint32_t* strip, std::int64_t words, int rows) {
  Words sums{};
  for (std::int64_t word = 0; word < words; ++word, strip += kStripStride<typename G::Product>) {
    sums = Operands<typename G::Product>::multiply_add(Lanes<std::uint32_t>::load(strip), Words{} + 0x01010101, sums);
  }
  sums = sums * kOffset<G>;
  for (int i = 0; i < rows; ++i) to[i] = sums[i];
}
#endif

template <class S, class G>
void run_block(const GemmProblem& p, const Plan& plan, void* scratch, std::int64_t tile_begin, std::int64_t tile_end,
               std::int64_t panel_begin, std::int64_t panel_end, G) {
  using T = typename G::Product;
  using O = Operands<T>;
  using Sum = typename O::Sum;
  using Word = typename O::Word;
  constexpr int kRows = kTileRows<T>;
  constexpr int kColumns = kPanelColumns<T>;
  constexpr bool kCorrects = G::kSign != 0;
  alignas(64) Word panel_buffer[kMaxBlockK * kColumns];
  alignas(64) Word strip_buffer[(kMaxBlockK + kColumns) * kStripStride<T>];
  alignas(64) Sum tile_buffer[kRows * kColumns];
  alignas(64) Sum bias[kColumns] = {};
  Sum row_bias[kRows] = {};
  Word offsets[kCorrects ? kResidentRows : 1];
  const bool offsets_once =
      kCorrects && plan.a_in_place && !plan.packs_ahead && !plan.offsets_ahead && panel_end - panel_begin > 1;

  const std::int64_t base = p.m / plan.row_tiles;
  const std::int64_t extra = p.m - base * plan.row_tiles;
  const std::int64_t padded_columns = plan.panels * kColumns;
  const GemmEpilogue& e = p.epilogue;
  Sum* partial = nullptr;  // sums of earlier blocks of k
  std::int64_t partial_row_stride = 0;
  if constexpr (kNarrows<S>) {
    partial = static_cast<Sum*>(scratch) + packed_words<S>(p, plan);
    partial_row_stride = padded_columns;
  } else {
    partial = static_cast<Sum*>(p.c);
    partial_row_stride = p.c_row_stride;
  }

  MicroArgs<T> g;
  const auto run_k_block = [&](std::int64_t kb, std::int64_t first_panel,
                               std::int64_t panel_end_here) __attribute__((always_inline)) {
    const std::int64_t k0 = kb * plan.block_k;
    const std::int64_t kc = least(plan.block_k, p.k - k0);
    const bool last = kb + 1 == plan.k_blocks;
    const bool to_tile = kNarrows<S> && last && (p.accumulate || e.gate != nullptr);
    g.k = words_of<T>(kc);
    g.narrow = nullptr;
    g.bias = nullptr;
    g.add = !to_tile && (kb > 0 || (!kNarrows<S> && p.accumulate));
    const auto* const a_block = static_cast<const typename O::Source*>(p.a) + k0 * p.a_col_stride;
    bool adjacent = false;

    const auto set_panel = [&](std::int64_t panel) __attribute__((always_inline)) {
      if (plan.packs_ahead) {
        g.b = static_cast<const Word*>(scratch) + k0 / O::kGroup * padded_columns + panel * g.k * kColumns;
      } else {
        pack_b<G>(panel_buffer, p, k0, kc, panel, 1);
        g.b = panel_buffer;
      }
      g.b_row_stride = kColumns;
      if (last && !to_tile && e.bias != nullptr) {
        load_bias<S>(bias, e.bias, panel * kColumns, e.bias_stride,
                     static_cast<int>(least(kColumns, p.n - panel * kColumns)));
        g.bias = bias;
      }
    };
    const auto set_strip = [&](Rows rows) __attribute__((always_inline)) {
      const auto* a = a_block + rows.first * p.a_row_stride;
      if constexpr (O::kInPlace) {
        if (plan.a_in_place) {
          g.a = a;
          g.a_row_stride = p.a_row_stride;
          g.a_col_stride = O::kGroup;
        }
      }
      adjacent = false;
      if (!plan.a_in_place && p.a_col_stride == 1) {
        // An odd number of cache lines from row to row keeps the rows in different sets of L1.
        const std::int64_t stride = round_up(g.k, 2 * kColumns) + kColumns / 2;
        copy_rows<T, G::kFlipA>(strip_buffer, stride, a, p.a_row_stride, kc, rows.count);
        g.a = reinterpret_cast<const typename O::Element*>(strip_buffer);
        g.a_row_stride = stride * O::kGroup;
        g.a_col_stride = O::kGroup;
      } else if (!plan.a_in_place) {
        adjacent = true;
        pack_words<T, G::kFlipA>(strip_buffer, {kStripStride<T>, kColumns / 2, 0}, a, p.a_row_stride, p.a_col_stride,
                                 kc, rows.count);
        g.a = reinterpret_cast<const typename O::Element*>(strip_buffer);
        g.a_col_stride = kStripStride<T> * O::kGroup;
      }
      const bool has_bias = last && !to_tile && e.row_bias != nullptr;
      g.row_bias = nullptr;
      if (has_bias) {
        load_bias<S>(row_bias, e.row_bias, rows.first, e.row_bias_stride, rows.count);
        g.row_bias = row_bias;
      }
      if constexpr (kCorrects) {
        Word own[kRows];
        const Word* found = own;
        if (plan.offsets_ahead) {
          found = static_cast<const Word*>(scratch) + rows.first;
        } else if (offsets_once) {
          found = offsets + (rows.first - rows_of(tile_begin, base, extra).first);
        } else if (p.a_col_stride == 1) {
          offset_rows<G>(own, a, p.a_row_stride, rows.count, kc);
        } else {
          offset_strip<G>(own, strip_buffer, g.k, rows.count);
        }
        for (int i = 0; i < rows.count; ++i) row_bias[i] = has_bias ? row_bias[i] + found[i] : found[i];
        g.row_bias = row_bias;
      }
    };
    const auto run_tile = [&](Rows rows, std::int64_t panel) __attribute__((always_inline)) {
      const std::int64_t column = panel * kColumns;
      const auto columns = static_cast<int>(least(kColumns, p.n - column));
      const std::int64_t c_at = rows.first * p.c_row_stride + column;
      g.c = partial + rows.first * partial_row_stride + column;
      g.c_row_stride = partial_row_stride;
      if (to_tile) {
        g.c = tile_buffer;
        g.c_row_stride = kColumns;
      } else if (kNarrows<S> && last) {
        g.narrow = static_cast<typename O::Narrow*>(p.c) + c_at;
        g.narrow_row_stride = p.c_row_stride;
      }
      g.relu = last && !to_tile && e.activation == GemmEpilogue::Activation::relu;
      run_micro_of_groups(g, rows.count, columns, adjacent);
      if constexpr (kNarrows<S>) {
        if (to_tile) {
          const Sum* before = kb > 0 ? partial + rows.first * partial_row_stride + column : nullptr;
          finish_sums<S>(p, tile_buffer, kColumns, rows, column, columns, before, partial_row_stride);
        }
      }
    };

    if constexpr (kCorrects) {
      if (offsets_once) {
        const std::int64_t first = rows_of(tile_begin, base, extra).first;
        const std::int64_t count = rows_of(tile_end, base, extra).first - first;
        offset_rows<G>(offsets, a_block + first * p.a_row_stride, p.a_row_stride, count, kc);
      }
    }
    each_tile(!plan.packs_ahead, {tile_begin, tile_end, first_panel, panel_end_here, base, extra}, set_panel, set_strip,
              run_tile);
  };
  // A panel that is packed on the stack is done with, all blocks of k, before the next: B is read along its columns.
  const std::int64_t at_once = plan.packs_ahead || plan.k_blocks == 1 ? most(1, panel_end - panel_begin) : 1;
  for (std::int64_t panel = panel_begin; panel < panel_end; panel += at_once) {
    for (std::int64_t kb = 0; kb < plan.k_blocks; ++kb) run_k_block(kb, panel, panel + at_once);
  }
}

// A single row: B is walked along its rows, as it lies, and the sums of one block of k wait in a buffer that stays in L1.
// The chain of each element is the micro-kernel's.
constexpr int kRowBuffer = 512;

template <class S, class G>
void run_single_row(const GemmProblem& p, const Plan& plan, std::int64_t column, std::int64_t column_end, G) {
  using T = typename G::Product;
  using O = Operands<T>;
  using Sum = typename O::Sum;
  using L = Lanes<Sum>;
  using Source = typename O::Source;
  constexpr int kWidth = L::kWidth;
  constexpr int kGroup = O::kGroup;
  constexpr int kAtOnce = 4;
  alignas(64) Sum totals[kRowBuffer];
  alignas(64) Sum sums[kRowBuffer];
  alignas(64) typename O::Word words[kMaxBlockK + kWidth];
  Source gathered[kMaxBlockK * kGroup];
  for (; column < column_end; column += kRowBuffer) {
    const auto columns = static_cast<int>(least(kRowBuffer, column_end - column));
    const int whole = columns / kWidth * kWidth;
    for (std::int64_t kb = 0; kb < plan.k_blocks; ++kb) {
      const std::int64_t k0 = kb * plan.block_k;
      const std::int64_t kc = least(plan.block_k, p.k - k0);
      const Source* a = static_cast<const Source*>(p.a) + k0 * p.a_col_stride;
      const Source* b = static_cast<const Source*>(p.b) + k0 * p.b_row_stride + column;
      if (p.a_col_stride != 1) {
        for (std::int64_t i = 0; i < kc; ++i) gathered[i] = a[i * p.a_col_stride];
        a = gathered;
      }
      copy_rows<T, G::kFlipA>(words, 0, a, 0, kc, 1);
      Sum* const to = kb == 0 ? totals : sums;
      for (int j = 0; j < columns; j += kWidth) L::store(to + j, L::zero());
      std::int64_t word = 0;
      for (; (word + kAtOnce) * kGroup <= kc; word += kAtOnce, b += kAtOnce * kGroup * p.b_row_stride) {
        typename O::Vec av[kAtOnce];
        for (int i = 0; i < kAtOnce; ++i) av[i] = broadcast_word(words + word + i);
        for (int j = 0; j < whole; j += kWidth) {
          auto v = L::load(to + j);
#pragma GCC unroll 4
          for (int i = 0; i < kAtOnce; ++i) {
            const Source* from = b + i * kGroup * p.b_row_stride + j;
            v = O::multiply_add(av[i], O::template interleave<G::kFlipB>(from, p.b_row_stride), v);
          }
          L::store(to + j, v);
        }
        if (whole < columns) {
          auto v = L::load(to + whole);
          for (int i = 0; i < kAtOnce; ++i) {
            const Source* from = b + i * kGroup * p.b_row_stride + whole;
            const auto bv = O::template interleave<G::kFlipB>(from, p.b_row_stride, kGroup, columns - whole);
            v = O::multiply_add(av[i], bv, v);
          }
          L::store(to + whole, v);
        }
      }
      for (; word * kGroup < kc; ++word, b += kGroup * p.b_row_stride) {
        const auto rows = static_cast<int>(least(kGroup, kc - word * kGroup));
        for (int j = 0; j < columns; j += kWidth) {
          const auto lanes = static_cast<int>(least(kWidth, columns - j));
          const auto bv = O::template interleave<G::kFlipB>(b + j, p.b_row_stride, rows, lanes);
          L::store(to + j, O::multiply_add(broadcast_word(words + word), bv, L::load(to + j)));
        }
      }
      if (kb > 0) {
        for (int j = 0; j < columns; j += kWidth) L::store(totals + j, L::load(totals + j) + L::load(sums + j));
      }
      if constexpr (G::kSign != 0) {
        std::uint32_t offset = 0;
        offset_rows<G>(&offset, a, 0, 1, kc);
        for (int j = 0; j < columns; j += kWidth) L::store(totals + j, L::load(totals + j) + L::broadcast(offset));
      }
    }
    if constexpr (kNarrows<S>) {
      finish_sums<S>(p, totals, 0, Rows{0, 1}, column, columns, static_cast<const Sum*>(nullptr), 0);
    } else {
      auto* c = static_cast<Sum*>(p.c) + column;
      for (int j = 0; j < columns; j += kWidth) {
        const auto edge = L::edge(static_cast<int>(least(kWidth, columns - j)));
        auto v = L::load(totals + j);
        if (p.accumulate) v = L::load_edge(c + j, edge) + v;
        L::store_edge(c + j, edge, v);
      }
    }
  }
}

}  // namespace

template <class S>
std::size_t gemm_scratch_bytes(const GemmProblem& problem) {
  const GemmProblem p = turned<S>(problem);
  const Plan plan = plan_of<S>(p);
  std::int64_t words = plan.offsets_ahead ? p.m : packed_words<S>(p, plan);
  if (kNarrows<S> && plan.k_blocks > 1) words += p.m * plan.panels * kPanelColumns<ProductOf<S>>;
  return static_cast<std::size_t>(words) * sizeof(std::uint32_t);
}

template <class S>
std::int64_t gemm_pack_tasks(const GemmProblem& problem) {
  return plan_of<S>(turned<S>(problem)).pack_tasks;
}

template <class S>
void gemm_pack(const GemmProblem& problem, void* scratch, std::int64_t task) {
  const GemmProblem p = turned<S>(problem);
  with_groups<S>(p, [&](auto groups) {
    using G = decltype(groups);
    using T = typename G::Product;
    constexpr std::int64_t kColumns = kPanelColumns<T>;
    const Plan plan = plan_of<S>(p);
#if defined(GORGO_ISA_AVX512_VNNI)
    if (plan.offsets_ahead) {
      const std::int64_t row = task * kOffsetRows;
      return offset_rows<G>(static_cast<std::uint32_t*>(scratch) + row,
                            static_cast<const std::uint8_t*>(p.a) + row * p.a_row_stride, p.a_row_stride,
                            least(kOffsetRows, p.m - row), p.k);
    }
#endif
    const std::int64_t panel_groups = ceil_div(plan.panels, kPackPanels);
    const std::int64_t k0 = task / panel_groups * plan.block_k;
    const std::int64_t kc = least(plan.block_k, p.k - k0);
    const std::int64_t first = task % panel_groups * kPackPanels;
    auto* to = static_cast<std::uint32_t*>(scratch) + k0 / Operands<T>::kGroup * plan.panels * kColumns;
    pack_b<G>(to + first * words_of<T>(kc) * kColumns, p, k0, kc, first, least(kPackPanels, plan.panels - first));
  });
}

template <class S>
std::int64_t gemm_tasks(const GemmProblem& problem) {
  const Plan plan = plan_of<S>(turned<S>(problem));
  return plan.row_tasks * plan.column_tasks;
}

template <class S>
void gemm_run(const GemmProblem& problem, void* scratch, std::int64_t task) {
  const GemmProblem p = turned<S>(problem);
  const Plan plan = plan_of<S>(p);
  const std::int64_t row_task = task / plan.column_tasks;
  const std::int64_t column_task = task % plan.column_tasks;
  const std::int64_t panel = plan.panels * column_task / plan.column_tasks;
  const std::int64_t panel_end = plan.panels * (column_task + 1) / plan.column_tasks;
  constexpr std::int64_t kColumns = kPanelColumns<ProductOf<S>>;
  with_groups<S>(p, [&](auto groups) {
    if (p.m == 1 && p.b_col_stride == 1 && p.n > kColumns) {
      run_single_row<S>(p, plan, panel * kColumns, least(p.n, panel_end * kColumns), groups);
    } else {
      run_block<S>(p, plan, scratch, plan.row_tiles * row_task / plan.row_tasks,
                   plan.row_tiles * (row_task + 1) / plan.row_tasks, panel, panel_end, groups);
    }
  });
}

#if defined(GORGO_ISA_AVX512_BF16)
GORGO_GEMM_INSTANTIATE(BFloat16)
#else
GORGO_GEMM_INSTANTIATE(std::int8_t)
GORGO_GEMM_INSTANTIATE(std::uint8_t)
GORGO_GEMM_INSTANTIATE(BytesToInt32)
#endif

}  // namespace gorgo::GORGO_ISA_NS
