// The 3x3 convolution with unit strides by minimal filtering, F(2x2, 3x3): 16 products where 36 multiply-adds would be, for 2x2 outputs and an
// input channel. A kernel with a depth is one of 3x3 for each of its slices, which count as input channels then.
//
// With d a tile of 4x4 elements of a channel and g a kernel, outputs are A'((G g G') * (B' d B))A, summed over channels before A is applied
// (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016). So there is, for each of the 16 places of a tile, a product of
// matrices (outputs, channels) by (channels, tiles), which the micro-kernel makes. Tiles of some rows of an image side by side are a unit; what
// belongs to it stays in L2. For kernel files (compiled per ISA).
// Invariant: units, and whether an image goes this way, follow from the sizes of one image, so that bits depend neither on threads nor on the batch. What is not finite, or would only not be so on the way, is computed as a plain sum. An output's error is in proportion to the sizes of all
// elements of its window times the largest weight of each kernel, not to its own products' sizes: float64 is left to plain sums therefore.
// Read next: bands.h, tiles.h.
#pragma once

#include "ops/conv/tiles.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int kPlaces = 16;                    // of a tile
constexpr int64_t kUnitElements = 176 * 1024;  // of transformed images and products, for L2
constexpr int64_t kFilterBlockK = 96;          // channels in one chain of sums
constexpr int64_t kMaxUnitTiles = 256;
constexpr int64_t kFilterGrain = 4096;                      // kernels worth a task
constexpr int64_t kMaxFilterTasks = 16;                     // each has its own room
constexpr int64_t kTileCopy = 4 * (4 * kMaxUnitTiles + 8);  // elements of a channel under a unit, and some

// Input channels of a group, those of a deep kernel for each of its slices.
GORGO_GEMM_INLINE int64_t inputs_of(const Sizes& s) { return s.group_c * s.kd; }

// How an image is cut.
struct Filtering {
  int64_t down, across;  // tiles of an image
  Tile tile;        // of a unit: its rows and columns are tiles, its copy is that of windows of 4x4 with strides of 2
  int64_t columns;  // room for a unit's tiles in a row of a matrix
  int64_t strips;   // of outputs
  int64_t tasks;
  int64_t images_elements, products_elements;  // of a task's room
  int64_t filter_plane;                        // elements of one place's weights in a group

  int64_t units(const Sizes& s) const { return s.n * s.groups * s.od * tile.down * tile.across; }
  int64_t room_elements() const { return images_elements + products_elements; }
};

// A row of a matrix has an odd number of vectors, so that rows do not meet in the same sets of the cache.
template <class T>
int64_t matrix_columns(int64_t tiles) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  return (ceil_div(tiles, kWidth) | 1) * kWidth;
}

template <class T>
[[gnu::noinline]] Filtering filtering_of(const Sizes& s) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  constexpr int64_t kRows = Lanes<T>::kRows;
  Filtering f;
  f.down = ceil_div(s.oh, 2);
  f.across = ceil_div(s.ow, 2);
  f.strips = ceil_div(s.group_o, kRows);
  const int64_t kept = least(s.group_o, kRows);  // products wait for their way back a strip at a time
  const int64_t room = kUnitElements / (kPlaces * (inputs_of(s) + kept)) * static_cast<int64_t>(sizeof(float)) /
                       static_cast<int64_t>(sizeof(T));
  const int64_t most_tiles = most(2 * kWidth, least(kMaxUnitTiles, room / kWidth * kWidth));
  const int64_t cols = ceil_div(f.across, ceil_div(f.across, most_tiles));
  // The rows that waste the fewest lanes and rows of tiles; of equals the most.
  int64_t rows = 1;
  int64_t least_cost = 0;
  for (int64_t r = 1; r <= least(f.down, most(1, most_tiles / cols)); ++r) {
    const int64_t vectors = ceil_div(f.down, r) * ceil_div(r * cols, kWidth);
    if (r == 1 || vectors <= least_cost) rows = r, least_cost = vectors;
  }
  rows = ceil_div(f.down, ceil_div(f.down, rows));
  f.tile = tile_with(kTileCopy, 1, cols, rows, f.across, 2, 3, 2, 1);
  f.tile.down = ceil_div(f.down, rows);
  f.columns = matrix_columns<T>(rows * cols);
  f.filter_plane = s.group_o * inputs_of(s) + 64 / static_cast<int64_t>(sizeof(T));
  f.images_elements = kPlaces * (inputs_of(s) * f.columns + kWidth);
  f.products_elements = kPlaces * (kept * f.columns + kWidth);
  const int64_t work = s.n * s.o * s.pixels * s.k;
  f.tasks = most(1, least(least(kMaxFilterTasks, f.units(s)), work / (2 * kTaskWork)));
  return f;
}

