// Small float32 products whose k is long: what takes time there is not arithmetic but waiting, so k is shared out among the warps of a
// block, and on Hopper among the blocks of a cluster; each fetches a long stretch of k at once.
//
// A block has 16 x 16 or 32 x 32 results, its four groups of 64 threads take turns along k, with 2 x 2 or 4 x 4 sums each thread. The
// blocks of a team have consecutive parts of k. Invariant: a result is the sum of its parts in the order of teams, of groups, and of k
// within them, which sizes and the card's generation decide; what lies beyond k adds 0 * 0. Read next: small.cuh, gemm.cuh.
#pragma once

#include "kernels/cuda/gemm/product.cuh"
#include "kernels/cuda/gemm/simt.cuh"

namespace gorgo::cuda {

constexpr int kLongThreads = 256;
constexpr int kLongGroups = 4;
constexpr int kMostLongTeam = 8;

#if defined(__CUDACC__)

// A stretch of a factor through registers into shared memory, for kPer * 8 rows. It lies there as in memory: in rows along k, or in
// columns; neighbouring threads read neighbours, and several neighbours leave shared memory at once.
template <int kPer, bool kAlongK>
struct LongStretch {
  static constexpr int kTile = 8 * kPer;
  static constexpr int kDepth = 4096 / kTile;
  static constexpr int kCount = kTile * kDepth / kLongThreads;
  static constexpr int kPitch = (kAlongK ? kDepth : kTile) + 4;  // neighbours begin four banks apart
  static constexpr int kFloats = kPitch * (kAlongK ? kTile : kDepth);
  static constexpr int kOneRound = kLongThreads / (kAlongK ? kDepth : kTile);  // rows, or k, of a round of loads

  const float* at;
  int64_t step;  // between the thread's elements
  int64_t next;  // to the next stretch
  int rows;      // of the tile that exist
  float part[kCount];

  GORGO_DEVICE LongStretch(const float* x, int64_t row0, int64_t all_rows, int64_t row_stride, int64_t k_stride) {
    at = x + (row0 + row(0)) * row_stride + depth(0) * k_stride;
    step = kOneRound * (kAlongK ? row_stride : k_stride);
    next = kDepth * k_stride;
    rows = static_cast<int>(all_rows - row0 < kTile ? all_rows - row0 : kTile);
  }
  GORGO_DEVICE static int row(int i) { return kAlongK ? threadIdx.x / kDepth + kOneRound * i : threadIdx.x % kTile; }
  GORGO_DEVICE static int depth(int i) { return kAlongK ? threadIdx.x % kDepth : threadIdx.x / kTile + kOneRound * i; }
  GORGO_DEVICE void load(int64_t depths) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) part[i] = row(i) < rows && depth(i) < depths ? at[i * step] : 0.0f;
    at += next;
  }
  GORGO_DEVICE void store(float* tile) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) tile[kAlongK ? row(i) * kPitch + depth(i) : depth(i) * kPitch + row(i)] = part[i];
  }
  // The i-th row of thread `t` of eight, and four k of its rows.
  GORGO_DEVICE static int row_of(int t, int i) { return kAlongK ? t + 8 * i : kPer * t + i; }
  GORGO_DEVICE static void take(const float* tile, int t, int k, float (&v)[kPer][4]) {
    if constexpr (kAlongK) {
#pragma unroll
      for (int i = 0; i < kPer; ++i) {
        const float4 x = *reinterpret_cast<const float4*>(&tile[(t + 8 * i) * kPitch + k]);
        v[i][0] = x.x;
        v[i][1] = x.y;
        v[i][2] = x.z;
        v[i][3] = x.w;
      }
    } else {
      struct alignas(4 * kPer) Neighbours {
        float v[kPer];
      };
#pragma unroll
      for (int d = 0; d < 4; ++d) {
        const Neighbours x = *reinterpret_cast<const Neighbours*>(&tile[(k + d) * kPitch + kPer * t]);
#pragma unroll
        for (int i = 0; i < kPer; ++i) v[i][d] = x.v[i];
      }
    }
  }
};

