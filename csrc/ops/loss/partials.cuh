// What the CUDA kernels of several losses share: reading targets, sums of losses over a fixed tree, blocks of elements.
//
// Invariant: a sum's tree depends on the number of cases alone. Sums over cases are made in double.
// Read next: kernels_cuda.cu, kernels_cuda_pointwise.cu.
#pragma once

#include "kernels/cuda/move.cuh"
#include "ops/loss/attrs.h"

namespace gorgo::cuda {
namespace {

// ---- targets ----
struct Targets {
  Walk<1> walk;
  const void* data;
  int64_t count;
  int64_t ignored;
  DType dtype;

  Targets(const KOperand& x, int64_t ignore_index) noexcept
      : walk(walk_of(x)), data(x.data), count(x.numel), ignored(ignore_index), dtype(x.dtype) {}

  GORGO_DEVICE int64_t at(int64_t line) const {
    int64_t where[1];
    walk.at(line, where);
    const int64_t t = read_integer(data, dtype, where[0]);
    return dtype == DType::UInt64 && t < 0 ? INT64_MAX : t;
  }
  // The class that a line's target names, or kIgnored. One thread of a line reports.
  GORGO_DEVICE int64_t class_of(int64_t line, int64_t classes, bool reports, DeviceFault* fault) const {
    const int64_t t = at(line);
    if (t == ignored) return -1;
    if (t >= 0 && t < classes) return t;
    if (reports) report_fault(fault, line, 1, t, classes);
    return -1;
  }
};
constexpr int64_t kIgnored = -1;

// ---- sums ----
// The sum over some cases and how many counted.
struct LossPartial {
  double sum;
  double count;
};
// One case.
template <class C>
struct alignas(2 * sizeof(C)) LossCase {
  C sum;
  C count;
};

// The sum over the first kThreads threads of a block, all of whose threads come here.
template <int kThreads>
GORGO_DEVICE LossPartial block_total(LossPartial own, LossPartial* shared) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) {
    own.sum += __shfl_xor_sync(0xffffffffu, own.sum, d);
    own.count += __shfl_xor_sync(0xffffffffu, own.count, d);
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0 && threadIdx.x < kThreads) shared[threadIdx.x / 32] = own;
  __syncthreads();
  LossPartial total = shared[0];
#pragma unroll
  for (int i = 1; i < kThreads / 32; ++i) {
    total.sum += shared[i].sum;
    total.count += shared[i].count;
  }
  return total;
}

constexpr int kMergers = 256;
constexpr int64_t kCasesPerPartial = 4096;

template <class S>
GORGO_DEVICE void put_total(const LossPartial& total, bool mean, S* out) {
  *out = static_cast<S>(static_cast<ComputeType<S>>(mean ? total.sum / total.count : total.sum));
}

// A partial sum of each kCasesPerPartial cases; where that is all, the result.
template <class S>
__global__ void __launch_bounds__(kMergers)
    sum_cases(const LossCase<ComputeType<S>>* __restrict__ cases, int64_t count, LossPartial* __restrict__ partials,
              bool mean, S* __restrict__ out) {
  using C = ComputeType<S>;
  __shared__ LossPartial shared[kMergers / 32];
  const int64_t begin = int64_t{blockIdx.x} * kCasesPerPartial;
  const int64_t end = begin + kCasesPerPartial < count ? begin + kCasesPerPartial : count;
  LossPartial own{0.0, 0.0};
  for (int64_t i = begin + threadIdx.x; i < end; i += kMergers) {
    const LossCase<C> one = cases[i];
    own.sum += static_cast<double>(one.sum);
    own.count += static_cast<double>(one.count);
  }
  const LossPartial total = block_total<kMergers>(own, shared);
  if (threadIdx.x != 0) return;
  if (gridDim.x == 1) {
    put_total(total, mean, out);
  } else {
    partials[blockIdx.x] = total;
  }
}

// The result of partial sums. One block.
template <class S>
__global__ void __launch_bounds__(kMergers)
    merge_partials(const LossPartial* __restrict__ partials, int64_t count, bool mean, S* __restrict__ out) {
  __shared__ LossPartial shared[kMergers / 32];
  LossPartial own{0.0, 0.0};
  for (int64_t i = threadIdx.x; i < count; i += kMergers) {
    own.sum += partials[i].sum;
    own.count += partials[i].count;
  }
  const LossPartial total = block_total<kMergers>(own, shared);
  if (threadIdx.x == 0) put_total(total, mean, out);
}

// Scratch memory: the cases, then the partial sums.
template <class C>
inline size_t cases_bytes(int64_t count) noexcept {
  return static_cast<size_t>(count) * sizeof(LossCase<C>) +
         static_cast<size_t>(ceil_div(count, kCasesPerPartial)) * sizeof(LossPartial);
}
template <class S>
inline void merge_cases(const KernelArgs& args, int64_t count, LossReduction how) noexcept {
  using C = ComputeType<S>;
  const auto* cases = static_cast<const LossCase<C>*>(args.scratch);
  auto* partials = reinterpret_cast<LossPartial*>(static_cast<char*>(args.scratch) +
                                                  static_cast<size_t>(count) * sizeof(LossCase<C>));
  const int64_t parts = ceil_div(count, kCasesPerPartial);
  const bool mean = how == LossReduction::Mean;
  auto* out = args.out[0].as<S>();
  if (parts > 0) {
    sum_cases<S><<<static_cast<unsigned>(parts), kMergers, 0, stream_of(args)>>>(cases, count, partials, mean, out);
  }
  if (parts != 1) merge_partials<S><<<1, kMergers, 0, stream_of(args)>>>(partials, parts, mean, out);
}

// ---- packs: 16 bytes of elements ----
template <class S>
struct alignas(16) LossPack {
  static constexpr int kCount = static_cast<int>(16 / sizeof(S));
  S of[kCount];
};

// The pack that begins at element `first` of a line of n elements `step` apart. What lies behind the end is `nothing`.
template <class S, class C>
GORGO_DEVICE void load_pack(const S* line, int64_t step, bool aligned, int64_t first, int64_t n, C nothing,
                            C (&to)[LossPack<S>::kCount]) {
  constexpr int kCount = LossPack<S>::kCount;
  if (aligned && first + kCount <= n) {
    const LossPack<S> pack = *reinterpret_cast<const LossPack<S>*>(line + first);
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = static_cast<C>(pack.of[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      to[i] = first + i < n ? static_cast<C>(line[(first + i) * step]) : nothing;
    }
  }
}
template <class S, class C>
GORGO_DEVICE void store_pack(S* line, int64_t step, bool aligned, int64_t first, int64_t n,
                             const C (&from)[LossPack<S>::kCount]) {
  constexpr int kCount = LossPack<S>::kCount;
  if (aligned && first + kCount <= n) {
    LossPack<S> pack;
#pragma unroll
    for (int i = 0; i < kCount; ++i) pack.of[i] = static_cast<S>(from[i]);
    *reinterpret_cast<LossPack<S>*>(line + first) = pack;
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (first + i < n) line[(first + i) * step] = static_cast<S>(from[i]);
    }
  }
}
template <class S>
GORGO_DEVICE bool can_pack(const S* line, int64_t step) {
  return step == 1 && reinterpret_cast<uintptr_t>(line) % 16 == 0;
}

}  // namespace
}  // namespace gorgo::cuda
