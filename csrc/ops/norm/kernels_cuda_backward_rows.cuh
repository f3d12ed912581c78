// The gradients of layer_norm and rms_norm for rows of whole packs, on cards that copy to shared memory on their own.
//
// A block has a part of the rows and streams them through shared memory, some rows ahead: each thread copies the packs that it
// will read itself, so copies need no barrier and bytes under way cost no registers. dx is written row by row; sums for each
// channel stay in registers, and a second kernel adds up the parts.
// Invariant: how rows are shared out follows from their number and length alone, and sums meet in a fixed order.
// Read next: kernels_cuda_rows.cuh, kernels_cuda_backward.cu.
#pragma once

#include "kernels/cuda/fragments.cuh"
#include "ops/norm/kernels_cuda_rows.cuh"

namespace gorgo::cuda {
namespace {

template <class S>
struct StreamJob {
  const S* g;
  const S* x;
  const S* weight;  // null: ones
  S* out;
  float* sums;      // [part][2][length]
  Walk<2> lines;    // g, x
  int64_t count;    // rows
  int64_t at_once;  // rows of a part
  int length;
  int lanes;
  float eps;
};

constexpr int kStreamStages = 3;
constexpr int64_t kStreamParts = 512;

// Threads of a block and packs of a thread for rows of so many packs; 0 threads: too long.
struct StreamShape {
  int threads, held, lanes;
};
constexpr StreamShape stream_shape(int64_t packs) noexcept {
  if (packs <= 32) {
    int lanes = 1;
    while (lanes < packs) lanes *= 2;
    return {256, 1, lanes};
  }
  if (packs <= 64) return {256, 2, 32};
  if (packs <= 256) return {128, 2, 128};
  if (packs <= 512) return {256, 2, 256};
  if (packs <= 1024) return {512, 2, 512};
  return {0, 0, 0};
}
// Rows of a part, at least eight for each of its groups.
constexpr int64_t stream_at_once(int64_t rows, const StreamShape& shape) noexcept {
  const int64_t least = int64_t{8} * (shape.threads / shape.lanes);
  const int64_t wanted = ceil_div(rows, kStreamParts);
  return wanted < least ? least : wanted;
}
template <class S>
int64_t stream_bytes(int64_t rows, int64_t length) noexcept {
  if (length % kPackOf<S> != 0) return 0;
  const StreamShape shape = stream_shape(length / kPackOf<S>);
  if (shape.threads == 0) return 0;
  return ceil_div(rows, stream_at_once(rows, shape)) * 2 * length * static_cast<int64_t>(sizeof(float));
}

#if defined(__CUDACC__)

template <class S, bool kCentered, int kHeld, int kThreads, bool kFull>
__global__ void __launch_bounds__(kThreads) norm_backward_stream(const __grid_constant__ StreamJob<S> job) {
  constexpr int kWidth = kPackOf<S>;
  constexpr int kElements = kHeld * kWidth;
  constexpr int kStages = kStreamStages;
  using Fold = RowFold<kFull, kCentered, true>;
  __shared__ typename Fold::Counted parts[2 * 32];
  extern __shared__ __align__(16) unsigned char stages[];
  uint4* const own = reinterpret_cast<uint4*>(stages) + threadIdx.x;  // [stage][g or x][pack][thread]
  const auto slot_of = [&](int stage, int which, int u) { return own + ((stage * 2 + which) * kHeld + u) * kThreads; };
  const int lanes = job.lanes;
  const int slots = kThreads / lanes;
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int slot = static_cast<int>(threadIdx.x) / lanes;
  const int packs = job.length / kWidth;
  const auto length = static_cast<float>(job.length);
  const int64_t begin = int64_t{blockIdx.x} * job.at_once;
  const int64_t end = begin + job.at_once < job.count ? begin + job.at_once : job.count;
  const int turns = static_cast<int>(ceil_div(end - begin, slots));

  const auto copy_ahead = [&](int turn) {
    const int64_t line = begin + slot + int64_t{turn} * slots;
    if (turn < turns && line < end) {
      int64_t at[2] = {line * job.lines.strides[0][0], line * job.lines.strides[1][0]};
      if (job.lines.rank > 1) offsets_at(job.lines, line, at);
      const int stage = turn % kStages;
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
        const int pack = lane + u * lanes;
        const bool there = kFull || pack < packs;
        const int64_t e = there ? pack * kWidth : 0;
        copy_async_16(slot_of(stage, 0, u), job.g + at[0] + e, there);
        copy_async_16(slot_of(stage, 1, u), job.x + at[1] + e, there);
      }
    }
    commit_copies();
  };
  const auto first_of = [&](int turn) {
    const int64_t line = begin + slot + int64_t{turn} * slots;
    if (!kCentered || !kShifts<S> || turn >= turns || line >= end) return 0.0f;
    int64_t at[2] = {line * job.lines.strides[0][0], line * job.lines.strides[1][0]};
    if (job.lines.rank > 1) offsets_at(job.lines, line, at);
    return static_cast<float>(lift(job.x[at[1]]));
  };