// The cut, room for the weights as they are transformed, and for what each task transforms.
template <class T>
struct FilterRoom {
  Filtering plan;
  T* filters;
  T* tasks;
};
template <class T>
FilterRoom<T> filter_room(Scratch& scratch, const Sizes& s) {
  const Filtering plan = filtering_of<T>(s);
  T* const filters = scratch.take<T>(s.groups * kPlaces * plan.filter_plane);
  return {plan, filters, scratch.take<T>(plan.tasks * plan.room_elements())};
}

template <class T>
constexpr bool kFilters = sizeof(T) == sizeof(float);

[[gnu::noinline]] bool fits_filtering(const Sizes& s) {
  return s.kh == 3 && s.kw == 3 && s.has_unit_strides() && s.step_h == 1 && s.step_w == 1 && s.n > 0 && s.pixels > 0 &&
         s.group_c >= 8 && s.group_o >= 8;
}

// Whether products saved pay for the ways there and back, in an image of this size with its weights.
template <class T>
[[gnu::noinline]] bool runs_filtered(const Sizes& s) {
  if (!kFilters<T> || !fits_filtering(s)) return false;
  const int64_t tiles = s.od * ceil_div(s.oh, 2) * ceil_div(s.ow, 2);
  const int64_t products = inputs_of(s) * s.group_o;
  const int64_t filtered = tiles * (17 * products + 60 * inputs_of(s) + 40 * s.group_o) + 200 * products;
  return filtered < 9 * s.pixels * products;
}

// ---- weights ----

// Weights of the convolution as it runs: those of a transposed one have inputs and outputs exchanged, and taps reversed.
template <class S>
struct Kernels {
  const S* at;
  int64_t group, output, input, slice, row, col;  // strides
  int64_t depth;
  Kernels(const KOperand& w, const Sizes& s, bool transposed) : at(w.as<const S>()), depth(s.kd) {
    slice = w.rank > 4 ? w.strides[2] : 0;
    row = w.strides[w.rank - 2];
    col = w.strides[w.rank - 1];
    output = w.strides[0];
    input = w.strides[1];
    group = (transposed ? s.group_c : s.group_o) * w.strides[0];
    if (!transposed) return;
    at += (depth - 1) * slice + 2 * row + 2 * col;
    slice = -slice;
    row = -row;
    col = -col;
    const int64_t other = input;
    input = output;
    output = other;
  }
  // The kernel of a group's output for one of the inputs, which are channels by slices.
  const S* of(int64_t in_group, int64_t o, int64_t c) const {
    return at + in_group * group + o * output + c / depth * input + c % depth * slice;
  }
};

// G' along one axis.
template <class V>
struct Filtered {
  V first, plus, minus, last;
};
template <class T, class V>
GORGO_GEMM_INLINE Filtered<V> filter(V a, V b, V c) {
  const V half = Lanes<T>::broadcast(T{0.5});
  const V ends = a + c;
  return {a, (ends + b) * half, (ends - b) * half, c};
}

