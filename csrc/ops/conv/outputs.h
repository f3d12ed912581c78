// The convolution with output channels for lanes.
//
// A tile is some windows side by side by two vectors of outputs: an element of the image is broadcast, a vector of the weights, which are packed
// for it, is loaded. Rows of windows need not fill vectors then. What a band of rows stands over is copied once, all channels of it; sums leave for
// NCHW through transposes. For kernel files (compiled per ISA).
// Invariant: the same bits as bands and panels.
// Read next: bands.h.
#pragma once

#include "kernels/gemm/pack.h"
#include "ops/conv/bands.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kOutputsCopyBytes = 192 * 1024;  // for L2
constexpr int64_t kMaxOutputsTasks = 32;           // each has its own copy
constexpr int64_t kMinOutputsTaps = 48;            // elements of a window that repay the transposes

struct OutputsPlan {
  Tile tile;
  int64_t panels;         // of two vectors of outputs, in a group
  int64_t panel;          // elements of one
  int64_t copy_elements;  // of a task's room, with the vectors that reach beyond
  int64_t tasks;

  int64_t units(const Sizes& s) const { return s.n * s.groups * s.od * tile.down * tile.across; }
  int64_t packed_elements(const Sizes& s) const { return s.groups * panels * panel; }
  // A task's copy, and where taps lie in it.
  int64_t room_elements(const Sizes& s) const { return copy_elements + round_up(s.k, 16); }
};

template <class T>
[[gnu::noinline]] OutputsPlan outputs_plan(const Sizes& s) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  OutputsPlan p;
  p.panels = ceil_div(s.group_o, kPanelColumns<T>);
  p.panel = s.k * kPanelColumns<T>;
  const int64_t slices = s.kd * s.group_c;
  const auto band = [&](int64_t rows) {
    return tile_with(kOutputsCopyBytes / static_cast<int64_t>(sizeof(T)), slices, least(s.ow, 512), rows, s.ow,
                     s.stride_h, reach_of_height(s), s.stride_w, reach_of_width(s));
  };
  Tile t = band(s.oh);
  const int64_t work = s.n * s.o * s.pixels * s.k;
  p.tasks = most(1, least(kMaxOutputsTasks, work / (4 * kTaskWork)));
  const int64_t planes = s.n * s.groups * s.od * t.across;
  const int64_t rows = least(t.rows, most(2, s.oh * planes / p.tasks));
  t = band(ceil_div(s.oh, ceil_div(s.oh, rows)));
  t.down = ceil_div(s.oh, t.rows);
  p.tile = t;
  p.copy_elements = round_up(slices * t.slice() + 2 * kWidth, 16);
  p.tasks = least(p.tasks, p.units(s));
  return p;
}

// Whether lanes of outputs waste less than lanes of windows would; where those would have to be laid out first, whether they do not waste much.
template <class T>
[[gnu::noinline]] bool runs_by_outputs(const Sizes& s) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  if (s.taps == 1 || s.k < kMinOutputsTaps || s.n == 0 || s.pixels < 32) return false;
  const int64_t outputs = round_up(s.group_o, kWidth);
  const bool pays = runs_in_bands<T>(s) ? outputs * s.ow * 20 <= 19 * s.group_o * round_up(s.ow, kWidth)
                                        : 2 * outputs <= 3 * s.group_o;
  return pays && outputs_plan<T>(s).tile.fits;
}

// The weights of one panel of outputs.
template <class T>
void pack_outputs(const Sizes& s, const OutputsPlan& p, const T* weight, T* packed, int64_t index) {
  constexpr int64_t kColumns = kPanelColumns<T>;
  const int64_t group = index / p.panels;
  const int64_t o = index % p.panels * kColumns;
  pack_panel<T>(packed + index * p.panel, weight + (group * s.group_o + o) * s.k, 1, s.k, s.k,
                static_cast<int>(least(kColumns, s.group_o - o)));
}

