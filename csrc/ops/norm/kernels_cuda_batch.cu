// batch_norm in both modes and its gradient on CUDA.
//
// Sums for each channel over rows and positions are reductions (kernels/cuda/fold.cuh); a small kernel turns them into a few
// numbers for each channel, and a third applies these to every element.
// Invariant: sums are in double, of differences from the channel's first element.
// Read next: kernels/cuda/moments.cuh, kernels_cuda.cuh.
#include "kernels/cuda/moments.cuh"
#include "ops/norm/kernels_cuda.cuh"

namespace gorgo::cuda {
namespace {

// Partial results kept as they are, one for each channel.
template <class Partial>
struct Raw {
  Partial* to;
#if defined(__CUDACC__)
  GORGO_DEVICE void put(int64_t at, const Partial& p) const { to[at] = p; }
#endif
};

struct GradientSums {
  double sum, squares;     // of x - first
  double grads, products;  // of g, and of g times the difference
};
template <class S>
struct GradientMoments {
  using Storage = S;
  using Partial = GradientSums;
  using Out = Raw<Partial>;
  static constexpr int kInputs = 2;  // x, g
  static constexpr bool kCentred = true;

  template <int kLanes>
  struct Run {
    using C = ComputeType<S>;
    C from = C{0};
    GradientSums sums{0.0, 0.0, 0.0, 0.0};

