// Moving elements between strided layouts without knowing their dtype, only their size.
//
// For kernel files (compiled per ISA). A move is planned once per task: axes that walk both sides with one step are
// merged, then a flat range of positions is moved line by line, so that a task is any range of positions. Invariant:
// positions are numbered in row-major order of the planned shape, merged or not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/dtype.h"
#include "core/kernel_args.h"
#include "kernels/coverage.h"

namespace gorgo::GORGO_ISA_NS {

// Elements seen as bytes of one size; they alias every dtype of that size.
template <class T>
struct [[gnu::may_alias]] Unit {
  T bits;
};
using Unit1 = Unit<uint8_t>;
using Unit2 = Unit<uint16_t>;
using Unit4 = Unit<uint32_t>;
using Unit8 = Unit<uint64_t>;
struct [[gnu::may_alias]] Unit16 {
  uint64_t low;
  uint64_t high;
};

// The unit of T's size; a unit stands for itself.
template <class T>
using UnitLike = std::conditional_t<
    sizeof(T) == 1, Unit1,
    std::conditional_t<sizeof(T) == 2, Unit2,
                       std::conditional_t<sizeof(T) == 4, Unit4, std::conditional_t<sizeof(T) == 8, Unit8, Unit16>>>>;

// Copies at most 64 bytes, which a call of memcpy would take longer for.
template <int kPiece>
GORGO_INLINE void copy_ends(unsigned char* to, const unsigned char* from, int64_t bytes) noexcept {
  unsigned char head[kPiece];
  unsigned char tail[kPiece];
  std::memcpy(head, from, kPiece);
  std::memcpy(tail, from + bytes - kPiece, kPiece);
  std::memcpy(to, head, kPiece);
  std::memcpy(to + bytes - kPiece, tail, kPiece);
}
GORGO_INLINE void copy_few(unsigned char* to, const unsigned char* from, int64_t bytes) noexcept {
  if (bytes >= 32) return copy_ends<32>(to, from, bytes);
  if (bytes >= 16) return copy_ends<16>(to, from, bytes);
  if (bytes >= 8) return copy_ends<8>(to, from, bytes);
  if (bytes >= 4) return copy_ends<4>(to, from, bytes);
  for (int64_t i = 0; i < bytes; ++i) to[i] = from[i];
}

// Positions per task of a move: enough to be worth a wake-up, few enough to share out.
inline constexpr int64_t kMoveGrain = 16384;

GORGO_INLINE int64_t move_tasks(int64_t count) noexcept { return (count + kMoveGrain - 1) / kMoveGrain; }

// Two strided layouts of one shape. Axes are added from the outermost in.
struct MovePlan {
  static constexpr int kMaxAxes = 66;
  int rank = 0;
  int64_t shape[kMaxAxes];
  int64_t to[kMaxAxes];
  int64_t from[kMaxAxes];

