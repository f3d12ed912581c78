// layer_norm, rms_norm and group_norm on CUDA.
//
// A group of threads works on a line. Lines that fit are held in registers: one read, and deviations from the mean itself;
// longer ones are read twice. Invariants: sums run over differences from the line's first element, so a large mean costs no
// digits; what a line yields depends on its own elements and layout alone.
// Read next: kernels_cuda.cuh, kernels_cuda_backward.cu.
#include "kernels/cuda/moments.cuh"
#include "ops/norm/kernels_cuda_rows.cuh"

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

// Threads of a multiprocessor that must find registers.
constexpr int packed_threads(int held) noexcept { return held > 2 ? 768 : 1024; }
// Lines in packs of 16 bytes, which stay packed in registers: kHeld to a thread; kFull: exactly so many to each.
template <class S, bool kCentered, int kHeld, int kThreads, bool kFull>
__global__ void __launch_bounds__(kThreads, packed_threads(kHeld) / kThreads)
    norm_packed(const __grid_constant__ LineJob<S, 1> job) {
  constexpr int kWidth = kPackOf<S>;
  constexpr int kElements = kHeld * kWidth;
  using Fold = RowFold<kFull, kCentered, false>;
  __shared__ typename Fold::Counted parts[2 * 32];
  const int lanes = kThreads > 32 && job.lanes > 32 ? kThreads : job.lanes;  // of a warp, or the block
  const int lane_bits = 31 - __clz(lanes);
  const int slots = kThreads >> lane_bits;
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int packs = static_cast<int>(job.length) / kWidth;
  const auto length = static_cast<float>(job.length);
  uint4 next[kHeld];
  float next_from = 0.0f;
  const auto load = [&](int64_t line) {
    const bool there = line < job.count;
    int64_t at[1] = {line * job.lines.strides[0][0]};
    if (job.lines.rank > 1 && there) offsets_at(job.lines, line, at);
    const S* const x = job.in[0] + at[0];
    if (kCentered && kShifts<S>) next_from = there ? lift(x[0]) : 0.0f;
#pragma unroll
    for (int u = 0; u < kHeld; ++u) {
      next[u] = make_uint4(0, 0, 0, 0);
      if (there && (kFull || lane + u * lanes < packs)) {
        next[u] = *reinterpret_cast<const uint4*>(x + (lane + u * lanes) * kWidth);
      }
    }
  };
  const int64_t first = int64_t{blockIdx.x} * slots;
  const int64_t stride = int64_t{gridDim.x} * slots;
  const int slot = static_cast<int>(threadIdx.x) >> lane_bits;
  load(first + slot);
  int turn = 0;
#pragma unroll 1
  for (int64_t block = first; block < job.count; block += stride, ++turn) {
    const int64_t line = block + slot;
    const bool live = line < job.count;
    const float from = next_from;
    uint4 raw[kHeld];
#pragma unroll
    for (int u = 0; u < kHeld; ++u) raw[u] = next[u];
    if (block + stride < job.count) load(line + stride);
    Figure<kCentered, false> figure;
    float count = static_cast<float>(kElements);
    float mean = 0.0f;
    if constexpr (kCentered) {
      float sum = 0.0f;
      if (!kFull) count = 0.0f;
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
        if (!kFull && lane + u * lanes >= packs) continue;
        float v[kWidth];
        widen<S>(raw[u], v);
        float part = 0.0f;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) part += kShifts<S> ? v[j] - from : v[j];
        sum += part;
        if (!kFull) count += static_cast<float>(kWidth);
      }
      mean = kFull ? sum * (1.0f / kElements) : count > 0.0f ? sum / count : 0.0f;
      figure.mean = mean;
    }
    figure.squares = 0.0f;
#pragma unroll
    for (int u = 0; u < kHeld; ++u) {
      if (!kFull && lane + u * lanes >= packs) continue;
      float v[kWidth];
      stay_packed(raw[u]);
      widen<S>(raw[u], v);
      float part = 0.0f;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const float d = kCentered ? (kShifts<S> ? v[j] - from : v[j]) - mean : v[j];
        part = fmaf(d, d, part);
      }
      figure.squares += part;
    }
    figure = Fold::of(figure, count, lanes, parts, turn);
    if constexpr (kCentered) mean = figure.mean;
    const float rstd = inverse_root(figure.squares / length + job.eps);
    const int64_t channel = job.groups == 1 ? 0 : line % job.groups * job.size;
    if (!live) continue;
#pragma unroll
    for (int u = 0; u < kHeld; ++u) {
      const int e = (lane + u * lanes) * kWidth;
      if (!kFull && lane + u * lanes >= packs) break;
      float v[kWidth];
      stay_packed(raw[u]);
      widen<S>(raw[u], v);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        v[j] = (kCentered ? (kShifts<S> ? v[j] - from : v[j]) - mean : v[j]) * rstd;
      }
      if (job.weight.data != nullptr || job.bias.data != nullptr) {
        float w[kWidth];
        float b[kWidth];
        job.template numbers<kWidth>(job.weight, channel, e, 1.0, w);
        job.template numbers<kWidth>(job.bias, channel, e, 0.0, b);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) v[j] = fmaf(v[j], w[j], b[j]);
      }
      *reinterpret_cast<uint4*>(job.out + line * job.length + e) = narrow<S>(v);
    }
  }
}

template <class S, bool kCentered, int kHeld, int kThreads>
void launch_packed(LineJob<S, 1>& job, int lanes, cudaStream_t stream) noexcept {
  job.lanes = lanes;
  int64_t blocks = ceil_div(job.count, kThreads / lanes);
  const int64_t most = int64_t{card().multiprocessors} * (packed_threads(kHeld) / kThreads);
  if (blocks > most) blocks = most;
  const auto grid = static_cast<unsigned>(blocks);
  if (job.length == int64_t{kHeld} * lanes * kPackOf<S>) {
    norm_packed<S, kCentered, kHeld, kThreads, true><<<grid, kThreads, 0, stream>>>(job);
  } else {
    norm_packed<S, kCentered, kHeld, kThreads, false><<<grid, kThreads, 0, stream>>>(job);
  }
}
// Whether the line fits.
template <class S, bool kCentered>
bool launch_packed(LineJob<S, 1>& job, cudaStream_t stream) noexcept {
  const int64_t packs = job.length / kPackOf<S>;
  if (packs <= 64) {
    launch_packed<S, kCentered, 2, 128>(job, lanes_for(ceil_div(packs, 2), 32), stream);
  } else if (packs <= 128) {
    launch_packed<S, kCentered, 4, 128>(job, 32, stream);
  } else if (packs <= 512) {
    launch_packed<S, kCentered, 2, 256>(job, 256, stream);
  } else if (packs <= 1024) {
    launch_packed<S, kCentered, 4, 256>(job, 256, stream);
  } else if (packs <= 2048) {
    launch_packed<S, kCentered, 4, 512>(job, 512, stream);
  } else {
    return false;
  }
  return true;
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
  if constexpr (kWidth > 1 && sizeof(ComputeType<S>) == 4) {
    go(std::integral_constant<int, 0>(), 512);  // those that fit are held packed
  } else if (packs <= 32 * kFew) {
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
  const bool wide = job.is_wide(kPackOf<S>);
  if constexpr (sizeof(ComputeType<S>) == 4) {
    if (wide && launch_packed<S, kCentered>(job, stream_of(args))) return;
  }
  if (wide) {
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
