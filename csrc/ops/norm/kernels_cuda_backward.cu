// The gradients of layer_norm, rms_norm and group_norm on CUDA.
//
// layer_norm and rms_norm of rows that fit into registers take one pass: a block keeps sums for every channel over its rows, and
// a second kernel adds the blocks' sums. Otherwise the first kernel yields dx and the figures of each line, the second sums over
// rows or positions, the third adds up.
// Invariant: how rows are shared out follows from their number and length alone, and partial sums meet in a fixed order.
// Read next: kernels_cuda.cuh, kernels_cuda.cu.
#include "ops/norm/kernels_cuda_backward_rows.cuh"

namespace gorgo::cuda {
namespace {

constexpr int64_t aligned(int64_t bytes) noexcept { return ceil_div(bytes, 64) * 64; }

// x - mean = (x - from) - offset
template <class C>
struct alignas(4 * sizeof(C)) Figures {
  C from, offset, rstd, unused;
};

// Sums over a line: squared deviations, g w, and g w times the deviation.
template <class T>
struct Sums {
  T squares, grads, products;
};
template <class T>
GORGO_DEVICE Sums<T> add_sums(const Sums<T>& a, const Sums<T>& b) {
  return {a.squares + b.squares, a.grads + b.grads, a.products + b.products};
}

template <class S>
struct BackwardJob : LineJob<S, 2> {  // inputs: g, x
  int64_t rows_at_once;               // of a block, where it sums over rows
  void* sums;                         // [block][2][channels], of the compute type
  void* figures;                      // of lines, where kernels that follow need them
};

// Lines that fit. kSums: sums over the rows of a block are kept (a line is a row, a channel has one position).
template <class S, bool kCentered, bool kSums, int kHeld, int kWidth>
__global__ void __launch_bounds__(512) norm_backward_held(const __grid_constant__ BackwardJob<S> job) {
  using C = ComputeType<S>;
  constexpr int kElements = kHeld * kWidth;
  __shared__ alignas(16) unsigned char shared[32 * sizeof(Sums<double>)];
  const int lanes = job.lanes;
  const int slots = static_cast<int>(blockDim.x) / lanes;
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int slot = static_cast<int>(threadIdx.x) / lanes;
  const int packs_of_line = static_cast<int>(job.length) / kWidth;
  const RowGroup group{lanes, shared};
  const C count = static_cast<C>(job.length);
  C by_weight[kSums ? kElements : 1] = {};
  C by_bias[kSums && kCentered ? kElements : 1] = {};
  int64_t begin = int64_t{blockIdx.x} * slots;
  int64_t end = job.count;
  int64_t stride = int64_t{gridDim.x} * slots;
  if constexpr (kSums) {
    begin = int64_t{blockIdx.x} * job.rows_at_once;
    end = begin + job.rows_at_once < job.count ? begin + job.rows_at_once : job.count;
    stride = slots;
  }
#pragma unroll 1
  for (int64_t first = begin; first < end; first += stride) {
    const int64_t line = first + slot;
    const bool live = line < end;
    const int packs = live ? packs_of_line : 0;
    int64_t at[2] = {0, 0};
    if (live) offsets_at(job.lines, line, at);
    const int64_t channel = job.groups == 1 ? 0 : line % job.groups * job.size;
    const S* const x = job.in[1] + at[1];
    const C from = kCentered && live ? lift(x[0]) : C{0};
    C g[kHeld][kWidth];
    C d[kHeld][kWidth];
    {
      Pack<S, kWidth> raw[2][kHeld];
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
        if (lane + u * lanes >= packs) continue;
        int64_t offset[2];
        job.offsets_of((lane + u * lanes) * kWidth, offset);
        raw[0][u] = load_pack<S, kWidth>(job.in[0] + at[0] + offset[0]);
        raw[1][u] = load_pack<S, kWidth>(x + offset[1]);
      }
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
        const bool there = lane + u * lanes < packs;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          g[u][j] = there ? lift(raw[0][u].v[j]) : C{0};
          d[u][j] = there ? lift(raw[1][u].v[j]) - from : C{0};
        }
      }
    }
    C offset = C{0};
    if constexpr (kCentered) {
      C sum = C{0};
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) sum += d[u][j];
      }
      offset = group.fold(sum, add_two<C>) / count;
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
        const bool there = lane + u * lanes < packs;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) d[u][j] = there ? d[u][j] - offset : C{0};
      }
    }
    Sums<C> sums{C{0}, C{0}, C{0}};
