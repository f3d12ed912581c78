// Convolutions of groups with few channels, and of images with one, on CUDA: sums over windows, made directly.
//
// A thread makes one result of one channel, or a strip of four below each other where the window is a square of 3, 5 or 7: an
// element of x that it reads then serves up to four results. The gradient by the weights goes the same way: a thread keeps the
// sums of a window's taps over the pixels that are its own, and a block joins them in a fixed tree.
// Invariant: the order of every sum depends on shapes alone.
// Read next: ways_cuda.cuh, kernels_cuda.cu.
#include "kernels/cuda/operand.cuh"
#include "ops/conv/attrs.h"
#include "ops/conv/ways_cuda.cuh"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kStrip = 4;    // results of a thread below each other
constexpr int kSplits = 64;  // most parts of a sum over all pixels

// ---- results ----

template <class S>
struct DirectPlan {
  const S* x;
  const S* weight;
  const S* added;
  S* result;
  GatherAxis axes[3];
  int64_t n, channels, group_rows, group_sum;
  int64_t x_outer, x_channel, weight_row, weight_sum, weight_group, bias_stride, plane;
  Finish finish;
};

template <class S, bool kTransposed>
DirectPlan<S> plan_of(const KernelArgs& args, const ConvSizes& s, const Finish& finish) noexcept {
  const ConvStrides x(args.in[0]), weight(args.in[1]);
  const bool has_bias = args.in_count > 2 && args.in[2].given;
  DirectPlan<S> p{};
  p.x = args.in[0].as<S>(), p.weight = args.in[1].as<S>(), p.result = args.out[0].as<S>();
  p.added = has_bias ? args.in[2].as<S>() : nullptr;
  for (int i = 0; i < 3; ++i) p.axes[i] = gather_axis<kTransposed>(s.axis[i], x.axis[i], weight.axis[i]);
  p.n = s.n;
  p.group_rows = kTransposed ? s.group_c : s.group_o;
  p.group_sum = kTransposed ? s.group_o : s.group_c;
  p.channels = s.groups * p.group_rows;
  p.x_outer = x.outer, p.x_channel = x.channel;
  p.weight_row = kTransposed ? weight.channel : weight.outer;
  p.weight_sum = kTransposed ? weight.outer : weight.channel;
  p.weight_group = s.group_o * weight.outer;
  p.bias_stride = has_bias ? args.in[2].strides[0] : 0;
  p.plane = kTransposed ? s.image : s.pixels;
  p.finish = finish;
  return p;
}

template <class S, bool kTransposed>
__global__ void __launch_bounds__(kThreads, 4) direct_kernel(const __grid_constant__ DirectPlan<S> p) {
  using T = typename Element<S>::Compute;
  const int64_t count = p.n * p.channels * p.plane;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x; index < count; index += step) {
    const Quotient by_w(index, p.axes[2].out);
    const Quotient by_h(by_w.quotient, p.axes[1].out);
    const Quotient by_d(by_h.quotient, p.axes[0].out);
    const Quotient by_channel(by_d.quotient, p.channels);
    const Quotient by_group(by_channel.rest, p.group_rows);
    const int64_t pixel[3] = {by_d.rest, by_h.rest, by_w.rest};
    // Of each axis the taps that meet x, the first of them, and where that one lies.
    int64_t taps[3], first[3], every[3], tap0[3], tap_every[3];
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      const GatherAxis& a = p.axes[i];
      if constexpr (kTransposed) {
        const PhaseAxis phase = axis_phase<true>(a, pixel[i] % a.stride);
        first[i] = pixel[i] / a.stride + phase.first;
        every[i] = phase.every, tap0[i] = phase.tap0, tap_every[i] = phase.tap_every;
        taps[i] = phase.taps;
      } else {
        first[i] = pixel[i] * a.stride - a.pad;
        every[i] = a.step, tap0[i] = 0, tap_every[i] = 1;
        taps[i] = a.kernel;
      }
    }
    const S* const x = p.x + by_channel.quotient * p.x_outer + by_group.quotient * p.group_sum * p.x_channel;
    const S* const weight = p.weight + by_group.quotient * p.weight_group + by_group.rest * p.weight_row;
    T sum{0};
    for (int64_t c = 0; c < p.group_sum; ++c) {
      for (int64_t l = 0; l < taps[0]; ++l) {
        const int64_t z = first[0] + l * every[0];
        if (z < 0 || z >= p.axes[0].from) continue;
        for (int64_t i = 0; i < taps[1]; ++i) {
          const int64_t y = first[1] + i * every[1];
          if (y < 0 || y >= p.axes[1].from) continue;
          const S* const line = x + c * p.x_channel + z * p.axes[0].from_stride + y * p.axes[1].from_stride;
          const S* const factors = weight + c * p.weight_sum + (tap0[0] + l * tap_every[0]) * p.axes[0].weight_stride +
                                   (tap0[1] + i * tap_every[1]) * p.axes[1].weight_stride;
          for (int64_t j = 0; j < taps[2]; ++j) {
            const int64_t at = first[2] + j * every[2];
            if (at < 0 || at >= p.axes[2].from) continue;
            sum = multiply_add(Element<S>::load(line + at * p.axes[2].from_stride),
                               Element<S>::load(factors + (tap0[2] + j * tap_every[2]) * p.axes[2].weight_stride), sum);
          }
        }
      }
    }
    if (p.added != nullptr) sum = sum + Element<S>::load(p.added + by_channel.rest * p.bias_stride);
    p.result[index] = finished_at(p.finish, Element<S>::round(sum), index);
  }
}

