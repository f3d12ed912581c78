// CUDA kernels of softmax cross-entropy and its gradient, fused: the probabilities are never stored by the forward pass.
//
// A line is the scores of one case. Where its scores lie side by side, a group of threads works on it in packs of 16 bytes;
// where cases lie side by side, each thread has a case and shares its classes with a few others. The maximum and the sum of
// exponentials are found in one pass, the sum being scaled when the maximum rises (Milakov and Gimelshein, "Online normalizer
// calculation for softmax", 2018).
// Invariants: what a line yields depends on its length and layout alone. A target out of range is reported and its line yields
// nothing; ignored lines yield zero and do not count towards the mean.
// Read next: lines.cuh, partials.cuh, kernels_cuda_nll.cu.
#include "ops/loss/lines.cuh"

namespace gorgo::cuda {
namespace {

GORGO_DEVICE float exponential(float x) { return expf(x); }
GORGO_DEVICE double exponential(double x) { return exp(x); }
GORGO_DEVICE float logarithm(float x) { return logf(x); }
GORGO_DEVICE double logarithm(double x) { return log(x); }
GORGO_DEVICE float larger(float a, float b) { return fmaxf(a, b); }
GORGO_DEVICE double larger(double a, double b) { return fmax(a, b); }

template <class C>
inline constexpr C kBelowAll = static_cast<C>(-__builtin_inf());

// The maximum of some scores (NaN left out) and the sum of their exponentials beside it, which NaN makes NaN.
template <class C>
struct Norm {
  C top = kBelowAll<C>;
  double sum = 0.0;

  template <int kCount>
  GORGO_DEVICE void add(const C (&x)[kCount]) {
    C highest = x[0];
#pragma unroll
    for (int i = 1; i < kCount; ++i) highest = larger(highest, x[i]);
    if (highest > top) {
      sum *= static_cast<double>(exponential(top - highest));
      top = highest;
    }
    const C from = top == kBelowAll<C> ? C{0} : top;
    C e[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) e[i] = exponential(x[i] - from);
#pragma unroll
    for (int half = kCount / 2; half > 0; half /= 2) {
#pragma unroll
      for (int i = 0; i < half; ++i) e[i] = e[i] + e[i + half];
    }
    sum += static_cast<double>(e[0]);
  }
  // Symmetric, so that both partners of an exchange get the same bits.
  GORGO_DEVICE void merge(C other_top, double other_sum) {
    const C highest = larger(top, other_top);
    const double own = sum * scale(top, highest);
    const double others = other_sum * scale(other_top, highest);
    top = highest;
    sum = own + others;
  }

 private:
  GORGO_DEVICE static double scale(C from, C to) {
    return from == to ? 1.0 : static_cast<double>(exponential(from - to));
  }
};

// ---- a group of kWidth threads for each line ----
constexpr int kAhead = 4;  // packs under way in a thread

template <int kWidth>
inline constexpr int kBlock = kWidth < 128 ? 128 : kWidth;
template <int kWidth>
inline constexpr int kGroups = kBlock<kWidth> / kWidth;

template <class C>
struct GroupMemory {
  C tops[32];
  double sums[32];
};

template <class S, int kWidth>
struct Group {
  using C = ComputeType<S>;
  static constexpr int kCount = LossPack<S>::kCount;
  static constexpr int kWarps = kWidth / 32;
  GroupMemory<C>* memory;  // of the block; used by groups of several warps, which are whole blocks

  [[nodiscard]] GORGO_DEVICE static int rank() { return static_cast<int>(threadIdx.x) % kWidth; }

