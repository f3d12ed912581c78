// How results of a convolution and of a transposed one meet the elements of x, for the CUDA kernels that gather.
//
// With a stride of s, element p of a transposed convolution's result meets x through the taps t for which s divides
// p + pad - t * step. Elements p, p + s, p + 2 s ... meet the same taps, which are a period apart: they are a phase, and a
// convolution of x with stride 1.
// Read next: kernels_cuda.cu.
#pragma once

#include <numeric>

#include "kernels/cuda/conv_lay.cuh"

namespace gorgo::cuda {

// Taps of one phase are so far from each other.
inline int64_t period_of(const ConvAxis& axis) noexcept { return axis.stride / std::gcd(axis.stride, axis.step); }

// One axis of x, the weight and the result.
struct GatherAxis {
  int64_t from, from_stride;  // x
  int64_t kernel, weight_stride;
  int64_t out;
  int64_t stride, pad, step;
  int64_t period, phases;
};

template <bool kTransposed>
GatherAxis gather_axis(const ConvAxis& a, int64_t from_stride, int64_t weight_stride) noexcept {
  const int64_t phases = !kTransposed ? 1 : a.stride < a.image ? a.stride : a.image;
  return {kTransposed ? a.pixels : a.image, from_stride, a.kernel, weight_stride,
          kTransposed ? a.image : a.pixels, a.stride,    a.pad,    a.step,
          kTransposed ? period_of(a) : 1,   phases};
}

// The products that results are: one for each group of channels and each phase.
struct GatherSizes {
  int64_t problems, rows, columns, sum, taps;  // of the largest one
};
inline GatherSizes gather_sizes(const ConvSizes& s, bool transposed) noexcept {
  GatherSizes g{s.groups, transposed ? s.group_c : s.group_o, s.n, transposed ? s.group_o : s.group_c, 1};
  for (const ConvAxis& axis : s.axis) {
    if (transposed) {
      const int64_t phases = axis.stride < axis.image ? axis.stride : axis.image;
      g.problems *= phases;
      g.columns *= phases == 0 ? 0 : ceil_div(axis.image, axis.stride);
      g.taps *= ceil_div(axis.kernel, period_of(axis));
    } else {
      g.columns *= axis.pixels;
      g.taps *= axis.kernel;
    }
  }
  return g;
}

inline size_t larger(size_t a, size_t b) noexcept { return a > b ? a : b; }

// ---- sums made directly (kernels_cuda_direct.cu) ----

// The strips of a square window of `side` with unit steps over images of two axes.
struct Strips {
  int64_t side = 0;  // 0: the sizes do not suit
  int64_t stride = 1;
};
inline Strips strips_of(const ConvSizes& s, bool transposed) noexcept {
  const ConvAxis &d = s.axis[0], &h = s.axis[1], &w = s.axis[2];
  const bool flat = d.image == 1 && d.pixels == 1 && d.kernel == 1 && d.pad == 0;
  const bool square = h.kernel == w.kernel && (h.kernel == 3 || h.kernel == 5 || h.kernel == 7);
  const bool even =
      h.step == 1 && w.step == 1 && h.stride == w.stride && (h.stride == 1 || (h.stride == 2 && !transposed));
  return flat && square && even ? Strips{h.kernel, h.stride} : Strips{};
}

constexpr int64_t kFewChannels = 4;

// Groups of few channels, for which tiles would be nearly empty.
inline bool runs_directly(const ConvSizes& s) noexcept {
  return s.groups > 1 && s.group_c <= kFewChannels && s.group_o <= kFewChannels;
}
// Images of one channel, over which sums are so short that a thread has made its own before a block of tiles knows where its elements
// lie. Tensor cores come first.
inline bool sums_are_short(const ConvSizes& s) noexcept { return s.group_c == 1 && strips_of(s, false).side != 0; }
template <class S>
void run_direct(const KernelArgs& args, const ConvSizes& s, bool transposed, const Finish& finish) noexcept;
template <class S>
void run_direct_weight(const KernelArgs& args, const ConvSizes& s) noexcept;
template <class S>
size_t direct_weight_scratch(const ConvSizes& s) noexcept;

// ---- tensor cores, for 16-bit floats (kernels_cuda_mma.cu) ----

// Whether tensor cores suit these sizes; which card there is, is asked when they run.
template <class S>
inline bool suits_tensor_cores(const ConvSizes& s) noexcept {
  constexpr int64_t kLeastWork = int64_t{1} << 23;  // multiply-adds, above which the copies pay
  if (sizeof(S) != 2 || s.taps > kMaskTaps || runs_directly(s) || !can_lay(s)) return false;
  return s.group_o >= 8 && s.group_c > 0 && s.n * s.o * s.pixels > kLeastWork / (s.group_c * s.taps);
}
inline bool has_tensor_cores() noexcept { return card().major >= 8; }
template <class S>
size_t tensor_scratch(const ConvSizes& s, bool transposed, int64_t numel) noexcept;
template <class S>
void run_tensor(const KernelArgs& args, const ConvSizes& s, bool transposed) noexcept;
template <class S>
size_t tensor_weight_scratch(const ConvSizes& s, int64_t numel) noexcept;
template <class S>
void run_tensor_weight(const KernelArgs& args, const ConvSizes& s) noexcept;

// ---- Hopper's tensor cores and copy engine, for 16-bit floats (kernels_cuda_hopper.cu) ----

enum class ConvWay : uint8_t { results, transposed, weights };

// Bytes of scratch with which run_hopper does this; 0 where it does not suit the sizes or the card.
template <class S>
size_t hopper_conv_scratch(const ConvSizes& s, ConvWay way) noexcept;
// False, with nothing written but scratch, where it cannot be done.
template <class S>
bool run_hopper_conv(const KernelArgs& args, const ConvSizes& s, ConvWay way) noexcept;

#if defined(__CUDACC__)

// The elements of one phase along an axis: element i of `count` lies at out0 + i * out_mul in the result, and its window begins at
// i * in_mul + first in x; tap t of it is tap0 + t * tap_every of the weight, and t * every further in x.
struct PhaseAxis {
  int64_t count, out0, out_mul;
  int64_t in_mul, first;
  int64_t taps, tap0, tap_every, every;
};

// Which phase along axis `lane` the phase of this number among all has.
GORGO_DEVICE int64_t phase_along(const GatherAxis (&axes)[3], int64_t phase, int lane) {
  const Quotient by_w(phase, axes[2].phases);
  if (lane == 2) return by_w.rest;
  const Quotient by_h(by_w.quotient, axes[1].phases);
  return lane == 1 ? by_h.rest : by_h.quotient;
}

template <bool kTransposed>
GORGO_DEVICE PhaseAxis axis_phase(const GatherAxis& a, int64_t phase) {
  if constexpr (!kTransposed) {
    return {a.out, 0, 1, a.stride, -a.pad, a.kernel, 0, 1, a.step};
  } else {
    if (a.stride == 1) return {a.out, 0, 1, 1, a.pad, a.kernel, 0, 1, -a.step};
    PhaseAxis p{(a.out - phase + a.stride - 1) / a.stride, phase, a.stride, 1, 0, 0, 0, a.period, 0};
    p.every = -(a.period * a.step / a.stride);
    const int64_t end = a.kernel < a.period ? a.kernel : a.period;
    for (int64_t tap = 0; tap < end; ++tap) {
      const int64_t place = phase + a.pad - tap * a.step;
      if (place % a.stride != 0) continue;
      p.first = place / a.stride;
      p.tap0 = tap;
      p.taps = (a.kernel - 1 - tap) / a.period + 1;
      break;
    }
    return p;
  }
}

// ---- plans of kernels/cuda/conv.cuh ----

// Results: rows are a group's channels, columns all windows of all images; the sum goes over channels, then taps in row order.
template <class S, bool kTransposed, bool kMaskedTaps>
struct GatherPlan {
  using Stored = S;
  using T = typename Element<S>::Compute;
  static constexpr bool kAlongK = false;
  static constexpr bool kMasked = kMaskedTaps;

