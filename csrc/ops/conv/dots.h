// Gradients by the weights of small kernels, where groups have one input and few output channels: sums of products of two images, one of them
// shifted by each tap, read from where they lie.
//
// The sums of some rows of taps are in registers while a strip of the gradient, one vector wide, passes from top to bottom; what is loaded of an
// image serves each row of taps that it lies under. For kernel files (compiled per ISA).
// Invariant: each sum goes over rows in rising order, whatever is taken at a time.
// Read next: kernels_cpu_weight.cpp.
#pragma once

#include "ops/conv/tiles.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int kDotRows = 4;  // of the gradient at a time
constexpr int kMostDotTaps = 7;
template <class T>
constexpr int kDotSums = Lanes<T>::kRows == 14 ? 25 : 10;
// Rows of taps at a time, of so many taps each.
template <class T>
constexpr int tap_rows(int taps) {
  const int rows = kDotSums<T> / taps;
  return rows == 0 ? 1 : rows < taps ? rows : taps;
}

// At most a vector of columns of the gradient, and the image under it.
template <class T>
struct Strip {
  const T* image;
  int64_t h, w;
  int64_t y, x;  // of what the first row of taps meets
  const T* g;
  int64_t g_stride;
  int64_t rows, cols;
};

// lanes[i * kTaps + j] += each vector of the gradient times what tap j of row i meets. kWhole: no lane is outside of either.
template <class T, int kTaps, int kRowsOfTaps, int kStride, bool kWhole>
void dot_strip(const Strip<T>& s, T* lanes) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  constexpr int kWidth = L::kWidth;
  static constexpr T kZeros[kStride * kWidth + kTaps + 1] = {};
  // With a stride of two, a load of two vectors has the elements of an even tap and of the next one.
  constexpr int kLoads = kStride == 1 ? kTaps : (kTaps + 1) / 2 * 2;
  typename L::Part part[kLoads];
#pragma GCC unroll 8
  for (int q = 0; q < kLoads; ++q) {
    const int64_t at = kStride == 1 ? q : q / 2 * 2 + q % 2 * kWidth;
    const int64_t met = least(kWidth, kStride == 1 ? s.cols : most(0, 2 * s.cols - q % 2 * kWidth));
    part[q] = Range::of(s.x + at, s.w, met).template part<T>();
  }
  const auto edge = L::edge(static_cast<int>(s.cols));
  const auto load = [&](const T* p, int q)
                        GORGO_INLINE_LAMBDA { return kWhole ? L::load(p) : L::load_part(p, part[q]); };
  const auto load_gradient = [&](const T* p)
                                 GORGO_INLINE_LAMBDA { return kWhole ? L::load(p) : L::load_edge(p, edge); };

  Vec acc[kRowsOfTaps][kTaps];
#pragma GCC unroll 8
  for (int i = 0; i < kRowsOfTaps; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kTaps; ++j) acc[i][j] = L::load(lanes + (i * kTaps + j) * kWidth);
  }
  const auto add = [&]<int kRows>(int64_t row, std::integral_constant<int, kRows>) GORGO_INLINE_LAMBDA {
    Vec g[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) g[r] = load_gradient(s.g + (row + r) * s.g_stride);
    constexpr int kLines = (kRows - 1) * kStride + kRowsOfTaps;
    const int64_t top = s.y + row * kStride;
    const T* lines[kLines];
#pragma GCC unroll 16
    for (int line = 0; line < kLines; ++line) lines[line] = s.image + (top + line) * s.w + s.x;
    if (top < 0 || top + kLines > s.h) {
      for (int line = 0; line < kLines; ++line) {
        if (top + line < 0 || top + line >= s.h) lines[line] = kZeros;
      }
    }
#pragma GCC unroll 16
    for (int line = 0; line < kLines; ++line) {
      const T* const from = lines[line];
      const auto meet = [&](int j, Vec value) GORGO_INLINE_LAMBDA {
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const int i = line - r * kStride;
          if (i >= 0 && i < kRowsOfTaps) acc[i][j] = L::fma(g[r], value, acc[i][j]);
        }
      };
      if constexpr (kStride == 1) {
#pragma GCC unroll 8
        for (int j = 0; j < kTaps; ++j) meet(j, load(from + j, j));
      } else {
#pragma GCC unroll 8
        for (int j = 0; j < kTaps; j += 2) {
          const auto pair = Pairs<T>::split({load(from + j, j)}, {load(from + j + kWidth, j + 1)});
          meet(j, pair.even.raw);
          if (j + 1 < kTaps) meet(j + 1, pair.odd.raw);
        }
      }
    }
  };
  int64_t row = 0;
  for (; row + kDotRows <= s.rows; row += kDotRows) add(row, std::integral_constant<int, kDotRows>{});
  for (; row + 2 <= s.rows; row += 2) add(row, std::integral_constant<int, 2>{});
  if (row < s.rows) add(row, std::integral_constant<int, 1>{});