    GORGO_DEVICE void begin(const S (&first)[2]) { from = lift(first[0]); }
    GORGO_DEVICE void add(const S (&v)[2], int, uint32_t) {
      const auto d = static_cast<double>(lift(v[0]) - from);
      const auto g = static_cast<double>(lift(v[1]));
      sums.sum += d;
      sums.squares = fma(d, d, sums.squares);
      sums.grads += g;
      sums.products = fma(g, d, sums.products);
    }
    GORGO_DEVICE void flush() {}
    GORGO_DEVICE Partial finish(int64_t) { return sums; }
  };
  GORGO_DEVICE static Partial none() { return {0.0, 0.0, 0.0, 0.0}; }
  GORGO_DEVICE static Partial merge(const Partial& a, const Partial& b) {
    return {a.sum + b.sum, a.squares + b.squares, a.grads + b.grads, a.products + b.products};
  }
};

// What is applied to the elements of one channel, with d = (x - from) - offset:
// forward d scale + shift, backward (g - shift - d slope) scale.
template <class C>
struct alignas(sizeof(C)) Channel {
  C from, offset, scale, shift, slope;
};

// ---- the numbers of each channel ----

template <class S>
struct TrainJob {
  const S* x;    // the first element summed of the first channel
  int64_t step;  // between the channels of x
  const MomentSums* sums;
  Channel<ComputeType<S>>* channels;
  int64_t count;  // channels
  double each;    // elements of a channel
  double eps;
  double momentum;
  bool plain_mean;  // of all batches so far, in place of the momentum
  PerChannel<S> weight;
  PerChannel<S> bias;
  S* running_mean;
  S* running_var;
  int64_t mean_step;
  int64_t var_step;
  const int64_t* batches;
};
template <class S>
__global__ void __launch_bounds__(128) batch_train_channels(const __grid_constant__ TrainJob<S> job) {
  using C = ComputeType<S>;
  const int64_t c = int64_t{blockIdx.x} * 128 + threadIdx.x;
  if (c >= job.count) return;
  const C from = lift(job.x[c * job.step]);
  const MomentSums s = job.sums[c];
  const double offset = s.sum / job.each;
  const double variance = squares_about_mean(s.sum, s.squares, job.each) / job.each;
  // The counter still holds the batches before this one.
  double share = job.momentum;
  if (job.plain_mean) share = 1.0 / static_cast<double>(job.batches != nullptr ? *job.batches + 1 : 1);
  const auto follow = [&](S& held, double now) {
    held = lower<S>((1.0 - share) * static_cast<double>(lift(held)) + share * now);
  };
  if (job.running_mean != nullptr) follow(job.running_mean[c * job.mean_step], static_cast<double>(from) + offset);
  if (job.running_var != nullptr) {
    follow(job.running_var[c * job.var_step], variance * (job.each / (job.each - 1.0)));
  }
  const double rstd = 1.0 / sqrt(variance + job.eps);
  const auto scale = static_cast<C>(rstd * static_cast<double>(job.weight.at(c, 1.0)));
  job.channels[c] = {from, static_cast<C>(offset), scale, job.bias.at(c, 0.0), C{0}};
}

template <class S>
struct EvalJob {
  PerChannel<S> mean;
  PerChannel<S> variance;
  PerChannel<S> weight;
  PerChannel<S> bias;
  Channel<ComputeType<S>>* channels;
  int64_t count;
  double eps;
};
template <class S>
__global__ void __launch_bounds__(128) batch_eval_channels(const EvalJob<S> job) {
  using C = ComputeType<S>;
  const int64_t c = int64_t{blockIdx.x} * 128 + threadIdx.x;
  if (c >= job.count) return;
  const double rstd = 1.0 / sqrt(static_cast<double>(job.variance.at(c, 1.0)) + job.eps);
  const auto scale = static_cast<C>(rstd * static_cast<double>(job.weight.at(c, 1.0)));
  job.channels[c] = {job.mean.at(c, 0.0), C{0}, scale, job.bias.at(c, 0.0), C{0}};
}

template <class S>
struct GradientJob {
  const S* x;
  int64_t step;
  const GradientSums* sums;
  Channel<ComputeType<S>>* channels;
  int64_t count;
  double each;
  double eps;
  PerChannel<S> weight;
  S* dweight;
  S* dbias;
};
template <class S>
__global__ void __launch_bounds__(128) batch_backward_channels(const GradientJob<S> job) {
  using C = ComputeType<S>;
  const int64_t c = int64_t{blockIdx.x} * 128 + threadIdx.x;
  if (c >= job.count) return;
  const GradientSums s = job.sums[c];
  const double offset = s.sum / job.each;
  const double variance = squares_about_mean(s.sum, s.squares, job.each) / job.each;
  const double rstd = 1.0 / sqrt(variance + job.eps);
  const double along = (s.products - offset * s.grads) * rstd;  // sum of g * normalized x
  const auto scale = static_cast<C>(rstd * static_cast<double>(job.weight.at(c, 1.0)));
  job.channels[c] = {lift(job.x[c * job.step]), static_cast<C>(offset), scale, static_cast<C>(s.grads / job.each),
                     static_cast<C>(along * rstd / job.each)};
  job.dweight[c] = lower<S>(along);
  job.dbias[c] = lower<S>(s.grads);
}

// ---- every element ----

template <class S, int kInputs>
struct ApplyJob {
  const S* in[kInputs];  // x, or g and x
  S* out;
  Walk<kInputs> walk;  // row-major positions
  const Channel<ComputeType<S>>* channels;
  int64_t count;  // elements
  int64_t channel_count;
  int64_t positions;  // of a channel in one row
  int64_t* batches;   // goes up by one; or null
};

// Neighbours that make up a pack are of one channel, or of as many (positions == 1).
template <class S, int kInputs, int kWidth>
__global__ void __launch_bounds__(256) batch_apply(const __grid_constant__ ApplyJob<S, kInputs> job) {
  using C = ComputeType<S>;
  const int64_t packs = job.count / kWidth;
  if (job.batches != nullptr && blockIdx.x == 0 && threadIdx.x == 0) ++*job.batches;
#pragma unroll 2
  for (int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x; i < packs; i += int64_t{gridDim.x} * 256) {
    const int64_t e = i * kWidth;
    int64_t at[kInputs];
    if (job.walk.rank <= 1) {
#pragma unroll
      for (int k = 0; k < kInputs; ++k) at[k] = e * job.walk.strides[k][0];
    } else {
      offsets_at(job.walk, e, at);
    }
    Pack<S, kWidth> raw[kInputs];
#pragma unroll
    for (int k = 0; k < kInputs; ++k) raw[k] = load_pack<S, kWidth>(job.in[k] + at[k]);
    const int64_t plane = job.positions == 1 ? e : Quotient(e, job.positions).quotient;
    const int64_t channel = Quotient(plane, job.channel_count).rest;
    const bool alike = job.positions != 1;
    Channel<C> c = job.channels[channel];
    Pack<S, kWidth> pack;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      if (j > 0 && !alike) c = job.channels[channel + j];
      const C d = lift(raw[kInputs - 1].v[j]) - c.from - c.offset;
      if constexpr (kInputs == 1) {
        pack.v[j] = lower<S>(multiply_add(d, c.scale, c.shift));
      } else {
        pack.v[j] = lower<S>((lift(raw[0].v[j]) - c.shift - d * c.slope) * c.scale);
      }
    }
    store_pack<S, kWidth>(job.out + e, pack);
  }
}

template <class S, int kInputs>
void apply(const KernelArgs& args, const KOperand* const (&in)[kInputs], const Channel<ComputeType<S>>* channels,
           int64_t* batches) noexcept {
  constexpr int kWidth = kPackOf<S>;
  const KOperand& x = *in[0];
  ApplyJob<S, kInputs> job{};
  Axes<kInputs> axes;
  job.positions = 1;
  for (int i = 0; i < x.rank; ++i) {
    axes.push(in, i);
    if (i > 1) job.positions *= x.shape[i];
  }
  job.walk = axes.walk();
  job.out = args.out[0].as<S>();
  job.channels = channels;
  job.count = x.numel;
  job.channel_count = x.shape[1];
  job.batches = batches;
  const int64_t dense = job.positions == 1 ? job.channel_count : job.positions;
  bool wide = dense % kWidth == 0 && is_aligned(job.out, kWidth * sizeof(S));
  for (int k = 0; k < kInputs; ++k) {
    job.in[k] = in[k]->template as<const S>();
    wide = wide && job.walk.rank > 0 && is_aligned(job.in[k], kWidth * sizeof(S));
    for (int i = 0; i < job.walk.rank && wide; ++i) {
      const int64_t step = job.walk.strides[k][i];
      wide = i == job.walk.rank - 1 ? step == 1 && job.walk.shape[i] % kWidth == 0 : step % kWidth == 0;
    }
  }
  const cudaStream_t stream = stream_of(args);
  if (wide) {
    batch_apply<S, kInputs, kWidth><<<grid_for(job.count / kWidth, 512, 16), 256, 0, stream>>>(job);
  } else {
    batch_apply<S, kInputs, 1><<<grid_for(job.count, 512, 16), 256, 0, stream>>>(job);
  }
}

// ---- the launchers ----

constexpr uint32_t kAllButChannels = ~uint32_t{2};

constexpr size_t aligned(size_t bytes) noexcept { return (bytes + 63) / 64 * 64; }

// Scratch: the sums of each channel, the numbers made of them, and what the reduction needs.
template <class Partial, class C>
struct Parts {
  size_t channels;  // where the numbers begin
  size_t fold;      // where the reduction's part begins
  Parts(int64_t count) noexcept
      : channels(aligned(static_cast<size_t>(count) * sizeof(Partial))),
        fold(channels + aligned(static_cast<size_t>(count) * sizeof(Channel<C>))) {}
};

template <class S>
size_t train_scratch(const KernelArgs& args) noexcept {
  const KOperand* const x[] = {&args.in[0]};
  const FoldPlan<1> plan(x, kAllButChannels, false);
  return Parts<MomentSums, ComputeType<S>>(args.in[0].shape[1]).fold + plan.scratch_bytes(sizeof(MomentSums));
}
template <class S>
void train(const KernelArgs& args, int64_t) noexcept {
  using C = ComputeType<S>;
  using Policy = Moments<S, Raw<MomentSums>>;
  const auto& attrs = args.attrs_as<BatchNormTrainAttrs>();
  const KOperand* const x[] = {&args.in[0]};
  const int64_t count = x[0]->shape[1];
  const auto mutated = [&](int i) -> const KOperand* {
    return i < args.in_count && args.in[i].given ? &args.in[i] : nullptr;
  };
  const KOperand* const batches = mutated(5);
  int64_t* const counter = batches != nullptr ? batches->as<int64_t>() : nullptr;
  if (x[0]->numel == 0) {  // no channels; the batch counts all the same
    apply<S, 1>(args, x, nullptr, counter);
    return;
  }
  const FoldPlan<1> plan(x, kAllButChannels, false);
  const Parts<MomentSums, C> parts(count);
  auto* const base = static_cast<char*>(args.scratch);
  auto* const sums = reinterpret_cast<MomentSums*>(base);
  auto* const channels = reinterpret_cast<Channel<C>*>(base + parts.channels);
  run_fold<Policy>(x, plan, {sums}, base + parts.fold, stream_of(args));
  TrainJob<S> job{};
  job.x = x[0]->as<const S>() + plan.base[0];  // the first element that the sums saw
  job.step = x[0]->strides[1];
  job.sums = sums;
  job.channels = channels;
  job.count = count;
  job.each = static_cast<double>(plan.count);
  job.eps = attrs.eps;
  job.plain_mean = !attrs.momentum.has;
  job.momentum = attrs.momentum.has ? attrs.momentum.value : 0.0;
  job.weight = PerChannel<S>(args, 1);
  job.bias = PerChannel<S>(args, 2);
  if (const KOperand* mean = mutated(3)) {
    job.running_mean = mean->as<S>();
    job.mean_step = mean->strides[0];
  }
  if (const KOperand* variance = mutated(4)) {
    job.running_var = variance->as<S>();
    job.var_step = variance->strides[0];
  }
  job.batches = counter;
  batch_train_channels<S><<<static_cast<unsigned>(ceil_div(count, 128)), 128, 0, stream_of(args)>>>(job);
  apply<S, 1>(args, x, channels, counter);
}

template <class S>
size_t eval_scratch(const KernelArgs& args) noexcept {
  return static_cast<size_t>(args.in[0].shape[1]) * sizeof(Channel<ComputeType<S>>);
}
template <class S>
void eval(const KernelArgs& args, int64_t) noexcept {
  if (args.in[0].numel == 0) return;
  const KOperand* const x[] = {&args.in[0]};
  EvalJob<S> job{};
  job.mean = PerChannel<S>(args, 1);
  job.variance = PerChannel<S>(args, 2);
  job.weight = PerChannel<S>(args, 3);
  job.bias = PerChannel<S>(args, 4);
  job.channels = static_cast<Channel<ComputeType<S>>*>(args.scratch);
  job.count = x[0]->shape[1];
  job.eps = args.attrs_as<NormAttrs>().eps;
  batch_eval_channels<S><<<static_cast<unsigned>(ceil_div(job.count, 128)), 128, 0, stream_of(args)>>>(job);
  apply<S, 1>(args, x, job.channels, nullptr);
}

template <class S>
size_t gradient_scratch(const KernelArgs& args) noexcept {
  const KOperand* const in[] = {&args.in[1], &args.in[0]};
  const FoldPlan<2> plan(in, kAllButChannels, false);
  return Parts<GradientSums, ComputeType<S>>(args.in[1].shape[1]).fold + plan.scratch_bytes(sizeof(GradientSums));
}
template <class S>
void gradient(const KernelArgs& args, int64_t) noexcept {
  using C = ComputeType<S>;
  if (args.in[1].numel == 0) return;  // no channels
  const KOperand* const summed[] = {&args.in[1], &args.in[0]};
  const FoldPlan<2> plan(summed, kAllButChannels, false);
  const int64_t count = args.in[1].shape[1];
  const Parts<GradientSums, C> parts(count);
  auto* const base = static_cast<char*>(args.scratch);
  GradientJob<S> job{};
  auto* const sums = reinterpret_cast<GradientSums*>(base);
  run_fold<GradientMoments<S>>(summed, plan, {sums}, base + parts.fold, stream_of(args));
  job.x = args.in[1].as<const S>() + plan.base[0];
  job.step = args.in[1].strides[1];
  job.sums = sums;
  job.channels = reinterpret_cast<Channel<C>*>(base + parts.channels);
  job.count = count;
  job.each = static_cast<double>(plan.count);
  job.eps = args.attrs_as<NormAttrs>().eps;
  job.weight = PerChannel<S>(args, 2);
  job.dweight = args.out[1].as<S>();
  job.dbias = args.out[2].as<S>();
  batch_backward_channels<S><<<static_cast<unsigned>(ceil_div(count, 128)), 128, 0, stream_of(args)>>>(job);
  const KOperand* const applied[] = {&args.in[0], &args.in[1]};
  apply<S, 2>(args, applied, job.channels, nullptr);
}

template <class S>
void fill(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  add(sink, "batch_norm_train", d, train<S>, train_scratch<S>);
  add(sink, "batch_norm", d, eval<S>, eval_scratch<S>);
  add(sink, "batch_norm_backward", d, gradient<S>, gradient_scratch<S>);
}

}  // namespace

void fill_norm_batch(KernelSink& sink) {
  fill<float>(sink);
  fill<double>(sink);
  fill<BFloat16>(sink);
  fill<Float16>(sink);
}

}  // namespace gorgo::cuda
