// softmax, log_softmax, logsumexp and the gradients of the first two, on CUDA.
//
// A line is shared by a group of threads: neighbours where the axis is the fast one (rows), else threads that share a column.
// Lines that fit are held in registers, so they are read once; longer ones are read twice, first for their figures (the online
// normalizer of Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018), then for the results.
// Invariants: exponents are taken of differences from the line's largest element, so nothing overflows; what a line yields
// depends on its length and its layout alone.
// Read next: kernels/cuda/reduce.cuh.
#include <limits>

#include "kernels/cuda/reduce.cuh"
#include "ops/softmax/attrs.h"

namespace gorgo::cuda {
namespace {

GORGO_DEVICE float exponential(float v) { return ::expf(v); }
GORGO_DEVICE double exponential(double v) { return ::exp(v); }
GORGO_DEVICE float logarithm(float v) { return ::logf(v); }
GORGO_DEVICE double logarithm(double v) { return ::log(v); }

template <class C>
inline constexpr C kInfinity = std::numeric_limits<C>::infinity();

template <class C>
GORGO_DEVICE bool is_finite(C v) {
  return fabs(v) < kInfinity<C>;
}

template <class Group, class C>
GORGO_DEVICE C largest_in(const Group& group, C v) {
  return group.fold(v, [](C a, C b) { return larger(a, b); });
}
template <class Group, class C>
GORGO_DEVICE C sum_in(const Group& group, C v) {
  return group.fold(v, [](C a, C b) { return a + b; });
}

// ---- figures of a line that is read piece by piece ----

// The largest element so far and the sum of exponentials of differences from it (from zero where it is infinite: the
// difference of infinities has no value).
template <class C>
struct OnlineSum {
  C top = -kInfinity<C>;
  double sum = 0.0;

  template <int kCount>
  GORGO_DEVICE void add(const C (&v)[1][kCount]) {
    C next = top;
#pragma unroll
    for (int i = 0; i < kCount; ++i) next = larger(next, v[0][i]);
    const C from = is_finite(next) ? next : C{0};
    C part = C{0};
#pragma unroll
    for (int i = 0; i < kCount; ++i) part += exponential(v[0][i] - from);
    sum = fma(sum, static_cast<double>(exponential(top - from)), static_cast<double>(part));
    top = next;
  }
  GORGO_DEVICE static OnlineSum merge(const OnlineSum& a, const OnlineSum& b) {
    OnlineSum r;
    r.top = larger(a.top, b.top);
    const C from = is_finite(r.top) ? r.top : C{0};
    r.sum =
        a.sum * static_cast<double>(exponential(a.top - from)) + b.sum * static_cast<double>(exponential(b.top - from));
    return r;
  }
};
// Of a gradient: the sum of g y, or of g.
template <class C, bool kProducts>
struct GradientSum {
  double sum = 0.0;

