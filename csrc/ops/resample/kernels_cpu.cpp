// Resampling on the CPU: a first phase writes the table of places and weights, a second takes runs of results.
//
// Operands are seen as (outer, axis, inner). Results along the last axis gather from a line; along others, whole runs
// of the inner axes are weighed and added.
// Invariant: a result is the sum of its taps in order, an adjoint's the sum of its results in order, wherever operands
// lie.
#include <cstdint>

#include "core/counts.h"
#include "core/kernel_args.h"
#include "kernels/gemm/stored.h"
#include "ops/resample/attrs.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int kMostTaps = 4;
constexpr int64_t kInner = 256;  // inner elements that are taken together
constexpr int64_t kResampleTaskElements = 16 * 1024;

// What one result is made of.
template <class T>
struct Taps {
  int64_t place[kMostTaps];
  T weight[kMostTaps];
};

GORGO_GEMM_INLINE ResampleMode mode_of(const ResampleAttrs& a) { return static_cast<ResampleMode>(a.mode.index); }
GORGO_GEMM_INLINE int taps_of(const ResampleAttrs& a) {
  constexpr int kTaps[] = {1, 1, 2, 4};
  return kTaps[a.mode.index];
}
GORGO_GEMM_INLINE int64_t floor_of(double x) {
  const auto whole = static_cast<int64_t>(x);
  return static_cast<double>(whole) > x ? whole - 1 : whole;
}

// Keys' cubic kernel at a distance below 1 and at one from 1 to 2.
constexpr double kCubic = -0.75;
GORGO_GEMM_INLINE double cubic_near(double x) { return ((kCubic + 2.0) * x - (kCubic + 3.0)) * x * x + 1.0; }
GORGO_GEMM_INLINE double cubic_far(double x) {
  return ((kCubic * x - 5.0 * kCubic) * x + 8.0 * kCubic) * x - 4.0 * kCubic;
}

template <class T>
void write_taps(const ResampleAttrs& a, int64_t input, Taps<T>* table) {
  const ResampleMode mode = mode_of(a);
  if (mode == ResampleMode::Nearest || mode == ResampleMode::NearestExact) {
    // In single precision, as other frameworks place them, so that the same elements are chosen.
    const float step =
        a.scale.has ? static_cast<float>(1.0 / a.scale.value) : static_cast<float>(input) / static_cast<float>(a.size);
    const float shift = mode == ResampleMode::NearestExact ? 0.5f : 0.0f;
    for (int64_t o = 0; o < a.size; ++o) {
      const float place = (static_cast<float>(o) + shift) * step;
      table[o] = {{least(static_cast<int64_t>(place), input - 1)}, {T{1}}};
    }
    return;
  }
  double step = a.scale.has ? 1.0 / a.scale.value : static_cast<double>(input) / static_cast<double>(a.size);
  if (a.align_corners) step = a.size > 1 ? static_cast<double>(input - 1) / static_cast<double>(a.size - 1) : 0.0;
  for (int64_t o = 0; o < a.size; ++o) {
    const auto index = static_cast<double>(o);
    double place = a.align_corners ? step * index : step * (index + 0.5) - 0.5;
    if (mode == ResampleMode::Linear) {
      place = place < 0.0 ? 0.0 : place;
      const int64_t below = least(static_cast<int64_t>(place), input - 1);
      double part = place - static_cast<double>(below);
      part = part > 1.0 ? 1.0 : part;
      table[o] = {{below, least(below + 1, input - 1)}, {static_cast<T>(1.0 - part), static_cast<T>(part)}};
      continue;
    }
    const int64_t below = floor_of(place);
    const double part = place - static_cast<double>(below);
    const double weights[kMostTaps] = {cubic_far(part + 1.0), cubic_near(part), cubic_near(1.0 - part),
                                       cubic_far(2.0 - part)};
    for (int k = 0; k < kMostTaps; ++k) {
      table[o].place[k] = most(0, least(below - 1 + k, input - 1));
      table[o].weight[k] = static_cast<T>(weights[k]);
    }
  }
}

// An operand as (outer, axis, inner).
struct Split {
  const KOperand& x;
  int axis;
  int64_t outer = 1, length, inner = 1, axis_step;
  bool inner_dense = true;  // inner elements lie one after the other

  GORGO_INLINE Split(const KOperand& operand, int64_t at)
      : x(operand),
        axis(static_cast<int>(at < 0 ? at + operand.rank : at)),
        length(x.shape[axis]),
        axis_step(x.strides[axis]) {
    for (int i = 0; i < axis; ++i) outer *= x.shape[i];
    for (int i = x.rank - 1; i > axis; --i) {
      if (x.shape[i] != 1 && x.strides[i] != inner) inner_dense = false;
      inner *= x.shape[i];
    }
  }
  // Where the element with this number among the axes [begin, end) lies.
  [[nodiscard]] GORGO_INLINE int64_t offset(int64_t index, int begin, int end) const {
    int64_t at = 0;
    for (int i = end - 1; i >= begin; --i) {
      at += index % x.shape[i] * x.strides[i];
      index /= x.shape[i];
    }
    return at;
  }
  [[nodiscard]] GORGO_INLINE int64_t outer_offset(int64_t index) const { return offset(index, 0, axis); }
  [[nodiscard]] GORGO_INLINE int64_t inner_offset(int64_t index) const {
    return inner_dense ? index : offset(index, axis + 1, x.rank);
  }
};

