// Reductions of dense layouts: rows that lie packed, columns of one matrix.
//
// The chunks, the groups of threads and the order of sums are those of fold.cuh, with little arithmetic around them, so that more
// loads are under way.
// Invariant: an output's bits are those that the kernels of fold.cuh would give it.
// Read next: fold.cuh.
#pragma once

#include "kernels/cuda/fold_plan.cuh"

namespace gorgo::cuda {

#if defined(__CUDACC__)

template <class Policy>
struct DenseJob {
  static constexpr int kInputs = Policy::kInputs;
  const typename Policy::Storage* in[kInputs];
  typename Policy::Partial* partials;
  typename Policy::Out out;
  int64_t kept_step[kInputs];     // between outputs
  int64_t reduced_step[kInputs];  // between elements of an output
  int64_t out_step;
  int64_t count;
  int64_t outputs;
  int chunk;
  uint32_t units;
  Divider inner;  // rows: unit = output, chunk; columns: unit = chunk, strip, so that neighbours read the same rows
  int lanes;
  int rows;
};

// Blocks on a multiprocessor: so few that all of a batch's loads are under way together, which the compiler would give up for more.
// 0, its own choice, where a thread has so much to remember that registers would not suffice.
template <class Policy, int kWidth>
inline constexpr int kFoldBlocks = Policy::kCentred || kWidth > 4 || sizeof(typename Policy::Storage) > 4 ? 0 : 3;

// kLanes threads for a unit; 0: job.lanes, at most 32.
template <class Policy, int kWidth, int kLanes>
__global__ void __launch_bounds__(256, kFoldBlocks<Policy, kWidth>)
    fold_dense_rows(const __grid_constant__ DenseJob<Policy> job) {
  using S = typename Policy::Storage;
  using Partial = typename Policy::Partial;
  constexpr int kInputs = Policy::kInputs;
  constexpr int kGroup = kFoldGroup<Policy, kWidth>;
  constexpr int kBatch = 8 / kInputs;  // whole groups
  __shared__ alignas(16) unsigned char shared[8 * sizeof(Partial)];
  stream_pass();
  stream_wait();
  const int lanes = kLanes > 0 ? kLanes : job.lanes;
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int bits = 31 - __clz(lanes);
  const uint32_t unit = kLanes == 256 ? blockIdx.x : blockIdx.x * (256u >> bits) + (threadIdx.x >> bits);
  const bool live = unit < job.units;
  const uint32_t output = job.inner.quotient(unit);
  const uint32_t chunk = unit - output * job.inner.divisor;
  Partial partial = Policy::none();
  if (live) {
    const int64_t begin = int64_t{chunk} * job.chunk;
    const int packs = static_cast<int>(job.count - begin < job.chunk ? job.count - begin : job.chunk) / kWidth;
    const S* p[kInputs];
    typename Policy::template Run<4> run;
#pragma unroll
    for (int k = 0; k < kInputs; ++k) p[k] = job.in[k] + output * job.kept_step[k];
    if constexpr (Policy::kCentred) {
      if (packs > 0) {
        FoldReader<Policy, 1> head;
        head.load(p);
        S v[kInputs];
        head.pick(0, v);
        run.begin(v);
      }
    }
#pragma unroll
    for (int k = 0; k < kInputs; ++k) p[k] += begin + lane * kWidth;
    const auto add = [&](const FoldReader<Policy, kWidth>& reader, int i, int u) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        S v[kInputs];
        reader.pick(j, v);
        run.add(v, kWidth == 1 ? u : j, static_cast<uint32_t>(i * kWidth + j));
      }
    };
    int i = lane;
#pragma unroll 1
    for (; i + (kBatch - 1) * lanes < packs; i += kBatch * lanes) {
      FoldReader<Policy, kWidth> reader[kBatch];
#pragma unroll
      for (int u = 0; u < kBatch; ++u) reader[u].load_at(p, u * lanes * kWidth);
#pragma unroll
      for (int k = 0; k < kInputs; ++k) p[k] += kBatch * lanes * kWidth;
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        add(reader[u], i + u * lanes, u);
        if ((u + 1) % kGroup == 0) run.flush();
      }
    }
    if (i < packs) {
      FoldReader<Policy, kWidth> reader[kBatch - 1];
#pragma unroll
      for (int u = 0; u < kBatch - 1; ++u) {
        if (i + u * lanes < packs) reader[u].load_at(p, u * lanes * kWidth);
      }
#pragma unroll
      for (int u = 0; u < kBatch - 1; ++u) {
        if (i + u * lanes < packs) add(reader[u], i + u * lanes, u);
        if ((u + 1) % kGroup == 0) run.flush();
      }
      run.flush();
    }
    partial = run.finish(begin);
  }
  partial = fold_group(partial, lanes, shared, [](const Partial& a, const Partial& b) { return Policy::merge(a, b); });
  if (live && lane == 0) {
    if (job.partials != nullptr) {
      job.partials[int64_t{chunk} * job.outputs + output] = partial;
    } else {
      job.out.put(output * job.out_step, partial);
    }
  }
}

