// The product of 16-bit floats, and of float32 read as tf32, on Hopper's tensor cores (sm_90a).
//
// One producer warp feeds a ring of shared-memory stages through the copy engine; one or two consumer warpgroups multiply 64 rows
// each out of shared memory into registers; results leave through a staging buffer, again by the copy engine. Blocks stay on their
// multiprocessors and take tiles in turn, in groups of rows so that neighbours find each other's factors in the L2 cache. (Clusters
// whose blocks share a factor, or k, were measured and are slower.)
// Invariants: a stage is refilled only after every consumer warp has given it back; sums run over k in order, so no result depends
// on the grid. Read next: wgmma.cuh (the instructions), turned.cuh, tensor_map.cuh, gemm.cuh (who comes here).
#pragma once

#include "kernels/cuda/built_for.cuh"
#include "kernels/cuda/gemm/product.cuh"
#include "kernels/cuda/gemm/tensor_map.cuh"
#include "kernels/cuda/gemm/turned.cuh"
#include "kernels/cuda/gemm/wgmma.cuh"
#include "kernels/cuda/in_stream.cuh"

namespace gorgo::cuda {

template <class T>
constexpr int kDepthOf = kRowBytes / static_cast<int>(sizeof(T));
constexpr int kDepth = kDepthOf<BFloat16>;
constexpr int kStagingBytes = 8192;  // 64 rows of 128 bytes
constexpr int kRowsOfWarpgroup = 64;

// kTransA: A lies along m; kTransB: B lies along n (so a plain row-major product has kTransA = false, kTransB = true).
template <class T_, class Out_, int kM_, int kN_, bool kTransA_, bool kTransB_>
struct HopperTile {
  using T = T_;
  using Out = Out_;
  static constexpr int kM = kM_;
  static constexpr int kN = kN_;
  static constexpr bool kTransA = kTransA_;
  static constexpr bool kTransB = kTransB_;
  static constexpr bool kTurned = sizeof(T) == 4 && kTransB;  // turned.cuh: warpgroups have 64 columns each
  static constexpr int kConsumers = (kTurned ? kN : kM) / kRowsOfWarpgroup;
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kDepth = kDepthOf<T>;
  static constexpr int kBytesA = kM * kRowBytes;
  static constexpr int kBytesB = kN * kRowBytes;
  static constexpr int kStage = kBytesA + kBytesB;
  // On one multiprocessor; what is turned in wide tiles wants the registers of both.
  static constexpr int kBlocks = kConsumers == 1 && !(kTurned && kM > 64) ? 2 : 1;
  static constexpr int kRoom = (kBlocks == 2 ? 96 : 192) * 1024 / kStage;
  static constexpr int kStages = kRoom < 8 ? kRoom : 8;
  static constexpr int kStaging = kConsumers * 2 * kStagingBytes;
  static constexpr int kBias = kN * static_cast<int>(sizeof(Out));  // bytes, of each warpgroup
  // The barriers and the bias lie in front, so that the ring begins aligned.
  static constexpr int kFront = (16 * kStages + kConsumers * kBias + 1023) / 1024 * 1024;
  static constexpr int kShared = kFront + kStages * kStage + kStaging;
  static constexpr int kColumns = 128 / static_cast<int>(sizeof(Out));  // of one staging buffer
  static constexpr int kStoredRows = kTurned ? 32 : 64;                 // at a time
  static_assert(sizeof(T) == 2 || !kTransA);
  static_assert(kN <= 256 && kStages >= 4 && kN % kColumns == 0);
};

struct HopperArgs {
  CUtensorMap a;
  CUtensorMap b;
  CUtensorMap c;
  void* out;  // where the result is stored without a map
  const void* bias;
  int64_t bias_stride;
  int32_t m, n;
  int32_t depths;         // stages that k takes
  int32_t per_split;      // of them, in one of the parts that k is cut into, each with a result of its own
  int32_t rows, columns;  // of tiles
  int32_t group;          // rows that are taken together
  int32_t tiles;          // of all: rows * columns * parts of k * stack
  int32_t count;          // of the stack
  int32_t inner;          // length of the stack's inner axis
  bool stacked;           // maps have four axes
  bool mapped_c;
  // Whether the factor moves along the stack's inner and outer axis.
  bool a_moves[2];
  bool b_moves[2];
};

struct TilePlace {
  int row, column, part;  // part: of k and, within that, of the stack
  int begin, end;         // stages
  int inner, outer;       // place in the stack
};

GORGO_DEVICE TilePlace place_of(const HopperArgs& args, int tile) {
  TilePlace p;
  const int each = args.rows * args.columns;
  p.part = tile / each;
  int left = tile - p.part * each;
  const int in_group = args.group * args.columns;
  const int group = left / in_group;
  left -= group * in_group;
  const int first = group * args.group;
  const int height = min(args.group, args.rows - first);
  p.column = left / height;
  p.row = first + left - p.column * height;
  const int split = p.part / args.count;
  const int index = p.part - split * args.count;
  p.begin = split * args.per_split;
  p.end = min(p.begin + args.per_split, args.depths);
  p.outer = index / args.inner;
  p.inner = index - p.outer * args.inner;
  return p;
}

#if GORGO_WGMMA

template <class Out>
GORGO_DEVICE uint32_t pack_pair(float x, float y) {
  uint32_t r;
  if constexpr (std::is_same_v<Out, BFloat16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(y), "f"(x));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(y), "f"(x));
  }
  return r;
}