#pragma unroll
    for (int u = 0; u < kHeld; ++u) {
      if (lane + u * lanes >= packs) continue;
      C w[kWidth];
      job.template numbers<kWidth>(job.weight, channel, (lane + u * lanes) * kWidth, 1.0, w);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const C gw = g[u][j] * w[j];
        sums.squares = multiply_add(d[u][j], d[u][j], sums.squares);
        sums.grads += gw;
        sums.products = multiply_add(gw, d[u][j], sums.products);
      }
    }
    sums = group.fold(sums, add_sums<C>);
    const C rstd = inverse_root(sums.squares / count + job.eps);
    const C mean_along = sums.products * rstd / count;
    const C mean_grad = kCentered ? sums.grads / count : C{0};
#pragma unroll
    for (int u = 0; u < kHeld; ++u) {
      if (lane + u * lanes >= packs) continue;
      const int e = (lane + u * lanes) * kWidth;
      C w[kWidth];
      job.template numbers<kWidth>(job.weight, channel, e, 1.0, w);
      Pack<S, kWidth> pack;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const C hat = d[u][j] * rstd;
        pack.v[j] = lower<S>((g[u][j] * w[j] - hat * mean_along - mean_grad) * rstd);
        if constexpr (kSums) {
          by_weight[u * kWidth + j] = multiply_add(g[u][j], hat, by_weight[u * kWidth + j]);
          if constexpr (kCentered) by_bias[u * kWidth + j] += g[u][j];
        }
      }
      store_pack<S, kWidth>(job.out + line * job.length + e, pack);
    }
    if constexpr (!kSums) {
      if (live && lane == 0) static_cast<Figures<C>*>(job.figures)[line] = {from, offset, rstd, C{0}};
    }
  }
  if constexpr (kSums) {
    constexpr int kWhich = kCentered ? 2 : 1;
    C* const out = static_cast<C*>(job.sums) + int64_t{blockIdx.x} * 2 * job.length;
    if (lanes <= 32) {
      // The groups of a warp first, then warp after warp.
      __shared__ C total[kWhich][32 * kElements];
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        for (int mask = lanes; mask < 32; mask <<= 1) {
          by_weight[i] += shuffle_xor(by_weight[i], mask);
          if constexpr (kCentered) by_bias[i] += shuffle_xor(by_bias[i], mask);
        }
      }
      const int warps = static_cast<int>(blockDim.x) / 32;
      for (int warp = 0; warp < warps; ++warp) {
        if (static_cast<int>(threadIdx.x) / 32 == warp && static_cast<int>(threadIdx.x) % 32 < lanes) {
#pragma unroll
          for (int i = 0; i < kElements; ++i) {
            const int to = lane * kElements + i;
            total[0][to] = by_weight[i] + (warp == 0 ? C{0} : total[0][to]);
            if constexpr (kCentered) total[kWhich - 1][to] = by_bias[i] + (warp == 0 ? C{0} : total[kWhich - 1][to]);
          }
        }
        __syncthreads();
      }
      if (static_cast<int>(threadIdx.x) < lanes) {
#pragma unroll
        for (int i = 0; i < kElements; ++i) {
          by_weight[i] = total[0][lane * kElements + i];
          if constexpr (kCentered) by_bias[i] = total[kWhich - 1][lane * kElements + i];
        }
      }
    }
    if (slot == 0) {
#pragma unroll
      for (int u = 0; u < kHeld; ++u) {
        if (lane + u * lanes >= packs_of_line) continue;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          const int c = (lane + u * lanes) * kWidth + j;
          out[c] = by_weight[u * kWidth + j];
          if constexpr (kCentered) out[job.length + c] = by_bias[u * kWidth + j];
        }
      }
    }
  }
}

