// The skeleton that all reductions on CUDA share: which axes stay and which go, how the work is cut up, and the kernels.
//
// A Policy says what is made of the elements behind one output:
//     Storage, Partial, kInputs (operands of one shape that are read side by side)
//     Run<kLanes>: add(elements, lane, position), flush(), Partial finish(first position); where kCentred, begin(first elements)
//     none(), merge(a, b)                     neutral partial result; two partial results of one output
//     Out: put(offset, partial)               what happens to a finished one, passed to the kernels by value
// Rows: a group of lanes folds one output, or a chunk of it. Columns: every lane folds outputs of its own, eight rows of lanes
// share a chunk. Where an output has several chunks a second kernel merges them.
// Invariant: chunks, groups and trees follow from the number of elements behind one output and from their layout, never from how
// many outputs there are nor from the card; so an output's bits are the same in every batch and on every card.
// Read next: ops/reduce/kernels_cuda.cu (the policies), reduce.cuh.
#pragma once

#include "kernels/cuda/fold_dense.cuh"

namespace gorgo::cuda {

// ---- the kernels ----

template <class Policy>
struct FoldJob {
  static constexpr int kInputs = Policy::kInputs;
  const typename Policy::Storage* in[kInputs];
  typename Policy::Partial* partials;  // [chunk][output]; null where one chunk is all
  typename Policy::Out out;
  Walk<kInputs + 1> kept;  // by columns without its innermost axis
  Walk<kInputs> reduced;
  int64_t count;
  int64_t chunk;
  int64_t chunks;
  int64_t outputs;
  int64_t units;
  // By rows: threads for a chunk of one output. By columns: lanes side by side, and rows of lanes; both powers of two.
  int lanes;
  int rows;
  // By columns: the innermost kept axis.
  int64_t width;
  int64_t strips;  // that the lanes cut it into
  int64_t step[kInputs + 1];
};

#if defined(__CUDACC__)

// Feeds places first, first + stride, ... below `end` of a chunk to add(reader, place, u), where u numbers the loads that are
// under way together; calls flush() after each such batch. A place has kUnit of the reduced positions.
template <class Policy, int kWidth, int kUnit, class Add, class Flush>
GORGO_DEVICE void feed(const FoldJob<Policy>& job, const typename Policy::Storage* const (&base)[Policy::kInputs],
                       int64_t begin, int first, int stride, int end, const Add& add, const Flush& flush) {
  using S = typename Policy::Storage;
  constexpr int kInputs = Policy::kInputs;
  constexpr int kBatch = kFoldGroup<Policy, kWidth>;
  using Reader = FoldReader<Policy, kWidth>;
  if (job.reduced.rank > 1) {
    constexpr int kGroup = 4 / kInputs;
#pragma unroll 1
    for (int i = first; i < end; i += kGroup * stride) {
      Reader reader[kGroup];
#pragma unroll
      for (int u = 0; u < kGroup; ++u) {
        if (i + u * stride >= end) break;
        int64_t offsets[kInputs];
        offsets_at(job.reduced, begin + (i + u * stride) * kUnit, offsets);
        reader[u].load(base, offsets);
      }
#pragma unroll
      for (int u = 0; u < kGroup; ++u) {
        if (i + u * stride >= end) break;
        add(reader[u], i + u * stride, u);
      }
      flush();
    }
    return;
  }
  const S* p[kInputs];
  int64_t step[kInputs];
#pragma unroll
  for (int k = 0; k < kInputs; ++k) {
    step[k] = job.reduced.strides[k][0] * kUnit;
    p[k] = base[k] + begin * job.reduced.strides[k][0] + first * step[k];
    step[k] *= stride;
  }
  int i = first;
#pragma unroll 1
  for (; i + (kBatch - 1) * stride < end; i += kBatch * stride) {
    Reader reader[kBatch];
#pragma unroll
    for (int u = 0; u < kBatch; ++u) reader[u].load_ahead(p, step, u);
#pragma unroll
    for (int k = 0; k < kInputs; ++k) p[k] += kBatch * step[k];
#pragma unroll
    for (int u = 0; u < kBatch; ++u) add(reader[u], i + u * stride, u);
    flush();
  }
  if (i < end) {
    Reader reader[kBatch - 1];
#pragma unroll
    for (int u = 0; u < kBatch - 1; ++u) {
      if (i + u * stride < end) reader[u].load_ahead(p, step, u);
    }
#pragma unroll
    for (int u = 0; u < kBatch - 1; ++u) {
      if (i + u * stride < end) add(reader[u], i + u * stride, u);
    }
    flush();
  }
}

template <class Policy, int kWidth>
__global__ void __launch_bounds__(256) fold_rows(const __grid_constant__ FoldJob<Policy> job) {
  using S = typename Policy::Storage;
  using Partial = typename Policy::Partial;
  constexpr int kInputs = Policy::kInputs;
  __shared__ alignas(16) unsigned char shared[8 * sizeof(Partial)];
  const int lanes = job.lanes;
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int slot = static_cast<int>(threadIdx.x) / lanes;
  const int slots = 256 / lanes;
  stream_pass();
  stream_wait();
#pragma unroll 1
  for (int64_t first = int64_t{blockIdx.x} * slots; first < job.units; first += int64_t{gridDim.x} * slots) {
    const int64_t unit = first + slot;
    const bool live = unit < job.units;
    int64_t output = unit;
    int64_t chunk = 0;
    int64_t out_at = 0;
    Partial partial = Policy::none();
    if (live) {
      if (job.chunks != 1) {
        const Quotient q(unit, job.chunks);
        output = q.quotient;
        chunk = q.rest;
      }
      int64_t at[kInputs + 1];
      offsets_at(job.kept, output, at);
      out_at = at[kInputs];
      const S* base[kInputs];
#pragma unroll
      for (int k = 0; k < kInputs; ++k) base[k] = job.in[k] + at[k];
      const int64_t begin = chunk * job.chunk;
      const auto n = static_cast<int>(job.count - begin < job.chunk ? job.count - begin : job.chunk);
      typename Policy::template Run<4> run;
      if constexpr (Policy::kCentred) {
        if (n > 0) {
          FoldReader<Policy, 1> head;
          head.load(base);
          S v[kInputs];
          head.pick(0, v);
          run.begin(v);
        }
      }
      const auto add = [&](const FoldReader<Policy, kWidth>& reader, int i, int u) {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          S v[kInputs];
          reader.pick(j, v);
          run.add(v, kWidth == 1 ? u : j, static_cast<uint32_t>(i * kWidth + j));
        }
      };
      // n is a multiple of kWidth
      feed<Policy, kWidth, kWidth>(job, base, begin, lane, lanes, n / kWidth, add, [&]() { run.flush(); });
      partial = run.finish(begin);
    }
    partial =
        fold_group(partial, lanes, shared, [](const Partial& a, const Partial& b) { return Policy::merge(a, b); });
    if (live && lane == 0) {
      if (job.partials != nullptr) {
        job.partials[chunk * job.outputs + output] = partial;
      } else {
        job.out.put(out_at, partial);
      }
    }
  }
}