// One stage: both factors' boxes at depth `depth`, announced to `barrier`.
template <class Tile>
GORGO_DEVICE void fetch_stage(const HopperArgs& args, const TilePlace& p, uint32_t to, uint32_t barrier, int depth) {
  const int k = depth * Tile::kDepth;
  const auto fetch = [&](const CUtensorMap* map, const bool (&moves)[2], uint32_t at, int x, int y) {
    if (args.stacked) {
      load_box(at, map, barrier, x, y, moves[0] ? p.inner : 0, moves[1] ? p.outer : 0);
    } else {
      load_box(at, map, barrier, x, y);
    }
  };
  const int row = p.row * Tile::kM;
  barrier_expect(barrier, Tile::kStage);
  if constexpr (Tile::kTransA) {
#pragma unroll
    for (int i = 0; i < Tile::kM / 64; ++i) fetch(&args.a, args.a_moves, to + i * 64 * kRowBytes, row + i * 64, k);
  } else {
    fetch(&args.a, args.a_moves, to, k, row);
  }
  const uint32_t to_b = to + Tile::kBytesA;
  const int column = p.column * Tile::kN;
  if constexpr (Tile::kTransB) {
#pragma unroll
    for (int i = 0; i < Tile::kN / Tile::kDepth; ++i) {
      fetch(&args.b, args.b_moves, to_b + i * Tile::kDepth * kRowBytes, column + i * Tile::kDepth, k);
    }
  } else {
    fetch(&args.b, args.b_moves, to_b, k, column);
  }
}

// The products of one stage by one warpgroup.
template <class Tile, bool kFirst>
GORGO_DEVICE void multiply_stage(float (&sums)[Tile::kN / 2], uint32_t a, uint32_t b) {
  constexpr uint32_t kBlock = 64 * kRowBytes;  // of 64 rows along either axis
#pragma unroll
  for (int i = 0; i < kRowBytes / 32; ++i) {
    const uint32_t a_at = a + i * (Tile::kTransA ? 16 * 128 : 32);
    const uint32_t b_at = b + i * (Tile::kTransB ? 16 * 128 : 32);
    Wgmma<typename Tile::T, Tile::kN, Tile::kTransA, Tile::kTransB>::run(
        sums, matrix_descriptor(a_at, Tile::kTransA ? kBlock : 16, 1024),
        matrix_descriptor(b_at, Tile::kTransB ? kBlock : 16, 1024), kFirst && i == 0 ? 0 : 1);
  }
}

// The bias of a tile's columns on its way to the warpgroup's own place in shared memory: asked for before the products, stored there
// while they run.
template <class Tile>
struct TileBias {
  static constexpr int kCount = (Tile::kN + 127) / 128;
  typename Tile::Out held[kCount];

  GORGO_DEVICE void load(const HopperArgs& args, int column) {
    if (args.bias == nullptr) return;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int c = column + i * 128 + threadIdx.x % 128;
      held[i] = {};
      if (c < args.n) held[i] = static_cast<const typename Tile::Out*>(args.bias)[c * args.bias_stride];
    }
  }
  GORGO_DEVICE void store(const HopperArgs& args, typename Tile::Out* to) const {
    if (args.bias == nullptr) return;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int c = i * 128 + threadIdx.x % 128;
      if (c < Tile::kN) to[c] = held[i];
    }
  }
};

