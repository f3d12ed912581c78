// The convolution as a product of matrices, forward.
//
// Where a row of outputs fills its vectors well, B is never laid out: the part of the image under a band of rows is copied once, with zeros around
// it, and rows of B are read from there wherever a tap finds them. Otherwise panels of windows, which may go from one row of outputs to the next, are
// laid out as packed B. Weights are read in place as A. For kernel files (compiled per ISA).
// Invariant: both ways give the same bits.
// Read next: kernels/gemm/micro.h.
#pragma once

#include "ops/conv/tiles.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kBandBytes = 96 * 1024;  // near the core, and bearable on the stack

// ---- bands ----

// Channels that a block of k may touch.
int64_t channels_of_block(const Sizes& s) {
  const int64_t size = blocks_of_k(s.k).size;
  return least(s.group_c, size % s.taps == 0 ? size / s.taps : (size - 1) / s.taps + 2);
}

template <class T>
[[gnu::noinline]] Tile band_of(const Sizes& s) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  const int64_t cols = least(round_up(s.ow, kWidth), 512);
  const auto band = [&](int64_t rows) {
    return tile_with(kBandBytes / static_cast<int64_t>(sizeof(T)), s.kd * channels_of_block(s), cols, rows, s.ow,
                     s.stride_h, reach_of_height(s), s.stride_w, reach_of_width(s));
  };
  Tile t = band(s.oh);
  // Enough bands for the tasks, but rows above and below a band are copied twice: two rows at least.
  const int64_t tasks = most(1, least(kMaxTasks, s.n * s.o * s.pixels * s.k / kTaskWork));
  const int64_t planes = s.n * s.groups * s.od * t.across;
  const int64_t rows = least(t.rows, most(2, s.oh * planes / tasks));
  t = band(ceil_div(s.oh, ceil_div(s.oh, rows)));
  t.down = ceil_div(s.oh, t.rows);
  return t;
}

template <class T>
[[gnu::noinline]] bool runs_in_bands(const Sizes& s) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  return s.taps > 1 && s.group_c > 0 && s.ow > kWidth && 20 * round_up(s.ow, kWidth) <= 23 * s.ow && band_of<T>(s).fits;
}

template <class T>
int64_t band_units(const Sizes& s, const Tile& t) {
  return s.n * s.groups * s.od * t.down * t.across;
}

template <class T>
void run_bands(const Sizes& s, const Images<T>& x, const T* weight, const T* bias, T* out, int64_t task,
               int64_t tasks) {
  constexpr int64_t kColumns = kPanelColumns<T>;
  alignas(64) T copy[kBandBytes / sizeof(T) + kColumns];
  int32_t at[kMaxBlockK];
  const Tile t = band_of<T>(s);
  const BlocksOfK blocks = blocks_of_k(s.k);
  const int64_t units = band_units<T>(s, t);
  MicroArgs<T> g;
  g.c_row_stride = s.pixels;
  g.a_row_stride = s.k;
  g.a_col_stride = 1;
  g.b_at = at;
  const int64_t end = units * (task + 1) / tasks;
  for (int64_t unit = units * task / tasks; unit < end; ++unit) {
    const Place place(t, unit, s.od, s.groups, s.oh, s.ow);
    const T* from = x.data + place.image * x.n_stride + place.group * s.group_c * x.c_stride;
    T* to = out + (place.image * s.o + place.group * s.group_o) * s.pixels + (place.slice * s.oh + place.row) * s.ow +
            place.col;
    for (int64_t kb = 0; kb < blocks.count; ++kb) {
      const int64_t k0 = kb * blocks.size;
      const int64_t k1 = least(s.k, k0 + blocks.size);
      const int64_t channel = k0 / s.taps;
      for (int64_t c = channel; c <= (k1 - 1) / s.taps; ++c) {
        copy_tile<T>(s, t, from + c * x.c_stride, place.slice, place.row, place.col,
                     copy + (c - channel) * s.kd * t.slice());
      }
      taps_at(s, t, k0 - channel * s.taps, k1 - channel * s.taps, at);
      g.k = k1 - k0;
      g.add = kb > 0;
      const bool last = kb + 1 == blocks.count;
      for (int64_t row = 0; row < place.rows; ++row) {
        for (int64_t col = 0; col < place.cols; col += kColumns) {
          const auto columns = static_cast<int>(least(kColumns, place.cols - col));
          g.b = copy + row * s.stride_h * t.line() + col;
          each_strip<T>(s, [&](int64_t o, int height) __attribute__((always_inline)) {
            g.a = weight + (place.group * s.group_o + o) * s.k + k0;
            g.c = to + o * s.pixels + row * s.ow + col;
            g.row_bias = bias != nullptr && last ? bias + place.group * s.group_o + o : nullptr;
            run_micro_at(g, height, columns, false);
          });
        }
      }
    }
  }
}

