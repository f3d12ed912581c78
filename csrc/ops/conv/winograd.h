// Convolutions by minimal filtering: F(2x2, 3x3) has 16 products where 36 multiply-adds would be, for 2x2 outputs and an input channel; 5x5 kernels
// have 49 for 100, 3x3 by strides of two 25 for 36, and transposed ones by two 36 for 64 (4x4) and 25 for 36 (3x3); kernels of three or five along the
// width alone 4 for 6 and 7 for 10. A kernel with a depth is one for each
// of its slices, which count as input channels then.
//
// With d a tile of a channel and g a kernel, outputs are A'((G g G') * (B' d B))A, summed over channels before A is applied (minimal.h). So there is, for
// each of the places of a tile, a product of matrices (outputs, terms by channels) by (terms by channels, tiles), which the micro-kernel makes. Tiles of
// some rows of an image side by side are a unit; what belongs to it stays in L2. For kernel files (compiled per ISA).
// Invariant: units, and whether an image goes this way, follow from the sizes of one image, so that bits depend neither on threads nor on the batch. What is not finite, or would only not be so on the way, is computed as a plain sum. An output's error is in proportion to the sizes of all
// elements of its window times the largest weight of each kernel, not to its own products' sizes: float64 is left to plain sums therefore.
// Read next: minimal.h, bands.h, tiles.h.
#pragma once

#include "kernels/coverage.h"
#include "ops/conv/minimal.h"
#include "ops/conv/tiles.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kUnitElements = 200 * 1024;  // of transformed images and products, for L2
constexpr int64_t kFilterBlockK = 96;          // channels in one chain of sums
constexpr int64_t kMaxUnitTiles = 256;
constexpr int64_t kFilterGrain = 4096;   // kernels worth a task
constexpr int64_t kMaxFilterTasks = 16;  // each has its own room
constexpr int64_t kTileCopy = 6 * 1024;  // elements of a channel under a unit

// Input channels of a group, those of a deep kernel for each of its slices.
GORGO_GEMM_INLINE int64_t inputs_of(const Sizes& s) { return s.group_c * s.kd; }

// ---- which filter ----

enum class Filter { none, three, five, three_by_two, three_along, five_along, four_back, three_back };

// f of the filter's own type: of those that have a transpose, and of all.
template <class F>
GORGO_GEMM_INLINE auto with_forward_filter(Filter filter, F&& f) {
  switch (filter) {
    case Filter::five:
      return f(Minimal<FiveTapsDown, FiveTapsAcross>{});
    case Filter::three_by_two:
      return f(Minimal<ThreeTapsByTwo, ThreeTapsByTwo>{});
    default:
      return f(Minimal<ThreeTaps, ThreeTaps>{});
  }
}
template <class F>
GORGO_GEMM_INLINE auto with_filter(Filter filter, F&& f) {
  switch (filter) {
    case Filter::three_along:
      return f(Minimal<OneTap, ThreeTaps>{});
    case Filter::five_along:
      return f(Minimal<OneTap, FiveTapsAcross>{});
    case Filter::four_back:
      return f(Minimal<FourTapsBack, FourTapsBack>{});
    case Filter::three_back:
      return f(Minimal<ThreeTapsBack, ThreeTapsBack>{});
    default:
      return with_forward_filter(filter, f);
  }
}
[[gnu::noinline]] Figures figures_of(Filter filter) {
  return with_filter(filter, [](auto scheme) { return decltype(scheme)::figures(); });
}
// Rows and columns of elements under so many of tiles.
GORGO_GEMM_INLINE int64_t lines_under(const Figures& g, int64_t rows) {
  return (rows - 1 + g.shift) * g.step_h + g.reach_h;
}
GORGO_GEMM_INLINE int64_t columns_under(const Figures& g, int64_t cols) { return (cols - 1) * g.step_w + g.reach_w; }
// Whether outputs are the images of the convolution whose kernels these are, by strides.
GORGO_GEMM_INLINE bool goes_back(Filter filter) { return filter == Filter::four_back || filter == Filter::three_back; }

// A filter and the convolution it computes, which has what goes in for images. Of one that goes back by strides the pads are where tiles begin.
struct Filtered {
  Filter filter = Filter::none;
  Sizes s;
};

bool has_channels_to_filter(const Sizes& s) { return s.n > 0 && s.pixels > 0 && s.group_c >= 8 && s.group_o >= 8; }

// ---- how an image is cut ----