// Units are (outer, piece of inner); a task is a run of them.
struct Units {
  int64_t pieces, count, tasks;
  GORGO_INLINE Units(const Split& s, int64_t other_length)
      : pieces((s.inner + kInner - 1) / kInner), count(s.outer * pieces) {
    const int64_t work = s.outer * s.inner * most(s.length, other_length);
    tasks = count == 0 ? 0 : most(1, least(count, work / kResampleTaskElements));
  }
};

template <class T>
GORGO_GEMM_INLINE Taps<T>* table_of(const KernelArgs& args) {
  return static_cast<Taps<T>*>(args.scratch);
}
// The table's bytes, so that what follows it is aligned as scratch is.
template <class T>
GORGO_GEMM_INLINE size_t table_bytes(const ResampleAttrs& a) {
  return (static_cast<size_t>(a.size) * sizeof(Taps<T>) + 63) / 64 * 64;
}

template <class S, bool kAdjoint>
void table_run(const KernelArgs& args, int64_t) noexcept {
  const auto& a = args.attrs_as<ResampleAttrs>();
  const KOperand& image = kAdjoint ? args.out[0] : args.in[0];
  using T = typename Stored<S>::Compute;
  write_taps<T>(a, Split(image, a.axis).length, table_of<T>(args));
}
template <bool kAdjoint>
int64_t table_tasks(const KernelArgs& args) noexcept {
  return (kAdjoint ? args.out[0] : args.in[0]).numel == 0 ? 0 : 1;
}

template <class S>
void resample_run(const KernelArgs& args, int64_t task) noexcept {
  using P = Stored<S>;
  using T = typename P::Compute;
  const auto& a = args.attrs_as<ResampleAttrs>();
  const Split s(args.in[0], a.axis);
  const Units units(s, a.size);
  const Taps<T>* const table = table_of<T>(args);
  const int taps = taps_of(a);
  for (int64_t unit = units.count * task / units.tasks; unit < units.count * (task + 1) / units.tasks; ++unit) {
    const int64_t outer = unit / units.pieces;
    const int64_t from = unit % units.pieces * kInner;
    const int64_t n = least(kInner, s.inner - from);
    const S* const x = args.in[0].as<S>() + s.outer_offset(outer);
    S* out = args.out[0].as<S>() + outer * a.size * s.inner + from;
    if (n == 1) {
      const S* const line = x + s.inner_offset(from);
      for (int64_t o = 0; o < a.size; ++o, out += s.inner) {
        const Taps<T>& tap = table[o];
        T sum = tap.weight[0] * P::value(line[tap.place[0] * s.axis_step]);
        for (int k = 1; k < taps; ++k) sum = sum + tap.weight[k] * P::value(line[tap.place[k] * s.axis_step]);
        *out = P::round(sum);
      }
      continue;
    }
    T sums[kInner];
    for (int64_t o = 0; o < a.size; ++o, out += s.inner) {
      for (int k = 0; k < taps; ++k) {
        const S* const line = x + table[o].place[k] * s.axis_step;
        const T weight = table[o].weight[k];
        const S* const dense = line + from;
        for (int64_t i = 0; i < n; ++i) {
          const T term = weight * P::value(s.inner_dense ? dense[i] : line[s.inner_offset(from + i)]);
          sums[i] = k == 0 ? term : sums[i] + term;
        }
      }
      for (int64_t i = 0; i < n; ++i) out[i] = P::round(sums[i]);
    }
  }
}
int64_t resample_tasks(const KernelArgs& args) noexcept {
  const auto& a = args.attrs_as<ResampleAttrs>();
  return Units(Split(args.in[0], a.axis), a.size).tasks;
}
template <class S>
size_t resample_scratch(const KernelArgs& args) noexcept {
  return table_bytes<typename Stored<S>::Compute>(args.attrs_as<ResampleAttrs>());
}

