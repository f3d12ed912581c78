// Tiles of a convolution's outputs, and copies of what they stand over.
//
// A copy has zeros around the image, so that every tap is one load at a constant distance. Where windows are `stride` elements apart, a row of the
// copy is cut into as many runs, run p holding the elements p, p + stride, ...: windows side by side then lie side by side. For kernel files
// (compiled per ISA).
// Invariant: whole vectors of windows may be read from a copy, whatever the tile's columns; behind its end a vector may be written. Copies of
// slices that lie one behind the other are made in that order.
// Read next: bands.h, direct.h.
#pragma once

#include "kernels/pairs.h"
#include "ops/conv/windows.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

// `rows` by `cols` outputs, in one slice, stand over `lines` rows of each of the copied slices.
struct Tile : Grid {
  int64_t runs;   // of a row of the copy
  int64_t run;    // elements of a run
  int64_t lines;  // rows of the copy in one slice
  bool fits;

  int64_t line() const { return runs * run; }
  int64_t slice() const { return lines * line(); }
};

// How far windows reach beyond their first element: along the height, in rows.
GORGO_GEMM_INLINE int64_t reach_of_height(const Sizes& s) { return (s.kh - 1) * s.step_h; }
// Along the width, in elements of a run.
GORGO_GEMM_INLINE int64_t reach_of_width(const Sizes& s) { return (s.kw - 1) * s.step_w / s.stride_w; }

// As many of `height` rows of outputs, `cols` wide, as have a copy of `slices` slices in so many elements.
[[gnu::noinline, maybe_unused]] Tile tile_with(int64_t elements, int64_t slices, int64_t cols, int64_t height,
                                               int64_t width, int64_t stride_h, int64_t reach_h, int64_t runs,
                                               int64_t reach_w) {
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

// How the vector at an element of a line meets the image.
struct Meeting {
  int first, last;  // lanes that do
  Meeting(const Inside& in, int64_t q, int64_t width)
      : first(static_cast<int>(least(width, most(0, in.first - q)))),
        last(static_cast<int>(most(first, least(width, in.last - q)))) {}
};
template <class T>
GORGO_GEMM_INLINE typename Lanes<T>::Vec load_met(const T* p, const Meeting& m) {
  return m.first == m.last ? Lanes<T>::zero() : Lanes<T>::load_range(p, m.first, m.last);
}

// Copies `count` lines, `apart` elements from each other: zeros, what lies `in` the image, zeros. Whole vectors are stored: from the last one on,
// so that what one writes behind its run is written once more, or nobody's.
template <class T>
void copy_lines(const Tile& t, const T* from, int64_t apart, int64_t count, const Inside& in, T* to) {
  using L = Lanes<T>;
  for (int64_t q = (t.run - 1) / L::kWidth * L::kWidth; q >= 0; q -= L::kWidth) {
    const Meeting met(in, q, L::kWidth);
    const T* line = from + q;
    T* copy = to + q;
    if (met.first == 0 && met.last == L::kWidth) {
      for (int64_t i = 0; i < count; ++i, line += apart, copy += t.run) L::store(copy, L::load(line));
    } else {
      for (int64_t i = 0; i < count; ++i, line += apart, copy += t.run) L::store(copy, load_met(line, met));
    }
  }
}

// The same for two runs, of the even and of the odd elements of a line.
template <class T>
void copy_split_lines(const Tile& t, const T* from, int64_t apart, int64_t count, const Inside& in, T* to) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  for (int64_t q = (t.run - 1) / kWidth * kWidth; q >= 0; q -= kWidth) {
    const Meeting one(in, 2 * q, kWidth);
    const Meeting two(in, 2 * q + kWidth, kWidth);
    const bool whole = one.first == 0 && one.last == kWidth && two.first == 0 && two.last == kWidth;
    const T* line = from + 2 * q;
    T* copy = to + q;
    for (int64_t i = 0; i < count; ++i, line += apart, copy += 2 * t.run) {
      const auto pair =
          whole ? Pairs<T>::load(line) : Pairs<T>::split({load_met(line, one)}, {load_met(line + kWidth, two)});
      store_raw(copy, pair.even);
      store_raw(copy + t.run, pair.odd);
    }
  }
}

