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
[[gnu::noinline]] Tile direct_tile(int64_t height, int64_t width, int64_t slices, int64_t stride_h, int64_t reach_h,
                                   int64_t runs, int64_t reach_w) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  int64_t cols = least(most(width, kWidth), 64 * kWidth);
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

template <class T, int kRows, int kVectors>
using Sums = typename Lanes<T>::Vec[kRows][kVectors];

template <class T, int kRows, int kVectors>
GORGO_GEMM_INLINE void add_bias(const T* bias, Sums<T, kRows, kVectors>& acc) {
  if (bias == nullptr) return;
  const auto value = Lanes<T>::broadcast(*bias);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc[r][v] = acc[r][v] + value;
  }
}

// Sums of kRows rows by kVectors vectors of windows, the last one at `last`.
template <class T, int kRows, int kVectors>
GORGO_GEMM_INLINE void sum_windows(const Summands<T>& s, const T* from, int64_t last, Sums<T, kRows, kVectors>& acc) {
  using L = Lanes<T>;
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
        const int64_t place = v + 1 == kVectors ? last : v * L::kWidth;
        acc[r][v] = L::fma(factor, L::load(at + r * row_step + place), acc[r][v]);
      }
    }
  }
  add_bias<T, kRows, kVectors>(s.bias, acc);
}

// Writes a block; `cols` elements of a row are wanted, all vectors where there is one at least.
template <class T, int kRows, int kVectors>
GORGO_GEMM_INLINE void write_windows(const Sums<T, kRows, kVectors>& acc, int64_t last, const Target<T>& target, T* to,
                                     int64_t cols) {
  using L = Lanes<T>;
  const auto edge = L::edge(static_cast<int>(least(L::kWidth, cols)));
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r, to += target.stride) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const int64_t place = v + 1 == kVectors ? last : v * L::kWidth;
      if (target.step != 1) {
        T lanes[L::kWidth];
        L::store(lanes, acc[r][v]);
        for (int64_t q = 0; q < least(L::kWidth, cols); ++q) to[(place + q) * target.step] = lanes[q];
      } else if (cols >= L::kWidth) {
        L::store(to + place, acc[r][v]);
      } else {
        L::store_edge(to + place, edge, acc[r][v]);
      }
    }
  }
}

template <class T, int kRows, int kVectors>
void sum_block(const Summands<T>& s, const T* from, const Target<T>& target, T* to, int64_t last, int64_t cols) {
  Sums<T, kRows, kVectors> acc;
  sum_windows<T, kRows, kVectors>(s, from, last, acc);
  write_windows<T, kRows, kVectors>(acc, last, target, to, cols);
}

template <class T>
using SumFunction = void (*)(const Summands<T>&, const T*, const Target<T>&, T*, int64_t, int64_t);

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

// ---- three by three ----

// A window of 3 x 3 whose rows lie `line` apart in the copy, as rows of windows do (or half as far), has its weights in registers, and what is
// loaded serves each row of windows that it lies under.
constexpr int kGridRows = 4;
template <class T>
constexpr int kGridVectors = Lanes<T>::kRows == 14 ? 4 : 1;

template <class T>
bool is_grid(const Summands<T>& s, int64_t* line, int64_t* stride) {
  if (s.taps != 9) return false;
  *line = s.at[3] - s.at[0];
  for (int64_t k = 3; k < 9; ++k) {
    if (s.at[k] - s.at[k - 3] != *line) return false;
  }
  *stride = s.row_step == 2 * *line ? 2 : 1;
  return *stride == 2 || s.row_step == *line || s.row_step == -*line;
}

// Rows are taken as taps rise: upwards where `line` is negative, and windows and what is written then too.
template <class T, int kStride, int kRows, int kVectors>
void grid_block(const Summands<T>& s, const T* from, int64_t line, const Target<T>& target, T* to, int64_t last,
                int64_t cols) {
  using L = Lanes<T>;
  typename L::Vec weight[9];
#pragma GCC unroll 16
  for (int k = 0; k < 9; ++k) weight[k] = L::broadcast(s.weight[k]);
  Sums<T, kRows, kVectors> acc;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc[r][v] = L::zero();
  }
  const T* const columns[3] = {from + s.at[0], from + s.at[1], from + s.at[2]};
#pragma GCC unroll 16
  for (int y = 0; y < (kRows - 1) * kStride + 3; ++y) {
#pragma GCC unroll 4
    for (int j = 0; j < 3; ++j) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const int64_t place = v + 1 == kVectors ? last : v * L::kWidth;
        const auto value = L::load(columns[j] + y * line + place);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const int i = y - r * kStride;
          if (i >= 0 && i < 3) acc[r][v] = L::fma(weight[3 * i + j], value, acc[r][v]);
        }
      }
    }
  }
  add_bias<T, kRows, kVectors>(s.bias, acc);
  write_windows<T, kRows, kVectors>(acc, last, target, to, cols);
}

template <class T, int kStride, int kRows>
void grid_blocks(const Summands<T>& s, const T* from, int64_t line, const Target<T>& target, T* to, int64_t cols) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  const int64_t end = most(0, cols - kWidth);
  int64_t col = 0;
  for (; col + kGridVectors<T> * kWidth <= cols; col += kGridVectors<T> * kWidth) {
    grid_block<T, kStride, kRows, kGridVectors<T>>(s, from + col, line, target, to + col * target.step,
                                                   (kGridVectors<T> - 1) * kWidth, cols);
  }
  for (; col < cols; col += kWidth) {
    const int64_t at = least(col, end);
    grid_block<T, kStride, kRows, 1>(s, from + at, line, target, to + at * target.step, 0, cols);
  }
}

