// Tiles of a convolution's outputs, and copies of what they stand over.
//
// A copy has zeros around the image, so that every tap is one load at a constant distance. Where windows are `stride` elements apart, a row of the
// copy is cut into as many runs, run p holding the elements p, p + stride, ...: windows side by side then lie side by side. For kernel files
// (compiled per ISA).
// Invariant: whole vectors of windows may be read from a copy, whatever the tile's columns.
// Read next: bands.h, direct.h.
#pragma once

#include "ops/conv/windows.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

// `rows` by `cols` outputs, in one slice, stand over `lines` rows of each of the copied slices.
struct Tile {
  int64_t rows, cols;
  int64_t runs;   // of a row of the copy
  int64_t run;    // elements of a run
  int64_t lines;  // rows of the copy in one slice
  int64_t down, across;
  bool fits;

  int64_t line() const { return runs * run; }
  int64_t slice() const { return lines * line(); }
};

// How far windows reach beyond their first element: along the height, in rows.
GORGO_GEMM_INLINE int64_t reach_of_height(const Sizes& s) { return (s.kh - 1) * s.step_h; }
// Along the width, in elements of a run.
GORGO_GEMM_INLINE int64_t reach_of_width(const Sizes& s) { return (s.kw - 1) * s.step_w / s.stride_w; }

// As many of `height` rows of outputs, `cols` wide, as have a copy of `slices` slices in so many elements.
Tile tile_with(int64_t elements, int64_t slices, int64_t cols, int64_t height, int64_t width, int64_t stride_h,
               int64_t reach_h, int64_t runs, int64_t reach_w) {
  Tile t;
  t.cols = cols;
  t.runs = runs;
  t.run = cols + reach_w + 1;
  const int64_t room = elements / (slices * t.line());  // rows of the copy
  t.fits = room >= reach_h + 1;
  t.rows = most(1, least(height, (room - reach_h - 1) / stride_h + 1));
  t.lines = (t.rows - 1) * stride_h + reach_h + 1;
  t.down = ceil_div(height, t.rows);
  t.across = ceil_div(width, cols);
  return t;
}

// Copies lines [y, y + t.lines) of one slice of h by w elements, from column x on; what lies outside is zero.
template <class T>
void copy_slice(const Tile& t, const T* from, int64_t h, int64_t w, int64_t y, int64_t x, T* to) {
  using L = Lanes<T>;
  for (int64_t i = 0; i < t.lines; ++i, ++y) {
    const bool outside = from == nullptr || y < 0 || y >= h;
    for (int64_t p = 0; p < t.runs; ++p, to += t.run) {
      // Elements q of this run lie at x + p + q * runs: those in [first, last) are in the image.
      const int64_t begin = x + p;
      const int64_t first = outside ? t.run : least(t.run, begin >= 0 ? 0 : ceil_div(-begin, t.runs));
      const int64_t last = outside ? t.run : most(first, least(t.run, w > begin ? ceil_div(w - begin, t.runs) : 0));
      for (int64_t q = 0; q < first; ++q) to[q] = T{0};
      const T* const line = outside ? to : from + y * w + begin;
      int64_t q = first;
      if (t.runs == 1) {
        for (; q + L::kWidth <= last; q += L::kWidth) L::store(to + q, L::load(line + q));
        for (; q < last; ++q) to[q] = line[q];
      } else {
        for (; q < last; ++q) to[q] = line[q * t.runs];
      }
      for (; q < t.run; ++q) to[q] = T{0};
    }
  }
}

// Where the taps [begin, end) of a window, counted through all channels, find their elements in the copy, from that of the window's begin.
// Copies of channels lie one behind the other.
void taps_at(const Sizes& s, const Tile& t, int64_t begin, int64_t end, int32_t* at) {
  int64_t slice = begin / (s.kh * s.kw);
  int64_t i = begin / s.kw % s.kh;
  int64_t j = begin % s.kw;
  for (int64_t k = begin; k < end; ++k) {
    const int64_t col = j * s.step_w;
    *at++ =
        static_cast<int32_t>(slice * t.slice() + i * s.step_h * t.line() + col % s.stride_w * t.run + col / s.stride_w);
    if (++j < s.kw) continue;
    j = 0;
    if (++i == s.kh) i = 0, ++slice;
  }
}

// The copy of what the tile at output (slice, row, col) stands over.
template <class T>
void copy_tile(const Sizes& s, const Tile& t, const T* channel, int64_t slice, int64_t row, int64_t col, T* to) {
  for (int64_t l = 0; l < s.kd; ++l, to += t.slice()) {
    const int64_t z = slice * s.stride_d - s.pad_d + l * s.step_d;
    copy_slice<T>(t, z < 0 || z >= s.d ? nullptr : channel + z * s.h * s.w, s.h, s.w, row * s.stride_h - s.pad_h,
                  col * s.stride_w - s.pad_w, to);
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
