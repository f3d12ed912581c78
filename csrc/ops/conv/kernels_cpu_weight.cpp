// The gradients of the convolutions by their weights on the CPU.
//
// Ways:
//  - groups of one input and few output channels: a vector of the gradient meets each tap's elements, where they lie (dots.h) or in the copy of a
//    tile.
//  - 3x3 and 5x5 kernels with unit strides, 3x3 by two, float32: products of filtered tiles (winograd_weight.h).
//  - kernels of one element over large images: dot products of their rows and the gradient's, where they lie.
//  - channels that fill vectors: products along pixels, on the micro-kernel (pixels.h).
//  - others: dot products along all pixels, of rows of windows, laid out for a part of the pixels at a time, and rows of the output's gradient.
// Tasks have sums of their own, which are added in order.
// Invariant: tasks and the order of every sum depend on shapes alone.
// Read next: dots.h, winograd_weight.h, pixels.h, windows.h, kernels_cpu_tiles.cpp.
#include "kernels/gemm/gemm.h"
#include "ops/conv/direct.h"
#include "ops/conv/dots.h"
#include "ops/conv/pixels.h"
#include "ops/conv/winograd_weight.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kMaxWindowColumns = 640;   // pixels side by side: rows of both factors fit L1
constexpr int64_t kRowElements = 48 * 1024;  // and a block of rows of windows fits L2
constexpr int64_t kMaxPartials = 16;
constexpr int64_t kMaxPixelPartials = 8;

// Tiles of dot products: as many rows of each factor as registers hold.
template <class T>
constexpr int kDotO = Lanes<T>::kRows == 14 ? 4 : 3;
template <class T>
constexpr int kDotK = Lanes<T>::kRows == 14 ? 6 : 4;

// Rows of elements side by side, `stride` apart.
template <class T>
struct Rows {
  const T* data;
  int64_t stride;
  Rows from(int64_t row) const { return {data + row * stride, stride}; }
};

// sums[i * sums_stride + j] += dot(a row i, b row j) over `length`. Meanwhile fetches two rows.
template <class T, int kI, int kJ>
void dot_tile(const Rows<T>& a, const Rows<T>& b, int64_t length, const T* one, const T* two, T* sums,
              int64_t sums_stride) {
  using L = Lanes<T>;
  constexpr int kWidth = L::kWidth;
  constexpr int kSquares = (kI * kJ + kWidth - 1) / kWidth;
  typename L::Vec acc[kSquares * kWidth];
#pragma GCC unroll 32
  for (int i = 0; i < kSquares * kWidth; ++i) acc[i] = L::zero();
  const auto add = [&](int64_t at, auto load) __attribute__((always_inline)) {
    typename L::Vec av[kI];
#pragma GCC unroll 8
    for (int i = 0; i < kI; ++i) av[i] = load(a.data + i * a.stride + at);
#pragma GCC unroll 8
    for (int j = 0; j < kJ; ++j) {
      const auto bv = load(b.data + j * b.stride + at);
#pragma GCC unroll 8
      for (int i = 0; i < kI; ++i) acc[i * kJ + j] = L::fma(av[i], bv, acc[i * kJ + j]);
    }
  };
  const int64_t whole = length / L::kWidth * L::kWidth;
  for (int64_t at = 0; at < whole; at += L::kWidth) {
    __builtin_prefetch(one + at, 0, 2);
    __builtin_prefetch(two + at, 0, 2);
    add(at, [](const T* from) __attribute__((always_inline)) { return L::load(from); });
  }
  if (whole < length) {
    const auto edge = L::edge(static_cast<int>(length - whole));
    add(whole, [&](const T* from) __attribute__((always_inline)) { return L::load_edge(from, edge); });
  }
  alignas(64) T dots[kSquares * kWidth];
#pragma GCC unroll 8
  for (int i = 0; i < kSquares; ++i) {
    sum_square<T, kWidth>(acc + i * kWidth);
    L::store(dots + i * kWidth, acc[i * kWidth]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kI; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kJ; ++j) sums[i * sums_stride + j] = sums[i * sums_stride + j] + dots[i * kJ + j];
  }
}

