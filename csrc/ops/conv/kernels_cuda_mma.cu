// The convolutions of 16-bit floats on tensor cores (compute capability 8.0 and above).
//
// Images and weights are first laid into scratch with their channels last (kernels/cuda/conv_lay.cuh), so that the elements a
// window's tap needs of eight channels are 16 bytes side by side. A block then brings such pieces of its windows and weights
// straight into a ring of tiles in shared memory, piece by piece as masks tell which taps are inside, while its warps multiply the
// tiles that have come. Sums are float32 and are rounded once.
// Results and gradients by the images: sums go over taps, then channels, and both tiles lie along the sum. Gradients by the weights:
// sums go over pixels, both operands have channels last, and both tiles lie across the sum.
// Invariant: the order of every sum depends on shapes alone; a tile is written again only after all warps are done with it.
// Read next: ways_cuda.cuh, kernels/cuda/fragments.cuh.
#include "kernels/cuda/conv_lay.cuh"
#include "kernels/cuda/fragments.cuh"
#include "ops/conv/attrs.h"
#include "ops/conv/ways_cuda.cuh"

namespace gorgo::cuda {
namespace {

// Strides of images that lie with channels last.
struct LaidStrides {
  int64_t outer, axis[3];
  LaidStrides(const int64_t (&size)[3], int64_t channels) noexcept {
    axis[2] = channels;
    axis[1] = axis[2] * size[2];
    axis[0] = axis[1] * size[1];
    outer = axis[0] * size[0];
  }
};

// ---- tiles ----

template <int M, int N, int WarpsM, int WarpsN>
struct MmaTile {
  static constexpr int kM = M, kN = N, kK = 32, kStages = 4;
  static constexpr int kWarpsN = WarpsN, kThreads = WarpsM * WarpsN * 32;
  static constexpr int kWarpM = M / WarpsM, kWarpN = N / WarpsN;     // a warp's part of the result
  static constexpr int kTilesM = kWarpM / 16, kTilesN = kWarpN / 8;  // fragments of it
  static_assert(kWarpM % 16 == 0 && kWarpN % 16 == 0 && kThreads >= N);
};
using WideTile = MmaTile<128, 128, 2, 4>;
using LowTile = MmaTile<64, 128, 2, 2>;
using FlatMmaTile = MmaTile<32, 128, 1, 4>;

// What a warp has summed up.
template <class Tile>
struct Sums {
  float v[Tile::kTilesM][Tile::kTilesN][4];
  GORGO_DEVICE Sums() {
#pragma unroll
    for (int i = 0; i < Tile::kTilesM; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kTilesN; ++j) {
#pragma unroll
        for (int q = 0; q < 4; ++q) v[i][j][q] = 0.0f;
      }
    }
  }
  // Calls body(row, column, value, next value) for pairs of neighbours in a row of the block's tile.
  template <class F>
  GORGO_DEVICE void each_pair(F&& body) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int row0 = warp / Tile::kWarpsN * Tile::kWarpM + lane / 4;
    const int column0 = warp % Tile::kWarpsN * Tile::kWarpN + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < Tile::kTilesM; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kTilesN; ++j) {
        body(row0 + i * 16, column0 + j * 8, v[i][j][0], v[i][j][1]);
        body(row0 + i * 16 + 8, column0 + j * 8, v[i][j][2], v[i][j][3]);
      }
    }
  }
};

// Which part of which product a block has.
struct MmaBlock {
  int64_t m0, n0, split, problem;
  template <class Tile>
  static GORGO_DEVICE MmaBlock of(const Cut& cut) {
    const Quotient by_m(blockIdx.x, cut.tiles_m);
    const Quotient by_n(by_m.quotient, cut.tiles_n);
    const Quotient by_split(by_n.quotient, cut.splits);
    return {by_m.rest * Tile::kM, by_n.rest * Tile::kN, by_split.rest, by_split.quotient};
  }
};

// ---- results ----

// Tiles that lie along the sum: 32 elements of a row, then 16 bytes so that eight rows meet all banks of shared memory.
constexpr int kPitch = 32 + kPiece;

template <class Tile>
constexpr int kGatherBytes = Tile::kStages * (Tile::kM + Tile::kN) * kPitch * 2;