  struct Setup {
    int64_t group;
    PhaseAxis axis[3];
    Window window;
  };

  GatherAxis axes[3];
  Cut cut;
  const S* x;
  const S* weight;
  const S* added;
  S* result;
  T* partials;
  int64_t n, groups, group_rows, group_sum;  // channels of a group: rows of the result, and those that are summed over
  int64_t x_outer, x_channel, weight_sum, weight_group, factor_row;  // strides
  int64_t bias_stride, plane, out_row, numel;
  bool vectors;
  Finish finish;

  GORGO_DEVICE void setup(Setup& to, int64_t problem, int lane) const {
    const Quotient by_group(problem, groups);
    if (lane == 0) to.group = by_group.rest;
    const int64_t phase = phase_along(axes, by_group.quotient, lane);
    const PhaseAxis axis = axis_phase<kTransposed>(axes[lane], phase);
    to.axis[lane] = axis;
    to.window.taps[lane] = axis.taps;
    to.window.every[lane] = axis.every;
    to.window.size[lane] = axes[lane].from;
  }
  GORGO_DEVICE int64_t rows() const { return group_rows; }
  GORGO_DEVICE int64_t columns(const Setup& s) const { return n * s.axis[0].count * s.axis[1].count * s.axis[2].count; }
  GORGO_DEVICE int64_t depth(const Setup& s) const {
    return group_sum * s.window.taps[0] * s.window.taps[1] * s.window.taps[2];
  }
  GORGO_DEVICE const S* factor(const Setup& s) const { return weight + s.group * weight_group; }
  GORGO_DEVICE const S* image(const Setup& s) const { return x + s.group * group_sum * x_channel; }
  GORGO_DEVICE int64_t out(const Setup& s) const { return s.group * group_rows * plane; }
  GORGO_DEVICE const S* bias(const Setup& s) const {
    return added == nullptr ? nullptr : added + s.group * group_rows * bias_stride;
  }