// sums (down, across) += the dot products of `down` rows of a and `across` rows of b. A tile fetches
// the rows ahead(2 i, j) and ahead(2 i + 1, j), i being its place among those of a column.
template <class T, class Ahead>
void dot_rows(const Rows<T>& a, int64_t down, const Rows<T>& b, int64_t across, int64_t length, T* sums,
              int64_t sums_stride, const Ahead& ahead) {
  for (int64_t j = 0; j < across; j += kDotK<T>) {
    for (int64_t i = 0; i < down; i += kDotO<T>) {
      const auto dot = for_count<kDotO<T>>(least(kDotO<T>, down - i), [&]<int kI>(std::integral_constant<int, kI>) {
        return for_count<kDotK<T>>(least(kDotK<T>, across - j),
                                   []<int kJ>(std::integral_constant<int, kJ>) { return dot_tile<T, kI, kJ>; });
      });
      dot(a.from(i), b.from(j), length, ahead(i / kDotO<T> * 2, j), ahead(i / kDotO<T> * 2 + 1, j),
          sums + i * sums_stride + j, sums_stride);
    }
  }
}

// How pixels are gathered into rows of windows: several small images side by side, or a part of a large one.
struct Units {
  int64_t images;     // per unit
  int64_t blocks;     // parts of an image
  int64_t block;      // pixels of a part
  int64_t columns;    // of one image in a unit, padded to whole vectors
  int64_t stride;     // elements of a row of windows
  int64_t rows;       // of windows laid at a time
  int64_t per_group;  // units of a group
  int64_t partials;   // tasks of a group, each with its own sums
};

// Into how many tasks so many units of a group are split.
int64_t partials_of(const Sizes& s, int64_t units, int64_t limit) {
  const int64_t work = s.n * s.group_o * s.k * s.pixels;
  return most(1, least(least(limit, units), work / (2 * kTaskWork)));
}

template <class T>
Units units_of(const Sizes& s) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  Units u;
  constexpr int64_t columns = kMaxWindowColumns / kWidth * kWidth;
  const int64_t padded = round_up(s.pixels, kWidth);
  u.blocks = ceil_div(s.pixels, columns);
  u.block = round_up(ceil_div(s.pixels, most(1, u.blocks)), kWidth);
  u.columns = least(padded, u.block);
  u.images = u.blocks > 1 ? 1 : most(1, least(s.n, columns / most(1, padded)));
  u.stride = u.images * u.columns;
  u.rows = least(round_up(s.k, kDotK<T>), most(1, kRowElements / most(1, u.stride) / kDotK<T>) * kDotK<T>);
  u.per_group = ceil_div(s.n, u.images) * u.blocks;
  u.partials = partials_of(s, u.per_group, kMaxPartials);
  return u;
}

template <class T>
struct WeightRoom {
  T* windows;  // for each task
  T* gradient;
  int64_t windows_elements, gradient_elements;
};

template <class T>
WeightRoom<T> weight_room(Scratch& scratch, const Sizes& s, const Units& u) {
  constexpr int64_t kSlack = 2 * Lanes<T>::kWidth;
  WeightRoom<T> r;
  r.windows_elements = round_up(u.rows * u.stride + kSlack, 16);
  r.gradient_elements = round_up(s.group_o * u.stride + kSlack, 16);
  r.windows = scratch.take<T>(u.partials * s.groups * r.windows_elements);
  r.gradient = scratch.take<T>(u.partials * s.groups * r.gradient_elements);
  return r;
}

