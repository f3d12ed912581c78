// float32 products on Hopper's 16-bit tensor cores, as accurate as float32 multiply-adds.
//
// Each element is the exact sum of three bfloat16 parts of eight bits each (hi, mid, lo). Of the nine products of parts the six
// largest are formed, the smallest first; the three left out lie below 2**-26 of the result (Ootomo and Yokota, "Recovering single
// precision accuracy from Tensor Cores while surpassing the FP32 theoretical peak performance", 2022). The tensor cores cut off what
// falls below the last bit of a sum instead of rounding it, so they add up 64 products of k at most; these partial sums are added by
// ordinary additions. A first kernel splits both factors into planes in scratch, along k, and notes whether the parts hold
// everything; where they do not, the kernel on the planes leaves at once and the plain one behind it runs. All of it is decided on
// the device. Invariants: those of hopper.cuh. Read next: pack.cuh, hopper.cuh.
#pragma once

#include "kernels/cuda/gemm/hopper.cuh"
#include "kernels/cuda/gemm/pack.cuh"

namespace gorgo::cuda {

constexpr int kPlanes = kPlanesOf<float>;

template <int kM_>
struct SplitTile {
  using T = BFloat16;
  using Out = float;
  static constexpr int kM = kM_;
  static constexpr int kN = 128;
  static constexpr int kConsumers = kM / kRowsOfWarpgroup;
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kPlaneA = kM * kDepth * 2;
  static constexpr int kPlaneB = kN * kDepth * 2;
  static constexpr int kStage = kPlanes * (kPlaneA + kPlaneB);
  static constexpr int kStages = 2;
  static constexpr int kStaging = kConsumers * 2 * kStagingBytes;
  static constexpr int kShared = 1024 + kStages * kStage + kStaging + 16 * kStages;
  static constexpr int kColumns = 128 / static_cast<int>(sizeof(Out));
};

struct SplitProductArgs {
  HopperArgs h;  // maps have four axes: k, rows, matrix, plane
  const SplitVerdict* verdict;
};

#if GORGO_WGMMA
// The six products of one stage's planes, into `part`.
template <class Tile>
GORGO_DEVICE void multiply_planes(float (&part)[Tile::kN / 2], uint32_t a, uint32_t b) {
  constexpr int kHi = 0, kMid = 1, kLo = 2;
  constexpr int kPairs[6][2] = {{kMid, kMid}, {kHi, kLo}, {kLo, kHi}, {kHi, kMid}, {kMid, kHi}, {kHi, kHi}};
#pragma unroll
  for (int q = 0; q < 6; ++q) {
#pragma unroll
    for (int i = 0; i < kDepth / 16; ++i) {
      Wgmma<BFloat16, Tile::kN, 0, 0>::run(part, matrix_descriptor(a + kPairs[q][0] * Tile::kPlaneA + i * 32, 16, 1024),
                                           matrix_descriptor(b + kPairs[q][1] * Tile::kPlaneB + i * 32, 16, 1024),
                                           q == 0 && i == 0 ? 0 : 1);
    }
  }
}
#endif

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1) split_product(const __grid_constant__ SplitProductArgs all) {
#if GORGO_WGMMA
  if (!split_holds(*all.verdict)) return;
  const HopperArgs& args = all.h;
  extern __shared__ unsigned char hopper_shared[];
  constexpr int kStages = Tile::kStages;
  const uint32_t ring = (shared_address(hopper_shared) + 1023u) & ~1023u;
  const uint32_t staging = ring + kStages * Tile::kStage;
  const uint32_t full = staging + Tile::kStaging;  // barriers: a stage's bytes have arrived
  const uint32_t empty = full + 8 * kStages;       // barriers: a stage's readers have left
  const int warpgroup = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0);
  const int lane = threadIdx.x % 32;

  if (threadIdx.x == 0) {
    prefetch_map(&args.a);
    prefetch_map(&args.b);
    for (int i = 0; i < kStages; ++i) {
      barrier_init(full + 8 * i, 1);
      barrier_init(empty + 8 * i, Tile::kConsumers * 4);
    }
    barrier_init_fence();
  }
  __syncthreads();

  if (warpgroup == 0) {
    if constexpr (Tile::kConsumers == 2) give_registers<40>();
    if (threadIdx.x == 0) {
      int stage = 0;
      uint32_t parity = 0;
      for (int tile = blockIdx.x; tile < args.tiles; tile += gridDim.x) {
        const TilePlace p = place_of(args, tile);
        const int matrix_a = args.a_moves[0] ? p.inner : 0;
        const int matrix_b = args.b_moves[0] ? p.inner : 0;
        for (int depth = p.begin; depth < p.end; ++depth) {
          barrier_wait(empty + 8 * stage, parity ^ 1);
          const uint32_t to = ring + stage * Tile::kStage;
          const uint32_t barrier = full + 8 * stage;
          barrier_expect(barrier, Tile::kStage);
#pragma unroll
          for (int q = 0; q < kPlanes; ++q) {
            load_box(to + q * Tile::kPlaneA, &args.a, barrier, depth * kDepth, p.row * Tile::kM, matrix_a, q);
            load_box(to + kPlanes * Tile::kPlaneA + q * Tile::kPlaneB, &args.b, barrier, depth * kDepth,
                     p.column * Tile::kN, matrix_b, q);
          }
          if (++stage == kStages) {
            stage = 0;
            parity ^= 1;
          }
        }
      }
    }
  } else {
    if constexpr (Tile::kConsumers == 2) take_registers<232>();
    const int mine = warpgroup - 1;
    const uint32_t buffers = staging + mine * 2 * kStagingBytes;
    uint32_t stores = 0;
    int stage = 0;
    uint32_t parity = 0;
    // While one partial sum is being formed, the one before is added to the whole.
    float sums[Tile::kN / 2];
    float even[Tile::kN / 2];
    float odd[Tile::kN / 2];
    const auto multiply = [&](float (&part)[Tile::kN / 2]) {
      barrier_wait(full + 8 * stage, parity);
      const uint32_t at = ring + stage * Tile::kStage;
      products_fence();
      multiply_planes<Tile>(part, at + mine * kRowsOfWarpgroup * kDepth * 2, at + kPlanes * Tile::kPlaneA);
      products_commit();
    };
    const auto advance = [&] {
      if (++stage == kStages) {
        stage = 0;
        parity ^= 1;
      }
    };
    const auto collect = [&](float (&part)[Tile::kN / 2], int from) {
      products_pin(part);
      if (lane == 0) barrier_arrive(empty + 8 * from);
#pragma unroll
      for (int i = 0; i < Tile::kN / 2; ++i) sums[i] += part[i];
    };
    const auto turn = [&](float (&next)[Tile::kN / 2], float (&done)[Tile::kN / 2]) {
      const int from = stage ^ 1;
      multiply(next);
      products_wait<1>();
      collect(done, from);
      advance();
    };
    static_assert(kStages == 2);
    for (int tile = blockIdx.x; tile < args.tiles; tile += gridDim.x) {
      const TilePlace p = place_of(args, tile);
#pragma unroll
      for (int i = 0; i < Tile::kN / 2; ++i) sums[i] = 0.0f;
      multiply(even);
      advance();
      int left = p.end - p.begin - 1;
      for (; left >= 2; left -= 2) {
        turn(odd, even);
        turn(even, odd);
      }
      if (left == 1) {
        turn(odd, even);
        products_wait<0>();
        collect(odd, stage ^ 1);
      } else {
        products_wait<0>();
        collect(even, stage ^ 1);
      }
      store_tile<Tile>(args, p, sums, buffers, 1 + mine, p.row * Tile::kM + mine * kRowsOfWarpgroup, stores);
    }
    if (threadIdx.x % 128 == 0) wait_stores_read<0>();
  }