  // k counts channels, then taps in row order.
  GORGO_DEVICE void entry(const Setup& s, int64_t k, bool exists, Site<kMasked>& site, int64_t& at) const {
    const Window& w = s.window;
    const Quotient by_tap(exists ? k : 0, w.taps[0] * w.taps[1] * w.taps[2]);
    const Quotient by_line(by_tap.rest, w.taps[2]);
    const Quotient by_row(by_line.quotient, w.taps[1]);
    const int64_t tap[3] = {by_row.quotient, by_row.rest, by_line.rest};
    site.at = by_tap.quotient * x_channel;
    at = by_tap.quotient * weight_sum;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      site.at += tap[i] * w.every[i] * axes[i].from_stride;
      at += (s.axis[i].tap0 + tap[i] * s.axis[i].tap_every) * axes[i].weight_stride;
    }
    if constexpr (kMasked) {
      site.info = static_cast<uint64_t>(exists ? by_tap.rest : kMaskTaps);
    } else {
#pragma unroll
      for (int i = 0; i < 3; ++i) site.coordinates[i] = exists ? tap[i] * w.every[i] : kFar;
    }
  }

  GORGO_DEVICE void column(const Setup& s, int64_t index, bool exists, Site<kMasked>& site, int64_t& at) const {
    const Quotient by_w(exists ? index : 0, s.axis[2].count);
    const Quotient by_h(by_w.quotient, s.axis[1].count);
    const Quotient by_d(by_h.quotient, s.axis[0].count);
    const int64_t pixel[3] = {by_d.rest, by_h.rest, by_w.rest};
    int64_t first[3];
    site.at = by_d.quotient * x_outer;
    int64_t position = 0;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      first[i] = pixel[i] * s.axis[i].in_mul + s.axis[i].first;
      site.at += first[i] * axes[i].from_stride;
      position = position * axes[i].out + s.axis[i].out0 + pixel[i] * s.axis[i].out_mul;
    }
    at = exists ? by_d.quotient * (groups * group_rows * plane) + position : -1;
    if constexpr (kMasked) {
      site.info = exists ? s.window.mask(first) : 0;
    } else {
#pragma unroll
      for (int i = 0; i < 3; ++i) site.coordinates[i] = exists ? first[i] : kFar;
    }
  }
};

