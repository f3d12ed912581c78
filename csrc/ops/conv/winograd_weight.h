// Gradients by the weights by the transpose of minimal filtering: F(3x3, 2x2) for kernels of 3x3 with unit strides, and those of winograd.h for 5x5, and
// for 3x3 by strides of two.
//
// As winograd.h has A'((G g G') * (B' d B))A for a tile, the gradient by g is G'((A y A') * (B' d B))G, where y is that of the 2x2 outputs; it is
// summed over tiles before G is applied. So there is a product of matrices (outputs, tiles) by (tiles, channels) for each term (minimal.h).
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
  Filter filter;
  Figures figures;
  int64_t tiles_down, tiles_across;                   // of an image
  int64_t inputs, outputs;                            // channels, in whole vectors
  int64_t partials;                                   // tasks of a group, each with its own sums
  int64_t images_plane, gradients_plane, sums_plane;  // elements of one plane, place or sum
  int64_t copy_elements;                              // of what a unit stands over

  Place place(int64_t unit) const { return {*this, unit, 1, 1, tiles_down, tiles_across}; }
  int64_t units(const Sizes& s) const { return s.n * down * across; }
  int64_t room_elements() const {
    return copy_elements + figures.planes * images_plane + figures.places * gradients_plane + figures.sums * sums_plane;
  }
};

template <class T>
[[gnu::noinline]] WeightFiltering weight_filtering_of(Filter filter, const Sizes& s) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  constexpr int64_t kElements = kWeightUnitElements * static_cast<int64_t>(sizeof(float) / 2) / (sizeof(T) / 2);
  WeightFiltering f;
  f.filter = filter;
  f.figures = figures_of(filter);
  const Figures& g = f.figures;
  f.tiles_down = ceil_div(s.oh, 2);
  f.tiles_across = ceil_div(s.ow, 2);
  f.inputs = round_up(s.group_c, kWidth);
  f.outputs = round_up(s.group_o, kWidth);
  const int64_t most_tiles = most(32, least(kMaxUnitTiles, kElements / (g.planes * f.inputs + g.places * f.outputs)));
  f.across = ceil_div(f.tiles_across, most_tiles);
  f.cols = ceil_div(f.tiles_across, f.across);
  f.down = ceil_div(f.tiles_down, most(1, most_tiles / f.cols));
  f.rows = ceil_div(f.tiles_down, f.down);
  f.images_plane = (f.rows + g.shift) * f.cols * f.inputs + kWidth;
  f.gradients_plane = f.rows * f.cols * f.outputs + kWidth;
  f.sums_plane = s.group_o * f.inputs + kWidth;
  const int64_t images = lines_under(g, f.rows) * columns_under(g, f.cols) * s.group_c;
  const int64_t gradients = 4 * f.rows * f.cols * s.group_o;
  f.copy_elements = round_up(most(images, gradients) + kWidth, kWidth);  // whole vectors are read
  const int64_t work = s.n * s.group_o * s.k * s.pixels;
  const int64_t sums = kMostFilterSums / (g.sums * f.sums_plane);
  f.partials = most(1, least(least(least(kMaxFilterPartials, most(2, sums)), f.units(s)), work / (32 * kTaskWork)));
  return f;
}

// The filter of a gradient by the weights, if there is one and it pays. A product counts one for each tile, as in pays_filtered.
template <class T>
[[gnu::noinline]] Filter sums_filtered(const Sizes& s) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  const Filter filter = s.deep ? Filter::none : forward_filter<T>(s);
  if (filter == Filter::none || s.kh == 1) return Filter::none;
  const int64_t tiles = s.n * ceil_div(s.oh, 2) * ceil_div(s.ow, 2);
  const int64_t inputs = round_up(s.group_c, kWidth);
  const int64_t weights = s.group_o * s.group_c;
  if (filter == Filter::three) {
    const int64_t cost = tiles * (18 * inputs * s.group_o + 80 * (inputs + s.group_o)) + 100 * weights;
    return cost < 10 * s.n * s.pixels * weights ? filter : Filter::none;
  }
  const Figures g = figures_of(filter);
  const int64_t cost = tiles * (11 * g.terms * inputs * s.group_o / 10 + (9 * g.planes + 60) * inputs +
                                (9 * g.places + 40) * s.group_o) +
                       6 * g.sums * weights;
  return cost < s.kh * s.kw * s.n * s.pixels * weights ? filter : Filter::none;
}