// The transformed weights of a strip of outputs: for each place and input the strip's outputs side by side. Some inputs are gathered before the first
// is read as vectors, which so many stores would hold up.
template <class S, class T = typename Stored<S>::Compute>
[[gnu::noinline]] void lay_filters(const Sizes& s, const Filtering& f, const Kernels<S>& k, int64_t group, int64_t o,
                                   int64_t rows, T* filters) noexcept {
  using L = Lanes<T>;
  constexpr int64_t kInputs = 8;
  const int64_t all_inputs = inputs_of(s);
  T* const to = filters + group * kPlaces * f.filter_plane + o * all_inputs;
  alignas(64) T taps[kInputs][9][L::kWidth] = {};
  for (int64_t begin = 0; begin < all_inputs; begin += kInputs) {
    const int64_t inputs = least(kInputs, all_inputs - begin);
    for (int64_t r = 0; r < rows; r += L::kWidth) {
      const int64_t count = least(L::kWidth, rows - r);
      for (int64_t lane = 0; lane < count; ++lane) {
        for (int64_t c = 0; c < inputs; ++c) {
          const S* const kernel = k.of(group, o + r + lane, begin + c);
          for (int i = 0; i < 3; ++i) {
            for (int j = 0; j < 3; ++j) taps[c][3 * i + j][lane] = Stored<S>::value(kernel[i * k.row + j * k.col]);
          }
        }
      }
      const auto edge = L::edge(static_cast<int>(count));
      for (int64_t c = 0; c < inputs; ++c) {
        T* const first = to + (begin + c) * rows + r;
        const auto tap = [&](int i) __attribute__((always_inline)) { return L::load(taps[c][i]); };
        const auto left = filter<T>(tap(0), tap(3), tap(6));
        const auto middle = filter<T>(tap(1), tap(4), tap(7));
        const auto right = filter<T>(tap(2), tap(5), tap(8));
        const auto across = [&](int line, auto a, auto b, auto d) __attribute__((always_inline)) {
          const auto u = filter<T>(a, b, d);
          T* const line_at = first + 4 * line * f.filter_plane;
          L::store_edge(line_at, edge, u.first);
          L::store_edge(line_at + f.filter_plane, edge, u.plus);
          L::store_edge(line_at + 2 * f.filter_plane, edge, u.minus);
          L::store_edge(line_at + 3 * f.filter_plane, edge, u.last);
        };
        across(0, left.first, middle.first, right.first);
        across(1, left.plus, middle.plus, right.plus);
        across(2, left.minus, middle.minus, right.minus);
        across(3, left.last, middle.last, right.last);
      }
    }
  }
}

int64_t filter_tasks(const Sizes& s, const Filtering& f) {
  return most(1, least(s.groups * f.strips, s.o * inputs_of(s) / kFilterGrain));
}

template <class T>
void lay_filters_task(const Sizes& s, const FilterRoom<T>& room, const KOperand& weight, bool transposed,
                      int64_t task) {
  const Filtering& f = room.plan;
  const int64_t tasks = filter_tasks(s, f);
  const int64_t begin = s.groups * f.strips * task / tasks;
  const int64_t end = s.groups * f.strips * (task + 1) / tasks;
  as_stored<T>(weight.dtype, [&](auto element) {
    const Kernels<decltype(element)> kernels(weight, s, transposed);
    for (int64_t group = begin / f.strips; group * f.strips < end; ++group) {
      int64_t strip = group * f.strips;
      each_strip<T>(s, [&](int64_t o, int rows) {
        if (strip >= begin && strip < end) {
          lay_filters<decltype(element)>(s, f, kernels, group, o, rows, room.filters);
        }
        ++strip;
      });
    }
  });
}

// ---- images ----

