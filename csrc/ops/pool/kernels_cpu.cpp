// The pooling ops on the CPU: a task is a run of planes, a plane goes row by row.
//
// Inputs may lie anywhere; outputs are dense. Windows of 2 x 2 side by side, which most networks have, go a row at a time in loops
// that the compiler turns into vectors; everything else tap by tap along a row.
// Invariant: tasks and the order of sums depend on shapes alone.
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/kernel_args.h"
#include "kernels/gemm/stored.h"
#include "ops/pool/attrs.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kTaskElements = 32 * 1024;
constexpr int kChunk = 256;  // results of a row computed together

GORGO_GEMM_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
GORGO_GEMM_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

struct Axis {
  int64_t input, output, kernel, stride, padding, step;

  // The first element of window o, and the taps [begin, end) of it that lie in the image.
  GORGO_INLINE int64_t first(int64_t o) const { return o * stride - padding; }
  GORGO_INLINE int64_t tap_begin(int64_t o) const { return first(o) >= 0 ? 0 : (-first(o) + step - 1) / step; }
  GORGO_INLINE int64_t tap_end(int64_t o) const {
    const int64_t room = input - first(o);
    return room <= 0 ? 0 : least(kernel, (room + step - 1) / step);
  }
  // The windows [begin, end) whose tap lies in the image.
  GORGO_INLINE int64_t window_begin(int64_t tap) const {
    const int64_t before = padding - tap * step;
    return before <= 0 ? 0 : (before + stride - 1) / stride;
  }
  GORGO_INLINE int64_t window_end(int64_t tap) const {
    const int64_t last = input - 1 + padding - tap * step;
    return last < 0 ? 0 : least(output, last / stride + 1);
  }
  // Elements by which an average divides: those of the window in the padded image, or in the image (there may be none of these).
  GORGO_INLINE int64_t divisor(int64_t o, bool include_padding) const {
    const int64_t end = least(first(o) + kernel, input + padding);
    return include_padding ? end - first(o) : most(0, least(end, input) - most(first(o), 0));
  }
};

struct Windows {
  Axis h, w;
  int64_t planes;
  int64_t channels;
};

template <class A>
Windows windows_of(const KOperand& image, const KOperand& pooled, const A& a) {
  const Dims& stride = a.stride.has ? a.stride.value : a.kernel_size;
  Windows s;
  s.h = {image.shape[2], pooled.shape[2], a.kernel_size.data()[0], stride.data()[0], a.padding.data()[0], 1};
  s.w = {image.shape[3], pooled.shape[3], a.kernel_size.data()[1], stride.data()[1], a.padding.data()[1], 1};
  if constexpr (std::is_same_v<A, MaxPoolAttrs>) {
    s.h.step = a.dilation.data()[0];
    s.w.step = a.dilation.data()[1];
  }
  s.planes = image.shape[0] * image.shape[1];
  s.channels = image.shape[1];
  return s;
}

int64_t tasks_of(const Windows& s) {
  if (s.planes == 0) return 0;
  return most(1, least(s.planes, s.planes * most(s.h.input * s.w.input, s.h.output * s.w.output) / kTaskElements));
}

// One plane of an operand.
template <class S>
struct Plane {
  const S* data;
  int64_t row, col;
  Plane(const KOperand& x, int64_t index)
      : data(x.as<S>() + index / x.shape[1] * x.strides[0] + index % x.shape[1] * x.strides[1]),
        row(x.strides[2]),
        col(x.strides[3]) {}
};

bool is_two_by_two(const Windows& s) {
  const auto plain = [](const Axis& a) {
    return a.kernel == 2 && a.stride == 2 && a.padding == 0 && a.step == 1 && 2 * a.output <= a.input;
  };
  return plain(s.h) && plain(s.w);
}

template <class T>
GORGO_GEMM_INLINE bool beats(T value, T best) {
  return value > best || value != value;  // NOLINT(misc-redundant-expression): NaN wins
}
template <class T>
GORGO_GEMM_INLINE T winner(T best, T value) {
  return beats(value, best) ? value : best;
}

// Runs body(plane) over the planes of a task.
template <class F>
GORGO_GEMM_INLINE void each_plane(const Windows& s, int64_t task, F&& body) {
  const int64_t tasks = tasks_of(s);
  const int64_t end = s.planes * (task + 1) / tasks;
  for (int64_t plane = s.planes * task / tasks; plane < end; ++plane) body(plane);
}

