// Resampling on CUDA: one kernel writes the table of places and weights, another takes a result for each thread.
//
// Operands are seen as (outer, axis, inner). Places never decrease from one result to the next, so the results that an element
// has a part in are a range: the adjoint looks it up in a second table and adds these results up in order.
// Invariant: a result is the sum of its taps in order, an adjoint's the sum of its results in order, as on the CPU.
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/operand.cuh"
#include "ops/resample/attrs.h"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 256, kEach = 4;  // results of a thread

// What one result is made of.
template <class T, int kTaps>
struct Taps {
  int64_t place[kTaps];
  T weight[kTaps];
};
// The results [begin, end) that may have a tap at an element.
struct Range {
  int64_t begin, end;
};

// How results are placed; steps are made on the host, as the CPU's kernels do.
struct Placing {
  ResampleMode mode;
  bool align_corners;
  int64_t input, size;
  float step_single;
  double step;
  Placing(const ResampleAttrs& a, int64_t length) noexcept
      : mode(static_cast<ResampleMode>(a.mode.index)), align_corners(a.align_corners), input(length), size(a.size) {
    step = a.scale.has ? 1.0 / a.scale.value : static_cast<double>(length) / static_cast<double>(size);
    step_single =
        a.scale.has ? static_cast<float>(1.0 / a.scale.value) : static_cast<float>(length) / static_cast<float>(size);
    if (align_corners) step = size > 1 ? static_cast<double>(length - 1) / static_cast<double>(size - 1) : 0.0;
  }
};

GORGO_DEVICE int64_t limited(int64_t at, int64_t length) { return at < 0 ? 0 : at < length ? at : length - 1; }

// Keys' cubic kernel at a distance below 1 and at one from 1 to 2.
constexpr double kCubic = -0.75;
GORGO_DEVICE double cubic_near(double x) { return ((kCubic + 2.0) * x - (kCubic + 3.0)) * x * x + 1.0; }
GORGO_DEVICE double cubic_far(double x) { return ((kCubic * x - 5.0 * kCubic) * x + 8.0 * kCubic) * x - 4.0 * kCubic; }

template <class T, int kTaps>
__global__ void __launch_bounds__(kThreads) table_kernel(const __grid_constant__ Placing p, Taps<T, kTaps>* table) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t o = int64_t{blockIdx.x} * kThreads + threadIdx.x; o < p.size; o += stride) {
    Taps<T, kTaps> taps;
    if constexpr (kTaps == 1) {
      // In single precision, as other frameworks place them, so that the same elements are chosen.
      const float shift = p.mode == ResampleMode::NearestExact ? 0.5f : 0.0f;
      const float place = (static_cast<float>(o) + shift) * p.step_single;
      taps.place[0] = limited(static_cast<int64_t>(place), p.input);
      taps.weight[0] = T{1};
    } else {
      const auto index = static_cast<double>(o);
      double place = p.align_corners ? p.step * index : p.step * (index + 0.5) - 0.5;
      if constexpr (kTaps == 2) {
        place = place < 0.0 ? 0.0 : place;
        const int64_t below = limited(static_cast<int64_t>(place), p.input);
        double part = place - static_cast<double>(below);
        part = part > 1.0 ? 1.0 : part;
        taps.place[0] = below, taps.place[1] = limited(below + 1, p.input);
        taps.weight[0] = static_cast<T>(1.0 - part), taps.weight[1] = static_cast<T>(part);
      } else {
        const double floor_of = floor(place);
        const auto below = static_cast<int64_t>(floor_of);
        const double part = place - floor_of;
        const double weights[4] = {cubic_far(part + 1.0), cubic_near(part), cubic_near(1.0 - part),
                                   cubic_far(2.0 - part)};
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          taps.place[k] = limited(below - 1 + k, p.input);
          taps.weight[k] = static_cast<T>(weights[k]);
        }
      }
    }
    table[o] = taps;
  }
}

