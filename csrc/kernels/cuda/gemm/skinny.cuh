// Products with few rows or few columns: the other factor is read once, as fast as memory gives it.
//
// The factor with at most kFewest rows (of A) or columns (of B) is called the few, the other one the many; both are seen as rows of k.
// Where the many lie along k, a warp takes some of their rows and its lanes share out k (dot_product); where they lie across it, a
// lane takes some neighbouring ones and the warps of a block share out k (axis_product). Long sums are cut into parts for different
// blocks, which sum_parts adds up.
// Invariant: lanes, warps and parts are added in one fixed order, which depends on sizes and on how the many lie, never on the grid.
// Read next: simt.cuh, gemm.cuh.
#pragma once

#include "kernels/cuda/gemm/simt.cuh"

namespace gorgo::cuda {

constexpr int64_t kFewest = 16;
constexpr int kSkinnyWarps = 8;

struct SkinnyArgs {
  const void* few;
  const void* many;
  void* out;
  void* sums;  // of parts, where there are several
  const void* bias;
  Finish finish;
  int64_t few_count, many_count, k;
  int64_t few_row, few_k, many_row, many_k;
  int64_t out_few, out_many;    // strides of the result
  int64_t bias_few, bias_many;  // of the bias; one of them is 0
  int64_t matrix;               // elements of a result
  int64_t few_tiles, many_tiles, parts, part_k;
  int64_t count, tasks;
  int warps_k;   // warps of a block that share out k (dot_product)
  bool swapped;  // the few are B's columns
  Walk<2> stack;
};

#if defined(__CUDACC__)

// V neighbours, as accumulators; sixteen bytes at once where V fills them.
template <class T, int V>
GORGO_DEVICE void load_some(const T* p, Accumulator<T> (&v)[V]) {
  if constexpr (V == 1) {
    v[0] = widen(*p);
  } else {
    static_assert(V * sizeof(T) == 16);
    const uint4 raw = *reinterpret_cast<const uint4*>(p);
    T part[V];
    static_assert(sizeof part == sizeof raw);
    memcpy(part, &raw, sizeof raw);
#pragma unroll
    for (int i = 0; i < V; ++i) v[i] = widen(part[i]);
  }
}

struct SkinnyTask {
  int64_t few0, tile, part, index, k0, k_end, few_offset, many_offset;
};

GORGO_DEVICE SkinnyTask skinny_task(const SkinnyArgs& args, int64_t task, int few_of_tile) {
  SkinnyTask t;
  t.tile = task % args.many_tiles;
  int64_t left = task / args.many_tiles;
  t.few0 = left % args.few_tiles * few_of_tile;
  left /= args.few_tiles;
  t.index = left % args.count;
  t.part = left / args.count;
  t.k0 = t.part * args.part_k;
  t.k_end = t.k0 + args.part_k < args.k ? t.k0 + args.part_k : args.k;
  int64_t offsets[2] = {0, 0};
  if (args.count > 1) args.stack.at(t.index, offsets);
  t.few_offset = args.swapped ? offsets[1] : offsets[0];
  t.many_offset = args.swapped ? offsets[0] : offsets[1];
  return t;
}

template <class T>
GORGO_DEVICE void skinny_store(const SkinnyArgs& args, const SkinnyTask& t, int64_t few, int64_t many,
                               Accumulator<T> sum) {
  const int64_t at = few * args.out_few + many * args.out_many;
  if (args.parts > 1) {
    static_cast<Accumulator<T>*>(args.sums)[(t.part * args.count + t.index) * args.matrix + at] = sum;
  } else {
    if (args.bias != nullptr) {
      sum += widen(static_cast<const T*>(args.bias)[few * args.bias_few + many * args.bias_many]);
    }
    const int64_t to = t.index * args.matrix + at;
    static_cast<T*>(args.out)[to] = finished_at(args.finish, narrow<T>(sum), to);
  }
}

constexpr int kDotRows = 4;  // of the many, for each warp

// F rows of the few by four of the many for each warp; V elements of k for each lane at a time.
template <class T, int F, int V>
__global__ void __launch_bounds__(32 * kSkinnyWarps) dot_product(const __grid_constant__ SkinnyArgs args) {
  stream_pass();
  stream_wait();
  using Acc = Accumulator<T>;
  constexpr int kUnroll = F == 1 && sizeof(T) == 2 ? 4 : 2;  // rounds of loads in flight
  __shared__ Acc of_warps[kSkinnyWarps][F * kDotRows];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int groups = kSkinnyWarps / args.warps_k;  // of warps, with rows of their own
  const int group = warp / args.warps_k;
  const int slice = warp % args.warps_k;
  for (int64_t task = blockIdx.x; task < args.tasks; task += gridDim.x) {
    const SkinnyTask t = skinny_task(args, task, F);
    const int64_t many0 = (t.tile * groups + group) * kDotRows;
    const T* few = static_cast<const T*>(args.few) + t.few_offset + t.few0 * args.few_row;
    const T* many = static_cast<const T*>(args.many) + t.many_offset + many0 * args.many_row;
    Acc sums[F][kDotRows];
#pragma unroll
    for (int f = 0; f < F; ++f) {
#pragma unroll
      for (int r = 0; r < kDotRows; ++r) sums[f][r] = Acc{0};
    }
    const int64_t few_left = args.few_count - t.few0;
    const int64_t many_left = args.many_count - many0;
    if (many_left > 0) {
      const int64_t step = int64_t{args.warps_k} * 32 * V;
      // Rows that do not exist repeat the last one; nobody stores their sums.
      const auto take = [&](int64_t k, auto width) {
        constexpr int W = decltype(width)::value;
        Acc x[kDotRows][W];
#pragma unroll
        for (int r = 0; r < kDotRows; ++r) {
          load_some<T, W>(many + (r < many_left ? r : many_left - 1) * args.many_row + k * args.many_k, x[r]);
        }
#pragma unroll
        for (int f = 0; f < F; ++f) {
          Acc y[W];
          load_some<T, W>(few + (f < few_left ? f : few_left - 1) * args.few_row + k * args.few_k, y);
#pragma unroll
          for (int r = 0; r < kDotRows; ++r) {
#pragma unroll
            for (int i = 0; i < W; ++i) sums[f][r] = multiply_add(x[r][i], y[i], sums[f][r]);
          }
        }
      };
      int64_t k = t.k0 + (slice * 32 + lane) * V;
#pragma unroll kUnroll
      for (; k + V <= t.k_end; k += step) take(k, std::integral_constant<int, V>{});
      if constexpr (V > 1) {
        for (; k < t.k_end; ++k) take(k, std::integral_constant<int, 1>{});  // one lane's incomplete vector
      }
    }
#pragma unroll
    for (int f = 0; f < F; ++f) {
#pragma unroll
      for (int r = 0; r < kDotRows; ++r) {
#pragma unroll
        for (int o = 16; o > 0; o /= 2) sums[f][r] += __shfl_xor_sync(0xffffffffu, sums[f][r], o);
        if (lane == 0) of_warps[warp][f * kDotRows + r] = sums[f][r];
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < groups * F * kDotRows; i += 32 * kSkinnyWarps) {
      const int g = i / (F * kDotRows);
      const int e = i % (F * kDotRows);
      const int64_t f = t.few0 + e / kDotRows;
      const int64_t r = (t.tile * groups + g) * kDotRows + e % kDotRows;
      if (f >= args.few_count || r >= args.many_count) continue;
      Acc sum = of_warps[g * args.warps_k][e];
      for (int w = 1; w < args.warps_k; ++w) sum += of_warps[g * args.warps_k + w][e];
      skinny_store<T>(args, t, f, r, sum);
    }
    __syncthreads();
  }
}

// F rows of the few by 32 * V neighbouring ones of the many, which lie across k; the block's warps take every eighth k.
template <class T, int F, int V>
__global__ void __launch_bounds__(32 * kSkinnyWarps) axis_product(const __grid_constant__ SkinnyArgs args) {
  stream_pass();
  stream_wait();
  using Acc = Accumulator<T>;
  constexpr int kUnroll = F == 1 ? 8 : 4;  // loads in flight
  __shared__ Acc of_warps[kSkinnyWarps][32 * V];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  for (int64_t task = blockIdx.x; task < args.tasks; task += gridDim.x) {
    const SkinnyTask t = skinny_task(args, task, F);
    const int64_t many0 = t.tile * 32 * V;
    const int64_t mine = many0 + lane * V;
    const T* few = static_cast<const T*>(args.few) + t.few_offset + t.few0 * args.few_row;
    const T* many = static_cast<const T*>(args.many) + t.many_offset + mine * args.many_row;
    const int64_t few_left = args.few_count - t.few0;
    const bool whole = mine + V <= args.many_count;
    Acc sums[F][V];
#pragma unroll
    for (int f = 0; f < F; ++f) {
#pragma unroll
      for (int i = 0; i < V; ++i) sums[f][i] = Acc{0};
    }
#pragma unroll kUnroll
    for (int64_t k = t.k0 + warp; k < t.k_end; k += kSkinnyWarps) {
      Acc x[V];
      if (whole) {
        load_some<T, V>(many + k * args.many_k, x);
      } else {
#pragma unroll
        for (int i = 0; i < V; ++i) {
          x[i] = mine + i < args.many_count ? widen(many[k * args.many_k + i * args.many_row]) : Acc{0};
        }
      }
#pragma unroll
      for (int f = 0; f < F; ++f) {
        const Acc y = widen(few[(f < few_left ? f : few_left - 1) * args.few_row + k * args.few_k]);
#pragma unroll
        for (int i = 0; i < V; ++i) sums[f][i] = multiply_add(x[i], y, sums[f][i]);
      }
    }
#pragma unroll
    for (int f = 0; f < F; ++f) {
      __syncthreads();  // the last row's sums have been read
#pragma unroll
      for (int i = 0; i < V; ++i) of_warps[warp][lane * V + i] = sums[f][i];
      __syncthreads();
      for (int i = threadIdx.x; i < 32 * V; i += 32 * kSkinnyWarps) {
        if (t.few0 + f >= args.few_count || many0 + i >= args.many_count) continue;
        Acc sum = of_warps[0][i];
#pragma unroll
        for (int w = 1; w < kSkinnyWarps; ++w) sum += of_warps[w][i];
        skinny_store<T>(args, t, t.few0 + f, many0 + i, sum);
      }
    }
  }
}

#endif

// ---- host ----

inline bool skinny_suits(const Product& p) noexcept {
  return !p.empty() && p.k > 0 && (p.m <= kFewest || p.n <= kFewest);
}

// Parts of k for different blocks: by sizes alone, and the same bound for both kernels. Reading at the memory's full speed takes
// many warps, so parts may be short where there are few rows of the many.
inline int64_t skinny_parts(const Product& p) noexcept {
  constexpr int64_t kBlocks = 1024;  // wanted
  constexpr int64_t kLeast = 128;    // of k in a part
  const int64_t many = p.m <= p.n ? p.n : p.m;
  const int64_t blocks = ceil_div(many, 128) * p.count;
  if (blocks >= kBlocks || p.k < 4 * kLeast) return 1;
  const int64_t wanted = kBlocks / blocks;
  const int64_t most = p.k / kLeast;
  return wanted < most ? wanted : most;
}

template <class T>
size_t skinny_scratch(const Product& p) noexcept {
  const int64_t parts = skinny_suits(p) ? skinny_parts(p) : 1;
  return parts > 1 ? static_cast<size_t>(parts * p.count * p.m * p.n) * sizeof(Accumulator<T>) : 0;
}

template <class T, int F>
void launch_skinny_few(SkinnyArgs& args, bool along_k, bool vectors, cudaStream_t stream) noexcept {
  constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  args.few_tiles = ceil_div(args.few_count, F);
  const int64_t of_tile = along_k ? kSkinnyWarps / args.warps_k * kDotRows : 32 * (vectors ? kVector : 1);
  args.many_tiles = ceil_div(args.many_count, of_tile);
  args.tasks = args.many_tiles * args.few_tiles * args.count * args.parts;
  const unsigned grid = grid_of_tasks(args.tasks);
  constexpr int kThreads = 32 * kSkinnyWarps;
  if (along_k) {
    if (vectors) {
      launch_in_stream(dot_product<T, F, kVector>, grid, kThreads, 0, 1, stream, args);
    } else {
      launch_in_stream(dot_product<T, F, 1>, grid, kThreads, 0, 1, stream, args);
    }
  } else if (vectors) {
    launch_in_stream(axis_product<T, F, kVector>, grid, kThreads, 0, 1, stream, args);
  } else {
    launch_in_stream(axis_product<T, F, 1>, grid, kThreads, 0, 1, stream, args);
  }
}

// The product with its few and its many; k is not cut yet.
inline SkinnyArgs skinny_args(const Product& p, void* scratch) noexcept {
  SkinnyArgs args{};
  args.swapped = p.m > p.n;
  args.few = args.swapped ? p.b : p.a;
  args.many = args.swapped ? p.a : p.b;
  args.out = p.c;
  args.sums = scratch;
  args.bias = p.bias;
  args.finish = p.finish;
  args.few_count = args.swapped ? p.n : p.m;
  args.many_count = args.swapped ? p.m : p.n;
  args.k = p.k;
  args.few_row = args.swapped ? p.b_col : p.a_row;
  args.few_k = args.swapped ? p.b_row : p.a_col;
  args.many_row = args.swapped ? p.a_row : p.b_col;
  args.many_k = args.swapped ? p.a_col : p.b_row;
  args.out_few = args.swapped ? 1 : p.n;
  args.out_many = args.swapped ? p.n : 1;
  args.bias_few = args.swapped ? p.bias_stride : 0;
  args.bias_many = args.swapped ? 0 : p.bias_stride;
  args.matrix = p.m * p.n;
  args.count = p.count;
  args.stack = p.stack;
  args.parts = 1;
  args.part_k = p.k;
  args.warps_k = 1;
  // Lengths of one leave the stride free.
  if (args.few_count == 1) args.few_row = 0;
  if (args.many_count == 1) args.many_row = 0;
  return args;
}

inline bool skinny_along_k(const SkinnyArgs& args) noexcept {
  return args.many_count == 1 || llabs(args.many_k) <= llabs(args.many_row);
}

inline void skinny_cut(SkinnyArgs& args, int64_t parts) noexcept {
  args.parts = parts;
  args.part_k = args.k;
  if (parts > 1) {
    args.part_k = ceil_div(ceil_div(args.k, parts), 64) * 64;
    args.parts = ceil_div(args.k, args.part_k);
  }
}

// `scratch` has skinny_scratch<T>(p) bytes.
template <class T>
void launch_skinny(const Product& p, void* scratch, cudaStream_t stream) noexcept {
  SkinnyArgs args = skinny_args(p, scratch);
  const bool along_k = skinny_along_k(args);
  int64_t parts = skinny_parts(p);
  if (along_k) {
    // A warp has rows of its own, so that there is much to fetch at once; warps share k, and then blocks, only where rows are few.
    constexpr int64_t kBlocks = 256;
    const auto blocks = [&] { return ceil_div(args.many_count, kSkinnyWarps / args.warps_k * kDotRows) * p.count; };
    while (args.warps_k < kSkinnyWarps && blocks() < kBlocks && p.k > args.warps_k * 256) args.warps_k *= 2;
    const int64_t longer = p.k / 2048;
    parts = blocks() * 2 > kBlocks || longer < 1 ? 1 : longer < parts ? longer : parts;
  }
  skinny_cut(args, parts);
  // Sixteen bytes at once where every row begins aligned.
  constexpr int64_t kVector = 16 / static_cast<int64_t>(sizeof(T));
  const auto aligned = [](const void* x) { return reinterpret_cast<uintptr_t>(x) % 16 == 0; };
  bool vectors = aligned(args.many);
  if (along_k) {
    vectors = vectors && args.many_k == 1 && args.few_k == 1 && aligned(args.few) && args.many_row % kVector == 0 &&
              args.few_row % kVector == 0;
  } else {
    vectors = vectors && args.many_row == 1 && args.many_k % kVector == 0;
  }
  for (int i = 0; p.count > 1 && i < p.stack.rank; ++i) {
    const int64_t many_step = p.stack.strides[args.swapped ? 0 : 1][i];
    const int64_t few_step = p.stack.strides[args.swapped ? 1 : 0][i];
    vectors = vectors && many_step % kVector == 0 && (!along_k || few_step % kVector == 0);
  }
  if (args.few_count == 1) {
    launch_skinny_few<T, 1>(args, along_k, vectors, stream);
  } else if (args.few_count <= 4) {
    launch_skinny_few<T, 4>(args, along_k, vectors, stream);
  } else {
    launch_skinny_few<T, 8>(args, along_k, vectors, stream);
  }
  if (args.parts > 1) launch_sum_parts<T>(p, scratch, args.parts, stream);
}

}  // namespace gorgo::cuda