// kWindows windows side by side, over `k` taps that lie at a + at[0], a + at[1], ...; packed rows of weights follow one another.
template <class T, int kWindows, int kVectors>
void sum_outputs(const T* a, const int32_t* at, const T* b, int64_t k, bool add, T* tile) {
  using L = Lanes<T>;
  typename L::Vec acc[kWindows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kWindows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) acc[i][j] = L::zero();
  }
  for (const int32_t* const end = at + k; at != end; ++at, b += kPanelColumns<T>) {
    const T* const from = a + *at;
    typename L::Vec weights[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) weights[j] = L::load(b + j * L::kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < kWindows; ++i) {
      const auto value = L::broadcast(from[i]);
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) acc[i][j] = L::fma(value, weights[j], acc[i][j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kWindows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) {
      T* const to = tile + i * kPanelColumns<T> + j * L::kWidth;
      L::store(to, add ? L::load(to) + acc[i][j] : acc[i][j]);
    }
  }
}

// A tile, which has room for whole vectors of windows, goes to its outputs' channels, `pixels` apart.
template <class T>
void store_outputs(const T* tile, int windows, int64_t outputs, const T* bias, int64_t pixels, T* to) {
  using L = Lanes<T>;
  constexpr int kWidth = L::kWidth;
  for (int first = 0; first < windows; first += kWidth) {
    const int count = static_cast<int>(least(kWidth, windows - first));
    const auto edge = L::edge(count);
    for (int64_t o = 0; o < outputs; o += kWidth) {
      typename L::Vec block[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) block[i] = L::load(tile + (first + i) * kPanelColumns<T> + o);
      transpose_square<T, kWidth>(block);
      const int64_t stored = least(kWidth, outputs - o);
      T* line = to + o * pixels + first;
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i, line += pixels) {
        if (i == stored) break;
        L::store_edge(line, edge, bias != nullptr ? block[i] + L::broadcast(bias[o + i]) : block[i]);
      }
    }
  }
}

template <class T>
void run_by_outputs(const Sizes& s, const OutputsPlan& p, const Images<T>& x, const T* packed, const T* bias, T* out,
                    T* room, int64_t task) {
  constexpr int64_t kColumns = kPanelColumns<T>;
  constexpr int kWindows = Lanes<T>::kRows;
  alignas(64) T sums[(kWindows + Lanes<T>::kWidth - 1) / Lanes<T>::kWidth * Lanes<T>::kWidth * kColumns] = {};
  T* const copy = room + task * p.room_elements(s);
  auto* const at = reinterpret_cast<int32_t*>(copy + p.copy_elements);
  const Tile& t = p.tile;
  taps_at(s, t, 0, s.k, at);
  const BlocksOfK blocks = blocks_of_k(s.k);
  const int64_t units = p.units(s);
  const int64_t end = units * (task + 1) / p.tasks;
  for (int64_t unit = units * task / p.tasks; unit < end; ++unit) {
    const Place place(t, unit, s.od, s.groups, s.oh, s.ow);
    const int64_t strips = ceil_div(place.cols, kWindows);
    const T* from = x.data + place.image * x.n_stride + place.group * s.group_c * x.c_stride;
    for (int64_t c = 0; c < s.group_c; ++c) {
      copy_tile<T>(s, t, from + c * x.c_stride, place.slice, place.row, place.col, copy + c * s.kd * t.slice());
    }
    T* const to = out + (place.image * s.o + place.group * s.group_o) * s.pixels +
                  (place.slice * s.oh + place.row) * s.ow + place.col;
    for (int64_t panel = 0; panel < p.panels; ++panel) {
      const int64_t o = panel * kColumns;
      const int64_t outputs = least(kColumns, s.group_o - o);
      const T* const weights = packed + (place.group * p.panels + panel) * p.panel;
      const T* const added = bias != nullptr ? bias + place.group * s.group_o + o : nullptr;
      for (int64_t row = 0; row < place.rows; ++row) {
        for (int64_t strip = 0; strip < strips; ++strip) {
          const int64_t col = place.cols * strip / strips;
          const auto windows = static_cast<int>(place.cols * (strip + 1) / strips - col);
          const auto sum = for_count<kWindows>(windows, [&]<int kCount>(std::integral_constant<int, kCount>) {
            return 2 * outputs > kColumns ? sum_outputs<T, kCount, 2> : sum_outputs<T, kCount, 1>;
          });
          const T* const a = copy + row * s.stride_h * t.line() + col;
          for (int64_t k = 0; k < s.k; k += blocks.size) {
            sum(a, at + k, weights + k * kColumns, least(blocks.size, s.k - k), k > 0, sums);
          }
          store_outputs<T>(sums, windows, outputs, added, s.pixels, to + o * s.pixels + row * s.ow + col);
        }
      }
    }
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
