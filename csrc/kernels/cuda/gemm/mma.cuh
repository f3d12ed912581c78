// The 16-bit product on tensor cores from sm_80 on: for cards before Hopper, and for factors that Hopper's copy engine cannot read.
//
// 128 x 128 elements by eight warps of 64 x 32; three stages of 32 k in shared memory. A factor lies there as it does in memory,
// along k or across it, and is turned on the way into registers. Where its rows are aligned it is copied asynchronously, 16 bytes at a
// time; otherwise element by element through registers, whatever its strides.
// Invariant: sums run over k in order, sixteen at a time. Read next: gemm.cuh, hopper.cuh.
#pragma once

#include "kernels/cuda/gemm/simt.cuh"

namespace gorgo::cuda {

constexpr int kMmaTile = 128;
constexpr int kMmaDepth = 32;
constexpr int kMmaStages = 3;
constexpr int kMmaThreads = 256;

struct MmaArgs {
  Product p;
  int64_t row_tiles, column_tiles, tasks;
  int64_t parts, part_k;
  void* sums;
};

// Elements between neighbours in shared memory: eight more than a row, so that eight rows lie in different banks.
template <bool kAlongK>
constexpr int kMmaPitch = (kAlongK ? kMmaDepth : kMmaTile) + 8;
template <bool kAlongK>
constexpr int kMmaElements = (kAlongK ? kMmaTile : kMmaDepth) * kMmaPitch<kAlongK>;
template <bool kAlongA, bool kAlongB>
constexpr int kMmaShared = kMmaStages * (kMmaElements<kAlongA> + kMmaElements<kAlongB>)*2;

#if defined(__CUDACC__) && (!defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800)
#define GORGO_MMA 1
#else
#define GORGO_MMA 0
#endif

#if defined(__CUDA_ARCH__) && GORGO_MMA

// A 128 x 32 tile of a factor on its way to shared memory.
template <class T, bool kAlongK, bool kVectors>
struct MmaTile {
  const T* x;
  int64_t row_stride, k_stride;
  int rows;                         // of the tile that exist
  uint32_t held[kVectors ? 1 : 8];  // sixteen elements, where they go through registers

  GORGO_DEVICE MmaTile(const T* first, int64_t left, int64_t row_stride_, int64_t k_stride_)
      : x(first), row_stride(row_stride_), k_stride(k_stride_) {
    rows = static_cast<int>(left < kMmaTile ? left : kMmaTile);
  }
  // Starts with the tile at k = `at`, of which `depths` (perhaps none) exist.
  GORGO_DEVICE void fetch(uint16_t* tile, int64_t at, int depths) {
    const int thread = threadIdx.x;
    if constexpr (kVectors) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int e = i * kMmaThreads + thread;
        const int row = kAlongK ? e / 4 : e % 16 * 8;
        const int d = kAlongK ? e % 4 * 8 : e / 16;
        const int exist = kAlongK ? (row < rows ? depths - d : 0) : (d < depths ? rows - row : 0);
        const int bytes = (exist < 0 ? 0 : exist < 8 ? exist : 8) * 2;
        const T* from = bytes > 0 ? x + row * row_stride + (at + d) * k_stride : x;
        const auto to = static_cast<uint32_t>(
            __cvta_generic_to_shared(tile + (kAlongK ? row * kMmaPitch<true> + d : d * kMmaPitch<false> + row)));
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
      }
    } else {
      const T* from = x + (kAlongK ? thread / kMmaDepth : thread % kMmaTile) * row_stride +
                      (at + (kAlongK ? thread % kMmaDepth : thread / kMmaTile)) * k_stride;
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        const int row = kAlongK ? thread / kMmaDepth + 8 * i : thread % kMmaTile;
        const int d = kAlongK ? thread % kMmaDepth : thread / kMmaTile + 2 * i;
        const uint32_t v = row < rows && d < depths ? from->bits : 0u;
        held[i / 2] = i % 2 == 0 ? v : held[i / 2] | (v << 16);
        from += kAlongK ? 8 * row_stride : 2 * k_stride;
      }
    }
  }
  // Ends what fetch began, for elements that went through registers.
  GORGO_DEVICE void store([[maybe_unused]] uint16_t* tile) const {
    [[maybe_unused]] const int thread = threadIdx.x;
#pragma unroll
    for (int i = 0; i < (kVectors ? 0 : 16); ++i) {
      const int e = i * kMmaThreads + thread;
      const int row = kAlongK ? e / kMmaDepth : e % kMmaTile;
      const int d = kAlongK ? e % kMmaDepth : e / kMmaTile;
      tile[kAlongK ? row * kMmaPitch<true> + d : d * kMmaPitch<false> + row] =
          static_cast<uint16_t>(i % 2 == 0 ? held[i / 2] & 0xffffu : held[i / 2] >> 16);
    }
  }
};