// ---- panels ----

int64_t panels_of(const Sizes& s, int64_t columns) { return s.n * s.groups * ceil_div(s.pixels, columns); }

// A kernel of one element has the image itself for windows, if all of it.
bool has_image_for_windows(const Sizes& s) {
  return s.taps == 1 && s.has_unit_strides() && s.inside && s.od == s.d && s.oh == s.h && s.ow == s.w;
}

template <class T>
void run_panels(const Sizes& s, const Images<T>& x, const T* weight, const T* bias, T* out, int64_t task,
                int64_t tasks) {
  using L = Lanes<T>;
  constexpr int64_t kColumns = kPanelColumns<T>;
  alignas(64) T windows[kMaxBlockK * kColumns + 2 * L::kWidth];
  Piece pieces[kColumns];
  const int64_t panels_per_plane = ceil_div(s.pixels, kColumns);
  const int64_t panels = panels_of(s, kColumns);
  const BlocksOfK blocks = blocks_of_k(s.k);
  MicroArgs<T> g;
  g.c_row_stride = s.pixels;
  g.a_row_stride = s.k;
  g.a_col_stride = 1;
  g.b = windows;
  g.b_row_stride = kColumns;
  const int64_t panel_end = panels * (task + 1) / tasks;
  for (int64_t panel = panels * task / tasks; panel < panel_end; ++panel) {
    const int64_t pixel = panel % panels_per_plane * kColumns;
    const int64_t plane = panel / panels_per_plane;
    const int64_t group = plane % s.groups;
    const int64_t image = plane / s.groups;
    const auto columns = static_cast<int>(least(kColumns, s.pixels - pixel));
    const T* from = x.data + image * x.n_stride + group * s.group_c * x.c_stride;
    T* to = out + (image * s.o + group * s.group_o) * s.pixels + pixel;
    const int count = split_row<L::kWidth>(pieces, 0, s, 0, pixel, pixel + columns, 0);
    for (int64_t kb = 0; kb < blocks.count; ++kb) {
      const int64_t k0 = kb * blocks.size;
      const int64_t k1 = least(s.k, k0 + blocks.size);
      lay_windows<T>(windows, kColumns, from, x.c_stride, s, k0, k1, pieces, count);
      g.k = k1 - k0;
      g.add = kb > 0;
      each_strip<T>(s, [&](int64_t o, int height) __attribute__((always_inline)) {
        g.a = weight + (group * s.group_o + o) * s.k + k0;
        g.c = to + o * s.pixels;
        g.row_bias = bias != nullptr && kb + 1 == blocks.count ? bias + group * s.group_o + o : nullptr;
        run_micro(g, height, columns, s.k == 1);
      });
    }
  }
}

// ---- the image as it lies ----

constexpr int64_t kLaidBytes = 96 * 1024;  // of an image's rows that several strips read: as many panels side by side

// `count` panels of `rows` rows of an image, one panel behind the other. Rows lie pages apart: the longer the piece of each, the better it is foreseen.
template <class T>
void copy_panels(const T* from, int64_t stride, int64_t rows, int64_t columns, T* to) {
  using L = Lanes<T>;
  constexpr int64_t kColumns = kPanelColumns<T>;
  const int64_t whole = columns / kColumns;
  const auto left = static_cast<int>(columns - whole * kColumns);
  const auto first = L::edge(static_cast<int>(least(L::kWidth, left)));
  const auto second = L::edge(static_cast<int>(most(0, left - L::kWidth)));
  for (int64_t k = 0; k < rows; ++k, from += stride, to += kColumns) {
    const T* row = from;
    T* panel = to;
    for (int64_t i = 0; i < whole; ++i, row += kColumns, panel += rows * kColumns) {
      L::store(panel, L::load(row));
      L::store(panel + L::kWidth, L::load(row + L::kWidth));
    }
    if (left == 0) continue;
    L::store(panel, L::load_edge(row, first));
    L::store(panel + L::kWidth, L::load_edge(row + L::kWidth, second));
  }
}

