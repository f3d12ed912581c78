// Copies of a product's factors in scratch, laid out for Hopper's copy engine: along k, every row aligned.
//
// A factor is copied as it is, for strides that the copy engine or the matrix units do not take; or rounded to bfloat16; or, where
// nothing may be lost, a float32 factor becomes three planes of bfloat16 parts (split.cuh), and the kernel notes whether the parts
// hold everything. Read next: split.cuh, gemm.cuh.
#pragma once

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/gemm/product.cuh"
#include "kernels/cuda/in_stream.cuh"

namespace gorgo::cuda {

constexpr int kPackTile = 64;

// What a factor's elements become.
template <class From_, class To_, int kPlanes_>
struct PackForm {
  using From = From_;
  using To = To_;
  static constexpr int kPlanes = kPlanes_;
};
template <class T>
using Copied = PackForm<T, T, 1>;
using Rounded = PackForm<float, BFloat16, 1>;
using InParts = PackForm<float, BFloat16, 3>;

struct PackFactor {
  const void* data;
  void* planes;  // [plane][matrix][row][pitch]
  int64_t rows, k;
  int64_t row_stride, k_stride;
  int64_t pitch;  // elements
  int64_t matrices;
  int64_t row_tiles, k_tiles;
};

struct PackArgs {
  PackFactor factors[2];
  Walk<2> stack;
  bool stacked[2];
  int64_t tasks[2];
  SplitVerdict* verdict;  // of a split
};

#if defined(__CUDACC__)
template <class Form>
__global__ void __launch_bounds__(256, Form::kPlanes > 1 ? 4 : 5) pack_factors(const __grid_constant__ PackArgs args) {
  using T = typename Form::From;
  using To = typename Form::To;
  constexpr int kPlanes = Form::kPlanes;
  constexpr int kVector = 16 / static_cast<int>(sizeof(To));  // stored at once
  __shared__ T tile[kPackTile][kPackTile + (sizeof(T) == 2 ? 2 : 1)];
  const int thread = threadIdx.x;
  __shared__ int32_t found[2];
  int32_t largest[2] = {0, 0};
  uint32_t least = ~0u;
  if (thread < 2) found[thread] = 0;
  stream_pass();
  stream_wait();
  for (int64_t task = blockIdx.x; task < args.tasks[0] + args.tasks[1]; task += gridDim.x) {
    const int which = task < args.tasks[0] ? 0 : 1;
    const PackFactor& f = args.factors[which];
    const int64_t at = which == 0 ? task : task - args.tasks[0];
    const Quotient of_matrix(at, f.row_tiles * f.k_tiles);
    const int64_t matrix = of_matrix.quotient;
    // Tiles that are neighbours in memory come one after the other, and so do elements.
    const bool along_k = llabs(f.k_stride) <= llabs(f.row_stride);
    const Quotient of_tile(of_matrix.rest, along_k ? f.k_tiles : f.row_tiles);
    const int64_t row0 = (along_k ? of_tile.quotient : of_tile.rest) * kPackTile;
    const int64_t k0 = (along_k ? of_tile.rest : of_tile.quotient) * kPackTile;
    int64_t offsets[2] = {0, 0};
    if (args.stacked[which]) args.stack.at(matrix, offsets);
    constexpr int kAtOnce = 256 / kPackTile;
    constexpr int kCount = kPackTile / kAtOnce;
    const int inner = thread % kPackTile;
    const int outer = thread / kPackTile;
    const int64_t step = along_k ? f.row_stride : f.k_stride;
    const int64_t left = along_k ? f.rows - row0 : f.k - k0;
    const bool inside = inner < (along_k ? f.k - k0 : f.rows - row0);
    const T* x = static_cast<const T*>(f.data) + (which == 0 ? offsets[0] : offsets[1]) + row0 * f.row_stride +
                 k0 * f.k_stride + inner * (along_k ? f.k_stride : f.row_stride) + outer * step;
    // All on their way before the first is stored: the compiler would wait for each.
    T held[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      held[i] = T{};
      if (inside && outer + i * kAtOnce < left) held[i] = *x;
      x += kAtOnce * step;
    }
    __syncthreads();  // the last tile has been read
    constexpr int kTilePitch = sizeof tile[0] / sizeof(T);
    T* const put = &tile[0][0] + (along_k ? outer * kTilePitch + inner : inner * kTilePitch + outer);
    const int put_step = kAtOnce * (along_k ? kTilePitch : 1);
#pragma unroll
    for (int i = 0; i < kCount; ++i) put[i * put_step] = held[i];
    __syncthreads();
    int32_t most = 0;
#pragma unroll
    for (int i = 0; i < kPackTile * kPackTile / kVector / 256; ++i) {
      const int e = i * 256 + thread;
      const int r = e / (kPackTile / kVector);
      const int d = e % (kPackTile / kVector) * kVector;
      const T* const from = &tile[r][d];
      uint32_t parts[kPlanes][4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if constexpr (sizeof(To) == 4) {
          parts[0][j] = __float_as_uint(from[j]);
        } else if constexpr (sizeof(T) == 2) {
          parts[0][j] = from[2 * j].bits | uint32_t{from[2 * j + 1].bits} << 16;
        } else {
          float v[2] = {from[2 * j], from[2 * j + 1]};
          if constexpr (kPlanes > 1) {
#pragma unroll
            for (const float x : v) {
              const int32_t magnitude = __float_as_int(x) & 0x7fffffff;
              most = max(most, magnitude);
              least = min(least, static_cast<uint32_t>(magnitude) - 1);  // 0 is above all
            }
          }
#pragma unroll
          for (int q = 0; q < kPlanes; ++q) {
            const __nv_bfloat162 two = __floats2bfloat162_rn(v[0], v[1]);
            __builtin_memcpy(&parts[q][j], &two, sizeof two);
            v[0] -= __uint_as_float(parts[q][j] << 16);
            v[1] -= __uint_as_float(parts[q][j] & 0xffff0000u);
          }
        }
      }
      if (row0 + r < f.rows && k0 + d < f.pitch) {
        auto* to =
            reinterpret_cast<uint4*>(static_cast<To*>(f.planes) + (matrix * f.rows + row0 + r) * f.pitch + k0 + d);
#pragma unroll
        for (int q = 0; q < kPlanes; ++q) {
          // Told so, for the compiler makes four stores of some of these.
          asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(parts[q][0]), "r"(parts[q][1]),
                       "r"(parts[q][2]), "r"(parts[q][3])
                       : "memory");
          to += f.matrices * f.rows * f.pitch / kVector;
        }
      }
    }
    if (which == 0) {
      largest[0] = max(largest[0], most);
    } else {
      largest[1] = max(largest[1], most);
    }
  }
  if constexpr (kPlanes > 1) {
    // From 2**127 on the first part might round to infinity; below 2**-110 the last one loses bits.
    const bool bad = max(largest[0], largest[1]) >= (254 << 23) || least < (17u << 23) - 1;
#pragma unroll
    for (int32_t& most : largest) {
#pragma unroll
      for (int o = 16; o > 0; o /= 2) most = max(most, __shfl_xor_sync(0xffffffffu, most, o));
    }
    if (thread % 32 == 0) {
      atomicMax(&found[0], largest[0]);
      atomicMax(&found[1], largest[1]);
    }
    if (__any_sync(0xffffffffu, bad) && thread % 32 == 0) atomicOr(&args.verdict->bad, 1);
    __syncthreads();
    // Most blocks find that another has seen a larger one.
    int32_t* const all = thread == 0 ? &args.verdict->max_a : &args.verdict->max_b;
    if (thread < 2 && found[thread] > *static_cast<volatile int32_t*>(all)) atomicMax(all, found[thread]);
  }
}
#endif