// Bands of so many rows of tiles each; what is left is one more, or two.
struct Bands {
  int64_t rows, whole, left, count;
  int64_t begin(int64_t band) const {
    if (band <= whole) return band * rows;
    return whole * rows + (band == count ? left : ceil_div(left, 2));
  }
  int64_t most_rows() const { return most(whole > 0 ? rows : 0, begin(whole + 1) - begin(whole)); }
};

struct Filtering {
  Filter filter;
  Figures figures;
  int64_t down, across;  // tiles of an image
  Bands bands;
  Tile tile;        // of a unit, at most: its rows and columns are tiles, its copy has what those stand over
  int64_t columns;  // room for a unit's tiles in a row of a matrix
  int64_t strips;   // of outputs
  int64_t tasks;
  int64_t images_elements, products_elements, at_elements;  // of a task's room
  int64_t filters_elements;                                 // of a group
  int64_t place_pad;                                        // elements between two places' weights

  int64_t units(const Sizes& s) const { return s.n * s.groups * s.od * tile.down * tile.across; }
  int64_t room_elements() const { return images_elements + products_elements + at_elements; }
  // The tiles of a unit.
  Place place(const Sizes& s, int64_t unit) const {
    Place p(tile, unit, s.od, s.groups, down, across);
    const int64_t band = unit / tile.across % tile.down;
    p.row = bands.begin(band);
    p.rows = bands.begin(band + 1) - p.row;
    return p;
  }
};

// A row of a matrix has an odd number of vectors, so that rows do not meet in the same sets of the cache.
template <class T>
int64_t matrix_columns(int64_t tiles) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  return (ceil_div(tiles, kWidth) | 1) * kWidth;
}

// Those that waste the fewest lanes, of at most so many rows of `cols` tiles, and keep two threads waiting for each other as little as may be.
template <class T>
[[gnu::noinline]] Bands bands_of(int64_t down, int64_t cols, int64_t most_rows) {
  const auto vectors = [&](int64_t rows) { return ceil_div(rows * cols, Lanes<T>::kWidth); };
  Bands best{};
  int64_t least_cost = 0;
  for (int64_t rows = least(down, most_rows); 2 * rows >= least(down, most_rows); --rows) {
    for (int64_t whole = down / rows; whole >= most(0, down / rows - 1); --whole) {
      const int64_t left = down - whole * rows;
      for (int64_t parts = least(1, left); parts <= least(2, left); ++parts) {
        const Bands b{rows, whole, left, whole + parts};
        if (parts > 0 && ceil_div(left, parts) > most_rows) continue;
        // Whoever is free takes the next band.
        const int64_t first = parts > 0 ? vectors(ceil_div(left, parts)) : 0;
        const int64_t second = parts > 1 ? vectors(left / 2) : 0;
        const int64_t all = whole * vectors(rows) + first + second;
        const int64_t one = ceil_div(whole, 2) * vectors(rows);
        const int64_t other = whole / 2 * vectors(rows) + first;
        const int64_t slower = most(most(one, other), least(one, other) + second);
        const int64_t cost = 8 * all + (b.count > 1 ? 4 * slower : 2 * all) + b.count;
        if (best.count == 0 || cost < least_cost) best = b, least_cost = cost;
      }
      if (whole == 0) break;
    }
  }
  return best;
}

template <class T>
[[gnu::noinline]] Filtering filtering_of(const Filtered& filtered) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  constexpr int64_t kRows = Lanes<T>::kRows;
  const Sizes& s = filtered.s;
  Filtering f;
  f.filter = filtered.filter;
  f.figures = figures_of(f.filter);
  const Figures& g = f.figures;
  f.down = ceil_div(s.oh, g.outputs_h);
  f.across = ceil_div(s.ow, g.outputs_w);
  f.strips = ceil_div(s.group_o, kRows);
  const int64_t kept = least(s.group_o, kRows);  // products wait for their way back a strip at a time
  const int64_t room = kUnitElements / (g.planes * inputs_of(s) + g.places * kept) *
                       static_cast<int64_t>(sizeof(float)) / static_cast<int64_t>(sizeof(T));
  const int64_t most_tiles = most(2 * kWidth, least(kMaxUnitTiles, room / kWidth * kWidth));
  const int64_t cols = ceil_div(f.across, ceil_div(f.across, most_tiles));
  const auto tile = [&](int64_t rows) {
    return tile_with(kTileCopy, 1, cols, rows, f.across, g.step_h, g.reach_h - 1 + g.shift * g.step_h, g.step_w,
                     (g.reach_w - 1) / g.step_w);
  };
  const int64_t most_rows = least(tile(f.down).rows, most(1, most_tiles / cols));
  f.bands = bands_of<T>(f.down, cols, most_rows);
  const int64_t rows = f.bands.most_rows();
  f.tile = tile(rows);
  f.tile.down = f.bands.count;
  f.columns = matrix_columns<T>((rows + g.shift) * cols);
  f.place_pad = 64 / static_cast<int64_t>(sizeof(T));
  f.filters_elements = g.terms * s.group_o * inputs_of(s) + g.places * f.place_pad;
  f.images_elements = g.planes * (inputs_of(s) * f.columns + kWidth);
  f.products_elements = g.places * (kept * f.columns + kWidth);
  f.at_elements = g.most_terms_of_place > 1 ? round_up(g.terms * inputs_of(s), kWidth) : 0;
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
FilterRoom<T> filter_room(Scratch& scratch, const Filtered& filtered) {
  const Filtering plan = filtering_of<T>(filtered);
  T* const filters = scratch.take<T>(filtered.s.groups * plan.filters_elements);
  return {plan, filters, scratch.take<T>(plan.tasks * plan.room_elements())};
}

