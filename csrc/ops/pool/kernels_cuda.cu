// Maxima over windows on CUDA.
//
// The gradient finds each window's winner first and lays its place down in scratch; each element of x then adds up the gradients
// of the windows over it that it won. Small windows side by side have threads of their own, which lay nothing down.
// Invariant: of equal elements the first in row order wins; a NaN beats every number, and the last NaN wins.
// Read next: windows_cuda.cuh, kernels_cuda_avg.cu.
#include <limits>

#include "kernels/cuda/epilogue.cuh"
#include "ops/pool/windows_cuda.cuh"

namespace gorgo::cuda {
namespace {

template <class S>
GORGO_DEVICE typename Element<S>::Compute lowest() {
  using T = typename Element<S>::Compute;
  if constexpr (std::is_integral_v<T>) {
    return std::numeric_limits<T>::lowest();
  } else {
    return -std::numeric_limits<T>::infinity();
  }
}

// The winner of a window: its value, and where it lies in its plane if that were dense, or -1 when the window has no element of
// the image.
template <class S>
struct Winner {
  typename Element<S>::Compute value = lowest<S>();
  int64_t at = -1;
  int64_t slice = 0, row = 0, col = 0;

  template <int kSide>
  static GORGO_DEVICE Winner of(const Windows& s, const Planes<S>& x, const S* plane, int64_t depth, int64_t i,
                                int64_t j) {
    Winner w;
    if constexpr (kSide == 0) {
      w.search(s, x, plane, depth, i, j);
    } else {
      w.template take<kSide>(s, x, plane, i, j);
    }
    if (w.at == 0) w.at = (w.slice * s.h.input + w.row) * s.w.input + w.col;
    return w;
  }

 private:
  // The first element stands until another one beats it; `at` is 0 as soon as there is one.
  GORGO_DEVICE void meet(typename Element<S>::Compute here, int64_t z, int64_t y, int64_t c) {
    if (at < 0 || here > value || here != here) {
      value = here;
      slice = z, row = y, col = c;
      at = 0;
    }
  }
  GORGO_DEVICE void search(const Windows& s, const Planes<S>& x, const S* plane, int64_t depth, int64_t i, int64_t j) {
    const int64_t z_end = s.d.tap_end(depth), p_end = s.h.tap_end(i), q_end = s.w.tap_end(j);
    const int64_t p_begin = s.h.tap_begin(i), q_begin = s.w.tap_begin(j);
    const int64_t first_d = s.d.first(depth), first_h = s.h.first(i), first_w = s.w.first(j);
    for (int64_t z = s.d.tap_begin(depth); z < z_end; ++z) {
      for (int64_t p = p_begin; p < p_end; ++p) {
        const int64_t y = first_h + p * s.h.step;
        const int64_t line = x.at(first_d + z * s.d.step, y, first_w);
        for (int64_t q = q_begin; q < q_end; ++q) {
          const auto here = Element<S>::load(plane + (line + q * s.w.step * x.col));
          meet(here, first_d + z * s.d.step, y, first_w + q * s.w.step);
        }
      }
    }
  }
  template <int kSide>
  GORGO_DEVICE void take(const Windows& s, const Planes<S>& x, const S* plane, int64_t i, int64_t j) {
    const int64_t y = i * s.h.stride - s.h.padding, c = j * s.w.stride - s.w.padding;
    const S* const window = plane + x.at(0, y, c);
    typename Element<S>::Compute values[kSide][kSide];
    bool inside[kSide][kSide];
#pragma unroll
    for (int p = 0; p < kSide; ++p) {
#pragma unroll
      for (int q = 0; q < kSide; ++q) {
        inside[p][q] = y + p >= 0 && y + p < s.h.input && c + q >= 0 && c + q < s.w.input;
        values[p][q] = inside[p][q] ? Element<S>::load(window + x.at(0, p, q)) : lowest<S>();
      }
    }
#pragma unroll
    for (int p = 0; p < kSide; ++p) {
#pragma unroll
      for (int q = 0; q < kSide; ++q) {
        if (inside[p][q]) meet(values[p][q], 0, y + p, c + q);
      }
    }
  }
};

template <class S, int kSide>
__global__ void __launch_bounds__(kThreads, 3)
    max_kernel(const __grid_constant__ Windows s, const __grid_constant__ Positions all,
               const __grid_constant__ Planes<S> x, S* out, int64_t* indices) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < all.count; i += step) {
    const Position p(all, i);
    const auto winner = Winner<S>::template of<kSide>(s, x, x.plane(p), p.z, p.y, p.x);
    out[i] = Element<S>::round(winner.value);
    if (indices != nullptr) indices[i] = winner.at;
  }
}

