// The gradient of a 3x3 convolution with unit strides by its weights, by the transpose of minimal filtering: F(3x3, 2x2).
//
// As winograd.h has A'((G g G') * (B' d B))A for a tile, the gradient by g is G'((A y A') * (B' d B))G, where y is that of the 2x2 outputs; it is
// summed over tiles before G is applied. So there is a product of matrices (outputs, tiles) by (tiles, channels) for each of the 16 places.
// What tiles stand over is brought to channels-last first: channels are the lanes. For kernel files (compiled per ISA).
// Invariant: units, parts and the order of every sum depend on shapes alone. Sums that are not finite are computed again, plainly.
// Read next: winograd.h, cross.h, kernels_cpu_weight.cpp.
#pragma once

#include "ops/conv/cross.h"
#include "ops/conv/winograd.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kWeightUnitElements = 128 * 1024;  // of transformed images and gradients, for L2
constexpr int64_t kMaxFilterPartials = 16;
constexpr int64_t kMostFilterSums = 2 * 1024 * 1024;  // elements of all partial sums, more or less

// Units are pieces of an image, of so many tiles.
struct WeightFiltering : Grid {
  int64_t tiles_down, tiles_across;                   // of an image
  int64_t inputs, outputs;                            // channels, in whole vectors
  int64_t partials;                                   // tasks of a group, each with its own sums
  int64_t images_plane, gradients_plane, sums_plane;  // elements of one place
  int64_t copy_elements;                              // of what a unit stands over

  Place place(int64_t unit) const { return {*this, unit, 1, 1, tiles_down, tiles_across}; }
  int64_t units(const Sizes& s) const { return s.n * down * across; }
  int64_t room_elements() const { return copy_elements + kPlaces * (images_plane + gradients_plane + sums_plane); }
};

template <class T>
[[gnu::noinline]] WeightFiltering weight_filtering_of(const Sizes& s) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  constexpr int64_t kElements = kWeightUnitElements * static_cast<int64_t>(sizeof(float) / 2) / (sizeof(T) / 2);
  WeightFiltering f;
  f.tiles_down = ceil_div(s.oh, 2);
  f.tiles_across = ceil_div(s.ow, 2);
  f.inputs = round_up(s.group_c, kWidth);
  f.outputs = round_up(s.group_o, kWidth);
  const int64_t most_tiles = most(32, least(kMaxUnitTiles, kElements / (kPlaces * (f.inputs + f.outputs))));
  f.across = ceil_div(f.tiles_across, most_tiles);
  f.cols = ceil_div(f.tiles_across, f.across);
  f.down = ceil_div(f.tiles_down, most(1, most_tiles / f.cols));
  f.rows = ceil_div(f.tiles_down, f.down);
  f.images_plane = f.rows * f.cols * f.inputs + kWidth;
  f.gradients_plane = f.rows * f.cols * f.outputs + kWidth;
  f.sums_plane = s.group_o * f.inputs + kWidth;
  const int64_t images = (2 * f.rows + 2) * (2 * f.cols + 2) * s.group_c;
  const int64_t gradients = 4 * f.rows * f.cols * s.group_o;
  f.copy_elements = round_up(most(images, gradients) + kWidth, kWidth);  // whole vectors are read
  const int64_t work = s.n * s.group_o * s.k * s.pixels;
  const int64_t sums = kMostFilterSums / (kPlaces * f.sums_plane);
  f.partials = most(1, least(least(least(kMaxFilterPartials, most(2, sums)), f.units(s)), work / (32 * kTaskWork)));
  return f;
}

template <class T>
[[gnu::noinline]] bool sums_filtered(const Sizes& s) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  if (!kFilters<T> || s.deep || !fits_filtering(s)) return false;
  const int64_t tiles = s.n * ceil_div(s.oh, 2) * ceil_div(s.ow, 2);
  const int64_t inputs = round_up(s.group_c, kWidth);
  const int64_t filtered = tiles * (18 * inputs * s.group_o + 80 * (inputs + s.group_o)) + 100 * s.group_o * s.group_c;
  return filtered < 10 * s.n * s.pixels * s.group_c * s.group_o;
}