// ---- host ----

struct PackPlan {
  int64_t pitch = 0;             // elements of a plane's row
  int64_t matrices[2] = {1, 1};  // of A and B; 0: the factor stays where it is
  size_t sizes[2] = {0, 0};      // bytes of all planes of A and B
  size_t bytes = 0;
};

constexpr size_t kVerdictBytes = 256;

template <class Form>
PackPlan pack_plan(const Product& p, bool pack_a = true, bool pack_b = true) noexcept {
  PackPlan s;
  s.pitch = ceil_div(p.k, 8) * 8;
  s.matrices[0] = !pack_a ? 0 : p.shares_a ? 1 : p.count;
  s.matrices[1] = !pack_b ? 0 : p.shares_b ? 1 : p.count;
  const int64_t rows[2] = {p.m, p.n};
  s.bytes = Form::kPlanes > 1 ? kVerdictBytes : 0;
  for (int i = 0; i < 2; ++i) {
    const int64_t elements = Form::kPlanes * s.matrices[i] * rows[i] * s.pitch;
    s.sizes[i] = static_cast<size_t>(ceil_div(elements * static_cast<int64_t>(sizeof(typename Form::To)), 256) * 256);
    s.bytes += s.sizes[i];
  }
  return s;
}

struct Packed {
  SplitVerdict* verdict;  // of parts
  void* planes[2];
};