// Lines of any length, read twice.
template <class S, bool kCentered, int kWidth>
__global__ void __launch_bounds__(512) norm_backward_long(const __grid_constant__ BackwardJob<S> job) {
  using C = ComputeType<S>;
  struct Wide {
    double sum, squares, grads, products;
  };
  __shared__ alignas(16) unsigned char shared[16 * sizeof(Wide)];
  const int lane = static_cast<int>(threadIdx.x);
  const int lanes = static_cast<int>(blockDim.x);
  const RowGroup group{lanes, shared};
  const int64_t packs = job.length / kWidth;
#pragma unroll 1
  for (int64_t line = blockIdx.x; line < job.count; line += gridDim.x) {
    int64_t at[2];
    offsets_at(job.lines, line, at);
    const int64_t channel = job.groups == 1 ? 0 : line % job.groups * job.size;
    const S* const grads = job.in[0] + at[0];
    const S* const x = job.in[1] + at[1];
    const C from = kCentered ? lift(x[0]) : C{0};
    Wide sums{0.0, 0.0, 0.0, 0.0};
#pragma unroll 2
    for (int64_t i = lane; i < packs; i += lanes) {
      int64_t offset[2];
      job.offsets_of(i * kWidth, offset);
      const auto raw_g = load_pack<S, kWidth>(grads + offset[0]);
      const auto raw_x = load_pack<S, kWidth>(x + offset[1]);
      C w[kWidth];
      job.template numbers<kWidth>(job.weight, channel, i * kWidth, 1.0, w);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const auto d = static_cast<double>(lift(raw_x.v[j]) - from);
        const auto gw = static_cast<double>(lift(raw_g.v[j]) * w[j]);
        sums.sum += d;
        sums.squares = fma(d, d, sums.squares);
        sums.grads += gw;
        sums.products = fma(gw, d, sums.products);
      }
    }
    sums = group.fold(sums, [](const Wide& a, const Wide& b) {
      return Wide{a.sum + b.sum, a.squares + b.squares, a.grads + b.grads, a.products + b.products};
    });
    const auto count = static_cast<double>(job.length);
    const double mean = kCentered ? sums.sum / count : 0.0;
    const double variance = sums.squares / count - mean * mean;
    const double root = inverse_root((variance < 0.0 ? 0.0 : variance) + static_cast<double>(job.eps));
    const auto offset_here = static_cast<C>(mean);
    const auto rstd = static_cast<C>(root);
    const auto mean_along = static_cast<C>((sums.products - mean * sums.grads) * root / count);
    const C mean_grad = kCentered ? static_cast<C>(sums.grads / count) : C{0};
#pragma unroll 2
    for (int64_t i = lane; i < packs; i += lanes) {
      int64_t offset[2];
      job.offsets_of(i * kWidth, offset);
      const auto raw_g = load_pack<S, kWidth>(grads + offset[0]);
      const auto raw_x = load_pack<S, kWidth>(x + offset[1]);
      C w[kWidth];
      job.template numbers<kWidth>(job.weight, channel, i * kWidth, 1.0, w);
      Pack<S, kWidth> pack;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const C hat = (lift(raw_x.v[j]) - from - offset_here) * rstd;
        pack.v[j] = lower<S>((lift(raw_g.v[j]) * w[j] - hat * mean_along - mean_grad) * rstd);
      }
      store_pack<S, kWidth>(job.out + line * job.length + i * kWidth, pack);
    }
    if (lane == 0) static_cast<Figures<C>*>(job.figures)[line] = {from, offset_here, rstd, C{0}};
  }
}

