// Convolutions of 16-bit floats with channels last on Hopper's tensor cores (sm_90a): products whose second factor never exists.
//
// Images are read by the copy engine in its im2col mode: a box is so many windows one after the other, from row to row and image to
// image, each with 64 channels of the element that one tap of the window meets; zeros where that lies outside. Pixels of the result
// are columns, so that rows (channels) leave for NCHW as they are.
//   Results:  rows are output channels, k counts taps and channels; both factors lie along k.
//   Weights:  rows are output channels, columns taps and channels, k counts pixels; both factors lie across k. Parts of k give parts
//             of the sums, which a second kernel adds in order.
// One thread feeds a ring of stages in shared memory. Two warpgroups multiply: either 64 rows each of one tile, or (one_row tiles)
// they take tiles in turn, so that one stores while the other multiplies.
// Invariants: a stage is refilled only after all its readers have given it back; who waits for a stage has seen it, or whoever it
// follows has, at its use before, since a barrier tells only one phase from the next; the order of every sum depends on shapes alone.
// Read next: kernels/cuda/gemm/wgmma.cuh (the instructions), conv_plane.cuh (how it is launched).
#pragma once

#include "kernels/cuda/conv_lay.cuh"
#include "kernels/cuda/gemm/hopper.cuh"

namespace gorgo::cuda {

constexpr int kSharedTail = 8;  // pixels behind a tile's that its taps may reach

// kInTurn: tiles have 64 rows, and the two warpgroups take them in turn; else 128. kDirect: gradients of the results are read as they
// are, along k, where a channel is whole stages. kTaps: taps side by side that share a stage's pixels, 1 or 3.
template <class T_, bool kWeights_, bool kInTurn_, int kN_, bool kDirect_ = false, int kTaps_ = 1, int kBase_ = 0>
struct ConvTile {
  using T = T_;
  static constexpr bool kWeights = kWeights_;
  static constexpr bool kDirect = kDirect_;
  static constexpr bool kTransA = kWeights && !kDirect;  // for multiply_stage: factors lie across k
  static constexpr bool kTransB = kWeights;
  static constexpr bool kInTurn = kInTurn_;
  static constexpr int kTaps = kTaps_;
  static constexpr bool kShare = kTaps > 1 && !kWeights;
  static constexpr bool kShareColumns = kTaps > 1 && kWeights;  // the columns of a tile are three taps of 64 channels
  static constexpr int kBase = kBase_;
  static constexpr int kM = kInTurn ? 64 : 128;
  static constexpr int kN = kN_;
  static constexpr int kPixels = (kShareColumns ? kDepth : kN) + (kTaps > 1 ? kSharedTail : 0);  // of a box
  static constexpr int kReaders = kInTurn ? 4 : 8;  // warps that read a stage
  static constexpr int kThreads = 384;
  static constexpr int kBytesA = kM * kDepth * 2;
  static constexpr int kBytesB = kPixels * kDepth * 2;
  static constexpr int kRoom = 226 * 1024;
  // Where taps share, each factor has stages of its own, else one holds both.
  static constexpr int kStage = kShare ? kBytesB : kBytesA + kBytesB;
  static constexpr int kMost = !kShare ? kRoom / kStage : kInTurn ? 4 : 3;
  static constexpr int kStages = kMost > 8 ? 8 : kMost;
  static constexpr int kMostA = (kRoom - kStages * kStage) / kBytesA;
  static constexpr int kStagesA = !kShare ? 0 : kMostA > 9 ? 9 : kMostA;
  static constexpr int kRings = kStages * kStage + kStagesA * kBytesA;
  // Columns that share pixels lie over each other; compute-sanitizer takes them for one behind the other, and the last stage's end
  // for the end of the block's memory.
  static constexpr int kBehind = kShareColumns ? kTaps * 64 * 16 * 2 : 0;
  static constexpr int kShared = 1024 + kRings + 16 * (kStages + kStagesA) + 16 + kBehind;  // 1024: room to align
  static_assert(kN % 64 == 0 && kN <= 256 && kStage % 1024 == 0 && kShared <= 227 * 1024);
  static_assert(!kShareColumns || kN == kTaps * 64);
  static_assert(kShare ? kStages >= 3 && kStagesA >= 6 : kStages >= 4);
};

#if !defined(GORGO_CONV_PASSING)
#define GORGO_CONV_PASSING (int64_t{16} << 20)
#endif

struct ConvHopperArgs {
  CUtensorMap a;  // weights, or the gradient of the results
  CUtensorMap b;  // images
  void* out;
  const void* bias;
  int64_t bias_stride;
  int32_t rows;                 // output channels
  int32_t chunks;               // of 64 channels
  int32_t taps[2], step[2];     // of a window: height, width
  int32_t stride[2], first[2];  // of windows; where the first one begins
  int32_t size[2];              // windows of an image
  int32_t plane, pixels;        // windows of an image, and of all
  int32_t seen;                 // windows of a row that are results; the others lie behind them
  int32_t tile_rows, tile_columns, tiles;
  int32_t image_depths;  // stages of an image, or (where taps share) of a row, where k goes by them
  int32_t depths;        // stages that k takes
  int32_t per_split;     // of them, in one part
  bool passing;          // results would drive the images out of the cache
  int32_t width;         // pixels that can be stored together
};

// The part of the work that a tile is.
struct ConvPlace {
  int row, column, split;
  int begin, end;  // stages
};
GORGO_DEVICE ConvPlace conv_place(const ConvHopperArgs& args, int tile) {
  ConvPlace p;
  const int left = tile / args.tile_rows;
  p.row = tile - left * args.tile_rows;
  p.split = left / args.tile_columns;
  p.column = left - p.split * args.tile_columns;
  p.begin = p.split * args.per_split;
  p.end = min(p.begin + args.per_split, args.depths);
  return p;
}

#if GORGO_WGMMA

// Windows of the images one after the other, from the one that begins at (w, h) of image n; of each the element `off` further.
GORGO_DEVICE void load_windows(uint32_t to, const CUtensorMap* map, uint32_t barrier, int c, int w, int h, int n,
                               uint16_t off_w, uint16_t off_h) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(to),
      "l"(map), "r"(barrier), "r"(c), "r"(w), "r"(h), "r"(n), "h"(off_w), "h"(off_h)
      : "memory");
}

