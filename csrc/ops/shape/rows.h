// Rows of an output, shared out among tasks: for ops whose lines depend on where they lie. And moves of many short lines.
//
// For kernel files (compiled per ISA). Read next: kernels_cpu.cpp, kernels_cpu_padding.cpp.
#pragma once

#include "kernels/move.h"

namespace gorgo::GORGO_ISA_NS {

[[nodiscard]] GORGO_INLINE int64_t row_length(const KOperand& out) noexcept {
  return out.rank > 0 ? out.shape[out.rank - 1] : 1;
}
[[nodiscard]] GORGO_INLINE int64_t rows_per_task(const KOperand& out) noexcept {
  const int64_t rows = kMoveGrain / (row_length(out) > 0 ? row_length(out) : 1);
  return rows > 0 ? rows : 1;
}

struct TaskRows {
  int64_t begin, end;
};
[[nodiscard]] GORGO_INLINE TaskRows rows_of_task(const KOperand& out, int64_t task) noexcept {
  const int64_t rows = out.numel / row_length(out);
  const int64_t begin = task * rows_per_task(out);
  return {begin, begin + rows_per_task(out) < rows ? begin + rows_per_task(out) : rows};
}

namespace {
[[maybe_unused]] int64_t row_tasks(const KernelArgs& args) noexcept {
  const KOperand& out = args.out[0];
  if (out.numel == 0) return 0;
  const int64_t per_task = rows_per_task(out);
  return (out.numel / row_length(out) + per_task - 1) / per_task;
}

// What short lines consist of: pieces of `size` bytes, a power of two up to 32, each with its place in a row on both sides.
struct Pieces {
  static constexpr int kMost = 64;
  int size;
  int count = 1;
  int64_t to[kMost];
  int64_t from[kMost];

