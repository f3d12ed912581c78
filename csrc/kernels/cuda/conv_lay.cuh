// Copies of a convolution's operands with channels last, which tensor cores read.
//
// Images become (n, d, h, w, group, channel), a group's channels padded with zeros to a multiple of eight, so that the elements a
// window's tap needs of eight channels are 16 bytes side by side; weights become (group, row, tap, channel that is summed over,
// padded). Tiles of 64 channels and 64 pixels pass through shared memory; where pixels lie side by side they come four or eight at
// a time. Read next: ops/conv/kernels_cuda_mma.cu, kernels/cuda/conv_hopper.cuh.
#pragma once

#include "kernels/cuda/conv.cuh"

namespace gorgo::cuda {

constexpr int kPiece = 8;  // channels that are copied together: 16 bytes

inline int64_t padded(int64_t channels) noexcept { return ceil_div(channels, kPiece) * kPiece; }
inline size_t rounded_bytes(int64_t elements, size_t size) noexcept {
  return (static_cast<size_t>(elements) * size + 255) / 256 * 256;
}

struct LayImages {
  const uint16_t* from;
  uint16_t* to;
  int64_t outer, channel, axis[3];  // strides
  int64_t size[3], pixels;
  int64_t groups, group, padded;
  int64_t pixel_tiles, channel_tiles, blocks;
};

struct LayWeights {
  const uint16_t* from;
  uint16_t* to;
  int64_t count, rows, taps, sum, padded;
  int64_t group_step, row_step, sum_step, axis[3];
  int64_t kernel[3];
  bool reversed;  // taps in reverse order
};

#if defined(__CUDACC__)

constexpr int kLayTile = 64;  // pixels, and channels
constexpr int kLayThreads = 256;

// kWidth pixels of a channel: 16-bit elements side by side.
template <int kWidth>
struct LayPiece {
  uint32_t words[kWidth == 1 ? 1 : kWidth / 2];
};
template <int kWidth>
GORGO_DEVICE LayPiece<kWidth> read_piece(const uint16_t* from, bool exists) {
  LayPiece<kWidth> p{};
  if (!exists) return p;
  if constexpr (kWidth == 8) {
    const uint4 v = __ldg(reinterpret_cast<const uint4*>(from));
    p.words[0] = v.x, p.words[1] = v.y, p.words[2] = v.z, p.words[3] = v.w;
  } else if constexpr (kWidth == 4) {
    const uint2 v = __ldg(reinterpret_cast<const uint2*>(from));
    p.words[0] = v.x, p.words[1] = v.y;
  } else {
    p.words[0] = __ldg(from);
  }
  return p;
}

template <int kWidth>
GORGO_DEVICE void lay_image_tile(const LayImages& p, int64_t block) {
  // Rows are pixels, words pairs of channels; 33 of them, so that neither side meets a bank twice.
  __shared__ uint32_t tile[kLayTile][kLayTile / 2 + 1];
  constexpr int kAcross = 32 / kWidth;  // pieces of a channel that a warp reads together
  constexpr int kTurns = 8 / kWidth;    // kWidth * 2 elements of a thread in each
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const Quotient by_channel(block, p.channel_tiles);
  const Quotient by_pixel(by_channel.quotient, p.pixel_tiles);
  const int64_t channel0 = by_channel.rest * kLayTile, pixel0 = by_pixel.rest * kLayTile, image = by_pixel.quotient;
  const int64_t channels = p.groups * p.padded;
  {
    const int column = (warp % 2 * kAcross + lane % kAcross) * kWidth;
    const int64_t pixel = pixel0 + column;
    const bool inside = pixel < p.pixels;
    const uint16_t* from = p.from + image * p.outer;
    if constexpr (kWidth == 1) {
      const Quotient by_w(inside ? pixel : 0, p.size[2]);
      const Quotient by_h(by_w.quotient, p.size[1]);
      from += by_h.quotient * p.axis[0] + by_h.rest * p.axis[1] + by_w.rest * p.axis[2];
    } else {
      from += inside ? pixel : 0;
    }
    LayPiece<kWidth> low[kTurns], high[kTurns];
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
      const int pair = (warp / 2 + turn * 4) * kWidth + lane / kAcross;
      const int64_t channel = channel0 + 2 * pair;
      const Quotient by_group(channel, p.padded);
      const bool exists = inside && channel < channels && by_group.rest < p.group;
      const uint16_t* const at = from + (by_group.quotient * p.group + by_group.rest) * p.channel;
      low[turn] = read_piece<kWidth>(at, exists);
      high[turn] = read_piece<kWidth>(at + p.channel, exists && by_group.rest + 1 < p.group);
    }
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
      const int pair = (warp / 2 + turn * 4) * kWidth + lane / kAcross;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        tile[column + i][pair] =
            __byte_perm(low[turn].words[i / 2], high[turn].words[i / 2], i % 2 == 0 ? 0x5410 : 0x7632);
      }
    }
  }
  __syncthreads();
  constexpr int kPieces = kLayTile / kPiece;
