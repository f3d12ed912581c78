// Copies in which elements that lie side by side are to lie apart, as in a transposed matrix.
//
// Such a copy is a matrix, or many: its columns lie side by side in the input, its rows in the output. It is walked by strips,
// as many columns as fill a line of the cache, from the first row to the last: so the input is read as a few streams, and each
// line of the output is written whole, or in the two pieces that fall on it. Tasks are cut by shape alone.
// For kernel files (compiled per ISA). Read next: kernels_cpu_moves.cpp.
#pragma once

#include <cstring>

#include "core/kernel_args.h"
#include "core/shape.h"
#include "kernels/complex.h"
#include "kernels/move.h"
#include "kernels/stream.h"
#include "kernels/zip.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kLineBytes = 64;

// The strides are in bytes. Rows are cut into blocks, so that a long strip makes several tasks.
struct TransposePlan {
  static constexpr int64_t kBlockRows = 2048;
  static constexpr int64_t kTaskBytes = 131072;
  // Outputs from this size on are written past the caches, which they would fill, where whole lines of them are.
  static constexpr int64_t kStreamBytes = int64_t{8} << 20;

  bool applies = false;
  bool streams = false;
  int64_t size = 0;
  int64_t rows = 1;
  int64_t columns = 1;
  int64_t row_stride = 0;     // in the output
  int64_t column_stride = 0;  // in the input
  int rank = 0;               // of what is around the matrix
  int64_t shape[kMaxRank];
  int64_t from[kMaxRank];
  int64_t to[kMaxRank];
  int64_t strips = 1;
  int64_t blocks = 1;
  int64_t units = 1;
  int64_t units_per_task = 1;

  [[gnu::noinline]] TransposePlan(const KOperand& in, const KOperand& out) noexcept {
    if (!out.contiguous || in.contiguous || in.numel != out.numel || out.numel == 0) return;
    size = dtype_size(out.dtype);
    MovePlan axes;
    int64_t step = out.numel * size;
    for (int i = 0; i < in.rank; ++i) {
      step /= in.shape[i];
      axes.add(in.shape[i], step, in.strides[i] * size);
    }
    const int last = axes.rank - 1;
    int down = last - 1;
    while (down >= 0 && axes.from[down] != size) --down;
    if (down < 0 || axes.from[last] == size) return;
    applies = true;
    columns = axes.shape[last];
    column_stride = axes.from[last];
    rows = axes.shape[down];
    row_stride = axes.to[down];
    for (int i = last - 1; i >= 0; --i) {
      if (i == down) continue;
      shape[rank] = axes.shape[i];
      from[rank] = axes.from[i];
      to[rank++] = axes.to[i];
    }
    const int64_t width = kLineBytes / size;
    strips = (columns + width - 1) / width;
    blocks = (rows + kBlockRows - 1) / kBlockRows;
    units = out.numel / (rows * columns) * blocks * strips;
    const int64_t unit_bytes = (rows < kBlockRows ? rows : kBlockRows) * (columns < width ? columns : width) * size;
    units_per_task = unit_bytes >= kTaskBytes ? 1 : kTaskBytes / unit_bytes;
    streams = out.numel * size >= kStreamBytes && row_stride % kLineBytes == 0 &&
              reinterpret_cast<uintptr_t>(out.data) % kLineBytes == 0;
    for (int i = 0; i < rank; ++i) streams = streams && to[i] % kLineBytes == 0;
  }
  [[nodiscard]] int64_t tasks() const noexcept { return (units + units_per_task - 1) / units_per_task; }
};

template <class Unit>
struct TransposeStrip {
  static constexpr int kSize = static_cast<int>(sizeof(Unit));
  static constexpr int kWidth = static_cast<int>(kLineBytes) / kSize;
  // Squares that are transposed in registers; of small elements 16 bytes wide, since larger ones would not fit.
  static constexpr int kSide = (kSize == 4 || kSize == 8 ? kVectorBytes : 16) / kSize;
  static constexpr bool kOneSquare = kSide == kWidth;
  // Whether a part of a register is loaded and stored by one instruction.
  static constexpr bool kHasPartial = kSide * kSize == kVectorBytes && kVectorBytes >= 32;
  using V = Vec<std::conditional_t<kSide == 1, uint64_t, Unit>, kSide>;