// job.lanes columns of packs side by side, job.rows rows of them share a chunk.
template <class Policy, int kWidth>
__global__ void __launch_bounds__(256, kFoldBlocks<Policy, kWidth>)
    fold_dense_columns(const __grid_constant__ DenseJob<Policy> job) {
  using S = typename Policy::Storage;
  using Partial = typename Policy::Partial;
  constexpr int kInputs = Policy::kInputs;
  constexpr int kGroup = kFoldGroup<Policy, kWidth>;
  constexpr int kBatch = 8 / kInputs;  // whole groups
  constexpr int kSlots = 128;
  __shared__ alignas(16) unsigned char raw[kSlots * kWidth * sizeof(Partial)];
  Partial* const shared = reinterpret_cast<Partial*>(raw);
  const int x = static_cast<int>(threadIdx.x) & (job.lanes - 1);
  stream_pass();
  stream_wait();
  const int bits = 31 - __clz(job.lanes);
  const int y = (static_cast<int>(threadIdx.x) >> bits) & (job.rows - 1);
  const int z = (static_cast<int>(threadIdx.x) >> bits) / job.rows;
  const int at_once = (256 >> bits) / job.rows;
  const uint32_t unit = blockIdx.x * at_once + z;
  const uint32_t chunk = job.inner.quotient(unit);
  const uint32_t strip = unit - chunk * job.inner.divisor;
  const int64_t column = (int64_t{strip} * job.lanes + x) * kWidth;
  const bool live = unit < job.units && column < job.outputs;
  Partial partial[kWidth];
#pragma unroll
  for (int j = 0; j < kWidth; ++j) partial[j] = Policy::none();
  if (live) {
    const int64_t begin = int64_t{chunk} * job.chunk;
    const int rows = static_cast<int>(job.count - begin < job.chunk ? job.count - begin : job.chunk);
    typename Policy::template Run<1> run[kWidth];
    const S* p[kInputs];
    int64_t step[kInputs];
#pragma unroll
    for (int k = 0; k < kInputs; ++k) {
      p[k] = job.in[k] + column;
      step[k] = job.reduced_step[k] * job.rows;
    }
    if constexpr (Policy::kCentred) {
      FoldReader<Policy, kWidth> head;
      head.load(p);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        S v[kInputs];
        head.pick(j, v);
        run[j].begin(v);
      }
    }
#pragma unroll
    for (int k = 0; k < kInputs; ++k) p[k] += (begin + y) * job.reduced_step[k];
    const auto add = [&](const FoldReader<Policy, kWidth>& reader, int row) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        S v[kInputs];
        reader.pick(j, v);
        run[j].add(v, 0, static_cast<uint32_t>(row));
      }
    };