// ---- maximum ----

template <class S>
void max_plane_two_by_two(const Windows& s, const Plane<S>& x, S* out) {
  using P = Stored<S>;
  for (int64_t i = 0; i < s.h.output; ++i, out += s.w.output) {
    const S* upper = x.data + 2 * i * x.row;
    const S* lower = upper + x.row;
    for (int64_t j = 0; j < s.w.output; ++j) {
      const auto a = winner(P::value(upper[2 * j]), P::value(upper[2 * j + 1]));
      const auto b = winner(P::value(lower[2 * j]), P::value(lower[2 * j + 1]));
      out[j] = P::round(winner(a, b));
    }
  }
}

template <class S>
void max_plane(const Windows& s, const Plane<S>& x, S* out) {
  using P = Stored<S>;
  using T = typename P::Compute;
  T best[kChunk];
  for (int64_t i = 0; i < s.h.output; ++i, out += s.w.output) {
    for (int64_t from = 0; from < s.w.output; from += kChunk) {
      const int64_t to = least(s.w.output, from + kChunk);
      for (int64_t j = 0; j < to - from; ++j) best[j] = -std::numeric_limits<T>::infinity();
      for (int64_t p = s.h.tap_begin(i); p < s.h.tap_end(i); ++p) {
        const S* line = x.data + (s.h.first(i) + p * s.h.step) * x.row;
        for (int64_t q = 0; q < s.w.kernel; ++q) {
          const int64_t begin = most(from, s.w.window_begin(q));
          const int64_t end = least(to, s.w.window_end(q));
          if (begin >= end) continue;
          const S* at = line + (s.w.first(begin) + q * s.w.step) * x.col;
          const int64_t step = s.w.stride * x.col;
          T* chunk = best + (begin - from);
          for (int64_t j = 0; j < end - begin; ++j) chunk[j] = winner(chunk[j], P::value(at[j * step]));
        }
      }
      for (int64_t j = from; j < to; ++j) out[j] = P::round(best[j - from]);
    }
  }
}

template <class S>
void max_run(const KernelArgs& args, int64_t task) noexcept {
  const Windows s = windows_of(args.in[0], args.out[0], args.attrs_as<MaxPoolAttrs>());
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> x(args.in[0], index);
    S* out = args.out[0].as<S>() + index * s.h.output * s.w.output;
    if (x.col == 1 && is_two_by_two(s)) {
      max_plane_two_by_two<S>(s, x, out);
    } else {
      max_plane<S>(s, x, out);
    }
  });
}
int64_t max_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.in[0], args.out[0], args.attrs_as<MaxPoolAttrs>()));
}

// The position of a window's winner, or row -1 when none of its taps lies in the image.
struct Position {
  int64_t row, col;
};
template <class S>
Position find_winner(const Windows& s, const Plane<S>& x, int64_t i, int64_t j) {
  using P = Stored<S>;
  using T = typename P::Compute;
  Position at{-1, -1};
  T best{};
  for (int64_t p = s.h.tap_begin(i); p < s.h.tap_end(i); ++p) {
    const int64_t row = s.h.first(i) + p * s.h.step;
    for (int64_t q = s.w.tap_begin(j); q < s.w.tap_end(j); ++q) {
      const int64_t col = s.w.first(j) + q * s.w.step;
      const T value = P::value(x.data[row * x.row + col * x.col]);
      if (at.row < 0 || beats(value, best)) {
        at = {row, col};
        best = value;
      }
    }
  }
  return at;
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
    return static_cast<size_t>(tasks_of(s) * s.h.input * s.w.input) * sizeof(float);
  } else {
    return 0;
  }
}

