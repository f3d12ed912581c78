// Images as tiles multiply them (kernels/gemm/tiles.h): the part of an image under a band of outputs, in pieces of bfloat16, with zeros around it.
//
// A row of a plane holds a channel, line after line, so that a position is a window: what a tap meets in all windows is the row from
// some place on, and nothing is laid out for each tap. Positions behind the last window of a line are of no window; what is summed
// there is left out. Where windows are `stride` elements apart, each remainder of a tap has a sheet of rows of its own. Where channels
// are few, a sheet holds what the taps of a line of the kernel meet, tap by tap, and k has one run for all of them. For kernel files (compiled
// for AMX).
// Invariant: bands and positions follow from the sizes of one image, never from the batch, since whether multiply-adds take the place of tiles
// is decided by what lies in neighbouring positions.
// Read next: by_tiles.h, weight_by_tiles.h.
#pragma once

#include <cstring>
#include <iterator>
#include <type_traits>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/pieces.h"
#include "kernels/gemm/tile_sums.h"
#include "ops/conv/windows.h"
#include "ops/conv/winograd.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kLaneCount = kTileWords;

constexpr int64_t kMostTileTasks = 16;              // each has planes of its own
constexpr int64_t kTileTaskWork = 8 * 1024 * 1024;  // multiply-adds

template <class S>
constexpr int kPiecesOf = std::is_same_v<S, float> ? kMostPieces : 1;
template <class S>
int pieces_of() {
  return std::is_same_v<S, float> ? pieces_now() : 1;
}

// ---- where elements lie ----

// Taps along an axis: sheets are as many as their remainders by the stride, which come again and again in the same order.
struct TapsOfAxis {
  int64_t taps, stride, step;
  int64_t sheets;

  TapsOfAxis() = default;
  TapsOfAxis(int64_t taps_, int64_t stride_, int64_t step_) : taps(taps_), stride(stride_), step(step_) {
    int64_t divisor = stride;
    for (int64_t left = step; left != 0;) {
      const int64_t next = divisor % left;
      divisor = left;
      left = next;
    }
    sheets = least(taps, stride / divisor);
  }
  int64_t remainder(int64_t tap) const { return tap * step % stride; }
  int64_t shift(int64_t tap) const { return tap * step / stride; }
  int64_t reach() const { return taps > 0 ? shift(taps - 1) : 0; }
};

// Bands of outputs, and the planes under one. kPairs: a word holds the elements of two rows, which are B then; otherwise rows are A.
struct Planes : Grid {
  Sizes s;
  bool fits;
  bool folds;  // a sheet has the taps of a line of the kernel
  TapsOfAxis down_taps, across_taps;
  int64_t sheets, rows_of_sheet, padded_rows;
  int64_t runs, steps_of_run;        // of k; a step is a tile's
  int64_t width, lines;              // of a band of one image, in positions
  int64_t length;                    // positions of a row
  int64_t piece_stride, row_stride;  // bytes

  int64_t positions(int64_t band_rows, int64_t band_cols) const { return (band_rows - 1) * width + band_cols; }
  int64_t reach() const { return down_taps.reach() * width + across_reach(); }
  int64_t across_reach() const { return folds ? 0 : across_taps.reach(); }
  int64_t stored_rows(bool pairs) const { return sheets * padded_rows / (pairs ? 2 : 1); }
  int64_t bytes(bool pairs) const { return stored_rows(pairs) * row_stride; }

  // A run's sheet, and by how many positions its taps lie behind those of the sheet.
  struct Run {
    int64_t sheet, shift;
  };
  Run run(int64_t index) const {
    const int64_t j = folds ? 0 : index % s.kw;
    const int64_t line = folds ? index : index / s.kw;
    const int64_t i = line % s.kh;
    const int64_t across_sheets = folds ? 1 : across_taps.sheets;
    const int64_t sheet =
        (line / s.kh * down_taps.sheets + i % most(1, down_taps.sheets)) * across_sheets + j % most(1, across_sheets);
    return {sheet, down_taps.shift(i) * width + (folds ? 0 : across_taps.shift(j))};
  }
  // Of row `row` of a sheet: its channel, and where in the kernel's line it stands if they are folded.
  int64_t channel(int64_t row) const { return folds ? row % s.group_c : row; }
  int64_t tap_of(int64_t row) const { return folds ? row / s.group_c : 0; }
};

constexpr int64_t kPlaneBytes = 512 * 1024;  // of a band: in L2, beside a strip of weights
constexpr int64_t kMostPlaneBytes = 8 * kPlaneBytes;
constexpr int64_t kMostPositions = 2048;
constexpr int64_t kMostReach = 1024;  // of windows, in lines and in positions