  template <int kCount>
  GORGO_DEVICE static C part_of(const C (&v)[2][kCount]) {
    C part = C{0};
#pragma unroll
    for (int i = 0; i < kCount; ++i) part = kProducts ? multiply_add(v[0][i], v[1][i], part) : part + v[0][i];
    return part;
  }
  template <int kCount>
  GORGO_DEVICE void add(const C (&v)[2][kCount]) {
    sum += static_cast<double>(part_of(v));
  }
  GORGO_DEVICE static GradientSum merge(const GradientSum& a, const GradientSum& b) { return {a.sum + b.sum}; }
};

// ---- the ops ----
// kInputs, absent() (what stands for elements beyond the end), kScalar (one result for the line);
// held(v, group, r): results of elements in registers; Figures with add, ready(figures) -> Ready, map(ready, elements).

template <class C>
struct Softmax {
  static constexpr int kInputs = 1;
  static constexpr bool kScalar = false;
  using Figures = OnlineSum<C>;
  struct Ready {
    C top, factor;
  };
  GORGO_DEVICE static C absent() { return -kInfinity<C>; }
  template <int kCount, class Group>
  GORGO_DEVICE static void held(const C (&v)[1][kCount], const Group& group, C (&r)[kCount]) {
    C top = v[0][0];
#pragma unroll
    for (int i = 1; i < kCount; ++i) top = larger(top, v[0][i]);
    top = largest_in(group, top);
    C sum = C{0};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      r[i] = exponential(v[0][i] - top);
      sum += r[i];
    }
    const C factor = C{1} / sum_in(group, sum);
#pragma unroll
    for (int i = 0; i < kCount; ++i) r[i] *= factor;
  }
  GORGO_DEVICE static Ready ready(const Figures& f) {
    const C factor = is_finite(f.top) ? static_cast<C>(1.0 / f.sum) : std::numeric_limits<C>::quiet_NaN();
    return {f.top, factor};
  }
  GORGO_DEVICE static C map(const Ready& s, const C (&v)[1]) { return exponential(v[0] - s.top) * s.factor; }
};

template <class C>
struct LogSoftmax {
  static constexpr int kInputs = 1;
  static constexpr bool kScalar = false;
  using Figures = OnlineSum<C>;
  struct Ready {
    C top, lower;
  };
  GORGO_DEVICE static C absent() { return -kInfinity<C>; }
  template <int kCount, class Group>
  GORGO_DEVICE static void held(const C (&v)[1][kCount], const Group& group, C (&r)[kCount]) {
    C top = v[0][0];
#pragma unroll
    for (int i = 1; i < kCount; ++i) top = larger(top, v[0][i]);
    top = largest_in(group, top);
    C sum = C{0};
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum += exponential(v[0][i] - top);
    const Ready s{top, logarithm(sum_in(group, sum))};
#pragma unroll
    for (int i = 0; i < kCount; ++i) r[i] = v[0][i] - s.top - s.lower;
  }
  GORGO_DEVICE static Ready ready(const Figures& f) {
    const C lower = is_finite(f.top) ? static_cast<C>(::log(f.sum)) : std::numeric_limits<C>::quiet_NaN();
    return {f.top, lower};
  }
  GORGO_DEVICE static C map(const Ready& s, const C (&v)[1]) { return v[0] - s.top - s.lower; }
};

template <class C>
struct LogSumExp {
  static constexpr int kInputs = 1;
  static constexpr bool kScalar = true;
  using Figures = OnlineSum<C>;
  struct Ready {
    C result;
  };
  GORGO_DEVICE static C absent() { return -kInfinity<C>; }
  template <int kCount, class Group>
  GORGO_DEVICE static void held(const C (&v)[1][kCount], const Group& group, C (&r)[kCount]) {
    C top = v[0][0];
#pragma unroll
    for (int i = 1; i < kCount; ++i) top = larger(top, v[0][i]);
    top = largest_in(group, top);
    const C from = is_finite(top) ? top : C{0};
    C sum = C{0};
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum += exponential(v[0][i] - from);
    r[0] = from + logarithm(sum_in(group, sum));
  }
  GORGO_DEVICE static Ready ready(const Figures& f) {
    return {static_cast<C>(static_cast<double>(is_finite(f.top) ? f.top : C{0}) + ::log(f.sum))};
  }
  GORGO_DEVICE static C map(const Ready& s, const C (&)[1]) { return s.result; }
};

// y (g - sum(g y))
template <class C>
struct SoftmaxBackward {
  static constexpr int kInputs = 2;
  static constexpr bool kScalar = false;
  using Figures = GradientSum<C, true>;
  struct Ready {
    C sum;
  };
  GORGO_DEVICE static C absent() { return C{0}; }
  template <int kCount, class Group>
  GORGO_DEVICE static void held(const C (&v)[2][kCount], const Group& group, C (&r)[kCount]) {
    const C sum = sum_in(group, Figures::part_of(v));
#pragma unroll
    for (int i = 0; i < kCount; ++i) r[i] = v[1][i] * (v[0][i] - sum);
  }
  GORGO_DEVICE static Ready ready(const Figures& f) { return {static_cast<C>(f.sum)}; }
  GORGO_DEVICE static C map(const Ready& s, const C (&v)[2]) { return v[1] * (v[0] - s.sum); }
};

// g - exp(y) sum(g)
template <class C>
struct LogSoftmaxBackward {
  static constexpr int kInputs = 2;
  static constexpr bool kScalar = false;
  using Figures = GradientSum<C, false>;
  struct Ready {
    C sum;
  };
  GORGO_DEVICE static C absent() { return C{0}; }
  template <int kCount, class Group>
  GORGO_DEVICE static void held(const C (&v)[2][kCount], const Group& group, C (&r)[kCount]) {
    const C sum = sum_in(group, Figures::part_of(v));
#pragma unroll
    for (int i = 0; i < kCount; ++i) r[i] = v[0][i] - exponential(v[1][i]) * sum;
  }
  GORGO_DEVICE static Ready ready(const Figures& f) { return {static_cast<C>(f.sum)}; }
  GORGO_DEVICE static C map(const Ready& s, const C (&v)[2]) { return v[0] - exponential(v[1]) * s.sum; }
};

// ---- lines ----

// One line as a thread of its group sees it: its packs are first, first + stride, ... below count.
template <class S, int kInputs>
struct Line {
  const S* in[kInputs];
  S* out;
  int64_t in_step[kInputs];
  int64_t out_step;
  int64_t first;
  int64_t stride;
  int64_t count;  // 0 for threads beyond the last line