template <class S>
void max_run(const KernelArgs& args, int64_t) noexcept {
  if (args.out[0].numel == 0) return;
  const auto& attrs = args.attrs_as<MaxPoolAttrs>();
  const int axes = axes_of(attrs);
  const Windows s = windows_of(args.in[0], args.out[0], attrs);
  const Positions all(s.planes, channels_of(args.in[0], axes), s.d.output, s.h.output, s.w.output);
  for_side(std::is_integral_v<S> ? 0 : small_side(s), [&](auto side) {
    constexpr int kSide = std::is_integral_v<S> ? 0 : decltype(side)::value;  // integers are rare
    max_kernel<S, kSide><<<grid_for(all.count, kThreads, 16), kThreads, 0, stream_of(args)>>>(
        s, all, Planes<S>(args.in[0], axes), args.out[0].as<S>(),
        args.out_count > 1 ? args.out[1].as<int64_t>() : nullptr);
  });
}

// ---- the gradient ----

template <class S, class Place, int kSide>
__global__ void __launch_bounds__(kThreads, 3)
    winners_kernel(const __grid_constant__ Windows s, const __grid_constant__ Positions all,
                   const __grid_constant__ Planes<S> x, Place* winners) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < all.count; i += step) {
    const Position p(all, i);
    winners[i] = static_cast<Place>(Winner<S>::template of<kSide>(s, x, x.plane(p), p.z, p.y, p.x).at);
  }
}

template <class S, class Place>
__global__ void __launch_bounds__(kThreads, 3)
    max_grad_kernel(const __grid_constant__ WindowsOver s, const __grid_constant__ Positions all,
                    const __grid_constant__ Planes<S> g, const Place* winners, S* out, const Finish finish) {
  using T = typename Element<S>::Compute;
  const int64_t outputs = s.d.output * s.h.output * s.w.output;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < all.count; i += step) {
    const Position p(all, i);
    const auto own = static_cast<Place>((p.z * s.h.input + p.y) * s.w.input + p.x);
    const S* const plane = g.plane(p);
    const Place* const won = winners + p.plane * outputs;
    const int64_t d_end = s.d.over_end(p.z), h_end = s.h.over_end(p.y), w_end = s.w.over_end(p.x);
    const int64_t h_begin = s.h.over_begin(p.y), w_begin = s.w.over_begin(p.x);
    T sum{0};
    for (int64_t l = s.d.over_begin(p.z); l < d_end; ++l) {
      for (int64_t h = h_begin; h < h_end; ++h) {
        const Place* const line = won + (l * s.h.output + h) * s.w.output;
        for (int64_t w = w_begin; w < w_end; ++w) {
          const Place winner = Element<Place>::load(line + w);
          const T value =
              Element<S>::load(plane + g.at(l, h, w));  // whether it counts or not: both loads are under way together
          if (winner == own) sum = sum + value;
        }
      }
    }
    out[i] = finished_at(finish, Element<S>::round(sum), i);
  }
}

// Windows side by side: a thread has one and its elements, or elements behind the last one, which get nothing.
template <class S, int kSide>
__global__ void __launch_bounds__(kThreads, 3)
    max_grad_cells_kernel(const __grid_constant__ Windows s, const __grid_constant__ Positions all,
                          const __grid_constant__ Planes<S> g, const __grid_constant__ Planes<S> x, S* out,
                          const Finish finish) {
  using T = typename Element<S>::Compute;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < all.count; i += step) {
    const Position p(all, i);
    T value{0};
    int64_t won = -1;
    if (p.y < s.h.output && p.x < s.w.output) {
      value = Element<S>::load(g.plane(p) + g.at(0, p.y, p.x));
      won = Winner<S>::template of<kSide>(s, x, x.plane(p), 0, p.y, p.x).at;
    }
#pragma unroll
    for (int a = 0; a < kSide; ++a) {
#pragma unroll
      for (int b = 0; b < kSide; ++b) {
        const int64_t row = p.y * kSide + a, col = p.x * kSide + b;
        if (row >= s.h.input || col >= s.w.input) continue;
        const int64_t own = row * s.w.input + col;
        T sum{0};
        if (won == own) sum = sum + value;
        const int64_t at = p.plane * (s.h.input * s.w.input) + own;
        out[at] = finished_at(finish, Element<S>::round(sum), at);
      }
    }
  }
}

// The side of windows side by side, 0 where they are not.
int side_of_cells(const Windows& s) noexcept {
  const int side = small_side(s);
  for (const Axis* a : {&s.h, &s.w}) {
    if (a->stride != side || a->padding != 0) return 0;
  }
  return side;
}

template <class S>
void max_grad_cells(const KernelArgs& args, const Windows& s, const Finish& finish) noexcept {
  const KOperand &g = args.in[0], &x = args.in[1];
  const int axes = axes_of(args.attrs_as<MaxPoolAttrs>());
  const int side = side_of_cells(s);
  const Positions all(s.planes, channels_of(x, axes), 1, ceil_div(s.h.input, side), ceil_div(s.w.input, side));
  for_side(side, [&](auto constant) {
    constexpr int kSide = decltype(constant)::value;
    if constexpr (kSide > 0) {
      max_grad_cells_kernel<S, kSide><<<grid_for(all.count, kThreads, 16), kThreads, 0, stream_of(args)>>>(
          s, all, Planes<S>(g, axes), Planes<S>(x, axes), args.out[0].as<S>(), finish);
    }
  });
}

