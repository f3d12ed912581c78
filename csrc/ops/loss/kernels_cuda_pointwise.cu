// CUDA kernels of the losses of two tensors, element by element, and of their gradients: one pass each, no tensor in between.
//
// A loss is a struct with its value and its slope by the input; the walk and the sums are written once. Invariant: a sum's tree
// depends on the number of elements alone: packs of 16 bytes are shared out over the threads of a tile the same way whether
// they are read as one or by elements.
// Read next: partials.cuh, pointwise.cpp.
#include "ops/loss/partials.cuh"

namespace gorgo::cuda {
namespace {

GORGO_DEVICE float absolute(float x) { return fabsf(x); }
GORGO_DEVICE double absolute(double x) { return fabs(x); }
// -1, 0 or 1; keeps NaN and the sign of zero.
template <class C>
GORGO_DEVICE C sign_of(C x) {
  return x > C{0} ? C{1} : x < C{0} ? C{-1} : x;
}

struct SquaredError {
  using Attrs = LossAttrs;
  static double parameter(const Attrs&) noexcept { return 0.0; }
  template <class C>
  GORGO_DEVICE static C value(C x, C t, C) {
    const C d = x - t;
    return d * d;
  }
  template <class C>
  GORGO_DEVICE static C slope(C x, C t, C) {
    const C d = x - t;
    return d + d;
  }
};
struct AbsoluteError {
  using Attrs = LossAttrs;
  static double parameter(const Attrs&) noexcept { return 0.0; }
  template <class C>
  GORGO_DEVICE static C value(C x, C t, C) {
    return absolute(x - t);
  }
  template <class C>
  GORGO_DEVICE static C slope(C x, C t, C) {
    return sign_of(x - t);
  }
};
struct SmoothAbsoluteError {
  using Attrs = SmoothL1Attrs;
  static double parameter(const Attrs& a) noexcept { return a.beta; }
  template <class C>
  GORGO_DEVICE static C value(C x, C t, C beta) {
    const C d = absolute(x - t);
    const C half = static_cast<C>(0.5);
    return d < beta ? half * d * d / beta : d - half * beta;
  }
  template <class C>
  GORGO_DEVICE static C slope(C x, C t, C beta) {
    const C d = x - t;
    return absolute(d) < beta ? d / beta : sign_of(d);
  }
};
struct Huber {
  using Attrs = HuberAttrs;
  static double parameter(const Attrs& a) noexcept { return a.delta; }
  template <class C>
  GORGO_DEVICE static C value(C x, C t, C delta) {
    const C d = absolute(x - t);
    const C half = static_cast<C>(0.5);
    return d <= delta ? half * d * d : delta * (d - half * delta);
  }
  template <class C>
  GORGO_DEVICE static C slope(C x, C t, C delta) {
    const C d = x - t;
    return absolute(d) <= delta ? d : delta * sign_of(d);
  }
};
// Of logits: softplus(x) - t x, with softplus from its larger term so that nothing overflows.
struct BinaryCrossEntropy {
  using Attrs = LossAttrs;
  static double parameter(const Attrs&) noexcept { return 0.0; }
  GORGO_DEVICE static float value(float x, float t, float) {
    const float rise = x < 0.0f ? 0.0f : x;  // keeps NaN
    return rise - x * t + log1pf(expf(-fabsf(x)));
  }
  GORGO_DEVICE static double value(double x, double t, double) {
    const double rise = x < 0.0 ? 0.0 : x;
    return rise - x * t + log1p(exp(-fabs(x)));
  }
  GORGO_DEVICE static float slope(float x, float t, float) {
    const float e = expf(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e) - t;
  }
  GORGO_DEVICE static double slope(double x, double t, double) {
    const double e = exp(-fabs(x));
    return (x < 0.0 ? e : 1.0) / (1.0 + e) - t;
  }
};

constexpr int kThreads = 256;
constexpr int kEach = 4;  // packs of a thread in a tile
template <class S>
constexpr int64_t kTile = int64_t{kThreads} * kEach * LossPack<S>::kCount;

// Operands of one shape. A walk is looked at where its operand is not contiguous.
template <int kOperands>
struct Elements {
  int64_t count = 0;
  bool out_aligned = false;
  bool all_contiguous = true;
  bool contiguous[kOperands];
  bool aligned[kOperands];
  Walk<1> walk[kOperands];
};
template <int kOperands>
Elements<kOperands> elements_of(const KOperand* operands, const void* out) noexcept {
  Elements<kOperands> e;
  e.count = operands[0].numel;
  e.out_aligned = aligned_to(out, 16);
  for (int k = 0; k < kOperands; ++k) {
    e.contiguous[k] = operands[k].contiguous;
    e.all_contiguous = e.all_contiguous && e.contiguous[k];
    e.aligned[k] = aligned_to(operands[k].data, 16);
    e.walk[k] = walk_of(operands[k]);
  }
  return e;
}

// A pack of a strided operand; not inlined, so that the rare case costs no registers.
template <class S>
__device__ __noinline__ LossPack<S> gather_pack(const Walk<1>& walk, const S* data, int64_t first) {
  LossPack<S> pack = {};
#pragma unroll 1
  for (int i = 0; i < LossPack<S>::kCount; ++i) {
    if (first + i >= walk.count) break;
    int64_t at[1];
    walk.at(first + i, at);
    pack.of[i] = data[at[0]];
  }
  return pack;
}

// Operand k's elements [first, first + a pack) in row-major order; zeros behind the end. kPlain: all operands are contiguous.
template <bool kPlain, int kOperands, class S, class C>
GORGO_DEVICE void load_elements(const Elements<kOperands>& e, int k, const S* data, int64_t first,
                                C (&to)[LossPack<S>::kCount]) {
  if (kPlain || e.contiguous[k]) {
    load_pack(data, int64_t{1}, e.aligned[k], first, e.count, C{0}, to);
  } else {
    const LossPack<S> pack = gather_pack(e.walk[k], data, first);
#pragma unroll
    for (int i = 0; i < LossPack<S>::kCount; ++i) to[i] = static_cast<C>(pack.of[i]);
  }
}

template <class Loss, class S, bool kPlain>
__global__ void __launch_bounds__(kThreads, 2)
    value_kernel(const __grid_constant__ Elements<2> elements, const S* __restrict__ x, const S* __restrict__ t,
                 ComputeType<S> parameter, S* __restrict__ out) {
  using C = ComputeType<S>;
  constexpr int kCount = LossPack<S>::kCount;
  const int64_t n = elements.count;
  const int64_t step = int64_t{gridDim.x} * kThreads * kCount;
  for (int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kCount; first < n; first += step) {
    C a[kCount];
    C b[kCount];
    load_elements<kPlain>(elements, 0, x, first, a);
    load_elements<kPlain>(elements, 1, t, first, b);
#pragma unroll
    for (int i = 0; i < kCount; ++i) a[i] = Loss::value(a[i], b[i], parameter);
    store_pack(out, int64_t{1}, elements.out_aligned, first, n, a);
  }
}

template <class Loss, class S, bool kPlain>
__global__ void __launch_bounds__(kThreads, 2)
    sum_kernel(const __grid_constant__ Elements<2> elements, const S* __restrict__ x, const S* __restrict__ t,
               ComputeType<S> parameter, LossPartial* __restrict__ partials) {
  using C = ComputeType<S>;
  constexpr int kCount = LossPack<S>::kCount;
  __shared__ LossPartial shared[kThreads / 32];
  const int64_t n = elements.count;
  const int64_t tiles = (n + kTile<S> - 1) / kTile<S>;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    double own = 0.0;
    C in[kEach][2][kCount];
    const int64_t first = tile * kTile<S> + int64_t{threadIdx.x} * kCount;
    constexpr int64_t kStride = int64_t{kThreads} * kCount;
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      load_elements<kPlain>(elements, 0, x, first + k * kStride, in[k][0]);
      load_elements<kPlain>(elements, 1, t, first + k * kStride, in[k][1]);
    }
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      C v[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        v[i] = first + k * kStride + i < n ? Loss::value(in[k][0][i], in[k][1][i], parameter) : C{0};
      }
#pragma unroll
      for (int half = kCount / 2; half > 0; half /= 2) {
#pragma unroll
        for (int i = 0; i < half; ++i) v[i] = v[i] + v[i + half];
      }
      own += static_cast<double>(v[0]);
    }
    const int64_t left = n - tile * kTile<S>;
    const LossPartial total = block_total<kThreads>({own, 0.0}, shared);
    if (threadIdx.x == 0) {
      partials[tile] = {total.sum, static_cast<double>(left < kTile<S> ? left : kTile<S>)};
    }
  }
}