  template <int kWidth>
  GORGO_DEVICE Pack<S, kWidth> read(int k, int64_t i) const {
    return load_pack<S, kWidth>(in[k] + i * kWidth * in_step[k]);
  }
  template <int kWidth>
  GORGO_DEVICE void write(int64_t i, const Pack<S, kWidth>& pack) const {
    store_pack<S, kWidth>(out + i * kWidth * out_step, pack);
  }
};

// kHeld packs of each thread lie in registers; 0 means that the line is read twice. Where the op has one result, the thread
// with first == 0 stores it at line.out.
template <template <class> class OpOf, class S, int kHeld, int kWidth, class Group>
GORGO_DEVICE void work(const Line<S, OpOf<ComputeType<S>>::kInputs>& line, bool live, const Group& group) {
  using C = ComputeType<S>;
  using Op = OpOf<C>;
  constexpr int kInputs = Op::kInputs;
  // Loads a batch of packs that begins at pack i.
  const auto load = [&](auto& v, auto batch, auto i, auto stride, auto count) {
    constexpr int kBatch = decltype(batch)::value;
#pragma unroll
    for (int k = 0; k < kInputs; ++k) {
      Pack<S, kWidth> packs[kBatch];
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        if (i + u * stride < count) packs[u] = line.template read<kWidth>(k, i + u * stride);
      }
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        const bool there = i + u * stride < count;
        C lifted[kWidth];
        lift_pack(packs[u], lifted);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) v[k][u * kWidth + j] = there ? lifted[j] : Op::absent();
      }
    }
  };
  if constexpr (kHeld > 0) {
    C v[kInputs][kHeld * kWidth];
    C r[kHeld * kWidth];
    const auto first = static_cast<int>(line.first);
    const auto stride = static_cast<int>(line.stride);
    const auto count = static_cast<int>(line.count);
    load(v, std::integral_constant<int, kHeld>(), first, stride, count);
    Op::held(v, group, r);
    if constexpr (Op::kScalar) {
      if (live && line.first == 0) *line.out = lower<S>(r[0]);
    } else {
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
        const int i = first + u * stride;
        if (i >= count) break;
        C results[kWidth];
#pragma unroll
        for (int j = 0; j < kWidth; ++j) results[j] = r[u * kWidth + j];
        line.template write<kWidth>(i, lower_pack<S>(results));
      }
    }
  } else {
    constexpr int kBatch = kWidth * kInputs >= 8 ? 2 : 4;
    using Batch = std::integral_constant<int, kBatch>;
    using Figures = typename Op::Figures;
    Figures figures;
#pragma unroll 1
    for (int64_t i = line.first; i < line.count; i += kBatch * line.stride) {
      C v[kInputs][kBatch * kWidth];
      load(v, Batch(), i, line.stride, line.count);
      figures.add(v);
    }
    const typename Op::Ready ready =
        Op::ready(group.fold(figures, [](const Figures& a, const Figures& b) { return Figures::merge(a, b); }));
    if constexpr (Op::kScalar) {
      const C nothing[1] = {C{0}};
      if (live && line.first == 0) *line.out = lower<S>(Op::map(ready, nothing));
    } else {
#pragma unroll 1
      for (int64_t i = line.first; i < line.count; i += kBatch * line.stride) {
        C v[kInputs][kBatch * kWidth];
        load(v, Batch(), i, line.stride, line.count);
#pragma unroll
        for (int u = 0; u < kBatch; ++u) {
          if (i + u * line.stride >= line.count) break;
          Pack<S, kWidth> pack;
#pragma unroll
          for (int j = 0; j < kWidth; ++j) {
            C element[kInputs];
#pragma unroll
            for (int k = 0; k < kInputs; ++k) element[k] = v[k][u * kWidth + j];
            pack.v[j] = lower<S>(Op::map(ready, element));
          }
          line.template write<kWidth>(i + u * line.stride, pack);
        }
      }
    }
  }
}