// args.parts: blocks of a team.
template <int kPer, bool kAlongKA, bool kAlongKB>
__global__ void __launch_bounds__(kLongThreads, 2) long_product(const __grid_constant__ SimtArgs args) {
  using A = LongStretch<kPer, kAlongKA>;
  using B = LongStretch<kPer, kAlongKB>;
  constexpr int kTile = A::kTile;
  constexpr int kDepth = A::kDepth;
  constexpr int kQuads = kTile / 4;  // of a row of results
  constexpr int kPitch = kTile + 4;  // of the groups' sums
  static_assert(kLongGroups * kTile * kPitch <= A::kFloats + B::kFloats);
  __shared__ alignas(16) float tiles[A::kFloats + B::kFloats];
  float* const tile_b = tiles + A::kFloats;
  const Product& p = args.p;
  const int team = static_cast<int>(args.parts);
  const int rank = team > 1 ? static_cast<int>(blockIdx.x) % team : 0;
  const int group = threadIdx.x / 64;
  const int tx = threadIdx.x % 8;
  const int ty = threadIdx.x / 8 % 8;
#if GORGO_WGMMA
  __shared__ alignas(16) float sent[kTile * kTile];  // from the blocks of the team
  if (team > 1) cluster_arrive();
#endif
  stream_pass();
  stream_wait();
  // A team of several blocks is there for its tile alone.
  for (int64_t task = blockIdx.x / team; task < args.tasks; task += gridDim.x / team) {
    const int64_t tiles_of_one = args.row_tiles * args.column_tiles;
    const int64_t index = task / tiles_of_one;
    const int64_t tile = task - index * tiles_of_one;
    const int64_t row0 = tile / args.column_tiles * kTile;
    const int64_t column0 = tile % args.column_tiles * kTile;
    int64_t offsets[2] = {0, 0};
    if (p.count > 1) p.stack.at(index, offsets);
    const int64_t k0 = rank * args.part_k;
    int64_t left = (k0 + args.part_k < p.k ? k0 + args.part_k : p.k) - k0;
    A a(static_cast<const float*>(p.a) + offsets[0] + k0 * p.a_col, row0, p.m, p.a_row, p.a_col);
    B b(static_cast<const float*>(p.b) + offsets[1] + k0 * p.b_row, column0, p.n, p.b_col, p.b_row);
    float sums[kPer][kPer];
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
#pragma unroll
      for (int j = 0; j < kPer; ++j) sums[i][j] = 0.0f;
    }
    if (left > 0) {
      a.load(left);
      b.load(left);
    }
    while (left > 0) {
      __syncthreads();  // everybody has read what is overwritten now
      a.store(tiles);
      b.store(tile_b);
      __syncthreads();
      const int here = static_cast<int>(left < kDepth ? left : kDepth);
      left -= kDepth;
      if (left > 0) {  // on their way while the stretch is multiplied
        a.load(left);
        b.load(left);
      }
#pragma unroll 2
      for (int k = 4 * group; k < here; k += 4 * kLongGroups) {
        float u[kPer][4];
        float v[kPer][4];
        A::take(tiles, ty, k, u);
        B::take(tile_b, tx, k, v);
#pragma unroll
        for (int d = 0; d < 4; ++d) {
#pragma unroll
          for (int i = 0; i < kPer; ++i) {
#pragma unroll
            for (int j = 0; j < kPer; ++j) sums[i][j] = fmaf(u[i][d], v[j][d], sums[i][j]);
          }
        }
      }
    }
    // The groups' sums, then the team's. From here on a thread has four neighbours of one row, if there is one for it.
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
#pragma unroll
      for (int j = 0; j < kPer; ++j) {
        tiles[(group * kTile + A::row_of(ty, i)) * kPitch + B::row_of(tx, j)] = sums[i][j];
      }
    }
    __syncthreads();
    const int quad = static_cast<int>(threadIdx.x) % kQuads;
    int row = static_cast<int>(threadIdx.x) / kQuads;
    bool stores = row < kTile;
    float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
    const auto add = [&](const float* from) {
      const float4 x = *reinterpret_cast<const float4*>(from);
      sum.x += x.x;
      sum.y += x.y;
      sum.z += x.z;
      sum.w += x.w;
    };
    if (stores) {
#pragma unroll
      for (int g = 0; g < kLongGroups; ++g) add(&tiles[(g * kTile + row) * kPitch + 4 * quad]);
    }
