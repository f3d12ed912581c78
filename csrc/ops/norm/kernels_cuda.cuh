// What the CUDA files of the norms share: how a tensor is seen, and the numbers of each channel.
//
// layer_norm, rms_norm and group_norm work on lines: a group of neighbouring channels of one row, with all their positions.
// Read next: kernels_cuda.cu (forward), kernels_cuda_backward.cu, kernels_cuda_batch.cu.
#pragma once

#include "kernels/cuda/reduce.cuh"
#include "ops/norm/attrs.h"

namespace gorgo::cuda {
namespace {

enum class RowNorm { Layer, Rms, Group };

// Data of operand i, which may have been left out, and the step between its channels.
template <class S>
struct PerChannel {
  const S* data = nullptr;
  int64_t step = 0;

  PerChannel() = default;
  PerChannel(const KernelArgs& args, int i) noexcept {
    if (i >= args.in_count || !args.in[i].given) return;
    data = args.in[i].as<const S>();
    step = args.in[i].strides[0];
  }
  [[nodiscard]] bool packs(int width) const noexcept {
    return data == nullptr || (step == 1 && is_aligned(data, static_cast<size_t>(width) * sizeof(S)));
  }
#if defined(__CUDACC__)
  GORGO_DEVICE ComputeType<S> at(int64_t channel, double otherwise) const {
    return data == nullptr ? static_cast<ComputeType<S>>(otherwise) : lift(data[channel * step]);
  }
#endif
};

// Axis sizes and steps of `kInputs` operands of one shape: rows, then channels, then positions.
template <int kInputs>
struct Axes {
  int rank = 0;
  int64_t size[kMaxAxes];
  int64_t step[kInputs][kMaxAxes];

  void push(const KOperand* const (&x)[kInputs], int axis) noexcept { push(x, axis, x[0]->shape[axis], 1); }
  // An axis that goes through another in strides of `times`.
  void push(const KOperand* const (&x)[kInputs], int axis, int64_t n, int64_t times) noexcept {
    size[rank] = n;
    for (int k = 0; k < kInputs; ++k) step[k][rank] = x[k]->strides[axis] * times;
    ++rank;
  }
  [[nodiscard]] Walk<kInputs> walk() const noexcept {
    const int64_t* steps[kInputs];
    for (int k = 0; k < kInputs; ++k) steps[k] = step[k];
    Walk<kInputs> w = Walk<kInputs>::of(size, rank, steps);
    if (w.rank == 0) {
      for (auto& s : w.strides) s[0] = 0;
    }
    return w;
  }
};

// The lines of row norms over operands of one shape.
template <class S, int kInputs>
struct LineJob {
  const S* in[kInputs];
  S* out;  // contiguous
  PerChannel<S> weight;
  PerChannel<S> bias;
  Walk<kInputs> lines;   // rows, then groups
  Walk<kInputs> within;  // channels of a group, then positions
  int64_t rows;
  int64_t groups;
  int64_t size;       // channels of a group
  int64_t positions;  // of a channel
  int64_t length;     // of a line
  int64_t count;      // lines
  ComputeType<S> eps;
  bool packed;  // the numbers of neighbouring channels are read in packs
  int lanes;

