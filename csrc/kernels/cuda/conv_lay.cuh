// Copies of a convolution's operands with channels last, which tensor cores read.
//
// Images become (n, d, h, w, group, channel), a group's channels padded with zeros to a multiple of eight, so that the elements a
// window's tap needs of eight channels are 16 bytes side by side; weights become (group, row, tap, channel that is summed over,
// padded). Tiles of 64 channels and 64 pixels pass through shared memory; where pixels lie side by side they come four or eight at
// a time, and a block asks for its next tile before it writes the one it has.
// Read next: ops/conv/kernels_cuda_mma.cu, kernels/cuda/conv_hopper.cuh.
#pragma once

#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/in_stream.cuh"

namespace gorgo::cuda {

constexpr int kPiece = 8;     // channels that are copied together: 16 bytes
constexpr int kLayTile = 64;  // pixels, and channels

inline int64_t padded(int64_t channels) noexcept { return ceil_div(channels, kPiece) * kPiece; }
inline size_t rounded_bytes(int64_t elements, size_t size) noexcept {
  return (static_cast<size_t>(elements) * size + 255) / 256 * 256;
}

struct LayImages {
  const uint16_t* from;
  uint16_t* to;
  int64_t outer, channel, axis[3];  // strides
  // These fit 32 bits where can_lay says so.
  int32_t size[3], pixels, all_pixels;  // of an image, and of all
  int32_t groups, group, padded;
  int32_t channel_tiles, blocks;
  // Rows in the copy: their length, what lies before the image's, and where zeros that are asked for end. Not those of the images
  // only after lay_in_rows.
  int32_t row, left, zeros;
  bool in_rows;
};

struct LayWeights {
  const uint16_t* from;
  uint16_t* to;
  int64_t count, rows, taps, sum, padded;
  int64_t group_step, row_step, sum_step, axis[3];
  int64_t kernel[3];
  bool reversed;  // taps in reverse order
  // Tiles of 64 channels that are summed over, and so many rows with all taps; 0: too many taps for one.
  int64_t tile_rows, sum_tiles, row_tiles, blocks;
};

inline bool can_lay(const ConvSizes& s) noexcept {
  constexpr int64_t kLimit = int64_t{1} << 30;
  const auto fits = [&](int64_t channels, int64_t pixels) {
    if (channels >= kLimit || pixels >= kLimit || s.n > kLimit) return false;
    return s.n * pixels < 2 * kLimit - kLayTile && ceil_div(s.n * pixels, kLayTile) * ceil_div(channels, 8) < kLimit;
  };
  return fits(s.c, s.image) && fits(s.o, s.pixels);
}

#if defined(__CUDACC__)

constexpr int kLayThreads = 256;
template <int kWidth>
constexpr int kLayBlocks = kWidth == 8 ? 5 : 4;  // on one multiprocessor

// kWidth pixels of a channel: 16-bit elements side by side. The cache is for what is written.
template <int kWidth>
struct LayPiece {
  uint32_t words[kWidth == 1 ? 1 : kWidth / 2];
};
template <int kWidth>
GORGO_DEVICE LayPiece<kWidth> read_piece(const uint16_t* from, bool exists) {
  LayPiece<kWidth> p{};
  if (!exists) return p;
  if constexpr (kWidth == 8) {
    const uint4 v = __ldcs(reinterpret_cast<const uint4*>(from));
    p.words[0] = v.x, p.words[1] = v.y, p.words[2] = v.z, p.words[3] = v.w;
  } else if constexpr (kWidth == 4) {
    const uint2 v = __ldcs(reinterpret_cast<const uint2*>(from));
    p.words[0] = v.x, p.words[1] = v.y;
  } else {
    p.words[0] = __ldcs(from);
  }
  return p;
}

// Rows are pixels, words pairs of channels; 33 of them, so that neither side meets a bank twice.
struct LayShared {
  uint32_t words[kLayTile][kLayTile / 2 + 1];
};

template <int kWidth>
struct LayImageTile {
  static constexpr int kAcross =
      kWidth == 1 ? 32 : kLayTile / kWidth;    // pieces of a channel that a warp reads together
  static constexpr int kPairs = 32 / kAcross;  // of channels, that it reads together
  static constexpr int kTurns = 8 / kWidth;
  LayPiece<kWidth> low[kTurns], high[kTurns];
  int pixel0, channel0;