template <class T>
void run_grad_weight(const Sizes& s, const Units& u, T* partials, const WeightRoom<T>& room, const Images<T>& x,
                     const Images<T>& gradient, int64_t task) {
  using L = Lanes<T>;
  Piece pieces[kMaxWindowColumns + kMaxWindowColumns / L::kWidth];
  T* const windows = room.windows + task * room.windows_elements;
  T* const rows = room.gradient + task * room.gradient_elements;
  const int64_t group = task / u.partials;
  const int64_t part = task % u.partials;
  T* const sums = partials + (part * s.o + group * s.group_o) * s.k;
  for (int64_t i = 0; i < s.group_o * s.k; ++i) sums[i] = T{0};
  const int64_t unit_end = u.per_group * (part + 1) / u.partials;
  for (int64_t unit = u.per_group * part / u.partials; unit < unit_end; ++unit) {
    const int64_t first = unit / u.blocks * u.images;
    const int64_t images = least(u.images, s.n - first);
    const int64_t pixel = unit % u.blocks * u.block;
    const int64_t pixels = least(u.block, s.pixels - pixel);
    const int64_t length = round_up(pixels, L::kWidth);
    int count = 0;
    for (int64_t i = 0; i < images; ++i) {
      const int64_t at = i * length;
      count = split_row<L::kWidth>(pieces, count, s, i * x.n_stride, pixel, pixel + pixels, at);
      if (pixels != length) pieces[count++] = {0, kOutside, 0, 0, static_cast<int32_t>(at + pixels), 0};
    }
    const int64_t stride = images * length;
    for (int64_t o = 0; o < s.group_o; ++o) {
      for (int64_t i = 0; i < images; ++i) {
        const T* from =
            gradient.data + (first + i) * gradient.n_stride + (group * s.group_o + o) * gradient.c_stride + pixel;
        T* to = rows + o * stride + i * length;
        for (int64_t j = 0; j < length; j += L::kWidth) {
          L::store(to + j, L::load_edge(from + j, L::edge(static_cast<int>(least(L::kWidth, pixels - j)))));
        }
      }
    }
    const T* const from = x.data + first * x.n_stride + group * s.group_c * x.c_stride;
    for (int64_t k_begin = 0; k_begin < s.k; k_begin += u.rows) {
      const int64_t k_end = least(s.k, k_begin + u.rows);
      lay_windows<T>(windows, stride, from, x.c_stride, s, k_begin, k_end, pieces, count);
      dot_rows<T>({rows, stride}, s.group_o, {windows, stride}, k_end - k_begin, stride, sums + k_begin, s.k,
                  [&](int64_t, int64_t) { return rows; });
    }
  }
}

// ---- kernels of one element ----

constexpr int64_t kLeastLine = 384;      // pixels that repay the sums across lanes
constexpr int64_t kLineElements = 1024;  // and a piece of a row: those of a tile fit L1

// Pieces of the images.
struct LinePlan {
  bool fits;
  int64_t pieces;  // of an image
  int64_t pixels;  // of a piece
  int64_t units;   // of a group
};
template <class T>
[[gnu::noinline]] LinePlan line_plan(const Sizes& s) {
  LinePlan p;
  p.fits = s.taps == 1 && s.has_unit_strides() && s.inside && s.od == s.d && s.oh == s.h && s.ow == s.w &&
           s.pixels >= kLeastLine;
  p.pieces = ceil_div(s.pixels, kLineElements);
  p.pixels = round_up(ceil_div(s.pixels, most(1, p.pieces)), Lanes<T>::kWidth);
  p.units = s.n * p.pieces;
  return p;
}
template <class T>
void run_lines(const Sizes& s, const LinePlan& p, const Images<T>& x, const Images<T>& gradient, int64_t group,
               int64_t begin, int64_t end, T* sums) {
  for (int64_t i = 0; i < s.group_o * s.k; ++i) sums[i] = T{0};
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t image = unit / p.pieces;
    const int64_t at = unit % p.pieces * p.pixels;
    const Rows<T> g{gradient.data + image * gradient.n_stride + group * s.group_o * gradient.c_stride + at,
                    gradient.c_stride};
    const Rows<T> lines{x.data + image * x.n_stride + group * s.group_c * x.c_stride + at, x.c_stride};
    // So many streams are more than the processor foresees: the first tiles down a column fetch the rows of the next column, the
    // others what the next unit meets.
    const bool last = unit + 1 == end;
    const T* const next = g.data + (unit % p.pieces < p.pieces - 1 ? p.pixels : gradient.n_stride - at);
    const T* const next_x = lines.data + (unit % p.pieces < p.pieces - 1 ? p.pixels : x.n_stride - at);
    const int64_t of_gradient = most(0, 2 * ceil_div(s.group_o, kDotO<T>) - kDotK<T>);
    const auto ahead = [&](int64_t i, int64_t j) {
      if (i < kDotK<T>) {
        const int64_t row = j + kDotK<T> + i;
        if (row < s.k) return lines.data + row * lines.stride;
        return last || row >= 2 * s.k ? lines.data : next_x + (row - s.k) * lines.stride;
      }
      const int64_t row = j / kDotK<T> * of_gradient + i - kDotK<T>;
      return last || row >= s.group_o ? g.data : next + row * g.stride;
    };
    dot_rows<T>(g, s.group_o, lines, s.k, least(p.pixels, s.pixels - at), sums, s.k, ahead);
  }
}

