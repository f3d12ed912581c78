// How the kernels of conv_hopper.cuh are launched: sizes of a convolution over planes, the copy engine's maps of its operands.
//
// Invariant: where the copy engine's fields cannot hold a size, or the driver has no such maps, nothing is enqueued and the caller
// takes another way. Read next: ops/conv/kernels_cuda_hopper.cu (who comes here).
#pragma once

#include "kernels/cuda/conv_hopper.cuh"

namespace gorgo::cuda {

inline PFN_cuTensorMapEncodeIm2col_v12000 window_map_encoder() noexcept {
  static const auto encoder = driver_entry<PFN_cuTensorMapEncodeIm2col_v12000>("cuTensorMapEncodeIm2col");
  return encoder;
}

inline bool conv_hopper_here() noexcept { return hopper_here() && window_map_encoder() != nullptr; }

// A convolution without a depth and in one group: axes are (height, width).
struct PlaneConv {
  int64_t n, sum, rows;  // images; channels that are summed over, and those of the result
  struct Axis {
    int64_t from, taps, out;    // sizes of the images, the windows and the result
    int64_t stride, pad, step;  // pad: before the image, maybe negative
    [[nodiscard]] int64_t behind() const noexcept { return (out - 1) * stride - pad - (from - 1); }
  } axis[2];
  [[nodiscard]] int64_t taps() const noexcept { return axis[0].taps * axis[1].taps; }
  [[nodiscard]] int64_t plane() const noexcept { return axis[0].out * axis[1].out; }
  [[nodiscard]] int64_t pixels() const noexcept { return n * plane(); }
  [[nodiscard]] int64_t chunks() const noexcept { return ceil_div(sum, 64); }

  // Taps of a row share their pixels where images are laid with rows of this length, `pad` zeros before each and some behind: what
  // a window meets beside a row's end then lies there. 0: they are other than three, or too far from each other, or too many of
  // the pixels would not be results.
  [[nodiscard]] int64_t shared_row() const noexcept {
    const Axis& w = axis[1];
    if (w.taps != 3 || w.stride != 1 || 2 * w.step > kSharedTail) return 0;
    const int64_t row = ceil_div(w.out + 2 * w.step, 8) * 8;
    return w.out * 8 >= row * 6 ? row : 0;
  }
  // The convolution over such rows, whose windows begin at each of their pixels.
  [[nodiscard]] PlaneConv shared() const noexcept {
    PlaneConv c = *this;
    c.axis[1].from = c.axis[1].out = shared_row();
    c.axis[1].pad = 0;
    return c;
  }