// plan: x and weight with channels last; group_sum counts padded channels, and x_channel is 1.
template <class Plan, class Tile>
__global__ void __launch_bounds__(Tile::kThreads)
    gather_mma_kernel(const __grid_constant__ Plan plan, int64_t row_elements) {
  using S = typename Plan::Stored;
  constexpr int kM = Tile::kM, kN = Tile::kN, kK = Tile::kK, kStages = Tile::kStages, kThreads = Tile::kThreads;
  constexpr int kPieces = kK / kPiece;
  constexpr int kRowStep = kThreads / kPieces;
  constexpr int kCopiesM = kM / kRowStep > 0 ? kM / kRowStep : 1, kCopiesN = kN / kRowStep;
  static_assert(kN % kRowStep == 0 && (kM % kRowStep == 0 || kRowStep % kM == 0));
  extern __shared__ __align__(128) unsigned char dynamic[];
  uint16_t* const ring = reinterpret_cast<uint16_t*>(dynamic);
  constexpr int kStageElements = (kM + kN) * kPitch;

  __shared__ typename Plan::Setup setup;
  __shared__ Sites<true, kN> columns;
  __shared__ int64_t out_at[kN];
  __shared__ Sites<true, 64> taps;
  __shared__ int64_t tap_weight[64];

  const int thread = static_cast<int>(threadIdx.x);
  const MmaBlock block = MmaBlock::of<Tile>(plan.cut);
  if (thread < 3) plan.setup(setup, block.problem, thread);
  __syncthreads();
  const int64_t all_columns = plan.columns(setup);
  const auto tap_count = static_cast<int>(setup.window.taps[0] * setup.window.taps[1] * setup.window.taps[2]);
  for (int i = thread; i < kN; i += kThreads) {
    Site<true> site;
    int64_t at;
    plan.column(setup, block.n0 + i, block.n0 + i < all_columns, site, at);
    put_site(columns, i, site);
    out_at[i] = at;
  }
  if (thread < tap_count) {
    Site<true> site;
    int64_t at;
    plan.entry(setup, thread, true, site, at);
    put_site(taps, thread, site);
    tap_weight[thread] = at;
  }
  __syncthreads();

  // This thread's pieces: always the same one of a stage, of some rows of both tiles.
  const int piece = thread % kPieces, row0 = thread / kPieces;
  const auto pieces = static_cast<int>(row_elements / kPiece);  // of the channels of a group
  const int64_t depth = plan.depth(setup);
  const int64_t k_begin = block.split * plan.cut.depth_each;
  const int64_t k_end = k_begin + plan.cut.depth_each < depth ? k_begin + plan.cut.depth_each : depth;
  const int64_t tiles = k_begin < k_end ? (k_end - k_begin + kK - 1) / kK : 0;
  int tap, channel;  // of this thread's piece in the next stage; channel counts pieces
  {
    const Quotient at(k_begin / kPiece + piece, pieces);
    tap = static_cast<int>(at.quotient < tap_count ? at.quotient : tap_count);
    channel = static_cast<int>(at.rest);
  }
  const auto* const x = reinterpret_cast<const uint16_t*>(plan.image(setup));
  const auto* const weight = reinterpret_cast<const uint16_t*>(plan.factor(setup)) + block.m0 * plan.factor_row;
  int64_t window_at[kCopiesN];
  uint64_t window_mask[kCopiesN];
#pragma unroll
  for (int i = 0; i < kCopiesN; ++i) {
    window_at[i] = columns.at[row0 + i * kRowStep];
    window_mask[i] = columns.info[row0 + i * kRowStep];
  }
  const auto bring = [&](int64_t tile) {
    if (tile < tiles) {
      uint16_t* const stage = ring + tile % kStages * kStageElements;
      const bool has_tap = tap < tap_count && k_begin + tile * kK + piece * kPiece < k_end;
      const int safe = has_tap ? tap : 0;
      const int64_t weight_at = has_tap ? tap_weight[safe] + channel * kPiece : 0;
      const int64_t tap_at = has_tap ? taps.at[safe] + channel * kPiece : 0;
#pragma unroll
      for (int i = 0; i < kCopiesM; ++i) {
        const int row = row0 + i * kRowStep;
        if (kM < kRowStep && row >= kM) break;
        const bool exists = has_tap && block.m0 + row < plan.rows();
        copy_async_16(stage + row * kPitch + piece * kPiece,
                      exists ? weight + (row * plan.factor_row + weight_at) : weight, exists);
      }
#pragma unroll
      for (int i = 0; i < kCopiesN; ++i) {
        const int row = kM + row0 + i * kRowStep;
        const bool exists = has_tap && (window_mask[i] >> safe & 1) != 0;
        copy_async_16(stage + row * kPitch + piece * kPiece, exists ? x + (window_at[i] + tap_at) : x, exists);
      }
      channel += kPieces;
      while (channel >= pieces && tap < tap_count) {
        channel -= pieces;
        ++tap;
      }
    }
    commit_copies();
  };

  const int lane = thread % 32, warp = thread / 32;
  const int warp_m = warp / Tile::kWarpsN * Tile::kWarpM, warp_n = warp % Tile::kWarpsN * Tile::kWarpN;
  // The rows and pieces whose addresses this lane gives to load_matrices.
  const int left_at = (warp_m + lane % 16) * kPitch + lane / 16 * kPiece;
  const int right_at = (kM + warp_n + lane / 16 * 8 + lane % 8) * kPitch + lane / 8 % 2 * kPiece;

  Sums<Tile> sums;
#pragma unroll
  for (int tile = 0; tile < kStages - 1; ++tile) bring(tile);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    wait_copies<kStages - 2>();
    __syncthreads();  // the tile is there for all, and all are done with the one before
    bring(tile + kStages - 1);
    const uint16_t* const stage = ring + tile % kStages * kStageElements;
#pragma unroll
    for (int k = 0; k < kK; k += 16) {
      uint32_t left[Tile::kTilesM][4], right[Tile::kTilesN / 2][4];
#pragma unroll
      for (int i = 0; i < Tile::kTilesM; ++i) load_matrices(left[i], stage + left_at + i * 16 * kPitch + k);
#pragma unroll
      for (int j = 0; j < Tile::kTilesN / 2; ++j) load_matrices(right[j], stage + right_at + j * 16 * kPitch + k);
#pragma unroll
      for (int i = 0; i < Tile::kTilesM; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::kTilesN; ++j) {
          multiply_fragments<S>(sums.v[i][j], left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
        }
      }
    }
  }

  const int64_t out0 = plan.out(setup);
  if (plan.cut.splits > 1) {
    float* const to = plan.partials + block.split * plan.numel + out0;
    sums.each_pair([&](int row, int column, float a, float b) {
      if (block.m0 + row >= plan.rows()) return;
      float* const line = to + (block.m0 + row) * plan.out_row;
      if (out_at[column] >= 0) line[out_at[column]] = a;
      if (out_at[column + 1] >= 0) line[out_at[column + 1]] = b;
    });
    return;
  }
  // Rounded results go through shared memory, so that they leave in whole lines.
  constexpr int kOutPitch = kN + kPiece;
  static_assert(kM * kOutPitch <= kStages * kStageElements);
  const S* const bias = plan.bias(setup);
  wait_copies<0>();
  __syncthreads();
  sums.each_pair([&](int row, int column, float a, float b) {
    const float added = bias != nullptr && block.m0 + row < plan.rows()
                            ? Element<S>::load(bias + (block.m0 + row) * plan.bias_stride)
                            : 0.0f;
    *reinterpret_cast<uint32_t*>(ring + row * kOutPitch + column) = pack_two<S>(a + added, b + added);
  });
  __syncthreads();
  auto* const result = reinterpret_cast<uint16_t*>(plan.result) + out0 + block.m0 * plan.out_row;
  if (plan.vectors) {  // eight pixels lie side by side
    for (int i = thread; i < kM * (kN / kPiece); i += kThreads) {
      const int row = i / (kN / kPiece), column = i % (kN / kPiece) * kPiece;
      if (block.m0 + row >= plan.rows() || out_at[column] < 0) continue;
      *reinterpret_cast<uint4*>(result + row * plan.out_row + out_at[column]) =
          *reinterpret_cast<const uint4*>(ring + row * kOutPitch + column);
    }
    return;
  }
  for (int i = thread; i < kM * kN; i += kThreads) {
    const int row = i / kN, column = i % kN;
    if (block.m0 + row >= plan.rows() || out_at[column] < 0) continue;
    result[row * plan.out_row + out_at[column]] = ring[row * kOutPitch + column];
  }
}