// ---- groups of one input channel ----

template <class T>
bool sums_directly(const Sizes& s) {
  return s.group_o >= 1 && s.group_o * s.taps <= kMaxDirectTaps && runs_directly<T>(s);
}

struct DirectPlan {
  Tile tile;
  int64_t units;     // tiles of a group
  int64_t partials;  // tasks of a block, each with its own sums
  int64_t blocks;    // of groups
};

template <class T>
DirectPlan direct_plan(const Sizes& s) {
  DirectPlan p;
  p.tile = direct_tile<T>(s);
  p.units = s.n * s.od * p.tile.down * p.tile.across;
  const int64_t work = s.n * s.group_o * s.taps * s.pixels;
  p.partials = partials_of(s, p.units, kMaxPartials);
  p.blocks = most(1, least(least(kMaxTasks, s.groups), s.groups * work / kTaskWork));
  return p;
}

constexpr int64_t kLaneBytes = 64 * 1024;  // sums of several groups, a vector each, so that memory is read in order
constexpr int kTapsAtOnce = 12;            // sums in registers, beside a vector of the gradient

// lanes[k] += each vector of g times what tap k meets, for kTaps taps and a tile of rows by cols.
template <class T, int kTaps>
void dot_taps(const T* copy, int64_t row_step, const int32_t* at, const T* g, int64_t g_stride, int64_t rows,
              int64_t cols, T* lanes) {
  using L = Lanes<T>;
  typename L::Vec acc[kTaps];
#pragma GCC unroll 16
  for (int k = 0; k < kTaps; ++k) acc[k] = L::load(lanes + k * L::kWidth);
  const int64_t whole = cols / L::kWidth * L::kWidth;
  const auto edge = L::edge(static_cast<int>(cols - whole));
  for (int64_t row = 0; row < rows; ++row, copy += row_step, g += g_stride) {
    for (int64_t col = 0; col < whole; col += L::kWidth) {
      const auto value = L::load(g + col);
#pragma GCC unroll 16
      for (int k = 0; k < kTaps; ++k) acc[k] = L::fma(value, L::load(copy + at[k] + col), acc[k]);
    }
    if (whole < cols) {
      const auto value = L::load_edge(g + whole, edge);
#pragma GCC unroll 16
      for (int k = 0; k < kTaps; ++k) acc[k] = L::fma(value, L::load_edge(copy + at[k] + whole, edge), acc[k]);
    }
  }
#pragma GCC unroll 16
  for (int k = 0; k < kTaps; ++k) L::store(lanes + k * L::kWidth, acc[k]);
}

