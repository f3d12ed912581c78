// CUDA kernels of pad, its adjoint, and roll, which reads as padding that wraps.
//
// Each element of a result finds its sources: the adjoint adds up those that were taken from it in rising order, so the bits do
// not depend on the grid.
// Read next: kernels_cuda.cu, padding.cpp.
#include <cstring>

#ifndef GORGO_ISA_NS
#define GORGO_ISA_NS cuda
#endif
#include "kernels/cuda/complex.cuh"
#include "kernels/cuda/move.cuh"
#include "kernels/from_scalar.h"
#include "ops/shape/attrs.h"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kEach = 4;
constexpr int64_t kTile = kThreads * kEach;

GORGO_INLINE int64_t modulo(int64_t i, int64_t n) noexcept {
  const int64_t rest = i % n;
  return rest < 0 ? rest + n : rest;
}

// One axis, what is laid around it, and where it lies in the source.
struct PaddedAxis {
  int64_t length = 1;
  int64_t before = 0;
  int64_t after = 0;
  int64_t stride = 0;
  Splitter walked;  // by the axis' length in the result that is walked

  [[nodiscard]] GORGO_INLINE bool is_plain() const noexcept { return before == 0 && after == 0; }
  // Where in the axis the element at a position of the padded axis comes from; -1 for the value.
  [[nodiscard]] GORGO_INLINE int64_t source(int64_t position, PadMode mode) const noexcept {
    const int64_t i = position - before;
    if (i >= 0 && i < length) return i;
    switch (mode) {
      case PadMode::Constant:
        return -1;
      case PadMode::Edge:
        return i < 0 ? 0 : length - 1;
      case PadMode::Wrap:
        return modulo(i, length);
      case PadMode::Reflect: {
        if (length == 1) return 0;
        const int64_t k = modulo(i, 2 * (length - 1));
        return k < length ? k : 2 * (length - 1) - k;
      }
      case PadMode::Symmetric:
        break;
    }
    const int64_t k = modulo(i, 2 * length);
    return k < length ? k : 2 * length - 1 - k;
  }
  // The positions of the padded axis that may come from element i, numbered: all that lie before the axis, i itself, all after.
  [[nodiscard]] GORGO_INLINE int64_t candidates() const noexcept { return before + 1 + after; }
  [[nodiscard]] GORGO_INLINE int64_t candidate(int64_t k, int64_t i) const noexcept {
    return k < before ? k : k == before ? before + i : k - 1 + length;
  }
};

// Plain axes are merged where the source's steps allow.
struct PaddedAxes {
  int rank = 0;
  PadMode mode = PadMode::Constant;
  int64_t count = 1;  // positions of the result
  PaddedAxis axis[kMaxAxes + 1];

  void add(int64_t length, int64_t before, int64_t after, int64_t stride) noexcept {
    PaddedAxis a;
    a.length = length;
    a.before = before;
    a.after = after;
    a.stride = stride;
    if (a.is_plain() && length == 1) return;
    if (rank > 0 && a.is_plain() && axis[rank - 1].is_plain() && axis[rank - 1].stride == stride * length) {
      axis[rank - 1].length *= length;
      axis[rank - 1].stride = stride;
      return;
    }
    axis[rank++] = a;
  }
  // To be called when all axes are there; `padded` says which of the two shapes is walked.
  void close(bool padded) noexcept {
    count = 1;
    for (int i = 0; i < rank; ++i) count *= axis[i].length + (padded ? axis[i].before + axis[i].after : 0);
    for (int i = 0; i < rank; ++i) {
      axis[i].walked = Splitter(axis[i].length + (padded ? axis[i].before + axis[i].after : 0), count);
    }
  }
};

// ---- pad and roll ----
template <class U>
__global__ void __launch_bounds__(kThreads)
    pad_kernel(const __grid_constant__ PaddedAxes axes, U* __restrict__ to, const U* __restrict__ from, const U value) {
  const int64_t step = int64_t{gridDim.x} * kTile;
  for (int64_t first = int64_t{blockIdx.x} * kTile + threadIdx.x; first < axes.count; first += step) {
    U held[kEach];
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      const int64_t position = first + k * kThreads;
      if (position >= axes.count) break;
      int64_t rest = position;
      int64_t at = 0;
      bool inside = true;
      for (int i = axes.rank - 1; i >= 0; --i) {
        const int64_t source = axes.axis[i].source(axes.axis[i].walked.split(rest), axes.mode);
        inside = inside && source >= 0;
        at += source * axes.axis[i].stride;
      }
      held[k] = value;
      if (inside) held[k] = from[at];
    }
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      if (first + k * kThreads < axes.count) to[first + k * kThreads] = held[k];
    }
  }
}

