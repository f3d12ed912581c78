// CUDA kernels of the negative log-likelihood: minus the log-probability at each line's target.
//
// Invariant: a thread has a line; a target out of range is reported and its line yields nothing.
// Read next: lines.cuh.
#include "ops/loss/lines.cuh"

namespace gorgo::cuda {
namespace {

constexpr int kNllThreads = 128;

template <class S>
__global__ void __launch_bounds__(kNllThreads)
    nll_forward(const __grid_constant__ Lines lines, const __grid_constant__ Targets targets, const S* __restrict__ x,
                const ForwardOut<S> out, DeviceFault* fault) {
  using C = ComputeType<S>;
  const int64_t step = int64_t{gridDim.x} * kNllThreads;
  for (int64_t line = int64_t{blockIdx.x} * kNllThreads + threadIdx.x; line < lines.count; line += step) {
    const int64_t t = targets.class_of(line, lines.length, true, fault);
    const C loss = t != kIgnored ? -static_cast<C>(x[lines.begin(line) + t * lines.step]) : C{0};
    out.put(line, loss, t != kIgnored);
  }
}

template <class S>
__global__ void __launch_bounds__(kNllThreads)
    nll_backward(const __grid_constant__ Lines lines, const __grid_constant__ Targets targets,
                 const __grid_constant__ Shares shares, const S* __restrict__ g, S* __restrict__ out,
                 DeviceFault* fault) {
  const double by = shares.divisor_of<kNllThreads>(targets, static_cast<int>(threadIdx.x));
  const int64_t step = int64_t{gridDim.x} * kNllThreads;
  for (int64_t line = int64_t{blockIdx.x} * kNllThreads + threadIdx.x; line < lines.count; line += step) {
    const int64_t t = targets.class_of(line, lines.length, true, fault);
    if (t == kIgnored) continue;
    out[lines.packed_begin(line) + t * lines.inner] = static_cast<S>(-shares.of(g, line, by));
  }
}

template <class S>
void nll_loss(const KernelArgs& args, int64_t) noexcept {
  using C = ComputeType<S>;
  const auto& a = args.attrs_as<NllAttrs>();
  const bool reduces = a.how() != LossReduction::None;
  const Lines lines(args.in[0]);
  if (lines.count > 0) {
    const ForwardOut<S> out{reduces ? static_cast<LossCase<C>*>(args.scratch) : nullptr, args.out[0].as<S>()};
    nll_forward<S><<<grid_for(lines.count, kNllThreads, 16), kNllThreads, 0, stream_of(args)>>>(
        lines, Targets(args.in[1], a.ignore_index), args.in[0].as<const S>(), out, fault_of(args));
  }
  if (reduces) merge_cases<S>(args, lines.count, a.how());
}
template <class S>
size_t nll_loss_bytes(const KernelArgs& args) noexcept {
  if (args.attrs_as<NllAttrs>().how() == LossReduction::None) return 0;
  return cases_bytes<ComputeType<S>>(args.in[1].numel);
}

template <class S>
void nll_loss_backward(const KernelArgs& args, int64_t) noexcept {
  const auto& a = args.attrs_as<NllAttrs>();
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  static_cast<void>(cudaMemsetAsync(out.data, 0, static_cast<size_t>(out.numel) * sizeof(S), stream_of(args)));
  const Lines lines(args.in[0]);
  const Targets targets(args.in[1], a.ignore_index);
  const Shares shares = make_shares(args, targets, a.how());
  nll_backward<S><<<grid_for(lines.count, kNllThreads, 16), kNllThreads, 0, stream_of(args)>>>(
      lines, targets, shares, args.in[2].as<const S>(), out.as<S>(), fault_of(args));
}
size_t nll_loss_backward_bytes(const KernelArgs& args) noexcept {
  return args.attrs_as<NllAttrs>().how() == LossReduction::Mean ? sizeof(unsigned long long) : 0;
}

template <class S>
void fill(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  add(sink, "nll_loss", d, nll_loss<S>, nll_loss_bytes<S>);
  add(sink, "nll_loss_backward", d, nll_loss_backward<S>, nll_loss_backward_bytes);
}

}  // namespace

void fill_nll(KernelSink& sink);
void fill_nll(KernelSink& sink) {
  fill<float>(sink);
  fill<double>(sink);
  fill<BFloat16>(sink);
  fill<Float16>(sink);
}

}  // namespace gorgo::cuda
