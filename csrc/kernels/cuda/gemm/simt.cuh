// Products on the ordinary arithmetic units: one kernel that takes any element type, strides and sizes, and a faster one for
// float32 whose factors lie dense.
//
// Invariant: each element's sum runs over k in order, one fused multiply-add after the other, in the accumulator's type; so a result
// depends neither on the tile it falls into nor on the grid. Read next: gemm.cuh (who comes here), skinny.cuh.
#pragma once

#include "kernels/cuda/gemm/product.cuh"
#include "kernels/cuda/in_stream.cuh"

namespace gorgo::cuda {

// A Product as kernels take it, by value.
struct SimtArgs {
  Product p;
  int64_t row_tiles, column_tiles;
  int64_t tasks;                // tiles of all matrices of the stack, times parts
  const SplitVerdict* verdict;  // in device memory: the kernel runs only where the split does not hold; null: always
  int64_t parts;                // k is cut into so many parts of `part_k`; where it is one, the results are stored
  int64_t part_k;
  void* sums;  // else these: (part, matrix, row, column) in the accumulator's type
};

inline unsigned grid_of_tasks(int64_t tasks) noexcept {
  return static_cast<unsigned>(tasks < 0x7fffffff ? tasks : 0x7fffffff);
}

// ---- parts of k ----

// Adds up the parts of each element in their order, then the bias.
template <class T>
__global__ void __launch_bounds__(256) sum_parts(const Accumulator<T>* sums, T* out, int64_t count, int64_t parts,
                                                 int64_t columns, const T* bias, int64_t bias_stride, Finish finish) {
  using Acc = Accumulator<T>;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  stream_pass();
  stream_wait();
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    Acc sum = sums[i];
    int64_t part = 1;
    for (; part + 4 <= parts; part += 4) {  // four loads in flight
      Acc next[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) next[j] = sums[(part + j) * count + i];
#pragma unroll
      for (int j = 0; j < 4; ++j) sum += next[j];
    }
    for (; part < parts; ++part) sum += sums[part * count + i];
    if (bias != nullptr) sum += widen(bias[i % columns * bias_stride]);
    out[i] = finished_at(finish, narrow<T>(sum), i);
  }
}

template <class T>
void launch_sum_parts(const Product& p, const void* sums, int64_t parts, cudaStream_t stream) noexcept {
  const int64_t count = p.count * p.m * p.n;
  launch_in_stream(sum_parts<T>, grid_for(count, 256), 256, 0, 1, stream, static_cast<const Accumulator<T>*>(sums),
                   static_cast<T*>(p.c), count, parts, p.n, static_cast<const T*>(p.bias), p.bias_stride, p.finish);
}

// ---- any type, any strides ----

constexpr int kSimtTile = 64;
constexpr int kSimtDepth = 16;
constexpr int kSimtThreads = 256;  // each has 4 x 4 elements
constexpr int kSimtPitch = kSimtTile + 4;

template <class Acc>
struct alignas(16) AccQuad {
  Acc v[4];
};

// A kRows x 16 tile of a factor through registers. Neighbouring threads read along the axis with the shorter step.
template <class T, int kRows>
struct SimtTile {
  static constexpr int kCount = kRows * kSimtDepth / kSimtThreads;  // elements of a thread
  static constexpr int kDepths = kSimtThreads / kRows;              // k of one round across k
  static constexpr int kPitch = kRows + 4;

  const T* at;
  int64_t step;  // between the thread's elements
  int64_t next;  // to the next tile
  int rows;      // of the tile that exist
  bool along_k;
  Accumulator<T> part[kCount];

