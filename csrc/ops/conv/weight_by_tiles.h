// The gradients of the convolutions by their weights, on the tiles of AMX: planes of the images are A, read in place from each tap's place on,
// and the output's gradient is B, with a position as k; it is zero where a position is no window.
//
// The bands of several small images lie one behind the other. A tile of sums stays for a unit, and is then added to the task's own. For kernel files
// (compiled for AMX).
// Invariant: a sum is one of units in rising order, each of blocks of positions; units follow from shapes alone. A channel's row that is
// not finite, or that pieces cannot carry, is summed by multiply-adds: the zeros of other positions would spoil it.
// Read next: planes.h.
#pragma once

#include "kernels/gemm/pack.h"
#include "ops/conv/planes.h"
#include "ops/conv/winograd_weight.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kMostStackedPositions = 1024;
constexpr int64_t kMostWeightPartials = 8;
constexpr int64_t kTileElements32 = kStripRows * kTilePanel;

struct WeightTilePlan {
  Planes planes;
  int64_t images;           // of a unit
  int64_t units;            // of a group
  int64_t partials, parts;  // tasks of a group: shares of the units, each with sums of its own, by shares of the panels
  int64_t strips, panels;   // of a sheet's rows; of a group's outputs
  int64_t positions;        // of a unit, whole steps of them
  int64_t planes_bytes, extremes_bytes, flat_bytes, packed_bytes;

  int64_t tasks() const { return planes.s.groups * partials * parts; }
  int64_t room_bytes() const { return planes_bytes + extremes_bytes + flat_bytes + packed_bytes; }
  // Elements of a set of sums, all groups', tile by tile; and where a tile lies.
  int64_t sums_elements() const { return planes.s.groups * planes.runs * strips * panels * kTileElements32; }
  int64_t sums_at(int64_t group, int64_t panel, int64_t run, int64_t strip) const {
    return (((group * panels + panel) * planes.runs + run) * strips + strip) * kTileElements32;
  }
};

template <class S>
[[gnu::noinline]] WeightTilePlan weight_tile_plan_of(const Sizes& s) {
  WeightTilePlan t;
  t.planes = planes_of(s, false, kPiecesOf<S>);
  Planes& p = t.planes;
  const int64_t of_image = most(1, p.lines * p.width);
  const int64_t bytes_of_position = most(1, p.sheets * p.padded_rows * 2 * kPiecesOf<S>);
  t.images = p.down * p.across > 1
                 ? 1
                 : most(1, least(s.n, least(kMostStackedPositions, kPlaneBytes / bytes_of_position) / of_image));
  set_length(p, false, kPiecesOf<S>, t.images);
  t.units = ceil_div(s.n, t.images) * s.od * p.down * p.across;
  t.strips = ceil_div(p.rows_of_sheet, kStripRows);
  t.panels = ceil_div(s.group_o, kTilePanel);
  t.positions = round_up((t.images - 1) * of_image + p.positions(p.rows, p.cols), kStepK);
  const int64_t work = s.n * s.o * s.k * s.pixels;
  const int64_t wanted = most(1, ceil_div(least(kMostTileTasks, work / kTileTaskWork), s.groups));
  t.partials = most(1, least(least(kMostWeightPartials, t.units), wanted));
  t.parts = most(1, least(t.panels, wanted / t.partials));
  t.planes_bytes = p.bytes(false);
  t.extremes_bytes = round_up(p.sheets * p.padded_rows * static_cast<int64_t>(sizeof(Extremes)), 64);
  t.flat_bytes = kTilePanel * t.positions * 4;
  t.packed_bytes = t.positions / kStepK * kPiecesOf<S> * kStepBytes;
  return t;
}

// An estimate, for a group of one image.
template <class S>
[[gnu::noinline]] bool sums_by_tiles(const Sizes& s) {
  constexpr int64_t kOfAdding = 16;  // a unit's sum to the task's
  if (s.n == 0 || s.k < kPiecesFrom || s.pixels == 0) return false;
  const WeightTilePlan t = weight_tile_plan_of<S>(s);
  const Planes& p = t.planes;
  if (!p.fits) return false;
  const int64_t tiles = p.runs * round_up(p.rows_of_sheet, kTileHeight) * round_up(s.group_o, kTileWords);
  const int64_t products = kTileTime<S> * tiles * (t.positions / kStepK);
  const int64_t laid = t.images * p.sheets * p.rows_of_sheet * p.lines * p.width + s.group_o * t.positions;
  const int64_t of_unit = products + kLayTime<S> * laid + kOfAdding * tiles;
  return s.od * p.down * p.across * of_unit < t.images * time_otherwise(s, sums_filtered<float>(s));
}