// The slope times an element's share of g: g's own element, or a part of the one number that arrived.
template <class Loss, class S, bool kEachOwn, bool kPlain>
__global__ void __launch_bounds__(kThreads, 2)
    slope_kernel(const __grid_constant__ Elements<kEachOwn ? 3 : 2> elements, const S* __restrict__ x,
                 const S* __restrict__ t, const S* __restrict__ g, double parts, ComputeType<S> parameter,
                 S* __restrict__ out) {
  using C = ComputeType<S>;
  constexpr int kCount = LossPack<S>::kCount;
  const int64_t n = elements.count;
  const int64_t step = int64_t{gridDim.x} * kThreads * kCount;
  C share{0};
  if constexpr (!kEachOwn) share = static_cast<C>(static_cast<double>(static_cast<C>(*g)) / parts);
  for (int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kCount; first < n; first += step) {
    C a[kCount];
    C b[kCount];
    C w[kCount];
    load_elements<kPlain>(elements, 0, x, first, a);
    load_elements<kPlain>(elements, 1, t, first, b);
    if constexpr (kEachOwn) {
      load_elements<kPlain>(elements, 2, g, first, w);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) w[i] = share;
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) a[i] = w[i] * Loss::slope(a[i], b[i], parameter);
    store_pack(out, int64_t{1}, elements.out_aligned, first, n, a);
  }
}

