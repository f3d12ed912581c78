// Products of 16-bit floats with at most sixteen rows or columns, on tensor cores (sm_80 on): the many are read once, from memory into
// registers, and multiplied there.
//
// Words are skinny.cuh's: the few are one tile of the units, 16 rows, of which some may not exist; a block has 32 of the many, its
// warps take turns along k. The units add up over k in any order, as long as both factors agree on it: so a lane fetches neighbours
// that fill sixteen or eight bytes and gives them to the units as they come, without a detour through shared memory. Where the many
// lie along k these are neighbours along k, otherwise neighbouring ones of the many, which pairs of k are then woven from.
// Invariant: warps and parts are added in one fixed order. Read next: skinny.cuh, mma.cuh.
#pragma once

#include "kernels/cuda/gemm/mma.cuh"
#include "kernels/cuda/gemm/skinny.cuh"

namespace gorgo::cuda {

constexpr int kFewMany = 32;  // of the many, for each block: four tiles of the units
constexpr int kFewTiles = kFewMany / 8;
constexpr int kFewWarps = 16;

#if defined(__CUDACC__)

// kAlongK: the many lie along k. kAll: there are more than eight of the few.
template <class T, bool kAlongK, bool kAll>
__global__ void __launch_bounds__(32 * kFewWarps) few_product(const __grid_constant__ SkinnyArgs args) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  // Of one warp at a time: 32 of k in two steps of the units, or 16 in one.
  constexpr int kStep = kAlongK ? 32 : 16;
  constexpr int kUnroll = kAlongK ? 2 : 4;
  using Load = std::conditional_t<kAlongK, uint4, uint2>;
  __shared__ float of_warps[kFewWarps][kFewTiles][16][8];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int g = lane / 4;
  const int t = lane % 4;
  stream_pass();
  stream_wait();
  for (int64_t task = blockIdx.x; task < args.tasks; task += gridDim.x) {
    const SkinnyTask at = skinny_task(args, task, 16);
    const int64_t many0 = at.tile * kFewMany;
    const T* const few = static_cast<const T*>(args.few) + at.few_offset;
    const T* const many = static_cast<const T*>(args.many) + at.many_offset;
    // Rows that do not exist repeat the last one; nobody stores their sums.
    const auto few_row = [&](int r) {
      return few + (r < args.few_count ? r : args.few_count - 1) * args.few_row + t * (kStep / 4);
    };
    const T* const few_low = few_row(g);
    const T* const few_high = few_row(g + 8);
    const T* from[kFewTiles];  // along k: of each tile; across: of each of four k
#pragma unroll
    for (int j = 0; j < kFewTiles; ++j) {
      if constexpr (kAlongK) {
        const int64_t r = many0 + 8 * j + g;
        from[j] = many + (r < args.many_count ? r : args.many_count - 1) * args.many_row + 8 * t;
      } else {
        const int64_t r = many0 + 4 * g;
        from[j] = many + (r + 4 <= args.many_count ? r : args.many_count - 4) + (4 * t + j) * args.many_k;
      }
    }
    float sums[kFewTiles][4];
#pragma unroll
    for (int j = 0; j < kFewTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[j][e] = 0.0f;
    }
    for (int64_t k = at.k0 + warp * kStep; k < at.k_end; k += kFewWarps * kStep * kUnroll) {
      Load x[kUnroll][kFewTiles];
      Load low[kUnroll];
      Load high[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int64_t here = k + u * kFewWarps * kStep;
        const bool inside = here + t * (kStep / 4) < at.k_end;  // k comes in whole loads
        low[u] = high[u] = Load{};
#pragma unroll
        for (int j = 0; j < kFewTiles; ++j) {
          x[u][j] = Load{};
          if (inside) x[u][j] = __ldg(reinterpret_cast<const Load*>(from[j] + here * args.many_k));
        }
        if (inside) low[u] = __ldg(reinterpret_cast<const Load*>(few_low + here));
        if (kAll && inside) high[u] = __ldg(reinterpret_cast<const Load*>(few_high + here));
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if constexpr (kAlongK) {
          const uint32_t first[4] = {low[u].x, high[u].x, low[u].y, high[u].y};
          const uint32_t second[4] = {low[u].z, high[u].z, low[u].w, high[u].w};
#pragma unroll
          for (int j = 0; j < kFewTiles; ++j) {
            multiply_fragments<T>(sums[j], first, x[u][j].x, x[u][j].y);
            multiply_fragments<T>(sums[j], second, x[u][j].z, x[u][j].w);
          }
        } else {
          const uint32_t left[4] = {low[u].x, high[u].x, low[u].y, high[u].y};
          const auto weave = [](uint32_t a, uint32_t b, bool upper) {
            return __byte_perm(a, b, upper ? 0x7632 : 0x5410);
          };
#pragma unroll
          for (int j = 0; j < kFewTiles; ++j) {
            const auto part = [&](int i) { return j < 2 ? x[u][i].x : x[u][i].y; };
            multiply_fragments<T>(sums[j], left, weave(part(0), part(1), j % 2 == 1),
                                  weave(part(2), part(3), j % 2 == 1));
          }
        }
      }
    }
    __syncthreads();  // the last task's sums have been read
#pragma unroll
    for (int j = 0; j < kFewTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) of_warps[warp][j][g + e / 2 * 8][2 * t + e % 2] = sums[j][e];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 16 * kFewMany; i += 32 * kFewWarps) {
      const int f = i / kFewMany;
      const int r = i % kFewMany;
      if (f >= args.few_count || many0 + r >= args.many_count) continue;
      const int tile = kAlongK ? r / 8 : r % 4;
      const int column = kAlongK ? r % 8 : r / 4;
      float sum = of_warps[0][tile][f][column];
#pragma unroll
      for (int w = 1; w < kFewWarps; ++w) sum += of_warps[w][tile][f][column];
      skinny_store<T>(args, at, f, many0 + r, sum);
    }
  }