  static GORGO_DEVICE int column() {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    return kWidth == 1 ? static_cast<int>(threadIdx.x) / 32 % 2 * 32 + lane : lane % kAcross * kWidth;
  }
  static GORGO_DEVICE int pair(int turn) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    return kWidth == 1 ? warp / 2 + turn * 4 : (warp + turn * 8) * kPairs + lane / kAcross;
  }
  // Where a pair lies in a row: its two halves are turned over each other, since they would share banks.
  static GORGO_DEVICE int place(int pair, int column) { return pair ^ column / 32 * (kWidth / 2); }

  GORGO_DEVICE void read(const LayImages& p, int block) {
    const int pixel_tile = block / p.channel_tiles;
    channel0 = (block - pixel_tile * p.channel_tiles) * kLayTile;
    pixel0 = pixel_tile * kLayTile;
    const bool inside = pixel0 + column() < p.all_pixels;
    const int at = inside ? pixel0 + column() : 0;
    const int image = at / p.pixels, pixel = at - image * p.pixels;
    const uint16_t* from = p.from + image * p.outer;
    if constexpr (kWidth == 1) {
      const Quotient by_w(pixel, p.size[2]);
      const Quotient by_h(by_w.quotient, p.size[1]);
      from += by_h.quotient * p.axis[0] + by_h.rest * p.axis[1] + by_w.rest * p.axis[2];
    } else {
      from += pixel;
    }
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
      int channel = channel0 + 2 * pair(turn), rest = channel;
      if (p.groups > 1) {
        const int group = channel / p.padded;
        rest -= group * p.padded;
        channel = group * p.group + rest;
      }
      const bool exists = inside && channel < p.groups * p.group && rest < p.group;
      const uint16_t* const at = from + channel * p.channel;
      low[turn] = read_piece<kWidth>(at, exists);
      high[turn] = read_piece<kWidth>(at + p.channel, exists && rest + 1 < p.group);
    }
  }
  GORGO_DEVICE void put(LayShared& shared) const {
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        shared.words[column() + i][place(pair(turn), column())] =
            __byte_perm(low[turn].words[i / 2], high[turn].words[i / 2], i % 2 == 0 ? 0x5410 : 0x7632);
      }
    }
  }
};

// A pixel's channels to its place in a row of the copy; whoever has a row's first or last pixel brings the zeros beside it.
GORGO_DEVICE void put_in_row(const LayImages& p, uint16_t* to, int pixel, int channels, const uint4& value) {
  const int line = pixel / p.size[2];  // of all images, which follow each other in the copy
  const int column = pixel - line * p.size[2];
  to += int64_t{line} * p.row * channels;
  const auto put = [&](int at, const uint4& v) {
    if (at >= 0 && at < p.row) *reinterpret_cast<uint4*>(to + int64_t{at} * channels) = v;
  };
  put(column + p.left, value);
  const uint4 zero = make_uint4(0, 0, 0, 0);
  if (column == 0) {
    for (int at = 0; at < p.left; ++at) put(at, zero);
  }
  if (column == p.size[2] - 1) {
    for (int at = column + p.left + 1 > 0 ? column + p.left + 1 : 0; at < p.zeros; ++at) put(at, zero);
  }
}

template <int kWidth>
GORGO_DEVICE void lay_image_tiles(const LayImages& p, int block, int blocks, LayShared& shared) {
  using Tile = LayImageTile<kWidth>;
  constexpr int kPieces = kLayTile / kPiece;
  const int channels = p.groups * p.padded;
  Tile tile;
  tile.read(p, block);
  while (block < p.blocks) {
    tile.put(shared);
    const int pixel0 = tile.pixel0, channel0 = tile.channel0;
    __syncthreads();
    block += blocks;
    if (block < p.blocks) tile.read(p, block);
#pragma unroll
    for (int turn = 0; turn < kLayTile * kPieces / kLayThreads; ++turn) {
      const int i = static_cast<int>(threadIdx.x) + turn * kLayThreads;
      const int piece = i % kPieces, column = i / kPieces;
      if (pixel0 + column >= p.all_pixels || channel0 + piece * kPiece >= channels) continue;
      uint32_t words[4];
#pragma unroll
      for (int q = 0; q < 4; ++q) words[q] = shared.words[column][Tile::place(piece * 4 + q, column)];
      const uint4 value = make_uint4(words[0], words[1], words[2], words[3]);
      uint16_t* const piece_to = p.to + channel0 + piece * kPiece;
      if (p.in_rows) {
        put_in_row(p, piece_to, pixel0 + column, channels, value);
      } else {
        *reinterpret_cast<uint4*>(piece_to + int64_t{pixel0 + column} * channels) = value;
      }
    }
    __syncthreads();
  }
}