  GORGO_DEVICE double total(double own) const {
#pragma unroll
    for (int d = 16; d > 0; d /= 2) own += __shfl_xor_sync(0xffffffffu, own, d);
    if constexpr (kWarps > 1) {
      __syncthreads();
      if (threadIdx.x % 32 == 0) memory->sums[threadIdx.x / 32] = own;
      __syncthreads();
      own = memory->sums[0];
#pragma unroll
      for (int i = 1; i < kWarps; ++i) own += memory->sums[i];
    }
    return own;
  }
  // All threads get the line's norm.
  GORGO_DEVICE Norm<C> norm(const S* line, int64_t step, int64_t n) const {
    const bool aligned = can_pack(line, step);
    Norm<C> own;
    constexpr int64_t kStride = int64_t{kWidth} * kCount;
    for (int64_t first = int64_t{rank()} * kCount; first < n; first += kAhead * kStride) {
      C x[kAhead][kCount];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) load_pack(line, step, aligned, first + a * kStride, n, kBelowAll<C>, x[a]);
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        if (first + a * kStride < n) own.add(x[a]);
      }
    }
#pragma unroll
    for (int d = 16; d > 0; d /= 2) {
      const C other_top = __shfl_xor_sync(0xffffffffu, own.top, d);
      const double other_sum = __shfl_xor_sync(0xffffffffu, own.sum, d);
      own.merge(other_top, other_sum);
    }
    if constexpr (kWarps > 1) {
      __syncthreads();
      if (threadIdx.x % 32 == 0) {
        memory->tops[threadIdx.x / 32] = own.top;
        memory->sums[threadIdx.x / 32] = own.sum;
      }
      __syncthreads();
      own.top = memory->tops[0];
      own.sum = memory->sums[0];
#pragma unroll
      for (int i = 1; i < kWarps; ++i) own.merge(memory->tops[i], memory->sums[i]);
    }
    return own;
  }
  // The sum of all scores beside the maximum.
  GORGO_DEVICE double sum_below(const S* line, int64_t step, int64_t n, C top) const {
    const bool aligned = can_pack(line, step);
    double own = 0.0;
    constexpr int64_t kStride = int64_t{kWidth} * kCount;
    for (int64_t first = int64_t{rank()} * kCount; first < n; first += kStride) {
      C x[kCount];
      load_pack(line, step, aligned, first, n, top, x);
#pragma unroll
      for (int i = 0; i < kCount; ++i) own += first + i < n ? static_cast<double>(x[i] - top) : 0.0;
    }
    return total(own);
  }
};

// The loss of a case from its norm. `below` is the sum of its scores beside the maximum, for smoothing.
template <class C>
GORGO_DEVICE C loss_of(const Norm<C>& norm, C wanted, double below, C smoothing, int64_t classes) {
  const C lower = logarithm(static_cast<C>(norm.sum));
  C loss = lower - (wanted - norm.top);
  if (smoothing != C{0}) {
    const C even = lower - static_cast<C>(below) / static_cast<C>(classes);
    loss = (C{1} - smoothing) * loss + smoothing * even;
  }
  return loss;
}

template <class C>
struct CaseLoss {
  C loss;
  bool counts;
};
// Of a line; for the group's first thread. The score that is wanted is on its way while the norm is made.
template <class S, int kWidth>
GORGO_DEVICE CaseLoss<ComputeType<S>> loss_of_case(const Group<S, kWidth>& group, const Lines& lines,
                                                   const Targets& targets, const S* x, ComputeType<S> smoothing,
                                                   int64_t line, DeviceFault* fault) {
  using C = ComputeType<S>;
  const S* scores = x + lines.begin(line);
  int64_t t = kIgnored;
  C wanted{0};
  if (group.rank() == 0) {
    t = targets.class_of(line, lines.length, true, fault);
    if (t != kIgnored) wanted = static_cast<C>(scores[t * lines.step]);
  }
  const Norm<C> norm = group.norm(scores, lines.step, lines.length);
  const double below = smoothing != C{0} ? group.sum_below(scores, lines.step, lines.length, norm.top) : 0.0;
  return {t != kIgnored ? loss_of(norm, wanted, below, smoothing, lines.length) : C{0}, t != kIgnored};
}

template <class S, int kWidth>
__global__ void __launch_bounds__(kBlock<kWidth>, 512 / kBlock<kWidth>)
    forward_rows(const __grid_constant__ Lines lines, const __grid_constant__ Targets targets, const S* __restrict__ x,
                 ComputeType<S> smoothing, const ForwardOut<S> out, DeviceFault* fault) {
  using C = ComputeType<S>;
  __shared__ GroupMemory<C> memory;
  const Group<S, kWidth> group{&memory};
  const int64_t step = int64_t{gridDim.x} * kGroups<kWidth>;
  for (int64_t line = int64_t{blockIdx.x} * kGroups<kWidth> + threadIdx.x / kWidth; line < lines.count; line += step) {
    const CaseLoss<C> one = loss_of_case<S, kWidth>(group, lines, targets, x, smoothing, line, fault);
    if (group.rank() == 0) out.put(line, one.loss, one.counts);
  }
}

