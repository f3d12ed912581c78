// Moving elements between strided layouts on the device without knowing their dtype, only their size; and reading integers of
// any dtype.
//
// A move is planned on the host in elements, then turned into units of 1 to 16 bytes, the widest that pointers, strides and the
// innermost length allow: kernels exist for units, not for dtypes.
// Invariant: positions are numbered in row-major order of the planned shape, merged or not.
// Read next: ops/shape/kernels_cuda_move.cu (the kernels), operand.cuh.
#pragma once

#include "kernels/cuda/operand.cuh"

namespace gorgo::cuda {

using Unit16 = uint4;

// Calls f(TypeTag<U>{}) with the unit of that many bytes.
template <class F>
inline void with_unit(int64_t bytes, const F& f) noexcept {
  switch (bytes) {
    case 1:
      f(TypeTag<uint8_t>{});
      break;
    case 2:
      f(TypeTag<uint16_t>{});
      break;
    case 4:
      f(TypeTag<uint32_t>{});
      break;
    case 8:
      f(TypeTag<uint64_t>{});
      break;
    default:
      f(TypeTag<Unit16>{});
      break;
  }
}

inline bool aligned_to(const void* p, int64_t bytes) noexcept {
  return reinterpret_cast<uintptr_t>(p) % static_cast<uintptr_t>(bytes) == 0;
}

// Two strided layouts of one shape. Axes are added from the outermost in.
struct MovePlan {
  // Twice the largest rank (tile), and one for the bytes of an element.
  static constexpr int kMost = 2 * kMaxAxes + 2;
  int rank = 0;
  int64_t count = 1;
  int64_t shape[kMost] = {};
  int64_t to[kMost] = {};
  int64_t from[kMost] = {};

  void add(int64_t length, int64_t to_stride, int64_t from_stride) noexcept {
    count *= length;
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
inline int64_t stride_along(const KOperand& x, int rank, int i, int64_t length) noexcept {
  const int own = i - (rank - x.rank);
  if (x.scalar || own < 0 || (x.shape[own] == 1 && length != 1)) return 0;
  return x.strides[own];
}

// Moves elements of `element_bytes` bytes.
void move_elements(cudaStream_t stream, const MovePlan& plan, int64_t element_bytes, void* to,
                   const void* from) noexcept;
// Lays the element at `value`, in host memory, at every position; the plan's steps of the source are not looked at.
void fill_elements(cudaStream_t stream, const MovePlan& plan, int64_t element_bytes, void* to,
                   const void* value) noexcept;
// The same from an operand, which may be a Python number.
inline void move_operand(cudaStream_t stream, const MovePlan& plan, int64_t element_bytes, void* to,
                         const KOperand& from) noexcept {
  if (from.host) {
    fill_elements(stream, plan, element_bytes, to, from.data);
  } else {
    move_elements(stream, plan, element_bytes, to, from.data);
  }
}
// Several moves that do not meet, in few launches.
struct Move {
  MovePlan plan;
  void* to = nullptr;
  const void* from = nullptr;
};
void move_all(cudaStream_t stream, Move* moves, int count, int64_t element_bytes) noexcept;

// x in row-major order, as a plan from x to contiguous memory.
inline MovePlan packing_plan(const KOperand& x) noexcept {
  MovePlan plan;
  int64_t step = x.numel;
  if (step == 0) {
    plan.count = 0;
    return plan;
  }
  for (int i = 0; i < x.rank; ++i) {
    step /= x.shape[i];
    plan.add(x.shape[i], step, x.strides[i]);
  }
  return plan;
}

// Where the row-major positions of an operand's own shape lie.
inline Walk<1> walk_of(const KOperand& x) noexcept {
  const int64_t* strides[] = {x.strides};
  return Walk<1>::of(x.shape, x.rank, strides);
}

// Division of positions by a length, of 32 bits where all positions are below 2**31.
struct Splitter {
  int64_t length = 1;
  Divider by;
  bool wide = false;

  Splitter() = default;
  // For positions below `bound`.
  Splitter(int64_t of, int64_t bound) noexcept : length(of), wide(bound >= (int64_t{1} << 31)) {
    if (!wide && of > 0) by = Divider(static_cast<uint32_t>(of));
  }
#if defined(__CUDACC__)
  // Leaves the quotient in `position` and returns the rest.
  GORGO_DEVICE int64_t split(int64_t& position) const {
    if (!wide) {
      const auto n = static_cast<uint32_t>(position);
      const uint32_t q = by.quotient(n);
      position = q;
      return n - q * by.divisor;
    }
    const int64_t q = position / length;
    const int64_t rest = position - q * length;
    position = q;
    return rest;
  }
#endif
};

#if defined(__CUDACC__)
// The integer at position i in memory; uint64 as int64.
GORGO_DEVICE int64_t read_integer(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::Int64:
    case DType::UInt64:
      return static_cast<const int64_t*>(data)[i];
    case DType::Int32:
      return static_cast<const int32_t*>(data)[i];
    case DType::UInt8:
      return static_cast<const uint8_t*>(data)[i];
    case DType::UInt16:
      return static_cast<const uint16_t*>(data)[i];
    case DType::UInt32:
      return static_cast<const uint32_t*>(data)[i];
    case DType::Int8:
      return static_cast<const int8_t*>(data)[i];
    default:
      return static_cast<const int16_t*>(data)[i];
  }
}
#endif

}  // namespace gorgo::cuda