// `axes` in elements; the value is one element, repeated over the widest unit.
void launch_pad(const KernelArgs& args, PaddedAxes& axes, const Element& value) noexcept {
  const KOperand& x = args.in[0];
  const KOperand& out = args.out[0];
  const int64_t bytes = dtype_size(x.dtype);
  for (int i = 0; i < axes.rank; ++i) axes.axis[i].stride *= bytes;
  axes.add(bytes, 0, 0, 1);
  const int last = axes.rank - 1;
  int64_t unit = bytes;
  if (last >= 0 && axes.axis[last].is_plain() && axes.axis[last].stride == 1) {
    for (unit = 16; unit > bytes; unit /= 2) {
      bool fits = axes.axis[last].length % unit == 0 && aligned_to(out.data, unit) && aligned_to(x.data, unit);
      for (int i = 0; i < last && fits; ++i) fits = axes.axis[i].stride % unit == 0;
      if (fits) break;
    }
    axes.axis[last].length /= unit;
    for (int i = 0; i < last; ++i) axes.axis[i].stride /= unit;
    if (axes.axis[last].length == 1) --axes.rank;
  }
  axes.close(true);
  with_unit(unit, [&]<class U>(TypeTag<U>) {
    U filled;
    std::memcpy(&filled, value.bytes, sizeof filled);
    pad_kernel<U>
        <<<grid_for(axes.count, kTile), kThreads, 0, stream_of(args)>>>(axes, out.as<U>(), x.as<const U>(), filled);
  });
}

Element element_of(const Scalar& s, DType d) noexcept {
  Element e;
  const int64_t bytes = dtype_size(d);
  with_unit(bytes, [&]<class U>(TypeTag<U>) {
    const U unit = unit_from_scalar<U>(s, d);
    for (size_t i = 0; i < sizeof e.bytes; i += sizeof unit) std::memcpy(e.bytes + i, &unit, sizeof unit);
  });
  return e;
}

void pad(const KernelArgs& args, int64_t) noexcept {
  const auto& a = args.attrs_as<PadAttrs>();
  const KOperand& x = args.in[0];
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  const Element value = element_of(a.value, x.dtype);
  if (x.numel == 0) {  // nothing but the value
    MovePlan plan;
    plan.add(out.numel, 1, 0);
    fill_elements(stream_of(args), plan, dtype_size(x.dtype), out.data, value.bytes);
    return;
  }
  PaddedAxes axes;
  axes.mode = pad_mode(a.mode);
  for (int i = 0; i < x.rank; ++i) {
    axes.add(x.shape[i], pad_before(a.pad_width, i), pad_after(a.pad_width, i), x.strides[i]);
  }
  launch_pad(args, axes, value);
}

// Position p of the flattened tensor goes to p + shift.
template <class U>
__global__ void __launch_bounds__(kThreads) roll_flat_kernel(const __grid_constant__ Walk<1> walk, int64_t shift,
                                                             U* __restrict__ to, const U* __restrict__ from) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t p = int64_t{blockIdx.x} * kThreads + threadIdx.x; p < walk.count; p += step) {
    int64_t at[1];
    walk.at(p, at);
    const int64_t moved = p + shift;
    to[moved < walk.count ? moved : moved - walk.count] = from[at[0]];
  }
}