// B' d B for the tiles of a unit, of which a row has `cols`: for each plane the matrix (tiles, channels), rows `stride` apart. What is behind the last
// channel up to whole vectors is anything.
template <class T, class Scheme>
void lay_image_tiles(int64_t rows, int64_t cols, int64_t channels, int64_t stride, const T* copy, int64_t plane,
                     T* to) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  using Down = typename Scheme::Down;
  using Across = typename Scheme::Across;
  constexpr int kShared = Across::kReach - Across::kStep;  // columns of elements that serve the next tile as well
  const int64_t line = columns_under(Scheme::figures(), cols) * channels;
  for (int64_t r = 0; r < rows; ++r, copy += Down::kStep * line, to += cols * stride) {
    for (int64_t c = 0; c < channels; c += L::kWidth) {
      Vec d[Across::kReach][Down::kPlanes];
      const T* from = copy + c;
      const auto column = [&](int j) GORGO_INLINE_LAMBDA {
        Vec elements[Down::kReach];
#pragma GCC unroll 8
        for (int i = 0; i < Down::kReach; ++i) elements[i] = L::load(from + i * line + j * channels);
        Down::image(elements, d[j]);
      };
      T* at = to + c;
#pragma GCC unroll 8
      for (int j = 0; j < kShared; ++j) column(j);
      for (int64_t q = 0; q < cols; ++q, at += stride, from += Across::kStep * channels) {
#pragma GCC unroll 8
        for (int j = kShared; j < Across::kReach; ++j) column(j);
        const int64_t distance = opaque(plane);
        T* p = at;
#pragma GCC unroll 8
        for (int i = 0; i < Down::kPlanes; ++i) {
          Vec elements[Across::kReach];
          Vec planes[Across::kPlanes];
#pragma GCC unroll 8
          for (int j = 0; j < Across::kReach; ++j) elements[j] = d[j][i];
          Across::image(elements, planes);
#pragma GCC unroll 8
          for (int j = 0; j < Across::kPlanes; ++j, p += distance) L::store(p, planes[j]);
        }
#pragma GCC unroll 8
        for (int j = 0; j < kShared; ++j) {
#pragma GCC unroll 8
          for (int i = 0; i < Down::kPlanes; ++i) d[j][i] = d[j + Across::kStep][i];
        }
      }
    }
  }
}

// A y A' for the tiles of a unit, likewise.
template <class T, class Scheme>
void lay_gradient_tiles(int64_t rows, int64_t cols, int64_t channels, int64_t stride, const T* copy, int64_t plane,
                        T* to) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  using Down = typename Scheme::Down;
  using Across = typename Scheme::Across;
  const int64_t line = 2 * cols * channels;
  for (int64_t r = 0; r < rows; ++r, copy += 2 * line) {
    for (int64_t q = 0; q < cols; ++q, to += stride) {
      const T* const from = copy + 2 * q * channels;
      for (int64_t c = 0; c < channels; c += L::kWidth) {
        Vec columns[2][Down::kPlaces];
#pragma GCC unroll 2
        for (int j = 0; j < 2; ++j) {
          const Vec y[2] = {L::load(from + j * channels + c), L::load(from + line + j * channels + c)};
          Down::gradients(y, columns[j]);
        }
        const int64_t distance = opaque(plane);
        T* p = to + c;
#pragma GCC unroll 8
        for (int i = 0; i < Down::kPlaces; ++i) {
          const Vec y[2] = {columns[0][i], columns[1][i]};
          Vec places[Across::kPlaces];
          Across::gradients(y, places);
#pragma GCC unroll 8
          for (int j = 0; j < Across::kPlaces; ++j, p += distance) L::store(p, places[j]);
        }
      }
    }
  }
}

// What a task has to do: units of one group.
struct UnitRange {
  int64_t group, begin, end;
};
constexpr int kMostFilterTaps = 25;

// The sums for one output and one input, over the same units, as they are defined.
template <class T>
[[gnu::noinline]] void sum_plainly(const Sizes& s, const WeightFiltering& f, const UnitRange& units, const Images<T>& x,
                                   const Images<T>& gradient, int64_t o, int64_t c, T* to) noexcept {
  using L = Lanes<T>;
  typename L::Vec sums[kMostFilterTaps];
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
        for (int64_t tap = 0; tap < s.taps; ++tap) {
          const int64_t line = row * s.stride_h - s.pad_h + tap / s.kw;
          const int64_t left = col * s.stride_w - s.pad_w + tap % s.kw;
          alignas(64) T met[L::kWidth] = {};
          for (int64_t i = 0; i < count && line >= 0 && line < s.h; ++i) {
            const int64_t element = left + i * s.stride_w;
            if (element >= 0 && element < s.w) met[i] = plane[line * s.w + element];
          }
          sums[tap] = L::fma(value, L::load(met), sums[tap]);
        }
      }
    }
  }
  for (int64_t tap = 0; tap < s.taps; ++tap) to[tap] = L::sum(sums[tap]);
}