// A transposed convolution with stride 1 is one with its taps in reverse.
template <class S, int kSide, int kStride>
__global__ void __launch_bounds__(kThreads, 4) strip_kernel(const __grid_constant__ DirectPlan<S> p, bool reversed) {
  using T = typename Element<S>::Compute;
  constexpr int kRows = (kStrip - 1) * kStride + kSide;
  const GatherAxis &h = p.axes[1], &w = p.axes[2];
  const int64_t strips = (h.out + kStrip - 1) / kStrip;
  const int64_t count = p.n * p.channels * strips * w.out;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x; index < count; index += step) {
    const Quotient by_w(index, w.out);
    const Quotient by_strip(by_w.quotient, strips);
    const Quotient by_channel(by_strip.quotient, p.channels);
    const Quotient by_group(by_channel.rest, p.group_rows);
    const int64_t row = by_strip.rest * kStrip, col = by_w.rest;
    const int64_t top = row * kStride - (reversed ? kSide - 1 - h.pad : h.pad);
    const int64_t left = col * kStride - (reversed ? kSide - 1 - w.pad : w.pad);
    const S* const x = p.x + by_channel.quotient * p.x_outer + by_group.quotient * p.group_sum * p.x_channel;
    const S* const weight = p.weight + by_group.quotient * p.weight_group + by_group.rest * p.weight_row;
    T sums[kStrip];
#pragma unroll
    for (int r = 0; r < kStrip; ++r) sums[r] = T{0};
    for (int64_t c = 0; c < p.group_sum; ++c) {
      const S* const taps = weight + c * p.weight_sum;
      const S* const window = x + c * p.x_channel + top * h.from_stride + left * w.from_stride;
      // Column by column, so that few taps are in registers.
#pragma unroll(kSide == 3 && kStride == 1 ? 3 : 1)
      for (int j = 0; j < kSide; ++j) {
        const bool has_column = left + j >= 0 && left + j < w.from;
        const int64_t tap_column = (reversed ? kSide - 1 - j : j) * w.weight_stride;
        T tap[kSide];
#pragma unroll
        for (int i = 0; i < kSide; ++i) {
          tap[i] = Element<S>::load(taps + ((reversed ? kSide - 1 - i : i) * h.weight_stride + tap_column));
        }
        T values[kRows];
#pragma unroll
        for (int y = 0; y < kRows; ++y) {
          const bool inside = has_column && top + y >= 0 && top + y < h.from;
          values[y] = inside ? Element<S>::load(window + (y * h.from_stride + j * w.from_stride)) : T{0};
        }
#pragma unroll
        for (int r = 0; r < kStrip; ++r) {
#pragma unroll
          for (int i = 0; i < kSide; ++i) sums[r] = multiply_add(values[r * kStride + i], tap[i], sums[r]);
        }
      }
    }
    const T added = p.added != nullptr ? Element<S>::load(p.added + by_channel.rest * p.bias_stride) : T{0};
    const int64_t to = (by_strip.quotient * h.out + row) * w.out + col;
#pragma unroll
    for (int r = 0; r < kStrip; ++r) {
      if (row + r >= h.out) continue;
      p.result[to + r * w.out] = finished_at(p.finish, Element<S>::round(sums[r] + added), to + r * w.out);
    }
  }
}