#if defined(GORGO_WITH_MINIMAL_FILTERS)
template <class T>
constexpr bool kFilters = sizeof(T) == sizeof(float);
#else
template <class>
constexpr bool kFilters = false;
#endif

// Whether products saved pay for the ways there and back, in an image of this size with its weights. A product counts one for each tile; constants
// are fitted to what was measured. Small images leave lanes empty.
template <class T>
[[gnu::noinline]] bool pays_filtered(const Filtered& filtered) {
  const Sizes& s = filtered.s;
  const Figures g = figures_of(filtered.filter);
  const int64_t tiles = s.od * ceil_div(s.oh, g.outputs_h) * ceil_div(s.ow, g.outputs_w);
  const int64_t inputs = inputs_of(s);
  const int64_t products = inputs * s.group_o;
  if (filtered.filter == Filter::three) {
    return tiles * (17 * products + 60 * inputs + 40 * s.group_o) + 200 * products < 9 * s.pixels * products;
  }
  const int64_t lanes = round_up(tiles, Lanes<T>::kWidth);
  const int64_t cost = lanes * (g.terms * products + (8 * g.planes + 30) * inputs + (9 * g.places + 20) * s.group_o) +
                       12 * g.terms * products;
  const int64_t stride = goes_back(filtered.filter) ? 2 : 1;
  const int64_t worth = s.kh == 1 ? 23 : 22;  // of the plain sum's products, which do not come for nothing either
  return 20 * cost * stride * stride < worth * s.kh * s.kw * s.pixels * products;
}

// The filter that suits a convolution's kernel.
template <class T>
[[gnu::noinline]] Filter forward_filter(const Sizes& s) {
  if (!kFilters<T> || !has_channels_to_filter(s) || s.stride_d != 1 || s.step_h != 1 || s.step_w != 1 ||
      s.stride_h != s.stride_w) {
    return Filter::none;
  }
  if (s.kh == 3 && s.kw == 3 && s.stride_h == 2) return Filter::three_by_two;
  if (s.stride_h != 1) return Filter::none;
  if (s.kh == 1) return s.kw == 3 ? Filter::three_along : s.kw == 5 ? Filter::five_along : Filter::none;
  if (s.kh != s.kw) return Filter::none;
  return s.kh == 3 ? Filter::three : s.kh == 5 ? Filter::five : Filter::none;
}

// The same if it pays.
template <class T>
[[gnu::noinline]] Filtered filtered_of(const Sizes& s) {
  const Filtered f{forward_filter<T>(s), s};
  return f.filter == Filter::none || pays_filtered<T>(f) ? f : Filtered{Filter::none, s};
}

// ---- weights ----

// Weights of the convolution as it runs: those of a transposed one have inputs and outputs exchanged, and taps reversed unless it goes by strides.
template <class S>
struct Kernels {
  const S* at;
  int64_t group, output, input, slice, row, col;  // strides
  int64_t depth;
  Kernels(const KOperand& w, const Sizes& s, bool transposed, bool reversed) : at(w.as<const S>()), depth(s.kd) {
    slice = w.rank > 4 ? w.strides[2] : 0;
    row = w.strides[w.rank - 2];
    col = w.strides[w.rank - 1];
    output = w.strides[0];
    input = w.strides[1];
    group = (transposed ? s.group_c : s.group_o) * w.strides[0];
    if (!transposed) return;
    const int64_t other = input;
    input = output;
    output = other;
    at += (depth - 1) * slice;
    slice = -slice;
    if (!reversed) return;
    at += (s.kh - 1) * row + (s.kw - 1) * col;
    row = -row;
    col = -col;
  }
  // The kernel of a group's output for one of the inputs, which are channels by slices.
  const S* of(int64_t in_group, int64_t o, int64_t c) const {
    return at + in_group * group + o * output + c / depth * input + c % depth * slice;
  }
};
template <class S>
Kernels<S> kernels_of(const KOperand& weight, const Sizes& s, Filter filter, bool transposed) {
  return {weight, s, transposed, !goes_back(filter)};
}