template <class S>
void max_grad_two_by_two(const Windows& s, const Plane<S>& g, const Plane<S>& x, S* out) {
  using P = Stored<S>;
  using T = typename P::Compute;
  const int64_t width = s.w.input;
  for (int64_t i = 0; i < s.h.output; ++i) {
    const S* upper = x.data + 2 * i * x.row;
    const S* lower = upper + x.row;
    const S* from = g.data + i * g.row;
    S* to_upper = out + 2 * i * width;
    S* to_lower = to_upper + width;
    for (int64_t j = 0; j < s.w.output; ++j) {
      const T a = P::value(upper[2 * j]);
      const T b = P::value(upper[2 * j + 1]);
      const T c = P::value(lower[2 * j]);
      const T d = P::value(lower[2 * j + 1]);
      const bool right = beats(b, a);
      const T first = right ? b : a;
      const bool third = beats(c, first);
      const T second = third ? c : first;
      const bool fourth = beats(d, second);
      const S value = from[j];
      const S none{};
      to_upper[2 * j] = !right && !third && !fourth ? value : none;
      to_upper[2 * j + 1] = right && !third && !fourth ? value : none;
      to_lower[2 * j] = third && !fourth ? value : none;
      to_lower[2 * j + 1] = fourth ? value : none;
    }
    for (int64_t j = 2 * s.w.output; j < width; ++j) to_upper[j] = to_lower[j] = S{};
  }
  for (int64_t i = 2 * s.h.output * width; i < s.h.input * width; ++i) out[i] = S{};
}

template <class S>
void max_grad_run(const KernelArgs& args, int64_t task) noexcept {
  const Windows s = windows_of(args.in[1], args.in[0], args.attrs_as<MaxPoolAttrs>());
  const int64_t elements = s.h.input * s.w.input;
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> g(args.in[0], index);
    const Plane<S> x(args.in[1], index);
    S* out = args.out[0].as<S>() + index * elements;
    if (x.col == 1 && g.col == 1 && is_two_by_two(s)) return max_grad_two_by_two<S>(s, g, x, out);
    PlaneSums<S> plane(out, args.scratch, task, elements);
    auto* sums = plane.sums();
    for (int64_t i = 0; i < s.h.output; ++i) {
      for (int64_t j = 0; j < s.w.output; ++j) {
        const Position at = find_winner<S>(s, x, i, j);
        if (at.row < 0) continue;
        auto& sum = sums[at.row * s.w.input + at.col];
        sum = sum + Stored<S>::value(g.data[i * g.row + j * g.col]);
      }
    }
    plane.store();
  });
}
int64_t max_grad_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.in[1], args.in[0], args.attrs_as<MaxPoolAttrs>()));
}
template <class S>
size_t max_grad_scratch(const KernelArgs& args) noexcept {
  return sums_bytes<S>(windows_of(args.in[1], args.in[0], args.attrs_as<MaxPoolAttrs>()));
}

template <class S>
void max_gather_run(const KernelArgs& args, int64_t task) noexcept {
  const Windows s = windows_of(args.in[1], args.out[0], args.attrs_as<MaxPoolAttrs>());
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> v(args.in[0], index);
    const Plane<S> x(args.in[1], index);
    S* out = args.out[0].as<S>() + index * s.h.output * s.w.output;
    for (int64_t i = 0; i < s.h.output; ++i) {
      for (int64_t j = 0; j < s.w.output; ++j) {
        const Position at = find_winner<S>(s, x, i, j);
        *out++ = at.row < 0 ? S{} : v.data[at.row * v.row + at.col * v.col];
      }
    }
  });
}
int64_t max_gather_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.in[1], args.out[0], args.attrs_as<MaxPoolAttrs>()));
}

// ---- average ----

template <class S>
void avg_run(const KernelArgs& args, int64_t task) noexcept {
  using P = Stored<S>;
  using T = typename P::Compute;
  const auto& attrs = args.attrs_as<AvgPoolAttrs>();
  const Windows s = windows_of(args.in[0], args.out[0], attrs);
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> x(args.in[0], index);
    S* out = args.out[0].as<S>() + index * s.h.output * s.w.output;
    T sums[kChunk];
    for (int64_t i = 0; i < s.h.output; ++i, out += s.w.output) {
      const int64_t rows = s.h.divisor(i, attrs.count_include_pad);
      for (int64_t from = 0; from < s.w.output; from += kChunk) {
        const int64_t to = least(s.w.output, from + kChunk);
        for (int64_t j = 0; j < to - from; ++j) sums[j] = T{0};
        for (int64_t p = s.h.tap_begin(i); p < s.h.tap_end(i); ++p) {
          const S* line = x.data + (s.h.first(i) + p) * x.row;
          for (int64_t q = 0; q < s.w.kernel; ++q) {
            const int64_t begin = most(from, s.w.window_begin(q));
            const int64_t end = least(to, s.w.window_end(q));
            if (begin >= end) continue;
            const S* at = line + (s.w.first(begin) + q) * x.col;
            const int64_t step = s.w.stride * x.col;
            T* chunk = sums + (begin - from);
            for (int64_t j = 0; j < end - begin; ++j) chunk[j] = chunk[j] + P::value(at[j * step]);
          }
        }
        for (int64_t j = from; j < to; ++j) {
          const int64_t divisor = rows * s.w.divisor(j, attrs.count_include_pad);
          out[j] = P::round(sums[j - from] / static_cast<T>(most(1, divisor)));
        }
      }
    }
  });
}
int64_t avg_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.in[0], args.out[0], args.attrs_as<AvgPoolAttrs>()));
}