  GORGO_DEVICE SimtTile(const T* x, int64_t row0, int64_t all_rows, int64_t row_stride, int64_t k_stride) {
    along_k = llabs(k_stride) <= llabs(row_stride);
    at = x + (row0 + row(0)) * row_stride + depth(0) * k_stride;
    step = along_k ? 16 * row_stride : kDepths * k_stride;
    next = kSimtDepth * k_stride;
    rows = static_cast<int>(all_rows - row0 < kRows ? all_rows - row0 : kRows);
  }
  GORGO_DEVICE int row(int i) const { return along_k ? threadIdx.x / 16 + 16 * i : threadIdx.x % kRows; }
  GORGO_DEVICE int depth(int i) const { return along_k ? threadIdx.x % 16 : threadIdx.x / kRows + kDepths * i; }
  // The next 16 of k, of which `depths` exist.
  GORGO_DEVICE void load(int depths) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const bool inside = row(i) < rows && depth(i) < depths;
      part[i] = inside ? widen(at[i * step]) : Accumulator<T>{0};
    }
    at += next;
  }
  GORGO_DEVICE void store(Accumulator<T> (*tile)[kPitch]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) tile[depth(i)][row(i)] = part[i];
  }
};

template <class T>
__global__ void __launch_bounds__(kSimtThreads) simt_product(const __grid_constant__ SimtArgs args) {
  using Acc = Accumulator<T>;
  __shared__ __align__(16) Acc a_tile[2][kSimtDepth][kSimtPitch];
  __shared__ __align__(16) Acc b_tile[2][kSimtDepth][kSimtPitch];
  stream_pass();
  stream_wait();
  if (args.verdict != nullptr && split_holds(*args.verdict)) return;
  const Product& p = args.p;
  const int ty = threadIdx.x / 16;
  const int tx = threadIdx.x % 16;
  for (int64_t task = blockIdx.x; task < args.tasks; task += gridDim.x) {
    const int64_t tiles = args.row_tiles * args.column_tiles;
    const int64_t matrix = task / tiles;  // and part
    const int64_t tile = task - matrix * tiles;
    const int64_t row0 = tile / args.column_tiles * kSimtTile;
    const int64_t column0 = tile % args.column_tiles * kSimtTile;
    const int64_t part = args.parts > 1 ? matrix / p.count : 0;
    const int64_t index = matrix - part * p.count;
    const int64_t k0 = part * args.part_k;
    const int64_t k_end = k0 + args.part_k < p.k ? k0 + args.part_k : p.k;
    int64_t offsets[2] = {0, 0};
    if (p.count > 1) p.stack.at(index, offsets);
    Acc sums[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[i][j] = Acc{0};
    }
    const auto depths_of = [](int64_t left) { return static_cast<int>(left < kSimtDepth ? left : kSimtDepth); };
    SimtTile<T, kSimtTile> a_next(static_cast<const T*>(p.a) + offsets[0] + k0 * p.a_col, row0, p.m, p.a_row, p.a_col);
    SimtTile<T, kSimtTile> b_next(static_cast<const T*>(p.b) + offsets[1] + k0 * p.b_row, column0, p.n, p.b_col,
                                  p.b_row);
    __syncthreads();  // the last task's tiles have been read
    if (k_end > k0) {
      a_next.load(depths_of(k_end - k0));
      b_next.load(depths_of(k_end - k0));
      a_next.store(a_tile[0]);
      b_next.store(b_tile[0]);
    }
    __syncthreads();
    int stage = 0;
    for (int64_t left = k_end - k0; left > 0; left -= kSimtDepth) {
      const bool more = left > kSimtDepth;
      if (more) {
        a_next.load(depths_of(left - kSimtDepth));
        b_next.load(depths_of(left - kSimtDepth));
      }
      const auto step = [&](int d) {
        const AccQuad<Acc> x = *reinterpret_cast<const AccQuad<Acc>*>(&a_tile[stage][d][ty * 4]);
        const AccQuad<Acc> y = *reinterpret_cast<const AccQuad<Acc>*>(&b_tile[stage][d][tx * 4]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int j = 0; j < 4; ++j) sums[i][j] = multiply_add(x.v[i], y.v[j], sums[i][j]);
        }
      };
#pragma unroll
      for (int d = 0; d < kSimtDepth; ++d) step(d);  // behind the end, zeros of both factors
      if (more) {
        a_next.store(a_tile[stage ^ 1]);
        b_next.store(b_tile[stage ^ 1]);
        __syncthreads();
        stage ^= 1;
      }
    }
    if (args.parts > 1) {
      Acc* c = static_cast<Acc*>(args.sums) + matrix * p.m * p.n;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int64_t row = row0 + ty * 4 + i;
          const int64_t column = column0 + tx * 4 + j;
          if (row < p.m && column < p.n) c[row * p.n + column] = sums[i][j];
        }
      }
      continue;
    }
    T* c = static_cast<T*>(p.c) + index * p.m * p.n;
    const T* bias = static_cast<const T*>(p.bias);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t column = column0 + tx * 4 + j;
      if (column >= p.n) continue;
      const Acc add = bias != nullptr ? widen(bias[column * p.bias_stride]) : Acc{0};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t row = row0 + ty * 4 + i;
        if (row >= p.m) continue;
        const T v = narrow<T>(bias != nullptr ? sums[i][j] + add : sums[i][j]);
        c[row * p.n + column] = finished_at(p.finish, v, (index * p.m + row) * p.n + column);
      }
    }
  }
}