template <bool kTurned>
GORGO_DEVICE void load_matrices(uint32_t (&r)[4], const uint16_t* at) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(at));
  if constexpr (kTurned) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  }
}

template <class T>
GORGO_DEVICE void multiply_fragments(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

#endif

// kVectors: in both factors every 16 bytes along the contiguous axis are aligned.
template <class T, bool kAlongA, bool kAlongB, bool kVectors>
__global__ void __launch_bounds__(kMmaThreads, kVectors ? 2 : 1) mma_product(const __grid_constant__ MmaArgs args) {
#if defined(__CUDA_ARCH__) && GORGO_MMA
  extern __shared__ __align__(16) uint16_t mma_shared[];
  uint16_t* const a_tiles = mma_shared;
  uint16_t* const b_tiles = mma_shared + kMmaStages * kMmaElements<kAlongA>;
  const Product& p = args.p;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int y0 = warp / 4 * 64;
  const int x0 = warp % 4 * 32;
  for (int64_t task = blockIdx.x; task < args.tasks; task += gridDim.x) {
    const int64_t tiles = args.row_tiles * args.column_tiles;
    const int64_t matrix = task / tiles;  // and part
    const int64_t tile = task - matrix * tiles;
    constexpr int64_t kGroup = 8;  // rows of tiles taken together, for the L2 cache
    const int64_t group = tile / (kGroup * args.column_tiles);
    const int64_t height = args.row_tiles - group * kGroup < kGroup ? args.row_tiles - group * kGroup : kGroup;
    const int64_t in_group = tile - group * kGroup * args.column_tiles;
    const int64_t row0 = (group * kGroup + in_group % height) * kMmaTile;
    const int64_t column0 = in_group / height * kMmaTile;
    const int64_t part = args.parts > 1 ? matrix / p.count : 0;
    const int64_t index = matrix - part * p.count;
    const int64_t k0 = part * args.part_k;
    const int64_t k_end = k0 + args.part_k < p.k ? k0 + args.part_k : p.k;
    int64_t offsets[2] = {0, 0};
    if (p.count > 1) p.stack.at(index, offsets);
    MmaTile<T, kAlongA, kVectors> a(static_cast<const T*>(p.a) + offsets[0] + row0 * p.a_row, p.m - row0, p.a_row,
                                    p.a_col);
    MmaTile<T, kAlongB, kVectors> b(static_cast<const T*>(p.b) + offsets[1] + column0 * p.b_col, p.n - column0, p.b_col,
                                    p.b_row);
    float sums[4][4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[i][j][e] = 0.0f;
      }
    }
    const auto a_at = [&](int stage) { return a_tiles + stage * kMmaElements<kAlongA>; };
    const auto b_at = [&](int stage) { return b_tiles + stage * kMmaElements<kAlongB>; };
    const auto depths_of = [&](int64_t at) {
      const int64_t left = k_end - at;
      return static_cast<int>(left < 0 ? 0 : left < kMmaDepth ? left : kMmaDepth);
    };
    const auto fetch = [&](int stage, int64_t at) {
      a.fetch(a_at(stage), at, depths_of(at));
      b.fetch(b_at(stage), at, depths_of(at));
      asm volatile("cp.async.commit_group;" ::: "memory");
    };
    const auto store = [&](int stage) {
      a.store(a_at(stage));
      b.store(b_at(stage));
    };
    __syncthreads();  // the last task's stages have been read
    fetch(0, k0);
    store(0);
    fetch(1, k0 + kMmaDepth);
    store(1);
    int stage = 0;
    for (int64_t at = k0; at < k_end; at += kMmaDepth) {
      // All but the youngest group have arrived: this stage's among them. Everyone has left the stage that is filled next.
      asm volatile("cp.async.wait_group 1;" ::: "memory");
      __syncthreads();
      const int next = stage == 0 ? 2 : stage - 1;
      fetch(next, at + 2 * kMmaDepth);
      const uint16_t* const at_a = a_at(stage);
      const uint16_t* const at_b = b_at(stage);
#pragma unroll
      for (int d = 0; d < kMmaDepth; d += 16) {
        uint32_t fa[4][4];
        uint32_t fb[2][4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int y = y0 + i * 16;
          if constexpr (kAlongA) {
            load_matrices<false>(fa[i], at_a + (y + lane % 16) * kMmaPitch<true> + d + lane / 16 * 8);
          } else {
            load_matrices<true>(fa[i], at_a + (d + lane / 16 * 8 + lane % 8) * kMmaPitch<false> + y + lane / 8 % 2 * 8);
          }
        }
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int x = x0 + j * 16;
          if constexpr (kAlongB) {
            load_matrices<false>(fb[j], at_b + (x + lane / 16 * 8 + lane % 8) * kMmaPitch<true> + d + lane / 8 % 2 * 8);
          } else {
            load_matrices<true>(fb[j], at_b + (d + lane / 8 % 2 * 8 + lane % 8) * kMmaPitch<false> + x + lane / 16 * 8);
          }
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            multiply_fragments<T>(sums[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
          }
        }
      }
      store(next);
      stage = stage == 2 ? 0 : stage + 1;
    }
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    const T* bias = static_cast<const T*>(p.bias);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t column = column0 + x0 + j * 8 + lane % 4 * 2;
      float add[2] = {0.0f, 0.0f};
      if (bias != nullptr && args.parts == 1) {
        if (column < p.n) add[0] = static_cast<float>(bias[column * p.bias_stride]);
        if (column + 1 < p.n) add[1] = static_cast<float>(bias[(column + 1) * p.bias_stride]);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int64_t row = row0 + y0 + i * 16 + lane / 4 + e / 2 * 8;
          if (row >= p.m || column + e % 2 >= p.n) continue;
          const int64_t to =
              (matrix * p.m + row) * p.n + column + e % 2;  // with one part, a matrix is an element of the stack
          if (args.parts > 1) {
            static_cast<float*>(args.sums)[to] = sums[i][j][e];
          } else {
            static_cast<T*>(p.c)[to] = T(sums[i][j][e] + add[e % 2]);
          }
        }
      }
    }
  }