// The first result for which `reaches` holds; once it does it does for all that follow.
template <class F>
GORGO_DEVICE int64_t first_result(int64_t size, F&& reaches) {
  int64_t begin = 0, end = size;
  while (begin < end) {
    const int64_t middle = begin + (end - begin) / 2;
    if (reaches(middle)) {
      end = middle;
    } else {
      begin = middle + 1;
    }
  }
  return begin;
}

template <class T, int kTaps>
__global__ void __launch_bounds__(kThreads)
    ranges_kernel(const Taps<T, kTaps>* table, int64_t size, int64_t input, Range* ranges) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < input; i += stride) {
    ranges[i].begin = first_result(size, [&](int64_t o) { return table[o].place[kTaps - 1] >= i; });
    ranges[i].end = first_result(size, [&](int64_t o) { return table[o].place[0] > i; });
  }
}

// The result as (outer, length, inner), and where the operand's lines along the axis begin.
struct Lines {
  Walk<1> walk;  // over (outer, inner)
  Divider by_inner, by_length;
  int64_t inner, length, count, axis_step;
  bool wide;

  Lines(const KOperand& x, int64_t at, int64_t out_length, int64_t numel) noexcept
      : inner(1), length(out_length), count(numel), wide(numel >= (int64_t{1} << 31)) {
    const int axis = static_cast<int>(at < 0 ? at + x.rank : at);
    axis_step = x.strides[axis];
    int64_t shape[kMaxAxes], strides[kMaxAxes];
    int rank = 0;
    for (int i = 0; i < x.rank; ++i) {
      if (i == axis) continue;
      if (i > axis) inner *= x.shape[i];
      shape[rank] = x.shape[i], strides[rank++] = x.strides[i];
    }
    const int64_t* const all[1] = {strides};
    walk = Walk<1>::of(shape, rank, all);
    if (!wide && numel > 0) {
      by_inner = Divider(static_cast<uint32_t>(inner));
      by_length = Divider(static_cast<uint32_t>(length));
    }
  }
};
struct Spot {
  int64_t base;   // of the line in the operand
  int64_t along;  // the axis
  GORGO_DEVICE Spot(const Lines& l, int64_t i) {
    int64_t line, outer;
    if (l.wide) {
      line = i / l.inner;
      outer = line / l.length;
    } else {
      line = l.by_inner.quotient(static_cast<uint32_t>(i));
      outer = l.by_length.quotient(static_cast<uint32_t>(line));
    }
    along = line - outer * l.length;
    int64_t offsets[1];
    l.walk.at(outer * l.inner + (i - line * l.inner), offsets);
    base = offsets[0];
  }
};

template <class S, int kTaps>
__global__ void __launch_bounds__(kThreads)
    resample_kernel(const __grid_constant__ Lines lines, const S* x,
                    const Taps<typename Element<S>::Compute, kTaps>* table, S* out) {
  using T = typename Element<S>::Compute;
  const int64_t step = int64_t{gridDim.x} * (kThreads * kEach);
  for (int64_t first = int64_t{blockIdx.x} * (kThreads * kEach) + threadIdx.x; first < lines.count; first += step) {
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int64_t i = first + e * kThreads;
      if (i >= lines.count) continue;
      const Spot spot(lines, i);
      const Taps<T, kTaps>& taps = table[spot.along];
      T sum = taps.weight[0] * Element<S>::load(x + (spot.base + taps.place[0] * lines.axis_step));
#pragma unroll
      for (int k = 1; k < kTaps; ++k) {
        sum = sum + taps.weight[k] * Element<S>::load(x + (spot.base + taps.place[k] * lines.axis_step));
      }
      out[i] = Element<S>::round(sum);
    }
  }
}

