// Convolutions whose groups have one input and few output channels ("depthwise"): a product of matrices would be one row high, so the sums over a
// window are made directly, for several vectors of outputs at a time.
//
// The part of a channel that a tile of outputs stands over is copied to a few KiB on the stack. For kernel files (compiled per ISA).
// Invariant: sums go over taps in rising order, as one chain of fma from zero, as those of the micro-kernel do: the result is the same bits.
// Read next: tiles.h.
#pragma once

#include "ops/conv/tiles.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kTileElements = 6 * 1024;  // 24 KiB of floats: L1, and bearable on the stack
constexpr int64_t kMaxDirectTaps = 128;
constexpr int64_t kMaxPhases = 16;
constexpr int64_t kMaxDirectOutputs = 2;  // for each input channel; with more the product of matrices wins

// Narrower where rows of the copy would be too long for a few rows of outputs.
template <class T>
Tile direct_tile(int64_t height, int64_t width, int64_t slices, int64_t stride_h, int64_t reach_h, int64_t runs,
                 int64_t reach_w) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  int64_t cols = least(round_up(most(1, width), kWidth), 64 * kWidth);
  while (true) {
    const Tile t = tile_with(kTileElements, slices, cols, height, width, stride_h, reach_h, runs, reach_w);
    if ((t.fits && t.rows >= least(4, height)) || cols == kWidth) return t;
    cols = round_up(cols / 2, kWidth);
  }
}

// The tile that belongs to a convolution.
template <class T>
Tile direct_tile(const Sizes& s) {
  return direct_tile<T>(s.oh, s.ow, s.kd, s.stride_h, reach_of_height(s), s.stride_w, reach_of_width(s));
}

template <class T>
bool runs_directly(const Sizes& s) {
  return s.group_c == 1 && s.group_o <= kMaxDirectOutputs && s.taps <= kMaxDirectTaps && s.taps > 1 &&
         direct_tile<T>(s).fits;
}

// What is summed: the copy, how far apart the windows of one column are in it, and the taps with their weights.
template <class T>
struct Summands {
  const T* copy;
  int64_t row_step;
  const int32_t* at;
  const T* weight;
  int64_t taps;
  const T* bias;  // or null
};

// Where sums go: rows `stride` apart, elements `step` apart.
template <class T>
struct Target {
  T* to;
  int64_t stride, step;
};

// Sums of kRows by kVectors vectors of windows, of which `cols` elements in a row are wanted.
template <class T, int kRows, int kVectors>
void sum_block(const Summands<T>& s, const T* from, const Target<T>& target, T* to, int64_t cols) {
  using L = Lanes<T>;
  typename L::Vec acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc[r][v] = L::zero();
  }
  const int64_t row_step = s.row_step;
  for (int64_t k = 0; k < s.taps; ++k) {
    const auto factor = L::broadcast(s.weight[k]);
    const T* const at = from + s.at[k];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        acc[r][v] = L::fma(factor, L::load(at + r * row_step + v * L::kWidth), acc[r][v]);
      }
    }
  }
  if (s.bias != nullptr) {
    const auto bias = L::broadcast(*s.bias);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) acc[r][v] = acc[r][v] + bias;
    }
  }
  if (target.step == 1) {
    const auto edge = L::edge(static_cast<int>(least(L::kWidth, cols - (kVectors - 1) * L::kWidth)));
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r, to += target.stride) {
#pragma GCC unroll 8
      for (int v = 0; v + 1 < kVectors; ++v) L::store(to + v * L::kWidth, acc[r][v]);
      L::store_edge(to + (kVectors - 1) * L::kWidth, edge, acc[r][kVectors - 1]);
    }
    return;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r, to += target.stride) {
    T lanes[kVectors * L::kWidth];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) L::store(lanes + v * L::kWidth, acc[r][v]);
    const int64_t count = least(kVectors * L::kWidth, cols);
    for (int64_t q = 0; q < count; ++q) to[q * target.step] = lanes[q];
  }
}

template <class T>
using SumFunction = void (*)(const Summands<T>&, const T*, const Target<T>&, T*, int64_t);

// Blocks of several rows and vectors, by vectors less one: enough sums at a time to hide the latency of fma.
template <class T>
struct SumTable {
  int64_t rows;
  SumFunction<T> many, one;
};
template <class T>
constexpr SumTable<T> kSumTable[4] = {{6, sum_block<T, 6, 1>, sum_block<T, 1, 1>},
                                      {4, sum_block<T, 4, 2>, sum_block<T, 1, 2>},
                                      {3, sum_block<T, 3, 3>, sum_block<T, 1, 3>},
                                      {2, sum_block<T, 2, 4>, sum_block<T, 1, 4>}};

