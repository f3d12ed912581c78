// Index tensors, read by the tile: as integers of 64 bits, checked, and as offsets into what they index.
//
// For kernel files (compiled per ISA). Invariant: negative indices count from the end, and no place outside an axis is ever given out.
// Read next: kernels_cpu_read.cpp, kernels_cpu.cpp.
#pragma once

#include "kernels/move.h"
#include "ops/index/attrs.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kIndexTile = 256;

GORGO_INLINE int64_t smaller(int64_t a, int64_t b) noexcept { return a < b ? a : b; }
GORGO_INLINE int64_t larger(int64_t a, int64_t b) noexcept { return a > b ? a : b; }
GORGO_INLINE int64_t tasks_of(int64_t count, int64_t per_task) noexcept { return (count + per_task - 1) / per_task; }

// `n` integers of an operand from offset `at` on: where they lie, or in `tile`. What exceeds int64 becomes its largest.
[[maybe_unused, gnu::noinline]] const int64_t* integers_of(const KOperand& x, int64_t at, int64_t stride, int64_t n,
                                                           int64_t* tile) noexcept {
  const auto widen = [&](const auto* data) __attribute__((always_inline)) {
    if (stride == 1) {
      for (int64_t i = 0; i < n; ++i) tile[i] = data[at + i];
    } else {
      for (int64_t i = 0; i < n; ++i) tile[i] = data[at + i * stride];
    }
  };
  switch (x.dtype) {
    case DType::Int32:
      widen(x.as<const int32_t>());
      break;
    case DType::UInt8:
      widen(x.as<const uint8_t>());
      break;
    case DType::UInt16:
      widen(x.as<const uint16_t>());
      break;
    case DType::UInt32:
      widen(x.as<const uint32_t>());
      break;
    case DType::Int8:
      widen(x.as<const int8_t>());
      break;
    case DType::Int16:
      widen(x.as<const int16_t>());
      break;
    case DType::UInt64:
      for (int64_t i = 0; i < n; ++i) {
        const uint64_t given = x.as<const uint64_t>()[at + i * stride];
        tile[i] = given > INT64_MAX ? INT64_MAX : static_cast<int64_t>(given);
      }
      break;
    default:
      if (stride == 1) return x.as<const int64_t>() + at;
      widen(x.as<const int64_t>());
      break;
  }
  return tile;
}

// The places on an axis of `length` that the indices [begin, begin + n) of a walk name, times `stride`; they replace what is in
// `places`, or are added to it. Those outside the axis are reported, as numbers of the walk times `count` plus `which`.
[[maybe_unused, gnu::noinline]] bool places_of(const KOperand& x, const MovePlan& plan, int64_t begin, int64_t n,
                                               int64_t length, int64_t stride, bool adds, int64_t* places, Fault* fault,
                                               int64_t count = 1, int32_t which = 0) noexcept {
  const int64_t step = plan.rank > 0 ? plan.from[plan.rank - 1] : 0;
  bool good = true;
  walk_lines(plan, begin, begin + n, [&](int64_t position, int64_t at, int64_t line) __attribute__((always_inline)) {
    int64_t tile[kIndexTile];
    for (int64_t done = 0; done < line; done += kIndexTile) {
      const int64_t m = smaller(line - done, kIndexTile);
      const int64_t* given = integers_of(x, at + done * step, step, m, tile);
      int64_t* const to = places + (position + done - begin);
      int64_t* const found = adds ? tile : to;
      uint64_t outside = 0;
      for (int64_t i = 0; i < m; ++i) {
        const int64_t place = given[i] + (given[i] < 0 ? length : 0);
        outside |= static_cast<uint64_t>(place) | (static_cast<uint64_t>(length - 1) - static_cast<uint64_t>(place));
        found[i] = place;
      }
      if (outside >> 63 != 0) [[unlikely]] {
        good = false;
        given = integers_of(x, at + done * step, step, m, tile);
        for (int64_t i = 0; i < m; ++i) {
          if (given[i] >= -length && given[i] < length) continue;
          fault->report((position + done + i) * count + which, 1 + which, given[i], length);
        }
      } else if (adds) {
        for (int64_t i = 0; i < m; ++i) to[i] += found[i] * stride;
      } else if (stride != 1) {
        for (int64_t i = 0; i < m; ++i) to[i] *= stride;
      }
    }
  });
  return good;
}

// ---- what all ops with index tensors on axes share ----
// Operand layout: `first` leading operands, then the index tensors.
struct IndexGeometry {
  int count = 0;          // index tensors
  int rank = 0;           // of the indexed tensor
  int place = 0;          // of the index axes in the result
  int index_rank = 0;     // broadcast rank of the index tensors
  int64_t positions = 1;  // their broadcast number of elements
  int64_t index_shape[32];
  int64_t axes[32];
  int rest = 0;  // axes of the indexed tensor that no index stands on
  int rest_axes[32];

  IndexGeometry(const int64_t* given_axes, int axis_count, int tensor_rank, const KOperand* indices) noexcept
      : count(axis_count), rank(tensor_rank) {
    place = index_place(given_axes, count, rank);
    uint64_t indexed = 0;
    for (int k = 0; k < count; ++k) {
      axes[k] = given_axes[k] < 0 ? given_axes[k] + rank : given_axes[k];
      indexed |= uint64_t{1} << axes[k];
      index_rank = indices[k].rank > index_rank ? indices[k].rank : index_rank;
    }
    for (int i = 0; i < index_rank; ++i) {
      index_shape[i] = 1;
      for (int k = 0; k < count; ++k) {
        const int own = i - (index_rank - indices[k].rank);
        if (own >= 0 && indices[k].shape[own] != 1) index_shape[i] = indices[k].shape[own];
      }
      positions *= index_shape[i];
    }
    for (int i = 0; i < rank; ++i) {
      if ((indexed >> i & 1u) == 0) rest_axes[rest++] = i;
    }
  }
};

// Where the axes and the index tensors are, of an op whose attributes list the axes.
template <class A, int kFirst>
struct ListLayout {
  static constexpr int kFirstIndex = kFirst;
  static int axes(const KernelArgs& args, int64_t* out) noexcept {
    const Dims& axes = args.attrs_as<A>().axes;
    for (int k = 0; k < axes.size(); ++k) out[k] = axes.data()[k];
    return axes.size();
  }
};
template <class L>
GORGO_INLINE IndexGeometry geometry_of(const KernelArgs& args, int rank) noexcept {
  int64_t axes[32];
  const int count = L::axes(args, axes);
  return {axes, count, rank, args.in + L::kFirstIndex};
}

// Offsets in `target` of the index positions [begin, begin + n), by its strides; false where one is out of range.
[[maybe_unused, gnu::noinline]] bool offsets_of(const IndexGeometry& g, const KOperand* indices, const KOperand& target,
                                                int64_t begin, int64_t n, int64_t* offsets, Fault* fault) noexcept {
  bool good = true;
  for (int k = 0; k < g.count; ++k) {
    const MovePlan plan = plan_in_order(g.index_shape, g.index_rank, indices[k]);
    good = places_of(indices[k], plan, begin, n, target.shape[g.axes[k]], target.strides[g.axes[k]], k > 0, offsets,
                     fault, g.count, k) &&
           good;
  }
  return good;
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