// Where the weights of a place begin, those of a group's strip of outputs at o.
template <class Scheme>
GORGO_GEMM_INLINE int64_t place_at(const Filtering& f, int place, int64_t all_outputs, int64_t inputs, int64_t o) {
  const int begin = Scheme::kTable.begin[place];
  const int terms = Scheme::kTable.begin[place + 1] - begin;
  return (begin * all_outputs + terms * o) * inputs + place * f.place_pad;
}

// The transformed weights of a strip of outputs: for each term of a place and input the strip's outputs side by side. Some inputs are gathered before
// the first is read as vectors, which so many stores would hold up.
template <class S, class Scheme, class T = typename Stored<S>::Compute>
[[gnu::noinline]] void lay_filters(const Sizes& s, const Filtering& f, const Kernels<S>& k, int64_t group, int64_t o,
                                   int64_t rows, T* filters) noexcept {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  using Down = typename Scheme::Down;
  using Across = typename Scheme::Across;
  constexpr int64_t kInputs = 8;
  const int64_t all_inputs = inputs_of(s);
  T* const to = filters + group * f.filters_elements;
  const Vec half = L::broadcast(T{0.5});
  alignas(64) T taps[kInputs][Down::kTaps * Across::kTaps][L::kWidth] = {};
  for (int64_t begin = 0; begin < all_inputs; begin += kInputs) {
    const int64_t inputs = least(kInputs, all_inputs - begin);
    for (int64_t r = 0; r < rows; r += L::kWidth) {
      const int64_t count = least(L::kWidth, rows - r);
      for (int64_t lane = 0; lane < count; ++lane) {
        for (int64_t c = 0; c < inputs; ++c) {
          const S* const kernel = k.of(group, o + r + lane, begin + c);
          for (int i = 0; i < Down::kTaps; ++i) {
            for (int j = 0; j < Across::kTaps; ++j) {
              taps[c][i * Across::kTaps + j][lane] = Stored<S>::value(kernel[i * k.row + j * k.col]);
            }
          }
        }
      }
      const auto edge = L::edge(static_cast<int>(count));
      for (int64_t c = 0; c < inputs; ++c) {
        Vec lines[Scheme::kTermsDown][Across::kTaps];
#pragma GCC unroll 8
        for (int j = 0; j < Across::kTaps; ++j) {
          Vec column[Down::kTaps];
          Vec terms[Scheme::kTermsDown];
#pragma GCC unroll 8
          for (int i = 0; i < Down::kTaps; ++i) column[i] = L::load(taps[c][i * Across::kTaps + j]);
          Down::weights(column, half, terms);
#pragma GCC unroll 8
          for (int i = 0; i < Scheme::kTermsDown; ++i) lines[i][j] = terms[i];
        }
#pragma GCC unroll 8
        for (int i = 0; i < Scheme::kTermsDown; ++i) {
          Vec terms[Scheme::kTermsAcross];
          Across::weights(lines[i], half, terms);
          for (int j = 0; j < Scheme::kTermsAcross; ++j) {
            const int term = Scheme::kTable.of[i][j];
            const int place = Scheme::kTable.at[term].place;
            T* const at = to + place_at<Scheme>(f, place, s.group_o, all_inputs, o);
            L::store_edge(at + ((term - Scheme::kTable.begin[place]) * all_inputs + begin + c) * rows + r, edge,
                          terms[j]);
          }
        }
      }
    }
  }
}