// Where a window begins.
struct WindowPlace {
  int w, h, n;
};
GORGO_DEVICE WindowPlace window_place(const ConvHopperArgs& args, int pixel) {
  WindowPlace p;
  p.n = pixel / args.plane;
  const int left = pixel - p.n * args.plane;
  const int row = left / args.size[1];
  p.h = row * args.stride[0] + args.first[0];
  p.w = (left - row * args.size[1]) * args.stride[1] + args.first[1];
  return p;
}

// A ring of stages in shared memory as its one writer, or a reader, sees it.
template <int kBytes, int kStages>
struct ConvRing {
  uint32_t stages, full, empty;  // addresses: a stage's bytes have arrived; its readers have left
  int stage = 0;
  uint32_t parity = 0;

  GORGO_DEVICE ConvRing(uint32_t stages, uint32_t barriers)
      : stages(stages), full(barriers), empty(barriers + 8 * kStages) {}
  GORGO_DEVICE void init(int readers) const {
    for (int i = 0; i < kStages; ++i) {
      barrier_init(full + 8 * i, 1);
      barrier_init(empty + 8 * i, readers);
    }
  }
  GORGO_DEVICE void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
  GORGO_DEVICE void skip(int count) {
    const int sum = stage + count;
    const int rounds = sum / kStages;
    stage = sum - rounds * kStages;
    parity ^= rounds & 1;
  }
  GORGO_DEVICE uint32_t at() const { return stages + stage * kBytes; }
  GORGO_DEVICE uint32_t barrier() const { return full + 8 * stage; }
  // For the writer: waits until the next stage is free and announces its bytes.
  GORGO_DEVICE void claim() const {
    barrier_wait(empty + 8 * stage, parity ^ 1);
    barrier_expect(barrier(), kBytes);
  }
  // For a reader: waits until the next stage is there.
  GORGO_DEVICE void wait() const { barrier_wait(barrier(), parity); }
  // For a reader: moves on; returns where the stage is given back.
  GORGO_DEVICE uint32_t pass() {
    const uint32_t passed = empty + 8 * stage;
    advance();
    return passed;
  }
};
template <class Tile>
using StageRing = ConvRing<Tile::kStage, Tile::kStages>;
template <class Tile>
using WeightRing = ConvRing<Tile::kBytesA, Tile::kStagesA>;