// A kernel of one element over all of an image has it for windows: the whole is one line then, as in a product.
[[gnu::noinline]] Sizes as_line(Sizes s) {
  if (s.taps != 1 || !s.has_unit_strides() || !s.inside || s.od != s.d || s.oh != s.h || s.ow != s.w) return s;
  s.w = s.ow = s.image;
  s.d = s.h = s.od = s.oh = 1;
  s.pad_d = s.pad_h = s.pad_w = 0;
  s.derive();
  return s;
}

// `images` bands lie one behind the other in a row.
[[gnu::noinline]] void set_length(Planes& p, bool pairs, int pieces, int64_t images) {
  constexpr int64_t kLine = 64;
  const int64_t all = images * p.lines * p.width;
  p.length = most(all + 2 * kLaneCount,
                  round_up((images - 1) * p.lines * p.width + p.positions(p.rows, p.cols), kStepK) + p.reach());
  p.piece_stride = round_up(p.length * (pairs ? 4 : 2), kLine) + kLine;
  // An odd number of cache lines, so that rows do not meet in the same sets of the cache.
  p.row_stride = (pieces * p.piece_stride / kLine | 1) * kLine;
}

[[gnu::noinline]] Planes planes_of(const Sizes& s, bool pairs, int pieces) {
  Planes p;
  p.s = s;
  p.down_taps = TapsOfAxis(s.kh, s.stride_h, s.step_h);
  p.across_taps = TapsOfAxis(s.kw, s.stride_w, s.step_w);
  const auto steps_of = [](int64_t rows) { return ceil_div(rows, kStepK); };
  // Where folding makes fewer steps.
  p.folds = s.kw > 1 && steps_of(s.kw * s.group_c) < s.kw * steps_of(s.group_c);
  p.sheets = s.kd * p.down_taps.sheets * (p.folds ? 1 : p.across_taps.sheets);
  p.rows_of_sheet = p.folds ? s.kw * s.group_c : s.group_c;
  p.steps_of_run = steps_of(p.rows_of_sheet);
  p.padded_rows = p.steps_of_run * kStepK;
  p.runs = s.kd * s.kh * (p.folds ? 1 : s.kw);
  const int64_t bytes_of_position = most(1, p.sheets * p.padded_rows * 2 * pieces);
  const int64_t room = least(kMostPositions, kPlaneBytes / bytes_of_position);
  const int64_t down = p.down_taps.reach();
  const int64_t across = p.across_reach();
  if (s.pixels <= 0 || down > kMostReach || across > kMostReach) {
    p.fits = false;
    p.rows = p.cols = p.down = p.across = p.lines = p.width = p.length = 1;
    p.piece_stride = p.row_stride = 0;
    return p;
  }
  // Lines are cut where the rows that one row of outputs needs are too many.
  p.cols = most(1, s.ow);
  while (p.cols > kTilePanel && (down + 1) * (p.cols + across) > room) p.cols = ceil_div(p.cols, 2);
  p.across = ceil_div(s.ow, p.cols);
  p.cols = ceil_div(s.ow, most(1, p.across));
  p.width = p.cols + across;
  p.rows = most(1, least(s.oh, room / most(1, p.width) - down));
  p.down = ceil_div(s.oh, p.rows);
  p.rows = ceil_div(s.oh, most(1, p.down));
  p.lines = p.rows + down;
  set_length(p, pairs, pieces, 1);
  p.fits = p.bytes(pairs) <= kMostPlaneBytes;
  return p;
}

// ---- whether tiles pay ----

// Times in units of a multiply-add, of which 32 fit a cycle, for one image. Estimates from documented rates, not measured: nobody has run this
// on AMX. A tile's product, of 16 by 16 sums by 32, takes 16 cycles; what an element of a plane takes is guessed from instructions.
template <class S>
constexpr int64_t kTileTime = 2 * (std::is_same_v<S, float> ? std::size(PieceProducts<kMostPieces>::at) : 1);  // a sum
template <class S>
constexpr int64_t kLayTime = std::is_same_v<S, float> ? 24 : 12;
// Multiply-adds reach most of their rate; minimal filtering leaves a part of them, and goes there and back.
int64_t time_otherwise(const Sizes& s, Filter filter) {
  const int64_t products = s.group_o * s.k * s.pixels;
  if (filter == Filter::none) return products * 9 / 8;
  const Figures g = figures_of(filter);
  const int64_t phases = goes_back(filter) ? 4 : 1;
  return products * g.terms * phases / (s.kh * s.kw * g.outputs_h * g.outputs_w) + products * 3 / 16;
}

// ---- laying ----