// All outputs of a tile.
template <class T>
void sum_tile(const Summands<T>& s, const Target<T>& target, int64_t rows, int64_t cols) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  for (int64_t col = 0; col < cols;) {
    const int64_t vectors = least(4, ceil_div(cols - col, kWidth));
    const SumTable<T>& sums = kSumTable<T>[vectors - 1];
    const T* from = s.copy + col;
    T* to = target.to + col * target.step;
    int64_t row = 0;
    for (; row + sums.rows <= rows; row += sums.rows) {
      sums.many(s, from, target, to, cols - col);
      from += sums.rows * s.row_step;
      to += sums.rows * target.stride;
    }
    for (; row < rows; ++row) {
      sums.one(s, from, target, to, cols - col);
      from += s.row_step;
      to += target.stride;
    }
    col += vectors * kWidth;
  }
}

// ---- forward ----

template <class T>
int64_t direct_units(const Sizes& s, const Tile& t) {
  return s.n * s.groups * s.od * t.down * t.across;
}

template <class T>
int64_t direct_tasks(const Sizes& s) {
  const int64_t units = direct_units<T>(s, direct_tile<T>(s));
  return units == 0 || s.o == 0 ? 0
                                : most(1, least(least(kMaxTasks, units), s.n * s.o * s.pixels * s.taps / kTaskWork));
}

template <class T>
void run_direct(const Sizes& s, const Images<T>& x, const T* weight, const T* bias, T* out, int64_t task) {
  alignas(64) T copy[kTileElements + 2 * Lanes<T>::kWidth];
  int32_t at[kMaxDirectTaps];
  const Tile t = direct_tile<T>(s);
  taps_at(s, t, 0, s.taps, at);
  const int64_t tasks = direct_tasks<T>(s);
  const int64_t units = direct_units<T>(s, t);
  const int64_t end = units * (task + 1) / tasks;
  for (int64_t unit = units * task / tasks; unit < end; ++unit) {
    const int64_t col = unit % t.across * t.cols;
    const int64_t row = unit / t.across % t.down * t.rows;
    const int64_t slice = unit / t.across / t.down % s.od;
    const int64_t plane = unit / t.across / t.down / s.od;
    const int64_t image = plane / s.groups;
    const int64_t group = plane % s.groups;
    copy_tile<T>(s, t, x.data + image * x.n_stride + group * x.c_stride, slice, row, col, copy);
    for (int64_t o = group * s.group_o; o < (group + 1) * s.group_o; ++o) {
      T* const to = out + (image * s.o + o) * s.pixels + (slice * s.oh + row) * s.ow + col;
      sum_tile<T>({copy, s.stride_h * t.line(), at, weight + o * s.taps, s.taps, bias != nullptr ? bias + o : nullptr},
                  {to, s.ow, 1}, least(t.rows, s.oh - row), least(t.cols, s.ow - col));
    }
  }
}

// ---- transposed ----

GORGO_GEMM_INLINE int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// With strides, an output element meets every stride-th tap: outputs are made by phase, those that are `stride` apart and meet the same taps.
// Sizes are those of the convolution whose gradient this is: x has its windows, out its images.
struct Phases {
  int64_t first_h,
      first_w;  // what the first tap of all meets, relative to the row and column of x that belong to an output
  int64_t reach_h, reach_w;  // and the last one, relative to that
  explicit Phases(const Sizes& s)
      : first_h(floor_div(s.pad_h - (s.kh - 1) * s.step_h, s.stride_h)),
        first_w(floor_div(s.pad_w - (s.kw - 1) * s.step_w, s.stride_w)),
        reach_h((s.stride_h - 1 + s.pad_h) / s.stride_h - first_h),
        reach_w((s.stride_w - 1 + s.pad_w) / s.stride_w - first_w) {}
  template <class T>
  Tile tile(const Sizes& s) const {
    return direct_tile<T>(ceil_div(s.h, s.stride_h), ceil_div(s.w, s.stride_w), s.group_o * s.kd, 1, reach_h, 1,
                          reach_w);
  }
};

template <class T>
bool transposes_directly(const Sizes& s) {
  return s.group_c == 1 && s.group_o >= 1 && s.group_o <= kMaxDirectOutputs && s.group_o * s.taps <= kMaxDirectTaps &&
         s.taps > 1 && s.image > 0 && s.stride_h <= kMaxPhases && s.stride_w <= kMaxPhases / s.stride_h &&
         Phases(s).template tile<T>(s).fits;
}