// k counts taps, then channels.
template <class Tile>
GORGO_DEVICE void fetch_results(const ConvHopperArgs& args, const ConvPlace& p, StageRing<Tile>& ring) {
  const WindowPlace at = window_place(args, p.column * Tile::kN);
  int k = 0;
  for (int i = 0; i < args.taps[0]; ++i) {
    for (int j = 0; j < args.taps[1]; ++j) {
      for (int chunk = 0; chunk < args.chunks; ++chunk, k += kDepth) {
        ring.claim();
        load_box(ring.at(), &args.a, ring.barrier(), k, p.row * Tile::kM);
        load_windows(ring.at() + Tile::kBytesA, &args.b, ring.barrier(), chunk * kDepth, at.w, at.h, at.n,
                     static_cast<uint16_t>(j * args.step[1]), static_cast<uint16_t>(i * args.step[0]));
        ring.advance();
      }
    }
  }
}

// k counts rows of taps, then chunks of channels, then taps of the row.
template <class Tile>
GORGO_DEVICE void fetch_shared(const ConvHopperArgs& args, const ConvPlace& p, StageRing<Tile>& ring,
                               WeightRing<Tile>& weights) {
  const WindowPlace at = window_place(args, p.column * Tile::kN);
  for (int i = 0; i < args.taps[0]; ++i) {
    for (int chunk = 0; chunk < args.chunks; ++chunk) {
      ring.claim();
      load_windows(ring.at(), &args.b, ring.barrier(), chunk * kDepth, at.w, at.h, at.n, 0,
                   static_cast<uint16_t>(i * args.step[0]));
      ring.advance();
      for (int j = 0; j < Tile::kTaps; ++j) {
        weights.claim();
        load_box(weights.at(), &args.a, weights.barrier(), ((i * Tile::kTaps + j) * args.chunks + chunk) * kDepth,
                 p.row * Tile::kM);
        weights.advance();
      }
    }
  }
}

// The products of one tap: of 64 channels, and of pixels that begin `shift` behind the stage's first.
template <class Tile>
GORGO_DEVICE void multiply_tap(float (&sums)[Tile::kN / 2], uint32_t a, uint32_t b, int shift, bool accumulate) {
  const uint64_t base = Tile::kBase ? uint64_t(shift & 7) << 49 : 0;
#pragma unroll
  for (int i = 0; i < kDepth / 16; ++i) {
    Wgmma<typename Tile::T, Tile::kN, false, false>::run(sums, matrix_descriptor(a + i * 32, 16, 1024),
                                                         matrix_descriptor(b + shift * 128 + i * 32, 16, 1024) | base,
                                                         accumulate || i > 0 ? 1 : 0);
  }
}

// Of the gradient of the results, the pixels of a stage.
template <class Tile>
GORGO_DEVICE void fetch_gradient(const ConvHopperArgs& args, const ConvPlace& p, StageRing<Tile>& ring, int depth) {
  const int row = p.row * Tile::kM;
  if constexpr (Tile::kDirect) {
    const int outer = depth / args.image_depths;
    const int pixel = (depth - outer * args.image_depths) * kDepth;
    if constexpr (Tile::kShareColumns) {
      const int image = outer / args.size[0];
      load_box(ring.at(), &args.a, ring.barrier(), pixel, outer - image * args.size[0], row, image);
    } else {
      load_box(ring.at(), &args.a, ring.barrier(), pixel, row, outer, 0);
    }
  } else {
#pragma unroll
    for (int i = 0; i < Tile::kM / 64; ++i) {
      load_box(ring.at() + i * 64 * kDepth * 2, &args.a, ring.barrier(), row + i * 64, depth * kDepth);
    }
  }
}