// The same value, of which the compiler knows no more: what is some planes away is then found from a pointer and a distance, not from sixteen
// pointers that no registers are left for.
GORGO_GEMM_INLINE int64_t opaque(int64_t value) {
  asm("" : "+r"(value));  // NOLINT(hicpp-no-assembler)
  return value;
}

// The four vectors of a line of places.
template <class T>
struct Line {
  typename Lanes<T>::Vec at[4];
};
template <class T, class Edge>
GORGO_GEMM_INLINE Line<T> load_line(const T* p, int64_t plane, bool whole, Edge edge) {
  using L = Lanes<T>;
  const auto load = [&](int64_t distance) __attribute__((always_inline)) {
    return whole ? L::load(p + distance) : L::load_edge(p + distance, edge);
  };
  return {{load(0), load(plane), load(2 * plane), load(3 * plane)}};
}
template <class T, class Edge>
GORGO_GEMM_INLINE void store_line(T* p, int64_t plane, bool whole, Edge edge, const Line<T>& line) {
  using L = Lanes<T>;
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    if (whole) {
      L::store(p + j * plane, line.at[j]);
    } else {
      L::store_edge(p + j * plane, edge, line.at[j]);
    }
  }
}

// B' d B for the tiles of a unit in one channel: a matrix's row for each place.
template <class T>
void lay_tiles(const Filtering& f, int64_t rows, int64_t cols, const T* copy, int64_t plane, T* to) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  const int64_t line = f.tile.line();
  const int64_t run = f.tile.run;
  for (int64_t r = 0; r < rows; ++r, copy += 2 * line, to += cols) {
    for (int64_t q = 0; q < cols; q += L::kWidth) {
      Line<T> d[4];
      const T* from = copy + q;
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i, from += line) {
        d[i] = {{L::load(from), L::load(from + run), L::load(from + 1), L::load(from + run + 1)}};
      }
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const Vec above = d[0].at[j] - d[2].at[j];
        const Vec below = d[1].at[j] - d[3].at[j];
        const Vec sum = d[1].at[j] + d[2].at[j];
        const Vec difference = d[2].at[j] - d[1].at[j];
        d[0].at[j] = above, d[1].at[j] = sum, d[2].at[j] = difference, d[3].at[j] = below;
      }
      // The next row's first tiles are written after what reaches beyond this one; behind the last row lies another's.
      const int64_t lanes = r + 1 == rows ? least(L::kWidth, cols - q) : L::kWidth;
      const bool whole = !L::kEdgeIsFree && lanes == L::kWidth;
      const auto edge = L::edge(static_cast<int>(lanes));
      const int64_t distance = opaque(plane);
      T* at = to + q;
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i, at += 4 * distance) {
        const auto& v = d[i].at;
        store_line<T>(at, distance, whole, edge, {{v[0] - v[2], v[1] + v[2], v[2] - v[1], v[1] - v[3]}});
      }
    }
  }
}

// ---- outputs ----

// A unit's place in its image, in elements of the output.
struct Region {
  int64_t row, col, rows, cols;
};
// Of the tiles at a place.
GORGO_GEMM_INLINE Region region_of(const Sizes& s, const Place& tiles) {
  return {2 * tiles.row, 2 * tiles.col, least(2 * tiles.rows, s.oh - 2 * tiles.row),
          least(2 * tiles.cols, s.ow - 2 * tiles.col)};
}

