// Products of complex numbers on the ordinary arithmetic units: any strides and sizes.
//
// Invariant: each element's sum runs over k in order, in the element's own precision, so no result depends on the grid.
// Read next: simt.cuh (real numbers).
#pragma once

#include "kernels/cuda/complex.cuh"
#include "kernels/cuda/gemm/simt.cuh"

namespace gorgo::cuda {

#if defined(__CUDACC__)

constexpr int kComplexTile = 32;
constexpr int kComplexDepth = 16;

// 256 threads with 2 x 2 elements each. T is Complex<...>.
template <class T>
__global__ void __launch_bounds__(256) complex_product(const __grid_constant__ SimtArgs args) {
  __shared__ T a_tile[kComplexDepth][kComplexTile + 1];
  __shared__ T b_tile[kComplexDepth][kComplexTile + 1];
  stream_pass();
  stream_wait();
  const Product& p = args.p;
  const int thread = threadIdx.x;
  const int ty = thread / 16;
  const int tx = thread % 16;
  // 32 rows of a factor, 16 of k. Neighbouring threads read along the axis with the shorter step.
  const auto fill = [&](T(&tile)[kComplexDepth][kComplexTile + 1], const T* x, int64_t row0, int64_t rows,
                        int64_t row_stride, int64_t k0, int64_t k_stride) {
    const bool along_k = llabs(k_stride) <= llabs(row_stride);
#pragma unroll
    for (int i = 0; i < kComplexTile * kComplexDepth / 256; ++i) {
      const int e = i * 256 + thread;
      const int r = along_k ? e / kComplexDepth : e % kComplexTile;
      const int d = along_k ? e % kComplexDepth : e / kComplexTile;
      const bool inside = row0 + r < rows && k0 + d < p.k;
      tile[d][r] = inside ? x[(row0 + r) * row_stride + (k0 + d) * k_stride] : T{0, 0};
    }
  };
  for (int64_t task = blockIdx.x; task < args.tasks; task += gridDim.x) {
    const int64_t tiles = args.row_tiles * args.column_tiles;
    const int64_t index = task / tiles;
    const int64_t tile = task - index * tiles;
    const int64_t row0 = tile / args.column_tiles * kComplexTile;
    const int64_t column0 = tile % args.column_tiles * kComplexTile;
    int64_t offsets[2] = {0, 0};
    if (p.count > 1) p.stack.at(index, offsets);
    const T* a = static_cast<const T*>(p.a) + offsets[0];
    const T* b = static_cast<const T*>(p.b) + offsets[1];
    T sums[2][2] = {};
    for (int64_t k0 = 0; k0 < p.k; k0 += kComplexDepth) {
      fill(a_tile, a, row0, p.m, p.a_row, k0, p.a_col);
      fill(b_tile, b, column0, p.n, p.b_col, k0, p.b_row);
      __syncthreads();
#pragma unroll
      for (int d = 0; d < kComplexDepth; ++d) {  // behind the end, zeros of both factors
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            sums[i][j] = sums[i][j] + a_tile[d][ty + 16 * i] * b_tile[d][tx + 16 * j];
          }
        }
      }
      __syncthreads();
    }
    T* c = static_cast<T*>(p.c) + index * p.m * p.n;
    const T* bias = static_cast<const T*>(p.bias);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int64_t row = row0 + ty + 16 * i;
        const int64_t column = column0 + tx + 16 * j;
        if (row >= p.m || column >= p.n) continue;
        c[row * p.n + column] = bias != nullptr ? sums[i][j] + bias[column * p.bias_stride] : sums[i][j];
      }
    }
  }
}

template <class T>
void launch_complex(const Product& p, cudaStream_t stream) noexcept {
  if (p.empty()) return;
  SimtArgs args{p, ceil_div(p.m, kComplexTile), ceil_div(p.n, kComplexTile), 0, nullptr, 1, p.k, nullptr};
  args.tasks = args.row_tiles * args.column_tiles * p.count;
  launch_in_stream(complex_product<T>, grid_of_tasks(args.tasks), 256, 0, 1, stream, args);
}

#endif

}  // namespace gorgo::cuda