// A warpgroup's 64 x kN sums to memory. `stores` counts its staging buffers in use over time. `bias` lies in shared memory.
template <class Tile>
GORGO_DEVICE void store_tile(const HopperArgs& args, const TilePlace& p, float (&sums)[Tile::kN / 2],
                             const typename Tile::Out* bias, uint32_t staging, int name, int row, uint32_t& stores) {
  using Out = typename Tile::Out;
  const int thread = threadIdx.x % 128;
  const int warp = thread / 32;
  const int lane = thread % 32;
  const int column = p.column * Tile::kN;
#pragma unroll
  for (int s = 0; s < Tile::kN / Tile::kColumns; ++s) {
    constexpr int kGroups = Tile::kColumns / 8;  // of eight columns; a thread has two of each, in two rows
    float* const v = &sums[s * kGroups * 4];
    const int inside = s * Tile::kColumns + 2 * (lane % 4);
    const int left = column + inside;
    if (thread == 0) wait_stores_read<1>();
    sync_threads(name, 128);
    if (args.bias != nullptr) {
#pragma unroll
      for (int j = 0; j < kGroups; ++j) {
        const float x = widen(bias[inside + 8 * j]);
        const float y = widen(bias[inside + 8 * j + 1]);
        v[4 * j] += x;
        v[4 * j + 1] += y;
        v[4 * j + 2] += x;
        v[4 * j + 3] += y;
      }
    }
    if (!args.mapped_c) {
      const int top = row + warp * 16 + lane / 4;
      Out* out = static_cast<Out*>(args.out) + (int64_t{p.part} * args.m + top) * args.n + left;
#pragma unroll
      for (int j = 0; j < kGroups; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (top + i / 2 * 8 < args.m && left + 8 * j + i % 2 < args.n) {
            out[int64_t{i / 2 * 8} * args.n + 8 * j + i % 2] = narrow<Out>(v[4 * j + i]);
          }
        }
      }
      continue;
    }
    const uint32_t buffer = staging + (stores % 2) * kStagingBytes;
    ++stores;
    if constexpr (sizeof(Out) == 2) {
      // stmatrix: eight lanes give the rows of each of four 8 x 8 matrices: two row groups times two column groups.
      const int r = warp * 16 + lane % 8 + (lane / 8 % 2) * 8;
#pragma unroll
      for (int j = 0; j < 8; j += 2) {
        const int chunk = j + lane / 16;
        const float* u = v + 4 * j;
        store_matrices(buffer + r * 128 + ((chunk ^ (r % 8)) << 4), pack_pair<Out>(u[0], u[1]),
                       pack_pair<Out>(u[2], u[3]), pack_pair<Out>(u[4], u[5]), pack_pair<Out>(u[6], u[7]));
      }
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int r = warp * 16 + lane / 4 + half * 8;
          const int chunk = 2 * j + lane % 4 / 2;
          const float* u = v + 4 * j + 2 * half;
          asm volatile(
              "st.shared.v2.f32 [%0], {%1, %2};" ::"r"(buffer + r * 128 + ((chunk ^ (r % 8)) << 4) + lane % 2 * 8),
              "f"(u[0]), "f"(u[1])
              : "memory");
        }
      }
    }
    fence_for_engines();
    sync_threads(name, 128);
    if (thread == 0) {
      const int c = column + s * Tile::kColumns;
      if (row < args.m && c < args.n) store_box(&args.c, buffer, c, row, p.part);
      commit_stores();
    }
  }
  if (!args.mapped_c) sync_threads(name, 128);  // everyone has read the bias
}

// All tiles of a block, by warpgroup `mine` of its consumers.
template <class Tile>
GORGO_DEVICE void consume(const HopperArgs& args, uint32_t ring, uint32_t full, uint32_t empty, uint32_t buffers,
                          typename Tile::Out* bias, int mine) {
  const int lane = threadIdx.x % 32;
  uint32_t stores = 0;
  int stage = 0;
  uint32_t parity = 0;
  const auto release = [&](int which) {
    if (lane == 0) barrier_arrive(empty + 8 * which);
  };
  float sums[Tile::kN / 2];
  for (int tile = blockIdx.x; tile < args.tiles; tile += gridDim.x) {
    const TilePlace p = place_of(args, tile);
    TileBias<Tile> added;
    added.load(args, p.column * Tile::kN);
    int before = 0;
    // Waits for a stage, multiplies it, and moves on.
    const auto multiply = [&](auto first) {
      barrier_wait(full + 8 * stage, parity);
      const uint32_t at = ring + stage * Tile::kStage;
      products_fence();
      multiply_stage<Tile, decltype(first)::value>(sums, at + mine * kRowsOfWarpgroup * kRowBytes, at + Tile::kBytesA);
      products_commit();
    };
    const auto advance = [&] {
      before = stage;
      if (++stage == Tile::kStages) {
        stage = 0;
        parity ^= 1;
      }
    };
    multiply(std::true_type{});
    advance();
    added.store(args, bias);
    for (int depth = p.begin + 1; depth < p.end; ++depth) {
      multiply(std::false_type{});
      products_wait<1>();
      release(before);
      advance();
    }
    products_wait<0>();
    products_pin(sums);
    release(before);
    store_tile<Tile>(args, p, sums, bias, buffers, 1 + mine, p.row * Tile::kM + mine * kRowsOfWarpgroup, stores);
  }
  if (threadIdx.x % 128 == 0) wait_stores_read<0>();
}