template <class S, int kInputs>
struct LineJob {
  const S* in[kInputs];
  S* out;
  Walk<kInputs> lines;  // all axes but the one
  int64_t in_step[kInputs];
  int64_t length;
  int64_t inner;   // lines side by side in the output
  int64_t count;   // lines
  int lanes;       // rows: threads of a line; columns: lines that a block takes side by side
  int rows;        // columns: threads of a line
  int64_t strips;  // columns: that the lanes cut `inner` into
};

// Threads of a line at most: where registers allow, packs of lines that are held.
template <class S, int kHeld, int kWidth>
inline constexpr int kMostThreads = kHeld > 0 && kWidth > 1 && sizeof(ComputeType<S>) == 4 ? 1024 : 512;

template <template <class> class OpOf, class S, int kHeld, int kWidth>
__global__ void __launch_bounds__((kMostThreads<S, kHeld, kWidth>))
    softmax_rows(const __grid_constant__ LineJob<S, OpOf<ComputeType<S>>::kInputs> job) {
  using Op = OpOf<ComputeType<S>>;
  constexpr int kInputs = Op::kInputs;
  __shared__ alignas(16) unsigned char shared[32 * 16];
  const int lanes = job.lanes;
  const int lane_bits = 31 - __clz(lanes);
  const int slots = static_cast<int>(blockDim.x) >> lane_bits;
  const RowGroup group{lanes, shared};
  for (int64_t block = int64_t{blockIdx.x} * slots; block < job.count; block += int64_t{gridDim.x} * slots) {
    const int64_t number = block + (static_cast<int>(threadIdx.x) >> lane_bits);
    const bool live = number < job.count;
    Line<S, kInputs> line;
    int64_t at[kInputs];
#pragma unroll
    for (int k = 0; k < kInputs; ++k) at[k] = number * job.lines.strides[k][0];
    if (job.lines.rank > 1 && live) offsets_at(job.lines, number, at);
#pragma unroll
    for (int k = 0; k < kInputs; ++k) {
      line.in[k] = job.in[k] + at[k];
      line.in_step[k] = job.in_step[k];
    }
    line.out = job.out + number * (Op::kScalar ? 1 : job.length);
    line.out_step = 1;
    line.first = static_cast<int>(threadIdx.x) & (lanes - 1);
    line.stride = lanes;
    line.count = live ? job.length / kWidth : 0;
    work<OpOf, S, kHeld, kWidth>(line, live, group);
  }
}