  explicit Pieces(int bytes) noexcept : size(bytes) { to[0] = from[0] = 0; }
  // Each piece `length` times, `to_step` and `from_step` bytes apart.
  void repeat(int64_t length, int64_t to_step, int64_t from_step) noexcept {
    for (int64_t k = length - 1; k >= 0; --k) {
      for (int i = 0; i < count; ++i) {
        to[k * count + i] = to[i] + k * to_step;
        from[k * count + i] = from[i] + k * from_step;
      }
    }
    count *= static_cast<int>(length);
  }
};
template <int kSize>
GORGO_INLINE void copy_pieces(const Pieces& pieces, unsigned char* to, int64_t to_row, const unsigned char* from,
                              int64_t from_row, int64_t rows) noexcept {
  if constexpr (kSize == 32) {
    for (; rows > 0; --rows, to += to_row, from += from_row) {
      for (int i = 0; i < pieces.count; ++i) std::memcpy(to + pieces.to[i], from + pieces.from[i], kSize);
    }
    return;
  }
  constexpr int64_t kBlock = 64;  // rows that stay in the first cache until all of their pieces are there
  for (; rows > 0; rows -= kBlock, to += kBlock * to_row, from += kBlock * from_row) {
    const int64_t n = rows < kBlock ? rows : kBlock;
    for (int i = 0; i < pieces.count; ++i) {
      unsigned char* t = to + pieces.to[i];
      const unsigned char* f = from + pieces.from[i];
      int64_t r = 0;
      for (; kSize <= 8 && r + 4 <= n; r += 4, t += 4 * to_row, f += 4 * from_row) {
        unsigned char four[4][kSize];
        std::memcpy(four[0], f, kSize);
        std::memcpy(four[1], f + from_row, kSize);
        std::memcpy(four[2], f + 2 * from_row, kSize);
        std::memcpy(four[3], f + 3 * from_row, kSize);
        std::memcpy(t, four[0], kSize);
        std::memcpy(t + to_row, four[1], kSize);
        std::memcpy(t + 2 * to_row, four[2], kSize);
        std::memcpy(t + 3 * to_row, four[3], kSize);
      }
      for (; r < n; ++r, t += to_row, f += from_row) std::memcpy(t, f, kSize);
    }
  }
}
[[maybe_unused, gnu::noinline]] void copy_rows(const Pieces& pieces, unsigned char* to, int64_t to_row,
                                               const unsigned char* from, int64_t from_row, int64_t rows) noexcept {
  switch (pieces.size) {
    case 1:
      return copy_pieces<1>(pieces, to, to_row, from, from_row, rows);
    case 2:
      return copy_pieces<2>(pieces, to, to_row, from, from_row, rows);
    case 4:
      return copy_pieces<4>(pieces, to, to_row, from, from_row, rows);
    case 8:
      return copy_pieces<8>(pieces, to, to_row, from, from_row, rows);
    case 16:
      return copy_pieces<16>(pieces, to, to_row, from, from_row, rows);
    default:
      return copy_pieces<32>(pieces, to, to_row, from, from_row, rows);
  }
}

// move_range for elements of `size` bytes whose innermost lines are short: moves what they consist of piece by piece, each for many
// rows. Returns false, and does nothing, where lines are long or rows few.
[[maybe_unused, gnu::noinline]] bool move_short_lines(const MovePlan& plan, unsigned char* to,
                                                      const unsigned char* from, int64_t size, int64_t begin,
                                                      int64_t end) noexcept {
  int axis = plan.rank - 1;
  if (axis < 0) return false;
  // Longer lines are worth a call of memcpy.
  const bool dense = plan.to[axis] == 1 && plan.from[axis] == 1;
  if (dense && (axis == 0 || plan.shape[axis] * size > 64)) return false;
  Pieces pieces(static_cast<int>(size));
  int64_t line = 1;  // elements of a row
  if (dense) {
    line = plan.shape[axis--];
    while (pieces.size < 32 && line * size % (2 * pieces.size) == 0) pieces.size *= 2;
    pieces.repeat(line * size / pieces.size, pieces.size, pieces.size);
  }
  for (; axis > 0 && plan.shape[axis] * pieces.count <= Pieces::kMost; --axis) {
    pieces.repeat(plan.shape[axis], plan.to[axis] * size, plan.from[axis] * size);
    line *= plan.shape[axis];
  }
  if (plan.shape[axis] < 8 || end - begin < 8 * line) return false;
  if (line == 1 && plan.to[axis] == 1) return false;
  const int64_t to_row = plan.to[axis] * size;
  const int64_t from_row = plan.from[axis] * size;
  MovePlan rows = plan;
  rows.rank = axis + 1;
  const int64_t first = (begin + line - 1) / line;
  const int64_t last = end / line;
  walk_lines(rows, first, last, [&](int64_t t, int64_t f, int64_t n) __attribute__((always_inline)) {
    copy_rows(pieces, to + t * size, to_row, from + f * size, from_row, n);
  });
  // What is left of a row at either end.
  const auto move_single = [&](int64_t at, int64_t stop) {
    for (; at < stop; ++at) {
      int64_t rest = at;
      int64_t t = 0;
      int64_t f = 0;
      for (int i = plan.rank - 1; i >= 0; --i) {
        t += rest % plan.shape[i] * plan.to[i];
        f += rest % plan.shape[i] * plan.from[i];
        rest /= plan.shape[i];
      }
      std::memcpy(to + t * size, from + f * size, static_cast<size_t>(size));
    }
  };
  move_single(begin, first * line);
  move_single(last * line, end);
  return true;
}
template <class U>
GORGO_INLINE void move_rows(const MovePlan& plan, U* to, const U* from, int64_t begin, int64_t end) noexcept {
  if (move_short_lines(plan, reinterpret_cast<unsigned char*>(to), reinterpret_cast<const unsigned char*>(from),
                       sizeof(U), begin, end)) {
    return;
  }
  move_range(plan, to, from, begin, end);
}

}  // namespace

}  // namespace gorgo::GORGO_ISA_NS