// B' d B for the tiles of a unit, of which a row has `cols`: for each place the matrix (tiles, channels), rows `stride` apart. What is behind the last
// channel up to whole vectors is anything.
template <class T>
void lay_image_tiles(int64_t rows, int64_t cols, int64_t channels, int64_t stride, const T* copy, int64_t plane,
                     T* to) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  const int64_t line = (2 * cols + 2) * channels;
  for (int64_t r = 0; r < rows; ++r, copy += 2 * line, to += cols * stride) {
    for (int64_t c = 0; c < channels; c += L::kWidth) {
      // A column of four elements, filtered; two of them serve the next tile as well.
      const auto column = [&](const T* from) __attribute__((always_inline)) {
        const Vec a = L::load(from);
        const Vec b = L::load(from + line);
        const Vec d = L::load(from + 2 * line);
        const Vec e = L::load(from + 3 * line);
        return Line<T>{{a - d, b + d, d - b, b - e}};
      };
      const T* from = copy + c;
      T* at = to + c;
      Line<T> first = column(from);
      Line<T> second = column(from + channels);
      for (int64_t q = 0; q < cols; ++q, at += stride) {
        const Line<T> third = column(from += 2 * channels);
        const Line<T> fourth = column(from + channels);
        const int64_t distance = opaque(plane);
        T* p = at;
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i, p += 4 * distance) {
          L::store(p, first.at[i] - third.at[i]);
          L::store(p + distance, second.at[i] + third.at[i]);
          L::store(p + 2 * distance, third.at[i] - second.at[i]);
          L::store(p + 3 * distance, second.at[i] - fourth.at[i]);
        }
        first = third;
        second = fourth;
      }
    }
  }
}

// A y A' for the tiles of a unit, likewise.
template <class T>
void lay_gradient_tiles(int64_t rows, int64_t cols, int64_t channels, int64_t stride, const T* copy, int64_t plane,
                        T* to) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  const int64_t line = 2 * cols * channels;
  const auto spread = [](Vec a, Vec b)
                          __attribute__((always_inline)) { return Line<T>{{a, a + b, a - b, L::zero() - b}}; };
  for (int64_t r = 0; r < rows; ++r, copy += 2 * line) {
    for (int64_t q = 0; q < cols; ++q, to += stride) {
      const T* const from = copy + 2 * q * channels;
      for (int64_t c = 0; c < channels; c += L::kWidth) {
        const Line<T> left = spread(L::load(from + c), L::load(from + line + c));
        const Line<T> right = spread(L::load(from + channels + c), L::load(from + line + channels + c));
        const int64_t distance = opaque(plane);
        T* p = to + c;
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i, p += 4 * distance) {
          const Line<T> places = spread(left.at[i], right.at[i]);
          L::store(p, places.at[0]);
          L::store(p + distance, places.at[1]);
          L::store(p + 2 * distance, places.at[2]);
          L::store(p + 3 * distance, places.at[3]);
        }
      }
    }
  }
}

// What a task has to do: units of one group.
struct UnitRange {
  int64_t group, begin, end;
};
// Nine sums for one output and one input, over the same units, as they are defined.
template <class T>
[[gnu::noinline]] void sum_plainly(const Sizes& s, const WeightFiltering& f, const UnitRange& units, const Images<T>& x,
                                   const Images<T>& gradient, int64_t o, int64_t c, T* to) noexcept {
  using L = Lanes<T>;
  typename L::Vec sums[9];
  for (auto& sum : sums) sum = L::zero();
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const Place u = f.place(unit);
    const Region at = region_of(s, u);
    const T* const g = gradient.data + u.image * gradient.n_stride + (units.group * s.group_o + o) * gradient.c_stride;
    const T* const plane = x.data + u.image * x.n_stride + (units.group * s.group_c + c) * x.c_stride;
    for (int64_t row = at.row; row < at.row + at.rows; ++row) {
      for (int64_t q = 0; q < at.cols; q += L::kWidth) {
        const int64_t count = least(L::kWidth, at.cols - q);
        const int64_t col = at.col + q;
        const auto value = L::load_edge(g + row * s.ow + col, L::edge(static_cast<int>(count)));
        for (int64_t tap = 0; tap < 9; ++tap) {
          const int64_t line = row - s.pad_h + tap / 3;
          const int64_t left = col - s.pad_w + tap % 3;
          const Range range = Range::of(left, line < 0 || line >= s.h ? 0 : s.w, count);
          if (range.first >= range.last) continue;
          const auto met = L::load_range(plane + line * s.w + left, range.first, range.last);
          sums[tap] = L::fma(value, met, sums[tap]);
        }
      }
    }
  }
  for (int tap = 0; tap < 9; ++tap) to[tap] = L::sum(sums[tap]);
}

