// Gradients by the weights as products along pixels: rows of the output's gradient are A, and B has a row for each pixel.
//
// The part of the images under a band of outputs is copied once with its channels side by side, and zeros around the image. What the taps of one
// row of the kernel meet then lies side by side too, taps by channels, and such a row of B is read where it lies, whatever the strides. Sums are
// laid down as (o, taps, channels). For kernel files (compiled per ISA).
// Invariant: units and the order of every sum depend on shapes alone.
// Read next: kernels_cpu_weight.cpp.
#pragma once

#include "ops/conv/cross.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kPixelCopyBytes = 128 * 1024;  // of the images under a band: L2
constexpr int64_t kMaxBandPixels = 512;
constexpr int64_t kMinBandPixels = 32;

// Bands are pieces of a slice.
struct PixelPlan : Grid {
  bool fits;
  Sizes s;                 // those of the convolution, or of one over lines if the kernel has one element
  int64_t lines, line;     // rows of a slice of the copy, and pixels of a row
  int64_t copy, gradient;  // elements of both copies
  int64_t units;           // of a group
  int64_t pixels() const { return rows * cols; }
};

// Columns of a row of B that adjoin each other.
int64_t adjoining_columns(const Sizes& s) { return s.step_w == 1 ? s.kw * s.group_c : s.group_c; }

template <class T>
[[gnu::noinline]] PixelPlan pixel_plan(const Sizes& original) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  constexpr int64_t kElements = kPixelCopyBytes / static_cast<int64_t>(sizeof(T));
  PixelPlan p;
  p.s = original;
  Sizes& s = p.s;
  if (s.taps == 1 && s.has_unit_strides() && s.inside && s.od == s.d && s.oh == s.h && s.ow == s.w) {
    s.w = s.ow = s.pixels;
    s.d = s.h = s.od = s.oh = 1;
    s.derive();
  }
  const int64_t columns = adjoining_columns(s);
  p.fits = s.group_o >= 4 && s.pixels > 0 && 10 * columns >= 7 * round_up(columns, kWidth);
  if (!p.fits) return p;
  const auto line_of = [&](int64_t cols) { return (cols - 1) * s.stride_w + (s.kw - 1) * s.step_w + 1; };
  const auto lines_of = [&](int64_t rows) { return (rows - 1) * s.stride_h + (s.kh - 1) * s.step_h + 1; };
  const auto copy_of = [&](int64_t rows, int64_t cols) {
    const int64_t tall = lines_of(rows);
    const int64_t wide = line_of(cols);
    const bool fits = tall <= kElements && wide <= kElements && tall * wide <= kElements;
    return fits ? tall * wide * s.kd * s.group_c : kElements + 1;
  };
  p.cols = least(s.ow, kMaxBandPixels);
  while (p.cols > 8 && copy_of(1, p.cols) > kElements) p.cols = ceil_div(p.cols, 2);
  p.across = ceil_div(s.ow, p.cols);
  p.cols = ceil_div(s.ow, p.across);
  p.rows = 1;
  while (p.rows < s.oh && (p.rows + 1) * p.cols <= kMaxBandPixels && copy_of(p.rows + 1, p.cols) <= kElements) ++p.rows;
  p.down = ceil_div(s.oh, p.rows);
  p.rows = ceil_div(s.oh, p.down);
  p.lines = lines_of(p.rows);
  p.line = line_of(p.cols);
  p.copy = copy_of(p.rows, p.cols);
  p.fits = p.copy <= kElements && p.pixels() >= least(kMinBandPixels, s.oh * s.ow);
  p.copy += 2 * kWidth;  // whole vectors are read
  // Rows of A that lie a multiple of a page apart would meet in one set of the cache.
  p.gradient = s.group_o * (round_up(p.pixels(), kWidth) + kWidth);
  p.units = s.n * s.od * p.down * p.across;
  return p;
}