// ---- a thread for each line, times kSharers that share its classes ----
constexpr int kColumns = 32;
constexpr int kSharers = 8;
constexpr int kColumnPack = 4;  // classes under way in a thread

template <class C>
struct ColumnMemory {
  C tops[kSharers][kColumns];
  double sums[kSharers][kColumns];
};

// All threads of a block take part, those without a line with n = 0.
template <class S>
GORGO_DEVICE Norm<ComputeType<S>> column_norm(const S* line, int64_t step, int64_t n,
                                              ColumnMemory<ComputeType<S>>& memory) {
  using C = ComputeType<S>;
  Norm<C> own;
  for (int64_t first = threadIdx.y; first < n; first += kSharers * kColumnPack) {
    C x[kColumnPack];
#pragma unroll
    for (int i = 0; i < kColumnPack; ++i) {
      const int64_t c = first + i * kSharers;
      x[i] = c < n ? static_cast<C>(line[c * step]) : kBelowAll<C>;
    }
    own.add(x);
  }
  __syncthreads();
  memory.tops[threadIdx.y][threadIdx.x] = own.top;
  memory.sums[threadIdx.y][threadIdx.x] = own.sum;
  __syncthreads();
  own.top = memory.tops[0][threadIdx.x];
  own.sum = memory.sums[0][threadIdx.x];
#pragma unroll
  for (int i = 1; i < kSharers; ++i) own.merge(memory.tops[i][threadIdx.x], memory.sums[i][threadIdx.x]);
  return own;
}

template <class S>
GORGO_DEVICE double column_below(const S* line, int64_t step, int64_t n, ComputeType<S> top,
                                 ColumnMemory<ComputeType<S>>& memory) {
  using C = ComputeType<S>;
  double own = 0.0;
  for (int64_t c = threadIdx.y; c < n; c += kSharers) own += static_cast<double>(static_cast<C>(line[c * step]) - top);
  __syncthreads();
  memory.sums[threadIdx.y][threadIdx.x] = own;
  __syncthreads();
  own = memory.sums[0][threadIdx.x];
#pragma unroll
  for (int i = 1; i < kSharers; ++i) own += memory.sums[i][threadIdx.x];
  return own;
}

template <class S>
__global__ void __launch_bounds__(kColumns* kSharers, 2)
    forward_columns(const __grid_constant__ Lines lines, const __grid_constant__ Targets targets,
                    const S* __restrict__ x, ComputeType<S> smoothing, const ForwardOut<S> out, DeviceFault* fault) {
  using C = ComputeType<S>;
  __shared__ ColumnMemory<C> memory;
  for (int64_t block = blockIdx.x; block * kColumns < lines.count; block += gridDim.x) {
    const int64_t line = block * kColumns + threadIdx.x;
    const bool live = line < lines.count;
    const S* scores = live ? x + lines.begin(line) : x;
    const int64_t n = live ? lines.length : 0;
    const Norm<C> norm = column_norm(scores, lines.step, n, memory);
    const double below = smoothing != C{0} ? column_below(scores, lines.step, n, norm.top, memory) : 0.0;
    if (!live || threadIdx.y != 0) continue;
    const int64_t t = targets.class_of(line, lines.length, true, fault);
    C loss{0};
    if (t != kIgnored) {
      loss = loss_of(norm, static_cast<C>(scores[t * lines.step]), below, smoothing, lines.length);
    }
    out.put(line, loss, t != kIgnored);
  }
}

// Calls f(kWidth) with the threads for a line of that length.
template <class F>
void with_width(int64_t length, const F& f) noexcept {
  if (length <= 1024) {
    f(std::integral_constant<int, 32>());
  } else if (length <= 8192) {
    f(std::integral_constant<int, 256>());
  } else {
    f(std::integral_constant<int, 512>());
  }
}