  // Whether the copy engine's fields hold the sizes.
  [[nodiscard]] bool fits() const noexcept {
    constexpr int64_t kLimit = int64_t{1} << 30;
    if (n < 1 || sum < 1 || rows < 1 || sum > (1 << 20) || rows > (1 << 20)) return false;
    for (const Axis& a : axis) {
      if (a.from < 1 || a.out < 1 || a.taps < 1 || a.from > kLimit || a.out > kLimit || a.taps > 256) return false;
      if (a.stride < 1 || a.stride > 8 || a.step > 255 || (a.taps - 1) * a.step > 255) return false;
      if (a.pad > 128 || a.pad < -127 || a.behind() > 127 || a.behind() < -128) return false;
      if (a.from - 1 + a.behind() + a.pad < 0) return false;
    }
    if (axis[0].out > kLimit / axis[1].out || n > kLimit / plane()) return false;
    if (axis[0].taps * axis[1].taps > 65536) return false;
    if (axis[0].from > kLimit / axis[1].from || n > kLimit / (axis[0].from * axis[1].from)) return false;
    return taps() * chunks() < (1 << 20) && taps() * chunks() * 64 * rows < kLimit;
  }
};

// `images` lie with `padded(sum)` channels last.
template <class T>
bool map_windows(CUtensorMap& map, const PlaneConv& c, const void* images, int box) noexcept {
  const auto encoder = window_map_encoder();
  if (encoder == nullptr) return false;
  const auto channels = static_cast<uint64_t>(padded(c.sum));
  const cuuint64_t lengths[4] = {channels, static_cast<uint64_t>(c.axis[1].from), static_cast<uint64_t>(c.axis[0].from),
                                 static_cast<uint64_t>(c.n)};
  cuuint64_t pitches[3] = {channels * 2, 0, 0};
  for (int i = 1; i < 3; ++i) pitches[i] = pitches[i - 1] * lengths[i];
  const int lower[2] = {static_cast<int>(-c.axis[1].pad), static_cast<int>(-c.axis[0].pad)};
  const int upper[2] = {static_cast<int>(c.axis[1].behind()), static_cast<int>(c.axis[0].behind())};
  const cuuint32_t steps[4] = {1, static_cast<cuuint32_t>(c.axis[1].stride), static_cast<cuuint32_t>(c.axis[0].stride),
                               1};
  return encoder(&map, map_type<T>(), 4, const_cast<void*>(images), lengths, pitches, lower, upper, 64,
                 static_cast<cuuint32_t>(box), steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

inline ConvHopperArgs conv_hopper_args(const PlaneConv& c) noexcept {
  ConvHopperArgs args{};
  args.rows = static_cast<int32_t>(c.rows);
  args.chunks = static_cast<int32_t>(c.chunks());
  for (int i = 0; i < 2; ++i) {
    const PlaneConv::Axis& a = c.axis[i];
    args.taps[i] = static_cast<int32_t>(a.taps), args.step[i] = static_cast<int32_t>(a.step);
    args.stride[i] = static_cast<int32_t>(a.stride), args.first[i] = static_cast<int32_t>(-a.pad);
    args.size[i] = static_cast<int32_t>(a.out);
  }
  args.seen = args.size[1];
  args.plane = static_cast<int32_t>(c.plane());
  args.pixels = static_cast<int32_t>(c.pixels());
  return args;
}

template <class Tile>
void launch_conv_hopper(const ConvHopperArgs& args, cudaStream_t stream) noexcept {
  const int most = card().multiprocessors;
  allow_shared(conv_hopper_kernel<Tile>, Tile::kShared);
  launch_in_stream(conv_hopper_kernel<Tile>, static_cast<unsigned>(args.tiles < most ? args.tiles : most),
                   Tile::kThreads, Tile::kShared, 1, stream, args);
}

// `weights`: (row, tap, channel), channels in whole chunks. Where taps share, images lie in rows of c.shared_row(). False, with nothing done, when a map cannot be made.
template <class Tile>
bool conv_results(const PlaneConv& c, const void* images, const void* weights, const void* bias, int64_t bias_stride,
                  void* out, cudaStream_t stream) noexcept {
  using T = typename Tile::T;
  const PlaneConv laid = Tile::kShare ? c.shared() : c;
  ConvHopperArgs args = conv_hopper_args(laid);
  args.seen = static_cast<int32_t>(c.axis[1].out);
  args.depths = args.per_split = args.taps[0] * (Tile::kShare ? 1 : args.taps[1]) * args.chunks;
  const uint64_t lengths[2] = {static_cast<uint64_t>(c.taps() * c.chunks() * kDepth), static_cast<uint64_t>(c.rows)};
  const uint64_t pitch = lengths[0] * 2;
  const uint32_t box[2] = {kDepth, Tile::kM};
  if (!encode_map(args.a, map_type<T>(), 2, weights, lengths, &pitch, box)) return false;
  if (!map_windows<T>(args.b, laid, images, Tile::kPixels)) return false;
  args.out = out, args.bias = bias, args.bias_stride = bias_stride;
  args.tile_rows = static_cast<int32_t>(ceil_div(c.rows, Tile::kM));
  args.tile_columns = static_cast<int32_t>(ceil_div(laid.pixels(), Tile::kN));
  args.tiles = args.tile_rows * args.tile_columns;
  const auto fits = [&](int width) {
    const int64_t beside = Tile::kShare ? c.axis[1].out : c.plane();  // pixels that lie side by side
    return beside % width == 0 && is_aligned(out, static_cast<size_t>(width) * 2);
  };
  args.width = fits(8) ? 8 : fits(4) ? 4 : Tile::kShare && fits(2) ? 2 : 1;
  args.passing = c.pixels() * c.rows * 2 > GORGO_CONV_PASSING;
  launch_conv_hopper<Tile>(args, stream);
  return true;
}

// Gradients by the weights. `images` with channels last, `g` too; a direct one has dense channels g_channel, and images g_outer
// elements apart. Where taps share, both are laid in rows of c.shared_row(), all of whose pixels are numbers. `parts`: splits times rows, taps and channels in whole chunks.
template <class Tile>
bool conv_weights(const PlaneConv& c, const void* images, const void* g, int64_t g_channel, int64_t g_outer,
                  int64_t splits, float* parts, typename Tile::T* result, cudaStream_t stream) noexcept {
  using T = typename Tile::T;
  const PlaneConv laid = Tile::kShareColumns ? c.shared() : c;
  ConvHopperArgs args = conv_hopper_args(laid);
  args.image_depths = static_cast<int32_t>((Tile::kShareColumns ? laid.axis[1].out : c.plane()) / kDepth);
  args.depths = static_cast<int32_t>(ceil_div(laid.pixels(), kDepth));
  args.per_split = static_cast<int32_t>(ceil_div(args.depths, splits));
  splits = ceil_div(args.depths, args.per_split);
  if constexpr (Tile::kDirect) {
    const auto length = [](int64_t n) { return static_cast<uint64_t>(n); };
    const auto pitch = [](int64_t n) { return static_cast<uint64_t>(n) * 2; };
    const bool rows = Tile::kShareColumns;  // a row of the image at a time, else a whole one
    const uint64_t lengths[4] = {length(rows ? c.axis[1].out : c.plane()), length(rows ? c.axis[0].out : c.rows),
                                 length(rows ? c.rows : c.n), length(rows ? c.n : 1)};
    const uint64_t pitches[3] = {pitch(rows ? c.axis[1].out : g_channel), pitch(rows ? g_channel : g_outer),
                                 pitch(g_outer)};
    const uint32_t box[4] = {kDepth, rows ? 1u : Tile::kM, rows ? Tile::kM : 1u, 1};
    if (!encode_map(args.a, map_type<T>(), 4, g, lengths, pitches, box)) return false;
  } else {
    const uint64_t lengths[2] = {static_cast<uint64_t>(padded(c.rows)), static_cast<uint64_t>(laid.pixels())};
    const uint64_t pitch = lengths[0] * 2;
    const uint32_t box[2] = {64, kDepth};
    if (!encode_map(args.a, map_type<T>(), 2, g, lengths, &pitch, box)) return false;
  }
  if (!map_windows<T>(args.b, laid, images, Tile::kShareColumns ? Tile::kPixels : kDepth)) return false;
  args.out = parts;
  const int64_t columns = c.taps() * c.chunks() * 64;
  args.tile_rows = static_cast<int32_t>(ceil_div(c.rows, Tile::kM));
  args.tile_columns = static_cast<int32_t>(ceil_div(columns, Tile::kN));
  args.tiles = static_cast<int32_t>(args.tile_rows * args.tile_columns * splits);
  launch_conv_hopper<Tile>(args, stream);
  launch_in_stream(join_parts_kernel<T>, grid_for(c.rows * columns, 256), 256, 0, 1, stream, parts,
                   static_cast<int>(splits), args.rows, args.taps[0] * args.taps[1], static_cast<int>(c.sum),
                   args.chunks, result);
  return true;
}

}  // namespace gorgo::cuda