// Zeros behind what has been laid into rows of single elements, from a position on.
[[gnu::noinline]] void clear_behind(const Planes& p, int pieces, int64_t position, unsigned char* to) {
  for (int64_t row = 0; row < p.stored_rows(false); ++row) {
    for (int piece = 0; piece < pieces; ++piece) {
      unsigned char* const at = to + row * p.row_stride + piece * p.piece_stride;
      std::memset(at + position * 2, 0, static_cast<size_t>((p.length - position) * 2));
    }
  }
}

// Rows of a strip of a sheet that are no affair of tiles, over a unit's positions: `flat` has the gradient's, `positions` from row to row.
template <class X>
__attribute__((noinline)) void multiply_add_positions(const WeightTilePlan& t, const Images<X>& x, const Place& place,
                                                      int64_t images, const Planes::Run& run, int64_t strip, int rows,
                                                      uint32_t which, const float* flat, int columns, float* sums) {
  constexpr int kRows = Lanes<float>::kRows;
  alignas(64) float gradient[kMaxBlockK * kTilePanel];
  alignas(64) float windows[kRows * kMaxBlockK];
  const Planes& p = t.planes;
  const Sizes& s = p.s;
  const int64_t across_sheets = p.folds ? 1 : p.across_taps.sheets;
  const int64_t z = place.slice * s.stride_d - s.pad_d + run.sheet / across_sheets / p.down_taps.sheets * s.step_d;
  const int64_t down = run.shift / p.width;
  const int64_t across = run.shift % p.width;
  const int64_t top =
      (place.row + down) * s.stride_h - s.pad_h + p.down_taps.remainder(run.sheet / across_sheets % p.down_taps.sheets);
  const int64_t left = (place.col + across) * s.stride_w - s.pad_w;
  // Of the image's element that a row meets at a position; zero where that is no window.
  const auto value = [&](int64_t row, int64_t position) {
    const int64_t image = position / (p.lines * p.width);
    const int64_t line = position / p.width % p.lines;
    const int64_t col = position % p.width;
    if (image >= images || line >= place.rows || col >= place.cols || z < 0 || z >= s.d) return 0.0F;
    const int64_t y = top + line * s.stride_h;
    const int64_t at = left + col * s.stride_w +
                       (p.folds ? p.tap_of(row) * s.step_w : p.across_taps.remainder(run.sheet % across_sheets));
    if (y < 0 || y >= s.h || at < 0 || at >= s.w) return 0.0F;
    return Stored<X>::value(x.data[image * x.n_stride + p.channel(row) * x.c_stride + (z * s.h + y) * s.w + at]);
  };
  MicroArgs<float> g;
  g.a = windows;
  g.a_row_stride = kMaxBlockK;
  g.a_col_stride = 1;
  g.b = gradient;
  g.b_row_stride = kTilePanel;
  g.c_row_stride = kTilePanel;
  for (int64_t k = 0; k < t.positions; k += kMaxBlockK) {
    g.k = least(kMaxBlockK, t.positions - k);
    g.add = k > 0;
    pack_panel<float>(gradient, flat + k, 1, t.positions, g.k, columns);
    each_run_of_rows(which, rows, [&](int row, int height) __attribute__((always_inline)) {
      for (int64_t i = 0; i < height; ++i) {
        for (int64_t at = 0; at < g.k; ++at) windows[i * kMaxBlockK + at] = value(strip * kStripRows + row + i, k + at);
      }
      g.c = sums + row * kTilePanel;
      run_micro(g, height, columns, false);
    });
  }
}

