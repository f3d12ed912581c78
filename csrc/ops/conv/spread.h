// Transposed convolutions of 3 x 3 with strides of two, where groups have one channel of either: a vector of x and its neighbours give all four phases
// of the outputs that belong to it, which are put between each other where they are stored.
//
// Along an axis one phase meets the taps 0 and 2 (it is called long here), the other one tap 1 (short). For kernel files (compiled per ISA).
// Invariant: that of direct.h.
// Read next: direct.h.
#pragma once

#include "ops/conv/tiles.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

bool spreads(const Sizes& s) {
  return s.group_c == 1 && s.group_o == 1 && !s.deep && s.kh == 3 && s.kw == 3 && s.stride_h == 2 && s.stride_w == 2 &&
         s.step_h == 1 && s.step_w == 1;
}

template <class T>
struct Spread {
  const T* x;  // of h by w elements
  int64_t h, w;
  T* to;  // of to_h by to_w
  int64_t to_h, to_w;
  const T* weight;
  const T* bias;      // or null
  int64_t top, left;  // what tap 0 of the long phase meets, relative to the row and column of x that outputs belong to
  bool odd_pad_w;
};

// The outputs that belong to kRows rows of x, from `row` on, and a vector of columns. kWhole: all that they meet along the width lies in x, and all of
// them are wanted.
template <class T, bool kOddPadH, bool kWhole, int kRows>
GORGO_GEMM_INLINE void spread_rows(const Spread<T>& s, int64_t row, int64_t col,
                                   const typename Lanes<T>::Vec (&weight)[9]) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  constexpr int kWidth = L::kWidth;
  static constexpr T kZeros[kWidth + 2] = {};
  // Columns of x that tap 2 and tap 0 of the long phase meet, and tap 1.
  const int64_t x_at = col + s.left - 1;
  const int64_t middle = s.odd_pad_w ? 0 : 1;
  const typename L::Part part[3] = {Range::of(x_at, s.w, kWidth).template part<T>(),
                                    Range::of(x_at + middle, s.w, kWidth).template part<T>(),
                                    Range::of(x_at + 1, s.w, kWidth).template part<T>()};
  const auto bias = L::broadcast(s.bias != nullptr ? *s.bias : T{0});
  Vec x[kRows + 1][3];
#pragma GCC unroll 8
  for (int r = kRows; r >= 0; --r) {
    const int64_t y = row + r + s.top - 1;
    const T* const line = y >= 0 && y < s.h ? s.x + y * s.w + x_at : kZeros;
    const auto load = [&](const T* from, int k)
                          GORGO_INLINE_LAMBDA { return kWhole ? L::load(from) : L::load_part(from, part[k]); };
    x[r][0] = load(line, 0);
    x[r][1] = load(line + middle, 1);
    x[r][2] = load(line + 1, 2);
    if (r == kRows) continue;
    const auto lower = x[r + 1];
    const auto upper = x[r];
    const auto alone = kOddPadH ? upper : lower;
    const auto times = [&](int k, Vec value, Vec sum) GORGO_INLINE_LAMBDA { return L::fma(weight[k], value, sum); };
    // Along the height, then along the width.
    Vec long_long = times(2, lower[0], times(0, lower[2], L::zero()));
    long_long = times(8, upper[0], times(6, upper[2], long_long));
    Vec long_short = times(7, upper[1], times(1, lower[1], L::zero()));
    Vec short_long = times(5, alone[0], times(3, alone[2], L::zero()));
    Vec short_short = times(4, alone[1], L::zero());
    if (s.bias != nullptr) {
      long_long = long_long + bias;
      long_short = long_short + bias;
      short_long = short_long + bias;
      short_short = short_short + bias;
    }
    const auto store = [&](int64_t to_row, Vec of_long, Vec of_short) GORGO_INLINE_LAMBDA {
      if (to_row >= s.to_h) return;
      const Pairs<T> pair = s.odd_pad_w ? Pairs<T>{{of_short}, {of_long}} : Pairs<T>{{of_long}, {of_short}};
      T* const to = s.to + to_row * s.to_w + 2 * col;
      if (kWhole || 2 * col + 2 * kWidth <= s.to_w) {
        pair.store(to);
      } else {
        pair.store_first(to, static_cast<int>(s.to_w - 2 * col));
      }
    };
    store(2 * (row + r) + (kOddPadH ? 1 : 0), long_long, long_short);
    store(2 * (row + r) + (kOddPadH ? 0 : 1), short_long, short_short);
  }
}

// Outputs that belong to the rows [begin, end) of x, in all columns.
template <class T, bool kOddPadH>
void spread(const Spread<T>& s, int64_t begin, int64_t end) {
  using L = Lanes<T>;
  typename L::Vec weight[9];
#pragma GCC unroll 16
  for (int k = 0; k < 9; ++k) weight[k] = L::broadcast(s.weight[k]);
  const auto rows = [&]<int kRows>(int64_t row, std::integral_constant<int, kRows>) GORGO_INLINE_LAMBDA {
    for (int64_t col = 0; 2 * col < s.to_w; col += L::kWidth) {
      const int64_t x_at = col + s.left - 1;
      constexpr bool kTells = !L::kEdgeIsFree;
      if (kTells && x_at >= 0 && x_at + L::kWidth < s.w && 2 * (col + L::kWidth) <= s.to_w) {
        spread_rows<T, kOddPadH, kTells, kRows>(s, row, col, weight);
      } else {
        spread_rows<T, kOddPadH, false, kRows>(s, row, col, weight);
      }
    }
  };
  int64_t row = begin;
  for (; row + 4 <= end; row += 4) rows(row, std::integral_constant<int, 4>{});
  for (; row < end; ++row) rows(row, std::integral_constant<int, 1>{});
}

constexpr int64_t kSpreadElements = 16 * 1024;  // outputs of one channel that a task makes at a time

int64_t spread_bands(const Sizes& s) { return most(1, least(ceil_div(s.h, 8), s.image / kSpreadElements)); }
int64_t spread_tasks(const Sizes& s) {
  const int64_t units = s.n * s.c * spread_bands(s);
  return units == 0 || s.image == 0
             ? 0
             : most(1, least(least(kMaxTasks, units), s.n * s.o * s.pixels * s.taps / kTaskWork));
}

template <class T>
void run_spread(const Sizes& s, const Images<T>& x, const T* weight, const T* bias, T* out, int64_t task) {
  const int64_t bands = spread_bands(s);
  const int64_t tasks = spread_tasks(s);
  const int64_t units = s.n * s.c * bands;
  const int64_t rows = ceil_div(s.h, 2);
  const bool odd = s.pad_h % 2 != 0;
  const int64_t end = units * (task + 1) / tasks;
  for (int64_t unit = units * task / tasks; unit < end; ++unit) {
    const int64_t band = unit % bands;
    const int64_t channel = unit / bands % s.c;
    const int64_t image = unit / bands / s.c;
    const Spread<T> each{x.data + image * x.n_stride + channel * x.c_stride,
                         s.oh,
                         s.ow,
                         out + (image * s.c + channel) * s.image,
                         s.h,
                         s.w,
                         weight + channel * 9,
                         bias != nullptr ? bias + channel : nullptr,
                         (s.pad_h + 1) / 2,
                         (s.pad_w + 1) / 2,
                         s.pad_w % 2 != 0};
    (odd ? spread<T, true> : spread<T, false>)(each, rows * band / bands, rows * (band + 1) / bands);
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
