// Maxima over windows on the CPU: a task is a run of planes, a plane goes row by row.
//
// Inputs may lie anywhere; outputs are dense. Windows of 2 x 2 side by side, which most networks have, go a row at a time in loops
// that the compiler turns into vectors; other plain windows tap by tap along a row; adaptive ones, and those whose positions are
// wanted, window by window.
// Invariant: tasks and the order of sums depend on shapes alone.
#include "kernels/coverage.h"
#include "ops/pool/windows.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

// How an element is compared; integers, too, have maxima.
template <class S, bool kIsInteger = std::is_integral_v<S>>
struct Element : Stored<S> {
  GORGO_GEMM_INLINE typename Stored<S>::Compute lowest() {
    return -std::numeric_limits<typename Stored<S>::Compute>::infinity();
  }
};
template <class S>
struct Element<S, true> {
  using Compute = S;
  GORGO_GEMM_INLINE S value(S x) { return x; }
  GORGO_GEMM_INLINE S round(S x) { return x; }
  GORGO_GEMM_INLINE S lowest() { return std::numeric_limits<S>::lowest(); }
};

bool is_two_by_two(const Windows& s) {
  const auto plain = [](const Axis& a) {
    return a.kernel == 2 && a.stride == 2 && a.padding == 0 && a.step == 1 && 2 * a.output <= a.input;
  };
  return !s.adaptive && s.d.input == 1 && s.d.output == 1 && s.d.kernel == 1 && plain(s.h) && plain(s.w);
}

template <class T>
GORGO_GEMM_INLINE bool beats(T value, T best) {
  return value > best || value != value;  // NOLINT(misc-redundant-expression): NaN wins
}
template <class T>
GORGO_GEMM_INLINE T winner(T best, T value) {
  return beats(value, best) ? value : best;
}

template <class S>
void max_plane_two_by_two(const Windows& s, const Plane<S>& x, S* out) {
  using P = Element<S>;
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
  using P = Element<S>;
  using T = typename P::Compute;
  T best[kChunk];
  for (int64_t line = 0; line < s.d.output * s.h.output; ++line, out += s.w.output) {
    const int64_t depth = line / s.h.output;
    const int64_t i = line % s.h.output;
    for (int64_t from = 0; from < s.w.output; from += kChunk) {
      const int64_t to = least(s.w.output, from + kChunk);
      for (int64_t j = 0; j < to - from; ++j) best[j] = P::lowest();
      for (int64_t z = s.d.tap_begin(depth); z < s.d.tap_end(depth); ++z) {
        for (int64_t p = s.h.tap_begin(i); p < s.h.tap_end(i); ++p) {
          const S* row = x.at(s.d.first(depth) + z * s.d.step, s.h.first(i) + p * s.h.step, 0);
          for (int64_t q = 0; q < s.w.kernel; ++q) {
            const int64_t begin = most(from, s.w.window_begin(q));
            const int64_t end = least(to, s.w.window_end(q));
            if (begin >= end) continue;
            const S* at = row + (s.w.first(begin) + q * s.w.step) * x.col;
            const int64_t step = s.w.stride * x.col;
            T* chunk = best + (begin - from);
            for (int64_t j = 0; j < end - begin; ++j) chunk[j] = winner(chunk[j], P::value(at[j * step]));
          }
        }
      }
      for (int64_t j = from; j < to; ++j) out[j] = P::round(best[j - from]);
    }
  }
}

// The winner of a window: where it lies in its plane as it is in memory, and as a dense one (-1 when none of the window's taps
// lies in the image).
struct Winner {
  int64_t offset, flat;
};
template <class S>
Winner find_winner(const Windows& s, const Plane<S>& x, int64_t depth, int64_t i, int64_t j) {
  using P = Element<S>;
  using T = typename P::Compute;
  Winner at{0, -1};
  T best{};
  const int64_t rows_begin = s.h.tap_begin(i), rows_end = s.h.tap_end(i);
  const int64_t cols_begin = s.w.tap_begin(j), cols_end = s.w.tap_end(j);
  for (int64_t z = s.d.tap_begin(depth); z < s.d.tap_end(depth); ++z) {
    const int64_t slice = s.d.first(depth) + z * s.d.step;
    for (int64_t p = rows_begin; p < rows_end; ++p) {
      const int64_t row = s.h.first(i) + p * s.h.step;
      const int64_t col = s.w.first(j) + cols_begin * s.w.step;
      int64_t offset = slice * x.slice + row * x.row + col * x.col;
      int64_t flat = (slice * s.h.input + row) * s.w.input + col;
      for (int64_t q = cols_begin; q < cols_end; ++q, offset += s.w.step * x.col, flat += s.w.step) {
        const T value = P::value(x.data[offset]);
        if (at.flat < 0 || beats(value, best)) {
          at = {offset, flat};
          best = value;
        }
      }
    }
  }
  return at;
}

