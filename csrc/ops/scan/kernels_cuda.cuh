// Running results along an axis on CUDA: the walk that all scans share, and its kernels.
//
// A Policy says what is carried along:
//     Storage, kInputs, State; neutral(); of(elements, position); combine(earlier, later), which is associative;
//     Out: put(offset, state)
// Rows: a group of lanes takes a line tile by tile, each lane a few neighbours. Columns: every thread walks a line of its own, and
// neighbours' lines lie side by side. Long lines are cut into chunks: one kernel finds what each chunk comes to, a second what
// comes before each, a third the results.
// Invariant: groups and chunks follow from the length of a line and the layout alone.
// Read next: kernels_cuda.cu (the policies).
#pragma once

#include "kernels/cuda/reduce.cuh"
#include "ops/scan/attrs.h"

namespace gorgo::cuda {
namespace {

template <int kInputs>
struct ScanPlan {
  static constexpr int64_t kRowAtOnce = 16384;  // elements of a line that are not cut
  static constexpr int64_t kRowChunk = 8192;
  static constexpr int64_t kColumnChunk = 256;
  static constexpr int64_t kMostChunks = 1024;
  static constexpr int64_t kFewColumns = 8;       // below this, lines are walked as rows
  static constexpr int64_t kManyColumns = 16384;  // from here on threads walk whole columns

  Walk<kInputs> lines;  // all axes but the one
  int64_t step[kInputs];
  int64_t length = 1;
  int64_t inner = 1;  // lines side by side in the output
  int64_t count = 1;  // lines
  bool by_columns = false;
  int64_t chunk = 1;
  int64_t chunks = 1;

  ScanPlan(const KernelArgs& args, int64_t given_axis) noexcept {
    const KOperand& x = args.in[0];
    const int axis = static_cast<int>(given_axis < 0 ? given_axis + x.rank : given_axis);
    int64_t sizes[kMaxAxes];
    int64_t strides[kInputs][kMaxAxes];
    const int64_t* walked[kInputs];
    int others = 0;
    for (int i = 0; i < x.rank; ++i) {
      if (i == axis) {
        length = x.shape[i];
        for (int k = 0; k < kInputs; ++k) step[k] = args.in[k].strides[i];
        continue;
      }
      sizes[others] = x.shape[i];
      for (int k = 0; k < kInputs; ++k) strides[k][others] = args.in[k].strides[i];
      ++others;
      count *= x.shape[i];
      if (i > axis) inner *= x.shape[i];
    }
    for (int k = 0; k < kInputs; ++k) walked[k] = strides[k];
    lines = Walk<kInputs>::of(sizes, others, walked);
    if (lines.rank == 0) {
      for (auto& s : lines.strides) s[0] = 0;
    }
    by_columns = inner >= kFewColumns;
    chunk = length < 1 ? 1 : length;
    if (by_columns) {
      if (length > 2 * kColumnChunk && inner < kManyColumns) chunk = chunk_of(kColumnChunk);
    } else if (length > kRowAtOnce) {
      chunk = chunk_of(kRowChunk);
    }
    chunks = length < 1 ? 1 : ceil_div(length, chunk);
  }
  [[nodiscard]] size_t scratch_bytes(size_t state) const noexcept {
    return chunks == 1 ? 0 : static_cast<size_t>(count * chunks) * state;
  }

