// Small float32 products: what takes time there is not arithmetic but waiting, so k is shared out among the warps of a block, and on
// Hopper among the blocks of a cluster; each fetches a long stretch of k at once.
//
// A block has 32 x 32 results, its four groups of 64 threads take turns along k, with 4 x 4 sums each thread. The blocks of a team
// have consecutive parts of k. Invariant: a result is the sum of its parts in the order of teams, of groups, and of k within them,
// which sizes and the card's generation decide; what lies beyond k adds 0 * 0. Read next: gemm.cuh.
#pragma once

#include "kernels/cuda/gemm/product.cuh"
#include "kernels/cuda/gemm/simt.cuh"

namespace gorgo::cuda {

constexpr int kSmallTile = 32;
constexpr int kSmallThreads = 256;
constexpr int kSmallDepth = 128;
constexpr int kSmallGroups = 4;
constexpr int kSmallPitchAlong = kSmallDepth + 4;  // rows begin four banks apart
constexpr int kSmallPitchAcross = kSmallTile + 4;
constexpr int kSmallStretch = 4608;  // floats: 32 rows or 128 columns
constexpr int kMostSmallTeam = 8;

// Beyond this the larger tiles of simt.cuh read less of shared memory for each multiply-add.
constexpr double kSmallWork = 512.0 * 512.0 * 384.0;

inline bool small_suits(const Product& p) noexcept { return p.work() <= kSmallWork; }

#if defined(__CUDACC__)

// A 32 x 128 stretch of a factor through registers into shared memory. It lies there as in memory: along k in rows of 128, otherwise
// in columns of 32; neighbouring threads read neighbours, and four neighbours leave shared memory at once.
template <bool kAlongK>
struct SmallStretch {
  static constexpr int kCount = kSmallTile * kSmallDepth / kSmallThreads;

  const float* at;
  int64_t step;  // between the thread's elements
  int64_t next;  // to the next stretch
  int rows;      // of the tile that exist
  float part[kCount];

  GORGO_DEVICE SmallStretch(const float* x, int64_t row0, int64_t all_rows, int64_t row_stride, int64_t k_stride) {
    at = x + (row0 + row(0)) * row_stride + depth(0) * k_stride;
    step = kAlongK ? 2 * row_stride : 8 * k_stride;
    next = kSmallDepth * k_stride;
    rows = static_cast<int>(all_rows - row0 < kSmallTile ? all_rows - row0 : kSmallTile);
  }
  GORGO_DEVICE static int row(int i) { return kAlongK ? threadIdx.x / kSmallDepth + 2 * i : threadIdx.x % kSmallTile; }
  GORGO_DEVICE static int depth(int i) {
    return kAlongK ? threadIdx.x % kSmallDepth : threadIdx.x / kSmallTile + 8 * i;
  }
  GORGO_DEVICE void load(int64_t depths) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) part[i] = row(i) < rows && depth(i) < depths ? at[i * step] : 0.0f;
    at += next;
  }
  GORGO_DEVICE void store(float* tile) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      tile[kAlongK ? row(i) * kSmallPitchAlong + depth(i) : depth(i) * kSmallPitchAcross + row(i)] = part[i];
    }
  }
  // The i-th row of thread `t` of eight, and four k of its four rows.
  GORGO_DEVICE static int row_of(int t, int i) { return kAlongK ? t + 8 * i : 4 * t + i; }
  GORGO_DEVICE static void take(const float* tile, int t, int k, float (&v)[4][4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float4 x = *reinterpret_cast<const float4*>(
          &tile[kAlongK ? (t + 8 * i) * kSmallPitchAlong + k : (k + i) * kSmallPitchAcross + 4 * t]);
      const float u[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) v[kAlongK ? i : j][kAlongK ? j : i] = u[j];
    }
  }
};