template <class Tile>
GORGO_DEVICE void fetch_weights(const ConvHopperArgs& args, const ConvPlace& p, StageRing<Tile>& ring) {
  constexpr int kBlocks = Tile::kShareColumns ? 1 : Tile::kN / 64;
  constexpr uint32_t kBytes = 64 * kDepth * 2;
  int channel[kBlocks];
  uint16_t off_w[kBlocks], off_h[kBlocks];
  if constexpr (Tile::kShareColumns) {
    const int row = p.column / args.chunks;
    channel[0] = (p.column - row * args.chunks) * 64;
    off_h[0] = static_cast<uint16_t>(row * args.step[0]);
    off_w[0] = 0;
  } else {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      const int block = p.column * kBlocks + i;
      const int tap = block / args.chunks;
      const int row = tap / args.taps[1];
      const bool exists = row < args.taps[0];
      channel[i] = (exists ? block - tap * args.chunks : args.chunks) * 64;  // behind the last: zeros
      off_h[i] = static_cast<uint16_t>(exists ? row * args.step[0] : 0);
      off_w[i] = static_cast<uint16_t>(exists ? (tap - row * args.taps[1]) * args.step[1] : 0);
    }
  }
  for (int depth = p.begin; depth < p.end; ++depth) {
    const WindowPlace at = window_place(args, depth * kDepth);
    ring.claim();
    fetch_gradient<Tile>(args, p, ring, depth);
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      load_windows(ring.at() + Tile::kBytesA + i * kBytes, &args.b, ring.barrier(), channel[i], at.w, at.h, at.n,
                   off_w[i], off_h[i]);
    }
    ring.advance();
  }
}

// As multiply_stage; three blocks of 64 columns are the same pixels, each `step` further than the one before.
template <class Tile>
GORGO_DEVICE void multiply_columns(float (&sums)[Tile::kN / 2], uint32_t a, uint32_t b, int step, bool accumulate) {
#pragma unroll
  for (int i = 0; i < kDepth / 16; ++i) {
    Wgmma<typename Tile::T, Tile::kN, Tile::kTransA, true>::run(
        sums, matrix_descriptor(a + i * (Tile::kTransA ? 16 * 128 : 32), Tile::kTransA ? 64 * kDepth * 2 : 16, 1024),
        matrix_descriptor(b + i * 16 * 128, step * 128, 1024), accumulate || i > 0 ? 1 : 0);
  }
}

// The four words of this lane and its three neighbours, turned over: word i becomes the word that neighbour i had for this lane.
GORGO_DEVICE void turn_quad(uint32_t (&w)[4], int lane) {
  const bool odd = (lane & 1) != 0, upper = (lane & 2) != 0;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const uint32_t got = __shfl_xor_sync(0xffffffffu, odd ? w[i] : w[i + 1], 1);
    w[i] = odd ? got : w[i];
    w[i + 1] = odd ? w[i + 1] : got;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t got = __shfl_xor_sync(0xffffffffu, upper ? w[i] : w[i + 2], 2);
    w[i] = upper ? got : w[i];
    w[i + 2] = upper ? w[i + 2] : got;
  }
}

template <class V>
GORGO_DEVICE void store_wide(uint16_t* to, const V& v, bool passing) {
  if (passing) {
    __stcs(reinterpret_cast<V*>(to), v);
  } else {
    *reinterpret_cast<V*>(to) = v;
  }
}

// A warpgroup's 64 x kN sums, rounded, to the channels from `row` on and the pixels from `pixel` on.
template <class Tile>
GORGO_DEVICE void store_results(const ConvHopperArgs& args, float (&sums)[Tile::kN / 2], int row, int pixel) {
  using T = typename Tile::T;
  const int lane = threadIdx.x % 32;
  const int top = row + threadIdx.x % 128 / 32 * 16 + lane / 4;  // and eight below it
  float added[2] = {0.0f, 0.0f};
  if (args.bias != nullptr) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (top + half * 8 < args.rows) {
        added[half] = Element<T>::load(static_cast<const T*>(args.bias) + (top + half * 8) * args.bias_stride);
      }
    }
  }
  const int whole = args.size[0] * args.seen;       // a channel
  const int64_t next = int64_t{whole} * args.rows;  // an image
  int at = pixel + lane % 4 * 8;
  int image = at / args.plane;
  int inside = at - image * args.plane;