template <class S, class X, class G, int kPieces>
void run_weight_units(const WeightTilePlan& t, const Images<X>& x, const Images<G>& gradient, float* sums,
                      unsigned char* room, int64_t task) {
  const Planes& p = t.planes;
  const Sizes& s = p.s;
  constexpr bool kSplits = kPiecesOf<S> > 1;
  constexpr uint32_t kNotFinite = 0x7f800000;
  alignas(64) float of_unit[kTileElements32];
  alignas(64) float part[kTileElements32];
  unsigned char* const planes = room;
  PlaneSizes sizes;
  sizes.rows = reinterpret_cast<Extremes*>(room + t.planes_bytes);
  auto* const flat = reinterpret_cast<float*>(room + t.planes_bytes + t.extremes_bytes);
  unsigned char* const packed = room + t.planes_bytes + t.extremes_bytes + t.flat_bytes;
  const int64_t panel_begin = t.panels * (task % t.parts) / t.parts;
  const int64_t panel_end = t.panels * (task % t.parts + 1) / t.parts;
  const int64_t share = task / t.parts % t.partials;
  const int64_t group = task / t.parts / t.partials;
  const int64_t unit_begin = t.units * share / t.partials;
  const int64_t unit_end = t.units * (share + 1) / t.partials;
  float* const own = sums + share * t.sums_elements();
  const int64_t of_image = p.lines * p.width;
  Tiles tiles;
  for (int64_t unit = unit_begin; unit < unit_end; ++unit) {
    const Place place(p, unit, s.od, 1, s.oh, s.ow);
    const int64_t image = place.image * t.images;
    const int64_t images = least(t.images, s.n - image);
    const Images<X> here{x.data + image * x.n_stride + group * s.group_c * x.c_stride, x.n_stride, x.c_stride};
    for (int64_t row = 0; row < p.sheets * p.padded_rows; ++row) sizes.rows[row] = Extremes{};
    for (int64_t i = 0; i < images; ++i) {
      lay_planes<X, kPieces, false>(p, here.data + i * x.n_stride, x.c_stride, place, planes + i * of_image * 2, sizes);
    }
    clear_behind(p, kPieces, images * of_image, planes);
    for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
      const int64_t o = panel * kTilePanel;
      const auto columns = static_cast<int>(least(kTilePanel, s.group_o - o));
      std::memset(flat, 0, static_cast<size_t>(t.flat_bytes));
      for (int64_t column = 0; column < columns; ++column) {
        for (int64_t i = 0; i < images; ++i) {
          const G* from = gradient.data + (image + i) * gradient.n_stride +
                          (group * s.group_o + o + column) * gradient.c_stride +
                          (place.slice * s.oh + place.row) * s.ow + place.col;
          float* to = flat + column * t.positions + i * of_image;
          for (int64_t row = 0; row < place.rows; ++row, from += s.ow, to += p.width) {
            for (int64_t col = 0; col < place.cols; ++col) to[col] = Stored<G>::value(from[col]);
          }
        }
      }
      LaneSizes of_columns[kTilePanel];
      for (int64_t step = 0; step < t.positions / kStepK; ++step) {
        split_columns<kPieces>(packed + step * kPieces * kStepBytes, flat + step * kStepK, t.positions, columns,
                               of_columns);
      }
      for (int column = 1; column < columns; ++column) of_columns[0].join(of_columns[column]);
      const Extremes of_panel = of_columns[0].of_row();
      for (int64_t index = 0; index < p.runs; ++index) {
        const Planes::Run run = p.run(index);
        for (int64_t strip = 0; strip < t.strips; ++strip) {
          const auto rows = static_cast<int>(least(kStripRows, p.rows_of_sheet - strip * kStripRows));
          const int64_t first_row = run.sheet * p.padded_rows + strip * kStripRows;
          uint32_t others = 0;
          for (int row = 0; row < rows; ++row) {
            const Extremes& of_row = sizes.rows[first_row + row];
            const bool fits = kSplits ? stays_finite(of_row, of_panel) && stays_normal(of_row, of_panel)
                                      : of_row.greatest < kNotFinite;
            others |= uint32_t{!fits} << row;
          }
          const uint32_t every = ~uint32_t{0} >> (kStripRows - rows);
          const PlaneStrip a{planes + first_row * p.row_stride + run.shift * 2, p.row_stride, p.piece_stride};
          const int64_t steps = t.positions / kStepK;
          for (int64_t step = 0; others != every && step < steps; step += kBlockSteps) {
            sum_tiles_of<TileProduct::bfloat16, kPieces>(
                tiles, rows, columns, PlaneStrip{a.at + step * kTileRowBytes, a.row_stride, a.piece_stride},
                TilePanel{packed + step * kPieces * kStepBytes, kPieces * kStepBytes}, least(kBlockSteps, steps - step),
                TileSums{step == 0 ? of_unit : part}, [](int64_t) {});
            if (step == 0) continue;
            for (int64_t at = 0; at < rows * kTilePanel; ++at) of_unit[at] = of_unit[at] + part[at];
          }
          if (others != 0) {
            multiply_add_positions<X>(t, here, place, images, run, strip, rows, others, flat, columns, of_unit);
          }
          float* const to = own + t.sums_at(group, panel, index, strip);
          const bool adds = unit > unit_begin;
          for (int64_t at = 0; at < rows * kTilePanel; ++at) to[at] = adds ? to[at] + of_unit[at] : of_unit[at];
        }
      }
    }
  }
}