void roll(const KernelArgs& args, int64_t) noexcept {
  const auto& a = args.attrs_as<RollAttrs>();
  const KOperand& x = args.in[0];
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  if (!a.axis.has || x.rank == 0) {
    const int64_t shift = modulo(a.shift[0], x.numel);
    with_unit(dtype_size(x.dtype), [&]<class U>(TypeTag<U>) {
      roll_flat_kernel<U><<<grid_for(x.numel, kThreads), kThreads, 0, stream_of(args)>>>(walk_of(x), shift, out.as<U>(),
                                                                                         x.as<const U>());
    });
    return;
  }
  int64_t shift[kMaxAxes] = {};
  for (int k = 0; k < a.axis.value.size(); ++k) {
    const int64_t given = a.axis.value[k];
    const int64_t axis = given < 0 ? given + x.rank : given;
    const int64_t length = x.shape[axis];
    shift[axis] = (shift[axis] + modulo(a.shift[a.shift.size() == 1 ? 0 : k], length)) % length;
  }
  PaddedAxes axes;
  axes.mode = PadMode::Wrap;
  for (int i = 0; i < x.rank; ++i) axes.add(x.shape[i], shift[i], -shift[i], x.strides[i]);
  launch_pad(args, axes, Element());
}

// ---- pad_adjoint ----
// The last axis gives its middle first, as whole rows are added, then what lies before and after.
GORGO_DEVICE int64_t row_candidate(const PaddedAxis& a, int64_t k, int64_t i) {
  return k == 0 ? a.before + i : k <= a.before ? k - 1 : k - 1 + a.length;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    pad_adjoint_kernel(const __grid_constant__ PaddedAxes axes, T* __restrict__ to, const T* __restrict__ from) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  const int last = axes.rank - 1;
  for (int64_t position = int64_t{blockIdx.x} * kThreads + threadIdx.x; position < axes.count; position += step) {
    int64_t at[kMaxAxes];
    int64_t pick[kMaxAxes];
    int64_t rest = position;
    for (int i = last; i >= 0; --i) {
      at[i] = axes.axis[i].walked.split(rest);
      pick[i] = 0;
    }
    ComputeType<T> sum{};
    // Over the rows that were taken from this one, by odometer.
    for (bool more = true; more;) {
      bool taken = true;
      int64_t row = 0;
      for (int i = 0; i < last && taken; ++i) {
        const PaddedAxis& a = axes.axis[i];
        const int64_t p = a.candidate(pick[i], at[i]);
        taken = a.source(p, axes.mode) == at[i];
        row += p * a.stride;
      }
      if (taken) {
        const PaddedAxis& a = axes.axis[last];
        const int64_t candidates = a.candidates();
        for (int64_t k = 0; k < candidates; ++k) {
          const int64_t p = row_candidate(a, k, at[last]);
          if (a.source(p, axes.mode) == at[last]) sum = sum + static_cast<ComputeType<T>>(from[row + p * a.stride]);
        }
      }
      more = false;
      for (int i = last - 1; i >= 0; --i) {
        if (++pick[i] < axes.axis[i].candidates()) {
          more = true;
          break;
        }
        pick[i] = 0;
      }
    }
    to[position] = static_cast<T>(sum);
  }
}

template <class T>
void pad_adjoint(const KernelArgs& args, int64_t) noexcept {
  const auto& a = args.attrs_as<PadAdjointAttrs>();
  const KOperand& g = args.in[0];
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  PaddedAxes axes;
  axes.mode = pad_mode(a.mode);
  for (int i = 0; i < g.rank; ++i) {
    axes.add(a.shape[i], pad_before(a.pad_width, i), pad_after(a.pad_width, i), g.strides[i]);
  }
  if (axes.rank == 0) {  // one element that nothing was laid around
    axes.axis[0] = PaddedAxis();
    axes.rank = 1;
  }
  axes.close(false);
  pad_adjoint_kernel<T>
      <<<grid_for(axes.count, kThreads, 16), kThreads, 0, stream_of(args)>>>(axes, out.as<T>(), g.as<const T>());
}

}  // namespace

void fill_padding(KernelSink& sink);
void fill_padding(KernelSink& sink) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto d = static_cast<DType>(i);
    add(sink, "pad", d, pad);
    add(sink, "roll", d, roll);
  }
  add(sink, "pad_adjoint", DType::Float16, pad_adjoint<Float16>);
  add(sink, "pad_adjoint", DType::BFloat16, pad_adjoint<BFloat16>);
  add(sink, "pad_adjoint", DType::Float32, pad_adjoint<float>);
  add(sink, "pad_adjoint", DType::Float64, pad_adjoint<double>);
  add(sink, "pad_adjoint", DType::Complex64, pad_adjoint<Complex<float>>);
  add(sink, "pad_adjoint", DType::Complex128, pad_adjoint<Complex<double>>);
}

}  // namespace gorgo::cuda