template <template <class> class OpOf, class S, int kHeld>
__global__ void __launch_bounds__(512)
    softmax_columns(const __grid_constant__ LineJob<S, OpOf<ComputeType<S>>::kInputs> job) {
  using Op = OpOf<ComputeType<S>>;
  constexpr int kInputs = Op::kInputs;
  __shared__ alignas(16) unsigned char shared[512 * 16];
  const int x = static_cast<int>(threadIdx.x) & (job.lanes - 1);
  const int y = (static_cast<int>(threadIdx.x) / job.lanes) & (job.rows - 1);
  const int z = static_cast<int>(threadIdx.x) / (job.lanes * job.rows);
  const int at_once = static_cast<int>(blockDim.x) / (job.lanes * job.rows);
  const int64_t units = job.count / job.inner * job.strips;
  const ColumnGroup group{job.lanes, job.rows, shared};
  for (int64_t block = int64_t{blockIdx.x} * at_once; block < units; block += int64_t{gridDim.x} * at_once) {
    const int64_t unit = block + z;
    const int64_t outer = unit / job.strips;
    const int64_t column = (unit - outer * job.strips) * job.lanes + x;
    const bool live = unit < units && column < job.inner;
    const int64_t number = outer * job.inner + column;
    Line<S, kInputs> line;
    int64_t at[kInputs] = {};
    if (live) offsets_at(job.lines, number, at);
#pragma unroll
    for (int k = 0; k < kInputs; ++k) {
      line.in[k] = job.in[k] + at[k];
      line.in_step[k] = job.in_step[k];
    }
    line.out = job.out + (Op::kScalar ? number : outer * job.inner * job.length + column);
    line.out_step = job.inner;
    line.first = y;
    line.stride = job.rows;
    line.count = live ? job.length : 0;
    work<OpOf, S, kHeld, 1>(line, live, group);
  }
}

unsigned blocks_for(int64_t units, int64_t at_once) noexcept {
  constexpr int64_t kMost = int64_t{1} << 20;  // blocks stride over the rest
  const int64_t blocks = ceil_div(units, at_once);
  return static_cast<unsigned>(blocks < kMost ? blocks : kMost);
}

template <template <class> class OpOf, class S, int kWidth, class Job>
void launch_rows(Job& job, cudaStream_t stream) noexcept {
  constexpr int kMany = sizeof(ComputeType<S>) == 8 ? 8 / kWidth : 16 / kWidth;
  constexpr int kFew = kWidth == 1 ? 4 : kMany;
  const int64_t packs = job.length / kWidth;
  int threads = 256;
  const auto go = [&](auto held, int lanes) {
    job.lanes = lanes;
    if (lanes > 32) threads = lanes;
    softmax_rows<OpOf, S, decltype(held)::value, kWidth>
        <<<blocks_for(job.count, threads / lanes), threads, 0, stream>>>(job);
  };
  if (packs <= 32 * kFew) {
    go(std::integral_constant<int, kFew>(), lanes_for(ceil_div(packs, kFew), 32));
  } else if (constexpr int kMost = kMostThreads<S, kMany, kWidth>; packs <= int64_t{kMost} * kMany) {
    go(std::integral_constant<int, kMany>(), lanes_for(ceil_div(packs, kMany), kMost));
  } else {
    go(std::integral_constant<int, 0>(), kMostThreads<S, 0, kWidth>);
  }
}