template <class T>
void run_direct_weight(const Sizes& s, const DirectPlan& p, T* partials, const Images<T>& x, const Images<T>& gradient,
                       int64_t task) {
  using L = Lanes<T>;
  alignas(64) T copy[kTileElements + 2 * L::kWidth];
  alignas(64) T room[kLaneBytes / sizeof(T)];
  int32_t at[kMaxDirectTaps];
  const Tile& t = p.tile;
  taps_at(s, t, 0, s.taps, at);
  const bool in_place = dots_in_place(s);
  const DotStrips<T> strips = dot_strips_of<T>(s);
  const int64_t chunks = ceil_div(s.taps, kTapsAtOnce);
  const int64_t block = task / p.partials;
  const int64_t part = task % p.partials;
  const int64_t unit_begin = p.units * part / p.partials;
  const int64_t unit_end = p.units * (part + 1) / p.partials;
  const int64_t group_end = s.groups * (block + 1) / p.blocks;
  const auto image_at = [&](const Place& at_unit, int64_t group) {
    return x.data + at_unit.image * x.n_stride + group * x.c_stride;
  };
  const auto gradient_at = [&](const Place& at_unit, int64_t o) {
    return gradient.data + at_unit.image * gradient.n_stride + o * gradient.c_stride +
           (at_unit.slice * s.oh + at_unit.row) * s.ow + at_unit.col;
  };
  const int64_t sums_of_group = s.group_o * s.taps;
  const int64_t at_once = kLaneBytes / static_cast<int64_t>(sizeof(T)) / (sums_of_group * L::kWidth);
  for (int64_t first = s.groups * block / p.blocks; first < group_end; first += at_once) {
    const int64_t last = least(group_end, first + at_once);
    for (int64_t i = 0; i < (last - first) * sums_of_group * L::kWidth; ++i) room[i] = T{0};
    for (int64_t unit = unit_begin; unit < unit_end; ++unit) {
      const Place place(t, unit, s.od, 1, s.oh, s.ow);
      for (int64_t group = first; group < last; ++group) {
        const T* const channel = image_at(place, group);
        T* const lanes = room + (group - first) * sums_of_group * L::kWidth;
        if (!in_place) copy_tile<T>(s, t, channel, place.slice, place.row, place.col, copy);
        for (int64_t o = 0; o < s.group_o; ++o) {
          const T* const g = gradient_at(place, group * s.group_o + o);
          T* const to = lanes + o * s.taps * L::kWidth;
          if (in_place) {
            for (int64_t l = 0; l < s.kd; ++l) {
              const int64_t z = place.slice * s.stride_d - s.pad_d + l * s.step_d;
              if (z < 0 || z >= s.d) continue;
              strips({channel + z * s.h * s.w, s.h, s.w, place.row * s.stride_h - s.pad_h,
                      place.col * s.stride_w - s.pad_w, g, s.ow, place.rows, place.cols},
                     s.kh, to + l * s.kh * s.kw * L::kWidth);
            }
            continue;
          }
          for (int64_t chunk = 0; chunk < chunks; ++chunk) {
            const int64_t k = s.taps * chunk / chunks;
            const int64_t count = s.taps * (chunk + 1) / chunks - k;
            const auto dot = for_count<kTapsAtOnce>(
                count, []<int kTaps>(std::integral_constant<int, kTaps>) { return dot_taps<T, kTaps>; });
            dot(copy, s.stride_h * t.line(), at + k, g, s.ow, place.rows, place.cols, to + k * L::kWidth);
          }
        }
      }
    }
    T* const sums = partials + part * s.o * s.taps + first * sums_of_group;
    for (int64_t k = 0; k < (last - first) * sums_of_group; ++k) sums[k] = L::sum(L::load(room + k * L::kWidth));
  }
}

// Adds up `partials` sets of sums, `numel` apart, for the rows [begin, end) of k elements. Those that were made along pixels lie taps by `channels`;
// channels by taps is wanted.
template <class S>
[[gnu::noinline]] void add_up(typename Stored<S>::Compute* sums, int64_t numel, int64_t partials, int64_t begin,
                              int64_t end, int64_t k, int64_t channels, S* to) noexcept {
  for (int64_t part = 1; part < partials; ++part) {
    const auto* const more = sums + part * numel;
    for (int64_t i = begin * k; i < end * k; ++i) sums[i] = sums[i] + more[i];
  }
  const int64_t taps = k / channels;
  for (int64_t row = begin; row < end; ++row) {
    const auto* from = sums + row * k;
    for (int64_t tap = 0; tap < taps; ++tap, from += channels) {
      S* const line = to + row * k + tap;
      for (int64_t c = 0; c < channels; ++c) line[c * taps] = Stored<S>::round(from[c]);
    }
  }
}

