// The convolutions and the transposed ones on CUDA: each result gathers from the windows that it meets.
//
// A convolution is, for each group of channels, a product: rows are the group's results, columns all windows of all images, and
// the sum goes over channels and taps. A transposed one is the same over x by the taps in which elements of the result meet x;
// elements that are `stride` apart meet the same taps, and each such phase is a product of its own, in the same launch.
// Ways, chosen by shapes: sums made directly for groups of few channels (kernels_cuda_direct.cu), tensor cores for 16-bit floats
// (kernels_cuda_hopper.cu, kernels_cuda_mma.cu), sums made directly over images of one channel, else the tiles of
// kernels/cuda/conv.cuh.
// Read next: kernels/cuda/conv.cuh, kernels_cuda_weight.cu.
#include "ops/conv/attrs.h"
#include "ops/conv/ways_cuda.cuh"

namespace gorgo::cuda {
namespace {

// One call: its sizes, the tile for them, and how the product is cut.
template <class S, bool kTransposed>
struct Call {
  ConvSizes s;
  GatherSizes g;

  explicit Call(const KernelArgs& args) noexcept
      : s(kTransposed ? conv_sizes(args.out[0], args.in[1], args.in[0], args.attrs_as<ConvAttrs>())
                      : conv_sizes(args.in[0], args.in[1], args.out[0], args.attrs_as<ConvAttrs>())),
        g(gather_sizes(s, kTransposed)) {}