GORGO_DEVICE int64_t weight_offset(const LayWeights& p, int64_t tap) {
  const Quotient by_w(tap, p.kernel[2]);
  const Quotient by_h(by_w.quotient, p.kernel[1]);
  return by_h.quotient * p.axis[0] + by_h.rest * p.axis[1] + by_w.rest * p.axis[2];
}

// Element by element, for windows of very many taps.
GORGO_DEVICE void lay_weights_singly(const LayWeights& p, int64_t block) {
  for (int64_t i = block * kLayThreads + threadIdx.x; i < p.count; i += p.blocks * kLayThreads) {
    const Quotient by_channel(i, p.padded);
    const Quotient by_tap(by_channel.quotient, p.taps);
    const Quotient by_row(by_tap.quotient, p.rows);
    const int64_t at = by_row.quotient * p.group_step + by_row.rest * p.row_step + by_channel.rest * p.sum_step +
                       weight_offset(p, p.reversed ? p.taps - 1 - by_tap.rest : by_tap.rest);
    p.to[i] = by_channel.rest < p.sum ? __ldg(p.from + at) : uint16_t{0};
  }
}

GORGO_DEVICE void lay_weight_tile(const LayWeights& p, int64_t block, LayShared& shared) {
  constexpr int kPitch = kLayTile + 2;
  constexpr int kPieces = kLayTile / kPiece;
  const Quotient by_sum(block, p.sum_tiles);
  const Quotient by_row(by_sum.quotient, p.row_tiles);
  const int64_t sum0 = by_sum.rest * kLayTile, row0 = by_row.rest * p.tile_rows;
  const uint16_t* const from = p.from + by_row.quotient * p.group_step + row0 * p.row_step + sum0 * p.sum_step;
  auto* const tile = reinterpret_cast<uint16_t*>(&shared);
  const int rows = static_cast<int>(p.tile_rows), taps = static_cast<int>(p.taps), lines = rows * taps;
  // In the order in which they most likely lie.
  const bool by_rows = p.sum_step < p.row_step;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < lines * kLayTile; i += kLayThreads) {
    const int outer = i / taps, tap = i - outer * taps;
    const int row = by_rows ? outer / kLayTile : outer % rows, sum = by_rows ? outer % kLayTile : outer / rows;
    const bool exists = row0 + row < p.rows && sum0 + sum < p.sum;
    const int64_t at = row * p.row_step + sum * p.sum_step + weight_offset(p, tap);
    tile[(row * taps + (p.reversed ? taps - 1 - tap : tap)) * kPitch + sum] = exists ? __ldg(from + at) : uint16_t{0};
  }
  __syncthreads();
  uint16_t* const to = p.to + (by_row.quotient * p.rows + row0) * p.taps * p.padded + sum0;
  for (int i = static_cast<int>(threadIdx.x); i < lines * kPieces; i += kLayThreads) {
    const int piece = i % kPieces, line = i / kPieces;
    if (row0 + line / taps >= p.rows || sum0 + piece * kPiece >= p.padded) continue;
    const auto* const words = reinterpret_cast<const uint32_t*>(tile + line * kPitch + piece * kPiece);
    *reinterpret_cast<uint4*>(to + line * p.padded + piece * kPiece) =
        make_uint4(words[0], words[1], words[2], words[3]);
  }
}

