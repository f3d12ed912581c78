// What the CUDA kernels of the pooling ops share: windows as the host describes them (windows.h), which windows lie over an
// element, and where elements of planes are.
//
// A thread makes one element of a result, whichever it is, and walks what that is made of in row order: windows for a gradient,
// taps otherwise. So no two threads write to the same place, and sums have one order.
// Read next: kernels_cuda.cu, kernels_cuda_avg.cu, kernels_cuda_columns.cu.
#pragma once

#ifndef GORGO_ISA_NS
#define GORGO_ISA_NS cuda
#endif

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/operand.cuh"
#include "ops/pool/windows.h"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 256;

// Divides by a constant; numbers are not negative and, where !wide, below 2**31.
struct Divide {
  int64_t divisor = 1;
  Divider by;
  bool wide = false;
  Divide() = default;
  Divide(int64_t d, int64_t largest) noexcept : divisor(d) {
    constexpr int64_t kLimit = int64_t{1} << 31;
    wide = d >= kLimit || largest >= kLimit;
    if (!wide && d > 0) by = Divider(static_cast<uint32_t>(d));
  }
  GORGO_DEVICE int64_t operator()(int64_t n) const {
    return wide ? n / divisor : int64_t{by.quotient(static_cast<uint32_t>(n))};
  }
};

// Row-major positions of (outer, channel, d, h, w).
struct Positions {
  Divide w, h, d, c;
  int64_t count = 0;
  Positions(int64_t planes, int64_t channels, int64_t size_d, int64_t size_h, int64_t size_w) noexcept
      : count(planes * size_d * size_h * size_w) {
    w = Divide(size_w, count), h = Divide(size_h, count), d = Divide(size_d, count), c = Divide(channels, count);
  }
};
struct Position {
  int64_t plane, outer, channel, z, y, x;
  GORGO_DEVICE Position(const Positions& all, int64_t index) {
    const int64_t line = all.w(index);
    x = index - line * all.w.divisor;
    const int64_t slice = all.h(line);
    y = line - slice * all.h.divisor;
    plane = all.d(slice);
    z = slice - plane * all.d.divisor;
    outer = all.c(plane);
    channel = plane - outer * all.c.divisor;
  }
};

// An operand of `axes` axes after its images and channels.
template <class S>
struct Planes {
  const S* data;
  int64_t outer, channel, slice, row, col;
  Planes(const KOperand& x, int axes) noexcept : data(x.as<S>()) {
    const int leading = x.rank - axes;
    outer = leading == 2 ? x.strides[0] : 0;
    channel = x.strides[leading - 1];
    slice = axes == 3 ? x.strides[leading] : 0;
    row = axes >= 2 ? x.strides[x.rank - 2] : 0;
    col = x.strides[x.rank - 1];
  }
  GORGO_DEVICE const S* plane(const Position& p) const { return data + p.outer * outer + p.channel * channel; }
  GORGO_DEVICE int64_t at(int64_t z, int64_t y, int64_t x) const { return z * slice + y * row + x * col; }
};
inline int64_t channels_of(const KOperand& x, int axes) noexcept { return x.shape[x.rank - axes - 1]; }

// Windows of so many elements along the last two axes have kernels of their own, whose loads are all under way together; 0: others.
inline int small_side(const Windows& s) noexcept {
  const auto is_plain = [](const Axis& a, int64_t side) { return !a.adaptive && a.kernel == side && a.step == 1; };
  if (s.d.input != 1 || s.d.output != 1 || !is_plain(s.d, 1) || s.d.padding != 0) return 0;
  for (const int side : {2, 3}) {
    if (is_plain(s.h, side) && is_plain(s.w, side)) return side;
  }
  return 0;
}
// Calls launch with the side as a constant.
template <class F>
void for_side(int side, F&& launch) {
  switch (side) {
    case 2:
      return launch(std::integral_constant<int, 2>{});
    case 3:
      return launch(std::integral_constant<int, 3>{});
    default:
      return launch(std::integral_constant<int, 0>{});
  }
}

// Windows along one axis, and those that may lie over an element.
struct AxisOver : Axis {
  Divide by_stride, by_input;
  AxisOver() = default;
  explicit AxisOver(const Axis& axis) noexcept : Axis(axis) {
    by_stride = Divide(axis.stride, axis.input + axis.padding + axis.stride);
    by_input = Divide(axis.input, axis.adaptive ? (axis.input + 1) * axis.output + axis.input : 0);
  }
  // Windows outside [begin, end) have no tap at the element; those inside have one if their step is 1.
  GORGO_DEVICE int64_t over_begin(int64_t element) const {
    if (adaptive) return by_input(element * output);
    const int64_t before = element + padding - (kernel - 1) * step;
    return before <= 0 ? 0 : by_stride(before + stride - 1);
  }
  GORGO_DEVICE int64_t over_end(int64_t element) const {
    if (adaptive) return by_input((element + 1) * output + input - 1);
    const int64_t last = by_stride(element + padding) + 1;
    return last < output ? last : output;
  }
};
struct WindowsOver {
  AxisOver d, h, w;
  explicit WindowsOver(const Windows& s) noexcept : d(s.d), h(s.h), w(s.w) {}
};

}  // namespace
}  // namespace gorgo::cuda