template <class S, int kSide>
void run_strips(const DirectPlan<S>& p, int64_t stride, bool reversed, cudaStream_t stream) noexcept {
  const int64_t threads = p.n * p.channels * ceil_div(p.axes[1].out, kStrip) * p.axes[2].out;
  const unsigned blocks = grid_for(threads, kThreads, 16);
  if (stride == 1) {
    strip_kernel<S, kSide, 1><<<blocks, kThreads, 0, stream>>>(p, reversed);
  } else {
    strip_kernel<S, kSide, 2><<<blocks, kThreads, 0, stream>>>(p, reversed);
  }
}

template <class S, bool kTransposed>
void run_results(const KernelArgs& args, const ConvSizes& s, const Finish& finish) noexcept {
  const DirectPlan<S> p = plan_of<S, kTransposed>(args, s, finish);
  const cudaStream_t stream = stream_of(args);
  const Strips strips = strips_of(s, kTransposed);
  switch (strips.side) {
    case 3:
      return run_strips<S, 3>(p, strips.stride, kTransposed, stream);
    case 5:
      return run_strips<S, 5>(p, strips.stride, kTransposed, stream);
    case 7:
      return run_strips<S, 7>(p, strips.stride, kTransposed, stream);
    default:
      direct_kernel<S, kTransposed><<<grid_for(args.out[0].numel, kThreads, 16), kThreads, 0, stream>>>(p);
  }
}

// ---- the gradient by the weights ----

struct WeightSplit {
  int64_t taps_each, chunks;  // a block's taps
  int64_t units, units_each;  // of pixels: strips or pixels of all images
  int64_t splits;
};

WeightSplit split_of(const ConvSizes& s) noexcept {
  // A unit takes a thread about a microsecond, the launch that adds up parts two.
  constexpr int64_t kBlocks = 1024, kUnitsOfThread = 2;
  const Strips strips = strips_of(s, false);
  WeightSplit w{};
  w.taps_each = strips.side != 0 ? strips.side * strips.side : 8;
  w.chunks = ceil_div(s.taps, w.taps_each);
  w.units = strips.side != 0 ? s.n * ceil_div(s.axis[1].pixels, kStrip) * s.axis[2].pixels : s.n * s.pixels;
  const int64_t blocks = s.o * s.group_c * w.chunks;
  int64_t splits = blocks == 0 ? 1 : kBlocks / blocks;
  const int64_t most = w.units / (kThreads * kUnitsOfThread);
  splits = splits > most ? most : splits;
  splits = splits < 1 ? 1 : splits > kSplits ? kSplits : splits;
  w.units_each = ceil_div(w.units, splits);
  w.splits = w.units_each == 0 ? 1 : ceil_div(w.units, w.units_each);
  return w;
}

template <class S>
struct DirectWeightPlan {
  const S* x;
  const S* g;
  S* result;
  typename Element<S>::Compute* partials;  // null: there is one split
  ConvAxis axes[3];
  int64_t x_outer, x_channel, x_axis[3], g_outer, g_channel, g_axis[3];
  int64_t n, group_o, group_c, taps, numel;
  WeightSplit split;
};

// Which weights and which pixels a block has.
struct WeightBlock {
  int64_t chunk, weights;  // weights: its output channel times the channels of a group, plus its input channel
  int64_t o, channel;      // channel: of x
  int64_t split, begin, end;
  template <class S>
  GORGO_DEVICE explicit WeightBlock(const DirectWeightPlan<S>& p) {
    const Quotient by_split(blockIdx.x, p.split.splits);
    const Quotient by_chunk(by_split.quotient, p.split.chunks);
    const Quotient by_channel(by_chunk.quotient, p.group_c);
    split = by_split.rest, chunk = by_chunk.rest, weights = by_chunk.quotient;
    o = by_channel.quotient;
    channel = o / p.group_o * p.group_c + by_channel.rest;
    begin = split * p.split.units_each;
    end = begin + p.split.units_each < p.split.units ? begin + p.split.units_each : p.split.units;
  }
};