template <class Loss, class S>
struct Pointwise {
  using Attrs = typename Loss::Attrs;
  using C = ComputeType<S>;

  static LossReduction how(const KernelArgs& args) noexcept { return args.attrs_as<Attrs>().how(); }
  static C parameter(const KernelArgs& args) noexcept {
    return static_cast<C>(Loss::parameter(args.attrs_as<Attrs>()));
  }
  static int64_t tiles(const KernelArgs& args) noexcept { return ceil_div(args.in[0].numel, kTile<S>); }
  static size_t scratch(const KernelArgs& args) noexcept {
    return how(args) == LossReduction::None ? 0 : static_cast<size_t>(tiles(args)) * sizeof(LossPartial);
  }
  // Calls f with whether all operands are contiguous, as a constant.
  template <int kOperands, class F>
  static void with_plain(const Elements<kOperands>& elements, const F& f) noexcept {
    if (elements.all_contiguous) {
      f(std::true_type());
    } else {
      f(std::false_type());
    }
  }
  static void forward(const KernelArgs& args, int64_t) noexcept {
    const auto* x = args.in[0].as<const S>();
    const auto* t = args.in[1].as<const S>();
    auto* out = args.out[0].as<S>();
    const int64_t n = args.in[0].numel;
    const bool reduces = how(args) != LossReduction::None;
    const cudaStream_t stream = stream_of(args);
    auto* partials = static_cast<LossPartial*>(args.scratch);
    const auto elements = elements_of<2>(args.in, out);
    if (n > 0) {
      with_plain(elements, [&](auto plain) {
        constexpr bool kPlain = decltype(plain)::value;
        if (reduces) {
          sum_kernel<Loss, S, kPlain>
              <<<grid_for(tiles(args), 1), kThreads, 0, stream>>>(elements, x, t, parameter(args), partials);
        } else {
          value_kernel<Loss, S, kPlain><<<grid_for(n, int64_t{kThreads} * LossPack<S>::kCount), kThreads, 0, stream>>>(
              elements, x, t, parameter(args), out);
        }
      });
    }
    if (reduces) {
      merge_partials<S><<<1, kMergers, 0, stream>>>(partials, tiles(args), how(args) == LossReduction::Mean, out);
    }
  }
  static void backward(const KernelArgs& args, int64_t) noexcept {
    if (args.in[0].numel == 0) return;
    if (how(args) == LossReduction::None) {
      run_backward<true>(args);
    } else {
      run_backward<false>(args);
    }
  }
  template <bool kEachOwn>
  static void run_backward(const KernelArgs& args) noexcept {
    const int64_t n = args.in[0].numel;
    const auto* x = args.in[0].as<const S>();
    const auto* t = args.in[1].as<const S>();
    const auto* g = args.in[2].as<const S>();
    auto* out = args.out[0].as<S>();
    const double parts = how(args) == LossReduction::Mean ? static_cast<double>(n) : 1.0;
    const auto elements = elements_of<kEachOwn ? 3 : 2>(args.in, out);
    with_plain(elements, [&](auto plain) {
      slope_kernel<Loss, S, kEachOwn, decltype(plain)::value>
          <<<grid_for(n, int64_t{kThreads} * LossPack<S>::kCount), kThreads, 0, stream_of(args)>>>(
              elements, x, t, g, parts, parameter(args), out);
    });
  }
};

template <class Loss, class S>
void fill_loss_of(KernelSink& sink, const char* name, const char* backward) {
  using P = Pointwise<Loss, S>;
  add(sink, name, kDTypeOf<S>, P::forward, P::scratch);
  add(sink, backward, kDTypeOf<S>, P::backward);
}

template <class S>
void fill(KernelSink& sink) {
  fill_loss_of<SquaredError, S>(sink, "mse_loss", "mse_loss_backward");
  fill_loss_of<AbsoluteError, S>(sink, "l1_loss", "l1_loss_backward");
  fill_loss_of<SmoothAbsoluteError, S>(sink, "smooth_l1_loss", "smooth_l1_loss_backward");
  fill_loss_of<Huber, S>(sink, "huber_loss", "huber_loss_backward");
  fill_loss_of<BinaryCrossEntropy, S>(sink, "binary_cross_entropy_with_logits",
                                      "binary_cross_entropy_with_logits_backward");
}

}  // namespace

void fill_pointwise_losses(KernelSink& sink);
void fill_pointwise_losses(KernelSink& sink) {
  fill<float>(sink);
  fill<double>(sink);
  fill<BFloat16>(sink);
  fill<Float16>(sink);
}

}  // namespace gorgo::cuda