  template <bool kStream>
  [[gnu::noinline]] static void run(unsigned char* to, const unsigned char* from, int64_t row_stride,
                                    int64_t column_stride, int64_t rows, int64_t columns) noexcept {
    int64_t r = 0;
    if (columns == kWidth) {
      for (; r + kWidth <= rows; r += kWidth) {
        tile<kStream>(to + r * row_stride, from + r * kSize, row_stride, column_stride);
      }
    }
    if constexpr (kSide > 1) {
      // Narrow ones: few columns beside each other, or the last rows.
      constexpr int64_t kTooFew = 4;
      if (rows > kTooFew && columns > kTooFew) {
        for (; r < rows; r += kWidth) {
          ragged(to + r * row_stride, from + r * kSize, row_stride, column_stride,
                 rows - r < kWidth ? rows - r : kWidth, columns);
        }
      }
    }
    for (; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) {
        std::memcpy(to + r * row_stride + c * kSize, from + c * column_stride + r * kSize, sizeof(Unit));
      }
    }
  }

 private:
  // kWidth columns by kWidth rows.
  template <bool kStream>
  GORGO_INLINE static void tile(unsigned char* to, const unsigned char* from, int64_t row_stride,
                                int64_t column_stride) noexcept {
    if constexpr (kSide == 1) {
      for (int r = 0; r < kWidth; ++r) {
        for (int c = 0; c < kWidth; ++c) {
          std::memcpy(to + r * row_stride + c * kSize, from + c * column_stride + r * kSize, sizeof(Unit));
        }
      }
    } else if constexpr (kOneSquare) {
      typename V::Raw v[kSide];
      turn(v, from, column_stride);
#pragma GCC unroll 16
      for (int i = 0; i < kSide; ++i) put<kStream>(to + i * row_stride, V{v[i]});
    } else {
      // Lines are read whole, since they may fall on one place of the cache, which then does not hold them all; and they are
      // written whole.
      alignas(64) unsigned char lines[kWidth * kLineBytes];
      alignas(64) unsigned char turned[kWidth * kLineBytes];
      for (int c = 0; c < kWidth; ++c) std::memcpy(lines + c * kLineBytes, from + c * column_stride, kLineBytes);
      turn_lines(turned, lines);
      using Line = Vec<uint8_t>;
      for (int r = 0; r < kWidth; ++r) {
#pragma GCC unroll 4
        for (int i = 0; i < kLineBytes; i += kVectorBytes) {
          put<kStream>(to + r * row_stride + i, load_raw<Line>(turned + r * kLineBytes + i));
        }
      }
    }
  }
  // At most kWidth columns by at most kWidth rows.
  static void ragged(unsigned char* to, const unsigned char* from, int64_t row_stride, int64_t column_stride,
                     int64_t rows, int64_t columns) noexcept {
    if constexpr (kHasPartial) {
      for (int64_t r = 0; r < rows; r += kSide) {
        for (int64_t c = 0; c < columns; c += kSide) {
          partial(to + r * row_stride + c * kSize, from + c * column_stride + r * kSize, row_stride, column_stride,
                  static_cast<int>(rows - r < kSide ? rows - r : kSide),
                  static_cast<int>(columns - c < kSide ? columns - c : kSide));
        }
      }
      return;
    }
    alignas(64) unsigned char lines[kWidth * kLineBytes] = {};
    alignas(64) unsigned char turned[kWidth * kLineBytes];
    for (int64_t c = 0; c < columns; ++c) copy_few(lines + c * kLineBytes, from + c * column_stride, rows * kSize);
    turn_lines(turned, lines);
    for (int64_t r = 0; r < rows; ++r) copy_few(to + r * row_stride, turned + r * kLineBytes, columns * kSize);
  }
  // At most a square of them.
  GORGO_INLINE static void partial(unsigned char* to, const unsigned char* from, int64_t row_stride,
                                   int64_t column_stride, int rows, int columns) noexcept {
    using Lane = typename V::Lane;
    typename V::Raw v[kSide] = {};
    // Stores by masks are slow where masks are registers of lanes.
    constexpr bool kMasks = kVectorBytes == 64;
    if (!kMasks && rows == kSide && columns == kSide) {
      turn(v, from, column_stride);
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < kSide; ++i) {
        if (i >= columns) break;
        v[i] = load_raw_partial<V>(reinterpret_cast<const Lane*>(from + i * column_stride), rows).raw;
      }
      transpose_square<Unit, kSide>(v);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kSide; ++i) {
      if (i >= rows) break;
      unsigned char* const line = to + i * row_stride;
      if constexpr (kMasks) {
        store_raw_partial(reinterpret_cast<Lane*>(line), V{v[i]}, columns);
      } else if (columns == kSide) {
        std::memcpy(line, &v[i], sizeof v[i]);
      } else {
        unsigned char whole[kSide * kSize];
        std::memcpy(whole, &v[i], sizeof whole);
        copy_few(line, whole, columns * kSize);
      }
    }
  }
  GORGO_INLINE static void turn_lines(unsigned char* turned, const unsigned char* lines) noexcept {
    for (int r = 0; r < kWidth; r += kSide) {
      for (int c = 0; c < kWidth; c += kSide) {
        typename V::Raw v[kSide];
        turn(v, lines + c * kLineBytes + r * kSize, kLineBytes);
#pragma GCC unroll 16
        for (int i = 0; i < kSide; ++i) std::memcpy(turned + (r + i) * kLineBytes + c * kSize, &v[i], sizeof v[i]);
      }
    }
  }
  GORGO_INLINE static void turn(typename V::Raw* v, const unsigned char* from, int64_t column_stride) noexcept {
#pragma GCC unroll 16
    for (int i = 0; i < kSide; ++i) std::memcpy(&v[i], from + i * column_stride, sizeof v[i]);
    transpose_square<Unit, kSide>(v);
  }
  template <bool kStream, class Any>
  GORGO_INLINE static void put(unsigned char* to, Any v) noexcept {
    if constexpr (kStream) {
      stream_raw(to, v);
    } else {
      std::memcpy(to, &v.raw, sizeof v.raw);
    }
  }
};