 private:
  [[nodiscard]] int64_t chunk_of(int64_t unit) const noexcept {
    return ceil_div(ceil_div(length, kMostChunks), unit) * unit;
  }
};

#if defined(__CUDACC__)

template <class Policy>
struct ScanJob {
  static constexpr int kInputs = Policy::kInputs;
  const typename Policy::Storage* in[kInputs];
  typename Policy::Out out;
  typename Policy::State* states;  // of chunks: what each comes to, then what comes before each
  Walk<kInputs> lines;
  int64_t step[kInputs];
  int64_t length;
  int64_t inner;
  int64_t count;
  int64_t chunk;
  int64_t chunks;
  int64_t state_of_line;  // steps in `states`
  int64_t state_of_chunk;
  int64_t initial;   // 1 where results begin with that of nothing
  int lanes;         // rows: of a line
  bool only_totals;  // the first of three kernels
  bool wide;         // rows: packs are read at once
};

template <class T>
GORGO_DEVICE T shuffle_up(T v, int by, int lanes) {
  static_assert(sizeof(T) % 4 == 0);
  constexpr int kWords = sizeof(T) / 4;
  uint32_t words[kWords];
  __builtin_memcpy(words, &v, sizeof v);
#pragma unroll
  for (int i = 0; i < kWords; ++i) words[i] = __shfl_up_sync(0xffffffffu, words[i], static_cast<unsigned>(by), lanes);
  __builtin_memcpy(&v, words, sizeof v);
  return v;
}
template <class T>
GORGO_DEVICE T shuffle_from(T v, int lane, int lanes) {
  static_assert(sizeof(T) % 4 == 0);
  constexpr int kWords = sizeof(T) / 4;
  uint32_t words[kWords];
  __builtin_memcpy(words, &v, sizeof v);
#pragma unroll
  for (int i = 0; i < kWords; ++i) words[i] = __shfl_sync(0xffffffffu, words[i], lane, lanes);
  __builtin_memcpy(&v, words, sizeof v);
  return v;
}

// What comes before each of `lanes` (at most 32) neighbours and what all come to; every thread of the warp must come here.
template <class Policy>
GORGO_DEVICE void scan_lanes(typename Policy::State v, int lane, int lanes, typename Policy::State& before,
                             typename Policy::State& total) {
#pragma unroll 1
  for (int by = 1; by < lanes; by *= 2) {
    const typename Policy::State earlier = shuffle_up(v, by, lanes);
    if (lane >= by) v = Policy::combine(earlier, v);
  }
  before = shuffle_up(v, 1, lanes);
  if (lane == 0) before = Policy::neutral();
  total = shuffle_from(v, lanes - 1, lanes);
}

template <class Policy>
__global__ void __launch_bounds__(256) scan_rows(const __grid_constant__ ScanJob<Policy> job) {
  using S = typename Policy::Storage;
  using State = typename Policy::State;
  constexpr int kInputs = Policy::kInputs;
  constexpr int kWidth = kPackOf<S> < 8 ? kPackOf<S> : 8;
  __shared__ alignas(16) unsigned char raw[8 * sizeof(State)];
  State* const shared = reinterpret_cast<State*>(raw);
  const int lanes = job.lanes;
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int slots = 256 / lanes;
  const int64_t units = job.count * job.chunks;
#pragma unroll 1
  for (int64_t first = int64_t{blockIdx.x} * slots; first < units; first += int64_t{gridDim.x} * slots) {
    const int64_t unit = first + static_cast<int>(threadIdx.x) / lanes;
    const bool live = unit < units;
    const int64_t line = job.chunks == 1 ? unit : unit / job.chunks;
    const int64_t chunk = unit - line * job.chunks;
    const int64_t begin = chunk * job.chunk;
    int n = 0;
    const S* in[kInputs];
    int64_t to = 0;
    State carry = Policy::neutral();
    if (live) {
      n = static_cast<int>(job.length - begin < job.chunk ? job.length - begin : job.chunk);
      int64_t at[kInputs];
      offsets_at(job.lines, line, at);
#pragma unroll
      for (int k = 0; k < kInputs; ++k) in[k] = job.in[k] + at[k] + begin * job.step[k];
      const int64_t outer = job.inner == 1 ? line : line / job.inner;
      to = outer * job.inner * (job.length + job.initial) + (line - outer * job.inner);
      if (!job.only_totals) {
        if (chunk == 0 && job.initial != 0 && lane == 0) job.out.put(to, carry);
        if (job.chunks > 1) carry = job.states[line * job.state_of_line + chunk * job.state_of_chunk];
      }
      to += (begin + job.initial) * job.inner;
    }
    // All lines of a block have as many tiles: chunks that are shorter have a block of their own, and so have they where
    // lanes are few.
#pragma unroll 1
    for (int tile = 0; tile < job.chunk && begin + tile < job.length; tile += lanes * kWidth) {
      const int i = tile + lane * kWidth;
      State state[kWidth];
      {
        Pack<S, kWidth> packs[kInputs];
        if (i < n) {
#pragma unroll
          for (int k = 0; k < kInputs; ++k) {
            if (job.wide) {
              packs[k] = load_pack<S, kWidth>(in[k] + i);
            } else {
#pragma unroll
              for (int j = 0; j < kWidth; ++j) {
                if (i + j < n) packs[k].v[j] = in[k][(i + j) * job.step[k]];
              }
            }
          }
        }
        State here = Policy::neutral();
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          if (i + j < n) {
            S v[kInputs];
#pragma unroll
            for (int k = 0; k < kInputs; ++k) v[k] = packs[k].v[j];
            const State mine = Policy::of(v, begin + i + j);
            here = j == 0 ? mine : Policy::combine(here, mine);
          }
          state[j] = here;
        }
      }
      State before;
      State total;
      scan_lanes<Policy>(state[kWidth - 1], lane & 31, lanes < 32 ? lanes : 32, before, total);
      State prefix = carry;
      if (lanes > 32) {
        if ((threadIdx.x & 31u) == 0) shared[threadIdx.x >> 5] = total;
        __syncthreads();
#pragma unroll 1
        for (int w = 0; w < 8; ++w) {
          if (w == static_cast<int>(threadIdx.x >> 5)) prefix = carry;
          carry = Policy::combine(carry, shared[w]);
        }
        __syncthreads();
      } else {
        carry = Policy::combine(carry, total);
      }
      if (!job.only_totals && i < n) {
        prefix = Policy::combine(prefix, before);
        if constexpr (Policy::kPacks) {
          if (job.wide && job.inner == 1 && job.initial == 0) {
            Pack<S, kWidth> pack;
#pragma unroll
            for (int j = 0; j < kWidth; ++j) pack.v[j] = Policy::result(Policy::combine(prefix, state[j]));
            store_pack<S, kWidth>(job.out.to + to + i, pack);
            continue;
          }
        }
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          if (i + j < n) job.out.put(to + (i + j) * job.inner, Policy::combine(prefix, state[j]));
        }
      }
    }
    if (job.only_totals && live && lane == 0) {
      job.states[line * job.state_of_line + chunk * job.state_of_chunk] = carry;
    }
  }
}

