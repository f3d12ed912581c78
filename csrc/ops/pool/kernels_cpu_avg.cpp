// Averages over windows on the CPU: a task is a run of planes, a plane goes row by row.
//
// Plain windows go tap by tap along a row of results. Adaptive ones, which may be as large as the image, go window by
// window, a window's columns dealt to so many lanes.
// Invariant: tasks and the order of sums depend on shapes alone, not on where operands lie.
#include "ops/pool/windows.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int kLanes = 16;

// The sum over the box of a window: column c of it goes to lane c % kLanes.
template <class S>
typename Stored<S>::Compute box_sum(const S* first, const Plane<S>& x, int64_t slices, int64_t rows, int64_t cols) {
  using P = Stored<S>;
  using T = typename P::Compute;
  T lanes[kLanes] = {};
  for (int64_t z = 0; z < slices; ++z) {
    for (int64_t p = 0; p < rows; ++p) {
      const S* at = first + z * x.slice + p * x.row;
      int64_t q = 0;
      if (x.col == 1) {
        for (; q + kLanes <= cols; q += kLanes) {
          for (int k = 0; k < kLanes; ++k) lanes[k] = lanes[k] + P::value(at[q + k]);
        }
      }
      for (; q + kLanes <= cols; q += kLanes) {
        for (int k = 0; k < kLanes; ++k) lanes[k] = lanes[k] + P::value(at[(q + k) * x.col]);
      }
      for (int k = 0; q + k < cols; ++k) lanes[k] = lanes[k] + P::value(at[(q + k) * x.col]);
    }
  }
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) lanes[k] = lanes[k] + lanes[k + half];
  }
  return lanes[0];
}

template <class S>
void avg_plane_adaptive(const Windows& s, const Plane<S>& x, S* out) {
  using T = typename Stored<S>::Compute;
  for (int64_t depth = 0; depth < s.d.output; ++depth) {
    for (int64_t i = 0; i < s.h.output; ++i) {
      for (int64_t j = 0; j < s.w.output; ++j) {
        const int64_t slices = s.d.tap_end(depth), rows = s.h.tap_end(i), cols = s.w.tap_end(j);
        const T sum = box_sum<S>(x.at(s.d.first(depth), s.h.first(i), s.w.first(j)), x, slices, rows, cols);
        *out++ = Stored<S>::round(sum / static_cast<T>(slices * rows * cols));
      }
    }
  }
}

// What the sum over window (line, j) is divided by, where a line is a row of results.
struct Divisors {
  const Windows& s;
  bool include_padding;
  OptInt given;
  GORGO_INLINE int64_t of_line(int64_t depth, int64_t i) const {
    return s.d.divisor(depth, include_padding) * s.h.divisor(i, include_padding);
  }
  GORGO_INLINE int64_t of(int64_t of_its_line, int64_t j) const {
    return given.has ? given.value : most(1, of_its_line * s.w.divisor(j, include_padding));
  }
};

template <class S>
void avg_plane(const Windows& s, const Divisors& divisors, const Plane<S>& x, S* out) {
  using P = Stored<S>;
  using T = typename P::Compute;
  T sums[kChunk];
  for (int64_t line = 0; line < s.d.output * s.h.output; ++line, out += s.w.output) {
    const int64_t depth = line / s.h.output;
    const int64_t i = line % s.h.output;
    const int64_t of_line = divisors.of_line(depth, i);
    for (int64_t from = 0; from < s.w.output; from += s.w.chunk()) {
      const int64_t to = least(s.w.output, from + s.w.chunk());
      for (int64_t j = 0; j < to - from; ++j) sums[j] = T{0};
      for (int64_t z = s.d.tap_begin(depth); z < s.d.tap_end(depth); ++z) {
        for (int64_t p = s.h.tap_begin(i); p < s.h.tap_end(i); ++p) {
          const S* row = x.at(s.d.first(depth) + z, s.h.first(i) + p, 0);
          for (int64_t q = s.w.tap_begin(to - 1); q < s.w.tap_end(from); ++q) {
            const int64_t begin = most(from, s.w.window_begin(q));
            const int64_t end = least(to, s.w.window_end(q));
            if (begin >= end) continue;
            const S* at = row + (s.w.first(begin) + q) * x.col;
            const int64_t step = s.w.stride * x.col;
            T* chunk = sums + (begin - from);
            for (int64_t j = 0; j < end - begin; ++j) chunk[j] = chunk[j] + P::value(at[j * step]);
          }
        }
      }
      for (int64_t j = from; j < to; ++j) {
        out[j] = P::round(sums[j - from] / static_cast<T>(divisors.of(of_line, j)));
      }
    }
  }
}

