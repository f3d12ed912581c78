// Convolutions and transposed ones on the tiles of AMX: weights are A, windows are B, and no row of B is laid out for its tap (planes.h).
//
// bfloat16 goes as it is; float32 as pieces (kernels/gemm/pieces.h), where an output's weights and the numbers around its panel of positions allow
// it, and otherwise by multiply-adds over laid windows, with the bits of run_panels. Weights are packed once, a strip of outputs after
// the other, so that captured functions may keep them. For kernel files (compiled for AMX).
// Invariant: an output is a sum of blocks of k, each a chain in tiles; blocks follow from the sizes of one image.
// Read next: planes.h, phase_list.h.
#pragma once

#include "ops/conv/phase_list.h"
#include "ops/conv/planes.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

// Weights as a convolution meets them, whose inputs and outputs may be exchanged and taps reversed.
template <class S>
struct WeightView {
  const S* at;
  int64_t group, output, input, slice, row, col;  // strides
};

// Where results go: those of a phase lie `stride` elements apart along each axis.
template <class S>
struct ResultView {
  S* at;
  int64_t channel, slice, row, col;  // strides
};

struct TilePlan {
  Planes planes;
  int64_t steps, block_steps, blocks;  // of k
  int64_t strips;                      // of a group's outputs
  int64_t images;                      // of a unit
  int64_t units, parts;                // strips are shared out among so many tasks of each unit
  int64_t unit_tasks;
  int64_t strip_bytes;
  // A task's room: planes of each image, the sizes in them, places of steps.
  int64_t planes_bytes, sizes_bytes, steps_bytes;

  int64_t tasks() const { return unit_tasks * parts; }
  int64_t room_bytes() const { return images * (planes_bytes + sizes_bytes) + steps_bytes; }
  int64_t packed_bytes() const { return planes.s.groups * strips * strip_bytes; }
};

// What a packed row of weights holds.
struct RowFacts {
  Extremes sizes;
  int32_t pieces;
};
constexpr int64_t kFactsBytes = (kStripRows * static_cast<int64_t>(sizeof(RowFacts)) + 63) / 64 * 64;

template <class S>
[[gnu::noinline]] TilePlan tile_plan_of(const Sizes& s) {
  TilePlan t;
  t.planes = planes_of(s, true, kPiecesOf<S>);
  const Planes& p = t.planes;
  t.steps = p.runs * p.steps_of_run;
  t.blocks = most(1, ceil_div(t.steps, kBlockSteps));
  t.block_steps = ceil_div(t.steps, t.blocks);
  t.strips = ceil_div(s.group_o, kStripRows);
  t.strip_bytes = kFactsBytes + t.steps * kPiecesOf<S> * kStepBytes;
  t.planes_bytes = p.bytes(true) + 64;
  t.sizes_bytes = kPiecesOf<S> > 1 ? round_up(p.sheets * p.length * 8 + 2 * kTileRowBytes, 64) : 0;
  t.steps_bytes = round_up(t.steps * 4, 64);
  const int64_t bands = s.groups * s.od * p.down * p.across;
  const int64_t work = s.n * s.o * s.pixels * s.k;
  const int64_t wanted = most(1, least(kMostTileTasks, work / kTileTaskWork));
  // Small images share a unit, which goes through the weights once.
  t.images = p.down * p.across > 1 ? 1 : most(1, least(least(s.n, kPlaneBytes / t.planes_bytes), s.n * bands / wanted));
  t.units = ceil_div(s.n, t.images) * bands;
  t.unit_tasks = least(t.units, wanted);
  t.parts = t.unit_tasks == 0 ? 1 : most(1, least(t.strips, wanted / t.unit_tasks));
  return t;
}

// ---- whether tiles pay ----

template <class S>
int64_t time_by_tiles(const TilePlan& t) {
  const Planes& p = t.planes;
  const int64_t bands = p.s.od * p.down * p.across;
  const int64_t positions = round_up(p.positions(p.rows, p.cols), kTileWords);
  const int64_t products = kTileTime<S> * round_up(p.s.group_o, kTileHeight) * positions * t.steps;
  const int64_t laid = p.sheets * p.rows_of_sheet * p.lines * round_up(p.width, kTileWords);
  return bands * (products + kLayTime<S> * laid);
}
template <class S>
[[gnu::noinline]] bool runs_by_tiles(const Sizes& s) {
  if (s.n == 0 || s.k < kPiecesFrom) return false;
  const TilePlan t = tile_plan_of<S>(s);
  return t.planes.fits && time_by_tiles<S>(t) < time_otherwise(s, filtered_of<float>(s).filter);
}