// Where things lie in scratch.
struct GatherRoom {
  size_t weights, partials, bytes;
  int64_t padded_sum;
  Cut cut;
  enum class Size { Wide, Low, Flat } size;

  GatherRoom(const ConvSizes& s, bool transposed, int64_t numel) noexcept {
    const GatherSizes g = gather_sizes(s, transposed);
    padded_sum = padded(g.sum);
    weights = rounded_bytes(s.n * (transposed ? s.pixels : s.image) * s.groups * padded_sum, 2);
    partials = weights + rounded_bytes(s.groups * g.rows * s.taps * padded_sum, 2);
    size = g.rows <= 32 ? Size::Flat : g.rows <= 64 || few(g) ? Size::Low : Size::Wide;
    const int m = size == Size::Flat ? 32 : size == Size::Low ? 64 : 128;
    cut = cut_of(g.rows, g.columns, padded_sum * g.taps, g.problems, numel, m, 128);
    bytes = partials + (cut.splits > 1 ? rounded_bytes(cut.splits * numel, sizeof(float)) : 0);
  }
  static bool few(const GatherSizes& g) noexcept {
    return ceil_div(g.rows, 128) * ceil_div(g.columns, 128) * g.problems < 128 || (g.rows - 1) % 128 < 64;
  }
};