// Joins the threads' sums, of which `used` count, and writes them.
template <class S, int kSums>
GORGO_DEVICE void join(const DirectWeightPlan<S>& p, const WeightBlock& b, typename Element<S>::Compute (&sums)[kSums],
                       int64_t used) {
  using T = typename Element<S>::Compute;
  __shared__ T parts[kSums][kThreads / 32];
#pragma unroll
  for (int t = 0; t < kSums; ++t) {
#pragma unroll
    for (int other = 16; other > 0; other /= 2) sums[t] = sums[t] + __shfl_xor_sync(0xffffffffu, sums[t], other);
    if (threadIdx.x % 32 == 0) parts[t][threadIdx.x / 32] = sums[t];
  }
  __syncthreads();
  const auto t = static_cast<int>(threadIdx.x);
  if (t >= kSums || t >= used) return;
  T sum = parts[t][0];
#pragma unroll
  for (int w = 1; w < kThreads / 32; ++w) sum = sum + parts[t][w];
  const int64_t at = b.weights * p.taps + b.chunk * p.split.taps_each + t;
  if (p.partials != nullptr) {
    p.partials[b.split * p.numel + at] = sum;
  } else {
    p.result[at] = Element<S>::round(sum);
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads) direct_weight_kernel(const __grid_constant__ DirectWeightPlan<S> p) {
  using T = typename Element<S>::Compute;
  constexpr int kTaps = 8;
  const WeightBlock b(p);
  // The taps of this block, as steps in x along each axis; one behind the last is nowhere.
  int64_t steps[kTaps][3];
#pragma unroll
  for (int t = 0; t < kTaps; ++t) {
    const int64_t tap = b.chunk * kTaps + t;
    const Quotient by_line(tap, p.axes[2].kernel);
    const Quotient by_row(by_line.quotient, p.axes[1].kernel);
    const bool exists = tap < p.taps;
    steps[t][0] = exists ? by_row.quotient * p.axes[0].step : kFar;
    steps[t][1] = by_row.rest * p.axes[1].step;
    steps[t][2] = by_line.rest * p.axes[2].step;
  }
  T sums[kTaps];
#pragma unroll
  for (int t = 0; t < kTaps; ++t) sums[t] = T{0};
  for (int64_t unit = b.begin + threadIdx.x; unit < b.end; unit += kThreads) {
    const Quotient by_w(unit, p.axes[2].pixels);
    const Quotient by_h(by_w.quotient, p.axes[1].pixels);
    const Quotient by_d(by_h.quotient, p.axes[0].pixels);
    const int64_t pixel[3] = {by_d.rest, by_h.rest, by_w.rest};
    int64_t first[3];
    const S* x = p.x + by_d.quotient * p.x_outer + b.channel * p.x_channel;
    const S* g = p.g + by_d.quotient * p.g_outer + b.o * p.g_channel;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      first[i] = pixel[i] * p.axes[i].stride - p.axes[i].pad;
      g += pixel[i] * p.g_axis[i];
    }
    const T value = Element<S>::load(g);
#pragma unroll
    for (int t = 0; t < kTaps; ++t) {
      bool inside = true;
      int64_t offset = 0;
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        const int64_t at = first[i] + steps[t][i];
        inside = inside && at >= 0 && at < p.axes[i].image;
        offset += at * p.x_axis[i];
      }
      if (inside) sums[t] = multiply_add(value, Element<S>::load(x + offset), sums[t]);
    }
  }
  join<S, kTaps>(p, b, sums, p.taps - b.chunk * kTaps);
}

template <class S, int kSide, int kStride>
__global__ void __launch_bounds__(kThreads, sizeof(S) == 8 ? 0 : 2)
    strip_weight_kernel(const __grid_constant__ DirectWeightPlan<S> p) {
  using T = typename Element<S>::Compute;
  constexpr int kRows = (kStrip - 1) * kStride + kSide;
  const WeightBlock b(p);
  const ConvAxis &h = p.axes[1], &w = p.axes[2];
  const int64_t strips = (h.pixels + kStrip - 1) / kStrip;
  T sums[kSide * kSide];
#pragma unroll
  for (int t = 0; t < kSide * kSide; ++t) sums[t] = T{0};
  for (int64_t unit = b.begin + threadIdx.x; unit < b.end; unit += kThreads) {
    const Quotient by_w(unit, w.pixels);
    const Quotient by_strip(by_w.quotient, strips);
    const int64_t row = by_strip.rest * kStrip, col = by_w.rest;
    const int64_t top = row * kStride - h.pad, left = col * kStride - w.pad;
    const S* const g = p.g + by_strip.quotient * p.g_outer + b.o * p.g_channel + row * p.g_axis[1] + col * p.g_axis[2];
    const S* const x =
        p.x + by_strip.quotient * p.x_outer + b.channel * p.x_channel + top * p.x_axis[1] + left * p.x_axis[2];
    T values[kStrip];
#pragma unroll
    for (int r = 0; r < kStrip; ++r) values[r] = row + r < h.pixels ? Element<S>::load(g + r * p.g_axis[1]) : T{0};
#pragma unroll
    for (int y = 0; y < kRows; ++y) {
      const bool has_row = top + y >= 0 && top + y < h.image;
      const S* const line = x + y * p.x_axis[1];
#pragma unroll
      for (int j = 0; j < kSide; ++j) {
        const bool inside = has_row && left + j >= 0 && left + j < w.image;
        const T value = inside ? Element<S>::load(line + j * p.x_axis[2]) : T{0};
#pragma unroll
        for (int r = 0; r < kStrip; ++r) {
          const int i = y - r * kStride;
          if (i < 0 || i >= kSide) continue;
          // Results below the last row have no window, and what lies there may be anything.
          if (row + r < h.pixels) sums[i * kSide + j] = multiply_add(values[r], value, sums[i * kSide + j]);
        }
      }
    }
  }
  join<S, kSide * kSide>(p, b, sums, kSide * kSide);
}