[[gnu::noinline]] bool has_regular_phases(const Sizes& s) {
  const auto is_regular = [](int64_t stride, int64_t step) { return stride == 1 || are_coprime(stride, step); };
  return s.stride_d <= kMaxJoinedPhases && s.stride_h <= kMaxJoinedPhases && s.stride_w <= kMaxJoinedPhases &&
         s.stride_d * s.stride_h * s.stride_w <= kMaxJoinedPhases && is_regular(s.stride_d, s.step_d) &&
         is_regular(s.stride_h, s.step_h) && is_regular(s.stride_w, s.step_w);
}

// A phase as it runs: results of several ones do not lie in a line.
Sizes sizes_of_phase(const PhaseList& phases, int index) {
  return phases.count == 1 ? as_line(phases.at[index].s) : phases.at[index].s;
}
// For a transposed convolution all phases are by tiles, or none.
template <class S>
[[gnu::noinline]] bool transposes_by_tiles(const Sizes& s) {
  if (s.n == 0 || s.image == 0 || s.group_o * s.taps < kPiecesFrom || !has_regular_phases(s)) return false;
  const PhaseList phases(s);
  int64_t time = 0;
  for (int i = 0; i < phases.count; ++i) {
    const TilePlan t = tile_plan_of<S>(sizes_of_phase(phases, i));
    if (!t.planes.fits) return false;
    time += time_by_tiles<S>(t);
  }
  return time < time_otherwise(s, filtered_back<float>(s).filter);
}

// ---- weights ----

// Packs strip `index`, counted through the groups: k goes by runs, and through a sheet's rows in each.
template <class S, int kPieces>
void pack_weight_strip(const TilePlan& t, const WeightView<S>& w, unsigned char* packed, int64_t index) {
  const Planes& p = t.planes;
  const Sizes& s = p.s;
  const int64_t o = index % t.strips * kStripRows;
  const auto rows = static_cast<int>(least(kStripRows, s.group_o - o));
  const S* const from = w.at + index / t.strips * w.group + o * w.output;
  auto* const facts = reinterpret_cast<RowFacts*>(packed + index * t.strip_bytes);
  unsigned char* const to = packed + index * t.strip_bytes + kFactsBytes;
  alignas(64) float elements[kStripRows * kStepK];
  LaneSizes sizes[kStripRows];
  for (int64_t step = 0; step < t.steps; ++step) {
    const int64_t run = step / p.steps_of_run;
    const int64_t first = step % p.steps_of_run * kStepK;
    const auto count = static_cast<int>(least(kStepK, p.rows_of_sheet - first));
    const int64_t line = p.folds ? run : run / s.kw;
    const S* const taps = from + line / s.kh * w.slice + line % s.kh * w.row + (p.folds ? 0 : run % s.kw * w.col);
    for (int64_t e = 0; e < count; ++e) {
      const S* const column = taps + p.channel(first + e) * w.input + p.tap_of(first + e) * w.col;
      for (int64_t row = 0; row < rows; ++row) elements[row * kStepK + e] = Stored<S>::value(column[row * w.output]);
    }
    split_rows<kPieces>(to, {elements, kStepK, 0}, step, count, 0, rows, sizes);
  }
  for (int row = 0; row < rows; ++row) facts[row] = {sizes[row].of_row(), kPieces};
}

// ---- one convolution ----

// The extremes around a panel: whatever its windows meet, in all channels.
[[gnu::noinline]] Extremes extremes_of(const Planes& p, const PlaneSizes& sizes, int64_t position) {
  LaneSizes all;
  for (int64_t index = 0; index < p.runs; ++index) {
    const Planes::Run run = p.run(index);
    const int64_t at = run.sheet * p.length + run.shift + position;
    for (int64_t lane = 0; lane < kTilePanel; lane += kLaneCount) {
      all.join(sizes.greatest + at + lane, sizes.least + at + lane);
    }
  }
  return all.of_row();
}

