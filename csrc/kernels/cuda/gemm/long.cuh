// Small float32 products whose k is long: what takes time there is not arithmetic but waiting, so k is shared out among the warps of a
// block, and on Hopper among the blocks of a cluster; each fetches a long stretch of k at once.
//
// A block has 32 x 32 results, its four groups of 64 threads take turns along k, with 4 x 4 sums each thread. The blocks of a team
// have consecutive parts of k. Invariant: a result is the sum of its parts in the order of teams, of groups, and of k within them,
// which sizes and the card's generation decide; what lies beyond k adds 0 * 0. Read next: small.cuh, gemm.cuh.
#pragma once

#include "kernels/cuda/gemm/product.cuh"
#include "kernels/cuda/gemm/simt.cuh"

namespace gorgo::cuda {

constexpr int kLongTile = 32;
constexpr int kLongThreads = 256;
constexpr int kLongDepth = 128;
constexpr int kLongGroups = 4;
constexpr int kLongPitchAlong = kLongDepth + 4;  // rows begin four banks apart
constexpr int kLongPitchAcross = kLongTile + 4;
constexpr int kLongStretch = 4608;  // floats: 32 rows or 128 columns
constexpr int kMostLongTeam = 8;

#if defined(__CUDACC__)

// A 32 x 128 stretch of a factor through registers into shared memory. It lies there as in memory: along k in rows of 128, otherwise
// in columns of 32; neighbouring threads read neighbours, and four neighbours leave shared memory at once.
template <bool kAlongK>
struct LongStretch {
  static constexpr int kCount = kLongTile * kLongDepth / kLongThreads;

  const float* at;
  int64_t step;  // between the thread's elements
  int64_t next;  // to the next stretch
  int rows;      // of the tile that exist
  float part[kCount];

  GORGO_DEVICE LongStretch(const float* x, int64_t row0, int64_t all_rows, int64_t row_stride, int64_t k_stride) {
    at = x + (row0 + row(0)) * row_stride + depth(0) * k_stride;
    step = kAlongK ? 2 * row_stride : 8 * k_stride;
    next = kLongDepth * k_stride;
    rows = static_cast<int>(all_rows - row0 < kLongTile ? all_rows - row0 : kLongTile);
  }
  GORGO_DEVICE static int row(int i) { return kAlongK ? threadIdx.x / kLongDepth + 2 * i : threadIdx.x % kLongTile; }
  GORGO_DEVICE static int depth(int i) { return kAlongK ? threadIdx.x % kLongDepth : threadIdx.x / kLongTile + 8 * i; }
  GORGO_DEVICE void load(int64_t depths) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) part[i] = row(i) < rows && depth(i) < depths ? at[i * step] : 0.0f;
    at += next;
  }
  GORGO_DEVICE void store(float* tile) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      tile[kAlongK ? row(i) * kLongPitchAlong + depth(i) : depth(i) * kLongPitchAcross + row(i)] = part[i];
    }
  }
  // The i-th row of thread `t` of eight, and four k of its four rows.
  GORGO_DEVICE static int row_of(int t, int i) { return kAlongK ? t + 8 * i : 4 * t + i; }
  GORGO_DEVICE static void take(const float* tile, int t, int k, float (&v)[4][4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float4 x = *reinterpret_cast<const float4*>(
          &tile[kAlongK ? (t + 8 * i) * kLongPitchAlong + k : (k + i) * kLongPitchAcross + 4 * t]);
      const float u[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) v[kAlongK ? i : j][kAlongK ? j : i] = u[j];
    }
  }
};

