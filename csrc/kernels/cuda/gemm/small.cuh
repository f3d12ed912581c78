// Small float32 products: blocks of 16 x 16 results, so that even a product of a few thousand elements keeps many multiprocessors
// busy, and a long stretch of k at a time, so that few loads wait for one another.
//
// Invariant: as in simt.cuh, each element's sum runs over k in order; what lies beyond k adds 0 * 0. Read next: long.cuh, gemm.cuh.
#pragma once

#include "kernels/cuda/gemm/product.cuh"
#include "kernels/cuda/gemm/simt.cuh"

namespace gorgo::cuda {

constexpr int kSmallTile = 16;
constexpr int kSmallThreads = kSmallTile * kSmallTile;  // one element each
constexpr int kSmallDepth = 128;
constexpr int kSmallPitch = kSmallDepth + 4;  // rows begin four banks apart

// Beyond this the larger tiles of simt.cuh read less of shared memory for each multiply-add.
constexpr double kSmallWork = 512.0 * 512.0 * 512.0;

inline bool small_suits(const Product& p) noexcept { return p.work() <= kSmallWork; }

// A 16 x 128 stretch of a factor through registers; neighbouring threads read along the axis with the shorter step.
struct SmallStretch {
  static constexpr int kCount = kSmallTile * kSmallDepth / kSmallThreads;

  const float* at;
  int64_t step;  // between the thread's elements
  int64_t next;  // to the next stretch
  int rows;      // of the tile that exist
  bool along_k;
  float part[kCount];

  GORGO_DEVICE SmallStretch(const float* x, int64_t row0, int64_t all_rows, int64_t row_stride, int64_t k_stride) {
    along_k = llabs(k_stride) <= llabs(row_stride);
    at = x + (row0 + row(0)) * row_stride + depth(0) * k_stride;
    step = along_k ? 2 * row_stride : kSmallTile * k_stride;
    next = kSmallDepth * k_stride;
    rows = static_cast<int>(all_rows - row0 < kSmallTile ? all_rows - row0 : kSmallTile);
  }
  GORGO_DEVICE int row(int i) const { return along_k ? threadIdx.x / kSmallDepth + 2 * i : threadIdx.x % kSmallTile; }
  GORGO_DEVICE int depth(int i) const {
    return along_k ? threadIdx.x % kSmallDepth : threadIdx.x / kSmallTile + kSmallTile * i;
  }
  GORGO_DEVICE void load(int64_t depths) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) part[i] = row(i) < rows && depth(i) < depths ? at[i * step] : 0.0f;
    at += next;
  }
  GORGO_DEVICE void store(float (*tile)[kSmallPitch]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) tile[row(i)][depth(i)] = part[i];
  }
};
static_assert(kSmallThreads == 2 * kSmallDepth && kSmallThreads == kSmallTile * kSmallTile);

template <int kBlocks>  // that share a multiprocessor
__global__ void __launch_bounds__(kSmallThreads, kBlocks) small_product(const __grid_constant__ SimtArgs args) {
  __shared__ alignas(16) float tile_a[kSmallTile][kSmallPitch];
  __shared__ alignas(16) float tile_b[kSmallTile][kSmallPitch];
  const Product& p = args.p;
  const int x = threadIdx.x % kSmallTile;
  const int y = threadIdx.x / kSmallTile;
  for (int64_t task = blockIdx.x; task < args.tasks; task += gridDim.x) {
    const int64_t tiles = args.row_tiles * args.column_tiles;
    const int64_t index = task / tiles;
    const int64_t tile = task - index * tiles;
    const int64_t row0 = tile / args.column_tiles * kSmallTile;
    const int64_t column0 = tile % args.column_tiles * kSmallTile;
    int64_t offsets[2] = {0, 0};
    if (p.count > 1) p.stack.at(index, offsets);
    SmallStretch a(static_cast<const float*>(p.a) + offsets[0], row0, p.m, p.a_row, p.a_col);
    SmallStretch b(static_cast<const float*>(p.b) + offsets[1], column0, p.n, p.b_col, p.b_row);
    const int64_t at = (index * p.m + row0 + y) * p.n + column0 + x;
    const bool exists = row0 + y < p.m && column0 + x < p.n;
    const float saved = exists ? saved_at<float>(p.finish, at) : 0.0f;
    float sum = 0.0f;
    int64_t left = p.k;
    if (left > 0) {
      a.load(left);
      b.load(left);
    }
    while (left > 0) {
      __syncthreads();  // everybody has read what is overwritten now
      a.store(tile_a);
      b.store(tile_b);
      __syncthreads();
      const int64_t here = left < kSmallDepth ? left : kSmallDepth;
      left -= kSmallDepth;
      if (left > 0) {  // on their way while the stretch is multiplied
        a.load(left);
        b.load(left);
      }
      const int quads = static_cast<int>((here + 3) / 4);
#pragma unroll 4
      for (int q = 0; q < quads; ++q) {
        const float4 u = *reinterpret_cast<const float4*>(&tile_a[y][4 * q]);
        const float4 v = *reinterpret_cast<const float4*>(&tile_b[x][4 * q]);
        sum = fmaf(u.x, v.x, sum);
        sum = fmaf(u.y, v.y, sum);
        sum = fmaf(u.z, v.z, sum);
        sum = fmaf(u.w, v.w, sum);
      }
    }
    if (exists) {
      if (p.bias != nullptr) sum += static_cast<const float*>(p.bias)[(column0 + x) * p.bias_stride];
      static_cast<float*>(p.c)[at] = finished(p.finish.then, sum, saved);
    }
  }
}

template <class T>
  requires std::is_same_v<T, float>
void launch_small(const Product& p, cudaStream_t stream) noexcept {
  SimtArgs args{};
  args.p = p;
  args.row_tiles = ceil_div(p.m, kSmallTile);
  args.column_tiles = ceil_div(p.n, kSmallTile);
  args.tasks = args.row_tiles * args.column_tiles * p.count;
  small_product<3><<<grid_of_tasks(args.tasks), kSmallThreads, 0, stream>>>(args);
}

}  // namespace gorgo::cuda