// Rows of a strip that are no affair of tiles, by multiply-adds: the windows of a panel are laid out for them.
__attribute__((noinline)) void multiply_add_windows(const Planes& p, const WeightView<float>& w, const float* image,
                                                    int64_t c_stride, const Place& place, int64_t position, int columns,
                                                    int rows, uint32_t which, float* sums) {
  constexpr int kRows = Lanes<float>::kRows;
  alignas(64) float windows[kMaxBlockK * kTilePanel + 2 * kLaneCount] = {};
  alignas(64) float weights[kRows * kMaxBlockK];
  Piece pieces[3 * kTilePanel];
  const Sizes& s = p.s;
  int count = 0;
  for (int64_t at = 0; at < columns;) {
    const int64_t row = (position + at) / p.width;
    const int64_t col = (position + at) % p.width;
    const int64_t length = least(least(kLaneCount, columns - at), place.cols - col);
    if (length <= 0) {
      ++at;
      continue;
    }
    pieces[count++] = {
        0, place.row + row, place.col + col, static_cast<int32_t>(length), static_cast<int32_t>(at), place.slice};
    at += length;
  }
  if (count == 0) return;
  const BlocksOfK blocks = blocks_of_k(s.k);
  MicroArgs<float> g;
  g.a = weights;
  g.a_row_stride = kMaxBlockK;
  g.a_col_stride = 1;
  g.b = windows;
  g.b_row_stride = kTilePanel;
  g.c_row_stride = kTilePanel;
  for (int64_t kb = 0; kb < blocks.count; ++kb) {
    const int64_t k0 = kb * blocks.size;
    g.k = least(blocks.size, s.k - k0);
    g.add = kb > 0;
    lay_windows<float>(windows, kTilePanel, image, c_stride, s, k0, k0 + g.k, pieces, count);
    each_run_of_rows(which, rows, [&](int row, int height) __attribute__((always_inline)) {
      for (int64_t i = 0; i < height; ++i) {
        for (int64_t k = 0; k < g.k; ++k) {
          const int64_t tap = (k0 + k) % s.taps;
          weights[i * kMaxBlockK + k] =
              w.at[(row + i) * w.output + (k0 + k) / s.taps * w.input + tap / (s.kh * s.kw) * w.slice +
                   tap / s.kw % s.kh * w.row + tap % s.kw * w.col];
        }
      }
      g.c = sums + row * kTilePanel;
      run_micro(g, height, columns, false);
    });
  }
}

// Adds the bias, rounds and stores the sums of a panel's windows.
template <class S>
void store_panel(const Planes& p, const Place& place, const float* sums, int64_t position, int columns, int rows,
                 const S* bias, int64_t bias_stride, const ResultView<S>& to) {
  using L = Lanes<float>;
  for (int64_t at = 0; at < columns;) {
    const int64_t row = (position + at) / p.width;
    const int64_t col = (position + at) % p.width;
    const int64_t count = least(columns - at, place.cols - col);
    if (count <= 0) {
      at += least(columns - at, p.width - col);
      continue;
    }
    S* line = to.at + place.slice * to.slice + (place.row + row) * to.row + (place.col + col) * to.col;
    for (int r = 0; r < rows; ++r, line += to.channel) {
      const auto added = L::broadcast(bias != nullptr ? Stored<S>::value(bias[r * bias_stride]) : 0.0F);
      for (int64_t i = 0; i < count; i += kLaneCount) {
        const auto lanes = static_cast<int>(least(kLaneCount, count - i));
        const auto edge = L::edge(lanes);
        auto v = L::load_edge(sums + r * kTilePanel + at + i, edge);
        if (bias != nullptr) v = v + added;
        if (to.col == 1) {
          Stored<S>::store_edge(line + i, edge, lanes, v);
        } else {
          float each[kLaneCount];
          L::store(each, v);
          for (int lane = 0; lane < lanes; ++lane) line[(i + lane) * to.col] = Stored<S>::round(each[lane]);
        }
      }
    }
    at += count;
  }
}