template <class Tile, class Plan>
void run_gather_mma(const Plan& plan, int64_t padded_sum, cudaStream_t stream) noexcept {
  constexpr int kBytes = kGatherBytes<Tile>;
  allow_shared(gather_mma_kernel<Plan, Tile>, kBytes);
  gather_mma_kernel<Plan, Tile>
      <<<static_cast<unsigned>(plan.cut.blocks()), Tile::kThreads, kBytes, stream>>>(plan, padded_sum);
}

template <class S, bool kTransposed>
void run_results(const KernelArgs& args, const ConvSizes& s) noexcept {
  using Plan = GatherPlan<S, kTransposed, true>;
  const KOperand& out = args.out[0];
  const GatherSizes g = gather_sizes(s, kTransposed);
  const GatherRoom room(s, kTransposed, out.numel);
  const cudaStream_t stream = stream_of(args);
  auto* const scratch = static_cast<unsigned char*>(args.scratch);
  auto* const x = reinterpret_cast<uint16_t*>(scratch);
  auto* const weights = reinterpret_cast<uint16_t*>(scratch + room.weights);
  const ConvStrides weight(args.in[1]);
  LayWeights l{};
  l.from = args.in[1].as<uint16_t>(), l.to = weights;
  l.rows = g.rows, l.taps = s.taps, l.sum = g.sum, l.padded = room.padded_sum;
  l.count = s.groups * l.rows * l.taps * l.padded;
  l.group_step = s.group_o * weight.outer;
  l.row_step = kTransposed ? weight.channel : weight.outer;
  l.sum_step = kTransposed ? weight.outer : weight.channel;
  for (int i = 0; i < 3; ++i) l.axis[i] = weight.axis[i], l.kernel[i] = s.axis[i].kernel;
  lay(images_to_lay(args.in[0], x, s.groups), l, stream);

  const bool has_bias = args.in_count > 2 && args.in[2].given;
  int64_t size[3];
  for (int i = 0; i < 3; ++i) size[i] = kTransposed ? s.axis[i].pixels : s.axis[i].image;
  const LaidStrides strides(size, s.groups * room.padded_sum);
  Plan p{};
  bool dense = true;
  int64_t tap_stride = room.padded_sum;
  for (int i = 2; i >= 0; --i) {
    p.axes[i] = gather_axis<kTransposed>(s.axis[i], strides.axis[i], tap_stride);
    tap_stride *= s.axis[i].kernel;
    dense = dense && (!kTransposed || s.axis[i].stride == 1);
  }
  p.cut = room.cut;
  p.x = reinterpret_cast<const S*>(x), p.weight = reinterpret_cast<const S*>(weights);
  p.added = has_bias ? args.in[2].as<S>() : nullptr;
  p.result = out.as<S>();
  p.partials = reinterpret_cast<float*>(scratch + room.partials);
  p.n = s.n, p.groups = s.groups, p.group_rows = g.rows, p.group_sum = room.padded_sum;
  p.x_outer = strides.outer, p.x_channel = 1;
  p.weight_sum = 1, p.factor_row = tap_stride, p.weight_group = g.rows * tap_stride;
  p.bias_stride = has_bias ? args.in[2].strides[0] : 0;
  p.plane = p.out_row = kTransposed ? s.image : s.pixels;
  p.numel = out.numel;
  p.vectors = dense && p.plane % kPiece == 0 && is_aligned(out.data, 16);
  switch (room.size) {
    case GatherRoom::Size::Wide:
      run_gather_mma<WideTile>(p, room.padded_sum, stream);
      break;
    case GatherRoom::Size::Low:
      run_gather_mma<LowTile>(p, room.padded_sum, stream);
      break;
    default:
      run_gather_mma<FlatMmaTile>(p, room.padded_sum, stream);
  }
  if (p.cut.splits > 1) {
    add_partials<S>(p.partials, p.cut.splits, out.numel, p.added, p.bias_stride, p.plane, s.groups * g.rows, p.result,
                    {}, stream);
  }
}

