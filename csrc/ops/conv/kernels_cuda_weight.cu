// The gradients of the convolutions by their weights on CUDA.
//
// For each group of channels a product: rows are the output's channels, columns the weights of one (channel, then tap), and the
// sum goes over all pixels of all images. It is long where results are few, so it is split among blocks.
// Invariant: the order of every sum depends on shapes alone.
// Read next: kernels/cuda/conv.cuh, kernels_cuda.cu.
#include "ops/conv/attrs.h"
#include "ops/conv/ways_cuda.cuh"

namespace gorgo::cuda {
namespace {

struct WeightCall {
  ConvSizes s;
  TileSize size;
  Cut cut;
  bool masked;
  int64_t columns;

  template <class S>
  static WeightCall of(const KernelArgs& args) noexcept {
    WeightCall c{
        conv_sizes(args.in[0], args.out[0], args.in[1], args.attrs_as<ConvAttrs>()), TileSize::Square, {}, true, 0};
    const int64_t depth = c.s.n * c.s.pixels;
    c.masked = c.s.taps <= kMaskTaps;
    c.columns = c.s.group_c * c.s.taps;
    const int64_t large = ceil_div(c.s.group_o, 128) * ceil_div(c.columns, 128) * c.s.groups;
    if (c.masked && c.s.group_o <= 32 && c.columns > 64) {
      c.size = TileSize::Flat;
    } else if (c.masked && std::is_same_v<S, float> && c.s.group_o > 64 && large * (depth / 256) >= 128) {
      c.size = TileSize::Large;
    }
    c.cut = cut_for(c.size, c.masked, c.s.group_o, c.columns, depth, c.s.groups, args.out[0].numel);
    return c;
  }
};

template <class S, bool kMasked>
void run_weight(const KernelArgs& args, const WeightCall& call) noexcept {
  using Plan = WeightPlan<S, kMasked>;
  const ConvSizes& s = call.s;
  const KOperand& out = args.out[0];
  const ConvStrides x(args.in[0]), g(args.in[1]);
  Plan p{};
  for (int i = 0; i < 3; ++i) {
    p.axes[i] = s.axis[i];
    p.x_axis[i] = x.axis[i], p.g_axis[i] = g.axis[i];
  }
  p.cut = call.cut;
  p.x = args.in[0].as<S>();
  p.g = args.in[1].as<S>();
  p.result = out.as<S>();
  p.partials = static_cast<typename Plan::T*>(args.scratch);
  p.group_rows = s.group_o, p.group_c = s.group_c, p.taps = s.taps, p.pixels = s.n * s.pixels;
  p.x_outer = x.outer, p.x_channel = x.channel;
  p.g_outer = g.outer, p.factor_row = g.channel;
  p.out_row = call.columns;
  p.numel = out.numel;
  p.vectors = p.out_row % 4 == 0 && is_aligned(out.data, 4 * sizeof(S));
  const cudaStream_t stream = stream_of(args);
  run_product(p, call.size, stream);
  if (p.cut.splits > 1) {
    add_partials<S>(p.partials, p.cut.splits, out.numel, nullptr, 0, 1, 1, p.result, {}, stream);
  }
}

template <class S>
void run(const KernelArgs& args, int64_t) noexcept {
  if (args.out[0].numel == 0) return;
  const WeightCall call = WeightCall::of<S>(args);
  if (runs_directly(call.s)) return run_direct_weight<S>(args, call.s);
  if constexpr (sizeof(S) == 2) {
    if (run_hopper_conv<S>(args, call.s, ConvWay::weights)) return;
    if (suits_tensor_cores<S>(call.s) && has_tensor_cores()) return run_tensor_weight<S>(args, call.s);
  }
  if (sums_are_short(call.s)) return run_direct_weight<S>(args, call.s);
  call.masked ? run_weight<S, true>(args, call) : run_weight<S, false>(args, call);
}
template <class S>
size_t scratch(const KernelArgs& args) noexcept {
  if (args.out[0].numel == 0) return 0;
  const WeightCall call = WeightCall::of<S>(args);
  if (runs_directly(call.s)) return direct_weight_scratch<S>(call.s);
  const int64_t partials = call.cut.splits == 1 ? 0 : call.cut.splits * args.out[0].numel;
  size_t bytes = static_cast<size_t>(partials) * sizeof(typename Element<S>::Compute);
  if (sums_are_short(call.s)) bytes = larger(bytes, direct_weight_scratch<S>(call.s));
  if constexpr (sizeof(S) == 2) {
    if (suits_tensor_cores<S>(call.s)) {
      bytes = larger(bytes, tensor_weight_scratch<S>(call.s, args.out[0].numel));
    }
    bytes = larger(bytes, hopper_conv_scratch<S>(call.s, ConvWay::weights));
  }
  return bytes;
}

template <class S>
void add_all(KernelSink& sink) {
  for (const char* op : {"conv1d_grad_weight", "conv2d_grad_weight", "conv3d_grad_weight"}) {
    add(sink, op, kDTypeOf<S>, run<S>, scratch<S>);
  }
}

}  // namespace

void fill_conv_weight(KernelSink& sink) {
  add_all<float>(sink);
  add_all<double>(sink);
  add_all<Float16>(sink);
  add_all<BFloat16>(sink);
}

}  // namespace gorgo::cuda