template <class S, class Place>
void max_grad_with(const KernelArgs& args, const Windows& s, const Finish& finish) noexcept {
  const KOperand &g = args.in[0], &x = args.in[1], &out = args.out[0];
  const int axes = axes_of(args.attrs_as<MaxPoolAttrs>());
  const int64_t channels = channels_of(x, axes);
  auto* const winners = static_cast<Place*>(args.scratch);
  const cudaStream_t stream = stream_of(args);
  const Positions windows(s.planes, channels, s.d.output, s.h.output, s.w.output);
  const Positions elements(s.planes, channels, s.d.input, s.h.input, s.w.input);
  if (windows.count > 0) {
    for_side(small_side(s), [&](auto side) {
      winners_kernel<S, Place, decltype(side)::value>
          <<<grid_for(windows.count, kThreads, 16), kThreads, 0, stream>>>(s, windows, Planes<S>(x, axes), winners);
    });
  }
  max_grad_kernel<S, Place><<<grid_for(elements.count, kThreads, 16), kThreads, 0, stream>>>(
      WindowsOver(s), elements, Planes<S>(g, axes), winners, out.as<S>(), finish);
}

bool has_wide_planes(const Windows& s) { return s.inputs() >= (int64_t{1} << 31); }

template <class S, Epilogue kThen = Epilogue::None>
void max_grad_run(const KernelArgs& args, int64_t) noexcept {
  if (args.out[0].numel == 0) return;
  const Windows s = windows_of(args.in[1], args.in[0], args.attrs_as<MaxPoolAttrs>());
  run_finished<S>(args, kThen, [&](const Finish& finish) {
    if (side_of_cells(s) != 0) return max_grad_cells<S>(args, s, finish);
    has_wide_planes(s) ? max_grad_with<S, int64_t>(args, s, finish) : max_grad_with<S, int32_t>(args, s, finish);
  });
}
size_t max_grad_scratch(const KernelArgs& args) noexcept {
  const Windows s = windows_of(args.in[1], args.in[0], args.attrs_as<MaxPoolAttrs>());
  if (side_of_cells(s) != 0) return 0;
  return static_cast<size_t>(s.planes * s.outputs()) * (has_wide_planes(s) ? sizeof(int64_t) : sizeof(int32_t));
}

// ---- the adjoint of the gradient ----

template <class S>
__global__ void __launch_bounds__(kThreads, 3)
    max_gather_kernel(const __grid_constant__ Windows s, const __grid_constant__ Positions all,
                      const __grid_constant__ Planes<S> v, const __grid_constant__ Planes<S> x, S* out) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < all.count; i += step) {
    const Position p(all, i);
    const auto winner = Winner<S>::template of<0>(s, x, x.plane(p), p.z, p.y, p.x);
    out[i] = winner.at < 0 ? S{} : v.plane(p)[v.at(winner.slice, winner.row, winner.col)];
  }
}

template <class S>
void max_gather_run(const KernelArgs& args, int64_t) noexcept {
  if (args.out[0].numel == 0) return;
  const auto& attrs = args.attrs_as<MaxPoolAttrs>();
  const int axes = axes_of(attrs);
  const Windows s = windows_of(args.in[1], args.out[0], attrs);
  const Positions all(s.planes, channels_of(args.in[1], axes), s.d.output, s.h.output, s.w.output);
  max_gather_kernel<S><<<grid_for(all.count, kThreads, 16), kThreads, 0, stream_of(args)>>>(
      s, all, Planes<S>(args.in[0], axes), Planes<S>(args.in[1], axes), args.out[0].as<S>());
}

template <class S>
void add_forward(KernelSink& sink) {
  for (const char* op : {"max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
                         "adaptive_max_pool3d"}) {
    add(sink, op, kDTypeOf<S>, max_run<S>);
  }
}

template <class S>
void add_all(KernelSink& sink) {
  add_forward<S>(sink);
  add(sink, "max_pool_grad", kDTypeOf<S>, max_grad_run<S>, max_grad_scratch);
  add(sink, "max_pool_grad_relu_backward", kDTypeOf<S>, max_grad_run<S, Epilogue::ReluBackward>, max_grad_scratch);
  add(sink, "max_pool_gather", kDTypeOf<S>, max_gather_run<S>);
}

}  // namespace

void fill_pool_avg(KernelSink& sink);      // kernels_cuda_avg.cu
void fill_pool_columns(KernelSink& sink);  // kernels_cuda_columns.cu

void fill_pool(KernelSink& sink) {
  add_all<float>(sink);
  add_all<double>(sink);
  add_all<Float16>(sink);
  add_all<BFloat16>(sink);
  add_forward<int8_t>(sink);
  add_forward<uint8_t>(sink);
  add_forward<int16_t>(sink);
  add_forward<int32_t>(sink);
  add_forward<int64_t>(sink);
  fill_pool_avg(sink);
  fill_pool_columns(sink);
}

}  // namespace gorgo::cuda
