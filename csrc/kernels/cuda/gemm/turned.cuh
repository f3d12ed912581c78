// The consumers of hopper.cuh for a tf32 product whose B lies along n.
//
// The matrix units take 32-bit factors along k alone, unless the first one comes out of registers. So the tile is formed transposed,
// B's columns as its rows: a thread picks its elements of B out of the stage that the copy engine brought, and A is read in shared
// memory as ever. Which columns a warp has is chosen so that neither these reads nor the transposed writes of the result meet in a
// bank of shared memory.
// Invariant: B's elements of a stage lie in one of two sets of registers until the units have read them. Read next: hopper.cuh.
#pragma once

#include "kernels/cuda/gemm/wgmma.cuh"

namespace gorgo::cuda {

constexpr int kRowBytes = 128;  // of k in one stage: the width of the swizzle

#if defined(__CUDACC__) && GORGO_WGMMA

GORGO_DEVICE uint32_t load_shared(uint32_t from) {
  uint32_t v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(from) : "memory");
  return v;
}

// Where a thread's elements lie: two columns of the 64 that its warpgroup has, in boxes of 32 columns and as many of k, and in
// each eight rows of k two of them. Sixteen bytes of a row of k are a chunk; the copy engine puts chunk c of row k at c ^ (k % 8).
struct TurnedPlace {
  int box;       // of the warpgroup's two
  int chunk[2];  // in a row of the box
  int word;      // in a chunk
  int row;       // of k: this one and the fourth behind it; and of the result: twice this

  GORGO_DEVICE TurnedPlace(int warp, int lane) {
    const int g = lane / 4;
    box = warp / 2;
    // Lanes apart by 16 take chunks whose numbers differ in the first and the third bit.
    for (int h = 0; h < 2; ++h) chunk[h] = (warp % 2 * 2 + h) ^ (g / 4 * 5);
    word = g % 4;
    row = lane % 4;
  }
  [[nodiscard]] GORGO_DEVICE int column(int h) const { return box * 32 + chunk[h] * 4 + word; }
};

// A warpgroup's columns of a tile: kM x 64 sums, column by column in registers, to memory.
template <class Tile, class Args, class Place>
GORGO_DEVICE void store_turned(const Args& args, const Place& p, const TurnedPlace& at, float (&sums)[Tile::kM / 2],
                               uint32_t staging, int name, int column, uint32_t& stores) {
  constexpr int kRows = Tile::kStoredRows;
  constexpr uint32_t kBuffer = kRows * 128;  // of a box's 32 columns
  const int first_row = p.row * Tile::kM;
  if (!args.mapped_c) {
    float* const out = static_cast<float*>(args.out) + int64_t{p.part} * args.m * args.n;
#pragma unroll
    for (int i = 0; i < Tile::kM / 2; ++i) {
      const int r = first_row + i / 4 * 8 + 2 * at.row + i % 2;
      const int c = column + at.column(i / 2 % 2);
      if (r < args.m && c < args.n) out[int64_t{r} * args.n + c] = sums[i];
    }
    return;
  }
#pragma unroll
  for (int s = 0; s < Tile::kM / kRows; ++s) {
    const uint32_t buffers = staging + stores % 2 * 2 * kBuffer;
    ++stores;
    if (threadIdx.x % 128 == 0) wait_stores_read<1>();
    sync_threads(name, 128);
#pragma unroll
    for (int i = 0; i < kRows / 2; ++i) {
      const int row = i / 4 * 8 + 2 * at.row + i % 2;
      const int chunk = at.chunk[i / 2 % 2] ^ (row % 8);
      asm volatile("st.shared.f32 [%0], %1;" ::"r"(buffers + at.box * kBuffer + row * 128 + (chunk << 4) + at.word * 4),
                   "f"(sums[s * (kRows / 2) + i])
                   : "memory");
    }
    fence_for_engines();
    sync_threads(name, 128);
    if (threadIdx.x % 128 == 0) {
      const int row = first_row + s * kRows;
#pragma unroll
      for (int b = 0; b < 2; ++b) {
        const int c = column + b * 32;
        if (row < args.m && c < args.n) store_box(&args.c, buffers + b * kBuffer, c, row, p.part);
      }
      commit_stores();
    }
  }
}

// All tiles of a block, by warpgroup `mine` of its consumers; place_at(tile) says where a tile lies.
template <class Tile, class Args, class PlaceAt>
GORGO_DEVICE void consume_turned(const Args& args, const PlaceAt& place_at, uint32_t ring, uint32_t full,
                                 uint32_t empty, uint32_t staging, int mine) {
  const int lane = threadIdx.x % 32;
  const TurnedPlace at(threadIdx.x % 128 / 32, lane);
  // Of a thread's elements in the first eight rows of k of a stage: column, half of the rows.
  uint32_t from[2][2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int k = at.row + 4 * half;
      from[h][half] = Tile::kBytesA + (mine * 2 + at.box) * Tile::kDepth * kRowBytes + k * kRowBytes +
                      ((at.chunk[h] ^ k) << 4) + at.word * 4;
    }
  }
  uint32_t stores = 0;
  int stage = 0;
  uint32_t parity = 0;
  int begun = 0;  // the stage that is being multiplied
  float sums[Tile::kM / 2];
  uint32_t even[4][4];
  uint32_t odd[4][4];
  const auto release = [&](int which) {
    if (lane == 0) barrier_arrive(empty + 8 * which);
  };
  // Reads a stage's elements of B while the stage before it is multiplied, then multiplies; the one before is done behind it.
  const auto turn = [&](uint32_t (&b)[4][4], auto first) {
    constexpr bool kFirst = decltype(first)::value;
    const uint32_t here = ring + stage * Tile::kStage;
    barrier_wait(full + 8 * stage, parity);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) b[i][e] = load_shared(here + from[e % 2][e / 2] + i * 8 * kRowBytes);
    }
    products_fence();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      WgmmaFromRegisters<Tile::kM>::run(sums, b[i], matrix_descriptor(here + i * 32, 16, 1024),
                                        kFirst && i == 0 ? 0 : 1);
    }
    products_commit();
    if constexpr (!kFirst) {
      products_wait<1>();
      release(begun);
    }
    begun = stage;
    if (++stage == Tile::kStages) {
      stage = 0;
      parity ^= 1;
    }
  };
  for (int tile = blockIdx.x; tile < args.tiles; tile += gridDim.x) {
    const auto p = place_at(tile);
    const int column = p.column * Tile::kN + mine * 64;
    float bias[2] = {0.0f, 0.0f};
    if (args.bias != nullptr) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int c = column + at.column(h);
        if (c < args.n) bias[h] = static_cast<const float*>(args.bias)[c * args.bias_stride];
      }
    }
    turn(even, std::true_type{});
    int left = p.end - p.begin - 1;
    for (; left >= 2; left -= 2) {
      turn(odd, std::false_type{});
      turn(even, std::false_type{});
    }
    if (left == 1) turn(odd, std::false_type{});
    products_wait<0>();
    products_pin(sums);
    release(begun);
    if (args.bias != nullptr) {
#pragma unroll
      for (int i = 0; i < Tile::kM / 2; ++i) sums[i] += bias[i / 2 % 2];
    }
    store_turned<Tile>(args, p, at, sums, staging, 1 + mine, column, stores);
  }
  if (threadIdx.x % 128 == 0) wait_stores_read<0>();
}

#endif

}  // namespace gorgo::cuda