// Rows of one matrix that lie side by side in the input, at most a buffer of them: to[r][c] = from[c][r].
inline void transpose_block(int64_t size, unsigned char* to, int64_t row_stride, const unsigned char* from,
                            int64_t column_stride, int64_t rows, int64_t columns, bool streams) noexcept {
  const auto go = [=]<class Unit>(TypeTag<Unit>) {
    using Strip = TransposeStrip<Unit>;
    const auto run = streams ? Strip::template run<true> : Strip::template run<false>;
    for (int64_t c = 0; c < columns; c += Strip::kWidth) {
      run(to + c * Strip::kSize, from + c * column_stride, row_stride, column_stride, rows,
          columns - c < Strip::kWidth ? columns - c : Strip::kWidth);
    }
  };
  switch (size) {
    case 1:
      return go(TypeTag<uint8_t>{});
    case 2:
      return go(TypeTag<uint16_t>{});
    case 4:
      return go(TypeTag<uint32_t>{});
    case 8:
      return go(TypeTag<uint64_t>{});
    default:
      return go(TypeTag<Complex<double>>{});
  }
}

template <class Unit>
void transpose_units(const TransposePlan& plan, const unsigned char* in, unsigned char* out, int64_t begin,
                     int64_t end) noexcept {
  using Strip = TransposeStrip<Unit>;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first_column = unit % plan.strips * Strip::kWidth;
    const int64_t first_row = unit / plan.strips % plan.blocks * TransposePlan::kBlockRows;
    int64_t place = unit / plan.strips / plan.blocks;
    const unsigned char* from = in + first_row * Strip::kSize + first_column * plan.column_stride;
    unsigned char* to = out + first_row * plan.row_stride + first_column * Strip::kSize;
    for (int i = 0; i < plan.rank; ++i) {
      from += place % plan.shape[i] * plan.from[i];
      to += place % plan.shape[i] * plan.to[i];
      place /= plan.shape[i];
    }
    const int64_t rows_left = plan.rows - first_row;
    const int64_t rows = rows_left < TransposePlan::kBlockRows ? rows_left : TransposePlan::kBlockRows;
    const int64_t columns_left = plan.columns - first_column;
    const int64_t columns = columns_left < Strip::kWidth ? columns_left : Strip::kWidth;
    if (plan.streams) {
      Strip::template run<true>(to, from, plan.row_stride, plan.column_stride, rows, columns);
    } else {
      Strip::template run<false>(to, from, plan.row_stride, plan.column_stride, rows, columns);
    }
  }
  if (plan.streams) end_streams();
}

inline void run_transposed(const TransposePlan& plan, const KernelArgs& args, int64_t task) noexcept {
  const auto* in = args.in[0].as<const unsigned char>();
  auto* out = args.out[0].as<unsigned char>();
  const int64_t begin = task * plan.units_per_task;
  const int64_t end = begin + plan.units_per_task < plan.units ? begin + plan.units_per_task : plan.units;
  switch (plan.size) {
    case 1:
      return transpose_units<uint8_t>(plan, in, out, begin, end);
    case 2:
      return transpose_units<uint16_t>(plan, in, out, begin, end);
    case 4:
      return transpose_units<uint32_t>(plan, in, out, begin, end);
    case 8:
      return transpose_units<uint64_t>(plan, in, out, begin, end);
    default:
      return transpose_units<Complex<double>>(plan, in, out, begin, end);
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