template <class Policy>
__global__ void __launch_bounds__(256) scan_columns(const __grid_constant__ ScanJob<Policy> job) {
  using S = typename Policy::Storage;
  using State = typename Policy::State;
  constexpr int kInputs = Policy::kInputs;
  constexpr int kBatch = 4;
  const int64_t line = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (line >= job.count) return;
  const int64_t chunk = blockIdx.y;
  const int64_t begin = chunk * job.chunk;
  const int64_t end = job.length - begin < job.chunk ? job.length : begin + job.chunk;
  int64_t at[kInputs];
  offsets_at(job.lines, line, at);
  const S* in[kInputs];
#pragma unroll
  for (int k = 0; k < kInputs; ++k) in[k] = job.in[k] + at[k] + begin * job.step[k];
  const int64_t outer = line / job.inner;
  int64_t to = outer * job.inner * (job.length + job.initial) + (line - outer * job.inner);
  State* const mine = job.chunks > 1 ? job.states + line * job.state_of_line + chunk * job.state_of_chunk : nullptr;
  State state = Policy::neutral();
  if (!job.only_totals) {
    if (chunk == 0 && job.initial != 0) job.out.put(to, state);
    if (mine != nullptr) state = *mine;
  }
  to += (begin + job.initial) * job.inner;
#pragma unroll 1
  for (int64_t i = begin; i < end; i += kBatch) {
    S v[kBatch][kInputs];
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      if (i + u < end) {
#pragma unroll
        for (int k = 0; k < kInputs; ++k) v[u][k] = in[k][u * job.step[k]];
      }
    }
#pragma unroll
    for (int k = 0; k < kInputs; ++k) in[k] += kBatch * job.step[k];
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      if (i + u < end) {
        state = Policy::combine(state, Policy::of(v[u], i + u));
        if (!job.only_totals) job.out.put(to + u * job.inner, state);
      }
    }
    to += kBatch * job.inner;
  }
  if (job.only_totals) *mine = state;
}