#pragma unroll 1
    for (int i = y; i < rows; i += kBatch * job.rows) {
      FoldReader<Policy, kWidth> reader[kBatch];
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        if (i + u * job.rows < rows) reader[u].load_once(p);
#pragma unroll
        for (int k = 0; k < kInputs; ++k) p[k] += step[k];
      }
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        if (i + u * job.rows < rows) add(reader[u], i + u * job.rows);
        if ((u + 1) % kGroup != 0) continue;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) run[j].flush();
      }
    }
#pragma unroll
    for (int j = 0; j < kWidth; ++j) partial[j] = run[j].finish(begin);
  }
#pragma unroll 1
  for (int half = job.rows >> 1; half > 0; half >>= 1) {
    const int index = (((y & (half - 1)) * at_once + z) << bits) + x;
    if (y >= half && y < 2 * half) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) shared[j * kSlots + index] = partial[j];
    }
    __syncthreads();
    if (y < half) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) partial[j] = Policy::merge(partial[j], shared[j * kSlots + index]);
    }
    __syncthreads();
  }
  if (live && y == 0) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      if (job.partials != nullptr) {
        job.partials[int64_t{chunk} * job.outputs + column + j] = partial[j];
      } else {
        job.out.put((column + j) * job.out_step, partial[j]);
      }
    }
  }
}

// Whether the layout was dense: then the kernel is on its way. Packs have kWidth elements.
template <class Policy, int kWidth>
bool launch_dense(const FoldPlan<Policy::kInputs>& plan, const typename Policy::Storage* const (&in)[Policy::kInputs],
                  typename Policy::Partial* partials, const typename Policy::Out& out, cudaStream_t stream) noexcept {
  constexpr int64_t kMost = int64_t{1} << 30;
  if (plan.kept.rank > 1 || plan.reduced.rank > 1 || plan.outputs > kMost) return false;
  for (int k = 0; k < Policy::kInputs; ++k) {
    if ((plan.by_columns ? plan.kept.strides[k][0] : plan.reduced.strides[k][0]) != 1) return false;
  }
  DenseJob<Policy> job{};
  for (int k = 0; k < Policy::kInputs; ++k) {
    job.in[k] = in[k];
    job.kept_step[k] = plan.kept.strides[k][0];
    job.reduced_step[k] = plan.reduced.strides[k][0];
  }
  job.partials = partials;
  job.out = out;
  job.out_step = plan.kept.strides[Policy::kInputs][0];
  job.count = plan.count;
  job.outputs = plan.outputs;
  job.chunk = static_cast<int>(plan.chunk);
  if (plan.by_columns) {
    job.rows = plan.count <= FoldPlan<Policy::kInputs>::kFewRows ? 1 : 8;
    job.lanes = lanes_for(ceil_div(plan.outputs, kWidth), job.rows == 1 ? 256 : 32);
    const int64_t strips = ceil_div(plan.outputs, int64_t{job.lanes} * kWidth);
    const int64_t units = strips * plan.chunks;
    if (units > kMost) return false;
    job.inner = Divider(static_cast<uint32_t>(strips));
    job.units = static_cast<uint32_t>(units);
    const auto grid = static_cast<unsigned>(ceil_div(units, 256 / (job.lanes * job.rows)));
    launch_in_stream(fold_dense_columns<Policy, kWidth>, grid, 256, 0, 1, stream, job);
    return true;
  }
  const int64_t packs = plan.chunk / kWidth;
  job.lanes = packs <= 512 ? lanes_for(packs, 32) : 256;
  const int64_t units = plan.outputs * plan.chunks;
  const int64_t blocks = ceil_div(units, 256 / job.lanes);
  if (units > kMost) return false;
  job.inner = Divider(static_cast<uint32_t>(plan.chunks));
  job.units = static_cast<uint32_t>(units);
  const auto grid = static_cast<unsigned>(blocks);
  launch_in_stream(job.lanes == 256 ? fold_dense_rows<Policy, kWidth, 256> : fold_dense_rows<Policy, kWidth, 0>, grid,
                   256, 0, 1, stream, job);
  return true;
}

#endif

}  // namespace gorgo::cuda