// The first blocks lay the weights, the others the images.
template <int kWidth>
__global__ void __launch_bounds__(kLayThreads, kLayBlocks<kWidth>)
    lay_kernel(const __grid_constant__ LayImages images, const __grid_constant__ LayWeights weights) {
  __shared__ LayShared shared;
  stream_pass();
  stream_wait();
  if (blockIdx.x >= weights.blocks) {
    const auto before = static_cast<int>(weights.blocks);
    lay_image_tiles<kWidth>(images, static_cast<int>(blockIdx.x) - before, static_cast<int>(gridDim.x) - before,
                            shared);
  } else if (weights.tile_rows > 0) {
    lay_weight_tile(weights, blockIdx.x, shared);
  } else {
    lay_weights_singly(weights, blockIdx.x);
  }
}

inline LayImages images_to_lay(const KOperand& x, uint16_t* to, int64_t groups) noexcept {
  const ConvStrides strides(x);
  LayImages p{};
  p.from = x.as<uint16_t>(), p.to = to;
  p.outer = strides.outer, p.channel = strides.channel;
  int64_t pixels = 1;
  for (int i = 0; i < 3; ++i) {
    const int axis = x.rank - 3 + i;
    const int64_t size = axis < 2 ? 1 : x.shape[axis];
    p.size[i] = static_cast<int32_t>(size);
    p.axis[i] = strides.axis[i];
    pixels *= size;
  }
  const int64_t group = x.shape[1] / groups;
  p.pixels = static_cast<int32_t>(pixels);
  p.groups = static_cast<int32_t>(groups), p.group = static_cast<int32_t>(group);
  p.padded = static_cast<int32_t>(padded(group));
  p.all_pixels = static_cast<int32_t>(pixels * x.shape[0]);
  p.channel_tiles = static_cast<int32_t>(ceil_div(groups * p.padded, kLayTile));
  p.blocks = static_cast<int32_t>(ceil_div(p.all_pixels, kLayTile) * p.channel_tiles);
  return p;
}

// Rows of `row` pixels instead of the images', which begin `left` further; zeros beside them up to `zeros`.
inline LayImages lay_in_rows(LayImages p, int64_t row, int64_t left, int64_t zeros) noexcept {
  p.row = static_cast<int32_t>(row), p.left = static_cast<int32_t>(left), p.zeros = static_cast<int32_t>(zeros);
  p.in_rows = true;
  return p;
}

// How many pixels can be read at once.
inline int lay_width(const LayImages& p) noexcept {
  int64_t step = 1;
  for (int i = 2; i >= 0; --i) {
    if (p.size[i] != 1 && p.axis[i] != step) return 1;
    step *= p.size[i];
  }
  for (const int width : {8, 4}) {
    const bool one_channel = p.groups * p.group == 1;
    if (p.pixels % width == 0 && p.outer % width == 0 && (one_channel || p.channel % width == 0) &&
        is_aligned(p.from, static_cast<size_t>(width) * 2)) {
      return width;
    }
  }
  return 1;
}

inline void lay(const LayImages& images, LayWeights weights, cudaStream_t stream) noexcept {
  if (weights.count > 0) {
    constexpr int64_t kMostLines = 64, kLines = 32;  // of a tile: rows times taps
    weights.tile_rows = weights.taps > kMostLines ? 0 : weights.taps > kLines ? 1 : kLines / weights.taps;
    weights.sum_tiles = ceil_div(weights.padded, kLayTile);
    if (weights.tile_rows > 0) {
      weights.row_tiles = ceil_div(weights.rows, weights.tile_rows);
      weights.blocks =
          weights.count / (weights.rows * weights.taps * weights.padded) * weights.row_tiles * weights.sum_tiles;
    } else {
      weights.blocks = grid_for(weights.count, kLayThreads, 4);
    }
  }
  const auto run = [&]<int kWidth>() {
    const int64_t blocks = weights.blocks + (images.blocks > 0 ? grid_for(images.blocks, 1, kLayBlocks<kWidth>) : 0);
    if (blocks == 0) return;
    launch_in_stream(lay_kernel<kWidth>, static_cast<unsigned>(blocks), kLayThreads, 0, 1, stream, images, weights);
  };
  switch (lay_width(images)) {
    case 8:
      return run.template operator()<8>();
    case 4:
      return run.template operator()<4>();
    default:
      run.template operator()<1>();
  }
}

#endif

}  // namespace gorgo::cuda
