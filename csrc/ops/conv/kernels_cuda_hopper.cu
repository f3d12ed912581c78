// The convolutions of 16-bit floats on Hopper's tensor cores, where they have one group and no depth.
//
// Images are laid into scratch with their channels last, weights likewise, both in one launch; kernels/cuda/conv_hopper.cuh does the
// rest. A transposed convolution is one over x with the taps in reverse; with a stride, each phase of the result's elements is one
// of its own. Gradients by the weights are split over pixels.
// Invariant: ways, tiles and splits depend on shapes alone.
// Read next: kernels/cuda/conv_hopper.cuh, ways_cuda.cuh.
#include "kernels/cuda/conv_hopper.cuh"
#include "ops/conv/attrs.h"
#include "ops/conv/ways_cuda.cuh"

namespace gorgo::cuda {
namespace {

// Tiles are chosen for a card of so many multiprocessors, whatever runs them.
constexpr int64_t kMultiprocessors = 132;

// A convolution, or the gradient by its weights.
PlaneConv plane_conv(const ConvSizes& s) noexcept {
  PlaneConv c{s.n, s.c, s.o, {}};
  for (int i = 0; i < 2; ++i) {
    const ConvAxis& a = s.axis[i + 1];
    c.axis[i] = {a.image, a.kernel, a.pixels, a.stride, a.pad, a.step};
  }
  return c;
}

// A phase of a transposed convolution; without taps where nothing of x meets its elements.
PlaneConv phase_conv(const ConvSizes& s, const int64_t (&phase)[2]) noexcept {
  PlaneConv c{s.n, s.o, s.c, {}};
  for (int i = 0; i < 2; ++i) {
    const ConvAxis& a = s.axis[i + 1];
    const PhaseAxis p = axis_phase<true>(gather_axis<true>(a, 0, 0), phase[i]);
    // The last tap comes first: it meets the first element.
    c.axis[i] = {a.pixels, p.taps, p.count, 1, -(p.first + (p.taps - 1) * p.every), -p.every};
    c.axis[i].whole = a.image, c.axis[i].out_first = p.out0, c.axis[i].out_every = p.out_mul;
    c.axis[i].laid = a.kernel, c.axis[i].tap_every = p.tap_every;
    c.axis[i].tap_first = a.kernel - 1 - p.tap0 - (p.taps - 1) * p.tap_every;
  }
  return c;
}

// Calls body(conv) for each phase that has taps until one returns false; whether none did. Sets `empty` where one has no taps.
template <class F>
bool each_phase(const ConvSizes& s, bool& empty, F&& body) {
  int64_t phases[2], phase[2];
  for (int i = 0; i < 2; ++i) {
    const ConvAxis& a = s.axis[i + 1];
    phases[i] = a.stride < a.image ? a.stride : a.image;
  }
  for (phase[0] = 0; phase[0] < phases[0]; ++phase[0]) {
    for (phase[1] = 0; phase[1] < phases[1]; ++phase[1]) {
      const PlaneConv c = phase_conv(s, phase);
      if (c.taps() == 0) {
        empty = true;
      } else if (!body(c)) {
        return false;
      }
    }
  }
  return true;
}

// Whether products in chunks of 64 channels pay against the other tensor-core way.
bool suits_hopper(const ConvSizes& s, ConvWay way) noexcept {
  constexpr int64_t kLeastWork = int64_t{1} << 26;  // multiply-adds
  const ConvAxis& d = s.axis[0];
  if (s.groups != 1 || d.image != 1 || d.pixels != 1 || d.kernel != 1 || d.pad != 0) return false;
  // Zeros of unfinished chunks are multiplied too.
  if (s.c * s.o * 3 < ceil_div(s.c, 64) * ceil_div(s.o, 64) * 4096) return false;
  if (s.n * s.o * s.pixels <= kLeastWork / (s.c * s.taps)) return false;
  if (way != ConvWay::transposed) return plane_conv(s).fits();
  constexpr int64_t kMostPhases = 4;
  if (s.axis[1].stride * s.axis[2].stride > kMostPhases) return false;
  bool empty = false;
  return each_phase(s, empty, [](const PlaneConv& c) { return c.fits(); });
}

// ---- results ----

enum class ResultsTile : uint8_t { turn192, turn256, both128, both192, both256 };

// The tile with the least time: of the multiprocessor that has most to do, in cycles of its tensor cores.
ResultsTile results_tile(const PlaneConv& c) noexcept {
  ResultsTile best = ResultsTile::turn192;
  int64_t least = INT64_MAX;
  const auto consider = [&](ResultsTile tile, bool in_turn, int64_t columns) {
    const int64_t rows = in_turn ? 64 : 128;
    const int64_t tiles = ceil_div(c.rows, rows) * ceil_div(c.pixels(), columns);
    const int64_t products = c.taps() * c.chunks() * rows * columns / 32;
    const int64_t stores = 500 + columns * 6;
    const int64_t each = ceil_div(tiles, kMultiprocessors);
    const int64_t time = in_turn ? each * (products + products / 8) + stores : each * (products + stores);
    if (time < least) {
      least = time;
      best = tile;
    }
  };
  consider(ResultsTile::both256, false, 256);
  consider(ResultsTile::both192, false, 192);
  consider(ResultsTile::turn256, true, 256);
  consider(ResultsTile::turn192, true, 192);
  consider(ResultsTile::both128, false, 128);
  return best;
}

template <class S>
bool run_tiles(const PlaneConv& c, const void* images, const void* weights, const void* bias, int64_t bias_stride,
               void* out, cudaStream_t stream) noexcept {
  const auto run = [&]<bool kInTurn, int kN>() {
    return conv_results<ConvTile<S, false, kInTurn, kN>>(c, images, weights, bias, bias_stride, out, stream);
  };
  switch (results_tile(c)) {
    case ResultsTile::turn192:
      return run.template operator()<true, 192>();
    case ResultsTile::turn256:
      return run.template operator()<true, 256>();
    case ResultsTile::both128:
      return run.template operator()<false, 128>();
    case ResultsTile::both192:
      return run.template operator()<false, 192>();
    default:
      return run.template operator()<false, 256>();
  }
}

// Where things lie in scratch.
struct ResultsRoom {
  size_t weights, bytes;
  ResultsRoom(const ConvSizes& s, bool transposed) noexcept
      : weights(rounded_bytes(s.n * (transposed ? s.pixels * padded(s.o) : s.image * padded(s.c)), 2)),
        bytes(weights +
              rounded_bytes((transposed ? s.c * ceil_div(s.o, 64) : s.o * ceil_div(s.c, 64)) * s.taps * 64, 2)) {}
};

template <class S>
bool run_results(const KernelArgs& args, const ConvSizes& s, bool transposed) noexcept {
  const ResultsRoom room(s, transposed);
  auto* const images = static_cast<unsigned char*>(args.scratch);
  auto* const weights = images + room.weights;
  const bool has_bias = args.in_count > 2 && args.in[2].given;
  const void* const bias = has_bias ? args.in[2].data : nullptr;
  const int64_t bias_stride = has_bias ? args.in[2].strides[0] : 0;
  void* const out = args.out[0].data;
  const cudaStream_t stream = stream_of(args);
  bool empty = false;
  if (transposed) {
    each_phase(s, empty, [](const PlaneConv&) { return true; });
    if (empty && has_bias) return false;
    if (empty) static_cast<void>(cudaMemsetAsync(out, 0, static_cast<size_t>(args.out[0].numel) * sizeof(S), stream));
  }

  const ConvStrides weight(args.in[1]);
  LayWeights l{};
  l.from = args.in[1].as<uint16_t>(), l.to = reinterpret_cast<uint16_t*>(weights);
  l.rows = transposed ? s.c : s.o, l.sum = transposed ? s.o : s.c, l.taps = s.taps;
  l.padded = ceil_div(l.sum, 64) * 64;
  l.count = l.rows * l.taps * l.padded;
  l.row_step = transposed ? weight.channel : weight.outer;
  l.sum_step = transposed ? weight.outer : weight.channel;
  for (int i = 0; i < 3; ++i) l.axis[i] = weight.axis[i], l.kernel[i] = s.axis[i].kernel;
  l.reversed = transposed;
  lay(images_to_lay(args.in[0], reinterpret_cast<uint16_t*>(images), 1), l, stream);

  const auto run = [&](const PlaneConv& c) { return run_tiles<S>(c, images, weights, bias, bias_stride, out, stream); };
  return transposed ? each_phase(s, empty, run) : run(plane_conv(s));
}

// ---- gradients by the weights ----

struct WeightsPlan {
  bool in_turn;
  int64_t splits;
};
WeightsPlan weights_plan(const PlaneConv& c) noexcept {
  WeightsPlan plan{c.rows <= 64 || (c.rows - 1) % 128 < 64, 1};
  const int64_t columns = c.taps() * c.chunks() * 64;
  const int64_t tiles = ceil_div(c.rows, plan.in_turn ? 64 : 128) * ceil_div(columns, 192);
  const int64_t depths = ceil_div(c.pixels(), kDepth);
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
  WeightsRoom(const PlaneConv& c, const WeightsPlan& plan) noexcept
      : g(rounded_bytes(c.n * c.axis[0].from * c.axis[1].from * padded(c.sum), 2)),
        parts(g + rounded_bytes(c.pixels() * padded(c.rows), 2)),
        bytes(parts + rounded_bytes(plan.splits * c.rows * c.taps() * c.chunks() * 64, sizeof(float))) {}
};

// Whether the copy engine can read the gradient of the results as it is. A stage that ended in another image would meet its windows,
// which may be infinite.
bool reads_directly(const LayImages& g) noexcept {
  const auto fits = [](int64_t stride) { return stride > 0 && stride % 8 == 0 && stride * 2 <= kMaxPitch; };
  return lay_width(g) == 8 && g.pixels % kDepth == 0 && fits(g.channel) && fits(g.outer);
}

template <class S>
bool run_weights(const KernelArgs& args, const ConvSizes& s) noexcept {
  const PlaneConv c = plane_conv(s);
  const WeightsPlan plan = weights_plan(c);
  const WeightsRoom room(c, plan);
  auto* const images = static_cast<unsigned char*>(args.scratch);
  auto* const g = images + room.g;
  auto* const parts = reinterpret_cast<float*>(images + room.parts);
  const cudaStream_t stream = stream_of(args);
  lay(images_to_lay(args.in[0], reinterpret_cast<uint16_t*>(images), 1), {}, stream);
  const LayImages g_images = images_to_lay(args.in[1], reinterpret_cast<uint16_t*>(g), 1);
  const bool direct = reads_directly(g_images);
  if (!direct) lay(g_images, {}, stream);
  const auto run = [&]<bool kInTurn, bool kDirect>() {
    return conv_weights<ConvTile<S, true, kInTurn, 192, kDirect>>(c, images, kDirect ? args.in[1].data : g,
                                                                  g_images.channel, g_images.outer, plan.splits, parts,
                                                                  args.out[0].as<S>(), stream);
  };
  if (plan.in_turn) return direct ? run.template operator()<true, true>() : run.template operator()<true, false>();
  return direct ? run.template operator()<false, true>() : run.template operator()<false, false>();
}

}  // namespace

template <class S>
size_t hopper_conv_scratch(const ConvSizes& s, ConvWay way) noexcept {
  if (!suits_hopper(s, way) || !conv_hopper_here()) return 0;
  if (way != ConvWay::weights) return ResultsRoom(s, way == ConvWay::transposed).bytes;
  const PlaneConv c = plane_conv(s);
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
