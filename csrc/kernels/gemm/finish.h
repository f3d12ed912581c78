// What follows the sums of a tile: epilogue, rounding, store; and the order of tiles: rows shared out among strips of A,
// strips and panels of B in turn.
//
// Read next: gemm_cpu.cpp, gemm_groups_cpu.cpp, gemm_tiles_cpu.cpp (who call it).
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/lanes.h"
#include "kernels/gemm/micro.h"
#include "kernels/gemm/stored.h"

namespace gorgo::GORGO_ISA_NS {

// Whether nothing is done to sums.
GORGO_GEMM_INLINE bool is_plain(const GemmEpilogue& e) {
  return e.bias == nullptr && e.row_bias == nullptr && e.activation == GemmEpilogue::Activation::none &&
         e.gate == nullptr;
}

// The micro-kernel itself adds biases that lie densely and applies relu.
GORGO_GEMM_INLINE bool is_in_registers(const GemmEpilogue& e) {
  return e.gate == nullptr && (e.bias == nullptr || e.bias_stride == 1) &&
         (e.row_bias == nullptr || e.row_bias_stride == 1);
}

// Asks for the lines of C that a tile will be added to or stored in; they come while it is summed.
template <class T>
GORGO_GEMM_INLINE void fetch_tile(const T* c, std::int64_t row_stride, int rows, int columns) {
  for (int i = 0; i < rows; ++i, c += row_stride) {
    __builtin_prefetch(c, 1);
    __builtin_prefetch(c + columns - 1, 1);
  }
}

// Bias, activation and gate of one tile that lies in `tile` (rows kPanelColumns apart), rounded and stored to C.
// `partial` holds the sums of earlier blocks of k, or null.
template <class S>
static void finish_tile(const GemmProblem& p, const typename Stored<S>::Compute* tile, std::int64_t row,
                        std::int64_t column, int rows, int columns, const typename Stored<S>::Compute* partial,
                        std::int64_t partial_row_stride) {
  using T = typename Stored<S>::Compute;
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  constexpr int kWidth = L::kWidth;
  const GemmEpilogue& e = p.epilogue;
  for (int j = 0; j < columns; j += kWidth) {
    const int count = columns - j < kWidth ? columns - j : kWidth;
    const auto edge = L::edge(count);
    const std::int64_t at = column + j;
    const auto load = [&](const S* from) __attribute__((always_inline)) {
      return count == kWidth ? Stored<S>::load(from) : Stored<S>::load_edge(from, edge, count);
    };
    Vec bias = L::zero();
    if (e.bias != nullptr && e.bias_stride == 1) {
      bias = load(static_cast<const S*>(e.bias) + at);
    } else if (e.bias != nullptr) {
      T lanes[kWidth] = {};
      for (int i = 0; i < count; ++i)
        lanes[i] = Stored<S>::value(static_cast<const S*>(e.bias)[(at + i) * e.bias_stride]);
      bias = L::load(lanes);
    }
    for (int i = 0; i < rows; ++i) {
      const T* sum = tile + i * kPanelColumns<T> + j;
      Vec v = count == kWidth ? L::load(sum) : L::load_edge(sum, edge);
      S* c = static_cast<S*>(p.c) + (row + i) * p.c_row_stride + at;
      if (partial != nullptr) {
        const T* from = partial + i * partial_row_stride + j;
        v = (count == kWidth ? L::load(from) : L::load_edge(from, edge)) + v;
      }
      if (p.accumulate && (Stored<S>::kConverts || partial == nullptr)) v = load(c) + v;
      if (e.bias != nullptr) v = v + bias;
      if (e.row_bias != nullptr)
        v = v + L::broadcast(Stored<S>::value(static_cast<const S*>(e.row_bias)[(row + i) * e.row_bias_stride]));
      if (e.activation == GemmEpilogue::Activation::relu) v = L::relu(v);
      if (e.gate != nullptr)
        v = L::keep_where_positive(load(static_cast<const S*>(e.gate) + (row + i) * e.gate_row_stride + at), v);
      if (count == kWidth) {
        Stored<S>::store(c, v);
      } else {
        Stored<S>::store_edge(c, edge, count, v);
      }
    }
  }
}

// Where the tiles of strip t begin and how many rows it has.
struct Rows {
  std::int64_t first;
  int count;
};
GORGO_GEMM_INLINE Rows rows_of(std::int64_t t, std::int64_t base, std::int64_t extra) {
  return {t * base + least(t, extra), static_cast<int>(base + (t < extra ? 1 : 0))};
}

// The strip that begins with a row.
GORGO_GEMM_INLINE std::int64_t tile_of(std::int64_t first, std::int64_t base, std::int64_t extra) {
  return first < extra * (base + 1) ? first / (base + 1) : (first - extra) / base;
}

// Panels of B side by side that one task packs.
constexpr std::int64_t kPackPanels = 4;

// Strips of A [tile_begin, tile_end) and panels of B; base and extra as rows_of has them.
struct Block {
  std::int64_t tile_begin;
  std::int64_t tile_end;
  std::int64_t panel_begin;
  std::int64_t panel_end;
  std::int64_t base;
  std::int64_t extra;
};
// Calls run_tile(rows, panel) for all of a block: a panel stays while the strips pass by, or a strip while the panels do. What
// changes is set before.
template <class SetPanel, class SetStrip, class RunTile>
GORGO_GEMM_INLINE void each_tile(bool panels_outside, const Block& block, const SetPanel& set_panel,
                                 const SetStrip& set_strip, const RunTile& run_tile) {
  if (panels_outside) {
    for (std::int64_t panel = block.panel_begin; panel < block.panel_end; ++panel) {
      set_panel(panel);
      for (std::int64_t t = block.tile_begin; t < block.tile_end; ++t) {
        const Rows rows = rows_of(t, block.base, block.extra);
        set_strip(rows);
        run_tile(rows, panel);
      }
    }
  } else {
    for (std::int64_t t = block.tile_begin; t < block.tile_end; ++t) {
      const Rows rows = rows_of(t, block.base, block.extra);
      set_strip(rows);
      for (std::int64_t panel = block.panel_begin; panel < block.panel_end; ++panel) {
        set_panel(panel);
        run_tile(rows, panel);
      }
    }
  }
}

// finish_tile for elements of any kind: sums of bytes keep their low bits.
template <class S, class Sum>
static void finish_sums(const GemmProblem& p, const Sum* tile, int tile_columns, Rows rows, std::int64_t column,
                        int columns, const Sum* partial, std::int64_t partial_row_stride) {
  if constexpr (std::is_same_v<S, BytesToInt32>) {
    for (int i = 0; i < rows.count; ++i, tile += tile_columns) {
      Sum* c = static_cast<Sum*>(p.c) + (rows.first + i) * p.c_row_stride + column;
      for (int j = 0; j < columns; ++j) c[j] = p.accumulate ? c[j] + tile[j] : tile[j];
    }
  } else if constexpr (std::is_integral_v<S>) {
    const GemmEpilogue& e = p.epilogue;
    for (int i = 0; i < rows.count; ++i) {
      const std::int64_t row = rows.first + i;
      S* c = static_cast<S*>(p.c) + row * p.c_row_stride + column;
      for (int j = 0; j < columns; ++j) {
        const auto low_bits = [](S x) { return static_cast<Sum>(static_cast<std::uint8_t>(x)); };
        Sum v = tile[i * tile_columns + j];
        if (p.accumulate) v += low_bits(c[j]);
        if (partial != nullptr) v += partial[i * partial_row_stride + j];
        if (e.bias != nullptr) v += low_bits(static_cast<const S*>(e.bias)[(column + j) * e.bias_stride]);
        if (e.row_bias != nullptr) v += low_bits(static_cast<const S*>(e.row_bias)[row * e.row_bias_stride]);
        c[j] = static_cast<S>(v);
      }
    }
  } else {
    finish_tile<S>(p, tile, rows.first, column, rows.count, columns, partial, partial_row_stride);
  }
}

}  // namespace gorgo::GORGO_ISA_NS