template <class S>
struct TileOperands {
  WeightView<S> weight;
  const unsigned char* packed;
  const S* bias;  // or null
  int64_t bias_stride;
  ResultView<S> out;  // of the first image
  int64_t out_image;  // elements from an image's results to the next one's
};

// X: what the images are of, which may have been copied as float.
template <class S, class X, int kPieces>
void run_tile_units(const TilePlan& t, const Images<X>& x, const TileOperands<S>& operands, unsigned char* room,
                    int64_t task) {
  const Planes& p = t.planes;
  const Sizes& s = p.s;
  constexpr bool kSplits = kPiecesOf<S> > 1;
  alignas(64) float sums[kStripRows * kTilePanel];
  alignas(64) float part[kStripRows * kTilePanel];
  auto* const places = reinterpret_cast<int32_t*>(room + t.images * (t.planes_bytes + t.sizes_bytes));
  for (int64_t step = 0; step < t.steps; ++step) {
    const Planes::Run run = p.run(step / p.steps_of_run);
    const int64_t row = run.sheet * p.padded_rows / 2 + step % p.steps_of_run * kTileHeight;
    places[step] = static_cast<int32_t>(row * p.row_stride + run.shift * 4);
  }
  const auto planes_at = [&](int64_t i) { return room + i * t.planes_bytes; };
  const auto sizes_at = [&](int64_t i) {
    PlaneSizes sizes;
    if (!kSplits) return sizes;
    sizes.greatest = reinterpret_cast<uint32_t*>(room + t.images * t.planes_bytes + i * t.sizes_bytes);
    sizes.least = sizes.greatest + p.sheets * p.length + kLaneCount;
    return sizes;
  };
  // Rows that no channel has.
  for (int64_t i = 0; i < t.images; ++i) {
    for (int64_t sheet = 0; sheet < p.sheets; ++sheet) {
      const int64_t held = ceil_div(p.rows_of_sheet, 2);
      unsigned char* const rows = planes_at(i) + sheet * p.padded_rows / 2 * p.row_stride;
      std::memset(rows + held * p.row_stride, 0, static_cast<size_t>((p.padded_rows / 2 - held) * p.row_stride));
    }
  }
  const int64_t strip_begin = t.strips * (task % t.parts) / t.parts;
  const int64_t strip_end = t.strips * (task % t.parts + 1) / t.parts;
  const int64_t unit_task = task / t.parts;
  const int64_t unit_end = t.units * (unit_task + 1) / t.unit_tasks;
  Tiles tiles;
  for (int64_t unit = t.units * unit_task / t.unit_tasks; unit < unit_end; ++unit) {
    const Place place(p, unit, s.od, s.groups, s.oh, s.ow);
    const int64_t image = place.image * t.images;
    const int64_t images = least(t.images, s.n - image);
    const int64_t positions = p.positions(place.rows, place.cols);
    const auto image_at = [&](int64_t i) {
      return x.data + (image + i) * x.n_stride + place.group * s.group_c * x.c_stride;
    };
    for (int64_t i = 0; i < images; ++i) {
      const PlaneSizes sizes = sizes_at(i);
      if (kSplits) {
        for (int64_t at = 0; at < p.sheets * p.length + kLaneCount; ++at) sizes.greatest[at] = 0, sizes.least[at] = ~0U;
      }
      lay_planes<X, kPieces, true>(p, image_at(i), x.c_stride, place, planes_at(i), sizes);
    }
    for (int64_t strip = strip_begin; strip < strip_end; ++strip) {
      const int64_t o = strip * kStripRows;
      const auto rows = static_cast<int>(least(kStripRows, s.group_o - o));
      const unsigned char* const packed = operands.packed + (place.group * t.strips + strip) * t.strip_bytes;
      const auto* const facts = reinterpret_cast<const RowFacts*>(packed);
      Extremes whole;
      bool is_split = true;
      for (int row = 0; kSplits && row < rows; ++row) {
        whole = row == 0 ? facts[row].sizes : join(whole, facts[row].sizes);
        is_split = is_split && facts[row].pieces == kPieces;  // otherwise the setting was changed meanwhile
      }
      const int64_t channel = place.group * s.group_o + o;
      const S* const bias = operands.bias != nullptr ? operands.bias + channel * operands.bias_stride : nullptr;
      WeightView<S> weight = operands.weight;
      weight.at += place.group * weight.group + o * weight.output;
      for (int64_t i = 0; i < images; ++i) {
        ResultView<S> to = operands.out;
        to.at += (image + i) * operands.out_image + channel * to.channel;
        for (int64_t position = 0; position < positions; position += kTilePanel) {
          const auto columns = static_cast<int>(least(kTilePanel, positions - position));
          const uint32_t every = ~uint32_t{0} >> (kStripRows - rows);
          uint32_t others = is_split ? 0 : every;
          if (kSplits && is_split) {
            const Extremes around = extremes_of(p, sizes_at(i), position);
            if (!(stays_finite(whole, around) && stays_normal(whole, around))) {
              for (int row = 0; row < rows; ++row) {
                const Extremes& own = facts[row].sizes;
                others |= uint32_t{!(stays_finite(own, around) && stays_normal(own, around))} << row;
              }
            }
          }
          for (int64_t block = 0; others != every && block < t.blocks; ++block) {
            const int64_t first = block * t.block_steps;
            const TileStrip a{packed + kFactsBytes + first * kPieces * kStepBytes, kTileRowBytes, kTileBytes,
                              kPieces * kStepBytes, nullptr};
            const PlanePanel b{planes_at(i) + position * 4, p.row_stride, p.piece_stride, places + first};
            sum_tiles_of<TileProduct::bfloat16, kPieces>(tiles, rows, columns, a, b,
                                                         least(t.block_steps, t.steps - first),
                                                         TileSums{block == 0 ? sums : part}, [](int64_t) {});
            if (block == 0) continue;
            for (int64_t at = 0; at < rows * kTilePanel; ++at) sums[at] = sums[at] + part[at];
          }
          if constexpr (kSplits) {
            if (others != 0) {
              multiply_add_windows(p, weight, image_at(i), x.c_stride, place, position, columns, rows, others, sums);
            }
          }
          store_panel<S>(p, place, sums, position, columns, rows, bias, operands.bias_stride, to);
        }
      }
    }
  }
}