[[maybe_unused]] int64_t filter_tasks(const Sizes& s, const Filtering& f) {
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
    using S = decltype(element);
    const Kernels<S> kernels = kernels_of<S>(weight, s, f.filter, transposed);
    const auto lay = with_filter(
        f.filter, []<class Scheme>(Scheme) -> decltype(&lay_filters<S, Scheme>) { return lay_filters<S, Scheme>; });
    for (int64_t group = begin / f.strips; group * f.strips < end; ++group) {
      int64_t strip = group * f.strips;
      each_strip<T>(s, [&](int64_t o, int rows) {
        if (strip >= begin && strip < end) lay(s, f, kernels, group, o, rows, room.filters);
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

// B' d B for the tiles of a unit in one channel: a matrix's row for each plane.
template <class T, class Scheme>
void lay_tiles(const Filtering& f, int64_t rows, int64_t cols, const T* copy, int64_t plane, T* to) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  using Down = typename Scheme::Down;
  using Across = typename Scheme::Across;
  const int64_t line = f.tile.line();
  const int64_t run = f.tile.run;
  for (int64_t r = 0; r < rows; ++r, copy += Down::kStep * line, to += cols) {
    for (int64_t q = 0; q < cols; q += L::kWidth) {
      Vec d[Down::kPlanes][Across::kReach];
      const T* from = copy + q;
#pragma GCC unroll 8
      for (int j = 0; j < Across::kReach; ++j) {
        Vec column[Down::kReach];
        Vec planes[Down::kPlanes];
#pragma GCC unroll 8
        for (int i = 0; i < Down::kReach; ++i) {
          column[i] = L::load(from + i * line + j % Across::kStep * run + j / Across::kStep);
        }
        Down::image(column, planes);
#pragma GCC unroll 8
        for (int i = 0; i < Down::kPlanes; ++i) d[i][j] = planes[i];
      }
      // The next row's first tiles are written after what reaches beyond this one; behind the last row lies another's.
      const int64_t lanes = r + 1 == rows ? least(L::kWidth, cols - q) : L::kWidth;
      const bool whole = lanes == L::kWidth;
      const auto edge = L::edge(static_cast<int>(lanes));
      const int64_t distance = opaque(plane);
      T* at = to + q;
#pragma GCC unroll 8
      for (int i = 0; i < Down::kPlanes; ++i) {
        Vec planes[Across::kPlanes];
        Across::image(d[i], planes);
#pragma GCC unroll 8
        for (int j = 0; j < Across::kPlanes; ++j, at += distance) {
          if (whole) {
            L::store(at, planes[j]);
          } else {
            L::store_edge(at, edge, planes[j]);
          }
        }
      }
    }
  }
}

// ---- outputs ----

// A unit's place in its image, in elements of the output.
struct Region {
  int64_t row, col, rows, cols;
};
// Of the tiles at a place, of so many outputs each.
GORGO_GEMM_INLINE Region region_of(const Sizes& s, const Place& tiles, int64_t down = 2, int64_t across = 2) {
  return {down * tiles.row, across * tiles.col, least(down * tiles.rows, s.oh - down * tiles.row),
          least(across * tiles.cols, s.ow - across * tiles.col)};
}

// Vectors whose elements belong side by side, in place: v[i] becomes the i-th vector of them in a row.
template <class T, int kCount>
GORGO_GEMM_INLINE void weave(typename Lanes<T>::Vec (&v)[kCount]) {
  using Z = Zip<T, Lanes<T>::kWidth>;
  static_assert(kCount == 2 || kCount == 4);
  if constexpr (kCount == 2) {
    const auto low = Z::low(v[0], v[1]);
    v[1] = Z::high(v[0], v[1]);
    v[0] = low;
  } else {
    typename Lanes<T>::Vec even[2] = {v[0], v[2]};
    typename Lanes<T>::Vec odd[2] = {v[1], v[3]};
    weave<T, 2>(even);
    weave<T, 2>(odd);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      v[2 * i] = Z::low(even[i], odd[i]);
      v[2 * i + 1] = Z::high(even[i], odd[i]);
    }
  }
}

// A' m A of a vector of tiles: rows of their outputs, one vector behind the other. Returns what is not zero where a result is not finite.
template <class T, class Scheme>
GORGO_GEMM_INLINE typename Lanes<T>::Vec outputs_of(
    const T* products, int64_t plane, int lanes, typename Lanes<T>::Vec added,
    typename Lanes<T>::Vec (&y)[Scheme::Down::kOutputs][Scheme::Across::kOutputs], typename Lanes<T>::Vec amiss) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  using Down = typename Scheme::Down;
  using Across = typename Scheme::Across;
  const bool whole = !L::kEdgeIsFree && lanes == L::kWidth;
  const auto inside = L::edge(lanes);
  const int64_t distance = opaque(plane);
  Vec m[Down::kOutputs][Across::kPlaces];
#pragma GCC unroll 8
  for (int j = 0; j < Across::kPlaces; ++j) {
    Vec column[Down::kPlaces];
    Vec sums[Down::kOutputs];
    const T* place = products + j * distance;
#pragma GCC unroll 8
    for (int i = 0; i < Down::kPlaces; ++i, place += Across::kPlaces * distance) {
      column[i] = whole ? L::load(place) : L::load_edge(place, inside);
    }
    Down::outputs(column, sums);
#pragma GCC unroll 4
    for (int i = 0; i < Down::kOutputs; ++i) m[i][j] = sums[i];
  }
#pragma GCC unroll 4
  for (int a = 0; a < Down::kOutputs; ++a) {
    Across::outputs(m[a], y[a]);
    Vec sum = y[a][0] + y[a][1];
#pragma GCC unroll 4
    for (int b = 2; b < Across::kOutputs; ++b) sum = sum + y[a][b];
    amiss = L::fma(sum, L::zero(), amiss);
    weave<T, Across::kOutputs>(y[a]);
#pragma GCC unroll 4
    for (int b = 0; b < Across::kOutputs; ++b) y[a][b] = y[a][b] + added;
  }
  return amiss;
}

// `count` elements, in vectors.
template <class T>
GORGO_GEMM_INLINE void store_run(T* to, const T* from, int64_t count) {
  using L = Lanes<T>;
  for (int64_t i = 0; i < count; i += L::kWidth) {
    L::store_edge(to + i, L::edge(static_cast<int>(least(L::kWidth, count - i))), L::load(from + i));
  }
}

// The outputs of a unit's tiles in one channel, whose rows are `width` apart. Where a row of tiles would leave half of a vector empty, several are
// taken at a time and laid apart on their way out.
template <class T, class Scheme>
typename Lanes<T>::Vec lay_outputs(int64_t width, const Region& at, int64_t tile_cols, const T* products, int64_t plane,
                                   T bias, T* to, typename Lanes<T>::Vec amiss) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  constexpr int kDown = Scheme::Down::kOutputs;
  constexpr int kAcross = Scheme::Across::kOutputs;
  const Vec added = L::broadcast(bias);
  const int64_t rows = at.rows;
  const int64_t cols = at.cols;
  Vec y[kDown][kAcross];
  if (2 * tile_cols <= L::kWidth) {
    alignas(64) T lines[kDown][(kAcross + 1) * L::kWidth] = {};
    const int64_t tiles = ceil_div(rows, kDown) * tile_cols;
    for (int64_t q = 0; q < tiles; q += L::kWidth) {
      const int64_t lanes = least(L::kWidth, tiles - q);
      amiss = outputs_of<T, Scheme>(products + q, plane, static_cast<int>(lanes), added, y, amiss);
#pragma GCC unroll 4
      for (int a = 0; a < kDown; ++a) {
#pragma GCC unroll 4
        for (int b = 0; b < kAcross; ++b) L::store(lines[a] + b * L::kWidth, y[a][b]);
      }
      for (int64_t lane = 0; lane < lanes;) {
        const int64_t row = (q + lane) / tile_cols;
        const int64_t col = (q + lane) % tile_cols;
        const int64_t run = least(lanes - lane, tile_cols - col);
        T* line = to + kDown * row * width + kAcross * col;
        for (int64_t a = 0; a < least(kDown, rows - kDown * row); ++a, line += width) {
          store_run<T>(line, lines[a] + kAcross * lane, least(kAcross * run, cols - kAcross * col));
        }
        lane += run;
      }
    }
    return amiss;
  }
  for (int64_t row = 0; row < rows; row += kDown, products += tile_cols, to += kDown * width) {
    for (int64_t q = 0; q < tile_cols; q += L::kWidth) {
      amiss = outputs_of<T, Scheme>(products + q, plane, static_cast<int>(least(L::kWidth, tile_cols - q)), added, y,
                                    amiss);
      const int64_t count = cols - kAcross * q;
      T* line = to + kAcross * q;
#pragma GCC unroll 4
      for (int a = 0; a < kDown; ++a, line += width) {
        if (row + a == rows) break;
#pragma GCC unroll 4
        for (int b = 0; b < kAcross; ++b) {
          const auto edge = L::edge(static_cast<int>(most(0, least(L::kWidth, count - b * L::kWidth))));
          L::store_edge(line + b * L::kWidth, edge, y[a][b]);
        }
      }
    }
  }
  return amiss;
}