// ---- sums of g * normalized x and of g for each channel, from the figures of the lines ----

template <class S>
struct ChannelJob {
  const S* g;
  const S* x;
  Walk<2> rows;       // g, x
  Walk<2> positions;  // of one channel
  int64_t step[2];    // between channels
  const void* figures;
  double* sums;  // [part][2][channels]
  int64_t row_count;
  int64_t channels;
  int64_t groups;
  int64_t position_count;
  int64_t rows_at_once;  // of a part, where channels have one position
  int lanes;             // of a channel, where they have several: one part for each row
};

// Channels of one position: a thread for each channel, eight rows of threads.
template <class S>
__global__ void __launch_bounds__(256) norm_channels_by_rows(const __grid_constant__ ChannelJob<S> job) {
  using C = ComputeType<S>;
  __shared__ double shared[2][256];
  const int x = static_cast<int>(threadIdx.x) & 31;
  const int y = static_cast<int>(threadIdx.x) >> 5;
  const int64_t channel = int64_t{blockIdx.x} * 32 + x;
  const int64_t begin = int64_t{blockIdx.y} * job.rows_at_once;
  const int64_t end = begin + job.rows_at_once < job.row_count ? begin + job.rows_at_once : job.row_count;
  double along = 0.0;
  double total = 0.0;
  if (channel < job.channels) {
    const int64_t group = channel / (job.channels / job.groups);
    const auto* const figures = static_cast<const Figures<C>*>(job.figures);
#pragma unroll 4
    for (int64_t row = begin + y; row < end; row += 8) {
      int64_t at[2];
      offsets_at(job.rows, row, at);
      const Figures<C> f = figures[row * job.groups + group];
      const C g = lift(job.g[at[0] + channel * job.step[0]]);
      const C hat = (lift(job.x[at[1] + channel * job.step[1]]) - f.from - f.offset) * f.rstd;
      along += static_cast<double>(g * hat);
      total += static_cast<double>(g);
    }
  }
  shared[0][threadIdx.x] = along;
  shared[1][threadIdx.x] = total;
  __syncthreads();
  for (int half = 4; half > 0; half >>= 1) {
    if (y < half) {
      shared[0][threadIdx.x] += shared[0][threadIdx.x + half * 32];
      shared[1][threadIdx.x] += shared[1][threadIdx.x + half * 32];
    }
    __syncthreads();
  }
  if (y < 2 && channel < job.channels) job.sums[(int64_t{blockIdx.y} * 2 + y) * job.channels + channel] = shared[y][x];
}

// Channels of several positions: a group of threads for each channel of each row.
template <class S>
__global__ void __launch_bounds__(256) norm_channels_by_positions(const __grid_constant__ ChannelJob<S> job) {
  using C = ComputeType<S>;
  struct Two {
    double along, total;
  };
  __shared__ alignas(16) unsigned char shared[8 * sizeof(Two)];
  const int lanes = job.lanes;
  const int slots = 256 / lanes;
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const RowGroup group{lanes, shared};
  const int64_t units = job.row_count * job.channels;
  for (int64_t first = int64_t{blockIdx.x} * slots; first < units; first += int64_t{gridDim.x} * slots) {
    const int64_t unit = first + static_cast<int>(threadIdx.x) / lanes;
    const bool live = unit < units;
    const int64_t row = unit / job.channels;
    const int64_t channel = unit - row * job.channels;
    Two two{0.0, 0.0};
    if (live) {
      int64_t at[2];
      offsets_at(job.rows, row, at);
      const Figures<C> f =
          static_cast<const Figures<C>*>(job.figures)[row * job.groups + channel / (job.channels / job.groups)];
      const S* const grads = job.g + at[0] + channel * job.step[0];
      const S* const x = job.x + at[1] + channel * job.step[1];
#pragma unroll 4
      for (int64_t p = lane; p < job.position_count; p += lanes) {
        int64_t offset[2];
        if (job.positions.rank <= 1) {
          offset[0] = p * job.positions.strides[0][0];
          offset[1] = p * job.positions.strides[1][0];
        } else {
          offsets_at(job.positions, p, offset);
        }
        const C g = lift(grads[offset[0]]);
        const C hat = (lift(x[offset[1]]) - f.from - f.offset) * f.rstd;
        two.along += static_cast<double>(g * hat);
        two.total += static_cast<double>(g);
      }
    }
    two = group.fold(two, [](const Two& a, const Two& b) { return Two{a.along + b.along, a.total + b.total}; });
    if (live && lane == 0) {
      job.sums[row * 2 * job.channels + channel] = two.along;
      job.sums[(row * 2 + 1) * job.channels + channel] = two.total;
    }
  }
}