// args.parts: blocks of a team.
template <bool kAlongKA, bool kAlongKB>
__global__ void __launch_bounds__(kLongThreads, 2) long_product(const __grid_constant__ SimtArgs args) {
  __shared__ alignas(16) float tiles[2 * kLongStretch];
  __shared__ alignas(16) float sent[kLongTile * kLongTile];  // from the blocks of the team
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
    const int64_t row0 = tile / args.column_tiles * kLongTile;
    const int64_t column0 = tile % args.column_tiles * kLongTile;
    int64_t offsets[2] = {0, 0};
    if (p.count > 1) p.stack.at(index, offsets);
    const int64_t k0 = rank * args.part_k;
    int64_t left = (k0 + args.part_k < p.k ? k0 + args.part_k : p.k) - k0;
    LongStretch<kAlongKA> a(static_cast<const float*>(p.a) + offsets[0] + k0 * p.a_col, row0, p.m, p.a_row, p.a_col);
    LongStretch<kAlongKB> b(static_cast<const float*>(p.b) + offsets[1] + k0 * p.b_row, column0, p.n, p.b_col, p.b_row);
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
      b.store(tiles + kLongStretch);
      __syncthreads();
      const int here = static_cast<int>(left < kLongDepth ? left : kLongDepth);
      left -= kLongDepth;
      if (left > 0) {  // on their way while the stretch is multiplied
        a.load(left);
        b.load(left);
      }
#pragma unroll 2
      for (int k = 4 * group; k < here; k += 4 * kLongGroups) {
        float u[4][4];
        float v[4][4];
        LongStretch<kAlongKA>::take(tiles, ty, k, u);
        LongStretch<kAlongKB>::take(tiles + kLongStretch, tx, k, v);
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
        const int row = LongStretch<kAlongKA>::row_of(ty, i);
        tiles[(group * kLongTile + row) * kLongPitchAcross + LongStretch<kAlongKB>::row_of(tx, j)] = sums[i][j];
      }
    }
    __syncthreads();
    int row = threadIdx.x / 8;
    float4 sum = *reinterpret_cast<const float4*>(&tiles[row * kLongPitchAcross + 4 * tx]);
    const auto add = [&](const float4& x) {
      sum.x += x.x;
      sum.y += x.y;
      sum.z += x.z;
      sum.w += x.w;
    };
#pragma unroll
    for (int g = 1; g < kLongGroups; ++g) {
      add(*reinterpret_cast<const float4*>(&tiles[(g * kLongTile + row) * kLongPitchAcross + 4 * tx]));
    }
    bool stores = true;
#if GORGO_WGMMA
    if (team > 1) {
      const int rows = kLongTile / team;  // that each block of the team adds up
      const float v[4] = {sum.x, sum.y, sum.z, sum.w};
      cluster_wait();
      store_there(address_in(shared_address(sent) + ((rank * rows + row % rows) * 8 + tx) * 16, row / rows), v);
      cluster_sync();
      stores = row < rows;
      if (stores) {
        sum = *reinterpret_cast<const float4*>(&sent[row * kLongTile + 4 * tx]);
        for (int q = 1; q < team; ++q) {
          add(*reinterpret_cast<const float4*>(&sent[(q * rows + row) * kLongTile + 4 * tx]));
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

// Against small.cuh, whose blocks are smaller and begin at once; by sizes alone.
inline bool long_pays(const Product& p) noexcept {
  constexpr int64_t kShort = 128;
  constexpr int64_t kMostSmallTiles = 264;
  return p.k > kShort || ceil_div(p.m, 16) * ceil_div(p.n, 16) * p.count > kMostSmallTiles;
}

// Blocks of a team: enough to occupy a large card where there are few tiles, by sizes and the card's generation.
inline int long_team(const Product& p, int64_t tiles) noexcept {
  constexpr int64_t kBlocks = 128;  // wanted
  constexpr int64_t kLeast = 32;    // of k in a part
  if (!cluster_here()) return 1;
  int team = 1;
  while (team < kMostLongTeam && tiles * team * 2 <= kBlocks && p.k >= 2 * team * kLeast) team *= 2;
  return team;
}

template <class T>
  requires std::is_same_v<T, float>
void launch_long(const Product& p, cudaStream_t stream) noexcept {
  SimtArgs args{};
  args.p = p;
  args.row_tiles = ceil_div(p.m, kLongTile);
  args.column_tiles = ceil_div(p.n, kLongTile);
  args.tasks = args.row_tiles * args.column_tiles * p.count;
  const int team = long_team(p, args.tasks);
  args.part_k = ceil_div(ceil_div(p.k, team), 4 * kLongGroups) * 4 * kLongGroups;
  args.parts = team;
  const unsigned grid = grid_of_tasks(args.tasks) * static_cast<unsigned>(team);
  const bool a_along_k = llabs(p.a_col) <= llabs(p.a_row);
  const bool b_along_k = llabs(p.b_row) <= llabs(p.b_col);
  if (a_along_k && b_along_k) {
    launch_in_stream(long_product<true, true>, grid, kLongThreads, 0, team, stream, args);
  } else if (a_along_k) {
    launch_in_stream(long_product<true, false>, grid, kLongThreads, 0, team, stream, args);
  } else if (b_along_k) {
    launch_in_stream(long_product<false, true>, grid, kLongThreads, 0, team, stream, args);
  } else {
    launch_in_stream(long_product<false, false>, grid, kLongThreads, 0, team, stream, args);
  }
}

}  // namespace gorgo::cuda