// In how many parts simt_product takes k: enough to occupy a large card where there are few tiles, by sizes alone.
inline int64_t simt_parts(const Product& p) noexcept {
  constexpr int64_t kTiles = 256;  // wanted
  constexpr int64_t kLeast = 128;  // of k in a part
  const int64_t tiles = ceil_div(p.m, kSimtTile) * ceil_div(p.n, kSimtTile) * p.count;
  if (tiles == 0 || tiles * 2 > kTiles || p.k < 2 * kLeast) return 1;
  const int64_t wanted = kTiles / tiles;
  const int64_t most = p.k / kLeast;
  return wanted < most ? wanted : most;
}

template <class T>
size_t simt_scratch(const Product& p) noexcept {
  const int64_t parts = simt_parts(p);
  return parts > 1 ? static_cast<size_t>(parts * p.count * p.m * p.n) * sizeof(Accumulator<T>) : 0;
}

// `scratch` has simt_scratch<T>(p) bytes; without it k is not cut.
template <class T>
void launch_simt(const Product& p, void* scratch, cudaStream_t stream, const SplitVerdict* verdict = nullptr) noexcept {
  if (p.empty()) return;
  SimtArgs args{p, ceil_div(p.m, kSimtTile), ceil_div(p.n, kSimtTile), 0, verdict, 1, p.k, scratch};
  if (scratch != nullptr) args.parts = simt_parts(p);
  if (args.parts > 1) {
    args.part_k = ceil_div(ceil_div(p.k, args.parts), kSimtDepth) * kSimtDepth;
    args.parts = ceil_div(p.k, args.part_k);
  }
  args.tasks = args.row_tiles * args.column_tiles * p.count * args.parts;
  // Behind a split it has nothing to do in most cases, and may look early. Otherwise early blocks would crowd on the multiprocessors
  // that have room.
  if (verdict != nullptr) {
    launch_in_stream(simt_product<T>, grid_of_tasks(args.tasks), kSimtThreads, 0, 1, stream, args);
  } else {
    simt_product<T><<<grid_of_tasks(args.tasks), kSimtThreads, 0, stream>>>(args);
  }
  if (args.parts > 1) launch_sum_parts<T>(p, scratch, args.parts, stream);
}

// ---- float32, dense factors ----

constexpr int kFloatTile = 128;
constexpr int kFloatDepth = 16;
constexpr int kFloatPitch = kFloatTile + 4;

// Four neighbours along the contiguous axis, of which `left` exist; the others read as zero.
GORGO_DEVICE float4 load_quad(const float* p, int left, bool vectors) {
  float4 v = {0.0f, 0.0f, 0.0f, 0.0f};
  if (vectors && left >= 4) return *reinterpret_cast<const float4*>(p);
  if (left > 0) v.x = p[0];
  if (left > 1) v.y = p[1];
  if (left > 2) v.z = p[2];
  if (left > 3) v.w = p[3];
  return v;
}

// A 128 x 16 tile of a factor through registers: along k, a thread has rows thread / 4 and 64 more, four k each; along the rows,
// four rows of two k each.
template <bool kAlongK>
struct FloatTile {
  const float* at;  // the first of the thread's two quads
  int64_t pitch;
  int left;  // along k, rows from the first quad's on; along the rows, those that exist of the quad
  bool vectors;
  float4 part[2];