// ---- gradients by the weights ----

// Tiles that lie across the sum: 32 pixels, each a row of channels or of weights.
template <class Tile>
constexpr int kWeightBytes = Tile::kStages * Tile::kK * (Tile::kM + Tile::kN + 2 * kPiece) * 2;

// plan: x and g with channels last; x_channel and factor_row are 1, padded_c and padded_o count a group's padded channels. Columns of the product
// are (tap, padded channel); those of the result (channel, tap).
template <class S>
struct WeightMmaPlan : WeightPlan<S, true> {
  int64_t padded_c, padded_o, real_c;
};

template <class S, class Tile>
__global__ void __launch_bounds__(Tile::kThreads) weight_mma_kernel(const __grid_constant__ WeightMmaPlan<S> plan) {
  using Plan = WeightPlan<S, true>;
  constexpr int kM = Tile::kM, kN = Tile::kN, kK = Tile::kK, kStages = Tile::kStages, kThreads = Tile::kThreads;
  constexpr int kPitchM = kM + kPiece, kPitchN = kN + kPiece;
  constexpr int kPiecesM = kM / kPiece, kPiecesN = kN / kPiece;
  constexpr int kStepM = kThreads / kPiecesM, kStepN = kThreads / kPiecesN;
  constexpr int kCopiesM = kK / kStepM > 0 ? kK / kStepM : 1, kCopiesN = kK / kStepN;
  static_assert(kK % kStepN == 0 && (kK % kStepM == 0 || kStepM % kK == 0));
  constexpr int kStageElements = kK * (kPitchM + kPitchN);
  constexpr int kTable = 256;  // pixels whose places are known
  extern __shared__ __align__(128) unsigned char dynamic[];
  uint16_t* const ring = reinterpret_cast<uint16_t*>(dynamic);

  __shared__ typename Plan::Setup setup;
  __shared__ Sites<true, kTable> pixels;
  __shared__ int64_t g_at[kTable];

  const int thread = static_cast<int>(threadIdx.x);
  const MmaBlock block = MmaBlock::of<Tile>(plan.cut);
  if (thread < 3) plan.setup(setup, block.problem, thread);
  __syncthreads();

  const int64_t k_begin = block.split * plan.cut.depth_each;
  const int64_t k_end = k_begin + plan.cut.depth_each < plan.pixels ? k_begin + plan.cut.depth_each : plan.pixels;
  const int64_t tiles = k_begin < k_end ? (k_end - k_begin + kK - 1) / kK : 0;
  const auto fill_table = [&](int64_t from) {
    for (int i = thread; i < kTable; i += kThreads) {
      Site<true> site;
      int64_t at;
      plan.entry(setup, from + i, from + i < k_end, site, at);
      put_site(pixels, i, site);
      g_at[i] = from + i < k_end ? at : -1;
    }
  };

  // This thread's pieces: always the same channels, of some pixels of a stage.
  const int piece_m = thread % kPiecesM, pixel_m = thread / kPiecesM;
  const int piece_n = thread % kPiecesN, pixel_n = thread / kPiecesN;
  const bool has_rows = block.m0 + piece_m * kPiece < plan.padded_o;
  const Quotient column(block.n0 + piece_n * kPiece, plan.padded_c);
  const bool has_columns = column.quotient < plan.taps;
  Site<true> tap;
  {
    int64_t unused;
    plan.column(setup, has_columns ? column.quotient : 0, true, tap, unused);
  }
  const auto* const g =
      reinterpret_cast<const uint16_t*>(plan.g) + setup.group * plan.padded_o + block.m0 + piece_m * kPiece;
  const auto* const x = reinterpret_cast<const uint16_t*>(plan.x) + setup.group * plan.padded_c + tap.at + column.rest;
  const auto bring = [&](int64_t tile) {
    if (tile < tiles) {
      uint16_t* const stage = ring + tile % kStages * kStageElements;
      const auto table = static_cast<int>(tile * kK % kTable);
#pragma unroll
      for (int i = 0; i < kCopiesM; ++i) {
        const int row = pixel_m + i * kStepM;
        if (kK < kStepM && row >= kK) break;
        const int64_t at = g_at[table + row];
        const bool exists = has_rows && at >= 0;
        copy_async_16(stage + row * kPitchM + piece_m * kPiece,
                      exists ? g + at : reinterpret_cast<const uint16_t*>(plan.g), exists);
      }
#pragma unroll
      for (int i = 0; i < kCopiesN; ++i) {
        const int row = pixel_n + i * kStepN;
        const bool exists = has_columns && (pixels.info[table + row] >> tap.info & 1) != 0;
        copy_async_16(stage + kK * kPitchM + row * kPitchN + piece_n * kPiece,
                      exists ? x + pixels.at[table + row] : reinterpret_cast<const uint16_t*>(plan.x), exists);
      }
    }
    commit_copies();
  };

  const int lane = thread % 32, warp = thread / 32;
  const int warp_m = warp / Tile::kWarpsN * Tile::kWarpM, warp_n = warp % Tile::kWarpsN * Tile::kWarpN;
  // Transposed matrices: of the left factor, pixels lane / 16 * 8 on and rows lane / 8 % 2 * 8 on; of the right one, the other way round.
  const int left_at = (lane / 16 * 8 + lane % 8) * kPitchM + warp_m + lane / 8 % 2 * 8;
  const int right_at = kK * kPitchM + (lane / 8 % 2 * 8 + lane % 8) * kPitchN + warp_n + lane / 16 * 8;

  Sums<Tile> sums;
  if (tiles > 0) fill_table(k_begin);
  __syncthreads();
  static_assert((kStages - 1) * kK <= kTable);
#pragma unroll
  for (int tile = 0; tile < kStages - 1; ++tile) bring(tile);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    wait_copies<kStages - 2>();
    __syncthreads();  // the tile is there for all, and all are done with the one before and with the table
    const int64_t next = tile + kStages - 1;
    if (next < tiles && next * kK % kTable == 0) {
      fill_table(k_begin + next * kK);
      __syncthreads();
    }
    bring(next);
    const uint16_t* const stage = ring + tile % kStages * kStageElements;
#pragma unroll
    for (int k = 0; k < kK; k += 16) {
      uint32_t left[Tile::kTilesM][4], right[Tile::kTilesN / 2][4];
#pragma unroll
      for (int i = 0; i < Tile::kTilesM; ++i) load_matrices_transposed(left[i], stage + left_at + k * kPitchM + i * 16);
#pragma unroll
      for (int j = 0; j < Tile::kTilesN / 2; ++j)
        load_matrices_transposed(right[j], stage + right_at + k * kPitchN + j * 16);
#pragma unroll
      for (int i = 0; i < Tile::kTilesM; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::kTilesN; ++j) {
          multiply_fragments<S>(sums.v[i][j], left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
        }
      }
    }
  }
  wait_copies<0>();

  const int64_t out0 = plan.out(setup);
  const bool whole = plan.cut.splits == 1;
  float* const partials = plan.partials + block.split * plan.numel;
  const auto put = [&](int64_t row, int64_t product_column, float value) {
    const Quotient at(product_column, plan.padded_c);
    if (row >= plan.group_rows || at.quotient >= plan.taps || at.rest >= plan.real_c) return;
    const int64_t to = out0 + row * plan.out_row + at.rest * plan.taps + at.quotient;
    if (whole) {
      plan.result[to] = Element<S>::round(value);
    } else {
      partials[to] = value;
    }
  };
  sums.each_pair([&](int row, int column_of_tile, float a, float b) {
    put(block.m0 + row, block.n0 + column_of_tile, a);
    put(block.m0 + row, block.n0 + column_of_tile + 1, b);
  });
}