// ---- the kernels ----

// kTransposed: the convolutions that its phases are, all in one.
template <class S, bool kTransposed>
struct ByTiles {
  static Sizes sizes(const KernelArgs& args) {
    const KOperand& images = kTransposed ? args.out[0] : args.in[0];
    const KOperand& results = kTransposed ? args.in[0] : args.out[0];
    const Sizes s = sizes_of(images, args.in[1], results, args.attrs_as<ConvAttrs>());
    return kTransposed ? s : as_line(s);
  }
  static bool runs(const KernelArgs& args) noexcept {
    if constexpr (kTransposed) return transposes_by_tiles<S>(sizes(args));
    return runs_by_tiles<S>(sizes(args));
  }

  struct Part {
    TilePlan plan;
    TileOperands<S> operands;
    unsigned char* packed;
    unsigned char* room;
  };
  struct Setup {
    Scratch scratch;
    Copy<float> x;
    int count = 1;
    Part parts[kTransposed ? kMaxJoinedPhases : 1];
    [[gnu::noinline]] explicit Setup(const KernelArgs& args)
        : scratch(args.scratch),
          x(copy_if_needed<float>(scratch, args.in[0], has_dense_channels(args.in[0]) ? Dense::any : Dense::channels)) {
      const Sizes s = sizes(args);
      const KOperand& weight = args.in[1];
      const int axes = weight.rank - 2;
      const int64_t slice = from_last(weight.strides + 2, axes, 2, 0);
      const int64_t row = from_last(weight.strides + 2, axes, 1, 0);
      const int64_t col = weight.strides[weight.rank - 1];
      const bool has_bias = args.in_count > 2 && args.in[2].given;
      TileOperands<S> all{};
      all.bias = has_bias ? args.in[2].as<const S>() : nullptr;
      all.bias_stride = has_bias ? args.in[2].strides[0] : 0;
      S* const out = args.out[0].as<S>();
      if constexpr (kTransposed) {
        const PhaseList phases(s);
        count = phases.count;
        for (int i = 0; i < count; ++i) {
          const Phase& p = phases.at[i];
          all.weight = {weight.as<const S>() + p.d.last * slice + p.h.last * row + p.w.last * col,
                        s.group_o * weight.strides[0],
                        weight.strides[1],
                        weight.strides[0],
                        -p.d.every * slice,
                        -p.h.every * row,
                        -p.w.every * col};
          all.out = {out + (p.d.at * s.h + p.h.at) * s.w + p.w.at, s.image, s.stride_d * s.h * s.w, s.stride_h * s.w,
                     s.stride_w};
          all.out_image = s.c * s.image;
          add(i, sizes_of_phase(phases, i), all);
        }
      } else {
        all.weight = {
            weight.as<const S>(), s.group_o * weight.strides[0], weight.strides[0], weight.strides[1], slice, row, col};
        all.out = {out, s.pixels, s.oh * s.ow, s.ow, 1};
        all.out_image = s.o * s.pixels;
        add(0, s, all);
      }
    }