template <class S>
void avg_grad_run(const KernelArgs& args, int64_t task) noexcept {
  using P = Stored<S>;
  using T = typename P::Compute;
  const auto& attrs = args.attrs_as<AvgPoolGradAttrs>();
  const Windows s = windows_of(args.out[0], args.in[0], attrs);
  const int64_t elements = s.h.input * s.w.input;
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> g(args.in[0], index);
    PlaneSums<S> plane(args.out[0].as<S>() + index * elements, args.scratch, task, elements);
    T shares[kChunk];
    for (int64_t i = 0; i < s.h.output; ++i) {
      const int64_t rows = s.h.divisor(i, attrs.count_include_pad);
      for (int64_t from = 0; from < s.w.output; from += kChunk) {
        const int64_t to = least(s.w.output, from + kChunk);
        for (int64_t j = from; j < to; ++j) {
          const int64_t divisor = rows * s.w.divisor(j, attrs.count_include_pad);
          shares[j - from] = P::value(g.data[i * g.row + j * g.col]) / static_cast<T>(most(1, divisor));
        }
        for (int64_t p = s.h.tap_begin(i); p < s.h.tap_end(i); ++p) {
          T* line = plane.sums() + (s.h.first(i) + p) * s.w.input;
          for (int64_t q = 0; q < s.w.kernel; ++q) {
            const int64_t begin = most(from, s.w.window_begin(q));
            const int64_t end = least(to, s.w.window_end(q));
            if (begin >= end) continue;
            T* at = line + s.w.first(begin) + q;
            const T* chunk = shares + (begin - from);
            for (int64_t j = 0; j < end - begin; ++j) at[j * s.w.stride] = at[j * s.w.stride] + chunk[j];
          }
        }
      }
    }
    plane.store();
  });
}
int64_t avg_grad_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.out[0], args.in[0], args.attrs_as<AvgPoolGradAttrs>()));
}
template <class S>
size_t avg_grad_scratch(const KernelArgs& args) noexcept {
  return sums_bytes<S>(windows_of(args.out[0], args.in[0], args.attrs_as<AvgPoolGradAttrs>()));
}

Kernel with_scratch(Phase phase, size_t (*scratch_bytes)(const KernelArgs&) noexcept) {
  Kernel kernel = Kernel::of(phase);
  kernel.scratch_bytes = scratch_bytes;
  return kernel;
}

template <class S>
void add(KernelSink& sink) {
  constexpr DType dtype = kDTypeOf<S>;
  sink.add("max_pool2d", dtype, Kernel::of({max_run<S>, max_tasks}));
  sink.add("max_pool2d_grad", dtype, with_scratch({max_grad_run<S>, max_grad_tasks}, max_grad_scratch<S>));
  sink.add("max_pool2d_gather", dtype, Kernel::of({max_gather_run<S>, max_gather_tasks}));
  sink.add("avg_pool2d", dtype, Kernel::of({avg_run<S>, avg_tasks}));
  sink.add("avg_pool2d_grad", dtype, with_scratch({avg_grad_run<S>, avg_grad_tasks}, avg_grad_scratch<S>));
}

}  // namespace

void fill_pool(KernelSink& sink) {
  add<float>(sink);
  add<double>(sink);
  add<Float16>(sink);
  add<BFloat16>(sink);
}

}  // namespace gorgo::GORGO_ISA_NS