  // Whether lines can be read and written in packs.
  bool is_wide(int width) noexcept {
    bool wide = width > 1 && within.rank == 1 && length % width == 0 && (positions == 1 || positions % width == 0) &&
                is_aligned(out, static_cast<size_t>(width) * sizeof(S));
    for (int k = 0; k < kInputs; ++k) {
      wide = wide && within.strides[k][0] == 1 && is_aligned(in[k], static_cast<size_t>(width) * sizeof(S));
      for (int i = 0; i < lines.rank; ++i) wide = wide && lines.strides[k][i] % width == 0;
    }
    packed = wide && positions == 1 && size % width == 0 && weight.packs(width) && bias.packs(width);
    return wide;
  }

#if defined(__CUDACC__)
  // Offsets of element e of a line.
  GORGO_DEVICE void offsets_of(int64_t e, int64_t (&at)[kInputs]) const {
    if (within.rank <= 1) {
#pragma unroll
      for (int k = 0; k < kInputs; ++k) at[k] = e * within.strides[k][0];
    } else {
      offsets_at(within, e, at);
    }
  }
  // The number that a channel has for each of the elements e, e + 1, ... of a line; `first` is the line's first channel.
  template <int kWidth>
  GORGO_DEVICE void numbers(const PerChannel<S>& of, int64_t first, int64_t e, double otherwise,
                            ComputeType<S> (&v)[kWidth]) const {
    if (of.data == nullptr) {
#pragma unroll
      for (auto& x : v) x = static_cast<ComputeType<S>>(otherwise);
    } else if (positions != 1) {  // packs lie within one channel
      const ComputeType<S> here = lift(of.data[(first + Quotient(e, positions).quotient) * of.step]);
#pragma unroll
      for (auto& x : v) x = here;
    } else if (kWidth > 1 && packed) {
      const auto pack = load_pack<S, kWidth>(of.data + first + e);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) v[j] = lift(pack.v[j]);
    } else {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) v[j] = lift(of.data[(first + e + j) * of.step]);
    }
  }
#endif
};

template <RowNorm kWhich>
int64_t groups_of(const KernelArgs& args) noexcept {
  if constexpr (kWhich == RowNorm::Group) {
    return args.attrs_as<GroupNormAttrs>().groups;
  } else {
    return 1;
  }
}
template <RowNorm kWhich>
double eps_of(const KernelArgs& args) noexcept {
  if constexpr (kWhich == RowNorm::Group) {
    return args.attrs_as<GroupNormAttrs>().eps;
  } else {
    return args.attrs_as<NormAttrs>().eps;
  }
}
template <RowNorm kWhich>
int channel_axis(const KOperand& x) noexcept {
  return kWhich == RowNorm::Group ? 1 : x.rank - 1;
}

// The lines of the operands of `x`; the job's data pointers are theirs.
template <RowNorm kWhich, class S, int kInputs>
LineJob<S, kInputs> lines_of(const KernelArgs& args, const KOperand* const (&x)[kInputs]) noexcept {
  LineJob<S, kInputs> job{};
  const KOperand& shape = *x[0];
  const int axis = channel_axis<kWhich>(shape);
  job.rows = 1;
  job.positions = 1;
  job.groups = groups_of<kWhich>(args);
  job.size = shape.shape[axis] / job.groups;
  Axes<kInputs> lines;
  for (int i = 0; i < axis; ++i) {
    lines.push(x, i);
    job.rows *= shape.shape[i];
  }
  lines.push(x, axis, job.groups, job.size);
  Axes<kInputs> within;
  within.push(x, axis, job.size, 1);
  for (int i = axis + 1; i < shape.rank; ++i) {
    within.push(x, i);
    job.positions *= shape.shape[i];
  }
  job.lines = lines.walk();
  job.within = within.walk();
  job.length = job.size * job.positions;
  job.count = job.rows * job.groups;
  job.eps = static_cast<ComputeType<S>>(eps_of<kWhich>(args));
  for (int k = 0; k < kInputs; ++k) job.in[k] = x[k]->template as<const S>();
  job.out = args.out[0].as<S>();
  return job;
}

inline unsigned norm_grid(int64_t units, int64_t at_once) noexcept {
  constexpr int64_t kMost = int64_t{1} << 20;  // blocks stride over the rest
  const int64_t blocks = ceil_div(units, at_once);
  return static_cast<unsigned>(blocks < kMost ? blocks : kMost);
}

#if defined(__CUDACC__)
GORGO_DEVICE float inverse_root(float v) { return 1.0f / sqrtf(v); }
GORGO_DEVICE double inverse_root(double v) { return 1.0 / sqrt(v); }

template <class T>
GORGO_DEVICE T add_two(T a, T b) {
  return a + b;
}
#endif

}  // namespace

void fill_norm_backward(KernelSink& sink);
void fill_norm_batch(KernelSink& sink);

}  // namespace gorgo::cuda