template <class S>
void avg_run(const KernelArgs& args, int64_t task) noexcept {
  const auto& attrs = args.attrs_as<AvgPoolAttrs>();
  const Windows s = windows_of(args.in[0], args.out[0], attrs);
  const Divisors divisors{s, attrs.count_include_pad, attrs.divisor_override};
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> x(args.in[0], axes_of(attrs), index);
    S* out = args.out[0].as<S>() + index * s.outputs();
    if (s.adaptive) return avg_plane_adaptive<S>(s, x, out);
    avg_plane<S>(s, divisors, x, out);
  });
}
int64_t avg_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.in[0], args.out[0], args.attrs_as<AvgPoolAttrs>()));
}

template <class S>
void spread_adaptive(const Windows& s, const Plane<S>& g, typename Stored<S>::Compute* sums) {
  using T = typename Stored<S>::Compute;
  for (int64_t depth = 0; depth < s.d.output; ++depth) {
    for (int64_t i = 0; i < s.h.output; ++i) {
      for (int64_t j = 0; j < s.w.output; ++j) {
        const int64_t slices = s.d.tap_end(depth), rows = s.h.tap_end(i), cols = s.w.tap_end(j);
        const T share = Stored<S>::value(*g.at(depth, i, j)) / static_cast<T>(slices * rows * cols);
        T* const first = sums + (s.d.first(depth) * s.h.input + s.h.first(i)) * s.w.input + s.w.first(j);
        for (int64_t z = 0; z < slices; ++z) {
          for (int64_t p = 0; p < rows; ++p) {
            T* at = first + (z * s.h.input + p) * s.w.input;
            for (int64_t q = 0; q < cols; ++q) at[q] = at[q] + share;
          }
        }
      }
    }
  }
}

template <class S>
void spread(const Windows& s, const Divisors& divisors, const Plane<S>& g, typename Stored<S>::Compute* sums) {
  using P = Stored<S>;
  using T = typename P::Compute;
  T shares[kChunk];
  for (int64_t line = 0; line < s.d.output * s.h.output; ++line) {
    const int64_t depth = line / s.h.output;
    const int64_t i = line % s.h.output;
    const int64_t of_line = divisors.of_line(depth, i);
    for (int64_t from = 0; from < s.w.output; from += s.w.chunk()) {
      const int64_t to = least(s.w.output, from + s.w.chunk());
      for (int64_t j = from; j < to; ++j) {
        shares[j - from] = P::value(*g.at(depth, i, j)) / static_cast<T>(divisors.of(of_line, j));
      }
      for (int64_t z = s.d.tap_begin(depth); z < s.d.tap_end(depth); ++z) {
        for (int64_t p = s.h.tap_begin(i); p < s.h.tap_end(i); ++p) {
          T* row = sums + ((s.d.first(depth) + z) * s.h.input + s.h.first(i) + p) * s.w.input;
          for (int64_t q = s.w.tap_begin(to - 1); q < s.w.tap_end(from); ++q) {
            const int64_t begin = most(from, s.w.window_begin(q));
            const int64_t end = least(to, s.w.window_end(q));
            if (begin >= end) continue;
            T* at = row + s.w.first(begin) + q;
            const T* chunk = shares + (begin - from);
            for (int64_t j = 0; j < end - begin; ++j) at[j * s.w.stride] = at[j * s.w.stride] + chunk[j];
          }
        }
      }
    }
  }
}

template <class S>
void avg_grad_run(const KernelArgs& args, int64_t task) noexcept {
  const auto& attrs = args.attrs_as<AvgPoolAttrs>();
  const Windows s = windows_of(args.out[0], args.in[0], attrs);
  const Divisors divisors{s, attrs.count_include_pad, attrs.divisor_override};
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> g(args.in[0], axes_of(attrs), index);
    PlaneSums<S> plane(args.out[0].as<S>() + index * s.inputs(), args.scratch, task, s.inputs());
    if (s.adaptive) {
      spread_adaptive<S>(s, g, plane.sums());
    } else {
      spread<S>(s, divisors, g, plane.sums());
    }
    plane.store();
  });
}
int64_t avg_grad_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.out[0], args.in[0], args.attrs_as<AvgPoolAttrs>()));
}
template <class S>
size_t avg_grad_scratch(const KernelArgs& args) noexcept {
  return sums_bytes<S>(windows_of(args.out[0], args.in[0], args.attrs_as<AvgPoolAttrs>()));
}

template <class S>
void add(KernelSink& sink) {
  constexpr DType dtype = kDTypeOf<S>;
  for (const char* op : {"avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
                         "adaptive_avg_pool3d"}) {
    sink.add(op, dtype, Kernel::of({avg_run<S>, avg_tasks}));
  }
  sink.add("avg_pool_grad", dtype, with_scratch({avg_grad_run<S>, avg_grad_tasks}, avg_grad_scratch<S>));
}

}  // namespace

void fill_pool_avg(KernelSink& sink) {
  add<float>(sink);
  add<double>(sink);
  add<Float16>(sink);
  add<BFloat16>(sink);
}

}  // namespace gorgo::GORGO_ISA_NS
