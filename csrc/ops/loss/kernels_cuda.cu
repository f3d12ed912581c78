// CUDA kernels of the losses over classes and their gradients: softmax cross-entropy, fused (the probabilities are never stored
// by the forward pass), and the negative log-likelihood.
//
// A line is the scores of one case. Where its scores lie side by side, a group of threads works on it in packs of 16 bytes, or
// one thread where they are few; where cases lie side by side, each thread has a case and shares its classes with a few others. The maximum and the sum of
// exponentials are found in one pass, the sum being scaled when the maximum rises (Milakov and Gimelshein, "Online normalizer
// calculation for softmax", 2018).
// Invariants: what a line yields depends on its length and layout alone, a sum also on the number of cases. A target out of range is reported and its line yields
// nothing; ignored lines yield zero and do not count towards the mean.
// Read next: partials.cuh, kernels_cuda_pointwise.cu, kernels_cuda_ctc.cu.
#include "ops/loss/partials.cuh"

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

// ---- the lines of a call ----
struct Lines {
  int64_t length = 1;  // classes
  int64_t inner = 1;   // lines that lie side by side in a contiguous tensor
  int64_t count = 1;
  int64_t step = 1;  // between classes of the scores
  Walk<1> starts;    // of the scores' lines

  explicit Lines(const KOperand& x) noexcept {
    const int axis = x.rank == 1 ? 0 : 1;
    int64_t shape[kMaxAxes];
    int64_t strides[kMaxAxes];
    int rank = 0;
    for (int i = 0; i < x.rank; ++i) {
      if (i == axis) continue;
      shape[rank] = x.shape[i];
      strides[rank++] = x.strides[i];
      count *= x.shape[i];
      if (i > axis) inner *= x.shape[i];
    }
    length = x.shape[axis];
    step = x.strides[axis];
    const int64_t* all[] = {strides};
    starts = Walk<1>::of(shape, rank, all);
  }
  [[nodiscard]] bool by_columns() const noexcept { return step != 1 && inner >= 32; }
  GORGO_DEVICE int64_t begin(int64_t line) const {
    int64_t at[1];
    starts.at(line, at);
    return at[0];
  }
  // Where a line of contiguous scores begins; its classes are `inner` apart.
  GORGO_DEVICE int64_t packed_begin(int64_t line) const {
    if (inner == 1) return line * length;
    const int64_t outer = line / inner;
    return outer * inner * length + (line - outer * inner);
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
    if constexpr (kWidth > 1) {
#pragma unroll
      for (int d = 16; d > 0; d /= 2) own += __shfl_xor_sync(0xffffffffu, own, d);
    }
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
    if constexpr (kWidth > 1) {
#pragma unroll
      for (int d = 16; d > 0; d /= 2) {
        const C other_top = __shfl_xor_sync(0xffffffffu, own.top, d);
        const double other_sum = __shfl_xor_sync(0xffffffffu, own.sum, d);
        own.merge(other_top, other_sum);
      }
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

template <class S>
struct ForwardOut {
  LossCase<ComputeType<S>>* cases;  // null without reduction
  S* losses;
  GORGO_DEVICE void put(int64_t line, ComputeType<S> loss, bool counts) const {
    if (cases != nullptr) {
      cases[line] = {loss, static_cast<ComputeType<S>>(counts ? 1 : 0)};
    } else {
      losses[line] = static_cast<S>(loss);
    }
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

// The loss of a line, for the group's first thread; does its target count?
template <class S, int kWidth>
GORGO_DEVICE bool loss_of_line(const Group<S, kWidth>& group, const Lines& lines, const Targets& targets,
                               const S* __restrict__ x, ComputeType<S> smoothing, int64_t line, DeviceFault* fault,
                               ComputeType<S>& loss) {
  using C = ComputeType<S>;
  const S* scores = x + lines.begin(line);
  const Norm<C> norm = group.norm(scores, lines.step, lines.length);
  const double below = smoothing != C{0} ? group.sum_below(scores, lines.step, lines.length, norm.top) : 0.0;
  loss = C{0};
  if (group.rank() != 0) return false;
  const int64_t t = targets.class_of(line, lines.length, true, fault);
  if (t == kIgnored) return false;
  loss = loss_of(norm, static_cast<C>(scores[t * lines.step]), below, smoothing, lines.length);
  return true;
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
    C loss{0};
    const bool counts = loss_of_line(group, lines, targets, x, smoothing, line, fault, loss);
    if (group.rank() == 0) out.put(line, loss, counts);
  }
}

// A few cases of a few classes, and their sum, by one block.
constexpr int kFewThreads = 512;
template <int kWidth>
constexpr int64_t kFewCases = kWidth > 32 ? 0 : kFewThreads / kWidth * (kWidth == 1 ? 2 : 4);
template <class S, int kWidth>
__global__ void __launch_bounds__(kFewThreads, 1)
    forward_few(const __grid_constant__ Lines lines, const __grid_constant__ Targets targets, const S* __restrict__ x,
                ComputeType<S> smoothing, bool mean, S* __restrict__ out, DeviceFault* fault) {
  using C = ComputeType<S>;
  __shared__ LossPartial shared[kFewThreads / 32];
  const Group<S, kWidth> group{nullptr};
  LossPartial own{0.0, 0.0};
  for (int64_t line = threadIdx.x / kWidth; line < lines.count; line += kFewThreads / kWidth) {
    C loss{0};
    if (loss_of_line(group, lines, targets, x, smoothing, line, fault, loss)) own.count += 1.0;
    own.sum += static_cast<double>(loss);
  }
  const LossPartial total = block_total<kFewThreads>(own, shared);
  if (threadIdx.x == 0) *out = static_cast<S>(static_cast<C>(mean ? total.sum / total.count : total.sum));
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
  if (length <= 16) {
    f(std::integral_constant<int, 1>());
  } else if (length <= 1024) {
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
      bool done = false;
      with_width(lines.length, [&](auto width) {
        constexpr int kWidth = width;
        if constexpr (kFewCases<kWidth> > 0) {
          if (reduces && lines.count <= kFewCases<kWidth>) {
            forward_few<S, kWidth><<<1, kFewThreads, 0, stream_of(args)>>>(
                lines, targets, x, smoothing, a.how() == LossReduction::Mean, args.out[0].as<S>(), fault_of(args));
            done = true;
            return;
          }
        }
        forward_rows<S, kWidth><<<grid_for(lines.count, kGroups<kWidth>, 16), kBlock<kWidth>, 0, stream_of(args)>>>(
            lines, targets, x, smoothing, out, fault_of(args));
      });
      if (done) return;
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
__global__ void __launch_bounds__(256)
    count_targets(const __grid_constant__ Targets targets, unsigned long long* __restrict__ total) {
  int64_t found = 0;
  for (int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x; i < targets.count; i += int64_t{gridDim.x} * 256) {
    found += targets.at(i) != targets.ignored ? 1 : 0;
  }
#pragma unroll
  for (int d = 16; d > 0; d /= 2) found += __shfl_xor_sync(0xffffffffu, found, d);
  if (threadIdx.x % 32 == 0 && found != 0) atomicAdd(total, static_cast<unsigned long long>(found));
}

// What arrives at each line: g, over the number of lines that count where the loss is their mean.
struct Shares {
  Walk<1> walk;
  const unsigned long long* counted;  // null where nothing is counted, or each block counts
  bool counts_here;
  bool each_line;

  // What to divide by. All threads of a block come here, and before any has left.
  GORGO_DEVICE double divisor(const Targets& targets) const {
    if (!counts_here) return counted != nullptr ? static_cast<double>(*counted) : 1.0;
    __shared__ int found[32];
    const auto threads = static_cast<int>(blockDim.x * blockDim.y);
    const auto thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
    int own = 0;
#pragma unroll 4
    for (int i = thread; i < static_cast<int>(targets.count); i += threads) {
      own += targets.at(i) != targets.ignored ? 1 : 0;
    }
#pragma unroll
    for (int d = 16; d > 0; d /= 2) own += __shfl_xor_sync(0xffffffffu, own, d);
    if (thread % 32 == 0) found[thread / 32] = own;
    __syncthreads();
    int total = 0;
    for (int w = 0; w < threads / 32; ++w) total += found[w];
    return static_cast<double>(total);
  }
  template <class S>
  GORGO_DEVICE ComputeType<S> of(const S* g, int64_t line, double divisor) const {
    int64_t at[1] = {0};
    if (each_line) walk.at(line, at);
    return static_cast<ComputeType<S>>(static_cast<double>(static_cast<ComputeType<S>>(g[at[0]])) / divisor);
  }
};

// Prepares what the gradients share; for means over many targets those that count are counted into scratch memory.
constexpr int64_t kCountedByEach = 1024;
Shares make_shares(const KernelArgs& args, const Targets& targets, LossReduction how) noexcept {
  Shares s;
  s.walk = walk_of(args.in[2]);
  s.counted = nullptr;
  s.counts_here = how == LossReduction::Mean && targets.count <= kCountedByEach;
  s.each_line = how == LossReduction::None;
  if (how == LossReduction::Mean && !s.counts_here) {
    auto* total = static_cast<unsigned long long*>(args.scratch);
    static_cast<void>(cudaMemsetAsync(total, 0, sizeof *total, stream_of(args)));
    count_targets<<<grid_for(targets.count, 256), 256, 0, stream_of(args)>>>(targets, total);
    s.counted = total;
  }
  return s;
}

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
  const double divisor = shares.divisor(targets);
  const int64_t n = lines.length;
  const C even = smoothing / static_cast<C>(n);
  const int64_t step = int64_t{gridDim.x} * kGroups<kWidth>;
  for (int64_t line = int64_t{blockIdx.x} * kGroups<kWidth> + threadIdx.x / kWidth; line < lines.count; line += step) {
    const S* scores = x + lines.begin(line);
    const int64_t t = targets.class_of(line, n, group.rank() == 0, fault);
    const C weight = t != kIgnored ? shares.of(g, line, divisor) : C{0};
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
  const double divisor = shares.divisor(targets);
  const C even = smoothing / static_cast<C>(lines.length);
  for (int64_t block = blockIdx.x; block * kColumns < lines.count; block += gridDim.x) {
    const int64_t line = block * kColumns + threadIdx.x;
    const bool live = line < lines.count;
    const S* scores = live ? x + lines.begin(line) : x;
    const int64_t n = live ? lines.length : 0;
    const Norm<C> norm = column_norm(scores, lines.step, n, memory);
    if (!live) continue;
    const int64_t t = targets.class_of(line, n, threadIdx.y == 0, fault);
    const C weight = t != kIgnored ? shares.of(g, line, divisor) : C{0};
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

// ---- negative log-likelihood: minus the log-probability at each line's target ----
constexpr int kNllThreads = 128;

template <class S>
__global__ void __launch_bounds__(kNllThreads)
    nll_forward(const __grid_constant__ Lines lines, const __grid_constant__ Targets targets, const S* __restrict__ x,
                const ForwardOut<S> out, DeviceFault* fault) {
  using C = ComputeType<S>;
  const int64_t step = int64_t{gridDim.x} * kNllThreads;
  for (int64_t line = int64_t{blockIdx.x} * kNllThreads + threadIdx.x; line < lines.count; line += step) {
    const int64_t t = targets.class_of(line, lines.length, true, fault);
    const C loss = t != kIgnored ? -static_cast<C>(x[lines.begin(line) + t * lines.step]) : C{0};
    out.put(line, loss, t != kIgnored);
  }
}

template <class S>
__global__ void __launch_bounds__(kNllThreads)
    nll_backward(const __grid_constant__ Lines lines, const __grid_constant__ Targets targets,
                 const __grid_constant__ Shares shares, const S* __restrict__ g, S* __restrict__ out,
                 DeviceFault* fault) {
  const double divisor = shares.divisor(targets);
  const int64_t step = int64_t{gridDim.x} * kNllThreads;
  for (int64_t line = int64_t{blockIdx.x} * kNllThreads + threadIdx.x; line < lines.count; line += step) {
    const int64_t t = targets.class_of(line, lines.length, true, fault);
    if (t == kIgnored) continue;
    out[lines.packed_begin(line) + t * lines.inner] = static_cast<S>(-shares.of(g, line, divisor));
  }
}

template <class S>
void nll_loss(const KernelArgs& args, int64_t) noexcept {
  using C = ComputeType<S>;
  const auto& a = args.attrs_as<NllAttrs>();
  const bool reduces = a.how() != LossReduction::None;
  const Lines lines(args.in[0]);
  if (lines.count > 0) {
    const ForwardOut<S> out{reduces ? static_cast<LossCase<C>*>(args.scratch) : nullptr, args.out[0].as<S>()};
    nll_forward<S><<<grid_for(lines.count, kNllThreads, 16), kNllThreads, 0, stream_of(args)>>>(
        lines, Targets(args.in[1], a.ignore_index), args.in[0].as<const S>(), out, fault_of(args));
  }
  if (reduces) merge_cases<S>(args, lines.count, a.how());
}
template <class S>
size_t nll_loss_bytes(const KernelArgs& args) noexcept {
  if (args.attrs_as<NllAttrs>().how() == LossReduction::None) return 0;
  return cases_bytes<ComputeType<S>>(args.in[1].numel);
}

template <class S>
void nll_loss_backward(const KernelArgs& args, int64_t) noexcept {
  const auto& a = args.attrs_as<NllAttrs>();
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  static_cast<void>(cudaMemsetAsync(out.data, 0, static_cast<size_t>(out.numel) * sizeof(S), stream_of(args)));
  const Lines lines(args.in[0]);
  const Targets targets(args.in[1], a.ignore_index);
  const Shares shares = make_shares(args, targets, a.how());
  nll_backward<S><<<grid_for(lines.count, kNllThreads, 16), kNllThreads, 0, stream_of(args)>>>(
      lines, targets, shares, args.in[2].as<const S>(), out.as<S>(), fault_of(args));
}
size_t nll_loss_backward_bytes(const KernelArgs& args) noexcept {
  return args.attrs_as<NllAttrs>().how() == LossReduction::Mean ? sizeof(unsigned long long) : 0;
}

template <class S>
void fill(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  add(sink, "nll_loss", d, nll_loss<S>, nll_loss_bytes<S>);
  add(sink, "nll_loss_backward", d, nll_loss_backward<S>, nll_loss_backward_bytes);
  add(sink, "cross_entropy", d, cross_entropy<S>, cross_entropy_bytes<S>);
  add(sink, "cross_entropy_backward", d, cross_entropy_backward<S>, cross_entropy_backward_bytes);
}

}  // namespace

void fill_pointwise_losses(KernelSink& sink);  // kernels_cuda_pointwise.cu
void fill_ctc(KernelSink& sink);               // kernels_cuda_ctc.cu

void fill_loss(KernelSink& sink) {
  fill_pointwise_losses(sink);
  fill_ctc(sink);
  fill<float>(sink);
  fill<double>(sink);
  fill<BFloat16>(sink);
  fill<Float16>(sink);
}

}  // namespace gorgo::cuda