#endif
}

// ---- host ----

// Whether the split is worth its first pass; by sizes alone.
// Measured on an H200: at 512 the passes that split cost more than the units gain, at 1024 they gain twice that.
inline bool split_pays(const Product& p) noexcept {
  constexpr double kLeastWork = 768.0 * 768.0 * 768.0;
  return p.m >= 256 && p.n >= 256 && p.k >= 256 && p.work() >= kLeastWork && p.count < 65536 && p.m < (1 << 30) &&
         p.n < (1 << 30) && p.k < (1 << 30);
}

template <class Tile>
bool launch_planes(const Product& p, const PackPlan& s, const uint16_t* a, const uint16_t* b,
                   const SplitVerdict* verdict, cudaStream_t stream) noexcept {
  SplitProductArgs all{};
  HopperArgs& args = all.h;
  const auto map_planes = [&](CUtensorMap& map, const uint16_t* data, int64_t rows, int64_t matrices, int box_rows) {
    const uint64_t lengths[4] = {static_cast<uint64_t>(p.k), static_cast<uint64_t>(rows),
                                 static_cast<uint64_t>(matrices), kPlanes};
    const auto pitch = static_cast<uint64_t>(s.pitch) * 2;
    const uint64_t pitches[3] = {pitch, pitch * lengths[1], pitch * lengths[1] * lengths[2]};
    const uint32_t box[4] = {kDepth, static_cast<uint32_t>(box_rows), 1, 1};
    return encode_map(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, data, lengths, pitches, box);
  };
  if (!map_planes(args.a, a, p.m, s.matrices[0], Tile::kM)) return false;
  if (!map_planes(args.b, b, p.n, s.matrices[1], Tile::kN)) return false;
  args.mapped_c = p.n % 4 == 0 && reinterpret_cast<uintptr_t>(p.c) % kMapAlignment == 0 && p.m * p.n * 4 <= kMaxPitch;
  if (args.mapped_c) {
    const uint64_t lengths[3] = {static_cast<uint64_t>(p.n), static_cast<uint64_t>(p.m),
                                 static_cast<uint64_t>(p.count)};
    const uint64_t pitches[2] = {static_cast<uint64_t>(p.n) * 4, static_cast<uint64_t>(p.m * p.n) * 4};
    const uint32_t box[3] = {Tile::kColumns, kRowsOfWarpgroup, 1};
    args.mapped_c = encode_map(args.c, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 3, p.c, lengths, pitches, box);
  }
  args.out = p.c;
  args.bias = p.bias;
  args.bias_stride = p.bias_stride;
  args.m = static_cast<int32_t>(p.m);
  args.n = static_cast<int32_t>(p.n);
  args.depths = static_cast<int32_t>(ceil_div(p.k, kDepth));
  args.splits = 1;
  args.per_split = args.depths;
  args.rows = static_cast<int32_t>(ceil_div(p.m, Tile::kM));
  args.columns = static_cast<int32_t>(ceil_div(p.n, Tile::kN));
  args.group = 2048 / Tile::kM;
  const int64_t tiles = int64_t{args.rows} * args.columns * p.count;
  if (tiles >= (int64_t{1} << 30)) return false;
  args.tiles = static_cast<int32_t>(tiles);
  args.inner = static_cast<int32_t>(p.count);
  args.a_moves[0] = s.matrices[0] > 1;
  args.b_moves[0] = s.matrices[1] > 1;
  all.verdict = verdict;
  const int64_t most = card().multiprocessors;
  allow_shared(split_product<Tile>, Tile::kShared);
  split_product<Tile>
      <<<static_cast<unsigned>(tiles < most ? tiles : most), Tile::kThreads, Tile::kShared, stream>>>(all);
  return true;
}

// Enqueues the split and the product of the planes; false, with the product still to be formed, when a map cannot be made. After it
// the plain kernel is to be launched with `verdict`.
template <class T>
  requires std::is_same_v<T, float>
bool launch_split(const Product& p, void* scratch, SplitVerdict*& verdict, cudaStream_t stream) noexcept {
  const PackPlan s = pack_plan<float>(p);
  const Packed packed = launch_pack<float>(p, s, scratch, stream);
  verdict = packed.verdict;
  // Small tiles where large ones would leave multiprocessors idle.
  const int64_t large = ceil_div(p.m, 128) * ceil_div(p.n, 128) * p.count;
  const int64_t small = ceil_div(p.m, 64) * ceil_div(p.n, 128) * p.count;
  const int64_t processors = card().multiprocessors;
  if (ceil_div(large, processors) * 2 <= ceil_div(small, processors)) {
    return launch_planes<SplitTile<128>>(p, s, packed.planes[0], packed.planes[1], verdict, stream);
  }
  return launch_planes<SplitTile<64>>(p, s, packed.planes[0], packed.planes[1], verdict, stream);
}

}  // namespace gorgo::cuda