  GORGO_DEVICE FloatTile(const float* x, int64_t row0, int64_t rows, int64_t step) : pitch(step) {
    const int thread = threadIdx.x;
    const int64_t row = row0 + (kAlongK ? thread / 4 : thread % 32 * 4);
    vectors = reinterpret_cast<uintptr_t>(x) % 16 == 0 && pitch % 4 == 0;
    left = static_cast<int>(rows - row < kFloatTile ? rows - row : kFloatTile);
    at = kAlongK ? x + row * pitch + thread % 4 * 4 : x + thread / 32 * pitch + row;
  }
  // The next 16 of k, of which `depths` exist.
  GORGO_DEVICE void load(int depths) {
    const int thread = threadIdx.x;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if constexpr (kAlongK) {
        part[i] = load_quad(at + 64 * i * pitch, left > 64 * i ? depths - thread % 4 * 4 : 0, vectors);
      } else {
        part[i] = load_quad(at + 8 * i * pitch, thread / 32 + 8 * i < depths ? left : 0, vectors);
      }
    }
    at += kAlongK ? int64_t{kFloatDepth} : kFloatDepth * pitch;
  }
  GORGO_DEVICE void store(float (*tile)[kFloatPitch]) const {
    const int thread = threadIdx.x;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if constexpr (kAlongK) {
        const int row = thread / 4 + 64 * i;
        const int d = thread % 4 * 4;
        tile[d][row] = part[i].x;
        tile[d + 1][row] = part[i].y;
        tile[d + 2][row] = part[i].z;
        tile[d + 3][row] = part[i].w;
      } else {
        *reinterpret_cast<float4*>(&tile[thread / 32 + 8 * i][thread % 32 * 4]) = part[i];
      }
    }
  }
};