  stream_pass();
#pragma unroll
  for (int turn = 0; turn < kStages - 1; ++turn) copy_ahead(turn);
  float next_from = first_of(0);
  uint4 weight[kHeld];
#pragma unroll
  for (int u = 0; u < kHeld; ++u) {
    float one[kWidth];
#pragma unroll
    for (float& v : one) v = 1.0f;
    weight[u] = narrow<S>(one);
    if (job.weight != nullptr && (kFull || lane + u * lanes < packs)) {
      weight[u] = *reinterpret_cast<const uint4*>(job.weight + (lane + u * lanes) * kWidth);
    }
  }
  float by_weight[kElements] = {};
  float by_bias[kCentered ? kElements : 1] = {};
#pragma unroll 1
  for (int turn = 0; turn < turns; ++turn) {
    copy_ahead(turn + kStages - 1);
    const float from = next_from;
    next_from = first_of(turn + 1);
    wait_copies<kStages - 1>();
    const int stage = turn % kStages;
    const int64_t line = begin + slot + int64_t{turn} * slots;
    const bool live = line < end;
    Figure<kCentered, true> figure{};
    float count = static_cast<float>(kElements);
    {
      float gw[kElements];
      float d[kElements];
      float sum = 0.0f;
      float grads = 0.0f;
      if (!kFull) count = 0.0f;
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
        const bool there = live && (kFull || lane + u * lanes < packs);
        float v[kWidth];
        float g[kWidth];
        float w[kWidth];
        widen<S>(*slot_of(stage, 1, u), v);
        widen<S>(*slot_of(stage, 0, u), g);
        widen<S>(weight[u], w);
        float part = 0.0f;
        float part_g = 0.0f;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          d[u * kWidth + j] = there ? (kCentered && kShifts<S> ? v[j] - from : v[j]) : 0.0f;
          gw[u * kWidth + j] = there ? g[j] * w[j] : 0.0f;
          part += d[u * kWidth + j];
          part_g += gw[u * kWidth + j];
        }
        sum += part;
        grads += part_g;
        if (!kFull && there) count += static_cast<float>(kWidth);
      }
      float mean = 0.0f;
      if constexpr (kCentered) {
        mean = kFull ? sum * (1.0f / kElements) : count > 0.0f ? sum / count : 0.0f;
        figure.mean = mean;
        figure.grads = grads;
      }
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
        if (!kFull && lane + u * lanes >= packs) continue;
        float part = 0.0f;
        float part_p = 0.0f;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          const float far = kCentered ? d[u * kWidth + j] - mean : d[u * kWidth + j];
          part = fmaf(far, far, part);
          part_p = fmaf(gw[u * kWidth + j], far, part_p);
        }
        figure.squares += part;
        figure.products += part_p;
      }
    }
    figure = Fold::of(figure, count, lanes, parts, turn);
    const float rstd = inverse_root(figure.squares / length + job.eps);
    const float mean_along = figure.products * rstd / length;
    float mean = 0.0f;
    float mean_grad = 0.0f;
    if constexpr (kCentered) {
      mean = figure.mean;
      mean_grad = figure.grads / length;
    }
    if (!live) continue;