template <class Policy, int kWidth>
__global__ void __launch_bounds__(256) fold_columns(const __grid_constant__ FoldJob<Policy> job) {
  using S = typename Policy::Storage;
  using Partial = typename Policy::Partial;
  constexpr int kInputs = Policy::kInputs;
  constexpr int kSlots = 128;  // half a block
  __shared__ alignas(16) unsigned char raw[kSlots * kWidth * sizeof(Partial)];
  Partial* const shared = reinterpret_cast<Partial*>(raw);
  const int x = static_cast<int>(threadIdx.x) & (job.lanes - 1);
  const int y = (static_cast<int>(threadIdx.x) / job.lanes) & (job.rows - 1);
  const int z = static_cast<int>(threadIdx.x) / (job.lanes * job.rows);
  const int units_at_once = 256 / (job.lanes * job.rows);
  stream_pass();
  stream_wait();
#pragma unroll 1
  for (int64_t first = int64_t{blockIdx.x} * units_at_once; first < job.units;
       first += int64_t{gridDim.x} * units_at_once) {
    const int64_t unit = first + z;
    const Quotient by_strips(unit, job.strips);
    const Quotient by_chunks(by_strips.quotient, job.chunks);
    const int64_t line = by_chunks.quotient;
    const int64_t chunk = by_chunks.rest;
    const int64_t column = (by_strips.rest * job.lanes + x) * kWidth;
    const bool live = unit < job.units && column < job.width;
    int64_t out_at = 0;
    Partial partial[kWidth];
#pragma unroll
    for (int j = 0; j < kWidth; ++j) partial[j] = Policy::none();
    if (live) {
      int64_t at[kInputs + 1];
      offsets_at(job.kept, line, at);
      out_at = at[kInputs] + column * job.step[kInputs];
      const S* base[kInputs];
#pragma unroll
      for (int k = 0; k < kInputs; ++k) base[k] = job.in[k] + at[k] + column * job.step[k];
      const int64_t begin = chunk * job.chunk;
      const auto rows = static_cast<int>(job.count - begin < job.chunk ? job.count - begin : job.chunk);
      typename Policy::template Run<1> run[kWidth];
      if constexpr (Policy::kCentred) {
        FoldReader<Policy, kWidth> head;
        head.load(base);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          S v[kInputs];
          head.pick(j, v);
          run[j].begin(v);
        }
      }
      const auto add = [&](const FoldReader<Policy, kWidth>& reader, int row, int) {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          S v[kInputs];
          reader.pick(j, v);
          run[j].add(v, 0, static_cast<uint32_t>(row));
        }
      };
      const auto flush = [&]() {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) run[j].flush();
      };
      feed<Policy, kWidth, 1>(job, base, begin, y, job.rows, rows, add, flush);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) partial[j] = run[j].finish(begin);
    }