// Runs body(winner) over the windows of a plane in order.
template <class S, class F>
GORGO_GEMM_INLINE void each_winner(const Windows& s, const Plane<S>& x, F&& body) {
  for (int64_t depth = 0; depth < s.d.output; ++depth) {
    for (int64_t i = 0; i < s.h.output; ++i) {
      for (int64_t j = 0; j < s.w.output; ++j) body(find_winner<S>(s, x, depth, i, j));
    }
  }
}

template <class S>
void max_run(const KernelArgs& args, int64_t task) noexcept {
  const auto& attrs = args.attrs_as<MaxPoolAttrs>();
  const Windows s = windows_of(args.in[0], args.out[0], attrs);
  int64_t* const indices = args.out_count > 1 ? args.out[1].as<int64_t>() : nullptr;
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> x(args.in[0], axes_of(attrs), index);
    S* out = args.out[0].as<S>() + index * s.outputs();
    if (indices != nullptr || s.adaptive) {
      int64_t* at = indices != nullptr ? indices + index * s.outputs() : nullptr;
      each_winner<S>(s, x, [&](const Winner& w) {
        *out++ = w.flat < 0 ? Element<S>::round(Element<S>::lowest()) : x.data[w.offset];
        if (at != nullptr) *at++ = w.flat;
      });
    } else if (x.col == 1 && is_two_by_two(s)) {
      max_plane_two_by_two<S>(s, x, out);
    } else {
      max_plane<S>(s, x, out);
    }
  });
}
int64_t max_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.in[0], args.out[0], args.attrs_as<MaxPoolAttrs>()));
}

template <class S>
void max_grad_two_by_two(const Windows& s, const Plane<S>& g, const Plane<S>& x, S* out) {
  using P = Element<S>;
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
  const auto& attrs = args.attrs_as<MaxPoolAttrs>();
  const Windows s = windows_of(args.in[1], args.in[0], attrs);
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> g(args.in[0], axes_of(attrs), index);
    const Plane<S> x(args.in[1], axes_of(attrs), index);
    S* out = args.out[0].as<S>() + index * s.inputs();
    if (x.col == 1 && g.col == 1 && is_two_by_two(s)) return max_grad_two_by_two<S>(s, g, x, out);
    PlaneSums<S> plane(out, args.scratch, task, s.inputs());
    auto* sums = plane.sums();
    for (int64_t depth = 0; depth < s.d.output; ++depth) {
      for (int64_t i = 0; i < s.h.output; ++i) {
        for (int64_t j = 0; j < s.w.output; ++j) {
          const Winner at = find_winner<S>(s, x, depth, i, j);
          if (at.flat < 0) continue;
          auto& sum = sums[at.flat];
          sum = sum + Stored<S>::value(*g.at(depth, i, j));
        }
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
  const auto& attrs = args.attrs_as<MaxPoolAttrs>();
  const Windows s = windows_of(args.in[1], args.out[0], attrs);
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> v(args.in[0], axes_of(attrs), index);
    const Plane<S> x(args.in[1], axes_of(attrs), index);
    S* out = args.out[0].as<S>() + index * s.outputs();
    const int64_t slice = s.h.input * s.w.input;
    each_winner<S>(s, x, [&](const Winner& w) {
      *out++ = w.flat < 0 ? S{} : *v.at(w.flat / slice, w.flat % slice / s.w.input, w.flat % s.w.input);
    });
  });
}
int64_t max_gather_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.in[1], args.out[0], args.attrs_as<MaxPoolAttrs>()));
}

template <class S>
void add_forward(KernelSink& sink) {
  constexpr DType dtype = kDTypeOf<S>;
  for (const char* op : {"max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
                         "adaptive_max_pool3d"}) {
    sink.add(op, dtype, Kernel::of({max_run<S>, max_tasks}));
  }
}

template <class S>
void add(KernelSink& sink) {
  constexpr DType dtype = kDTypeOf<S>;
  add_forward<S>(sink);
  sink.add("max_pool_grad", dtype, with_scratch({max_grad_run<S>, max_grad_tasks}, max_grad_scratch<S>));
  sink.add("max_pool_gather", dtype, Kernel::of({max_gather_run<S>, max_gather_tasks}));
}

}  // namespace

void fill_pool_avg(KernelSink& sink);
void fill_pool_columns(KernelSink& sink);

void fill_pool(KernelSink& sink) {
  add<float>(sink);
  add<double>(sink);
  add<Float16>(sink);
  add<BFloat16>(sink);
#ifdef GORGO_WITH_MOVES
  add_forward<int8_t>(sink);
  add_forward<uint8_t>(sink);
  add_forward<int16_t>(sink);
  add_forward<int32_t>(sink);
  add_forward<int64_t>(sink);
#endif
  fill_pool_avg(sink);
  fill_pool_columns(sink);
}

}  // namespace gorgo::GORGO_ISA_NS