template <class S, int kTaps>
__global__ void __launch_bounds__(kThreads)
    resample_grad_kernel(const __grid_constant__ Lines lines, const S* g,
                         const Taps<typename Element<S>::Compute, kTaps>* table, const Range* ranges, S* out) {
  using T = typename Element<S>::Compute;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < lines.count; i += step) {
    const Spot spot(lines, i);
    const Range range = ranges[spot.along];
    T sum{0};
    for (int64_t o = range.begin; o < range.end; ++o) {
      const Taps<T, kTaps>& taps = table[o];
      const T value = Element<S>::load(g + (spot.base + o * lines.axis_step));
#pragma unroll
      for (int k = 0; k < kTaps; ++k) {
        if (taps.place[k] == spot.along) sum = sum + taps.weight[k] * value;
      }
    }
    out[i] = Element<S>::round(sum);
  }
}

template <class T, int kTaps>
size_t table_bytes(int64_t size) noexcept {
  return (static_cast<size_t>(size) * sizeof(Taps<T, kTaps>) + 63) / 64 * 64;
}

template <class S, int kTaps, bool kAdjoint>
void run_with(const KernelArgs& args) noexcept {
  using T = typename Element<S>::Compute;
  const auto& a = args.attrs_as<ResampleAttrs>();
  const KOperand &from = args.in[0], &out = args.out[0];
  const int axis = static_cast<int>(a.axis < 0 ? a.axis + from.rank : a.axis);
  const int64_t length = kAdjoint ? a.input_size : from.shape[axis];
  auto* const table = static_cast<Taps<T, kTaps>*>(args.scratch);
  const cudaStream_t stream = stream_of(args);
  table_kernel<T, kTaps><<<grid_for(a.size, kThreads), kThreads, 0, stream>>>(Placing(a, length), table);
  const Lines lines(from, axis, kAdjoint ? length : a.size, out.numel);
  if constexpr (kAdjoint) {
    auto* const ranges = reinterpret_cast<Range*>(static_cast<char*>(args.scratch) + table_bytes<T, kTaps>(a.size));
    ranges_kernel<T, kTaps><<<grid_for(length, kThreads), kThreads, 0, stream>>>(table, a.size, length, ranges);
    resample_grad_kernel<S, kTaps>
        <<<grid_for(out.numel, kThreads, 16), kThreads, 0, stream>>>(lines, from.as<S>(), table, ranges, out.as<S>());
  } else {
    resample_kernel<S, kTaps>
        <<<grid_for(out.numel, kThreads * kEach, 16), kThreads, 0, stream>>>(lines, from.as<S>(), table, out.as<S>());
  }
}

int taps_of(const ResampleAttrs& a) noexcept {
  switch (static_cast<ResampleMode>(a.mode.index)) {
    case ResampleMode::Linear:
      return 2;
    case ResampleMode::Cubic:
      return 4;
    default:
      return 1;
  }
}

template <class S, bool kAdjoint>
void run(const KernelArgs& args, int64_t) noexcept {
  if (args.out[0].numel == 0) return;
  switch (taps_of(args.attrs_as<ResampleAttrs>())) {
    case 1:
      return run_with<S, 1, kAdjoint>(args);
    case 2:
      return run_with<S, 2, kAdjoint>(args);
    default:
      return run_with<S, 4, kAdjoint>(args);
  }
}

template <class S, bool kAdjoint>
size_t scratch(const KernelArgs& args) noexcept {
  using T = typename Element<S>::Compute;
  const auto& a = args.attrs_as<ResampleAttrs>();
  const int taps = taps_of(a);
  const size_t table = taps == 1   ? table_bytes<T, 1>(a.size)
                       : taps == 2 ? table_bytes<T, 2>(a.size)
                                   : table_bytes<T, 4>(a.size);
  return kAdjoint ? table + static_cast<size_t>(a.input_size) * sizeof(Range) : table;
}

template <class S>
void add_all(KernelSink& sink) {
  add(sink, "resample", kDTypeOf<S>, run<S, false>, scratch<S, false>);
  add(sink, "resample_grad", kDTypeOf<S>, run<S, true>, scratch<S, true>);
}

}  // namespace

void fill_resample(KernelSink& sink) {
  add_all<float>(sink);
  add_all<double>(sink);
  add_all<Float16>(sink);
  add_all<BFloat16>(sink);
}

}  // namespace gorgo::cuda