// Whether each element has been copied to two results.
template <class T>
bool doubles(const Taps<T>* table, int64_t size, int64_t length) {
  bool is_doubled = size == 2 * length;
  for (int64_t o = 0; o < size && is_doubled; ++o) is_doubled = table[o].place[0] == o / 2;
  return is_doubled;
}
// Nearest neighbours: adds to each element the results that it was copied to, which lie in a run, and need not pass through memory
// one by one. `n` elements of each result lie side by side.
template <class P, class T, class S>
void add_copies(const Taps<T>* table, int64_t size, bool is_doubled, const S* g, int64_t step, int64_t n, T* sums,
                int64_t row) {
  if (is_doubled && n == 1 && step == 1 && row == 1) {
    for (int64_t i = 0; i < size / 2; ++i) sums[i] = sums[i] + P::value(g[2 * i]) + P::value(g[2 * i + 1]);
    return;
  }
  for (int64_t o = 0; o < size;) {
    T* const to = sums + table[o].place[0] * row;
    const S* const one = g + o * step;
    if (is_doubled) {
      const S* const two = one + step;
      for (int64_t j = 0; j < n; ++j) to[j] = to[j] + P::value(one[j]) + P::value(two[j]);
      o += 2;
    } else if (n == 1) {
      const int64_t place = table[o].place[0];
      T sum = *to;
      for (; o < size && table[o].place[0] == place; ++o) sum = sum + P::value(g[o * step]);
      *to = sum;
    } else {
      for (int64_t j = 0; j < n; ++j) to[j] = to[j] + P::value(one[j]);
      ++o;
    }
  }
}

template <class S>
void resample_grad_run(const KernelArgs& args, int64_t task) noexcept {
  using P = Stored<S>;
  using T = typename P::Compute;
  const auto& a = args.attrs_as<ResampleAttrs>();
  const Split s(args.in[0], a.axis);
  const Units units(s, a.input_size);
  const Taps<T>* const table = table_of<T>(args);
  const int taps = taps_of(a);
  const bool is_doubled = taps == 1 && doubles(table, a.size, a.input_size);
  for (int64_t unit = units.count * task / units.tasks; unit < units.count * (task + 1) / units.tasks; ++unit) {
    const int64_t outer = unit / units.pieces;
    const int64_t from = unit % units.pieces * kInner;
    const int64_t n = least(kInner, s.inner - from);
    const S* const g = args.in[0].as<S>() + s.outer_offset(outer);
    S* const out = args.out[0].as<S>() + outer * a.input_size * s.inner + from;
    T* sums;
    int64_t row;
    if constexpr (P::kConverts) {  // summed in float in the task's part of scratch, rounded once
      row = least(kInner, s.inner);
      sums = reinterpret_cast<T*>(static_cast<char*>(args.scratch) + table_bytes<T>(a)) + task * a.input_size * row;
    } else {
      row = s.inner;
      sums = out;
    }
    for (int64_t i = 0; i < a.input_size; ++i) {
      for (int64_t j = 0; j < n; ++j) sums[i * row + j] = T{0};
    }
    if (taps == 1 && (n == 1 || s.inner_dense)) {
      add_copies<P>(table, a.size, is_doubled, g + s.inner_offset(from), s.axis_step, n, sums, row);
    } else {
      for (int64_t o = 0; o < a.size; ++o) {
        const S* const line = g + o * s.axis_step;
        for (int k = 0; k < taps; ++k) {
          T* const to = sums + table[o].place[k] * row;
          const T weight = table[o].weight[k];
          for (int64_t j = 0; j < n; ++j) {
            to[j] = to[j] + weight * P::value(line[s.inner_dense ? from + j : s.inner_offset(from + j)]);
          }
        }
      }
    }
    if constexpr (P::kConverts) {
      for (int64_t i = 0; i < a.input_size; ++i) {
        for (int64_t j = 0; j < n; ++j) out[i * s.inner + j] = P::round(sums[i * row + j]);
      }
    }
  }
}
int64_t resample_grad_tasks(const KernelArgs& args) noexcept {
  const auto& a = args.attrs_as<ResampleAttrs>();
  return Units(Split(args.in[0], a.axis), a.input_size).tasks;
}
template <class S>
size_t resample_grad_scratch(const KernelArgs& args) noexcept {
  const auto& a = args.attrs_as<ResampleAttrs>();
  const size_t table = table_bytes<typename Stored<S>::Compute>(a);
  if constexpr (Stored<S>::kConverts) {
    const Split s(args.in[0], a.axis);
    const int64_t sums = Units(s, a.input_size).tasks * a.input_size * least(kInner, s.inner);
    return table + static_cast<size_t>(sums) * sizeof(float);
  } else {
    return table;
  }
}

template <class S>
void add_resample(KernelSink& sink) {
  constexpr DType dtype = kDTypeOf<S>;
  sink.add(
      "resample", dtype,
      Kernel::of({table_run<S, false>, table_tasks<false>}, {resample_run<S>, resample_tasks}, resample_scratch<S>));
  sink.add("resample_grad", dtype,
           Kernel::of({table_run<S, true>, table_tasks<true>}, {resample_grad_run<S>, resample_grad_tasks},
                      resample_grad_scratch<S>));
}

}  // namespace

void fill_resample(KernelSink& sink) {
  add_resample<float>(sink);
  add_resample<double>(sink);
  add_resample<Float16>(sink);
  add_resample<BFloat16>(sink);
}

}  // namespace gorgo::GORGO_ISA_NS