// Adds [part][2][channels] over the parts into out[0] and, where it is given, out[1].
template <class S, class T>
__global__ void __launch_bounds__(1024)
    norm_add_parts(const T* sums, int64_t parts, int64_t channels, S* dweight, S* dbias) {
  __shared__ double shared[1024];
  const int y = static_cast<int>(threadIdx.x) >> 5;
  const int64_t wanted = dbias != nullptr ? 2 * channels : channels;
  const int64_t column = int64_t{blockIdx.x} * 32 + (threadIdx.x & 31);
  double total = 0.0;
  stream_wait();
  if (column < wanted) {
#pragma unroll 8
    for (int64_t part = y; part < parts; part += 32) total += static_cast<double>(sums[part * 2 * channels + column]);
  }
  shared[threadIdx.x] = total;
  __syncthreads();
  for (int half = 16; half > 0; half >>= 1) {
    if (y < half) shared[threadIdx.x] += shared[threadIdx.x + half * 32];
    __syncthreads();
  }
  if (y == 0 && column < wanted) {
    S* const to = column < channels ? dweight + column : dbias + (column - channels);
    *to = lower<S>(shared[threadIdx.x]);
  }
}

template <class S, class T>
void add_parts(const T* sums, int64_t parts, int64_t channels, const KernelArgs& args, bool biased) noexcept {
  S* const dbias = biased ? args.out[2].as<S>() : nullptr;
  const int64_t wanted = biased ? 2 * channels : channels;
  launch_second(norm_add_parts<S, T>, static_cast<unsigned>(ceil_div(wanted, 32)), 1024, stream_of(args), sums, parts,
                channels, args.out[1].as<S>(), dbias);
}

// ---- how the work is shared out ----

// Packs of `width` elements that a thread holds at most.
template <class S>
constexpr int most_held(int width) noexcept {
  return (sizeof(ComputeType<S>) == 8 ? 8 : 16) / (width == 1 ? 2 : width);  // single elements cost more registers
}

// Threads of a line that is held, for packs of `width` elements; 0 where it does not fit.
template <class S>
int held_lanes(int64_t length, int width) noexcept {
  const int64_t packs = length / width;
  const int few = width == 1 ? 4 : 1;
  const int many = most_held<S>(width);
  if (packs <= 32 * few) return lanes_for(ceil_div(packs, few), 32);
  return packs <= 512 * many ? lanes_for(ceil_div(packs, many), 512) : 0;
}
constexpr int threads_of(int lanes) noexcept { return lanes > 32 ? lanes : 256; }

// Rows that a block sums over, at least eight for each of its groups.
int64_t rows_at_once(int64_t rows, int lanes) noexcept {
  const int threads = threads_of(lanes);
  const int64_t least = int64_t{8} * (threads / lanes);
  const int64_t wanted = ceil_div(rows, int64_t{131072} / threads);
  return wanted < least ? least : wanted;
}
template <class S>
int64_t fused_bytes(int64_t rows, int64_t length, int width) noexcept {
  const int lanes = held_lanes<S>(length, width);
  if (lanes == 0) return 0;
  return ceil_div(rows, rows_at_once(rows, lanes)) * 2 * length * static_cast<int64_t>(sizeof(ComputeType<S>));
}

