// How CUDA kernels address strided operands: shapes folded on the host, positions by multiplication instead of division.
//
// Invariant: a Walk is built by the launcher from shapes and strides alone. Axes of length one are dropped and neighbours that
// are contiguous with each other in all operands are merged, so most calls have one axis.
// Read next: lane.cuh, ops/elementwise/kernels_cuda.cu.
#pragma once

#include "device/cuda/launch.cuh"

namespace gorgo::cuda {

// Division of 32-bit numbers below 2**31 by a constant (Granlund and Montgomery, "Division by invariant integers using
// multiplication", 1994).
struct Divider {
  uint32_t divisor = 1;
  uint32_t multiplier = 0;
  uint32_t shift = 0;

  Divider() = default;
  explicit Divider(uint32_t d) noexcept : divisor(d) {
    while ((uint64_t{1} << shift) < d) ++shift;
    multiplier = static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift) - d)) / d + 1);
  }
#if defined(__CUDACC__)
  GORGO_DEVICE uint32_t quotient(uint32_t n) const {
    return static_cast<uint32_t>((uint64_t{__umulhi(n, multiplier)} + n) >> shift);
  }
#endif
};

constexpr int kMaxAxes = 32;

// Positions 0..count-1 of a shape, row-major, and where each lies in `Operands` operands.
template <int Operands>
struct Walk {
  int rank = 0;       // after folding; 0 means one element
  bool wide = false;  // needs 64-bit positions
  int64_t count = 1;
  int64_t shape[kMaxAxes];
  Divider by[kMaxAxes];  // valid where !wide
  int64_t strides[Operands][kMaxAxes];

  // `strides_of[o]` has `rank` entries (0 along broadcast axes).
  static Walk of(const int64_t* shape, int rank, const int64_t* const* strides_of) noexcept {
    Walk w;
    for (int i = 0; i < rank; ++i) {
      w.count *= shape[i];
      if (shape[i] == 1) continue;
      bool merges = w.rank > 0;
      for (int o = 0; o < Operands && merges; ++o) {
        merges = w.strides[o][w.rank - 1] == strides_of[o][i] * shape[i];
      }
      if (merges) {
        w.shape[w.rank - 1] *= shape[i];
      } else {
        w.shape[w.rank++] = shape[i];
      }
      for (int o = 0; o < Operands; ++o) w.strides[o][w.rank - 1] = strides_of[o][i];
    }
    w.wide = w.count >= (int64_t{1} << 31);
    if (!w.wide && w.count > 0) {
      for (int i = 0; i < w.rank; ++i) w.by[i] = Divider(static_cast<uint32_t>(w.shape[i]));
    }
    return w;
  }

#if defined(__CUDACC__)
  GORGO_DEVICE void at(int64_t position, int64_t (&offsets)[Operands]) const {
#pragma unroll
    for (int o = 0; o < Operands; ++o) offsets[o] = 0;
    if (!wide) {
      uint32_t left = static_cast<uint32_t>(position);
      for (int i = rank - 1; i > 0; --i) {
        const uint32_t q = by[i].quotient(left);
        const uint32_t here = left - q * by[i].divisor;
        left = q;
#pragma unroll
        for (int o = 0; o < Operands; ++o) offsets[o] += here * strides[o][i];
      }
      if (rank > 0) {
#pragma unroll
        for (int o = 0; o < Operands; ++o) offsets[o] += left * strides[o][0];
      }
    } else {
      int64_t left = position;
      for (int i = rank - 1; i >= 0; --i) {
        const int64_t q = left / shape[i];
        const int64_t here = left - q * shape[i];
        left = q;
#pragma unroll
        for (int o = 0; o < Operands; ++o) offsets[o] += here * strides[o][i];
      }
    }
  }
#endif
};

// Strides of an operand against a result of `rank` axes that it broadcasts to: 0 along axes that it does not have or that have
// length one.
inline void broadcast_strides(const KOperand& x, const int64_t* shape, int rank, int64_t* out) noexcept {
  for (int i = 0; i < rank; ++i) {
    const int axis = x.rank - rank + i;
    out[i] = axis < 0 || (x.shape[axis] == 1 && shape[i] != 1) || x.shape == nullptr ? 0 : x.strides[axis];
  }
}

}  // namespace gorgo::cuda