#endif
}

#endif

// ---- host ----

// Whether the lanes' loads are whole and aligned.
template <class T>
bool few_suits(const Product& p) noexcept {
  static_assert(sizeof(T) == 2);
  if (!skinny_suits(p) || card().major < 8 || built_for() < Built::mma) return false;
  const SkinnyArgs args = skinny_args(p, nullptr);
  const bool along_k = skinny_along_k(args);
  const int64_t each = along_k ? 8 : 4;
  const auto whole = [&](const void* x, int64_t stride) {
    return reinterpret_cast<uintptr_t>(x) % static_cast<uintptr_t>(2 * each) == 0 && stride % each == 0;
  };
  bool suits = p.k % each == 0 && args.few_k == 1 && whole(args.few, args.few_row) &&
               (along_k ? args.many_k == 1 && whole(args.many, args.many_row)
                        : args.many_row == 1 && whole(args.many, args.many_k) && args.many_count % each == 0);
  for (int i = 0; p.count > 1 && i < p.stack.rank; ++i) {
    suits = suits && p.stack.strides[0][i] % each == 0 && p.stack.strides[1][i] % each == 0;
  }
  return suits;
}

// Parts of k for different blocks, where there are few; by sizes alone, and no more than skinny_parts.
inline int64_t few_parts(const Product& p) noexcept {
  constexpr int64_t kBlocks = 128;  // wanted
  constexpr int64_t kLeast = 1024;  // of k in a part
  const int64_t blocks = ceil_div(p.m <= p.n ? p.n : p.m, kFewMany) * p.count;
  const int64_t wanted = kBlocks / blocks;
  const int64_t longest = p.k / kLeast;
  const int64_t most = skinny_parts(p);
  int64_t parts = wanted < longest ? wanted : longest;
  if (parts > most) parts = most;
  return parts < 1 ? 1 : parts;
}

// `scratch` has skinny_scratch<T>(p) bytes.
template <class T>
void launch_few(const Product& p, void* scratch, cudaStream_t stream) noexcept {
  SkinnyArgs args = skinny_args(p, scratch);
  skinny_cut(args, few_parts(p));
  args.few_tiles = 1;
  args.many_tiles = ceil_div(args.many_count, kFewMany);
  args.tasks = args.many_tiles * args.count * args.parts;
  const unsigned grid = grid_of_tasks(args.tasks);
  constexpr int kThreads = 32 * kFewWarps;
  const bool all = args.few_count > 8;
  if (skinny_along_k(args)) {
    launch_in_stream(all ? few_product<T, true, true> : few_product<T, true, false>, grid, kThreads, 0, 1, stream,
                     args);
  } else {
    launch_in_stream(all ? few_product<T, false, true> : few_product<T, false, false>, grid, kThreads, 0, 1, stream,
                     args);
  }
  if (args.parts > 1) launch_sum_parts<T>(p, scratch, args.parts, stream);
}

}  // namespace gorgo::cuda