// The slice of the image that one of the inputs is, for a slice of the output.
GORGO_GEMM_INLINE int64_t slice_of(const Sizes& s, int64_t slice, int64_t input) {
  return slice - s.pad_d + input % s.kd * s.step_d;
}

// Along one axis, which elements a tap meets: output `at` meets at * every + shift, if it goes back by two only where that is even, at half of it.
struct Meets {
  int64_t every, shift;
  bool back;
  Meets(const Figures& g, bool goes_back, bool down, int64_t pad, int64_t tap)
      : every(goes_back ? 1 : (down ? g.step_h / g.outputs_h : g.step_w / g.outputs_w)),
        shift(goes_back ? 2 * ((down ? g.taps_h : g.taps_w) - 3 - pad) + 1 - tap : tap - pad),
        back(goes_back) {}
  bool skips(int64_t at) const { return back && (at + shift) % 2 != 0; }
  int64_t of(int64_t at) const { return back ? floor_half(at + shift) : at * every + shift; }
  static int64_t floor_half(int64_t value) { return value >= 0 ? value / 2 : -((1 - value) / 2); }
};

// A region of the output as plain sums: where numbers are not finite, or too large for the way through sums of theirs.
template <class S, class T = typename Stored<S>::Compute>
[[gnu::noinline]] void convolve_plainly(const Sizes& s, const Filtering& f, const Region& at, int64_t slice, const T* x,
                                        int64_t c_stride, const Kernels<S>& k, int64_t group, const T* bias,
                                        T* out) noexcept {
  using L = Lanes<T>;
  const bool back = goes_back(f.filter);
  const int64_t apart = back ? 2 : 1;  // outputs that meet the same taps
  for (int64_t o = 0; o < s.group_o; ++o) {
    for (int64_t y = at.row; y < at.row + at.rows; ++y) {
      for (int64_t first = 0; first < apart; ++first) {
        for (int64_t col = at.col + first; col < at.col + at.cols; col += L::kWidth * apart) {
          const int64_t count = least(L::kWidth, ceil_div(at.col + at.cols - col, apart));
          auto sum = L::zero();
          for (int64_t c = 0; c < inputs_of(s); ++c) {
            const int64_t z = slice_of(s, slice, c);
            const S* const kernel = k.of(group, o, c);
            const T* const plane = x + c / s.kd * c_stride + z * s.h * s.w;
            for (int64_t i = 0; i < s.kh; ++i) {
              const Meets down(f.figures, back, true, s.pad_h, i);
              if (down.skips(y)) continue;
              const int64_t line = z < 0 || z >= s.d ? -1 : down.of(y);
              const bool inside = line >= 0 && line < s.h;
              for (int64_t j = 0; j < s.kw; ++j) {
                const Meets across(f.figures, back, false, s.pad_w, j);
                if (across.skips(col)) continue;
                const int64_t left = across.of(col);
                // Zeros around the image are multiplied too, as everywhere.
                alignas(64) T met[L::kWidth] = {};
                for (int64_t q = 0; q < count && inside; ++q) {
                  const int64_t element = left + q * across.every;
                  if (element >= 0 && element < s.w) met[q] = plane[line * s.w + element];
                }
                const T weight = Stored<S>::value(kernel[i * k.row + j * k.col]);
                sum = L::fma(L::broadcast(weight), L::load(met), sum);
              }
            }
          }
          if (bias != nullptr) sum = sum + L::broadcast(bias[o]);
          alignas(64) T sums[L::kWidth];
          L::store(sums, sum);
          T* const to = out + o * s.pixels + y * s.ow + col;
          for (int64_t q = 0; q < count; ++q) to[q * apart] = sums[q];
        }
      }
    }
  }
}