#pragma unroll
  for (int j = 0; j < Tile::kN / 32; ++j) {
    // Of these eight pixels so many lie side by side; those behind them in the next row or image, or nowhere.
    int first = inside, count = args.plane - inside;
    if constexpr (Tile::kShare) {
      const int line = inside / args.size[1];
      const int column = inside - line * args.size[1];
      first = line * args.seen + column;
      count = args.seen - column;
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* const v = &sums[(4 * j + i) * 4 + 2 * half];
        words[i] = pack_pair<T>(v[0] + added[half], v[1] + added[half]);
      }
      turn_quad(words, lane);  // eight pixels side by side
      const int channel = top + half * 8;
      if (channel >= args.rows || at >= args.pixels) continue;
      uint16_t* const to = static_cast<uint16_t*>(args.out) + (image * next + int64_t{channel} * whole + first);
      if (args.width == 8) {
        if (count > 0) store_wide(to, make_uint4(words[0], words[1], words[2], words[3]), args.passing);
      } else if (args.width == 1) {
        if constexpr (Tile::kShare) {
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            if (i < count) to[i] = static_cast<uint16_t>(words[i / 2] >> (i % 2 * 16));
          }
        } else {
          int64_t step = 0;
          int end = count;
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            while (i >= end) {
              end += args.plane;
              step += next - whole;
            }
            if (at + i < args.pixels) to[i + step] = static_cast<uint16_t>(words[i / 2] >> (i % 2 * 16));
          }
        }
      } else {
        // Two or four at a time.
#pragma unroll
        for (int i = 0; i < 4; i += 2) {
          const bool crosses = !Tile::kShare && 2 * i >= count;
          if (Tile::kShare ? 2 * i >= count : at + 2 * i >= args.pixels) break;
          uint16_t* const pair = to + 2 * i + (crosses ? next - whole : 0);
          if (args.width == 4) {
            store_wide(pair, make_uint2(words[i], words[i + 1]), args.passing);
          } else {
            *reinterpret_cast<uint32_t*>(pair) = words[i];
            if (2 * i + 2 < count) *reinterpret_cast<uint32_t*>(pair + 2) = words[i + 1];
          }
        }
      }
    }
    at += 32;
    inside += 32;
    while (inside >= args.plane) {
      inside -= args.plane;
      ++image;
    }
  }
}

// A warpgroup's 64 x kN sums to its part of the sums: rows of taps and channels, 64 at a time.
template <class Tile>
GORGO_DEVICE void store_parts(const ConvHopperArgs& args, float (&sums)[Tile::kN / 2], int row, int column, int split) {
  const int lane = threadIdx.x % 32;
  const int top = row + threadIdx.x % 128 / 32 * 16 + lane / 4;
  const int columns = args.taps[0] * args.taps[1] * args.chunks * 64;
  float* const out = static_cast<float*>(args.out) + (int64_t{split} * args.rows + top) * columns + lane % 4 * 2;
#pragma unroll
  for (int j = 0; j < Tile::kN / 8; ++j) {
    int at = column * Tile::kN + j * 8;
    if constexpr (Tile::kShareColumns) {
      const int line = column / args.chunks;  // of taps
      at = ((line * Tile::kTaps + j / 8) * args.chunks + column - line * args.chunks) * 64 + j % 8 * 8;
    } else if (at >= columns) {
      break;
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (top + half * 8 < args.rows) {
        *reinterpret_cast<float2*>(out + int64_t{half * 8} * columns + at) =
            make_float2(sums[4 * j + 2 * half], sums[4 * j + 2 * half + 1]);
      }
    }
  }
}