struct WeightRoom {
  size_t g, partials, bytes;
  int64_t padded_c, padded_o;
  bool low;
  Cut cut;

  WeightRoom(const ConvSizes& s, int64_t numel) noexcept : padded_c(padded(s.group_c)), padded_o(padded(s.group_o)) {
    g = rounded_bytes(s.n * s.image * s.groups * padded_c, 2);
    partials = g + rounded_bytes(s.n * s.pixels * s.groups * padded_o, 2);
    low = s.group_o <= 64;
    cut = cut_of(s.group_o, s.taps * padded_c, s.n * s.pixels, s.groups, numel, low ? 64 : 128, 128);
    bytes = partials + (cut.splits > 1 ? rounded_bytes(cut.splits * numel, sizeof(float)) : 0);
  }
};

template <class Tile, class S>
void run_weight_mma(const WeightMmaPlan<S>& plan, cudaStream_t stream) noexcept {
  constexpr int kBytes = kWeightBytes<Tile>;
  allow_shared(weight_mma_kernel<S, Tile>, kBytes);
  weight_mma_kernel<S, Tile><<<static_cast<unsigned>(plan.cut.blocks()), Tile::kThreads, kBytes, stream>>>(plan);
}

}  // namespace

template <class S>
size_t tensor_scratch(const ConvSizes& s, bool transposed, int64_t numel) noexcept {
  return GatherRoom(s, transposed, numel).bytes;
}
template <class S>
void run_tensor(const KernelArgs& args, const ConvSizes& s, bool transposed) noexcept {
  transposed ? run_results<S, true>(args, s) : run_results<S, false>(args, s);
}