   private:
    void add(int index, const Sizes& s, const TileOperands<S>& operands) {
      Part& part = parts[index];
      part.plan = tile_plan_of<S>(s);
      part.packed = scratch.template take<unsigned char>(part.plan.packed_bytes());
      part.room = scratch.template take<unsigned char>(part.plan.tasks() * part.plan.room_bytes());
      part.operands = operands;
      part.operands.packed = part.packed;
    }
  };

  static size_t scratch(const KernelArgs& args) noexcept { return Setup(args).scratch.bytes(); }
  static int32_t keeps(const KernelArgs&) noexcept { return 1; }
  static int64_t copy_tasks(const Setup& setup) {
    const int64_t channels = setup.x.channels();
    return channels == 0 ? 0 : most(1, least(channels, setup.x.from->numel / kCopyElements));
  }
  static int64_t prepare_tasks(const KernelArgs& args) noexcept {
    const Setup setup(args);
    int64_t tasks = copy_tasks(setup);
    for (int i = 0; i < setup.count; ++i) tasks += setup.parts[i].plan.planes.s.groups * setup.parts[i].plan.strips;
    return tasks;
  }
  static void prepare(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    const int64_t copies = copy_tasks(setup);
    if (task < copies) {
      const int64_t end = setup.x.channels() * (task + 1) / copies;
      for (int64_t i = setup.x.channels() * task / copies; i < end; ++i) setup.x.channel(i);
      return;
    }
    if (args.prepared) return;
    task -= copies;
    for (int i = 0; i < setup.count; ++i) {
      const Part& part = setup.parts[i];
      const int64_t strips = part.plan.planes.s.groups * part.plan.strips;
      if (task < strips) {
        with_pieces(pieces_of<S>(), [&](auto n) {
          if constexpr (n.value <= kPiecesOf<S>) {
            pack_weight_strip<S, n.value>(part.plan, part.operands.weight, part.packed, task);
          }
        });
        return;
      }
      task -= strips;
    }
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    const Setup setup(args);
    int64_t tasks = 0;
    for (int i = 0; i < setup.count; ++i) tasks += setup.parts[i].plan.tasks();
    return tasks;
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    for (int i = 0; i < setup.count; ++i) {
      const Part& part = setup.parts[i];
      if (task < part.plan.tasks()) {
        return setup.x.needed ? run_of<float>(setup, part, task) : run_of<S>(setup, part, task);
      }
      task -= part.plan.tasks();
    }
  }
  template <class X>
  static void run_of(const Setup& setup, const Part& part, int64_t task) {
    const Images<float> copied = setup.x.images();
    const Images<X> x{reinterpret_cast<const X*>(copied.data), copied.n_stride, copied.c_stride};
    with_pieces(pieces_of<S>(), [&](auto n) {
      if constexpr (n.value <= kPiecesOf<S>) {
        run_tile_units<S, X, n.value>(part.plan, x, part.operands, part.room + task * part.plan.room_bytes(), task);
      }
    });
  }
  static int64_t finish_tasks(const KernelArgs&) noexcept { return 0; }
  static void finish(const KernelArgs&, int64_t) noexcept {}
};

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