#pragma unroll
  for (int turn = 0; turn < kLayTile * kPieces / kLayThreads; ++turn) {
    const int i = static_cast<int>(threadIdx.x) + turn * kLayThreads;
    const int piece = i % kPieces, column = i / kPieces;
    if (pixel0 + column >= p.pixels || channel0 + piece * kPiece >= channels) continue;
    const uint32_t* const words = &tile[column][piece * (kPiece / 2)];
    uint16_t* const to = p.to + (image * p.pixels + pixel0 + column) * channels + channel0 + piece * kPiece;
    *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
  }
}

GORGO_DEVICE void lay_weights_part(const LayWeights& p, int64_t block, int64_t blocks) {
  for (int64_t i = block * kLayThreads + threadIdx.x; i < p.count; i += blocks * kLayThreads) {
    const Quotient by_channel(i, p.padded);
    const Quotient by_tap(by_channel.quotient, p.taps);
    const Quotient by_row(by_tap.quotient, p.rows);
    const Quotient by_w(p.reversed ? p.taps - 1 - by_tap.rest : by_tap.rest, p.kernel[2]);
    const Quotient by_h(by_w.quotient, p.kernel[1]);
    const int64_t at = by_row.quotient * p.group_step + by_row.rest * p.row_step + by_channel.rest * p.sum_step +
                       by_h.quotient * p.axis[0] + by_h.rest * p.axis[1] + by_w.rest * p.axis[2];
    p.to[i] = by_channel.rest < p.sum ? __ldg(p.from + at) : uint16_t{0};
  }
}

// The first blocks lay the images, the others the weights.
template <int kWidth>
__global__ void __launch_bounds__(kLayThreads)
    lay_kernel(const __grid_constant__ LayImages images, const __grid_constant__ LayWeights weights) {
  if (blockIdx.x < images.blocks) {
    lay_image_tile<kWidth>(images, blockIdx.x);
  } else {
    lay_weights_part(weights, blockIdx.x - images.blocks, gridDim.x - images.blocks);
  }
}

inline LayImages images_to_lay(const KOperand& x, uint16_t* to, int64_t groups) noexcept {
  const ConvStrides strides(x);
  LayImages p{};
  p.from = x.as<uint16_t>(), p.to = to;
  p.outer = strides.outer, p.channel = strides.channel;
  p.pixels = 1;
  for (int i = 0; i < 3; ++i) {
    const int axis = x.rank - 3 + i;
    p.size[i] = axis < 2 ? 1 : x.shape[axis];
    p.axis[i] = strides.axis[i];
    p.pixels *= p.size[i];
  }
  p.groups = groups, p.group = x.shape[1] / groups, p.padded = padded(p.group);
  p.pixel_tiles = ceil_div(p.pixels, kLayTile);
  p.channel_tiles = ceil_div(groups * p.padded, kLayTile);
  p.blocks = p.pixel_tiles * p.channel_tiles * x.shape[0];
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

inline void lay(const LayImages& images, const LayWeights& weights, cudaStream_t stream) noexcept {
  const int64_t blocks = images.blocks + (weights.count > 0 ? grid_for(weights.count, kLayThreads, 2) : 0);
  if (blocks == 0) return;
  const auto grid = static_cast<unsigned>(blocks);
  switch (lay_width(images)) {
    case 8:
      return lay_kernel<8><<<grid, kLayThreads, 0, stream>>>(images, weights);
    case 4:
      return lay_kernel<4><<<grid, kLayThreads, 0, stream>>>(images, weights);
    default:
      lay_kernel<1><<<grid, kLayThreads, 0, stream>>>(images, weights);
  }
}

#endif

}  // namespace gorgo::cuda