// ---- a unit ----

// Where the rows of B lie, of each place after the other: those of a place are its terms', and of each term the inputs'.
template <class Scheme>
void terms_at(const Filtering& f, int64_t inputs, int64_t cols, int64_t plane, int32_t* at) {
  for (const Term& term : Scheme::kTable.at) {
    for (int64_t c = 0; c < inputs; ++c) {
      *at++ = static_cast<int32_t>(term.plane * plane + term.shift * cols + c * f.columns);
    }
  }
}

template <class T>
struct Matrices {
  const T* filters;  // a group's
  const T* images;
  const int32_t* at;
  T* products;
  int64_t images_plane, products_plane;
};

// The products of the strip of outputs that begins at o.
template <class T, class Scheme>
void multiply_places(const Sizes& s, const Filtering& f, const Matrices<T>& m, int64_t o, int rows, int64_t tiles) {
  constexpr int64_t kColumns = kPanelColumns<T>;
  constexpr auto& kTable = Scheme::kTable;
  const int64_t inputs = inputs_of(s);
  MicroArgs<T> g;
  g.a_col_stride = rows;
  g.b_row_stride = f.columns;
  g.c_row_stride = f.columns;
  for (int place = 0; place < Scheme::kPlaces; ++place) {
    const int first = kTable.begin[place];
    const int64_t all = (kTable.begin[place + 1] - first) * inputs;
    const T* const filters = m.filters + place_at<Scheme>(f, place, s.group_o, inputs, o);
    const T* const image = m.images + kTable.at[first].plane * m.images_plane;
    const BlocksOfK blocks = blocks_of_k(all, all > inputs ? 2 * kFilterBlockK : kFilterBlockK);
    for (int64_t k = 0; k < all; k += blocks.size) {
      g.k = least(blocks.size, all - k);
      g.add = k > 0;
      g.a = filters + k * rows;
      for (int64_t col = 0; col < tiles; col += kColumns) {
        g.c = m.products + place * m.products_plane + col;
        const auto columns = static_cast<int>(least(kColumns, tiles - col));
        if (all == inputs && kTable.at[first].shift == 0) {
          g.b = image + k * f.columns + col;
          run_micro(g, rows, columns, true);
        } else {
          g.b = m.images + col;
          g.b_at = m.at + first * inputs + k;
          run_micro_at(g, rows, columns, true);
        }
      }
    }
  }
}