// Elements x, x + stride, ... of a line of w elements, zeros outside; `count` of them. Without a line all are zeros.
template <class X>
GORGO_GEMM_INLINE Lanes<float>::Vec line_elements(const X* line, int64_t w, int64_t x, int64_t stride, int64_t count) {
  using L = Lanes<float>;
  if (line == nullptr || count <= 0) return L::zero();
  const auto met = [&](int64_t at, int64_t lanes) __attribute__((always_inline)) {
    const Range in = Range::of(at, w, lanes);
    const auto which = static_cast<L::Edge>(L::edge(in.last) & ~L::edge(in.first));
    return which == 0 ? L::zero() : Stored<X>::load_edge(line + at, which, L::kWidth);
  };
  if (stride == 1) return met(x, count);
  if (stride == 2) {
    const int64_t lanes = 2 * count - 1;
    const auto first = met(x, least(kLaneCount, lanes));
    const auto second = met(x + kLaneCount, most(0, lanes - kLaneCount));
    return L::Vec(Pairs<float, L::kWidth>::split({first}, {second}).even.raw);
  }
  float lanes[kLaneCount] = {};
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = x + i * stride;
    if (at >= 0 && at < w) lanes[i] = Stored<X>::value(line[at]);
  }
  return L::load(lanes);
}

// What has been laid: of each position of each sheet over all channels (pairs), or of each row.
struct PlaneSizes {
  std::uint32_t* greatest = nullptr;  // null where nobody asks
  std::uint32_t* least = nullptr;
  Extremes* rows = nullptr;
};

// Lays the band at output (slice, row, col) of the channels of a group, which begin at `image`, into rows from `to` on.
template <class X, int kPieces, bool kPairs>
void lay_planes(const Planes& p, const X* image, int64_t c_stride, const Place& place, unsigned char* to,
                const PlaneSizes& sizes) {
  constexpr int64_t kPositions = kPairs ? kLaneCount : 2 * kLaneCount;  // of a vector that is stored
  constexpr int64_t kBytes = kPairs ? 4 : 2;
  constexpr int64_t kRows = kPairs ? 2 : 1;
  const Sizes& s = p.s;
  const int64_t across_sheets = p.folds ? 1 : p.across_taps.sheets;
  for (int64_t sheet = 0; sheet < p.sheets; ++sheet) {
    const int64_t i = sheet / across_sheets % p.down_taps.sheets;
    const int64_t z = place.slice * s.stride_d - s.pad_d + sheet / across_sheets / p.down_taps.sheets * s.step_d;
    const int64_t top = place.row * s.stride_h - s.pad_h + p.down_taps.remainder(i);
    const int64_t left = place.col * s.stride_w - s.pad_w;
    unsigned char* const rows = to + sheet * p.padded_rows / kRows * p.row_stride;
    std::uint32_t* const greatest = sizes.greatest != nullptr ? sizes.greatest + sheet * p.length : nullptr;
    std::uint32_t* const smallest = sizes.least != nullptr ? sizes.least + sheet * p.length : nullptr;
    for (int64_t row = 0; row < p.rows_of_sheet; row += kRows) {
      const X* planes[2] = {nullptr, nullptr};
      int64_t begin[2] = {};
      for (int64_t e = 0; e < kRows; ++e) {
        if (row + e >= p.rows_of_sheet || z < 0 || z >= s.d) continue;
        planes[e] = image + p.channel(row + e) * c_stride + z * s.h * s.w;
        begin[e] = left + (p.folds ? p.tap_of(row + e) * s.step_w : p.across_taps.remainder(sheet % across_sheets));
      }
      unsigned char* at = rows + row / kRows * p.row_stride;
      LaneSizes of_row;
      for (int64_t line = 0; line < p.lines; ++line, at += p.width * kBytes) {
        const int64_t y = top + line * s.stride_h;
        const bool is_inside = y >= 0 && y < s.h;
        const X* const first = is_inside && planes[0] != nullptr ? planes[0] + y * s.w : nullptr;
        const X* const second = is_inside && planes[1] != nullptr ? planes[1] + y * s.w : nullptr;
        for (int64_t x = 0; x < p.width; x += kPositions) {
          const int64_t count = least(kLaneCount, p.width - x);
          const auto v0 = line_elements(first, s.w, begin[0] + x * s.stride_w, s.stride_w, count);
          const auto v1 = kPairs ? line_elements(second, s.w, begin[1] + x * s.stride_w, s.stride_w, count)
                                 : line_elements(first, s.w, begin[0] + (x + kLaneCount) * s.stride_w, s.stride_w,
                                                 least(kLaneCount, p.width - x - kLaneCount));
          if (sizes.greatest != nullptr || sizes.rows != nullptr) {
            LaneSizes noted;
            noted.note(v0);
            noted.note(v1);
            if constexpr (kPairs) {
              const int64_t position = line * p.width + x;
              noted.join(greatest + position, smallest + position);
              noted.store(greatest + position, smallest + position, Lanes<float>::edge(static_cast<int>(count)));
            } else {
              of_row.join(noted);
            }
          }
          split_to_words<kPieces, kPairs>(v0, v1, at + x * kBytes, p.piece_stride);
        }
      }
      if (!kPairs && sizes.rows != nullptr) {
        Extremes& extremes = sizes.rows[sheet * p.padded_rows + row];
        extremes = join(extremes, of_row.of_row());
      }
    }
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