// From what chunks come to, to what comes before each: a warp for each line.
template <class Policy>
__global__ void __launch_bounds__(256) scan_chunks(const __grid_constant__ ScanJob<Policy> job) {
  using State = typename Policy::State;
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int64_t warps = int64_t{gridDim.x} * 8;
  for (int64_t line = int64_t{blockIdx.x} * 8 + (threadIdx.x >> 5); line < job.count; line += warps) {
    State carry = Policy::neutral();
#pragma unroll 1
    for (int64_t first = 0; first < job.chunks; first += 32) {
      const int64_t chunk = first + lane;
      State* const mine = job.states + line * job.state_of_line + chunk * job.state_of_chunk;
      const State v = chunk < job.chunks ? *mine : Policy::neutral();
      State before;
      State total;
      scan_lanes<Policy>(v, lane, 32, before, total);
      if (chunk < job.chunks) *mine = Policy::combine(carry, before);
      carry = Policy::combine(carry, total);
    }
  }
}

inline unsigned scan_grid(int64_t units, int64_t at_once) noexcept {
  constexpr int64_t kMost = int64_t{1} << 20;  // blocks stride over the rest
  const int64_t blocks = ceil_div(units, at_once);
  return static_cast<unsigned>(blocks < kMost ? blocks : kMost);
}

template <class Policy>
void run_scan(const KernelArgs& args, int64_t axis, int64_t initial, const typename Policy::Out& out) noexcept {
  using S = typename Policy::Storage;
  constexpr int kInputs = Policy::kInputs;
  constexpr int kWidth = kPackOf<S> < 8 ? kPackOf<S> : 8;
  if (args.out[0].numel == 0) return;
  const ScanPlan<kInputs> plan(args, axis);
  ScanJob<Policy> job{};
  job.out = out;
  job.states = static_cast<typename Policy::State*>(args.scratch);
  job.lines = plan.lines;
  job.length = plan.length;
  job.inner = plan.inner;
  job.count = plan.count;
  job.chunk = plan.chunk;
  job.chunks = plan.chunks;
  job.state_of_line = plan.by_columns ? 1 : plan.chunks;
  job.state_of_chunk = plan.by_columns ? plan.count : 1;
  job.initial = initial;
  job.wide = kWidth > 1 && plan.length % kWidth == 0;
  if constexpr (Policy::kPacks) job.wide = job.wide && is_aligned(out.to, kWidth * sizeof(S));
  for (int k = 0; k < kInputs; ++k) {
    job.in[k] = args.in[k].as<const S>();
    job.step[k] = plan.step[k];
    job.wide = job.wide && plan.step[k] == 1 && is_aligned(job.in[k], kWidth * sizeof(S));
    for (int i = 0; i < plan.lines.rank; ++i) job.wide = job.wide && plan.lines.strides[k][i] % kWidth == 0;
  }
  const int64_t packs = ceil_div(plan.chunk, kWidth);
  job.lanes = packs <= 128 ? lanes_for(packs, 32) : 256;
  const cudaStream_t stream = stream_of(args);
  const auto launch = [&](bool only_totals) {
    job.only_totals = only_totals;
    if (plan.by_columns) {
      const int threads = plan.count < 256 ? lanes_for(plan.count, 256) : 256;
      const dim3 grid(static_cast<unsigned>(ceil_div(plan.count, threads)), static_cast<unsigned>(plan.chunks));
      scan_columns<Policy><<<grid, threads, 0, stream>>>(job);
    } else {
      scan_rows<Policy><<<scan_grid(plan.count * plan.chunks, 256 / job.lanes), 256, 0, stream>>>(job);
    }
  };
  if (plan.chunks > 1) {
    launch(true);
    scan_chunks<Policy><<<scan_grid(plan.count, 8), 256, 0, stream>>>(job);
  }
  launch(false);
}

#endif

}  // namespace

void fill_scan_extremes(KernelSink& sink);

}  // namespace gorgo::cuda
