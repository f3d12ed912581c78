// Where the windows of a pooling op lie, and how a kernel walks planes. A plane is one channel of one image, of up to
// three axes; axes that an op has not are of length 1 with a window of 1.
//
// For kernel files (compiled per ISA). Invariant: tasks depend on shapes alone.
// Read next: kernels_cpu.cpp, kernels_cpu_avg.cpp.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/counts.h"
#include "core/kernel_args.h"
#include "kernels/gemm/stored.h"
#include "ops/pool/attrs.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kPoolTaskElements = 32 * 1024;
constexpr int kChunk = 256;  // results of a row computed together

struct Axis {
  int64_t input = 1, output = 1, kernel = 1, stride = 1, padding = 0, step = 1;
  bool adaptive = false;  // window o goes from floor(o * input / output) to ceil((o + 1) * input / output)

  // The first element of window o, and the taps [begin, end) of it that lie in the image.
  GORGO_INLINE int64_t first(int64_t o) const {
    return adaptive ? o / output * input + o % output * input / output : o * stride - padding;
  }
  GORGO_INLINE int64_t tap_begin(int64_t o) const {
    if (adaptive || o * stride >= padding) return 0;
    return (padding - o * stride + step - 1) / step;
  }
  GORGO_INLINE int64_t tap_end(int64_t o) const {
    if (adaptive) return 1 + ((o + 1) * input - 1) / output - first(o);
    const int64_t room = input - first(o);
    if (room > (kernel - 1) * step) return kernel;
    return room <= 0 ? 0 : (room + step - 1) / step;
  }
  // How many windows side by side a loop over taps takes together: one where a window outgrows the image, so that no loop
  // runs over taps that meet nothing.
  GORGO_INLINE int64_t chunk() const { return kernel > 2 * input ? 1 : kChunk; }
  // The windows [begin, end) whose tap lies in the image; not for adaptive ones.
  GORGO_INLINE int64_t window_begin(int64_t tap) const {
    const int64_t before = padding - tap * step;
    return before <= 0 ? 0 : (before + stride - 1) / stride;
  }
  GORGO_INLINE int64_t window_end(int64_t tap) const {
    const int64_t last = input - 1 + padding - tap * step;
    return last < 0 ? 0 : least(output, last / stride + 1);
  }
  // Elements by which an average divides: those of the window in the padded image, or in the image (there may be none
  // of these).
  GORGO_INLINE int64_t divisor(int64_t o, bool include_padding) const {
    if (adaptive) return tap_end(o);
    const int64_t end = least(first(o) + kernel, input + padding);
    return include_padding ? end - first(o) : most(0, least(end, input) - most(first(o), 0));
  }
};

struct Windows {
  Axis d, h, w;
  int64_t planes = 1;
  bool adaptive = false;
  [[nodiscard]] GORGO_INLINE int64_t inputs() const { return d.input * h.input * w.input; }
  [[nodiscard]] GORGO_INLINE int64_t outputs() const { return d.output * h.output * w.output; }
};

template <class A>
Windows windows_of(const KOperand& image, const KOperand& pooled, const A& a) {
  Windows s;
  s.adaptive = !a.output_size.empty();
  const int axes = s.adaptive ? a.output_size.size() : a.kernel_size.size();
  const int leading = image.rank - axes;
  for (int i = 0; i < leading; ++i) s.planes *= image.shape[i];
  Axis* const all[3] = {&s.d, &s.h, &s.w};
  for (int i = 0; i < axes; ++i) {
    Axis& axis = *all[3 - axes + i];
    axis.input = image.shape[leading + i];
    axis.output = pooled.shape[leading + i];
    axis.adaptive = s.adaptive;
    if (s.adaptive) continue;
    axis.kernel = a.kernel_size.data()[i];
    axis.stride = (a.stride.has ? a.stride.value : a.kernel_size).data()[i];
    axis.padding = a.padding.data()[i];
    if constexpr (std::is_base_of_v<MaxPoolAttrs, A>) axis.step = a.dilation.data()[i];
  }
  return s;
}

