// Tiles of a convolution's outputs, and copies of what they stand over.
//
// A copy has zeros around the image, so that every tap is one load at a constant distance. Where windows are `stride` elements apart, a row of the
// copy is cut into as many runs, run p holding the elements p, p + stride, ...: windows side by side then lie side by side. For kernel files
// (compiled per ISA).
// Invariant: whole vectors of windows may be read from a copy, whatever the tile's columns; behind its end a vector may be written. Copies of
// slices that lie one behind the other are made in that order.
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

// Elements q of a run that lie in the image: [first, last). The run's first one would be at column `begin`, the others `step` apart.
struct Inside {
  int64_t first, last;
  Inside(int64_t begin, int64_t step, int64_t w, int64_t run)
      : first(least(run, begin >= 0 ? 0 : ceil_div(-begin, step))),
        last(most(first, least(run, w > begin ? ceil_div(w - begin, step) : 0))) {}
};

// Zeros, elements of the line from `from` on, zeros. Whole vectors are stored: what lies behind the run is written later, or nobody's.
template <class T>
void copy_run(const T* from, const Inside& in, int64_t run, T* to) {
  using L = Lanes<T>;
  for (int64_t q = 0; q < in.first; q += L::kWidth) L::store(to + q, L::zero());
  int64_t q = in.first;
  for (; q < in.last; q += L::kWidth) {
    const auto count = static_cast<int>(least(L::kWidth, in.last - q));
    L::store(to + q, count == L::kWidth ? L::load(from + q) : L::load_edge(from + q, L::edge(count)));
  }
  for (; q < run; q += L::kWidth) L::store(to + q, L::zero());
}

// Two runs at once, of the even and of the odd elements.
template <class T>
void copy_two_runs(const T* __restrict from, const Inside& even, const Inside& odd, int64_t run, T* __restrict to) {
  const int64_t first = most(even.first, odd.first);
  const int64_t last = most(first, least(even.last, odd.last));
  T* __restrict to_odd = to + run;
  const auto one = [&](int64_t q) __attribute__((always_inline)) {
    to[q] = q >= even.first && q < even.last ? from[2 * q] : T{0};
    to_odd[q] = q >= odd.first && q < odd.last ? from[2 * q + 1] : T{0};
  };
  for (int64_t q = 0; q < first; ++q) one(q);
  for (int64_t q = first; q < last; ++q) {
    to[q] = from[2 * q];
    to_odd[q] = from[2 * q + 1];
  }
  for (int64_t q = last; q < run; ++q) one(q);
}

// Copies lines [y, y + t.lines) of one slice of h by w elements, from column x on; what lies outside is zero.
template <class T>
void copy_slice(const Tile& t, const T* from, int64_t h, int64_t w, int64_t y, int64_t x, T* to) {
  const Inside first(x, t.runs, w, t.run);
  const Inside second(x + 1, t.runs, w, t.run);
  for (int64_t i = 0; i < t.lines; ++i, ++y, to += t.line()) {
    if (from == nullptr || y < 0 || y >= h) {
      copy_run<T>(to, Inside(0, 1, 0, 0), t.line(), to);
      continue;
    }
    const T* const line = from + y * w + x;
    if (t.runs == 1) {
      copy_run<T>(line, first, t.run, to);
    } else if (t.runs == 2) {
      copy_two_runs<T>(line, first, second, t.run, to);
    } else {
      for (int64_t p = 0; p < t.runs; ++p) {
        const Inside in(x + p, t.runs, w, t.run);
        T* const run = to + p * t.run;
        for (int64_t q = 0; q < t.run; ++q) run[q] = q >= in.first && q < in.last ? line[p + q * t.runs] : T{0};
      }
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