#endif
}

// ---- host ----

// `scratch` has simt_scratch<T>(p) bytes.
template <class T>
void launch_mma(const Product& p, void* scratch, cudaStream_t stream) noexcept {
  MmaArgs args{p, ceil_div(p.m, kMmaTile), ceil_div(p.n, kMmaTile), 0, simt_parts(p), p.k, scratch};
  if (args.parts > 1) {
    args.part_k = ceil_div(ceil_div(p.k, args.parts), kMmaDepth) * kMmaDepth;
    args.parts = ceil_div(p.k, args.part_k);
  }
  args.tasks = args.row_tiles * args.column_tiles * p.count * args.parts;
  const auto vectors = [&](const void* data, int64_t row_stride, int64_t k_stride, int operand) {
    bool fine = reinterpret_cast<uintptr_t>(data) % 16 == 0 && (k_stride == 1 ? row_stride : k_stride) % 8 == 0;
    for (int i = 0; p.count > 1 && i < p.stack.rank; ++i) fine = fine && p.stack.strides[operand][i] % 8 == 0;
    return fine && (k_stride == 1 || row_stride == 1);
  };
  const bool a_along = p.a_col == 1 || p.a_row != 1;
  const bool b_along = p.b_row == 1 || p.b_col != 1;
  const bool both = vectors(p.a, p.a_row, p.a_col, 0) && vectors(p.b, p.b_col, p.b_row, 1);
  const unsigned grid = grid_of_tasks(args.tasks);
  const auto launch = [&](auto along_a, auto along_b) {
    constexpr bool kA = decltype(along_a)::value;
    constexpr bool kB = decltype(along_b)::value;
    const auto kernel = both ? mma_product<T, kA, kB, true> : mma_product<T, kA, kB, false>;
    allow_shared(kernel, kMmaShared<kA, kB>);
    kernel<<<grid, kMmaThreads, kMmaShared<kA, kB>, stream>>>(args);
  };
  if (a_along && b_along) {
    launch(std::true_type{}, std::true_type{});
  } else if (a_along) {
    launch(std::true_type{}, std::false_type{});
  } else if (b_along) {
    launch(std::false_type{}, std::true_type{});
  } else {
    launch(std::false_type{}, std::false_type{});
  }
  if (args.parts > 1) return launch_sum_parts<T>(p, scratch, args.parts, stream);
  launch_finish<T>(p.c, p.count * p.m * p.n, p.finish, stream);  // the kernel has no register to spare for it
}

}  // namespace gorgo::cuda