template <class S>
size_t tensor_weight_scratch(const ConvSizes& s, int64_t numel) noexcept {
  return WeightRoom(s, numel).bytes;
}
template <class S>
void run_tensor_weight(const KernelArgs& args, const ConvSizes& s) noexcept {
  const KOperand& out = args.out[0];
  const WeightRoom room(s, out.numel);
  const cudaStream_t stream = stream_of(args);
  auto* const scratch = static_cast<unsigned char*>(args.scratch);
  auto* const x = reinterpret_cast<uint16_t*>(scratch);
  auto* const g = reinterpret_cast<uint16_t*>(scratch + room.g);
  lay(images_to_lay(args.in[0], x, s.groups), {}, stream);
  lay(images_to_lay(args.in[1], g, s.groups), {}, stream);
  int64_t image[3], pixels[3];
  for (int i = 0; i < 3; ++i) image[i] = s.axis[i].image, pixels[i] = s.axis[i].pixels;
  const LaidStrides x_strides(image, s.groups * room.padded_c), g_strides(pixels, s.groups * room.padded_o);
  WeightMmaPlan<S> p{};
  for (int i = 0; i < 3; ++i) {
    p.axes[i] = s.axis[i];
    p.x_axis[i] = x_strides.axis[i], p.g_axis[i] = g_strides.axis[i];
  }
  p.cut = room.cut;
  p.x = reinterpret_cast<const S*>(x), p.g = reinterpret_cast<const S*>(g);
  p.result = out.as<S>();
  p.partials = reinterpret_cast<float*>(scratch + room.partials);
  p.group_rows = s.group_o, p.group_c = s.group_c, p.taps = s.taps, p.pixels = s.n * s.pixels;
  p.x_outer = x_strides.outer, p.x_channel = 1, p.g_outer = g_strides.outer, p.factor_row = 1;
  p.out_row = s.group_c * s.taps, p.numel = out.numel;
  p.padded_c = room.padded_c, p.padded_o = room.padded_o, p.real_c = s.group_c;
  if (room.low) {
    run_weight_mma<LowTile>(p, stream);
  } else {
    run_weight_mma<WideTile>(p, stream);
  }
  if (p.cut.splits > 1) {
    add_partials<S>(p.partials, p.cut.splits, out.numel, nullptr, 0, 1, 1, p.result, {}, stream);
  }
}

#define GORGO_X(S)                                                                 \
  template size_t tensor_scratch<S>(const ConvSizes&, bool, int64_t) noexcept;     \
  template void run_tensor<S>(const KernelArgs&, const ConvSizes&, bool) noexcept; \
  template size_t tensor_weight_scratch<S>(const ConvSizes&, int64_t) noexcept;    \
  template void run_tensor_weight<S>(const KernelArgs&, const ConvSizes&) noexcept;
GORGO_X(Float16)
GORGO_X(BFloat16)
#undef GORGO_X

}  // namespace gorgo::cuda