#pragma unroll 1
    for (int half = job.rows >> 1; half > 0; half >>= 1) {
      const int index = (y & (half - 1)) * (units_at_once * job.lanes) + z * job.lanes + x;
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
          job.partials[chunk * job.outputs + line * job.width + column + j] = partial[j];
        } else {
          job.out.put(out_at + j * job.step[kInputs], partial[j]);
        }
      }
    }
  }
}

// Merges the chunks of every output: `lanes` outputs side by side, 256 / lanes threads for each.
template <class Policy>
__global__ void __launch_bounds__(256) fold_partials(const __grid_constant__ FoldJob<Policy> job) {
  using Partial = typename Policy::Partial;
  __shared__ alignas(16) unsigned char raw[256 * sizeof(Partial)];
  Partial* const shared = reinterpret_cast<Partial*>(raw);
  const int x = static_cast<int>(threadIdx.x) & (job.lanes - 1);
  const int y = static_cast<int>(threadIdx.x) / job.lanes;
  const int rows = 256 / job.lanes;
  stream_pass();
  stream_wait();
  for (int64_t first = int64_t{blockIdx.x} * job.lanes; first < job.outputs; first += int64_t{gridDim.x} * job.lanes) {
    const int64_t output = first + x;
    const bool live = output < job.outputs;
    Partial partial = Policy::none();
    if (live) {
#pragma unroll 4
      for (int64_t c = y; c < job.chunks; c += rows) {
        partial = Policy::merge(partial, job.partials[c * job.outputs + output]);
      }
    }
    shared[threadIdx.x] = partial;
    __syncthreads();
    for (int half = rows >> 1; half > 0; half >>= 1) {
      if (y < half) {
        shared[threadIdx.x] = Policy::merge(shared[threadIdx.x], shared[threadIdx.x + half * job.lanes]);
      }
      __syncthreads();
    }
    if (live && y == 0) {
      int64_t at[Policy::kInputs + 1];
      offsets_at(job.kept, output, at);
      job.out.put(at[Policy::kInputs], shared[threadIdx.x]);
    }
    __syncthreads();
  }
}

inline unsigned fold_grid(int64_t units, int64_t at_once) noexcept {
  constexpr int64_t kMost = int64_t{1} << 20;  // blocks stride over the rest
  const int64_t blocks = ceil_div(units, at_once);
  return static_cast<unsigned>(blocks < kMost ? blocks : kMost);
}