// A' m A for one output channel, whose rows are `width` apart. Returns what is not zero where a result is not finite.
template <class T>
typename Lanes<T>::Vec lay_outputs(int64_t width, const Region& at, int64_t tile_cols, const T* products, int64_t plane,
                                   T bias, T* to, typename Lanes<T>::Vec amiss) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  using Z = Zip<T, L::kWidth>;
  const Vec added = L::broadcast(bias);
  const Vec zero = L::zero();
  const int64_t rows = at.rows;
  const int64_t cols = at.cols;
  for (int64_t row = 0; row < rows; row += 2, products += tile_cols, to += 2 * width) {
    for (int64_t q = 0; q < tile_cols; q += L::kWidth) {
      const int64_t lanes = least(L::kWidth, tile_cols - q);
      const bool whole = !L::kEdgeIsFree && lanes == L::kWidth;
      const auto inside = L::edge(static_cast<int>(lanes));
      const int64_t distance = opaque(plane);
      const T* from = products + q;
      const Line<T> first = load_line(from, distance, whole, inside);
      const Line<T> second = load_line(from += 4 * distance, distance, whole, inside);
      const Line<T> third = load_line(from += 4 * distance, distance, whole, inside);
      const Line<T> fourth = load_line(from += 4 * distance, distance, whole, inside);
      Vec m[2][4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        m[0][j] = first.at[j] + (second.at[j] + third.at[j]);
        m[1][j] = (second.at[j] - third.at[j]) - fourth.at[j];
      }
      const int64_t count = least(2 * L::kWidth, cols - 2 * q);
      const auto left = L::edge(static_cast<int>(least(L::kWidth, count)));
      const auto right = L::edge(static_cast<int>(most(0, count - L::kWidth)));
      T* line = to + 2 * q;
#pragma GCC unroll 2
      for (int a = 0; a < 2; ++a, line += width) {
        if (row + a == rows) break;
        const Vec even = m[a][0] + (m[a][1] + m[a][2]);
        const Vec odd = (m[a][1] - m[a][2]) - m[a][3];
        amiss = L::fma(even + odd, zero, amiss);
        L::store_edge(line, left, Z::low(even, odd) + added);
        L::store_edge(line + L::kWidth, right, Z::high(even, odd) + added);
      }
    }
  }
  return amiss;
}

// The slice of the image that one of the inputs is, for a slice of the output.
GORGO_GEMM_INLINE int64_t slice_of(const Sizes& s, int64_t slice, int64_t input) {
  return slice - s.pad_d + input % s.kd * s.step_d;
}

// A region of the output as plain sums: where numbers are not finite, or too large for the way through sums of theirs.
template <class S, class T = typename Stored<S>::Compute>
[[gnu::noinline]] void convolve_plainly(const Sizes& s, const Region& at, int64_t slice, const T* x, int64_t c_stride,
                                        const Kernels<S>& k, int64_t group, const T* bias, T* out) noexcept {
  using L = Lanes<T>;
  for (int64_t o = 0; o < s.group_o; ++o) {
    for (int64_t y = at.row; y < at.row + at.rows; ++y) {
      for (int64_t col = 0; col < at.cols; col += L::kWidth) {
        const int64_t count = least(L::kWidth, at.cols - col);
        auto sum = L::zero();
        for (int64_t c = 0; c < inputs_of(s); ++c) {
          const int64_t z = slice_of(s, slice, c);
          const S* const kernel = k.of(group, o, c);
          for (int64_t i = 0; i < 3; ++i) {
            const int64_t line = z < 0 || z >= s.d ? -1 : y - s.pad_h + i;
            for (int64_t j = 0; j < 3; ++j) {
              const int64_t left = at.col + col - s.pad_w + j;
              const Range met = Range::of(left, line < 0 || line >= s.h ? 0 : s.w, count);
              const T weight = Stored<S>::value(kernel[i * k.row + j * k.col]);
              // Zeros around the image are multiplied too, as everywhere.
              auto value = L::zero();
              if (met.first < met.last) {
                value = L::load_range(x + c / s.kd * c_stride + (z * s.h + line) * s.w + left, met.first, met.last);
              }
              sum = L::fma(L::broadcast(weight), value, sum);
            }
          }
        }
        if (bias != nullptr) sum = sum + L::broadcast(bias[o]);
        L::store_edge(out + o * s.pixels + y * s.ow + at.col + col, L::edge(static_cast<int>(count)), sum);
      }
    }
  }
}