template <class S>
void cross_entropy(const KernelArgs& args, int64_t) noexcept {
  using C = ComputeType<S>;
  const auto& a = args.attrs_as<CrossEntropyAttrs>();
  const bool reduces = a.how() != LossReduction::None;
  const Lines lines(args.in[0]);
  if (lines.count > 0) {
    const Targets targets(args.in[1], a.ignore_index);
    const auto smoothing = static_cast<C>(a.label_smoothing);
    const auto* x = args.in[0].as<const S>();
    const ForwardOut<S> out{reduces ? static_cast<LossCase<C>*>(args.scratch) : nullptr, args.out[0].as<S>()};
    if (lines.by_columns()) {
      forward_columns<S><<<grid_for(lines.count, kColumns), dim3(kColumns, kSharers), 0, stream_of(args)>>>(
          lines, targets, x, smoothing, out, fault_of(args));
    } else {
      with_width(lines.length, [&](auto width) {
        constexpr int kWidth = width;
        forward_rows<S, kWidth><<<grid_for(lines.count, kGroups<kWidth>, 16), kBlock<kWidth>, 0, stream_of(args)>>>(
            lines, targets, x, smoothing, out, fault_of(args));
      });
    }
  }
  if (reduces) merge_cases<S>(args, lines.count, a.how());
}
template <class S>
size_t cross_entropy_bytes(const KernelArgs& args) noexcept {
  if (args.attrs_as<CrossEntropyAttrs>().how() == LossReduction::None) return 0;
  return cases_bytes<ComputeType<S>>(args.in[1].numel);
}

// ---- gradients ----
// One element of the gradient: weight * (softmax - smoothed one-hot). Zero without weight, even where scores are not finite.
template <class C>
struct Slope {
  C top;
  C weight;
  C scale;
  C off;
  C on;

  GORGO_DEVICE Slope(const Norm<C>& norm, C w, C smoothing, C even)
      : top(norm.top), weight(w), scale(w / static_cast<C>(norm.sum)), off(w * even), on(w * (C{1} - smoothing)) {}
  GORGO_DEVICE C at(C x, bool wanted) const {
    if (weight == C{0}) return C{0};
    const C slope = exponential(x - top) * scale - off;
    return wanted ? slope - on : slope;
  }
};

template <class S, int kWidth>
__global__ void __launch_bounds__(kBlock<kWidth>, 512 / kBlock<kWidth>)
    backward_rows(const __grid_constant__ Lines lines, const __grid_constant__ Targets targets,
                  const __grid_constant__ Shares shares, const S* __restrict__ x, const S* __restrict__ g,
                  ComputeType<S> smoothing, S* __restrict__ out, DeviceFault* fault) {
  using C = ComputeType<S>;
  constexpr int kCount = LossPack<S>::kCount;
  __shared__ GroupMemory<C> memory;
  const Group<S, kWidth> group{&memory};
  const int64_t n = lines.length;
  const C even = smoothing / static_cast<C>(n);
  const double by = shares.divisor_of<kBlock<kWidth>>(targets, static_cast<int>(threadIdx.x));
  const int64_t step = int64_t{gridDim.x} * kGroups<kWidth>;
  for (int64_t line = int64_t{blockIdx.x} * kGroups<kWidth> + threadIdx.x / kWidth; line < lines.count; line += step) {
    const S* scores = x + lines.begin(line);
    const int64_t t = targets.class_of(line, n, group.rank() == 0, fault);
    const C weight = t != kIgnored ? shares.of(g, line, by) : C{0};
    const Norm<C> norm = group.norm(scores, lines.step, n);
    const Slope<C> slope(norm, weight, smoothing, even);
    S* to = out + lines.packed_begin(line);
    const bool aligned = can_pack(scores, lines.step);
    const bool to_aligned = can_pack(to, lines.inner);
    constexpr int64_t kStride = int64_t{kWidth} * kCount;
    for (int64_t first = int64_t{group.rank()} * kCount; first < n; first += 2 * kStride) {
      C held[2][kCount];
#pragma unroll
      for (int a = 0; a < 2; ++a) load_pack(scores, lines.step, aligned, first + a * kStride, n, C{0}, held[a]);
#pragma unroll
      for (int a = 0; a < 2; ++a) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) held[a][i] = slope.at(held[a][i], first + a * kStride + i == t);
        store_pack(to, lines.inner, to_aligned, first + a * kStride, n, held[a]);
      }
    }
  }
}