template <class T, int kStride>
void grid_tile(const Summands<T>& s, int64_t line, const Target<T>& target, int64_t rows, int64_t cols) {
  const bool upwards = s.row_step == -line;
  const auto at = [&](int64_t row, int64_t height, auto&& blocks) {
    const int64_t first = upwards ? row + height - 1 : row;
    blocks(s, s.copy + first * s.row_step, line,
           Target<T>{target.to, upwards ? -target.stride : target.stride, target.step},
           target.to + first * target.stride, cols);
  };
  if (rows < kGridRows) {
    for (int64_t row = 0; row < rows; ++row) at(row, 1, grid_blocks<T, kStride, 1>);
    return;
  }
  for (int64_t row = 0; row < rows; row += kGridRows) {
    at(least(row, rows - kGridRows), kGridRows, grid_blocks<T, kStride, kGridRows>);
  }
}

// ---- tiles ----

// All outputs of a tile. The last vector of a row and the last block of rows overlap others, where there is one: the same sums are made again.
template <class T>
void sum_tile(const Summands<T>& s, const Target<T>& target, int64_t rows, int64_t cols) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  int64_t line, stride;
  if (is_grid(s, &line, &stride)) {
    return stride == 2 ? grid_tile<T, 2>(s, line, target, rows, cols) : grid_tile<T, 1>(s, line, target, rows, cols);
  }
  for (int64_t col = 0; col < cols;) {
    const int64_t vectors = least(4, ceil_div(cols - col, kWidth));
    const int64_t last = least((vectors - 1) * kWidth, most(0, cols - kWidth) - col);
    const SumTable<T>& sums = kSumTable<T>[vectors - 1];
    const bool one = rows < sums.rows;
    const int64_t step = one ? 1 : sums.rows;
    for (int64_t each = 0; each < rows; each += step) {
      const int64_t row = least(each, rows - step);
      (one ? sums.one : sums.many)(s, s.copy + row * s.row_step + col, target,
                                   target.to + row * target.stride + col * target.step, last, cols);
    }
    col += vectors * kWidth;
  }
}

// Two phases whose outputs lie between each other, `even` of the first and as many of the second or one less in a row.
template <class T, int kRows>
void sum_pairs(const Summands<T>& s, const Summands<T>& t, const T* from, T* to, int64_t stride, int64_t even,
               int64_t both) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  const int64_t end = most(0, even - kWidth);
  for (int64_t each = 0; each < even; each += kWidth) {
    const int64_t col = least(each, end);
    Sums<T, kRows, 1> first, second;
    sum_windows<T, kRows, 1>(s, from + col, 0, first);
    sum_windows<T, kRows, 1>(t, from + col, 0, second);
    T* at = to + 2 * col;
    const int64_t count = both - 2 * col;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r, at += stride) {
      const Pairs<T> pair{{first[r][0]}, {second[r][0]}};
      if (count >= 2 * kWidth) {
        pair.store(at);
      } else {
        pair.store_first(at, static_cast<int>(count));
      }
    }
  }
}

template <class T>
void sum_pairs_of_tile(const Summands<T>& s, const Summands<T>& t, T* to, int64_t stride, int64_t rows, int64_t even,
                       int64_t odd) {
  constexpr int64_t kRows = 6;
  const bool one = rows < kRows;
  const int64_t step = one ? 1 : kRows;
  for (int64_t each = 0; each < rows; each += step) {
    const int64_t row = least(each, rows - step);
    (one ? sum_pairs<T, 1> : sum_pairs<T, kRows>)(s, t, s.copy + row * s.row_step, to + row * stride, stride, even,
                                                  even + odd);
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
    const Place p(t, unit, s.od, s.groups, s.oh, s.ow);
    copy_tile<T>(s, t, x.data + p.image * x.n_stride + p.group * x.c_stride, p.slice, p.row, p.col, copy);
    for (int64_t o = p.group * s.group_o; o < (p.group + 1) * s.group_o; ++o) {
      T* const to = out + (p.image * s.o + o) * s.pixels + (p.slice * s.oh + p.row) * s.ow + p.col;
      sum_tile<T>({copy, s.stride_h * t.line(), at, weight + o * s.taps, s.taps, bias != nullptr ? bias + o : nullptr},
                  {to, s.ow, 1}, p.rows, p.cols);
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
    const auto summands = [&](int64_t phase) {
      const int64_t begin = phase > 0 ? ends[phase - 1] : 0;
      return Summands<T>{
          copy, t.line(), at + begin, weights + begin, ends[phase] - begin, bias != nullptr ? bias + group : nullptr};
    };
    for (int64_t y = 0; y < count_h; ++y) {
      T* const to =
          out + (image * s.c + group) * s.image + (slice * s.h + row * s.stride_h + y) * s.w + col * s.stride_w;
      const int64_t rows = least(t.rows, ceil_div(s.h - y, s.stride_h) - row);
      const auto cols = [&](int64_t x_at) { return least(t.cols, ceil_div(s.w - x_at, s.stride_w) - col); };
      if (count_w == 2) {
        sum_pairs_of_tile<T>(summands(2 * y), summands(2 * y + 1), to, s.stride_h * s.w, rows, cols(0), cols(1));
        continue;
      }
      for (int64_t x_at = 0; x_at < count_w; ++x_at) {
        sum_tile<T>(summands(y * count_w + x_at), {to + x_at, s.stride_h * s.w, s.stride_w}, rows, cols(x_at));
      }
    }
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
