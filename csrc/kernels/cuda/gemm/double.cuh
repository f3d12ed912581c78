// float64 products on the tensor cores of sm_80 and later, which multiply and add float64 as the ordinary units do.
//
// 128 x 64 elements by eight warps of 32 x 32; the next 16 of k are fetched while 16 are multiplied. Any strides.
// Invariant: sums run over k in order. Read next: simt.cuh, gemm.cuh.
#pragma once

#include "kernels/cuda/gemm/simt.cuh"

namespace gorgo::cuda {

constexpr int kDoubleRows = 128;
constexpr int kDoubleColumns = 64;
using DoubleTileA = SimtTile<double, kDoubleRows>;
using DoubleTileB = SimtTile<double, kDoubleColumns>;
constexpr int kDoubleShared = 2 * kSimtDepth * (DoubleTileA::kPitch + DoubleTileB::kPitch) * 8;

#if defined(__CUDACC__)

// c += a b for 16 x 4 by 4 x 8 elements: lane 4 g + t has rows g and g + 8 of a at k = t, column g of b at k = t, and columns
// 2 t and 2 t + 1 of c in rows g and g + 8.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
GORGO_DEVICE void multiply_doubles(double (&c)[4], const double (&a)[2], double b) {
  asm volatile("mma.sync.aligned.m16n8k4.row.col.f64.f64.f64.f64 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+d"(c[0]), "+d"(c[1]), "+d"(c[2]), "+d"(c[3])
               : "d"(a[0]), "d"(a[1]), "d"(b));
}
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
GORGO_DEVICE void multiply_doubles(double (&c)[4], const double (&a)[2], double b) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
                 : "+d"(c[2 * i]), "+d"(c[2 * i + 1])
                 : "d"(a[i]), "d"(b));
  }
}
#endif

template <class T>
__global__ void __launch_bounds__(kSimtThreads) double_product(const __grid_constant__ SimtArgs args) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  extern __shared__ __align__(16) double double_shared[];
  using RowsOfA = double (*)[DoubleTileA::kPitch];
  using RowsOfB = double (*)[DoubleTileB::kPitch];
  const RowsOfA a_tiles = reinterpret_cast<RowsOfA>(double_shared);
  const RowsOfB b_tiles = reinterpret_cast<RowsOfB>(double_shared + 2 * kSimtDepth * DoubleTileA::kPitch);
  const Product& p = args.p;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int y0 = warp / 2 * 32 + lane / 4;
  const int x0 = warp % 2 * 32 + lane / 4;
  for (int64_t task = blockIdx.x; task < args.tasks; task += gridDim.x) {
    const int64_t tiles = args.row_tiles * args.column_tiles;
    const int64_t matrix = task / tiles;  // and part
    const int64_t tile = task - matrix * tiles;
    const int64_t row0 = tile / args.column_tiles * kDoubleRows;
    const int64_t column0 = tile % args.column_tiles * kDoubleColumns;
    const int64_t part = args.parts > 1 ? matrix / p.count : 0;
    const int64_t index = matrix - part * p.count;
    const int64_t k0 = part * args.part_k;
    const int64_t k_end = k0 + args.part_k < p.k ? k0 + args.part_k : p.k;
    int64_t offsets[2] = {0, 0};
    if (p.count > 1) p.stack.at(index, offsets);
    double sums[2][4][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[i][j][e] = 0.0;
      }
    }
    const auto depths_of = [](int64_t left) { return static_cast<int>(left < kSimtDepth ? left : kSimtDepth); };
    DoubleTileA a_next(static_cast<const double*>(p.a) + offsets[0] + k0 * p.a_col, row0, p.m, p.a_row, p.a_col);
    DoubleTileB b_next(static_cast<const double*>(p.b) + offsets[1] + k0 * p.b_row, column0, p.n, p.b_col, p.b_row);
    __syncthreads();  // the last task's tiles have been read
    a_next.load(depths_of(k_end - k0));
    b_next.load(depths_of(k_end - k0));
    a_next.store(a_tiles);
    b_next.store(b_tiles);
    __syncthreads();
    int stage = 0;
    for (int64_t left = k_end - k0; left > 0; left -= kSimtDepth) {
      const bool more = left > kSimtDepth;
      if (more) {
        a_next.load(depths_of(left - kSimtDepth));
        b_next.load(depths_of(left - kSimtDepth));
      }
      const RowsOfA at_a = a_tiles + stage * kSimtDepth;
      const RowsOfB at_b = b_tiles + stage * kSimtDepth;
#pragma unroll
      for (int d = 0; d < kSimtDepth; d += 4) {  // behind the end, zeros of both factors
        const int k = d + lane % 4;
        double x[2][2];
        double y[4];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          x[i][0] = at_a[k][y0 + 16 * i];
          x[i][1] = at_a[k][y0 + 16 * i + 8];
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) y[j] = at_b[k][x0 + 8 * j];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
          for (int j = 0; j < 4; ++j) multiply_doubles(sums[i][j], x[i], y[j]);
        }
      }
      if (more) {
        stage ^= 1;
        a_next.store(a_tiles + stage * kSimtDepth);
        b_next.store(b_tiles + stage * kSimtDepth);
        __syncthreads();
      }
    }
    double* const c = static_cast<double*>(args.parts > 1 ? args.sums : p.c) + matrix * p.m * p.n;
    const double* const bias = args.parts > 1 ? nullptr : static_cast<const double*>(p.bias);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t column = column0 + warp % 2 * 32 + 8 * j + lane % 4 * 2 + e % 2;
        if (column >= p.n) continue;
        const double add = bias != nullptr ? bias[column * p.bias_stride] : 0.0;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int64_t row = row0 + y0 + 16 * i + e / 2 * 8;
          if (row >= p.m) continue;
          const double v = bias != nullptr ? sums[i][j][e] + add : sums[i][j][e];
          const int64_t to = row * p.n + column;
          c[to] = args.parts > 1 ? v : finished_at(p.finish, v, matrix * p.m * p.n + to);
        }
      }
    }
  }
#endif
}

#endif

// `scratch` has simt_scratch<double>(p) bytes.
template <class T>
  requires std::is_same_v<T, double>
void launch_double(const Product& p, void* scratch, cudaStream_t stream) noexcept {
  SimtArgs args{p, ceil_div(p.m, kDoubleRows), ceil_div(p.n, kDoubleColumns), 0, nullptr, simt_parts(p), p.k, scratch};
  if (args.parts > 1) {
    args.part_k = ceil_div(ceil_div(p.k, args.parts), kSimtDepth) * kSimtDepth;
    args.parts = ceil_div(p.k, args.part_k);
  }
  args.tasks = args.row_tiles * args.column_tiles * p.count * args.parts;
  allow_shared(double_product<T>, kDoubleShared);
  double_product<T><<<grid_of_tasks(args.tasks), kSimtThreads, kDoubleShared, stream>>>(args);
  if (args.parts > 1) launch_sum_parts<T>(p, scratch, args.parts, stream);
}

}  // namespace gorgo::cuda