#pragma unroll
    for (int u = 0; u < kHeld; ++u) {
      if (!kFull && lane + u * lanes >= packs) continue;
      float v[kWidth];
      float g[kWidth];
      float w[kWidth];
      stay_packed(weight[u]);
      widen<S>(*slot_of(stage, 1, u), v);
      widen<S>(*slot_of(stage, 0, u), g);
      widen<S>(weight[u], w);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const float hat = (kCentered ? (kShifts<S> ? v[j] - from : v[j]) - mean : v[j]) * rstd;
        v[j] = fmaf(-hat, mean_along, g[j] * w[j] - mean_grad) * rstd;
        by_weight[u * kWidth + j] = fmaf(g[j], hat, by_weight[u * kWidth + j]);
        if constexpr (kCentered) by_bias[u * kWidth + j] += g[j];
      }
      *reinterpret_cast<uint4*>(job.out + line * job.length + (lane + u * lanes) * kWidth) = narrow<S>(v);
    }
  }
  // The block's groups add up through shared memory, one after the other.
  wait_copies<0>();
  float* const all = reinterpret_cast<float*>(stages);  // [slot][pack][thread][element]
  const int stride = lanes * kElements;
#pragma unroll 1
  for (int which = 0; which < (kCentered ? 2 : 1); ++which) {
    __syncthreads();
#pragma unroll
    for (int u = 0; u < kHeld; ++u) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const int i = u * kWidth + j;
        all[slot * stride + (lane + u * lanes) * kWidth + j] = kCentered && which == 1 ? by_bias[i] : by_weight[i];
      }
    }
    __syncthreads();
    float* const out = job.sums + (int64_t{blockIdx.x} * 2 + which) * job.length;
    for (int c = static_cast<int>(threadIdx.x); c < job.length; c += kThreads) {
      float total = all[c];
      for (int s = 1; s < slots; ++s) total += all[s * stride + c];
      out[c] = total;
    }
  }
}

template <class S, bool kCentered, int kHeld, int kThreads>
void launch_stream(const StreamJob<S>& job, unsigned parts, cudaStream_t stream) noexcept {
  constexpr int kBytes = kStreamStages * 2 * kHeld * kThreads * 16;
  const auto go = [&](auto kernel) {
    allow_shared(kernel, kBytes + 4096);  // beside the figures that meet there
    kernel<<<parts, kThreads, kBytes, stream>>>(job);
  };
  if (job.length == kHeld * job.lanes * kPackOf<S>) {
    go(norm_backward_stream<S, kCentered, kHeld, kThreads, true>);
  } else {
    go(norm_backward_stream<S, kCentered, kHeld, kThreads, false>);
  }
}

// Whether it could: then sums of `parts` parts lie in scratch.
template <class S, bool kCentered>
bool run_stream(const LineJob<S, 2>& lines, void* scratch, int64_t* parts, cudaStream_t stream) noexcept {
  const StreamShape shape = stream_shape(lines.length / kPackOf<S>);
  if (shape.threads == 0 || !lines.packed || card().major < 8) return false;
  StreamJob<S> job{};
  job.g = lines.in[0];
  job.x = lines.in[1];
  job.weight = lines.weight.data;
  job.out = lines.out;
  job.sums = static_cast<float*>(scratch);
  job.lines = lines.lines;
  job.count = lines.rows;
  job.at_once = stream_at_once(lines.rows, shape);
  job.length = static_cast<int>(lines.length);
  job.lanes = shape.lanes;
  job.eps = lines.eps;
  *parts = ceil_div(job.count, job.at_once);
  const auto grid = static_cast<unsigned>(*parts);
  if (shape.threads == 256 && shape.held == 1) {
    launch_stream<S, kCentered, 1, 256>(job, grid, stream);
  } else if (shape.threads == 128 && shape.held == 2) {
    launch_stream<S, kCentered, 2, 128>(job, grid, stream);
  } else if (shape.threads == 256 && shape.held == 2) {
    launch_stream<S, kCentered, 2, 256>(job, grid, stream);
  } else {
    launch_stream<S, kCentered, 2, 512>(job, grid, stream);
  }
  return true;
}

#endif

}  // namespace
}  // namespace gorgo::cuda