template <template <class> class OpOf, class S, class Job>
void launch_columns(Job& job, cudaStream_t stream) noexcept {
  constexpr int kHeld = 8;
  job.lanes = lanes_for(job.inner, 32);
  job.strips = ceil_div(job.inner, job.lanes);
  const int most = 512 / job.lanes;
  const bool fits = job.length <= int64_t{kHeld} * most;
  job.rows = lanes_for(ceil_div(job.length, fits ? kHeld : 16), most);
  const int threads = job.lanes * job.rows < 256 ? 256 : job.lanes * job.rows;
  const unsigned blocks = blocks_for(job.count / job.inner * job.strips, threads / (job.lanes * job.rows));
  if (fits) {
    softmax_columns<OpOf, S, kHeld><<<blocks, threads, 0, stream>>>(job);
  } else {
    softmax_columns<OpOf, S, 0><<<blocks, threads, 0, stream>>>(job);
  }
}

int64_t axis_of(const SoftmaxAttrs& a) noexcept { return a.axis; }
int64_t axis_of(const LogSumExpAttrs& a) noexcept { return a.axis; }

template <template <class> class OpOf, class S, class Attrs>
void run(const KernelArgs& args, int64_t) noexcept {
  using Op = OpOf<ComputeType<S>>;
  constexpr int kInputs = Op::kInputs;
  constexpr int kWidth = kPackOf<S>;
  const KOperand& x = args.in[0];
  if (args.out[0].numel == 0) return;
  const int64_t given = axis_of(args.attrs_as<Attrs>());
  const int axis = x.rank == 0 ? 0 : static_cast<int>(given < 0 ? given + x.rank : given);
  LineJob<S, kInputs> job{};
  int64_t sizes[kMaxAxes];
  int64_t strides[kInputs][kMaxAxes];
  int others = 0;
  job.length = 1;
  job.inner = 1;
  job.count = 1;
  for (int i = 0; i < x.rank; ++i) {
    if (i == axis) {
      job.length = x.shape[i];
      continue;
    }
    sizes[others] = x.shape[i];
    for (int k = 0; k < kInputs; ++k) strides[k][others] = args.in[k].strides[i];
    ++others;
    job.count *= x.shape[i];
    if (i > axis) job.inner *= x.shape[i];
  }
  const int64_t* walked[kInputs];
  for (int k = 0; k < kInputs; ++k) walked[k] = strides[k];
  job.lines = Walk<kInputs>::of(sizes, others, walked);
  if (job.lines.rank == 0) {
    for (auto& s : job.lines.strides) s[0] = 0;
  }
  bool wide = job.inner == 1 && job.length % kWidth == 0 && is_aligned(args.out[0].data, kWidth * sizeof(S));
  for (int k = 0; k < kInputs; ++k) {
    const KOperand& in = args.in[k];
    job.in[k] = in.as<const S>();
    job.in_step[k] = x.rank == 0 ? 1 : in.strides[axis];
    wide = wide && job.in_step[k] == 1 && is_aligned(in.data, kWidth * sizeof(S));
    for (int i = 0; i < job.lines.rank; ++i) wide = wide && job.lines.strides[k][i] % kWidth == 0;
  }
  job.out = args.out[0].as<S>();
  if (job.inner > 1) {
    launch_columns<OpOf, S>(job, stream_of(args));
  } else if (wide) {
    launch_rows<OpOf, S, kWidth>(job, stream_of(args));
  } else {
    launch_rows<OpOf, S, 1>(job, stream_of(args));
  }
}

template <class S>
void fill(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  add(sink, "softmax", d, run<Softmax, S, SoftmaxAttrs>);
  add(sink, "log_softmax", d, run<LogSoftmax, S, SoftmaxAttrs>);
  add(sink, "softmax_backward", d, run<SoftmaxBackward, S, SoftmaxAttrs>);
  add(sink, "log_softmax_backward", d, run<LogSoftmaxBackward, S, SoftmaxAttrs>);
  add(sink, "logsumexp", d, run<LogSumExp, S, LogSumExpAttrs>);
}

}  // namespace

void fill_softmax(KernelSink& sink);
void fill_softmax(KernelSink& sink) {
  fill<float>(sink);
  fill<double>(sink);
  fill<BFloat16>(sink);
  fill<Float16>(sink);
}

}  // namespace gorgo::cuda