  GORGO_INLINE void add(int64_t length, int64_t to_stride, int64_t from_stride) noexcept {
    if (length == 1) return;
    if (rank > 0 && to[rank - 1] == to_stride * length && from[rank - 1] == from_stride * length) {
      shape[rank - 1] *= length;
      to[rank - 1] = to_stride;
      from[rank - 1] = from_stride;
      return;
    }
    shape[rank] = length;
    to[rank] = to_stride;
    from[rank] = from_stride;
    ++rank;
  }
};

// The strides of operand `x` broadcast to an axis of the shape it is moved along: axis i of `rank`, of length `length`.
GORGO_INLINE int64_t stride_along(const KOperand& x, int32_t rank, int32_t i, int64_t length) noexcept {
  const int32_t own = i - (rank - x.rank);
  if (x.scalar || own < 0 || (x.shape[own] == 1 && length != 1)) return 0;
  return x.strides[own];
}

// All positions of a shape in row-major order: `to` numbers them, `from` is where the operand, broadcast to the shape, has them.
[[maybe_unused, gnu::noinline]] static MovePlan plan_in_order(const int64_t* shape, int32_t rank,
                                                              const KOperand& x) noexcept {
  MovePlan plan;
  int64_t step = 1;
  for (int32_t i = 0; i < rank; ++i) step *= shape[i];
  for (int32_t i = 0; i < rank; ++i) {
    step /= shape[i];
    plan.add(shape[i], step, stride_along(x, rank, i, shape[i]));
  }
  return plan;
}
GORGO_INLINE MovePlan plan_in_order(const KOperand& x) noexcept { return plan_in_order(x.shape, x.rank, x); }

// Calls line(to offset, from offset, length) for the lines that make up the positions [begin, end), in order.
template <class Line>
GORGO_INLINE void walk_lines(const MovePlan& plan, int64_t begin, int64_t end, const Line& line) noexcept {
  if (begin >= end) return;
  if (plan.rank == 0) {
    line(int64_t{0}, int64_t{0}, int64_t{1});
    return;
  }
  const int last = plan.rank - 1;
  const int64_t inner = plan.shape[last];
  int64_t index[MovePlan::kMaxAxes];
  int64_t row = begin / inner;
  int64_t column = begin % inner;
  int64_t to = 0;
  int64_t from = 0;
  for (int i = last - 1; i >= 0; --i) {
    index[i] = row % plan.shape[i];
    row /= plan.shape[i];
    to += index[i] * plan.to[i];
    from += index[i] * plan.from[i];
  }
  for (;;) {
    const int64_t left = end - begin;
    const int64_t n = inner - column < left ? inner - column : left;
    line(to + column * plan.to[last], from + column * plan.from[last], n);
    begin += n;
    if (begin >= end) return;
    column = 0;
    for (int i = last - 1; i >= 0; --i) {
      to += plan.to[i];
      from += plan.from[i];
      if (++index[i] < plan.shape[i]) break;
      index[i] = 0;
      to -= plan.to[i] * plan.shape[i];
      from -= plan.from[i] * plan.shape[i];
    }
  }
}

template <class U>
GORGO_INLINE void move_line(U* to, int64_t to_stride, const U* from, int64_t from_stride, int64_t n) noexcept {
  if (to_stride == 1 && from_stride == 1) {
    if (n >= 16) {
      std::memmove(to, from, static_cast<size_t>(n) * sizeof(U));
    } else {
      for (int64_t i = 0; i < n; ++i) to[i] = from[i];
    }
  } else if (to_stride == 1 && from_stride == 0) {
    const U value = *from;
    for (int64_t i = 0; i < n; ++i) to[i] = value;
  } else if (to_stride == 1) {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * from_stride];
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * to_stride] = from[i * from_stride];
  }
}

template <class U>
GORGO_INLINE void move_range(const MovePlan& plan, U* to, const U* from, int64_t begin, int64_t end) noexcept {
  const int64_t to_stride = plan.rank > 0 ? plan.to[plan.rank - 1] : 0;
  const int64_t from_stride = plan.rank > 0 ? plan.from[plan.rank - 1] : 0;
  walk_lines(plan, begin, end, [&](int64_t t, int64_t f, int64_t n) __attribute__((always_inline)) {
    move_line(to + t, to_stride, from + f, from_stride, n);
  });
}

// Adds `kernel`, templated on a unit, to the rows of every dtype: Table<U>::kernel() gives the one for elements like U.
template <template <class> class Table>
static void add_by_size(KernelSink& sink, const char* op) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto d = static_cast<DType>(i);
    switch (dtype_size(d)) {
      case 1:
        sink.add(op, d, Table<Unit1>::kernel());
        break;
      case 2:
        sink.add(op, d, Table<Unit2>::kernel());
        break;
      case 4:
        sink.add(op, d, Table<Unit4>::kernel());
        break;
      case 8:
        sink.add(op, d, Table<Unit8>::kernel());
        break;
      default:
        sink.add(op, d, Table<Unit16>::kernel());
        break;
    }
  }
}

}  // namespace gorgo::GORGO_ISA_NS