template <class T>
int64_t transposed_units(const Sizes& s, const Tile& t) {
  return s.n * s.groups * s.d * t.down * t.across;
}

template <class T>
int64_t direct_transposed_tasks(const Sizes& s) {
  const int64_t units = transposed_units<T>(s, Phases(s).template tile<T>(s));
  return units == 0 ? 0 : most(1, least(least(kMaxTasks, units), s.n * s.o * s.pixels * s.taps / kTaskWork));
}

template <class T>
void run_direct_transposed(const Sizes& s, const Images<T>& x, const T* weight, const T* bias, T* out, int64_t task) {
  alignas(64) T copy[kTileElements + 2 * Lanes<T>::kWidth];
  const Phases phases(s);
  const Tile t = phases.template tile<T>(s);
  // The taps of all phases one after the other, every tap in the one it belongs to; `of` is its place among the weights of a group.
  int32_t at[kMaxDirectTaps];
  int32_t of[kMaxDirectTaps];
  T weights[kMaxDirectTaps];
  int64_t ends[kMaxPhases];
  const int64_t count_h = least(s.stride_h, s.h);
  const int64_t count_w = least(s.stride_w, s.w);
  int64_t count = 0;
  for (int64_t phase = 0; phase < count_h * count_w; ++phase) {
    for (int64_t o = 0; o < s.group_o * s.kd; ++o) {  // and slices of the kernel
      for (int64_t i = 0; i < s.kh; ++i) {
        const int64_t y = phase / count_w + s.pad_h - i * s.step_h;
        const int64_t row = floor_div(y, s.stride_h);
        if (row * s.stride_h != y) continue;
        for (int64_t j = 0; j < s.kw; ++j) {
          const int64_t x_at = phase % count_w + s.pad_w - j * s.step_w;
          const int64_t col = floor_div(x_at, s.stride_w);
          if (col * s.stride_w != x_at) continue;
          at[count] = static_cast<int32_t>(o * t.slice() + (row - phases.first_h) * t.line() + col - phases.first_w);
          of[count++] = static_cast<int32_t>((o * s.kh + i) * s.kw + j);
        }
      }
    }
    ends[phase] = count;
  }
  const int64_t tasks = direct_transposed_tasks<T>(s);
  const int64_t units = transposed_units<T>(s, t);
  const int64_t end = units * (task + 1) / tasks;
  int64_t group_before = -1;
  for (int64_t unit = units * task / tasks; unit < end; ++unit) {
    const int64_t col = unit % t.across * t.cols;
    const int64_t row = unit / t.across % t.down * t.rows;
    const int64_t slice = unit / t.across / t.down % s.d;
    const int64_t plane = unit / t.across / t.down / s.d;
    const int64_t image = plane / s.groups;
    const int64_t group = plane % s.groups;
    if (group != group_before) {
      for (int64_t k = 0; k < count; ++k) weights[k] = weight[group * s.group_o * s.taps + of[k]];
      group_before = group;
    }
    for (int64_t o = 0; o < s.group_o; ++o) {
      const T* const channel = x.data + image * x.n_stride + (group * s.group_o + o) * x.c_stride;
      for (int64_t l = 0; l < s.kd; ++l) {
        const int64_t z_at = slice + s.pad_d - l * s.step_d;
        const int64_t z = floor_div(z_at, s.stride_d);
        const bool outside = z * s.stride_d != z_at || z < 0 || z >= s.od;
        copy_slice<T>(t, outside ? nullptr : channel + z * s.oh * s.ow, s.oh, s.ow, row + phases.first_h,
                      col + phases.first_w, copy + (o * s.kd + l) * t.slice());
      }
    }
    int64_t begin = 0;
    for (int64_t phase = 0; phase < count_h * count_w; ++phase) {
      const int64_t y = phase / count_w;
      const int64_t x_at = phase % count_w;
      T* const to =
          out + (image * s.c + group) * s.image + (slice * s.h + row * s.stride_h + y) * s.w + col * s.stride_w + x_at;
      sum_tile<T>(
          {copy, t.line(), at + begin, weights + begin, ends[phase] - begin, bias != nullptr ? bias + group : nullptr},
          {to, s.stride_h * s.w, s.stride_w}, least(t.rows, ceil_div(s.h - y, s.stride_h) - row),
          least(t.cols, ceil_div(s.w - x_at, s.stride_w) - col));
      begin = ends[phase];
    }
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
