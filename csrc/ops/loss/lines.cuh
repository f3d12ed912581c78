// The lines of losses over classes on CUDA: where the scores of a case lie, where its loss goes, and what arrives there from above.
//
// Invariant: a mean's gradient is divided by the number of targets that are not ignored, a whole number, however it is counted.
// Read next: partials.cuh, kernels_cuda.cu, kernels_cuda_nll.cu.
#pragma once

#include "ops/loss/partials.cuh"

namespace gorgo::cuda {
namespace {

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
constexpr int64_t kFewTargets = 1024;
struct Shares {
  Walk<1> walk;
  const unsigned long long* divisor;  // null for one, or where each block counts
  bool each_line;
  bool counts;  // few targets: each block counts them, which costs less than a kernel before this one

  // By what g is divided. All threads of the block come here.
  template <int kThreads>
  GORGO_DEVICE double divisor_of(const Targets& targets, int thread) const {
    if (!counts) return divisor != nullptr ? static_cast<double>(*divisor) : 1.0;
    int found = 0;
    for (int64_t first = 0; first < targets.count; first += kThreads) {
      const int64_t i = first + thread;
      found += __syncthreads_count(i < targets.count && targets.at(i) != targets.ignored ? 1 : 0);
    }
    return static_cast<double>(found);
  }
  template <class S>
  GORGO_DEVICE ComputeType<S> of(const S* g, int64_t line, double by) const {
    int64_t at[1] = {0};
    if (each_line) walk.at(line, at);
    const auto arrived = static_cast<double>(static_cast<ComputeType<S>>(g[at[0]]));
    return static_cast<ComputeType<S>>(arrived / by);
  }
};

// Prepares what the gradients share; for means the targets that count are counted into scratch memory.
Shares make_shares(const KernelArgs& args, const Targets& targets, LossReduction how) noexcept {
  Shares s;
  s.walk = walk_of(args.in[2]);
  s.divisor = nullptr;
  s.each_line = how == LossReduction::None;
  s.counts = how == LossReduction::Mean && targets.count <= kFewTargets;
  if (how == LossReduction::Mean && !s.counts) {
    auto* total = static_cast<unsigned long long*>(args.scratch);
    static_cast<void>(cudaMemsetAsync(total, 0, sizeof *total, stream_of(args)));
    count_targets<<<grid_for(targets.count, 256), 256, 0, stream_of(args)>>>(targets, total);
    s.divisor = total;
  }
  return s;
}

}  // namespace
}  // namespace gorgo::cuda