// Parts that sums over rows come in, where channels have one position.
constexpr int64_t row_parts(int64_t rows) noexcept {
  const int64_t parts = ceil_div(rows, 64);
  return parts < 64 ? parts : 64;
}

template <class S, RowNorm kWhich>
size_t backward_scratch(const KernelArgs& args) noexcept {
  if (args.in[1].numel == 0) return 0;
  const KOperand* const x[] = {&args.in[1]};
  const auto job = lines_of<kWhich, S>(args, x);
  const int64_t channels = job.size * job.groups;
  int64_t most = 0;
  bool fits = kWhich != RowNorm::Group;
  if (fits) {
    if constexpr (sizeof(ComputeType<S>) == 4) most = stream_bytes<S>(job.rows, job.length);
    for (const int width : {1, kPackOf<S>}) {
      if (width != 1 && job.length % width != 0) continue;
      const int64_t bytes = fused_bytes<S>(job.rows, job.length, width);
      if (bytes == 0) fits = false;
      most = bytes > most ? bytes : most;
    }
  }
  if (!fits) {
    const int64_t parts = job.positions == 1 ? row_parts(job.rows) : job.rows;
    const int64_t bytes = aligned(job.count * static_cast<int64_t>(sizeof(Figures<ComputeType<S>>))) +
                          parts * 2 * channels * static_cast<int64_t>(sizeof(double));
    most = bytes > most ? bytes : most;
  }
  return static_cast<size_t>(most);
}

template <class S, bool kCentered, bool kSums, int kWidth>
void launch_held(BackwardJob<S>& job, int64_t blocks, cudaStream_t stream) noexcept {
  constexpr int kFew = kWidth == 1 ? 4 : 1;
  constexpr int kMany = most_held<S>(kWidth);
  const int threads = threads_of(job.lanes);
  const auto grid = static_cast<unsigned>(blocks);
  if (job.length / kWidth <= 32 * kFew) {
    norm_backward_held<S, kCentered, kSums, kFew, kWidth><<<grid, threads, 0, stream>>>(job);
  } else {
    norm_backward_held<S, kCentered, kSums, kMany, kWidth><<<grid, threads, 0, stream>>>(job);
  }
}

// Rows of such packs go through shared memory, or element by element where they cannot.
template <class S, int kWidth>
inline constexpr bool kStreams = kWidth > 1 && sizeof(ComputeType<S>) == 4;