template <class T>
void run_pixels_as_they_lie(const Sizes& s, const Images<T>& x, const T* weight, const T* bias, T* out, int64_t task,
                            int64_t tasks) {
  constexpr int64_t kColumns = kPanelColumns<T>;
  alignas(64) T laid[kLaidBytes / sizeof(T)];
  const int64_t panels_per_plane = ceil_div(s.pixels, kColumns);
  const int64_t panels = panels_of(s, kColumns);
  const BlocksOfK blocks = blocks_of_k(s.k);
  const bool in_place = s.group_o <= 2 * Lanes<T>::kRows;
  const int64_t at_once = most(1, kLaidBytes / static_cast<int64_t>(sizeof(T)) / (kColumns * most(1, blocks.size)));
  MicroArgs<T> g;
  g.c_row_stride = s.pixels;
  g.a_row_stride = s.k;
  g.a_col_stride = 1;
  const int64_t panel_end = panels * (task + 1) / tasks;
  int64_t panel = panels * task / tasks;
  while (panel < panel_end) {
    const int64_t plane = panel / panels_per_plane;
    const int64_t group = plane % s.groups;
    const int64_t image = plane / s.groups;
    const int64_t pixel = panel % panels_per_plane * kColumns;
    const int64_t count = least(least(at_once, panel_end - panel), panels_per_plane - panel % panels_per_plane);
    const int64_t all = least(count * kColumns, s.pixels - pixel);
    const T* from = x.data + image * x.n_stride + group * s.group_c * x.c_stride + pixel;
    T* const to = out + (image * s.o + group * s.group_o) * s.pixels + pixel;
    for (int64_t kb = 0; kb < blocks.count; ++kb) {
      const int64_t k0 = kb * blocks.size;
      const T* const here = from + k0 * x.c_stride;
      g.k = least(s.k - k0, blocks.size);
      g.add = kb > 0;
      if (!in_place) copy_panels<T>(here, x.c_stride, g.k, all, laid);
      for (int64_t i = 0; i < count; ++i) {
        g.b = in_place ? here + i * kColumns : laid + i * g.k * kColumns;
        g.b_row_stride = in_place ? x.c_stride : kColumns;
        const auto columns = static_cast<int>(least(kColumns, all - i * kColumns));
        each_strip<T>(s, [&](int64_t o, int height) __attribute__((always_inline)) {
          g.a = weight + (group * s.group_o + o) * s.k + k0;
          g.c = to + i * kColumns + o * s.pixels;
          g.row_bias = bias != nullptr && kb + 1 == blocks.count ? bias + group * s.group_o + o : nullptr;
          // Where the results go is called for while they are summed, and what the next panels are made of.
          for (int r = 0; r < height; ++r) {
            __builtin_prefetch(g.c + r * s.pixels, 1);
            __builtin_prefetch(g.c + r * s.pixels + columns - 1, 1);
          }
          run_micro(g, height, columns, s.k == 1);
          for (int64_t k = g.k * o / s.group_o; k < g.k * (o + height) / s.group_o; ++k) {
            fetch_lines(here + k * x.c_stride + i * kColumns + all, here + k * x.c_stride + (i + 1) * kColumns + all);
          }
        });
      }
    }
    panel += count;
  }
}

// ---- either ----

template <class T>
[[gnu::noinline]] int64_t forward_tasks(const Sizes& s) {
  const int64_t units = runs_in_bands<T>(s) ? band_units<T>(s, band_of<T>(s)) : panels_of(s, kPanelColumns<T>);
  const int64_t work = s.n * s.o * s.pixels * s.k;
  return units == 0 || s.o == 0 ? 0 : most(1, least(least(kMaxTasks, units), work / kTaskWork));
}

template <class T>
void run_forward(const Sizes& s, const Images<T>& x, const T* weight, const T* bias, T* out, int64_t task) {
  const auto run = runs_in_bands<T>(s)        ? run_bands<T>
                   : has_image_for_windows(s) ? run_pixels_as_they_lie<T>
                                              : run_panels<T>;
  run(s, x, weight, bias, out, task, forward_tasks<T>(s));
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