#endif  // GORGO_WGMMA

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    hopper_product(const __grid_constant__ HopperArgs args) {
#if GORGO_WGMMA
  extern __shared__ __align__(1024) unsigned char hopper_shared[];
  constexpr int kStages = Tile::kStages;
  const uint32_t front = shared_address(hopper_shared);
  const uint32_t full = front;                // barriers: a stage's bytes have arrived
  const uint32_t empty = full + 8 * kStages;  // barriers: a stage's readers have left
  const uint32_t ring = front + Tile::kFront;
  const uint32_t staging = ring + kStages * Tile::kStage;
  const int warpgroup = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0);

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
  stream_pass();
  stream_wait();

  if (warpgroup == 0) {
    if constexpr (Tile::kConsumers == 2) give_registers<40>();
    if (threadIdx.x == 0) {
      int stage = 0;
      uint32_t parity = 0;
      for (int tile = blockIdx.x; tile < args.tiles; tile += gridDim.x) {
        const TilePlace p = place_of(args, tile);
        for (int depth = p.begin; depth < p.end; ++depth) {
          barrier_wait(empty + 8 * stage, parity ^ 1);
          fetch_stage<Tile>(args, p, ring + stage * Tile::kStage, full + 8 * stage, depth);
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
    if constexpr (Tile::kTurned) {
      consume_turned<Tile>(args, [&](int tile) { return place_of(args, tile); }, ring, full, empty, buffers, mine);
    } else {
      auto* const bias = reinterpret_cast<typename Tile::Out*>(hopper_shared + 16 * kStages + mine * Tile::kBias);
      consume<Tile>(args, ring, full, empty, buffers, bias, mine);
    }
  }
#endif
}

// ---- host ----

// Whether the current device runs the kernels of this file.
inline bool hopper_here() noexcept { return cluster_here() && map_encoder() != nullptr; }

// What hopper_product can do of a product: both factors readable by the copy engine, a stack of at most two axes.
struct HopperView {
  Lie a;
  Lie b;
  bool stacked = false;
  int64_t inner = 1, outer = 1;   // the stack
  int64_t a_pitches[2] = {0, 0};  // bytes; 0: the factor stays
  int64_t b_pitches[2] = {0, 0};
};

inline bool hopper_view(const Product& p, int64_t bytes, HopperView& v) noexcept {
  if (p.empty() || p.k == 0) return false;
  if (!lie_of(p.a, bytes, p.m, p.k, p.a_row, p.a_col, v.a)) return false;
  if (!lie_of(p.b, bytes, p.n, p.k, p.b_col, p.b_row, v.b)) return false;
  if (p.count == 1) return true;
  if (p.stack.rank > 2 || p.count >= (int64_t{1} << 31)) return false;
  v.stacked = true;
  const int last = p.stack.rank - 1;
  v.inner = last >= 0 ? p.stack.shape[last] : 1;
  v.outer = p.stack.rank == 2 ? p.stack.shape[0] : 1;
  for (int i = 0; i < p.stack.rank; ++i) {
    const int axis = last - i;
    v.a_pitches[i] = p.stack.strides[0][axis] * bytes;
    v.b_pitches[i] = p.stack.strides[1][axis] * bytes;
    for (const int64_t pitch : {v.a_pitches[i], v.b_pitches[i]}) {
      if (pitch < 0 || pitch > kMaxPitch || pitch % kMapAlignment != 0) return false;
    }
  }
  return true;
}

// The map of a factor whose boxes are 128 bytes along its contiguous axis and `tile` rows, or a stage of k, along the other.
inline bool map_factor(CUtensorMap& map, CUtensorMapDataType type, int bytes, const void* data, const Lie& lie,
                       int64_t rows, int64_t k, const HopperView& v, const int64_t (&pitches)[2], int tile) noexcept {
  const uint64_t lengths[4] = {
      static_cast<uint64_t>(lie.along_k ? k : rows), static_cast<uint64_t>(lie.along_k ? rows : k),
      static_cast<uint64_t>(pitches[0] != 0 ? v.inner : 1), static_cast<uint64_t>(pitches[1] != 0 ? v.outer : 1)};
  const auto pitch = static_cast<uint64_t>(lie.pitch);
  const uint64_t steps[3] = {pitch, pitches[0] != 0 ? static_cast<uint64_t>(pitches[0]) : pitch,
                             pitches[1] != 0 ? static_cast<uint64_t>(pitches[1]) : pitch};
  const auto depth = static_cast<uint32_t>(kRowBytes / bytes);
  const uint32_t box[4] = {depth, lie.along_k ? static_cast<uint32_t>(tile) : depth, 1, 1};
  return encode_map(map, type, v.stacked ? 4 : 2, data, lengths, steps, box);
}

template <class T>
constexpr CUtensorMapDataType map_type() {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  } else if constexpr (std::is_same_v<T, Float16>) {
    return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  } else if constexpr (std::is_same_v<T, Tf32>) {
    return CU_TENSOR_MAP_DATA_TYPE_TFLOAT32;  // rounded on the way into shared memory
  } else {
    return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  }
}

constexpr int kAlone = 120 * 1024;  // shared memory of which no two blocks fit on a multiprocessor
constexpr int kGroupRows = 2048;    // taken together: about as tall as the tiles of one wave are wide

// Launches on tiles of this shape; false, with nothing done, when a map cannot be made. `out` holds a stack of results for each of
// `splits` parts of k; only a whole sum gets the bias.
template <class Tile>
bool launch_hopper(const Product& p, const HopperView& v, void* out, int splits, cudaStream_t stream) noexcept {
  using Out = typename Tile::Out;
  HopperArgs args{};
  constexpr int kBytes = sizeof(typename Tile::T);
  constexpr CUtensorMapDataType kType = map_type<typename Tile::T>();
  if (!map_factor(args.a, kType, kBytes, p.a, v.a, p.m, p.k, v, v.a_pitches, Tile::kM)) return false;
  if (!map_factor(args.b, kType, kBytes, p.b, v.b, p.n, p.k, v, v.b_pitches, Tile::kN)) return false;
  constexpr int64_t kOutBytes = sizeof(Out);
  args.mapped_c = p.n * kOutBytes % kMapAlignment == 0 && reinterpret_cast<uintptr_t>(out) % kMapAlignment == 0 &&
                  p.m * p.n * kOutBytes <= kMaxPitch;
  if (args.mapped_c) {
    const uint64_t lengths[3] = {static_cast<uint64_t>(p.n), static_cast<uint64_t>(p.m),
                                 static_cast<uint64_t>(p.count * splits)};
    const uint64_t pitches[2] = {static_cast<uint64_t>(p.n * kOutBytes), static_cast<uint64_t>(p.m * p.n * kOutBytes)};
    const uint32_t box[3] = {Tile::kColumns, Tile::kStoredRows, 1};
    args.mapped_c = encode_map(args.c, map_type<Out>(), 3, out, lengths, pitches, box);
  }
  args.out = out;
  args.bias = splits == 1 ? p.bias : nullptr;
  args.bias_stride = p.bias_stride;
  args.m = static_cast<int32_t>(p.m);
  args.n = static_cast<int32_t>(p.n);
  args.depths = static_cast<int32_t>(ceil_div(p.k, Tile::kDepth));
  args.per_split = static_cast<int32_t>(ceil_div(args.depths, splits));
  args.rows = static_cast<int32_t>(ceil_div(p.m, Tile::kM));
  args.columns = static_cast<int32_t>(ceil_div(p.n, Tile::kN));
  args.group = kGroupRows / Tile::kM;
  const int64_t tiles = int64_t{args.rows} * args.columns * p.count * splits;
  if (tiles >= (int64_t{1} << 30)) return false;
  args.tiles = static_cast<int32_t>(tiles);
  args.count = static_cast<int32_t>(p.count);
  args.inner = static_cast<int32_t>(v.inner);
  args.stacked = v.stacked;
  for (int i = 0; i < 2; ++i) {
    args.a_moves[i] = v.a_pitches[i] != 0;
    args.b_moves[i] = v.b_pitches[i] != 0;
  }
  // Blocks that stay and take tiles in turn.
  const int64_t most = int64_t{card().multiprocessors} * Tile::kBlocks;
  const auto grid = static_cast<unsigned>(tiles < most ? tiles : most);
  // Few blocks get a multiprocessor each: begun early, two might end up on one beside others without work.
  const int shared = Tile::kBlocks > 1 && tiles <= card().multiprocessors ? kAlone : Tile::kShared;
  allow_shared(hopper_product<Tile>, shared > Tile::kShared ? shared : Tile::kShared);
  launch_in_stream(hopper_product<Tile>, grid, Tile::kThreads, shared, 1, stream, args);
  return true;
}

}  // namespace gorgo::cuda