// G' m G, from places to (output, input, 3, 3).
template <class T>
void lay_weight_sums(const Sizes& s, const WeightFiltering& f, const UnitRange& units, const Images<T>& x,
                     const Images<T>& gradient, const T* sums, T* to) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  const Vec half = L::broadcast(T{0.5});
  const auto gather = [&](Vec a, Vec b, Vec c, Vec d, Vec(&out)[3]) __attribute__((always_inline)) {
    const Vec sum = (b + c) * half;
    out[0] = a + sum;
    out[1] = (b - c) * half;
    out[2] = sum + d;
  };
  for (int64_t o = 0; o < s.group_o; ++o) {
    for (int64_t c = 0; c < s.group_c; c += L::kWidth) {
      alignas(64) T taps[9][L::kWidth];
      Vec lines[4][3];
      const T* from = sums + o * f.inputs + c;
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i, from += 4 * f.sums_plane) {
        gather(L::load(from), L::load(from + f.sums_plane), L::load(from + 2 * f.sums_plane),
               L::load(from + 3 * f.sums_plane), lines[i]);
      }
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) {
        Vec column[3];
        gather(lines[0][j], lines[1][j], lines[2][j], lines[3][j], column);
#pragma GCC unroll 3
        for (int i = 0; i < 3; ++i) L::store(taps[3 * i + j], column[i]);
      }
      const int64_t count = least(L::kWidth, s.group_c - c);
      T* at = to + (o * s.group_c + c) * 9;
      for (int64_t lane = 0; lane < count; ++lane, at += 9) {
        T amiss{0};
        for (int tap = 0; tap < 9; ++tap) {
          at[tap] = taps[tap][lane];
          amiss = amiss + at[tap] * T{0};
        }
        if (amiss != T{0}) sum_plainly<T>(s, f, units, x, gradient, o, c + lane, at);
      }
    }
  }
}

// Sums (output, input, 3, 3) of a group over the units of one part.
template <class T>
void run_filtered_weight(const Sizes& s, const WeightFiltering& f, T* partials, T* room, const Images<T>& x,
                         const Images<T>& gradient, int64_t task) {
  constexpr int64_t kColumns = kPanelColumns<T>;
  T* const copy = room + task * f.room_elements();
  T* const images = copy + f.copy_elements;
  T* const gradients = images + kPlaces * f.images_plane;
  T* const sums = gradients + kPlaces * f.gradients_plane;
  const int64_t part = task % f.partials;
  const UnitRange units{task / f.partials, f.units(s) * part / f.partials, f.units(s) * (part + 1) / f.partials};
  MicroArgs<T> g;
  g.a_col_stride = f.outputs;
  g.b_row_stride = f.inputs;
  g.c_row_stride = f.inputs;
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const Place u = f.place(unit);
    const Region at = region_of(s, u);
    cross_slice<T>(x.data + u.image * x.n_stride + units.group * s.group_c * x.c_stride, x.c_stride, s.group_c, s.h,
                   s.w, at.row - s.pad_h, at.col - s.pad_w, 2 * u.rows + 2, 2 * u.cols + 2, copy);
    lay_image_tiles<T>(u.rows, u.cols, s.group_c, f.inputs, copy, f.images_plane, images);
    // Beyond the outputs there is nothing: planes end there.
    cross_slice<T>(gradient.data + u.image * gradient.n_stride + units.group * s.group_o * gradient.c_stride,
                   gradient.c_stride, s.group_o, s.oh, s.ow, at.row, at.col, 2 * u.rows, 2 * u.cols, copy);
    lay_gradient_tiles<T>(u.rows, u.cols, s.group_o, f.outputs, copy, f.gradients_plane, gradients);
    g.k = u.rows * u.cols;
    g.add = unit > units.begin;
    for (int place = 0; place < kPlaces; ++place) {
      for (int64_t c = 0; c < s.group_c; c += kColumns) {
        g.b = images + place * f.images_plane + c;
        each_strip<T>(s, [&](int64_t o, int height) __attribute__((always_inline)) {
          g.a = gradients + place * f.gradients_plane + o;
          g.c = sums + place * f.sums_plane + o * f.inputs + c;
          run_micro(g, height, static_cast<int>(least(kColumns, s.group_c - c)), true);
        });
      }
    }
  }
  lay_weight_sums<T>(s, f, units, x, gradient, sums, partials + (part * s.o + units.group * s.group_o) * s.k);
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