#endif  // GORGO_WGMMA

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1) conv_hopper_kernel(const __grid_constant__ ConvHopperArgs args) {
#if GORGO_WGMMA
  extern __shared__ unsigned char hopper_shared[];
  const uint32_t begin = (shared_address(hopper_shared) + 1023u) & ~1023u;
  const uint32_t barriers = begin + Tile::kRings;
  StageRing<Tile> ring(begin, barriers);
  WeightRing<Tile> weights(begin + Tile::kStages * Tile::kStage, barriers + 16 * Tile::kStages);
  // Barriers, one for each warpgroup: its turn to multiply.
  const uint32_t turns = barriers + 16 * (Tile::kStages + Tile::kStagesA);
  const int warpgroup = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0);

  if (threadIdx.x == 0) {
    prefetch_map(&args.a);
    prefetch_map(&args.b);
    ring.init(Tile::kReaders);
    if constexpr (Tile::kShare) weights.init(Tile::kReaders);
    for (int i = 0; i < 2; ++i) barrier_init(turns + 8 * i, 4);
    barrier_init_fence();
  }
  __syncthreads();
  stream_pass();
  stream_wait();

  if (warpgroup == 0) {
    give_registers<40>();
    if (threadIdx.x == 0) {
      for (int tile = blockIdx.x; tile < args.tiles; tile += gridDim.x) {
        const ConvPlace p = conv_place(args, tile);
        if constexpr (Tile::kShare) {
          fetch_shared<Tile>(args, p, ring, weights);
        } else if constexpr (Tile::kWeights) {
          fetch_weights<Tile>(args, p, ring);
        } else {
          fetch_results<Tile>(args, p, ring);
        }
      }
    }
    __syncwarp();
  } else {
    take_registers<232>();
    const int mine = warpgroup - 1;
    const int lane = threadIdx.x % 32;
    const uint32_t offset = Tile::kInTurn ? 0 : mine * 64 * kDepth * 2;
    float sums[Tile::kN / 2];
    int turn = 0;
    uint32_t my_turn = mine ^ 1;  // parity: the first warpgroup need not wait at first
    for (int tile = blockIdx.x; tile < args.tiles; tile += gridDim.x, turn ^= 1) {
      const ConvPlace p = conv_place(args, tile);
      if (Tile::kInTurn && turn != mine) {
        ring.skip(p.end - p.begin);
        if constexpr (Tile::kShare) weights.skip((p.end - p.begin) * Tile::kTaps);
        continue;
      }
      if constexpr (Tile::kInTurn) {
        barrier_wait(turns + 8 * mine, my_turn);
        my_turn ^= 1;
      }
      uint32_t before = 0, before_a = 0;  // stages that are given back when their products are done
      const auto release = [&](uint32_t& which) {
        if (lane == 0 && which != 0) barrier_arrive(which);
        which = 0;
      };
      const auto end_turn = [&] {
        if (Tile::kInTurn && lane == 0) barrier_arrive(turns + 8 * (mine ^ 1));
      };
      if constexpr (Tile::kShare) {
        bool accumulate = false;
        for (int depth = p.begin; depth < p.end; ++depth) {
          ring.wait();
#pragma unroll
          for (int j = 0; j < Tile::kTaps; ++j) {
            weights.wait();
            products_fence();
            multiply_tap<Tile>(sums, weights.at() + offset, ring.at(), j * args.step[1], accumulate);
            products_commit();
            products_wait<1>();
            release(before_a);
            if (j == 0) release(before);
            before_a = weights.pass();
            accumulate = true;
          }
          before = ring.pass();
        }
      } else if constexpr (Tile::kShareColumns) {
        for (int depth = p.begin; depth < p.end; ++depth) {
          ring.wait();
          products_fence();
          multiply_columns<Tile>(sums, ring.at() + offset, ring.at() + Tile::kBytesA, args.step[1], depth > p.begin);
          products_commit();
          products_wait<1>();
          release(before);
          before = ring.pass();
        }
      } else {
        // Waits for a stage, multiplies it, and moves on.
        const auto multiply = [&](auto first) {
          ring.wait();
          products_fence();
          multiply_stage<Tile, decltype(first)::value>(sums, ring.at() + offset, ring.at() + Tile::kBytesA);
          products_commit();
        };
        multiply(std::true_type{});
        before = ring.pass();
        for (int depth = p.begin + 1; depth < p.end; ++depth) {
          multiply(std::false_type{});
          products_wait<1>();
          release(before);
          before = ring.pass();
        }
      }
      end_turn();
      products_wait<0>();
      products_pin(sums);
      release(before);
      release(before_a);
      const int row = p.row * Tile::kM + (Tile::kInTurn ? 0 : mine * 64);
      if constexpr (Tile::kWeights) {
        store_parts<Tile>(args, sums, row, p.column, p.split);
      } else {
        store_results<Tile>(args, sums, row, p.column * Tile::kN);
      }
    }
  }
#endif
}

// The parts' sums in order, rounded, as (row, channel, tap). A row of a part has taps, then channels in chunks of 64.
template <class T>
__global__ void __launch_bounds__(256)
    join_parts_kernel(const float* parts, int splits, int rows, int taps, int channels, int chunks, T* result) {
  const int64_t columns = int64_t{taps} * chunks * 64;
  const int64_t count = rows * columns;
  stream_pass();
  stream_wait();
  for (int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x; i < count; i += int64_t{gridDim.x} * 256) {
    const Quotient by_row(i, columns);
    const int tap = static_cast<int>(by_row.rest) / (chunks * 64);
    const int channel = static_cast<int>(by_row.rest) - tap * chunks * 64;
    if (channel >= channels) continue;
    float sum = __ldg(parts + i);
#pragma unroll 8
    for (int s = 1; s < splits; ++s) sum += __ldg(parts + s * count + i);
    result[(by_row.quotient * channels + channel) * taps + tap] = Element<T>::round(sum);
  }
}

}  // namespace gorgo::cuda