// args.parts: blocks of a team.
template <bool kAlongKA, bool kAlongKB>
__global__ void __launch_bounds__(kSmallThreads, 2) small_product(const __grid_constant__ SimtArgs args) {
  __shared__ alignas(16) float tiles[2 * kSmallStretch];
  __shared__ alignas(16) float sent[kSmallTile * kSmallTile];  // from the blocks of the team
  const Product& p = args.p;
  const int team = static_cast<int>(args.parts);
  const int rank = team > 1 ? static_cast<int>(blockIdx.x) % team : 0;
  const int group = threadIdx.x / 64;
  const int tx = threadIdx.x % 8;
  const int ty = threadIdx.x / 8 % 8;
#if GORGO_WGMMA
  if (team > 1) cluster_arrive();
#endif
  stream_pass();
  stream_wait();
  // A team of several blocks is there for its tile alone.
  for (int64_t task = blockIdx.x / team; task < args.tasks; task += gridDim.x / team) {
    const int64_t tiles_of_one = args.row_tiles * args.column_tiles;
    const int64_t index = task / tiles_of_one;
    const int64_t tile = task - index * tiles_of_one;
    const int64_t row0 = tile / args.column_tiles * kSmallTile;
    const int64_t column0 = tile % args.column_tiles * kSmallTile;
    int64_t offsets[2] = {0, 0};
    if (p.count > 1) p.stack.at(index, offsets);
    const int64_t k0 = rank * args.part_k;
    int64_t left = (k0 + args.part_k < p.k ? k0 + args.part_k : p.k) - k0;
    SmallStretch<kAlongKA> a(static_cast<const float*>(p.a) + offsets[0] + k0 * p.a_col, row0, p.m, p.a_row, p.a_col);
    SmallStretch<kAlongKB> b(static_cast<const float*>(p.b) + offsets[1] + k0 * p.b_row, column0, p.n, p.b_col,
                             p.b_row);
    float sums[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[i][j] = 0.0f;
    }
    if (left > 0) {
      a.load(left);
      b.load(left);
    }
    while (left > 0) {
      __syncthreads();  // everybody has read what is overwritten now
      a.store(tiles);
      b.store(tiles + kSmallStretch);
      __syncthreads();
      const int here = static_cast<int>(left < kSmallDepth ? left : kSmallDepth);
      left -= kSmallDepth;
      if (left > 0) {  // on their way while the stretch is multiplied
        a.load(left);
        b.load(left);
      }
#pragma unroll 2
      for (int k = 4 * group; k < here; k += 4 * kSmallGroups) {
        float u[4][4];
        float v[4][4];
        SmallStretch<kAlongKA>::take(tiles, ty, k, u);
        SmallStretch<kAlongKB>::take(tiles + kSmallStretch, tx, k, v);
#pragma unroll
        for (int d = 0; d < 4; ++d) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(u[i][d], v[j][d], sums[i][j]);
          }
        }
      }
    }
    // The groups' sums, then the team's. From here on a thread has four neighbours of one row.
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int row = SmallStretch<kAlongKA>::row_of(ty, i);
        tiles[(group * kSmallTile + row) * kSmallPitchAcross + SmallStretch<kAlongKB>::row_of(tx, j)] = sums[i][j];
      }
    }
    __syncthreads();
    int row = threadIdx.x / 8;
    float4 sum = *reinterpret_cast<const float4*>(&tiles[row * kSmallPitchAcross + 4 * tx]);
    const auto add = [&](const float4& x) {
      sum.x += x.x;
      sum.y += x.y;
      sum.z += x.z;
      sum.w += x.w;
    };
#pragma unroll
    for (int g = 1; g < kSmallGroups; ++g) {
      add(*reinterpret_cast<const float4*>(&tiles[(g * kSmallTile + row) * kSmallPitchAcross + 4 * tx]));
    }
    bool stores = true;
#if GORGO_WGMMA
    if (team > 1) {
      const int rows = kSmallTile / team;  // that each block of the team adds up
      const float v[4] = {sum.x, sum.y, sum.z, sum.w};
      cluster_wait();
      store_there(address_in(shared_address(sent) + ((rank * rows + row % rows) * 8 + tx) * 16, row / rows), v);
      cluster_sync();
      stores = row < rows;
      if (stores) {
        sum = *reinterpret_cast<const float4*>(&sent[row * kSmallTile + 4 * tx]);
        for (int q = 1; q < team; ++q) {
          add(*reinterpret_cast<const float4*>(&sent[(q * rows + row) * kSmallTile + 4 * tx]));
        }
        row += rank * rows;
      }
    }
#endif
    const int64_t column = column0 + 4 * tx;
    if (stores && row0 + row < p.m) {
      float v[4] = {sum.x, sum.y, sum.z, sum.w};
      float* to = static_cast<float*>(p.c) + (index * p.m + row0 + row) * p.n + column;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (column + j >= p.n) break;
        if (p.bias != nullptr) v[j] += static_cast<const float*>(p.bias)[(column + j) * p.bias_stride];
        to[j] = v[j];
      }
    }
  }
}

#endif

// Blocks of a team: enough to occupy a large card where there are few tiles, by sizes and the card's generation.
inline int small_team(const Product& p, int64_t tiles) noexcept {
  constexpr int64_t kBlocks = 128;  // wanted
  constexpr int64_t kLeast = 32;    // of k in a part
  if (!cluster_here()) return 1;
  int team = 1;
  while (team < kMostSmallTeam && tiles * team * 2 <= kBlocks && p.k >= 2 * team * kLeast) team *= 2;
  return team;
}

inline void launch_small(const Product& p, cudaStream_t stream) noexcept {
  SimtArgs args{};
  args.p = p;
  args.row_tiles = ceil_div(p.m, kSmallTile);
  args.column_tiles = ceil_div(p.n, kSmallTile);
  args.tasks = args.row_tiles * args.column_tiles * p.count;
  const int team = small_team(p, args.tasks);
  args.part_k = ceil_div(ceil_div(p.k, team), 4 * kSmallGroups) * 4 * kSmallGroups;
  args.parts = team;
  const unsigned grid = grid_of_tasks(args.tasks) * static_cast<unsigned>(team);
  const bool a_along_k = llabs(p.a_col) <= llabs(p.a_row);
  const bool b_along_k = llabs(p.b_row) <= llabs(p.b_col);
  if (a_along_k && b_along_k) {
    launch_in_stream(small_product<true, true>, grid, kSmallThreads, 0, team, stream, args);
  } else if (a_along_k) {
    launch_in_stream(small_product<true, false>, grid, kSmallThreads, 0, team, stream, args);
  } else if (b_along_k) {
    launch_in_stream(small_product<false, true>, grid, kSmallThreads, 0, team, stream, args);
  } else {
    launch_in_stream(small_product<false, false>, grid, kSmallThreads, 0, team, stream, args);
  }
}

}  // namespace gorgo::cuda