#pragma GCC unroll 8
  for (int i = 0; i < kRowsOfTaps; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kTaps; ++j) L::store(lanes + (i * kTaps + j) * kWidth, acc[i][j]);
  }
}

// Kernels whose gradients are made so.
bool dots_in_place(const Sizes& s) {
  return s.kh > 1 && (s.kw == 3 || s.kw == 5 || s.kw == kMostDotTaps) && s.step_h == 1 && s.step_w == 1 &&
         s.stride_h == s.stride_w && s.stride_h <= 2;
}

constexpr int64_t kDotBandElements =
    2 * 1024;  // of the image and as much of the gradient: near the core, for all columns and rows of taps

template <class T, int kTaps, int kStride>
void dot_strips(const Strip<T>& tile, int64_t taps_down, T* lanes) {
  constexpr int kWidth = Lanes<T>::kWidth;
  constexpr int kMost = tap_rows<T>(kTaps);
  const int64_t band = most(2, kDotBandElements / (kStride * kStride * kDotRows * tile.cols)) * kDotRows;
  for (int64_t row = 0; row < tile.rows; row += band) {
    if (tile.cols > 2 * kWidth) {  // a strip alone would call for memory out of order
      const int64_t first = least(tile.h, most(0, tile.y + row * kStride));
      fetch_lines(tile.image + first * tile.w, tile.image + least(tile.h, first + band * kStride) * tile.w);
    }
    for (int64_t i = 0; i < taps_down;) {
      const bool many = taps_down - i >= kMost;
      for (int64_t col = 0; col < tile.cols; col += kWidth) {
        Strip<T> s = tile;
        s.y += row * kStride + i;
        s.x += col * kStride;
        s.g += row * s.g_stride + col;
        s.rows = least(band, tile.rows - row);
        s.cols = least(kWidth, tile.cols - col);
        bool whole = false;
        if constexpr (!Lanes<T>::kEdgeIsFree) {
          whole = s.cols == kWidth && s.x >= 0 && s.x + kStride * kWidth + kTaps <= s.w;
        }
        T* const to = lanes + i * kTaps * kWidth;
        if (whole) {
          constexpr bool kWhole = !Lanes<T>::kEdgeIsFree;
          (many ? dot_strip<T, kTaps, kMost, kStride, kWhole> : dot_strip<T, kTaps, 1, kStride, kWhole>)(s, to);
        } else {
          (many ? dot_strip<T, kTaps, kMost, kStride, false> : dot_strip<T, kTaps, 1, kStride, false>)(s, to);
        }
      }
      i += many ? kMost : 1;
    }
  }
}

template <class T>
using DotStrips = void (*)(const Strip<T>&, int64_t, T*);

template <class T>
[[gnu::noinline]] DotStrips<T> dot_strips_of(const Sizes& s) {
  const bool two = s.stride_h == 2;
  if (s.kw == 3) return two ? dot_strips<T, 3, 2> : dot_strips<T, 3, 1>;
  if (s.kw == 5) return two ? dot_strips<T, 5, 2> : dot_strips<T, 5, 1>;
  return two ? dot_strips<T, kMostDotTaps, 2> : dot_strips<T, kMostDotTaps, 1>;
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
