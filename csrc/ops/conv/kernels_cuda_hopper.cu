// The convolutions of 16-bit floats on Hopper's tensor cores, where they have one group and no depth.
//
// Images are laid into scratch with their channels last, weights likewise, both in one launch; kernels/cuda/conv_hopper.cuh does the
// rest. A transposed convolution with unit strides is one over x with the taps in reverse. Gradients by the weights are split over
// pixels.
// Invariant: ways, tiles and splits depend on shapes alone.
// Read next: kernels/cuda/conv_plane.cuh, ways_cuda.cuh.
#include "kernels/cuda/conv_plane.cuh"
#include "ops/conv/attrs.h"
#include "ops/conv/ways_cuda.cuh"

namespace gorgo::cuda {
namespace {

// Tiles are chosen for a card of so many multiprocessors, whatever runs them.
constexpr int64_t kMultiprocessors = 132;

PlaneConv plane_conv(const ConvSizes& s, ConvWay way) noexcept {
  const bool transposed = way == ConvWay::transposed;
  PlaneConv c{s.n, transposed ? s.o : s.c, transposed ? s.c : s.o, {}};
  for (int i = 0; i < 2; ++i) {
    const ConvAxis& a = s.axis[i + 1];
    if (transposed) {
      c.axis[i] = {a.pixels, a.kernel, a.image, 1, (a.kernel - 1) * a.step - a.pad, a.step};
    } else {
      c.axis[i] = {a.image, a.kernel, a.pixels, a.stride, a.pad, a.step};
    }
  }
  return c;
}

// Whether products in chunks of 64 channels pay against the other tensor-core way.
bool suits_hopper(const ConvSizes& s, ConvWay way) noexcept {
  constexpr int64_t kLeastWork = int64_t{1} << 26;  // multiply-adds
  const ConvAxis& d = s.axis[0];
  if (s.groups != 1 || d.image != 1 || d.pixels != 1 || d.kernel != 1 || d.pad != 0) return false;
  // Zeros of unfinished chunks are multiplied too.
  if (s.c * s.o * 3 < ceil_div(s.c, 64) * ceil_div(s.o, 64) * 4096) return false;
  if (s.n * s.o * s.pixels <= kLeastWork / (s.c * s.taps)) return false;
  if (way == ConvWay::transposed && (s.axis[1].stride != 1 || s.axis[2].stride != 1)) return false;
  const PlaneConv c = plane_conv(s, way);
  return c.fits() && (c.shared_row() == 0 || c.shared().fits());
}

// ---- results ----

struct ResultsTile {
  bool shares, in_turn;
  int columns;
};

// The tile with the least time, in cycles, of the multiprocessor that has most to do: tensor cores take 32 cycles for 1024 products
// of a column, and a row of 128 bytes comes in three or four.
ResultsTile results_tile(const PlaneConv& c) noexcept {
  ResultsTile best{};
  int64_t least = INT64_MAX;
  const auto consider = [&](bool shares, bool in_turn, int columns) {
    if (shares && c.shared_row() == 0) return;
    const int64_t rows = in_turn ? 64 : 128;
    const int64_t tiles = ceil_div(c.rows, rows) * ceil_div(shares ? c.shared().pixels() : c.pixels(), columns);
    const int64_t taps = shares ? 3 : 1;  // of a stage
    const int64_t products = taps * rows * columns / 32;
    const int64_t bytes = (taps * rows + columns) * 7 / 2;
    const int64_t stage = products > bytes ? products : bytes;
    const int64_t stores = 500 + columns * 6;
    // The few stages of tiles whose taps share are refilled while nobody multiplies (measured: nearly two of them, or four).
    const int64_t refill = !shares ? 0 : in_turn ? stage * 7 / 4 : stage * 4;
    const int64_t sums = c.taps() / taps * c.chunks() * stage + refill;
    const int64_t each = ceil_div(tiles, kMultiprocessors);
    const int64_t time = in_turn ? each * (sums + stores / 3) + stores : each * (sums + stores);
    if (time >= least) return;
    least = time;
    best = {shares, in_turn, columns};
  };
  for (const bool shares : {true, false}) {
    for (const int columns : {256, 192}) {
      consider(shares, false, columns);
      consider(shares, true, columns);
    }
  }
  consider(false, false, 128);
  return best;
}

template <class S>
bool run_tile(const ResultsTile& tile, const PlaneConv& c, const void* images, const void* weights, const void* bias,
              int64_t bias_stride, void* out, cudaStream_t stream) noexcept {
  const auto run = [&]<bool kInTurn, int kN, int kTaps>() {
    return conv_results<ConvTile<S, false, kInTurn, kN, false, kTaps>>(c, images, weights, bias, bias_stride, out,
                                                                       stream);
  };
  if (tile.columns == 128) return run.template operator()<false, 128, 1>();
  const auto choose = [&]<int kTaps>() {
    if (tile.in_turn) {
      return tile.columns == 256 ? run.template operator()<true, 256, kTaps>()
                                 : run.template operator()<true, 192, kTaps>();
    }
    return tile.columns == 256 ? run.template operator()<false, 256, kTaps>()
                               : run.template operator()<false, 192, kTaps>();
  };
  return tile.shares ? choose.template operator()<3>() : choose.template operator()<1>();
}

// Where things lie in scratch.
struct ResultsRoom {
  size_t weights, bytes;
  ResultsRoom(const PlaneConv& c, const ResultsTile& tile) noexcept
      : weights(
            rounded_bytes(c.n * c.axis[0].from * (tile.shares ? c.shared_row() : c.axis[1].from) * padded(c.sum), 2)),
        bytes(weights + rounded_bytes(c.rows * c.taps() * c.chunks() * 64, 2)) {}
};

template <class S>
bool run_results(const KernelArgs& args, const ConvSizes& s, bool transposed) noexcept {
  const PlaneConv c = plane_conv(s, transposed ? ConvWay::transposed : ConvWay::results);
  const ResultsTile tile = results_tile(c);
  const ResultsRoom room(c, tile);
  auto* const images = static_cast<unsigned char*>(args.scratch);
  auto* const weights = images + room.weights;
  const cudaStream_t stream = stream_of(args);

  const ConvStrides weight(args.in[1]);
  LayWeights l{};
  l.from = args.in[1].as<uint16_t>(), l.to = reinterpret_cast<uint16_t*>(weights);
  l.rows = c.rows, l.taps = c.taps(), l.sum = c.sum, l.padded = c.chunks() * 64;
  l.count = l.rows * l.taps * l.padded;
  l.row_step = transposed ? weight.channel : weight.outer;
  l.sum_step = transposed ? weight.outer : weight.channel;
  for (int i = 0; i < 3; ++i) l.axis[i] = weight.axis[i], l.kernel[i] = s.axis[i].kernel;
  l.reversed = transposed;
  const LayImages x = images_to_lay(args.in[0], reinterpret_cast<uint16_t*>(images), 1);
  const PlaneConv::Axis& w = c.axis[1];
  lay(tile.shares ? lay_in_rows(x, c.shared_row(), w.pad, w.out + 2 * w.step) : x, l, stream);

  const bool has_bias = args.in_count > 2 && args.in[2].given;
  return run_tile<S>(tile, c, images, weights, has_bias ? args.in[2].data : nullptr,
                     has_bias ? args.in[2].strides[0] : 0, args.out[0].data, stream);
}

// ---- gradients by the weights ----

struct WeightsPlan {
  bool in_turn;
  int64_t row;  // in which images are laid, so that taps share; 0: as they are
  int64_t splits;
};
WeightsPlan weights_plan(const PlaneConv& c) noexcept {
  WeightsPlan plan{c.rows <= 64 || (c.rows - 1) % 128 < 64, c.shared_row(), 1};
  const int64_t columns = c.taps() * c.chunks() * 64;
  const int64_t tiles = ceil_div(c.rows, plan.in_turn ? 64 : 128) * ceil_div(columns, 192);
  const int64_t depths = ceil_div(plan.row > 0 ? c.shared().pixels() : c.pixels(), kDepth);
  // Two tiles for each multiprocessor: in turn, or so that those which end early take another.
  constexpr int64_t kLeast = 8, kMost = 256;    // stages of a part; a longer one shows rounding errors
  constexpr int64_t kParts = int64_t{1} << 26;  // elements of scratch
  int64_t splits = 2 * kMultiprocessors / tiles;
  if (splits > ceil_div(depths, kLeast)) splits = ceil_div(depths, kLeast);
  if (splits < ceil_div(depths, kMost)) splits = ceil_div(depths, kMost);
  const int64_t room = kParts / (c.rows * columns);
  if (splits > room) splits = room;
  plan.splits = splits < 1 ? 1 : splits;
  return plan;
}

struct WeightsRoom {
  size_t g, parts, bytes;
  WeightsRoom(const PlaneConv& c, const WeightsPlan& plan) noexcept {
    const PlaneConv::Axis &h = c.axis[0], &w = c.axis[1];
    g = rounded_bytes(c.n * h.from * (plan.row > 0 ? plan.row : w.from) * padded(c.sum), 2);
    parts = g + rounded_bytes(c.n * h.out * (plan.row > 0 ? plan.row : w.out) * padded(c.rows), 2);
    bytes = parts + rounded_bytes(plan.splits * c.rows * c.taps() * c.chunks() * 64, sizeof(float));
  }
};

// Whether the copy engine can read the gradient of the results as it is. A stage that ended in another image would meet its windows,
// which may be infinite.
bool reads_directly(const PlaneConv& c, const WeightsPlan& plan, const LayImages& g) noexcept {
  const auto fits = [](int64_t stride) { return stride > 0 && stride % 8 == 0 && stride * 2 <= kMaxPitch; };
  const bool stages = plan.row > 0 ? plan.row % kDepth == 0 && c.axis[1].out % 8 == 0 : c.plane() % kDepth == 0;
  return stages && lay_width(g) == 8 && fits(g.channel) && fits(g.outer);
}

template <class S>
bool run_weights(const KernelArgs& args, const ConvSizes& s) noexcept {
  const PlaneConv c = plane_conv(s, ConvWay::weights);
  const WeightsPlan plan = weights_plan(c);
  const WeightsRoom room(c, plan);
  auto* const images = static_cast<unsigned char*>(args.scratch);
  auto* const g = images + room.g;
  auto* const parts = reinterpret_cast<float*>(images + room.parts);
  const cudaStream_t stream = stream_of(args);
  const LayImages x = images_to_lay(args.in[0], reinterpret_cast<uint16_t*>(images), 1);
  lay(plan.row > 0 ? lay_in_rows(x, plan.row, c.axis[1].pad, plan.row) : x, {}, stream);
  const LayImages g_images = images_to_lay(args.in[1], reinterpret_cast<uint16_t*>(g), 1);
  const bool direct = reads_directly(c, plan, g_images);
  if (!direct) lay(plan.row > 0 ? lay_in_rows(g_images, plan.row, 0, plan.row) : g_images, {}, stream);
  const auto run = [&]<bool kInTurn, bool kDirect, int kTaps>() {
    return conv_weights<ConvTile<S, true, kInTurn, 192, kDirect, kTaps>>(c, images, kDirect ? args.in[1].data : g,
                                                                         g_images.channel, g_images.outer, plan.splits,
                                                                         parts, args.out[0].as<S>(), stream);
  };
  const auto choose = [&]<int kTaps>() {
    if (plan.in_turn)
      return direct ? run.template operator()<true, true, kTaps>() : run.template operator()<true, false, kTaps>();
    return direct ? run.template operator()<false, true, kTaps>() : run.template operator()<false, false, kTaps>();
  };
  return plan.row > 0 ? choose.template operator()<3>() : choose.template operator()<1>();
}

}  // namespace

template <class S>
size_t hopper_conv_scratch(const ConvSizes& s, ConvWay way) noexcept {
  if (!suits_hopper(s, way) || !conv_hopper_here()) return 0;
  const PlaneConv c = plane_conv(s, way);
  if (way != ConvWay::weights) return ResultsRoom(c, results_tile(c)).bytes;
  return WeightsRoom(c, weights_plan(c)).bytes;
}
template <class S>
bool run_hopper_conv(const KernelArgs& args, const ConvSizes& s, ConvWay way) noexcept {
  if (!suits_hopper(s, way) || !conv_hopper_here()) return false;
  return way == ConvWay::weights ? run_weights<S>(args, s) : run_results<S>(args, s, way == ConvWay::transposed);
}

#define GORGO_X(S)                                                            \
  template size_t hopper_conv_scratch<S>(const ConvSizes&, ConvWay) noexcept; \
  template bool run_hopper_conv<S>(const KernelArgs&, const ConvSizes&, ConvWay) noexcept;
GORGO_X(Float16)
GORGO_X(BFloat16)
#undef GORGO_X

}  // namespace gorgo::cuda