template <class S>
__global__ void __launch_bounds__(kColumns* kSharers, 2)
    backward_columns(const __grid_constant__ Lines lines, const __grid_constant__ Targets targets,
                     const __grid_constant__ Shares shares, const S* __restrict__ x, const S* __restrict__ g,
                     ComputeType<S> smoothing, S* __restrict__ out, DeviceFault* fault) {
  using C = ComputeType<S>;
  __shared__ ColumnMemory<C> memory;
  const C even = smoothing / static_cast<C>(lines.length);
  const double by = shares.divisor_of<kColumns * kSharers>(
      targets, static_cast<int>(threadIdx.y) * kColumns + static_cast<int>(threadIdx.x));
  for (int64_t block = blockIdx.x; block * kColumns < lines.count; block += gridDim.x) {
    const int64_t line = block * kColumns + threadIdx.x;
    const bool live = line < lines.count;
    const S* scores = live ? x + lines.begin(line) : x;
    const int64_t n = live ? lines.length : 0;
    const Norm<C> norm = column_norm(scores, lines.step, n, memory);
    if (!live) continue;
    const int64_t t = targets.class_of(line, n, threadIdx.y == 0, fault);
    const C weight = t != kIgnored ? shares.of(g, line, by) : C{0};
    const Slope<C> slope(norm, weight, smoothing, even);
    S* to = out + lines.packed_begin(line);
    for (int64_t first = threadIdx.y; first < n; first += kSharers * kColumnPack) {
      C held[kColumnPack];
#pragma unroll
      for (int i = 0; i < kColumnPack; ++i) {
        const int64_t c = first + i * kSharers;
        if (c < n) held[i] = static_cast<C>(scores[c * lines.step]);
      }
#pragma unroll
      for (int i = 0; i < kColumnPack; ++i) {
        const int64_t c = first + i * kSharers;
        if (c < n) to[c * lines.inner] = static_cast<S>(slope.at(held[i], c == t));
      }
    }
  }
}

template <class S>
void cross_entropy_backward(const KernelArgs& args, int64_t) noexcept {
  const auto& a = args.attrs_as<CrossEntropyAttrs>();
  if (args.in[0].numel == 0) return;
  const Lines lines(args.in[0]);
  const Targets targets(args.in[1], a.ignore_index);
  const Shares shares = make_shares(args, targets, a.how());
  const auto smoothing = static_cast<ComputeType<S>>(a.label_smoothing);
  const auto* x = args.in[0].as<const S>();
  const auto* g = args.in[2].as<const S>();
  auto* out = args.out[0].as<S>();
  if (lines.by_columns()) {
    backward_columns<S><<<grid_for(lines.count, kColumns), dim3(kColumns, kSharers), 0, stream_of(args)>>>(
        lines, targets, shares, x, g, smoothing, out, fault_of(args));
  } else {
    with_width(lines.length, [&](auto width) {
      constexpr int kWidth = width;
      backward_rows<S, kWidth><<<grid_for(lines.count, kGroups<kWidth>, 16), kBlock<kWidth>, 0, stream_of(args)>>>(
          lines, targets, shares, x, g, smoothing, out, fault_of(args));
    });
  }
}
size_t cross_entropy_backward_bytes(const KernelArgs& args) noexcept {
  return args.attrs_as<CrossEntropyAttrs>().how() == LossReduction::Mean ? sizeof(unsigned long long) : 0;
}

template <class S>
void fill(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  add(sink, "cross_entropy", d, cross_entropy<S>, cross_entropy_bytes<S>);
  add(sink, "cross_entropy_backward", d, cross_entropy_backward<S>, cross_entropy_backward_bytes);
}

}  // namespace

void fill_pointwise_losses(KernelSink& sink);  // kernels_cuda_pointwise.cu
void fill_ctc(KernelSink& sink);               // kernels_cuda_ctc.cu
void fill_nll(KernelSink& sink);               // kernels_cuda_nll.cu

void fill_loss(KernelSink& sink) {
  fill_pointwise_losses(sink);
  fill_ctc(sink);
  fill_nll(sink);
  fill<float>(sink);
  fill<double>(sink);
  fill<BFloat16>(sink);
  fill<Float16>(sink);
}

}  // namespace gorgo::cuda
