// Copies of images with their channels side by side.
//
// Lines of several channels are crossed by squares in registers. For kernel files (compiled per ISA).
// Read next: pixels.h, winograd_weight.h.
#pragma once

#include "kernels/zip.h"
#include "ops/conv/windows.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

// A square of one vector's `count` neighbours of each of so many lines, `apart` elements from each other, as elements whose lines lie side by side.
template <class T, bool kWhole>
GORGO_GEMM_INLINE void cross_square(const T* from, int64_t apart, int64_t lines, int64_t count, T* to,
                                    int64_t to_stride) {
  using L = Lanes<T>;
  constexpr int kWidth = L::kWidth;
  const auto edge = L::edge(static_cast<int>(count));
  typename L::Vec v[kWidth];
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) {
    v[i] = kWhole ? L::load(from + i * apart) : i < lines ? L::load_edge(from + i * apart, edge) : L::zero();
  }
  transpose_square<T, kWidth>(v);
  const auto to_edge = L::edge(static_cast<int>(lines));
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) {
    if (kWhole) {
      L::store(to + i * to_stride, v[i]);
    } else if (i < count) {
      L::store_edge(to + i * to_stride, to_edge, v[i]);
    }
  }
}

// `count` neighbours of each of `channels` lines: so many at a time that what is written stays near the core, and lines are read on and on.
template <class T>
[[gnu::noinline]] void cross_line(const T* from, int64_t apart, int64_t channels, int64_t count, T* to) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  constexpr int64_t kAhead = 256 / static_cast<int64_t>(sizeof(T));
  const int64_t chunk = most(1, 4 * 1024 / (channels * kWidth)) * kWidth;
  for (int64_t begin = 0; begin < count; begin += chunk) {
    const int64_t end = least(count, begin + chunk);
    for (int64_t c = 0; c < channels; c += kWidth) {
      const int64_t lines = least(kWidth, channels - c);
      for (int64_t q = begin; q < end; q += kWidth) {
        // So many streams are more than the processor foresees.
        for (int64_t i = 0; i < lines; ++i) __builtin_prefetch(from + (c + i) * apart + q + kAhead);
        const int64_t wide = least(kWidth, end - q);
        const bool whole = lines == kWidth && wide == kWidth;
        (whole ? cross_square<T, true> : cross_square<T, false>)(from + c * apart + q, apart, lines, wide,
                                                                 to + q * channels + c, channels);
      }
    }
  }
}

// Lines [y, y + lines) and columns [x, x + cols) of planes of h by w elements, as (line, column, channel); zeros lie around the planes, and are all there
// is of none.
template <class T>
void cross_slice(const T* planes, int64_t c_stride, int64_t channels, int64_t h, int64_t w, int64_t y, int64_t x,
                 int64_t lines, int64_t cols, T* to) {
  const auto fill = [&](int64_t pixels) {
    for (int64_t i = 0; i < pixels * channels; ++i) to[i] = T{0};
    to += pixels * channels;
  };
  const int64_t before = least(cols, most(0, -x));
  const int64_t end = most(before, least(cols, w - x));
  for (int64_t line = y; line < y + lines; ++line) {
    if (planes == nullptr || line < 0 || line >= h) {
      fill(cols);
      continue;
    }
    fill(before);
    cross_line<T>(planes + line * w + x + before, c_stride, channels, end - before, to);
    to += (end - before) * channels;
    fill(cols - end);
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