// `scratch` has the plan's bytes.
template <class Form>
Packed launch_pack(const Product& p, const PackPlan& s, void* scratch, cudaStream_t stream) noexcept {
  Packed packed{};
  packed.verdict = static_cast<SplitVerdict*>(scratch);
  packed.planes[0] = static_cast<unsigned char*>(scratch) + (Form::kPlanes > 1 ? kVerdictBytes : 0);
  packed.planes[1] = static_cast<unsigned char*>(packed.planes[0]) + s.sizes[0];
  PackArgs args{};
  args.factors[0] = {p.a, packed.planes[0], p.m, p.k, p.a_row, p.a_col, s.pitch, s.matrices[0], 0, 0};
  args.factors[1] = {p.b, packed.planes[1], p.n, p.k, p.b_col, p.b_row, s.pitch, s.matrices[1], 0, 0};
  for (int i = 0; i < 2; ++i) {
    PackFactor& f = args.factors[i];
    f.row_tiles = ceil_div(f.rows, kPackTile);
    f.k_tiles = ceil_div(f.k, kPackTile);
    args.stacked[i] = f.matrices > 1;
    args.tasks[i] = f.row_tiles * f.k_tiles * f.matrices;
  }
  args.stack = p.stack;
  args.verdict = packed.verdict;
  if (Form::kPlanes > 1) static_cast<void>(cudaMemsetAsync(packed.verdict, 0, sizeof(SplitVerdict), stream));
  const unsigned grid = grid_for(args.tasks[0] + args.tasks[1], 1, 256);
  launch_in_stream(pack_factors<Form>, grid, 256, 0, 1, stream, args);
  return packed;
}

// The product of the copies; a factor that was not packed is the caller's.
inline Product of_packed(const Product& p, const PackPlan& s, const Packed& packed) noexcept {
  Product q = p;
  if (s.matrices[0] != 0) {
    q.a = packed.planes[0];
    q.a_row = s.pitch;
    q.a_col = 1;
  }
  if (s.matrices[1] != 0) {
    q.b = packed.planes[1];
    q.b_col = s.pitch;
    q.b_row = 1;
  }
  if (p.count == 1) return q;
  int64_t steps[2][kMaxAxes];
  int64_t inner = 1;
  for (int i = p.stack.rank - 1; i >= 0; --i) {
    for (int o = 0; o < 2; ++o) {
      const int64_t each = (o == 0 ? p.m : p.n) * s.pitch;
      steps[o][i] = s.matrices[o] == 0 ? p.stack.strides[o][i] : s.matrices[o] > 1 ? inner * each : 0;
    }
    inner *= p.stack.shape[i];
  }
  const int64_t* const strides[2] = {steps[0], steps[1]};
  q.stack = Walk<2>::of(p.stack.shape, p.stack.rank, strides);
  return q;
}

}  // namespace gorgo::cuda