// Adds up the sets of sums of a panel of outputs in order, and stores them as weights lie.
template <class S>
void join_weight_sums(const WeightTilePlan& t, const float* sums, int64_t index, S* out) {
  const Planes& p = t.planes;
  const Sizes& s = p.s;
  const int64_t group = index / t.panels;
  const int64_t panel = index % t.panels;
  const int64_t columns = least(kTilePanel, s.group_o - panel * kTilePanel);
  S* const to = out + (group * s.group_o + panel * kTilePanel) * s.k;
  for (int64_t run = 0; run < p.runs; ++run) {
    for (int64_t row = 0; row < p.rows_of_sheet; ++row) {
      const int64_t at = t.sums_at(group, panel, run, row / kStripRows) + row % kStripRows * kTilePanel;
      float total[kTilePanel];
      for (int64_t column = 0; column < columns; ++column) total[column] = sums[at + column];
      for (int64_t part = 1; part < t.partials; ++part) {
        const float* const more = sums + part * t.sums_elements() + at;
        for (int64_t column = 0; column < columns; ++column) total[column] = total[column] + more[column];
      }
      S* const element = to + p.channel(row) * s.taps + (p.folds ? run * s.kw + p.tap_of(row) : run);
      for (int64_t column = 0; column < columns; ++column) element[column * s.k] = Stored<S>::round(total[column]);
    }
  }
}

template <class S>
struct GradWeightByTiles {
  static Sizes sizes(const KernelArgs& args) {
    return as_line(sizes_of(args.in[0], args.out[0], args.in[1], args.attrs_as<ConvAttrs>()));
  }
  static bool runs(const KernelArgs& args) noexcept { return sums_by_tiles<S>(sizes(args)); }

  struct Setup {
    Scratch scratch;
    Copy<float> copies[2];  // of what does not lie densely
    WeightTilePlan plan;
    float* sums;
    unsigned char* room;
    [[gnu::noinline]] explicit Setup(const KernelArgs& args)
        : scratch(args.scratch), plan(weight_tile_plan_of<S>(sizes(args))) {
      for (int i = 0; i < 2; ++i) {
        copies[i] =
            copy_if_needed<float>(scratch, args.in[i], has_dense_channels(args.in[i]) ? Dense::any : Dense::channels);
      }
      sums = scratch.take<float>(plan.partials * plan.sums_elements());
      room = scratch.take<unsigned char>(plan.tasks() * plan.room_bytes());
    }
    int64_t channels() const { return copies[0].channels() + copies[1].channels(); }
  };
  static size_t scratch(const KernelArgs& args) noexcept { return Setup(args).scratch.bytes(); }
  static int64_t prepare_tasks(const KernelArgs& args) noexcept { return least(kMaxTasks, Setup(args).channels()); }
  static void prepare(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    const int64_t tasks = prepare_tasks(args);
    const int64_t first = setup.copies[0].channels();
    const int64_t end = setup.channels() * (task + 1) / tasks;
    for (int64_t i = setup.channels() * task / tasks; i < end; ++i) {
      setup.copies[i < first ? 0 : 1].channel(i < first ? i : i - first);
    }
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return Setup(args).plan.tasks(); }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    const auto with_images = [](const Copy<float>& copy, const auto& use) {
      const Images<float> at = copy.images();
      if (copy.needed) return use(at);
      use(Images<S>{reinterpret_cast<const S*>(at.data), at.n_stride, at.c_stride});
    };
    with_images(setup.copies[0], [&](const auto& x) {
      with_images(setup.copies[1], [&](const auto& gradient) {
        with_pieces(pieces_of<S>(), [&](auto n) {
          if constexpr (n.value <= kPiecesOf<S>) {
            using X = std::remove_cvref_t<decltype(*x.data)>;
            using G = std::remove_cvref_t<decltype(*gradient.data)>;
            run_weight_units<S, X, G, n.value>(setup.plan, x, gradient, setup.sums,
                                               setup.room + task * setup.plan.room_bytes(), task);
          }
        });
      });
    });
  }
  static int64_t finish_tasks(const KernelArgs& args) noexcept {
    const Setup setup(args);
    return setup.plan.planes.s.groups * setup.plan.panels;
  }
  static void finish(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    join_weight_sums<S>(setup.plan, setup.sums, task, args.out[0].as<S>());
  }
};

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