  [[nodiscard]] bool masked() const noexcept { return s.taps <= kMaskTaps; }
  [[nodiscard]] Cut cut(int64_t numel, TileSize& size) const noexcept {
    size = TileSize::Square;
    if (masked()) {
      const int64_t large = ceil_div(g.rows, 128) * ceil_div(g.columns, 128) * g.problems;
      if (g.rows <= 32) size = TileSize::Flat;
      if (std::is_same_v<S, float> && g.rows > 64 && large >= 128) size = TileSize::Large;
    }
    return cut_for(size, masked(), g.rows, g.columns, g.sum * g.taps, g.problems, numel);
  }
};

template <class S, bool kTransposed>
size_t product_scratch(const KernelArgs& args, const Call<S, kTransposed>& call) noexcept {
  TileSize size;
  const Cut cut = call.cut(args.out[0].numel, size);
  if (cut.splits == 1) return 0;
  return static_cast<size_t>(cut.splits * args.out[0].numel) * sizeof(typename Element<S>::Compute);
}

template <class S, bool kTransposed, bool kMasked>
void run_gather(const KernelArgs& args, const Call<S, kTransposed>& call, const Finish& finish) noexcept {
  using Plan = GatherPlan<S, kTransposed, kMasked>;
  const ConvSizes& s = call.s;
  const KOperand& out = args.out[0];
  const ConvStrides x(args.in[0]), weight(args.in[1]);
  const bool has_bias = args.in_count > 2 && args.in[2].given;
  Plan p{};
  for (int i = 0; i < 3; ++i) p.axes[i] = gather_axis<kTransposed>(s.axis[i], x.axis[i], weight.axis[i]);
  TileSize size;
  p.cut = call.cut(out.numel, size);
  p.x = args.in[0].as<S>();
  p.weight = args.in[1].as<S>();
  p.added = has_bias ? args.in[2].as<S>() : nullptr;
  p.result = out.as<S>();
  p.partials = static_cast<typename Plan::T*>(args.scratch);
  p.n = s.n, p.groups = s.groups;
  p.group_rows = call.g.rows, p.group_sum = call.g.sum;
  p.x_outer = x.outer, p.x_channel = x.channel;
  p.weight_sum = kTransposed ? weight.outer : weight.channel;
  p.weight_group = s.group_o * weight.outer;
  p.factor_row = kTransposed ? weight.channel : weight.outer;
  p.bias_stride = has_bias ? args.in[2].strides[0] : 0;
  p.plane = kTransposed ? s.image : s.pixels;
  p.out_row = p.plane;
  p.numel = out.numel;
  bool dense = true;  // columns are the elements of the result in order
  for (const ConvAxis& axis : s.axis) dense = dense && (!kTransposed || axis.stride == 1);
  p.vectors = dense && p.plane % 4 == 0 && is_aligned(out.data, 4 * sizeof(S));
  p.finish = finish;
  const cudaStream_t stream = stream_of(args);
  run_product(p, size, stream);
  if (p.cut.splits > 1) {
    add_partials<S>(p.partials, p.cut.splits, out.numel, p.added, p.bias_stride, p.plane, s.groups * call.g.rows,
                    p.result, finish, stream);
  }
}

// Those of tensor cores; the epilogue follows.
template <class S>
bool run_units(const KernelArgs& args, const ConvSizes& s, bool transposed, const Finish& finish) noexcept {
  if constexpr (sizeof(S) == 2) {
    if (!run_hopper_conv<S>(args, s, transposed ? ConvWay::transposed : ConvWay::results)) {
      if (!suits_tensor_cores<S>(s) || !has_tensor_cores()) return false;
      run_tensor<S>(args, s, transposed);
    }
    launch_finish<S>(args.out[0].data, args.out[0].numel, finish, stream_of(args));
    return true;
  }
  return false;
}

template <class S, bool kTransposed>
void run_finished_by(const KernelArgs& args, const Finish& finish) noexcept {
  const Call<S, kTransposed> call(args);
  if (runs_directly(call.s)) return run_direct<S>(args, call.s, kTransposed, finish);
  if (run_units<S>(args, call.s, kTransposed, finish)) return;
  if (!kTransposed && sums_are_short(call.s)) return run_direct<S>(args, call.s, false, finish);
  call.masked() ? run_gather<S, kTransposed, true>(args, call, finish)
                : run_gather<S, kTransposed, false>(args, call, finish);
}
template <class S, bool kTransposed, Epilogue kThen = Epilogue::None>
void run(const KernelArgs& args, int64_t) noexcept {
  if (args.out[0].numel == 0) return;
  run_finished<S>(args, kThen, [&](const Finish& finish) { run_finished_by<S, kTransposed>(args, finish); });
}
template <class S, bool kTransposed>
size_t scratch(const KernelArgs& args) noexcept {
  if (args.out[0].numel == 0) return 0;
  const Call<S, kTransposed> call(args);
  if (runs_directly(call.s)) return 0;
  size_t bytes = product_scratch(args, call);
  if constexpr (sizeof(S) == 2) {
    if (suits_tensor_cores<S>(call.s)) {
      bytes = larger(bytes, tensor_scratch<S>(call.s, kTransposed, args.out[0].numel));
    }
    bytes = larger(bytes, hopper_conv_scratch<S>(call.s, kTransposed ? ConvWay::transposed : ConvWay::results));
  }
  return bytes;
}

template <class S>
void add_all(KernelSink& sink) {
  const auto add_each = [&](std::initializer_list<const char*> ops, Launcher launcher, ScratchBytes bytes) {
    for (const char* op : ops) add(sink, op, kDTypeOf<S>, launcher, bytes);
  };
  constexpr Epilogue kRelu = Epilogue::Relu, kGate = Epilogue::ReluBackward;
  add_each({"conv1d", "conv2d", "conv3d"}, run<S, false>, scratch<S, false>);
  add_each({"conv1d_relu", "conv2d_relu", "conv3d_relu"}, run<S, false, kRelu>, scratch<S, false>);
  add_each({"conv1d_relu_backward", "conv2d_relu_backward", "conv3d_relu_backward"}, run<S, false, kGate>,
           scratch<S, false>);
  add_each({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}, run<S, true>, scratch<S, true>);
  add_each({"conv_transpose1d_relu", "conv_transpose2d_relu", "conv_transpose3d_relu"}, run<S, true, kRelu>,
           scratch<S, true>);
  add_each({"conv_transpose1d_relu_backward", "conv_transpose2d_relu_backward", "conv_transpose3d_relu_backward"},
           run<S, true, kGate>, scratch<S, true>);
}

}  // namespace

void fill_conv_weight(KernelSink& sink);  // kernels_cuda_weight.cu

void fill_conv(KernelSink& sink) {
  add_all<float>(sink);
  add_all<double>(sink);
  add_all<Float16>(sink);
  add_all<BFloat16>(sink);
  fill_conv_weight(sink);
}

}  // namespace gorgo::cuda