// ---- a unit ----

// The products of the strip of outputs that begins at o.
template <class T>
void multiply_places(const Sizes& s, const Filtering& f, const T* filters, const T* images, int64_t images_plane,
                     T* products, int64_t products_plane, int64_t o, int rows, int64_t tiles) {
  constexpr int64_t kColumns = kPanelColumns<T>;
  const int64_t inputs = inputs_of(s);
  const BlocksOfK blocks = blocks_of_k(inputs, kFilterBlockK);
  MicroArgs<T> g;
  g.a_col_stride = rows;
  g.b_row_stride = f.columns;
  g.c_row_stride = f.columns;
  filters += o * inputs;
  for (int place = 0; place < kPlaces; ++place) {
    for (int64_t c = 0; c < inputs; c += blocks.size) {
      g.k = least(blocks.size, inputs - c);
      g.add = c > 0;
      g.a = filters + place * f.filter_plane + c * rows;
      for (int64_t col = 0; col < tiles; col += kColumns) {
        g.b = images + place * images_plane + c * f.columns + col;
        g.c = products + place * products_plane + col;
        run_micro(g, rows, static_cast<int>(least(kColumns, tiles - col)), true);
      }
    }
  }
}

template <class T>
void run_filtered(const Sizes& s, const FilterRoom<T>& room, const Images<T>& x, const KOperand& weight,
                  bool transposed, const T* bias, T* out, int64_t task) {
  using L = Lanes<T>;
  const Filtering& f = room.plan;
  alignas(64) T copy[kTileCopy + 2 * L::kWidth];
  T* const images = room.tasks + task * f.room_elements();
  T* const products = images + f.images_elements;
  const int64_t images_plane = f.images_elements / kPlaces;
  const int64_t products_plane = f.products_elements / kPlaces;
  const int64_t units = f.units(s);
  const int64_t end = units * (task + 1) / f.tasks;
  for (int64_t unit = units * task / f.tasks; unit < end; ++unit) {
    const Place place(f.tile, unit, s.od, s.groups, f.down, f.across);
    const int64_t group = place.group;
    const Region at = region_of(s, place);
    const T* const from = x.data + place.image * x.n_stride + group * s.group_c * x.c_stride;
    T* const to = out + (place.image * s.o + group * s.group_o) * s.pixels + place.slice * s.oh * s.ow;
    const T* const added = bias != nullptr ? bias + group * s.group_o : nullptr;
    for (int64_t c = 0; c < inputs_of(s); ++c) {
      const int64_t z = slice_of(s, place.slice, c);
      const T* const channel = from + c / s.kd * x.c_stride;
      copy_slice<T>(f.tile, z < 0 || z >= s.d ? nullptr : channel + z * s.h * s.w, s.h, s.w, at.row - s.pad_h,
                    at.col - s.pad_w, copy);
      lay_tiles<T>(f, place.rows, place.cols, copy, images_plane, images + c * f.columns);
    }
    const T* const filters = room.filters + group * kPlaces * f.filter_plane;
    auto amiss = L::zero();
    each_strip<T>(s, [&](int64_t o, int height) __attribute__((always_inline)) {
      multiply_places<T>(s, f, filters, images, images_plane, products, products_plane, o, height,
                         place.rows * place.cols);
      for (int64_t i = o; i < o + height; ++i) {
        amiss = lay_outputs<T>(s.ow, at, place.cols, products + (i - o) * f.columns, products_plane,
                               added != nullptr ? added[i] : T{0}, to + i * s.pixels + at.row * s.ow + at.col, amiss);
      }
    });
    if (L::sum(amiss) == T{0}) continue;
    as_stored<T>(weight.dtype, [&](auto element) {
      const Kernels<decltype(element)> kernels(weight, s, transposed);
      convolve_plainly<decltype(element)>(s, at, place.slice, from, x.c_stride, kernels, group, added, to);
    });
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