#if GORGO_WGMMA
    if (team > 1) {
      const int rows = kTile / team;  // that each block of the team adds up
      const float v[4] = {sum.x, sum.y, sum.z, sum.w};
      cluster_wait();
      if (stores) {
        const int to = ((rank * rows + row % rows) * kQuads + quad) * 16;
        store_there(address_in(shared_address(sent) + to, row / rows), v);
      }
      cluster_sync();
      stores = row < rows;
      if (stores) {
        sum = {0.0f, 0.0f, 0.0f, 0.0f};
        for (int q = 0; q < team; ++q) add(&sent[(q * rows + row) * kTile + 4 * quad]);
        row += rank * rows;
      }
    }
#endif
    const int64_t column = column0 + 4 * quad;
    if (stores && row0 + row < p.m) {
      float v[4] = {sum.x, sum.y, sum.z, sum.w};
      const int64_t to = (index * p.m + row0 + row) * p.n + column;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (column + j >= p.n) break;
        if (p.bias != nullptr) v[j] += static_cast<const float*>(p.bias)[(column + j) * p.bias_stride];
        static_cast<float*>(p.c)[to + j] = finished_at(p.finish, v[j], to + j);
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

// Blocks of a team: enough to occupy a large card where there are few tiles, by sizes and the card's generation. A team costs about a
// microsecond, in which a block comes `least` further along k.
inline int long_team(const Product& p, int64_t tiles, int64_t least) noexcept {
  constexpr int64_t kBlocks = 128;  // wanted
  if (!cluster_here()) return 1;
  int team = 1;
  while (team < kMostLongTeam && tiles * team * 2 <= kBlocks && p.k >= 2 * team * least) team *= 2;
  return team;
}

template <int kPer>
void launch_long_tiles(const Product& p, int64_t least, cudaStream_t stream) noexcept {
  SimtArgs args{};
  args.p = p;
  args.row_tiles = ceil_div(p.m, 8 * kPer);
  args.column_tiles = ceil_div(p.n, 8 * kPer);
  args.tasks = args.row_tiles * args.column_tiles * p.count;
  const int team = long_team(p, args.tasks, least);
  args.part_k = ceil_div(ceil_div(p.k, team), 4 * kLongGroups) * 4 * kLongGroups;
  args.parts = team;
  const unsigned grid = grid_of_tasks(args.tasks) * static_cast<unsigned>(team);
  const bool a_along_k = llabs(p.a_col) <= llabs(p.a_row);
  const bool b_along_k = llabs(p.b_row) <= llabs(p.b_col);
  if (a_along_k && b_along_k) {
    launch_in_stream(long_product<kPer, true, true>, grid, kLongThreads, 0, team, stream, args);
  } else if (a_along_k) {
    launch_in_stream(long_product<kPer, true, false>, grid, kLongThreads, 0, team, stream, args);
  } else if (b_along_k) {
    launch_in_stream(long_product<kPer, false, true>, grid, kLongThreads, 0, team, stream, args);
  } else {
    launch_in_stream(long_product<kPer, false, false>, grid, kLongThreads, 0, team, stream, args);
  }
}

template <class T>
  requires std::is_same_v<T, float>
void launch_long(const Product& p, cudaStream_t stream) noexcept {
  constexpr int64_t kMostSmallTiles = 264;
  if (ceil_div(p.m, 16) * ceil_div(p.n, 16) * p.count <= kMostSmallTiles) {
    constexpr int64_t kAlone = 256;  // of k, for which a team is not worth its microsecond
    launch_long_tiles<2>(p, p.k > kAlone ? 128 : p.k, stream);
  } else {
    launch_long_tiles<4>(p, 64, stream);
  }
}

}  // namespace gorgo::cuda
