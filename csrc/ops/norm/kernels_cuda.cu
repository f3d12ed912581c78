// layer_norm, rms_norm and group_norm on CUDA.
//
// A group of threads works on a line. Lines that fit are held in registers: one read, and deviations from the mean itself;
// longer ones are read twice. Invariants: sums run over differences from the line's first element, so a large mean costs no
// digits; what a line yields depends on its own elements and layout alone.
// Read next: kernels_cuda.cuh, kernels_cuda_backward.cu.
#include "kernels/cuda/moments.cuh"
#include "ops/norm/kernels_cuda.cuh"

namespace gorgo::cuda {
namespace {

// Two blocks of 512 threads at once where registers allow.
template <class S, int kWidth>
inline constexpr int kBlocks = kWidth > 1 && sizeof(ComputeType<S>) == 4 ? 2 : 1;

template <class S, bool kCentered, int kHeld, int kWidth>
__global__ void __launch_bounds__(512, (kBlocks<S, kWidth>)) norm_lines(const __grid_constant__ LineJob<S, 1> job) {
  using C = ComputeType<S>;
  __shared__ alignas(16) unsigned char shared[32 * 16];
  const int lanes = job.lanes;
  const int slots = static_cast<int>(blockDim.x) / lanes;
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const RowGroup group{lanes, shared};
  for (int64_t block = int64_t{blockIdx.x} * slots; block < job.count; block += int64_t{gridDim.x} * slots) {
    const int64_t line = block + static_cast<int>(threadIdx.x) / lanes;
    const bool live = line < job.count;
    int64_t at[1] = {0};
    if (live) offsets_at(job.lines, line, at);
    const S* const x = job.in[0] + at[0];
    S* const out = job.out + line * job.length;
    const int64_t channel = job.groups == 1 ? 0 : line % job.groups * job.size;
    const C from = kCentered && live ? lift(x[0]) : C{0};
    const auto read = [&](int64_t e) {
      int64_t offset[1];
      job.offsets_of(e, offset);
      return load_pack<S, kWidth>(x + offset[0]);
    };
    const auto write = [&](int64_t e, const C(&hat)[kWidth]) {
      C w[kWidth];
      C b[kWidth];
      job.template numbers<kWidth>(job.weight, channel, e, 1.0, w);
      job.template numbers<kWidth>(job.bias, channel, e, 0.0, b);
      Pack<S, kWidth> pack;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) pack.v[j] = lower<S>(multiply_add(hat[j], w[j], b[j]));
      store_pack<S, kWidth>(out + e, pack);
    };
    if constexpr (kHeld > 0) {
      const int packs = live ? static_cast<int>(job.length) / kWidth : 0;
      const C count = static_cast<C>(job.length);
      Pack<S, kWidth> raw[kHeld];
      C d[kHeld][kWidth];
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
        if (lane + u * lanes < packs) raw[u] = read((lane + u * lanes) * kWidth);
      }
      C sum = C{0};
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
        const bool there = lane + u * lanes < packs;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          d[u][j] = there ? lift(raw[u].v[j]) - from : C{0};
          sum += d[u][j];
        }
      }
      if constexpr (kCentered) {
        const C offset = group.fold(sum, add_two<C>) / count;
#pragma unroll
        for (int u = 0; u < kHeld; ++u) {
          const bool there = lane + u * lanes < packs;
#pragma unroll
          for (int j = 0; j < kWidth; ++j) d[u][j] = there ? d[u][j] - offset : C{0};
        }
      }
      C squares = C{0};
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) squares = multiply_add(d[u][j], d[u][j], squares);
      }
      const C rstd = inverse_root(group.fold(squares, add_two<C>) / count + job.eps);
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
        if (lane + u * lanes >= packs) break;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) d[u][j] *= rstd;
        write((lane + u * lanes) * kWidth, d[u]);
      }
    } else {
      const int64_t packs = live ? job.length / kWidth : 0;
      MomentSums sums{0.0, 0.0};
#pragma unroll 4
      for (int64_t i = lane; i < packs; i += lanes) {
        const Pack<S, kWidth> raw = read(i * kWidth);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          const auto d = static_cast<double>(lift(raw.v[j]) - from);
          sums.sum += d;
          sums.squares = fma(d, d, sums.squares);
        }
      }
      sums = group.fold(sums, [](const MomentSums& a, const MomentSums& b) {
        return MomentSums{a.sum + b.sum, a.squares + b.squares};
      });
      const auto count = static_cast<double>(job.length);
      const C offset = kCentered ? static_cast<C>(sums.sum / count) : C{0};
      const double squares = kCentered ? squares_about_mean(sums.sum, sums.squares, count) : sums.squares;
      const auto rstd = static_cast<C>(inverse_root(squares / count + static_cast<double>(job.eps)));
#pragma unroll 4
      for (int64_t i = lane; i < packs; i += lanes) {
        const Pack<S, kWidth> raw = read(i * kWidth);
        C hat[kWidth];
#pragma unroll
        for (int j = 0; j < kWidth; ++j) hat[j] = (lift(raw.v[j]) - from - offset) * rstd;
        write(i * kWidth, hat);
      }
    }
  }
}

template <class S, bool kCentered, int kWidth>
void launch(LineJob<S, 1>& job, cudaStream_t stream) noexcept {
  constexpr int kFew = kWidth == 1 ? 4 : 1;
  constexpr int kMany = (sizeof(ComputeType<S>) == 8 ? 8 : 16) / kWidth;
  const int64_t packs = job.length / kWidth;
  const auto go = [&](auto held, int lanes) {
    job.lanes = lanes;
    const int threads = lanes > 32 ? lanes : 256;
    norm_lines<S, kCentered, decltype(held)::value, kWidth>
        <<<norm_grid(job.count, threads / lanes), threads, 0, stream>>>(job);
  };
  if (packs <= 32 * kFew) {
    go(std::integral_constant<int, kFew>(), lanes_for(ceil_div(packs, kFew), 32));
  } else if (packs <= 512 * kMany) {
    go(std::integral_constant<int, kMany>(), lanes_for(ceil_div(packs, kMany), 512));
  } else {
    go(std::integral_constant<int, 0>(), 512);
  }
}

template <class S, RowNorm kWhich>
void forward(const KernelArgs& args, int64_t) noexcept {
  if (args.in[0].numel == 0) return;
  constexpr bool kCentered = kWhich != RowNorm::Rms;
  const KOperand* const x[] = {&args.in[0]};
  auto job = lines_of<kWhich, S>(args, x);
  job.weight = PerChannel<S>(args, 1);
  if (kCentered) job.bias = PerChannel<S>(args, 2);
  if (job.is_wide(kPackOf<S>)) {
    launch<S, kCentered, kPackOf<S>>(job, stream_of(args));
  } else {
    launch<S, kCentered, 1>(job, stream_of(args));
  }
}

template <class S>
void fill(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  add(sink, "layer_norm", d, forward<S, RowNorm::Layer>);
  add(sink, "rms_norm", d, forward<S, RowNorm::Rms>);
  add(sink, "group_norm", d, forward<S, RowNorm::Group>);
}

}  // namespace

void fill_norm(KernelSink& sink);
void fill_norm(KernelSink& sink) {
  fill<float>(sink);
  fill<double>(sink);
  fill<BFloat16>(sink);
  fill<Float16>(sink);
  fill_norm_backward(sink);
  fill_norm_batch(sink);
}

}  // namespace gorgo::cuda