template <class S, RowNorm kWhich, int kWidth>
void run_backward(BackwardJob<S>& job, const KernelArgs& args) noexcept {
  using C = ComputeType<S>;
  constexpr bool kCentered = kWhich != RowNorm::Rms;
  const cudaStream_t stream = stream_of(args);
  const int64_t channels = job.size * job.groups;
  job.lanes = held_lanes<S>(job.length, kWidth);
  if constexpr (kWhich != RowNorm::Group && !kStreams<S, kWidth>) {
    if (job.lanes != 0) {
      job.rows_at_once = rows_at_once(job.rows, job.lanes);
      job.sums = args.scratch;
      const int64_t blocks = ceil_div(job.rows, job.rows_at_once);
      launch_held<S, kCentered, true, kWidth>(job, blocks, stream);
      add_parts<S>(static_cast<const C*>(args.scratch), blocks, channels, args, kCentered);
      return;
    }
  }
  job.figures = args.scratch;
  if constexpr (kWhich == RowNorm::Group) {
    if (job.lanes != 0) {
      const int slots = threads_of(job.lanes) / job.lanes;
      launch_held<S, kCentered, false, kWidth>(job, norm_grid(job.count, slots), stream);
    }
  }
  if (job.lanes == 0) {
    norm_backward_long<S, kCentered, kWidth><<<norm_grid(job.count, 1), 512, 0, stream>>>(job);
  }
  // Sums for each channel.
  const KOperand* const x[] = {&args.in[0], &args.in[1]};
  const int axis = channel_axis<kWhich>(args.in[1]);
  ChannelJob<S> sums{};
  Axes<2> rows;
  for (int i = 0; i < axis; ++i) rows.push(x, i);
  Axes<2> positions;
  for (int i = axis + 1; i < x[0]->rank; ++i) positions.push(x, i);
  sums.g = job.in[0];
  sums.x = job.in[1];
  sums.rows = rows.walk();
  sums.positions = positions.walk();
  for (int k = 0; k < 2; ++k) sums.step[k] = x[k]->strides[axis];
  sums.figures = job.figures;
  sums.sums = reinterpret_cast<double*>(static_cast<char*>(args.scratch) +
                                        aligned(job.count * static_cast<int64_t>(sizeof(Figures<C>))));
  sums.row_count = job.rows;
  sums.channels = channels;
  sums.groups = job.groups;
  sums.position_count = job.positions;
  int64_t parts = job.rows;
  if (job.positions == 1) {
    sums.rows_at_once = ceil_div(job.rows, row_parts(job.rows));
    parts = ceil_div(job.rows, sums.rows_at_once);
    const dim3 grid(static_cast<unsigned>(ceil_div(channels, 32)), static_cast<unsigned>(parts));
    norm_channels_by_rows<S><<<grid, 256, 0, stream>>>(sums);
  } else {
    sums.lanes = job.positions <= 1024 ? lanes_for(job.positions, 32) : 256;
    norm_channels_by_positions<S><<<norm_grid(job.rows * channels, 256 / sums.lanes), 256, 0, stream>>>(sums);
  }
  add_parts<S>(sums.sums, parts, channels, args, kCentered);
}

template <class S, RowNorm kWhich>
void backward(const KernelArgs& args, int64_t) noexcept {
  if (args.in[1].numel == 0) {  // no rows: nothing adds to the gradients of weight and bias
    for (int i = 1; i < (kWhich == RowNorm::Rms ? 2 : 3); ++i) {
      const size_t bytes = static_cast<size_t>(args.out[i].numel) * sizeof(S);
      if (bytes != 0) static_cast<void>(cudaMemsetAsync(args.out[i].data, 0, bytes, stream_of(args)));
    }
    return;
  }
  const KOperand* const x[] = {&args.in[0], &args.in[1]};
  BackwardJob<S> job{lines_of<kWhich, S>(args, x), 0, nullptr, nullptr};
  job.weight = PerChannel<S>(args, 2);
  bool wide = job.is_wide(kPackOf<S>);
  if constexpr (kWhich != RowNorm::Group && kStreams<S, kPackOf<S>>) {
    constexpr bool kCentered = kWhich != RowNorm::Rms;
    int64_t parts = 0;
    if (wide && run_stream<S, kCentered>(job, args.scratch, &parts, stream_of(args))) {
      add_parts<S>(static_cast<const float*>(args.scratch), parts, job.length, args, kCentered);
      return;
    }
    wide = wide && held_lanes<S>(job.length, kPackOf<S>) == 0;
  }
  if (wide) {
    run_backward<S, kWhich, kPackOf<S>>(job, args);
  } else {
    run_backward<S, kWhich, 1>(job, args);
  }
}

template <class S>
void fill(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  add(sink, "layer_norm_backward", d, backward<S, RowNorm::Layer>, backward_scratch<S, RowNorm::Layer>);
  add(sink, "rms_norm_backward", d, backward<S, RowNorm::Rms>, backward_scratch<S, RowNorm::Rms>);
  add(sink, "group_norm_backward", d, backward<S, RowNorm::Group>, backward_scratch<S, RowNorm::Group>);
}

}  // namespace

void fill_norm_backward(KernelSink& sink) {
  fill<float>(sink);
  fill<double>(sink);
  fill<BFloat16>(sink);
  fill<Float16>(sink);
}

}  // namespace gorgo::cuda
