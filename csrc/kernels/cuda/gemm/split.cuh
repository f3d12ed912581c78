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

constexpr int kPlanes = InParts::kPlanes;

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
  static constexpr int kSlot = kPlaneA + kPlaneB;  // one plane of each factor
  static constexpr int kSlots = 192 * 1024 / kSlot;
  static constexpr int kStaging = kConsumers * 2 * kStagingBytes;
  static constexpr int kBias = kN * static_cast<int>(sizeof(Out));
  static constexpr int kFront = (16 * kSlots + kConsumers * kBias + 1023) / 1024 * 1024;
  static constexpr int kShared = kFront + kSlots * kSlot + kStaging;
  static constexpr int kColumns = 128 / static_cast<int>(sizeof(Out));
  static_assert(kSlots >= 2 * kPlanes);
};

struct SplitProductArgs {
  HopperArgs h;  // maps have four axes: k, rows, matrix, plane
  const SplitVerdict* verdict;
};

// In this order a stage's planes go through the ring: the least of them is needed first and free first.
constexpr int kHi = 0, kMid = 1, kLo = 2;

#if GORGO_WGMMA
// part += A B for one plane of each, or part = A B.
template <class Tile, bool kFirst>
GORGO_DEVICE void multiply_planes(float (&part)[Tile::kN / 2], uint32_t a, uint32_t b) {
#pragma unroll
  for (int i = 0; i < kDepth / 16; ++i) {
    Wgmma<BFloat16, Tile::kN, 0, 0>::run(part, matrix_descriptor(a + i * 32, 16, 1024),
                                         matrix_descriptor(b + i * 32, 16, 1024), kFirst && i == 0 ? 0 : 1);
  }
}
#endif

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1) split_product(const __grid_constant__ SplitProductArgs all) {
#if GORGO_WGMMA
  const HopperArgs& args = all.h;
  extern __shared__ __align__(1024) unsigned char hopper_shared[];
  constexpr int kSlots = Tile::kSlots;
  const uint32_t full = shared_address(hopper_shared);  // barriers: a slot's bytes have arrived
  const uint32_t empty = full + 8 * kSlots;             // barriers: a slot's readers have left
  const uint32_t ring = full + Tile::kFront;
  const uint32_t staging = ring + kSlots * Tile::kSlot;
  const int warpgroup = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0);
  const int lane = threadIdx.x % 32;

  if (threadIdx.x == 0) {
    prefetch_map(&args.a);
    prefetch_map(&args.b);
    for (int i = 0; i < kSlots; ++i) {
      barrier_init(full + 8 * i, 1);
      barrier_init(empty + 8 * i, Tile::kConsumers * 4);
    }
    barrier_init_fence();
  }
  __syncthreads();
  stream_pass();
  stream_wait();
  if (!split_holds(*all.verdict)) return;

  int slot = 0;
  uint32_t parity = 0;
  const auto advance = [&] {
    if (++slot == kSlots) {
      slot = 0;
      parity ^= 1;
    }
  };
  if (warpgroup == 0) {
    if constexpr (Tile::kConsumers == 2) give_registers<40>();
    if (threadIdx.x == 0) {
      for (int tile = blockIdx.x; tile < args.tiles; tile += gridDim.x) {
        const TilePlace p = place_of(args, tile);
        const int matrix_a = args.a_moves[0] ? p.inner : 0;
        const int matrix_b = args.b_moves[0] ? p.inner : 0;
        for (int depth = p.begin; depth < p.end; ++depth) {
#pragma unroll
          for (int i = 0; i < kPlanes; ++i) {
            const int q = i == 0 ? kLo : i == 1 ? kHi : kMid;
            const uint32_t to = ring + slot * Tile::kSlot;
            const uint32_t barrier = full + 8 * slot;
            barrier_wait(empty + 8 * slot, parity ^ 1);
            barrier_expect(barrier, Tile::kSlot);
            load_box(to, &args.a, barrier, depth * kDepth, p.row * Tile::kM, matrix_a, q);
            load_box(to + Tile::kPlaneA, &args.b, barrier, depth * kDepth, p.column * Tile::kN, matrix_b, q);
            advance();
          }
        }
      }
    }
  } else {
    if constexpr (Tile::kConsumers == 2) take_registers<232>();
    const int mine = warpgroup - 1;
    const uint32_t buffers = staging + mine * 2 * kStagingBytes;
    auto* const bias = reinterpret_cast<float*>(hopper_shared + 16 * kSlots + mine * Tile::kBias);
    uint32_t stores = 0;
    int last_hi = 0;
    int last_mid = 0;
    // While one partial sum is being formed, the one before is added to the whole.
    float sums[Tile::kN / 2];
    float even[Tile::kN / 2];
    float odd[Tile::kN / 2];
    const auto await = [&] {
      barrier_wait(full + 8 * slot, parity);
      const int here = slot;
      advance();
      return here;
    };
    const auto release = [&](int which) {
      if (lane == 0) barrier_arrive(empty + 8 * which);
    };
    const auto a_of = [&](int which) { return ring + which * Tile::kSlot + mine * kRowsOfWarpgroup * kDepth * 2; };
    const auto b_of = [&](int which) { return ring + which * Tile::kSlot + Tile::kPlaneA; };
    const auto collect = [&](float (&part)[Tile::kN / 2]) {
      products_pin(part);
      release(last_hi);
      release(last_mid);
#pragma unroll
      for (int i = 0; i < Tile::kN / 2; ++i) sums[i] += part[i];
      products_pin(
          sums);  // before `part` is multiplied into again: the compiler does not see that the units write it later
    };
    // One stage of k into `part`; the stage before, if there is one, is `done` in the meantime.
    const auto turn = [&](float (&part)[Tile::kN / 2], float (&done)[Tile::kN / 2], auto first) {
      const int lo = await();
      const int hi = await();
      products_fence();
      multiply_planes<Tile, true>(part, a_of(lo), b_of(hi));
      multiply_planes<Tile, false>(part, a_of(hi), b_of(lo));
      products_commit();
      if constexpr (!decltype(first)::value) {
        products_wait<1>();
        collect(done);
      }
      const int mid = await();
      products_fence();
      multiply_planes<Tile, false>(part, a_of(mid), b_of(mid));
      multiply_planes<Tile, false>(part, a_of(hi), b_of(mid));
      multiply_planes<Tile, false>(part, a_of(mid), b_of(hi));
      multiply_planes<Tile, false>(part, a_of(hi), b_of(hi));
      products_commit();
      products_wait<1>();
      release(lo);
      last_hi = hi;
      last_mid = mid;
    };
    for (int tile = blockIdx.x; tile < args.tiles; tile += gridDim.x) {
      const TilePlace p = place_of(args, tile);
      TileBias<Tile> added;
      added.load(args, p.column * Tile::kN);
#pragma unroll
      for (int i = 0; i < Tile::kN / 2; ++i) sums[i] = 0.0f;
      turn(even, odd, std::true_type{});
      added.store(args, bias);
      int left = p.end - p.begin - 1;
      for (; left >= 2; left -= 2) {
        turn(odd, even, std::false_type{});
        turn(even, odd, std::false_type{});
      }
      if (left == 1) {
        turn(odd, even, std::false_type{});
        products_wait<0>();
        collect(odd);
      } else {
        products_wait<0>();
        collect(even);
      }
      store_tile<Tile>(args, p, sums, bias, buffers, 1 + mine, p.row * Tile::kM + mine * kRowsOfWarpgroup, stores);
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
bool launch_planes(const Product& p, const PackPlan& s, const void* a, const void* b, const SplitVerdict* verdict,
                   cudaStream_t stream) noexcept {
  SplitProductArgs all{};
  HopperArgs& args = all.h;
  const auto map_planes = [&](CUtensorMap& map, const void* data, int64_t rows, int64_t matrices, int box_rows) {
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
  args.per_split = args.depths;
  args.rows = static_cast<int32_t>(ceil_div(p.m, Tile::kM));
  args.columns = static_cast<int32_t>(ceil_div(p.n, Tile::kN));
  args.group = kGroupRows / Tile::kM;
  const int64_t tiles = int64_t{args.rows} * args.columns * p.count;
  if (tiles >= (int64_t{1} << 30)) return false;
  args.tiles = static_cast<int32_t>(tiles);
  args.count = static_cast<int32_t>(p.count);
  args.inner = static_cast<int32_t>(p.count);
  args.a_moves[0] = s.matrices[0] > 1;
  args.b_moves[0] = s.matrices[1] > 1;
  all.verdict = verdict;
  const int64_t most = card().multiprocessors;
  allow_shared(split_product<Tile>, Tile::kShared);
  launch_in_stream(split_product<Tile>, static_cast<unsigned>(tiles < most ? tiles : most), Tile::kThreads,
                   Tile::kShared, 1, stream, all);
  return true;
}

// Enqueues the split and the product of the planes; false, with the product still to be formed, when a map cannot be made. After it
// the plain kernel is to be launched with `verdict`.
template <class T>
  requires std::is_same_v<T, float>
bool launch_split(const Product& p, void* scratch, SplitVerdict*& verdict, cudaStream_t stream) noexcept {
  const PackPlan s = pack_plan<InParts>(p);
  const Packed packed = launch_pack<InParts>(p, s, scratch, stream);
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