// G' m G, from sums to (output, input, taps).
template <class T, class Scheme>
void lay_weight_sums(const Sizes& s, const WeightFiltering& f, const UnitRange& units, const Images<T>& x,
                     const Images<T>& gradient, const T* sums, T* to) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  using Down = typename Scheme::Down;
  using Across = typename Scheme::Across;
  constexpr int kTaps = Down::kTaps * Across::kTaps;
  constexpr int kDown = sum_count<Down>();
  constexpr int kAcross = sum_count<Across>();
  const Vec half = L::broadcast(T{0.5});
  for (int64_t o = 0; o < s.group_o; ++o) {
    for (int64_t c = 0; c < s.group_c; c += L::kWidth) {
      alignas(64) T taps[kTaps][L::kWidth];
      Vec lines[kDown][Across::kTaps];
      const T* from = sums + o * f.inputs + c;
#pragma GCC unroll 8
      for (int i = 0; i < kDown; ++i) {
        Vec row[kAcross];
#pragma GCC unroll 8
        for (int j = 0; j < kAcross; ++j, from += f.sums_plane) row[j] = L::load(from);
        Across::taps(row, half, lines[i]);
      }
#pragma GCC unroll 8
      for (int j = 0; j < Across::kTaps; ++j) {
        Vec column[kDown];
        Vec out[Down::kTaps];
#pragma GCC unroll 8
        for (int i = 0; i < kDown; ++i) column[i] = lines[i][j];
        Down::taps(column, half, out);
#pragma GCC unroll 8
        for (int i = 0; i < Down::kTaps; ++i) L::store(taps[i * Across::kTaps + j], out[i]);
      }
      const int64_t count = least(L::kWidth, s.group_c - c);
      T* at = to + (o * s.group_c + c) * kTaps;
      for (int64_t lane = 0; lane < count; ++lane, at += kTaps) {
        T amiss{0};
        for (int tap = 0; tap < kTaps; ++tap) {
          at[tap] = taps[tap][lane];
          amiss = amiss + at[tap] * T{0};
        }
        if (amiss != T{0}) sum_plainly<T>(s, f, units, x, gradient, o, c + lane, at);
      }
    }
  }
}

// Sums (output, input, taps) of a group over the units of one part.
template <class T, class Scheme>
void run_filtered_weight_by(const Sizes& s, const WeightFiltering& f, T* partials, T* room, const Images<T>& x,
                            const Images<T>& gradient, int64_t task) {
  constexpr int64_t kColumns = kPanelColumns<T>;
  const Figures& figures = f.figures;
  T* const copy = room + task * f.room_elements();
  T* const images = copy + f.copy_elements;
  T* const gradients = images + figures.planes * f.images_plane;
  T* const sums = gradients + figures.places * f.gradients_plane;
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
                   s.w, at.row * s.stride_h - s.pad_h, at.col * s.stride_w - s.pad_w, lines_under(figures, u.rows),
                   columns_under(figures, u.cols), copy);
    lay_image_tiles<T, Scheme>(u.rows + Scheme::Down::kShift, u.cols, s.group_c, f.inputs, copy, f.images_plane,
                               images);
    // Beyond the outputs there is nothing: planes end there.
    cross_slice<T>(gradient.data + u.image * gradient.n_stride + units.group * s.group_o * gradient.c_stride,
                   gradient.c_stride, s.group_o, s.oh, s.ow, at.row, at.col, 2 * u.rows, 2 * u.cols, copy);
    lay_gradient_tiles<T, Scheme>(u.rows, u.cols, s.group_o, f.outputs, copy, f.gradients_plane, gradients);
    g.k = u.rows * u.cols;
    bool begun[Scheme::kSums] = {};
    for (int i = 0; i < Scheme::kTermCount; ++i) {
      const Term& term = Scheme::kTable.at[i];
      const int sum = Scheme::kTable.sum[i];
      g.add = unit > units.begin || begun[sum];
      begun[sum] = true;
      for (int64_t c = 0; c < s.group_c; c += kColumns) {
        g.b = images + term.plane * f.images_plane + term.shift * u.cols * f.inputs + c;
        each_strip<T>(s, [&](int64_t o, int height) __attribute__((always_inline)) {
          g.a = gradients + term.place * f.gradients_plane + o;
          g.c = sums + sum * f.sums_plane + o * f.inputs + c;
          run_micro(g, height, static_cast<int>(least(kColumns, s.group_c - c)), true);
        });
      }
    }
  }
  lay_weight_sums<T, Scheme>(s, f, units, x, gradient, sums, partials + (part * s.o + units.group * s.group_o) * s.k);
}

template <class T>
void run_filtered_weight(const Sizes& s, const WeightFiltering& f, T* partials, T* room, const Images<T>& x,
                         const Images<T>& gradient, int64_t task) {
  using Run = decltype(&run_filtered_weight_by<T, Minimal<ThreeTaps, ThreeTaps>>);
  const auto run =
      with_forward_filter(f.filter, []<class Scheme>(Scheme) -> Run { return run_filtered_weight_by<T, Scheme>; });
  run(s, f, partials, room, x, gradient, task);
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