template <class S, int kSide>
void run_weight_strips(const DirectWeightPlan<S>& p, int64_t stride, unsigned blocks, cudaStream_t stream) noexcept {
  if (stride == 1) {
    strip_weight_kernel<S, kSide, 1><<<blocks, kThreads, 0, stream>>>(p);
  } else {
    strip_weight_kernel<S, kSide, 2><<<blocks, kThreads, 0, stream>>>(p);
  }
}

template <class S>
void run_weight(const KernelArgs& args, const ConvSizes& s) noexcept {
  using T = typename Element<S>::Compute;
  const KOperand& out = args.out[0];
  const ConvStrides x(args.in[0]), g(args.in[1]);
  DirectWeightPlan<S> p{};
  p.x = args.in[0].as<S>(), p.g = args.in[1].as<S>(), p.result = out.as<S>();
  p.split = split_of(s);
  p.partials = p.split.splits > 1 ? static_cast<T*>(args.scratch) : nullptr;
  for (int i = 0; i < 3; ++i) {
    p.axes[i] = s.axis[i];
    p.x_axis[i] = x.axis[i], p.g_axis[i] = g.axis[i];
  }
  p.x_outer = x.outer, p.x_channel = x.channel, p.g_outer = g.outer, p.g_channel = g.channel;
  p.n = s.n, p.group_o = s.group_o, p.group_c = s.group_c, p.taps = s.taps, p.numel = out.numel;
  const auto blocks = static_cast<unsigned>(s.o * s.group_c * p.split.chunks * p.split.splits);
  const cudaStream_t stream = stream_of(args);
  const Strips strips = strips_of(s, false);
  switch (strips.side) {
    case 3:
      run_weight_strips<S, 3>(p, strips.stride, blocks, stream);
      break;
    case 5:
      run_weight_strips<S, 5>(p, strips.stride, blocks, stream);
      break;
    case 7:
      run_weight_strips<S, 7>(p, strips.stride, blocks, stream);
      break;
    default:
      direct_weight_kernel<S><<<blocks, kThreads, 0, stream>>>(p);
  }
  if (p.partials != nullptr) {
    add_partials<S>(p.partials, p.split.splits, out.numel, nullptr, 0, 1, 1, p.result, {}, stream);
  }
}

}  // namespace

template <class S>
void run_direct(const KernelArgs& args, const ConvSizes& s, bool transposed, const Finish& finish) noexcept {
  transposed ? run_results<S, true>(args, s, finish) : run_results<S, false>(args, s, finish);
}
template <class S>
void run_direct_weight(const KernelArgs& args, const ConvSizes& s) noexcept {
  run_weight<S>(args, s);
}
template <class S>
size_t direct_weight_scratch(const ConvSizes& s) noexcept {
  const WeightSplit split = split_of(s);
  if (split.splits == 1) return 0;
  return static_cast<size_t>(split.splits * s.o * s.group_c * s.taps) * sizeof(typename Element<S>::Compute);
}

#define GORGO_X(S)                                                                                \
  template void run_direct<S>(const KernelArgs&, const ConvSizes&, bool, const Finish&) noexcept; \
  template void run_direct_weight<S>(const KernelArgs&, const ConvSizes&) noexcept;               \
  template size_t direct_weight_scratch<S>(const ConvSizes&) noexcept;
GORGO_X(float)
GORGO_X(double)
GORGO_X(Float16)
GORGO_X(BFloat16)
#undef GORGO_X

}  // namespace gorgo::cuda