GORGO_GEMM_INLINE int64_t tasks_of(const Windows& s) {
  if (s.planes == 0) return 0;
  return most(1, least(s.planes, s.planes * most(s.inputs(), s.outputs()) / kPoolTaskElements));
}

// Whether one step leads from each plane of an operand of `axes` axes to the next.
GORGO_GEMM_INLINE bool planes_lie_evenly(const KOperand& x, int axes) {
  return x.rank - axes != 2 || x.strides[0] == x.shape[1] * x.strides[1];
}

// One plane of an operand of `axes` axes after its images and channels.
template <class S>
struct Plane {
  const S* data;
  int64_t slice, row, col;
  Plane(const KOperand& x, int axes, int64_t index) : data(x.as<S>()) {
    const int leading = x.rank - axes;
    if (planes_lie_evenly(x, axes)) {
      data += index * x.strides[leading - 1];
    } else {
      data += index / x.shape[1] * x.strides[0] + index % x.shape[1] * x.strides[1];
    }
    slice = axes == 3 ? x.strides[leading] : 0;
    row = axes >= 2 ? x.strides[x.rank - 2] : 0;
    col = x.strides[x.rank - 1];
  }
  [[nodiscard]] GORGO_INLINE const S* at(int64_t i, int64_t j, int64_t k) const {
    return data + i * slice + j * row + k * col;
  }
};

// Whether the elements of a plane lie side by side.
template <class S>
GORGO_GEMM_INLINE bool lies_dense(const Windows& s, const Plane<S>& x) {
  return x.col == 1 && (s.h.input == 1 || x.row == s.w.input) && (s.d.input == 1 || x.slice == s.w.input * s.h.input);
}

template <class A>
GORGO_GEMM_INLINE int axes_of(const A& a) {
  return a.output_size.empty() ? a.kernel_size.size() : a.output_size.size();
}

// The planes [begin, end) of a task.
struct PlaneRange {
  int64_t begin, end;
};
GORGO_GEMM_INLINE PlaneRange planes_of(const Windows& s, int64_t task) {
  const int64_t tasks = tasks_of(s);
  return {s.planes * task / tasks, s.planes * (task + 1) / tasks};
}
// Runs body(plane) over them.
template <class F>
GORGO_GEMM_INLINE void each_plane(const Windows& s, int64_t task, F&& body) {
  const PlaneRange planes = planes_of(s, task);
  for (int64_t plane = planes.begin; plane < planes.end; ++plane) body(plane);
}

// Adds to a plane of S: 16-bit types are summed in float, in the task's part of scratch, and rounded once.
template <class S>
class PlaneSums {
 public:
  using T = typename Stored<S>::Compute;
  PlaneSums(S* out, void* scratch, int64_t task, int64_t elements) : out_(out), elements_(elements) {
    if constexpr (Stored<S>::kConverts) {
      sums_ = static_cast<T*>(scratch) + task * elements;
    } else {
      sums_ = out;
    }
    for (int64_t i = 0; i < elements; ++i) sums_[i] = T{0};
  }
  T* sums() { return sums_; }
  void store() {
    if constexpr (Stored<S>::kConverts) {
      for (int64_t i = 0; i < elements_; ++i) out_[i] = Stored<S>::round(sums_[i]);
    }
  }

 private:
  S* out_;
  T* sums_;
  int64_t elements_;
};

template <class S>
size_t sums_bytes(const Windows& s) {
  if constexpr (Stored<S>::kConverts) {
    return static_cast<size_t>(tasks_of(s) * s.inputs()) * sizeof(float);
  } else {
    return 0;
  }
}

inline Kernel with_scratch(Phase phase, size_t (*scratch_bytes)(const KernelArgs&) noexcept) {
  Kernel kernel = Kernel::of(phase);
  kernel.scratch_bytes = scratch_bytes;
  return kernel;
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