template <class T, class Scheme>
void run_filtered_by(const Sizes& s, const FilterRoom<T>& room, const Images<T>& x, const KOperand& weight,
                     bool transposed, const T* bias, T* out, int64_t task) {
  using L = Lanes<T>;
  using Down = typename Scheme::Down;
  const Filtering& f = room.plan;
  alignas(64) T copy[kTileCopy + 2 * L::kWidth];
  T* const images = room.tasks + task * f.room_elements();
  T* const products = images + f.images_elements;
  auto* const at = reinterpret_cast<int32_t*>(products + f.products_elements);
  const int64_t images_plane = f.images_elements / Scheme::kPlanes;
  const int64_t units = f.units(s);
  const int64_t end = units * (task + 1) / f.tasks;
  for (int64_t unit = units * task / f.tasks; unit < end; ++unit) {
    const Place place = f.place(s, unit);
    const int64_t group = place.group;
    const Region region = region_of(s, place, Down::kOutputs, Scheme::Across::kOutputs);
    const T* const from = x.data + place.image * x.n_stride + group * s.group_c * x.c_stride;
    T* const to = out + (place.image * s.o + group * s.group_o) * s.pixels + place.slice * s.oh * s.ow;
    const T* const added = bias != nullptr ? bias + group * s.group_o : nullptr;
    for (int64_t c = 0; c < inputs_of(s); ++c) {
      const int64_t z = slice_of(s, place.slice, c);
      const T* const channel = from + c / s.kd * x.c_stride;
      copy_slice<T>(f.tile, z < 0 || z >= s.d ? nullptr : channel + z * s.h * s.w, s.h, s.w,
                    place.row * Down::kStep - s.pad_h, place.col * Scheme::Across::kStep - s.pad_w, copy);
      lay_tiles<T, Scheme>(f, place.rows + Down::kShift, place.cols, copy, images_plane, images + c * f.columns);
    }
    if (f.at_elements > 0) terms_at<Scheme>(f, inputs_of(s), place.cols, images_plane, at);
    const Matrices<T> m{room.filters + group * f.filters_elements, images, at, products, images_plane,
                        f.products_elements / Scheme::kPlaces};
    auto amiss = L::zero();
    each_strip<T>(s, [&](int64_t o, int height) __attribute__((always_inline)) {
      multiply_places<T, Scheme>(s, f, m, o, height, place.rows * place.cols);
      for (int64_t i = o; i < o + height; ++i) {
        amiss = lay_outputs<T, Scheme>(s.ow, region, place.cols, products + (i - o) * f.columns, m.products_plane,
                                       added != nullptr ? added[i] : T{0},
                                       to + i * s.pixels + region.row * s.ow + region.col, amiss);
      }
    });
    if (L::sum(amiss) == T{0}) continue;
    as_stored<T>(weight.dtype, [&](auto element) {
      const auto kernels = kernels_of<decltype(element)>(weight, s, f.filter, transposed);
      convolve_plainly<decltype(element)>(s, f, region, place.slice, from, x.c_stride, kernels, group, added, to);
    });
  }
}

template <class T>
void run_filtered(const Sizes& s, const FilterRoom<T>& room, const Images<T>& x, const KOperand& weight,
                  bool transposed, const T* bias, T* out, int64_t task) {
  const auto run = with_filter(room.plan.filter, []<class Scheme>(Scheme) -> decltype(&run_filtered_by<T, Scheme>) {
    return run_filtered_by<T, Scheme>;
  });
  run(s, room, x, weight, transposed, bias, out, task);
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