// 128 x 128 elements by 256 threads, 8 x 8 each; the next stage is fetched while one is multiplied. A warp has 32 x 64 elements.
template <bool kAlongKA, bool kAlongKB>
__global__ void __launch_bounds__(256, 2) float_product(const __grid_constant__ SimtArgs args) {
  __shared__ __align__(16) float a_tile[2][kFloatDepth][kFloatPitch];
  __shared__ __align__(16) float b_tile[2][kFloatDepth][kFloatPitch];
  stream_pass();
  stream_wait();
  if (args.verdict != nullptr && split_holds(*args.verdict)) return;
  const Product& p = args.p;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int y0 = warp % 4 * 32 + lane / 8 * 4;  // rows y0 .. y0 + 3, and 16 more
  const int x0 = warp / 4 * 64 + lane % 8 * 4;  // columns x0 .. x0 + 3, and 32 more
  const int64_t a_pitch = kAlongKA ? p.a_row : p.a_col;
  const int64_t b_pitch = kAlongKB ? p.b_col : p.b_row;
  for (int64_t task = blockIdx.x; task < args.tasks; task += gridDim.x) {
    const int64_t tiles = args.row_tiles * args.column_tiles;
    const int64_t index = task / tiles;
    const int64_t tile = task - index * tiles;
    const int64_t row0 = tile / args.column_tiles * kFloatTile;
    const int64_t column0 = tile % args.column_tiles * kFloatTile;
    int64_t offsets[2] = {0, 0};
    if (p.count > 1) p.stack.at(index, offsets);
    const float* a = static_cast<const float*>(p.a) + offsets[0];
    const float* b = static_cast<const float*>(p.b) + offsets[1];
    float sums[8][8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
#pragma unroll
      for (int j = 0; j < 8; ++j) sums[i][j] = 0.0f;
    }
    FloatTile<kAlongKA> a_next(a, row0, p.m, a_pitch);
    FloatTile<kAlongKB> b_next(b, column0, p.n, b_pitch);
    const auto depths_of = [&](int64_t left) { return static_cast<int>(left < kFloatDepth ? left : kFloatDepth); };
    a_next.load(depths_of(p.k));
    b_next.load(depths_of(p.k));
    __syncthreads();  // the last task's stages have been read
    a_next.store(a_tile[0]);
    b_next.store(b_tile[0]);
    __syncthreads();
    int stage = 0;
    for (int64_t left = p.k; left > 0; left -= kFloatDepth) {
      const bool more = left > kFloatDepth;
      if (more) {
        a_next.load(depths_of(left - kFloatDepth));
        b_next.load(depths_of(left - kFloatDepth));
      }
      const auto step = [&](int d) {
        float x[8];
        float y[8];
        *reinterpret_cast<float4*>(x) = *reinterpret_cast<const float4*>(&a_tile[stage][d][y0]);
        *reinterpret_cast<float4*>(x + 4) = *reinterpret_cast<const float4*>(&a_tile[stage][d][y0 + 16]);
        *reinterpret_cast<float4*>(y) = *reinterpret_cast<const float4*>(&b_tile[stage][d][x0]);
        *reinterpret_cast<float4*>(y + 4) = *reinterpret_cast<const float4*>(&b_tile[stage][d][x0 + 32]);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
#pragma unroll
          for (int j = 0; j < 8; ++j) sums[i][j] = fmaf(x[i], y[j], sums[i][j]);
        }
      };
#pragma unroll 2
      for (int d = 0; d < kFloatDepth; ++d) step(d);  // behind the end, zeros of both factors
      if (more) {
        a_next.store(a_tile[stage ^ 1]);
        b_next.store(b_tile[stage ^ 1]);
        __syncthreads();
        stage ^= 1;
      }
    }
    float* c = static_cast<float*>(p.c) + index * p.m * p.n;
    const float* bias = static_cast<const float*>(p.bias);
    const bool c_vectors = reinterpret_cast<uintptr_t>(c) % 16 == 0 && p.n % 4 == 0;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int64_t column = column0 + x0 + 32 * h;
      float add[4] = {0.0f, 0.0f, 0.0f, 0.0f};
      if (bias != nullptr) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if (column + j < p.n) add[j] = bias[(column + j) * p.bias_stride];
        }
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int64_t row = row0 + y0 + i % 4 + i / 4 * 16;
        if (row >= p.m) continue;
        float v[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) v[j] = bias != nullptr ? sums[i][4 * h + j] + add[j] : sums[i][4 * h + j];
        if (p.finish.then != Epilogue::None) {
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            if (column + j < p.n) v[j] = finished_at(p.finish, v[j], (index * p.m + row) * p.n + column + j);
          }
        }
        if (c_vectors && column < p.n) {
          *reinterpret_cast<float4*>(&c[row * p.n + column]) = make_float4(v[0], v[1], v[2], v[3]);
        } else {
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            if (column + j < p.n) c[row * p.n + column + j] = v[j];
          }
        }
      }
    }
  }
}

// Whether float_product can take the factors: one axis of each has stride one.
inline bool float_dense(const Product& p) noexcept {
  return (p.a_col == 1 || p.a_row == 1) && (p.b_col == 1 || p.b_row == 1) && p.k > 0;
}

template <class T>
  requires std::is_same_v<T, float>
void launch_dense(const Product& p, cudaStream_t stream, const SplitVerdict* verdict = nullptr) noexcept {
  if (p.empty()) return;
  SimtArgs args{p, ceil_div(p.m, kFloatTile), ceil_div(p.n, kFloatTile), 0, verdict, 1, p.k, nullptr};
  args.tasks = args.row_tiles * args.column_tiles * p.count;
  const unsigned grid = grid_of_tasks(args.tasks);
  const bool a_along_k = p.a_col == 1;
  const bool b_along_k = p.b_col != 1;
  if (a_along_k && b_along_k) {
    launch_in_stream(float_product<true, true>, grid, 256, 0, 1, stream, args);
  } else if (a_along_k) {
    launch_in_stream(float_product<true, false>, grid, 256, 0, 1, stream, args);
  } else if (b_along_k) {
    launch_in_stream(float_product<false, true>, grid, 256, 0, 1, stream, args);
  } else {
    launch_in_stream(float_product<false, false>, grid, 256, 0, 1, stream, args);
  }
}

}  // namespace gorgo::cuda