template <class Policy, int kWidth>
void launch_columns(FoldJob<Policy>& job, const FoldPlan<Policy::kInputs>& plan, cudaStream_t stream) noexcept {
  const int inner = job.kept.rank - 1;
  job.width = plan.kept.shape[inner];
  for (int k = 0; k <= Policy::kInputs; ++k) job.step[k] = plan.kept.strides[k][inner];
  job.kept.rank = inner;
  job.kept.count /= job.width;
  if (inner == 0) {
    for (auto& strides : job.kept.strides) strides[0] = 0;
  }
  job.rows = plan.count <= FoldPlan<Policy::kInputs>::kFewRows ? 1 : 8;
  job.lanes = lanes_for(ceil_div(job.width, kWidth), job.rows == 1 ? 256 : 32);
  job.strips = ceil_div(job.width, int64_t{job.lanes} * kWidth);
  job.units = job.kept.count * job.strips * job.chunks;
  launch_in_stream(fold_columns<Policy, kWidth>, fold_grid(job.units, 256 / (job.lanes * job.rows)), 256, 0, 1, stream,
                   job);
}

template <class Policy, int kWidth>
void launch_rows(FoldJob<Policy>& job, cudaStream_t stream) noexcept {
  const int64_t packs = ceil_div(job.chunk, kWidth);
  job.lanes = packs <= (kWidth == 1 ? 1024 : 512) ? lanes_for(packs, 32) : 256;
  job.units = job.outputs * job.chunks;
  launch_in_stream(fold_rows<Policy, kWidth>, fold_grid(job.units, 256 / job.lanes), 256, 0, 1, stream, job);
}

// Folds the axes of `mask` of the inputs, which have one shape; `scratch` has plan.scratch_bytes(sizeof(Partial)).
template <class Policy>
void run_fold(const KOperand* const (&in)[Policy::kInputs], const FoldPlan<Policy::kInputs>& plan,
              const typename Policy::Out& out, void* scratch, cudaStream_t stream) noexcept {
  using S = typename Policy::Storage;
  using Partial = typename Policy::Partial;
  constexpr int kRowPack = kPackOf<S>;
  constexpr int kColumnPack = kRowPack < 8 ? kRowPack : 8;
  if (plan.outputs == 0) return;
  FoldJob<Policy> job{};
  const void* data[Policy::kInputs];
  for (int k = 0; k < Policy::kInputs; ++k) {
    data[k] = in[k]->data;
    job.in[k] = in[k]->template as<const S>() + plan.base[k];
  }
  job.partials = plan.chunks > 1 ? static_cast<Partial*>(scratch) : nullptr;
  job.out = out;
  job.kept = plan.kept;
  job.reduced = plan.reduced;
  job.count = plan.count;
  job.chunk = plan.chunk;
  job.chunks = plan.chunks;
  job.outputs = plan.outputs;
  const int width = plan.by_columns ? kColumnPack : kRowPack;
  const bool wide = plan.is_wide(data, width, sizeof(S));
  if (plan.by_columns) {
    const bool done = wide ? launch_dense<Policy, kColumnPack>(plan, job.in, job.partials, out, stream)
                           : launch_dense<Policy, 1>(plan, job.in, job.partials, out, stream);
    if (!done) {
      wide ? launch_columns<Policy, kColumnPack>(job, plan, stream) : launch_columns<Policy, 1>(job, plan, stream);
    }
  } else {
    const bool done = wide ? launch_dense<Policy, kRowPack>(plan, job.in, job.partials, out, stream)
                           : launch_dense<Policy, 1>(plan, job.in, job.partials, out, stream);
    if (!done) wide ? launch_rows<Policy, kRowPack>(job, stream) : launch_rows<Policy, 1>(job, stream);
  }
  if (plan.chunks > 1) {
    job.kept = plan.kept;
    job.lanes = plan.chunks <= 16 ? 32 : plan.chunks <= 128 ? 8 : 1;
    launch_second(fold_partials<Policy>, fold_grid(job.outputs, job.lanes), 256, stream, job);
  }
}

#endif

}  // namespace gorgo::cuda
