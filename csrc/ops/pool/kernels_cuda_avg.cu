// Averages over windows on CUDA, and their gradients.
//
// Small windows have a thread each, which sums in row order; larger ones have a warp or a block, whose threads sum every 32nd
// (256th) element and then join in a tree. An element of the gradient is a sum over the windows that lie over it.
// Invariant: which of these it is, and so the order of every sum, depends on shapes alone.
// Read next: windows_cuda.cuh.
#include "ops/pool/windows_cuda.cuh"

namespace gorgo::cuda {
namespace {

constexpr int64_t kMostOfThread = 64, kMostOfWarp = 4096;  // elements of a window

// The elements [begin, end) of the image under window o along an axis.
struct Span {
  int64_t begin, end;
  GORGO_DEVICE Span(const Axis& a, int64_t o) {
    const int64_t first = a.first(o);
    begin = first < 0 ? 0 : first < a.input ? first : a.input;
    end = a.adaptive ? first + a.tap_end(o) : first + a.kernel < a.input ? first + a.kernel : a.input;
    if (end < begin) end = begin;
  }
  [[nodiscard]] GORGO_DEVICE int64_t size() const { return end - begin; }
};

// What sums over windows are divided by: each axis has a part in it. A window without an element yields zero, whatever it is
// divided by.
struct Divisors {
  bool include_padding;
  bool given;
  int64_t value;
  explicit Divisors(const AvgPoolAttrs& a) noexcept
      : include_padding(a.count_include_pad), given(a.divisor_override.has), value(a.divisor_override.value) {}
  GORGO_DEVICE int64_t along(const Axis& a, int64_t o) const {
    int64_t size;
    if (!include_padding || a.adaptive) {
      size = Span(a, o).size();
    } else {
      const int64_t first = a.first(o);
      size = (first + a.kernel < a.input + a.padding ? first + a.kernel : a.input + a.padding) - first;
    }
    return size < 1 ? 1 : size;
  }
  GORGO_DEVICE int64_t of_window(const Windows& s, int64_t depth, int64_t i, int64_t j) const {
    return given ? value : along(s.d, depth) * along(s.h, i) * along(s.w, j);
  }
};

template <class S, int kSide>
__global__ void __launch_bounds__(kThreads, 3)
    avg_kernel(const __grid_constant__ Windows s, const __grid_constant__ Divisors divisors,
               const __grid_constant__ Positions all, const __grid_constant__ Planes<S> x, S* out) {
  using T = typename Element<S>::Compute;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < all.count; i += step) {
    const Position p(all, i);
    const S* const plane = x.plane(p);
    T sum{0};
    if constexpr (kSide == 0) {
      const Span d(s.d, p.z), h(s.h, p.y), w(s.w, p.x);
      for (int64_t z = d.begin; z < d.end; ++z) {
        for (int64_t y = h.begin; y < h.end; ++y) {
          const S* const line = plane + x.at(z, y, 0);
          for (int64_t c = w.begin; c < w.end; ++c) sum = sum + Element<S>::load(line + c * x.col);
        }
      }
    } else {
      const int64_t y = p.y * s.h.stride - s.h.padding, c = p.x * s.w.stride - s.w.padding;
      const S* const window = plane + x.at(0, y, c);
      T values[kSide][kSide];
#pragma unroll
      for (int a = 0; a < kSide; ++a) {
#pragma unroll
        for (int b = 0; b < kSide; ++b) {
          const bool inside = y + a >= 0 && y + a < s.h.input && c + b >= 0 && c + b < s.w.input;
          values[a][b] = inside ? Element<S>::load(window + x.at(0, a, b)) : T{0};
        }
      }
#pragma unroll
      for (int a = 0; a < kSide; ++a) {
#pragma unroll
        for (int b = 0; b < kSide; ++b) sum = sum + values[a][b];
      }
    }
    out[i] = Element<S>::round(sum / static_cast<T>(divisors.of_window(s, p.z, p.y, p.x)));
  }
}

// kTeam threads for each window.
template <class S, int kTeam>
__global__ void __launch_bounds__(kThreads)
    avg_team_kernel(const __grid_constant__ Windows s, const __grid_constant__ Divisors divisors,
                    const __grid_constant__ Positions all, const __grid_constant__ Planes<S> x, bool dense, S* out) {
  using T = typename Element<S>::Compute;
  constexpr int kTeams = kThreads / kTeam;
  __shared__ T parts[kThreads / 32];
  const int member = static_cast<int>(threadIdx.x) % kTeam;
  const int64_t step = int64_t{gridDim.x} * kTeams;
  const int64_t first = int64_t{blockIdx.x} * kTeams + threadIdx.x / kTeam;
  for (int64_t i = first; i < all.count; i += step) {
    const Position p(all, i);
    const Span d(s.d, p.z), h(s.h, p.y), w(s.w, p.x);
    const int64_t rows = h.size(), cols = w.size(), count = d.size() * rows * cols;
    const S* const from = x.plane(p) + x.at(d.begin, h.begin, w.begin);
    // Whole planes of dense memory are one run.
    const bool run = dense && rows == s.h.input && cols == s.w.input;
    T sum{0};
    if (run) {
#pragma unroll 4
      for (int64_t c = member; c < count; c += kTeam) sum = sum + Element<S>::load(from + c);
    } else {
      for (int64_t c = member; c < count; c += kTeam) {
        const Quotient by_col(c, cols);
        const Quotient by_row(by_col.quotient, rows);
        sum = sum + Element<S>::load(from + x.at(by_row.quotient, by_row.rest, by_col.rest));
      }
    }
#pragma unroll
    for (int other = 16; other > 0; other /= 2) sum = sum + __shfl_xor_sync(0xffffffffu, sum, other);
    if constexpr (kTeam > 32) {
      if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
      __syncthreads();
      sum = parts[0];
      for (int part = 1; part < kTeam / 32; ++part) sum = sum + parts[part];
      __syncthreads();  // parts are written again for the next window
    }
    if (member == 0) out[i] = Element<S>::round(sum / static_cast<T>(divisors.of_window(s, p.z, p.y, p.x)));
  }
}

// The most elements along an axis under a window.
int64_t widest(const Axis& a) {
  const int64_t size = a.adaptive ? (a.output == 0 ? 0 : a.input / a.output + 1) : a.kernel;
  return least(size, a.input);
}

template <class S>
void avg_run(const KernelArgs& args, int64_t) noexcept {
  if (args.out[0].numel == 0) return;
  const auto& attrs = args.attrs_as<AvgPoolAttrs>();
  const int axes = axes_of(attrs);
  const Windows s = windows_of(args.in[0], args.out[0], attrs);
  const Positions all(s.planes, channels_of(args.in[0], axes), s.d.output, s.h.output, s.w.output);
  const Planes<S> x(args.in[0], axes);
  const Divisors divisors(attrs);
  S* const out = args.out[0].as<S>();
  const cudaStream_t stream = stream_of(args);
  const int64_t elements = widest(s.d) * widest(s.h) * widest(s.w);
  const bool dense =
      x.col == 1 && (s.h.input == 1 || x.row == s.w.input) && (s.d.input == 1 || x.slice == s.w.input * s.h.input);
  if (elements <= kMostOfThread) {
    for_side(small_side(s), [&](auto side) {
      avg_kernel<S, decltype(side)::value>
          <<<grid_for(all.count, kThreads, 16), kThreads, 0, stream>>>(s, divisors, all, x, out);
    });
  } else if (elements <= kMostOfWarp) {
    avg_team_kernel<S, 32>
        <<<grid_for(all.count, kThreads / 32, 16), kThreads, 0, stream>>>(s, divisors, all, x, dense, out);
  } else {
    avg_team_kernel<S, kThreads><<<grid_for(all.count, 1, 16), kThreads, 0, stream>>>(s, divisors, all, x, dense, out);
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    avg_grad_kernel(const __grid_constant__ WindowsOver s, const __grid_constant__ Divisors divisors,
                    const __grid_constant__ Positions all, const __grid_constant__ Planes<S> g, S* out) {
  using T = typename Element<S>::Compute;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < all.count; i += step) {
    const Position p(all, i);
    const S* const plane = g.plane(p);
    const int64_t d_end = s.d.over_end(p.z), h_end = s.h.over_end(p.y), w_end = s.w.over_end(p.x);
    const int64_t h_begin = s.h.over_begin(p.y), w_begin = s.w.over_begin(p.x);
    T sum{0};
    for (int64_t l = s.d.over_begin(p.z); l < d_end; ++l) {
      const int64_t by_depth = divisors.given ? divisors.value : divisors.along(s.d, l);
      for (int64_t h = h_begin; h < h_end; ++h) {
        const int64_t by_line = divisors.given ? by_depth : by_depth * divisors.along(s.h, h);
        for (int64_t w = w_begin; w < w_end; ++w) {
          const int64_t divisor = divisors.given ? by_line : by_line * divisors.along(s.w, w);
          sum = sum + Element<S>::load(plane + g.at(l, h, w)) / static_cast<T>(divisor);
        }
      }
    }
    out[i] = Element<S>::round(sum);
  }
}

template <class S>
void avg_grad_run(const KernelArgs& args, int64_t) noexcept {
  if (args.out[0].numel == 0) return;
  const auto& attrs = args.attrs_as<AvgPoolAttrs>();
  const int axes = axes_of(attrs);
  const Windows s = windows_of(args.out[0], args.in[0], attrs);
  const Positions all(s.planes, channels_of(args.out[0], axes), s.d.input, s.h.input, s.w.input);
  avg_grad_kernel<S><<<grid_for(all.count, kThreads, 16), kThreads, 0, stream_of(args)>>>(
      WindowsOver(s), Divisors(attrs), all, Planes<S>(args.in[0], axes), args.out[0].as<S>());
}

template <class S>
void add_all(KernelSink& sink) {
  for (const char* op : {"avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
                         "adaptive_avg_pool3d"}) {
    add(sink, op, kDTypeOf<S>, avg_run<S>);
  }
  add(sink, "avg_pool_grad", kDTypeOf<S>, avg_grad_run<S>);
}

}  // namespace

void fill_pool_avg(KernelSink& sink) {
  add_all<float>(sink);
  add_all<double>(sink);
  add_all<Float16>(sink);
  add_all<BFloat16>(sink);
}

}  // namespace gorgo::cuda