// The same for four runs.
template <class T>
void copy_lines_in_fours(const Tile& t, const T* from, int64_t apart, int64_t count, const Inside& in, T* to) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  for (int64_t q = (t.run - 1) / kWidth * kWidth; q >= 0; q -= kWidth) {
    const Meeting met[4] = {{in, 4 * q, kWidth},
                            {in, 4 * q + kWidth, kWidth},
                            {in, 4 * q + 2 * kWidth, kWidth},
                            {in, 4 * q + 3 * kWidth, kWidth}};
    const T* line = from + 4 * q;
    T* copy = to + q;
    for (int64_t i = 0; i < count; ++i, line += apart, copy += 4 * t.run) {
      const auto load = [&](int part) GORGO_INLINE_LAMBDA { return Vec<T>{load_met(line + part * kWidth, met[part])}; };
      const auto left = Pairs<T>::split(load(0), load(1));
      const auto right = Pairs<T>::split(load(2), load(3));
      const auto even = Pairs<T>::split(left.even, right.even);
      const auto odd = Pairs<T>::split(left.odd, right.odd);
      store_raw(copy, even.even);
      store_raw(copy + t.run, odd.even);
      store_raw(copy + 2 * t.run, even.odd);
      store_raw(copy + 3 * t.run, odd.odd);
    }
  }
}

// Calls for memory in order, as the processor foresees it: copies go over lines again and again, a vector of each at a time.
template <class T>
void fetch_lines(const T* from, const T* to) {
  constexpr int kLine = 64 / static_cast<int>(sizeof(T));
  for (; from < to; from += kLine) __builtin_prefetch(from);
}

// Copies lines [y, y + t.lines) of one slice of h by w elements, from column x on; what lies outside is zero.
template <class T>
void copy_slice(const Tile& t, const T* from, int64_t h, int64_t w, int64_t y, int64_t x, T* to) {
  const int64_t begin = from == nullptr ? t.lines : least(t.lines, most(0, -y));
  const int64_t end = most(begin, least(t.lines, h - y));
  for (int64_t i = 0; i < begin * t.line(); ++i) to[i] = T{0};
  for (int64_t i = end * t.line(); i < t.slice(); ++i) to[i] = T{0};
  if (begin == end) return;
  fetch_lines(from + (y + begin) * w, from + (y + end) * w);
  const T* const first = from + (y + begin) * w + x;
  T* const copy = to + begin * t.line();
  if (t.runs == 1) return copy_lines<T>(t, first, w, end - begin, Inside(x, 1, w, t.run), copy);
  if (t.runs == 2) return copy_split_lines<T>(t, first, w, end - begin, Inside(x, 1, w, 2 * t.run), copy);
  if (t.runs == 4) return copy_lines_in_fours<T>(t, first, w, end - begin, Inside(x, 1, w, 4 * t.run), copy);
  for (int64_t p = 0; p < t.runs; ++p) {
    const Inside in(x + p, t.runs, w, t.run);
    for (int64_t i = 0; i < end - begin; ++i) {
      const T* const line = first + i * w + p;
      T* const run = copy + i * t.line() + p * t.run;
      for (int64_t q = 0; q < t.run; ++q) run[q] = q >= in.first && q < in.last ? line[q * t.runs] : T{0};
    }
  }
}

// Where the taps [begin, end) of a window, counted through all channels, find their elements in the copy, from that of the window's begin.
// Copies of channels lie one behind the other.
[[gnu::noinline, maybe_unused]] void taps_at(const Sizes& s, const Tile& t, int64_t begin, int64_t end, int32_t* at) {
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