// Gradients by the weights: rows are the output's channels of a group, columns the weights of one (channel, then tap); the sum goes
// over all pixels of all images.
template <class S, bool kMaskedTaps>
struct WeightPlan {
  using Stored = S;
  using T = typename Element<S>::Compute;
  static constexpr bool kAlongK = true;
  static constexpr bool kMasked = kMaskedTaps;

  struct Setup {
    int64_t group;
    Window window;
  };

  ConvAxis axes[3];
  Cut cut;
  const S* x;
  const S* g;
  S* result;
  T* partials;
  int64_t group_rows, group_c, taps, pixels;
  int64_t x_outer, x_channel, x_axis[3], g_outer, factor_row, g_axis[3];  // strides
  int64_t bias_stride, out_row, numel;
  bool vectors;
  Finish finish;  // none

  GORGO_DEVICE void setup(Setup& to, int64_t problem, int lane) const {
    if (lane == 0) to.group = problem;
    to.window.taps[lane] = axes[lane].kernel;
    to.window.every[lane] = axes[lane].step;
    to.window.size[lane] = axes[lane].image;
  }
  GORGO_DEVICE int64_t rows() const { return group_rows; }
  GORGO_DEVICE int64_t columns(const Setup&) const { return out_row; }
  GORGO_DEVICE int64_t depth(const Setup&) const { return pixels; }
  GORGO_DEVICE const S* factor(const Setup& s) const { return g + s.group * group_rows * factor_row; }
  GORGO_DEVICE const S* image(const Setup& s) const { return x + s.group * group_c * x_channel; }
  GORGO_DEVICE int64_t out(const Setup& s) const { return s.group * group_rows * out_row; }
  GORGO_DEVICE const S* bias(const Setup&) const { return nullptr; }

  GORGO_DEVICE void entry(const Setup& s, int64_t k, bool exists, Site<kMasked>& site, int64_t& at) const {
    const Quotient by_w(exists ? k : 0, axes[2].pixels);
    const Quotient by_h(by_w.quotient, axes[1].pixels);
    const Quotient by_d(by_h.quotient, axes[0].pixels);
    const int64_t pixel[3] = {by_d.rest, by_h.rest, by_w.rest};
    int64_t first[3];
    site.at = by_d.quotient * x_outer;
    at = by_d.quotient * g_outer;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      first[i] = pixel[i] * axes[i].stride - axes[i].pad;
      site.at += first[i] * x_axis[i];
      at += pixel[i] * g_axis[i];
    }
    if constexpr (kMasked) {
      site.info = exists ? s.window.mask(first) : 0;
    } else {
#pragma unroll
      for (int i = 0; i < 3; ++i) site.coordinates[i] = exists ? first[i] : kFar;
    }
  }

  GORGO_DEVICE void column(const Setup&, int64_t index, bool exists, Site<kMasked>& site, int64_t& at) const {
    const Quotient by_tap(exists ? index : 0, taps);
    const Quotient by_line(by_tap.rest, axes[2].kernel);
    const Quotient by_row(by_line.quotient, axes[1].kernel);
    const int64_t tap[3] = {by_row.quotient, by_row.rest, by_line.rest};
    site.at = by_tap.quotient * x_channel;
#pragma unroll
    for (int i = 0; i < 3; ++i) site.at += tap[i] * axes[i].step * x_axis[i];
    at = exists ? index : -1;
    if constexpr (kMasked) {
      site.info = static_cast<uint64_t>(exists ? by_tap.rest : kMaskTaps);
    } else {
#pragma unroll
      for (int i = 0; i < 3; ++i) site.coordinates[i] = exists ? tap[i] * axes[i].step : kFar;
    }
  }
};

#endif

}  // namespace gorgo::cuda