template <class T>
struct GradWeight {
  enum class Way { direct, filtered, lines, pixels, windows };
  struct Setup {
    Sizes s;
    Frame<T> f;
    Way way;
    DirectPlan direct{};
    WeightFiltering filtering{};
    LinePlan lines{};
    PixelPlan pixels{};
    Units units{};
    int64_t partials;
    T* sums;            // a set of weights for each task of a group
    T* room = nullptr;  // of each task, for copies
    int64_t room_elements = 0;
    WeightRoom<T> windows{};
    [[gnu::noinline]] explicit Setup(const KernelArgs& args)
        : s(sizes_of(args.in[0], args.out[0], args.in[1], args.attrs_as<ConvAttrs>())),
          f(args, Dense::channels, Dense::channels),
          way(Way::direct) {
      if (sums_directly<T>(s)) {
        direct = direct_plan<T>(s);
        partials = direct.partials;
      } else if (const Filter filter = sums_filtered<T>(s); filter != Filter::none) {
        way = Way::filtered;
        filtering = weight_filtering_of<T>(filter, s);
        partials = filtering.partials;
        room_elements = filtering.room_elements();
      } else if (lines = line_plan<T>(s); lines.fits) {
        way = Way::lines;
        partials = partials_of(s, lines.units, kMaxPixelPartials);
      } else if (pixels = pixel_plan<T>(s); pixels.fits) {
        way = Way::pixels;
        partials = partials_of(s, pixels.units, kMaxPixelPartials);
        room_elements = round_up(round_up(pixels.copy, 16) + pixels.gradient, 16);
      } else {
        way = Way::windows;
        units = units_of<T>(s);
        partials = units.partials;
      }
      sums = f.scratch.template take<T>(partials * s.o * s.k);
      room = f.scratch.template take<T>(partials * s.groups * room_elements);
      if (way == Way::windows) windows = weight_room<T>(f.scratch, s, units);
    }
  };
  static size_t scratch(const KernelArgs& args) noexcept { return Setup(args).f.scratch.bytes(); }
  static int64_t prepare_tasks(const KernelArgs& args) noexcept { return Setup(args).f.copy_tasks(); }
  static void prepare(const KernelArgs& args, int64_t task) noexcept { Setup(args).f.copy(task); }
  static int64_t tasks(const KernelArgs& args) noexcept {
    const Setup setup(args);
    return setup.partials * (setup.way == Way::direct ? setup.direct.blocks : setup.s.groups);
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    const Sizes& s = setup.s;
    const Images<T> x = setup.f.first.images();
    const Images<T> g = setup.f.second.images();
    if constexpr (kFilters<T>) {
      if (setup.way == Way::filtered) {
        return run_filtered_weight<T>(s, setup.filtering, setup.sums, setup.room, x, g, task);
      }
    }
    if (setup.way == Way::direct) {
      run_direct_weight<T>(s, setup.direct, setup.sums, x, g, task);
    } else if (setup.way == Way::pixels || setup.way == Way::lines) {
      const int64_t group = task / setup.partials;
      const int64_t part = task % setup.partials;
      const int64_t units = setup.way == Way::pixels ? setup.pixels.units : setup.lines.units;
      const int64_t begin = units * part / setup.partials;
      const int64_t end = units * (part + 1) / setup.partials;
      T* const sums = setup.sums + (part * s.o + group * s.group_o) * s.k;
      if (setup.way == Way::lines) return run_lines<T>(s, setup.lines, x, g, group, begin, end, sums);
      run_pixels<T>(setup.pixels, x, g, group, begin, end, setup.room + task * setup.room_elements, sums);
    } else {
      run_grad_weight<T>(s, setup.units, setup.sums, setup.windows, x, g, task);
    }
  }
  static int64_t finish_tasks(const KernelArgs& args) noexcept {
    return least(args.out[0].shape[0], ceil_div(args.out[0].numel, kCopyElements));
  }
  static void finish(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    const Sizes& s = setup.s;
    const int64_t tasks = finish_tasks(args);
    const int64_t channels = setup.way == Way::pixels ? s.group_c : s.k;
    as_stored<T>(args.out[0].dtype, [&](auto element) {
      add_up(setup.sums, args.out[0].numel, setup.partials, s.o * task / tasks, s.o * (task + 1) / tasks, s.k, channels,
             args.out[0].as<decltype(element)>());
    });
  }
};

// T: what is computed in, S: the elements.
template <class T, class S>
void add_conv_weight(KernelSink& sink) {
  add_grad_weight<S>(sink, kernel_of<GradWeight<T>>());
}

}  // namespace

void fill_conv_weight(KernelSink& sink) {
  add_conv_weight<float, float>(sink);
  add_conv_weight<float, BFloat16>(sink);
  add_conv_weight<float, Float16>(sink);
  add_conv_weight<double, double>(sink);
}

}  // namespace gorgo::GORGO_ISA_NS