// What the band at output (slice, row, col) of a group of one image stands over.
template <class T>
void cross_band(const PixelPlan& p, const T* image, int64_t c_stride, int64_t slice, int64_t row, int64_t col, T* to) {
  const Sizes& s = p.s;
  for (int64_t l = 0; l < s.kd; ++l, to += p.lines * p.line * s.group_c) {
    const int64_t z = slice * s.stride_d - s.pad_d + l * s.step_d;
    cross_slice<T>(z < 0 || z >= s.d ? nullptr : image + z * s.h * s.w, c_stride, s.group_c, s.h, s.w,
                   row * s.stride_h - s.pad_h, col * s.stride_w - s.pad_w, p.lines, p.line, to);
  }
}

// Adds what the units [begin, end) of a group give to `sums`, the group's. `room` is for both copies.
template <class T>
void run_pixels(const PixelPlan& p, const Images<T>& x, const Images<T>& gradient, int64_t group, int64_t begin,
                int64_t end, T* room, T* sums) {
  using L = Lanes<T>;
  constexpr int64_t kColumns = kPanelColumns<T>;
  const Sizes& s = p.s;
  int32_t at[kMaxBandPixels];
  T* const copy = room;
  T* const rows_of_a = room + round_up(p.copy, 16);
  const int64_t columns = adjoining_columns(s);
  const int64_t runs = s.k / columns;
  for (int64_t i = 0; i < s.group_o * s.k; ++i) sums[i] = T{0};
  MicroArgs<T> g;
  g.c_row_stride = s.k;
  g.a_col_stride = 1;
  g.add = true;
  for (int64_t unit = begin; unit < end; ++unit) {
    const Place place(p, unit, s.od, 1, s.oh, s.ow);
    const int64_t pixels = place.rows * place.cols;
    const int64_t stride = round_up(pixels, L::kWidth) + L::kWidth;
    cross_band<T>(p, x.data + place.image * x.n_stride + group * s.group_c * x.c_stride, x.c_stride, place.slice,
                  place.row, place.col, copy);
    for (int64_t o = 0; o < s.group_o; ++o) {
      const T* from = gradient.data + place.image * gradient.n_stride + (group * s.group_o + o) * gradient.c_stride +
                      (place.slice * s.oh + place.row) * s.ow + place.col;
      T* to = rows_of_a + o * stride;
      // Whole rows adjoin each other.
      const int64_t length = place.cols == s.ow ? pixels : place.cols;
      for (int64_t done = 0; done < pixels; done += length, from += s.ow) {
        for (int64_t q = 0; q < length; q += L::kWidth) {
          __builtin_prefetch(from + q + gradient.c_stride);
          L::store(to + done + q, L::load_edge(from + q, L::edge(static_cast<int>(least(L::kWidth, length - q)))));
        }
      }
    }
    for (int64_t r = 0; r < place.rows; ++r) {
      for (int64_t q = 0; q < place.cols; ++q) {
        at[r * place.cols + q] = static_cast<int32_t>((r * s.stride_h * p.line + q * s.stride_w) * s.group_c);
      }
    }
    const BlocksOfK blocks = blocks_of_k(pixels);
    g.a_row_stride = stride;
    for (int64_t run = 0; run < runs; ++run) {
      const int64_t tap = run * columns / s.group_c;
      const int64_t line = tap / (s.kh * s.kw) * p.lines + tap / s.kw % s.kh * s.step_h;
      const T* const b = copy + (line * p.line + tap % s.kw * s.step_w) * s.group_c;
      for (int64_t k = 0; k < pixels; k += blocks.size) {
        g.k = least(blocks.size, pixels - k);
        g.b_at = at + k;
        for (int64_t column = 0; column < columns; column += kColumns) {
          g.b = b + column;
          const auto across = static_cast<int>(least(kColumns, columns - column));
          each_strip<T>(s, [&](int64_t o, int height) __attribute__((always_inline)) {
            g.a = rows_of_a + o * stride + k;
            g.c = sums + o * s.k + run * columns + column;
            run_micro_at(g, height, across, false);
          });
        }
      }
    }
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
