// CPU kernels of the scan family.
//
// Lines along the axis are walked one by one when the axis is the fast one; otherwise strips of columns are walked together,
// row by row, and the compiler turns the columns into lanes. Both add in the same order, which depends on the length of a line
// alone. Long sums are cut into chunks: with few lines, tasks take chunks.
// Compiled once per ISA. Read next: scan.cpp (what each op means).
#include "kernels/complex.h"
#include "kernels/move.h"
#include "kernels/wrapping.h"
#include "kernels/zip.h"
#include "ops/scan/attrs.h"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

// ---- what is computed in ----

template <class T, bool kInteger = std::is_integral_v<T>>
struct SumTypeOf {
  using Type = double;
};
template <class T>
struct SumTypeOf<T, true> {  // unsigned, where overflow wraps, and wide enough not to be promoted to int
  using Type = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
};
template <class P>
struct SumTypeOf<std::complex<P>, false> {
  using Type = Complex<double>;
};
template <class T>
using SumType = typename SumTypeOf<T>::Type;

template <class T>
GORGO_INLINE SumType<T> widen(T v) noexcept {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
    return static_cast<double>(static_cast<float>(v));
  } else if constexpr (std::is_same_v<SumType<T>, Complex<double>>) {
    return {static_cast<double>(v.real()), static_cast<double>(v.imag())};
  } else {
    return static_cast<SumType<T>>(v);
  }
}
template <class T>
GORGO_INLINE T narrow(SumType<T> v) noexcept {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
    return T(static_cast<float>(v));
  } else if constexpr (std::is_same_v<SumType<T>, Complex<double>>) {
    using P = typename T::value_type;
    return {static_cast<P>(v.re), static_cast<P>(v.im)};
  } else {
    return static_cast<T>(v);
  }
}
template <class C>
GORGO_INLINE C whole(double v) noexcept {
  if constexpr (IsComplex<C>::value) {
    return {v, 0.0};
  } else {
    return static_cast<C>(v);
  }
}

// ---- how lines are shared out ----

constexpr int64_t kStrip = 128;  // columns that are walked together
constexpr int64_t kScanTaskElements = 16384;

struct ScanPlan {
  int axis = 0;
  int64_t length = 1;
  int64_t inner = 1;  // lines that lie side by side
  int64_t outer = 1;
  bool by_columns = false;
  int64_t strips = 1;
  int64_t units = 0;  // lines, or strips of them
  int64_t units_per_task = 1;

  [[gnu::noinline]] ScanPlan(const KernelArgs& args, int64_t given_axis, int inputs) noexcept {
    const KOperand& x = args.in[0];
    axis = static_cast<int>(given_axis < 0 ? given_axis + x.rank : given_axis);
    for (int i = 0; i < x.rank; ++i) (i < axis ? outer : i == axis ? length : inner) *= x.shape[i];
    by_columns = inner > 1;
    for (int k = 0; k < inputs; ++k) by_columns = by_columns && is_dense_inside(args.in[k]);
    strips = (inner + kStrip - 1) / kStrip;
    units = by_columns ? outer * strips : outer * inner;
    const int64_t elements = (by_columns ? (inner < kStrip ? inner : kStrip) : 1) * (length > 0 ? length : 1);
    units_per_task = elements >= kScanTaskElements ? 1 : kScanTaskElements / (elements > 0 ? elements : 1);
  }
  [[nodiscard]] GORGO_INLINE int64_t tasks() const noexcept { return (units + units_per_task - 1) / units_per_task; }
  [[nodiscard]] GORGO_INLINE int64_t last_unit(int64_t task) const noexcept {
    const int64_t end = (task + 1) * units_per_task;
    return end < units ? end : units;
  }
  // The first line of a unit, and how many lines it has.
  // Whether lines of neighbouring elements follow each other.
  [[nodiscard]] GORGO_INLINE bool is_flat(const KOperand& x) const noexcept { return inner == 1 && x.contiguous; }
  [[nodiscard]] GORGO_INLINE int64_t line_of(int64_t unit) const noexcept {
    return by_columns ? unit / strips * inner + unit % strips * kStrip : unit;
  }
  [[nodiscard]] GORGO_INLINE int64_t width_of(int64_t unit) const noexcept {
    if (!by_columns) return 1;
    const int64_t left = inner - unit % strips * kStrip;
    return left < kStrip ? left : kStrip;
  }
  // Where line `line` begins in an operand; lines are numbered by the other axes in row-major order. Lines of no elements,
  // whose results are the first value alone, begin at its null pointer.
  [[nodiscard]] GORGO_INLINE int64_t begin_of(const KOperand& x, int64_t line) const noexcept {
    if (x.numel == 0) return 0;
    if (x.contiguous) return out_begin(line, length);
    int64_t at = 0;
    for (int i = x.rank - 1; i >= 0; --i) {
      if (i == axis) continue;
      at += line % x.shape[i] * x.strides[i];
      line /= x.shape[i];
    }
    return at;
  }
  // The same in a contiguous output whose axis has `out_length` elements.
  [[nodiscard]] GORGO_INLINE int64_t out_begin(int64_t line, int64_t out_length) const noexcept {
    return inner == 1 ? line * out_length : line / inner * inner * out_length + line % inner;
  }

 private:
  [[nodiscard]] GORGO_INLINE bool is_dense_inside(const KOperand& x) const noexcept {
    int64_t run = 1;
    for (int i = x.rank - 1; i > axis; --i) {
      if (x.shape[i] != 1 && x.strides[i] != run) return false;
      run *= x.shape[i];
    }
    return true;
  }
};

// ---- cumulative_sum ----
// A line is cut into chunks; in a chunk, groups of four are added by themselves and then to what came before them in the chunk:
//     result = chunks before + (groups before + sum within the group)
// so that an element waits for one addition per group, and errors grow with the chunk and not with the line.
template <class T>
struct CumulativeSum {
  using C = SumType<T>;
  static constexpr int64_t kChunk = 4096;

  struct Plan {
    ScanPlan lines;
    int64_t initial;
    int64_t chunks;
    bool by_chunks;  // tasks are (unit, chunk)

    explicit Plan(const KernelArgs& args) noexcept
        : lines(args, axis_of(args.attrs_as<CumulativeAttrs>()), 1),
          initial(args.attrs_as<CumulativeAttrs>().include_initial ? 1 : 0),
          chunks((lines.length + kChunk - 1) / kChunk),
          by_chunks(chunks > 1 && lines.units < 16 && args.in[0].numel >= 8 * kScanTaskElements) {}
    [[nodiscard]] GORGO_INLINE int64_t out_length() const noexcept { return lines.length + initial; }
  };
  static int64_t axis_of(const CumulativeAttrs& a) noexcept { return a.axis.has ? a.axis.value : 0; }

  struct Sums {
    C before[kStrip];  // chunks
    C groups[kStrip];
    C group[kStrip];
  };

  // Neighbouring elements [begin, end), in blocks of four groups, lane by lane; adds to `groups` and returns where it stopped.
  template <bool kStores>
  GORGO_INLINE static int64_t walk_groups(const T* from, T* to, int64_t begin, int64_t end, double before,
                                          double& groups) noexcept {
    using F = ComputeType<T>;
    using Raw = RawVector<double, 4>;
    constexpr int64_t kBlock = 16;
    double sum = groups;
    int64_t i = begin;
    for (; i + kBlock <= end; i += kBlock) {
      Vec<double, 4> rows[4];
      if constexpr (kIsHalf<T>) {
        const Vec<F, 8> halves[2] = {load<T, 8>(from + i), load<T, 8>(from + i + 8)};
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k)
          rows[k] = convert<double>(k % 2 == 0 ? low_half(halves[k / 2]) : high_half(halves[k / 2]));
      } else {
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) rows[k] = convert<double>(load<T, 4>(from + i + 4 * k));
      }
      Raw part[4] = {rows[0].raw, rows[1].raw, rows[2].raw, rows[3].raw};
      transpose_square<double, 4>(part);
#pragma GCC unroll 4
      for (int k = 1; k < 4; ++k) part[k] = part[k - 1] + part[k];
      const double second = sum + part[3][0];
      const double third = second + part[3][1];
      const double fourth = third + part[3][2];
      if constexpr (kStores) {
        const Raw done{sum, second, third, fourth};
        sum = fourth + part[3][3];
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) part[k] = before + (done + part[k]);
        transpose_square<double, 4>(part);
        if constexpr (kIsHalf<T>) {
#pragma GCC unroll 4
          for (int k = 0; k < 4; k += 2) {
            store(to + i + 4 * k, join(convert<F>(Vec<double, 4>{part[k]}), convert<F>(Vec<double, 4>{part[k + 1]})));
          }
        } else {
#pragma GCC unroll 4
          for (int k = 0; k < 4; ++k) store(to + i + 4 * k, convert<F>(Vec<double, 4>{part[k]}));
        }
      } else {
        sum = fourth + part[3][3];
      }
    }
    groups = sum;
    return i;
  }
  template <bool kStores>
  GORGO_INLINE static C walk_line(const T* from, int64_t step, T* to, int64_t out_step, int64_t begin, int64_t end,
                                  C before) noexcept {
    C groups = whole<C>(0);
    int64_t i = begin;
    if (step == 1 && out_step == 1) {
      if constexpr (std::is_integral_v<T>) {  // whatever the order
        for (; i + 4 <= end; i += 4) {
          const C a = widen(from[i]);
          const C b = a + widen(from[i + 1]);
          const C c = b + widen(from[i + 2]);
          if constexpr (kStores) {
            const C sum = before + groups;
            to[i] = narrow<T>(sum + a);
            to[i + 1] = narrow<T>(sum + b);
            to[i + 2] = narrow<T>(sum + c);
            to[i + 3] = narrow<T>(sum + (c + widen(from[i + 3])));
          }
          groups += c + widen(from[i + 3]);
        }
      } else if constexpr (std::is_same_v<C, double> && kVectorBytes >= 32) {
        i = walk_groups<kStores>(from, to, begin, end, before, groups);
      }
    }
    for (; i + 4 <= end; i += 4) {
      C part[4];
      part[0] = widen(from[i * step]);
#pragma GCC unroll 4
      for (int k = 1; k < 4; ++k) part[k] = part[k - 1] + widen(from[(i + k) * step]);
      if constexpr (kStores) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) to[(i + k) * out_step] = narrow<T>(before + (groups + part[k]));
      }
      groups = groups + part[3];
    }
    if (i < end) {
      C part = widen(from[i * step]);
      for (;;) {
        if constexpr (kStores) to[i * out_step] = narrow<T>(before + (groups + part));
        if (++i == end) break;
        part = part + widen(from[i * step]);
      }
      groups = groups + part;
    }
    return groups;
  }
  // `rows` lines of at most one chunk, which follow each other where there are several; returns the sum of the last one.
  [[gnu::noinline]] static C walk_rows(const T* from, int64_t step, T* to, int64_t out_step, int64_t length, C before,
                                       int64_t rows = 1, int64_t initial = 0) noexcept {
    C groups = whole<C>(0);
    for (; rows > 0; --rows, from += length, to += length + initial) {
      if (initial != 0) to[-1] = narrow<T>(whole<C>(0));
      groups = walk_line<true>(from, step, to, out_step, 0, length, before);
    }
    return groups;
  }
  // Walks elements [begin, end) of the unit's lines from the start of a chunk on; stores results unless `to` is null.
  [[gnu::noinline]] static void walk(const T* from, int64_t step, T* to, int64_t out_step, int64_t width, int64_t begin,
                                     int64_t end, Sums& sums) noexcept {
    if (width == 1) {
      sums.groups[0] = to != nullptr ? walk_rows(from + begin * step, step, to + begin * out_step, out_step,
                                                 end - begin, sums.before[0])
                                     : walk_line<false>(from, step, to, out_step, begin, end, sums.before[0]);
      return;
    }
    for (int64_t j = 0; j < width; ++j) sums.groups[j] = whole<C>(0);
    for (int64_t j = 0; j < width; ++j) sums.group[j] = whole<C>(0);
    for (int64_t i = begin; i < end; ++i) {
      const T* row = from + i * step;
      const int64_t place = (i - begin) % 4;
      if (place == 0) {
        for (int64_t j = 0; j < width; ++j) sums.group[j] = widen(row[j]);
      } else {
        for (int64_t j = 0; j < width; ++j) sums.group[j] = sums.group[j] + widen(row[j]);
      }
      if (to != nullptr) {
        T* out = to + i * out_step;
        for (int64_t j = 0; j < width; ++j) {
          out[j] = narrow<T>(sums.before[j] + (sums.groups[j] + sums.group[j]));
        }
      }
      if (place == 3) {
        for (int64_t j = 0; j < width; ++j) sums.groups[j] = sums.groups[j] + sums.group[j];
        for (int64_t j = 0; j < width; ++j) sums.group[j] = whole<C>(0);
      }
    }
    for (int64_t j = 0; j < width; ++j) sums.groups[j] = sums.groups[j] + sums.group[j];
  }

  // Where a unit's lines lie.
  struct Place {
    const T* from;
    int64_t step;
    T* to;  // the result of the first element
    int64_t width;

    GORGO_INLINE Place(const KernelArgs& args, const Plan& plan, int64_t unit) noexcept {
      const KOperand& x = args.in[0];
      const int64_t line = plan.lines.line_of(unit);
      from = x.as<const T>() + plan.lines.begin_of(x, line);
      step = x.strides[plan.lines.axis];
      to = args.out[0].as<T>() + plan.lines.out_begin(line, plan.out_length()) + plan.initial * plan.lines.inner;
      width = plan.lines.width_of(unit);
    }
  };

  // The sums of the chunks, where tasks take chunks.
  static void total(const KernelArgs& args, int64_t task) noexcept {
    const Plan plan(args);
    const int64_t chunk = task % plan.chunks;
    const Place place(args, plan, task / plan.chunks);
    Sums sums;
    walk(place.from, place.step, nullptr, 1, place.width, chunk * kChunk, chunk_end(plan, chunk), sums);
    C* const totals = static_cast<C*>(args.scratch) + task * kStrip;
    for (int64_t j = 0; j < place.width; ++j) totals[j] = sums.groups[j];
  }
  static int64_t total_tasks(const KernelArgs& args) noexcept {
    const Plan plan(args);
    return plan.by_chunks ? plan.lines.units * plan.chunks : 0;
  }
  static size_t scratch(const KernelArgs& args) noexcept {
    return static_cast<size_t>(total_tasks(args) * kStrip) * sizeof(C);
  }

  static void run(const KernelArgs& args, int64_t task) noexcept {
    const Plan plan(args);
    Sums sums;
    if (plan.by_chunks) {
      const int64_t chunk = task % plan.chunks;
      const Place place(args, plan, task / plan.chunks);
      const C* totals = static_cast<const C*>(args.scratch) + (task - chunk) * kStrip;
      for (int64_t j = 0; j < place.width; ++j) {
        sums.before[j] = whole<C>(0);
        for (int64_t k = 0; k < chunk; ++k) sums.before[j] = sums.before[j] + totals[k * kStrip + j];
      }
      if (chunk == 0) put_initial(plan, place);
      walk(place.from, place.step, place.to, plan.lines.inner, place.width, chunk * kChunk, chunk_end(plan, chunk),
           sums);
      return;
    }
    const int64_t first = task * plan.lines.units_per_task;
    if (plan.chunks == 1 && plan.lines.is_flat(args.in[0])) {
      const Place place(args, plan, first);
      walk_rows(place.from, 1, place.to, 1, plan.lines.length, whole<C>(0), plan.lines.last_unit(task) - first,
                plan.initial);
      return;
    }
    for (int64_t unit = first; unit < plan.lines.last_unit(task); ++unit) {
      const Place place(args, plan, unit);
      put_initial(plan, place);
      for (int64_t j = 0; j < place.width; ++j) sums.before[j] = whole<C>(0);
      for (int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
        walk(place.from, place.step, place.to, plan.lines.inner, place.width, chunk * kChunk, chunk_end(plan, chunk),
             sums);
        for (int64_t j = 0; j < place.width; ++j) sums.before[j] = sums.before[j] + sums.groups[j];
      }
    }
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    const Plan plan(args);
    return plan.by_chunks ? plan.lines.units * plan.chunks : plan.lines.tasks();
  }
  static int64_t chunk_end(const Plan& plan, int64_t chunk) noexcept {
    const int64_t end = (chunk + 1) * kChunk;
    return end < plan.lines.length ? end : plan.lines.length;
  }
  static void put_initial(const Plan& plan, const Place& place) noexcept {
    if (plan.initial == 0) return;
    for (int64_t j = 0; j < place.width; ++j) place.to[j - plan.lines.inner] = narrow<T>(whole<C>(0));
  }
  static Kernel kernel() noexcept { return Kernel::of({total, total_tasks}, {run, tasks}, scratch); }
};

// ---- cumulative_prod, linear_scan: one number is carried along ----

// Product has no chunks: the product of a chunk may overflow where what came before would have kept it small.
template <class T>
struct Product {
  using Storage = T;
  using Attrs = CumulativeAttrs;
  static constexpr int kInputs = 1;
  static int64_t axis_of(const CumulativeAttrs& a) noexcept { return a.axis.has ? a.axis.value : 0; }
  static int64_t initial(const CumulativeAttrs& a) noexcept { return a.include_initial ? 1 : 0; }
  GORGO_INLINE static SumType<T> first(const SumType<T>* v) noexcept { return v[0]; }
  GORGO_INLINE static SumType<T> next(SumType<T> carried, const SumType<T>* v) noexcept { return carried * v[0]; }
};

template <class T>
struct Linear {
  using Storage = T;
  using Attrs = ScanAttrs;
  static constexpr int kInputs = 2;
  static int64_t axis_of(const ScanAttrs& a) noexcept { return a.axis; }
  static int64_t initial(const ScanAttrs&) noexcept { return 0; }
  GORGO_INLINE static SumType<T> first(const SumType<T>* v) noexcept { return v[1]; }
  GORGO_INLINE static SumType<T> next(SumType<T> carried, const SumType<T>* v) noexcept {
    return v[0] * carried + v[1];
  }
};

template <class Policy>
struct Carry {
  using T = typename Policy::Storage;
  using C = SumType<T>;
  static constexpr int kInputs = Policy::kInputs;

  static ScanPlan plan_of(const KernelArgs& args) noexcept {
    return {args, Policy::axis_of(args.attrs_as<typename Policy::Attrs>()), kInputs};
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const ScanPlan plan = plan_of(args);
    const int64_t initial = Policy::initial(args.attrs_as<typename Policy::Attrs>());
    bool flat = plan.length > 0;
    for (int k = 0; k < kInputs; ++k) flat = flat && plan.is_flat(args.in[k]);
    if (flat) {
      const int64_t first = task * plan.units_per_task;
      const T* from[kInputs];
      for (int k = 0; k < kInputs; ++k) from[k] = args.in[k].as<const T>() + first * plan.length;
      int64_t step[kInputs];
      for (int k = 0; k < kInputs; ++k) step[k] = 1;
      walk_rows(from, step, args.out[0].as<T>() + first * (plan.length + initial) + initial, 1, plan.length,
                plan.last_unit(task) - first, initial);
      return;
    }
    for (int64_t unit = task * plan.units_per_task; unit < plan.last_unit(task); ++unit) {
      const int64_t line = plan.line_of(unit);
      const int64_t width = plan.width_of(unit);
      const T* from[kInputs];
      int64_t step[kInputs];
      for (int k = 0; k < kInputs; ++k) {
        from[k] = args.in[k].as<const T>() + plan.begin_of(args.in[k], line);
        step[k] = args.in[k].strides[plan.axis];
      }
      T* to = args.out[0].as<T>() + plan.out_begin(line, plan.length + initial);
      if (initial != 0) {
        for (int64_t j = 0; j < width; ++j) to[j] = narrow<T>(whole<C>(1));
        to += plan.inner;
      }
      if (plan.length == 0) continue;
      if (width == 1) {
        walk_rows(from, step, to, plan.inner, plan.length);
        continue;
      }
      C carried[kStrip];
      for (int64_t j = 0; j < width; ++j) {
        carried[j] = Policy::first(values(from, step, 0, j).v);
        to[j] = narrow<T>(carried[j]);
      }
      for (int64_t i = 1; i < plan.length; ++i) {
        T* out = to + i * plan.inner;
        for (int64_t j = 0; j < width; ++j) {
          carried[j] = Policy::next(carried[j], values(from, step, i, j).v);
          out[j] = narrow<T>(carried[j]);
        }
      }
    }
  }
  // `rows` lines, which follow each other where there are several.
  [[gnu::noinline]] static void walk_rows(const T** from, const int64_t* step, T* to, int64_t out_step, int64_t length,
                                          int64_t rows = 1, int64_t initial = 0) noexcept {
    for (; rows > 0; --rows, to += length + initial) {
      if (initial != 0) to[-1] = narrow<T>(whole<C>(1));
      C carried = Policy::first(values(from, step, 0, 0).v);
      to[0] = narrow<T>(carried);
      for (int64_t i = 1; i < length; ++i) {
        carried = Policy::next(carried, values(from, step, i, 0).v);
        to[i * out_step] = narrow<T>(carried);
      }
      for (int k = 0; k < kInputs; ++k) from[k] += length;
    }
  }
  struct Values {
    C v[kInputs];
  };
  GORGO_INLINE static Values values(const T* const* from, const int64_t* step, int64_t i, int64_t j) noexcept {
    Values out;
    for (int k = 0; k < kInputs; ++k) out.v[k] = widen(from[k][i * step[k] + j]);
    return out;
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return plan_of(args).tasks(); }
  static Kernel kernel() noexcept { return Kernel::of({run, tasks}); }
};

// ---- cummax, cummin ----

// Integers of one width are all treated as signed ones whose bits are flipped such that the greatest is wanted.
template <class T, bool kGreatest>
struct Extreme {
  using C = ComputeType<T>;
  using Flip = std::conditional_t<std::is_integral_v<T>, T, int>;
  static ScanPlan plan_of(const KernelArgs& args) noexcept { return {args, args.attrs_as<ScanAttrs>().axis, 1}; }
  [[gnu::noinline]] static void run_flipped(const KernelArgs& args, int64_t task, Flip flip) noexcept {
    const ScanPlan plan = plan_of(args);
    const KOperand& x = args.in[0];
    const int64_t step = x.strides[plan.axis];
    for (int64_t unit = task * plan.units_per_task; unit < plan.last_unit(task); ++unit) {
      const int64_t line = plan.line_of(unit);
      const int64_t width = plan.width_of(unit);
      const T* from = x.as<const T>() + plan.begin_of(x, line);
      T* values = args.out[0].as<T>() + plan.out_begin(line, plan.length);
      auto* indices = args.out[1].as<int64_t>() + plan.out_begin(line, plan.length);
      if (width == 1) {
        run_line(from, step, values, indices, plan, flip);
        continue;
      }
      T best[kStrip];
      int64_t where[kStrip] = {};
      for (int64_t i = 0; i < plan.length; ++i) {
        for (int64_t j = 0; j < width; ++j) {
          const T v = from[i * step + j];
          if (i == 0 || replaces(compared(v, flip), compared(best[j], flip))) {
            best[j] = v;
            where[j] = i;
          }
          values[i * plan.inner + j] = best[j];
          indices[i * plan.inner + j] = where[j];
        }
      }
    }
  }
  GORGO_INLINE static void run_line(const T* from, int64_t step, T* values, int64_t* indices, const ScanPlan& plan,
                                    Flip flip) noexcept {
    if (plan.length == 0) return;
    T best = from[0];
    int64_t where = 0;
    for (int64_t i = 0;;) {
      values[i * plan.inner] = best;
      indices[i * plan.inner] = where;
      if (++i == plan.length) return;
      const T v = from[i * step];
      // Seldom true, and foreseen: the next element need not wait for this one.
      if (!falls_short(compared(v, flip), compared(best, flip))) [[unlikely]] {
        if (!replaces(compared(v, flip), compared(best, flip))) continue;
        best = v;
        where = i;
      }
    }
  }
  GORGO_INLINE static bool falls_short(C v, C best) noexcept { return kGreatest ? v < best : v > best; }
  GORGO_INLINE static C compared(T v, Flip flip) noexcept {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(v ^ flip);
    } else {
      return static_cast<C>(v);
    }
  }
  GORGO_INLINE static bool replaces(C v, C best) noexcept {
    if constexpr (is_floating(kDTypeOf<T>)) {
      if (v != v) return true;
      if (best != best) return false;
    }
    return kGreatest ? v >= best : v <= best;
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return args.out[0].numel == 0 ? 0 : plan_of(args).tasks(); }
  template <Flip kFlip = 0>
  static void run(const KernelArgs& args, int64_t task) noexcept {
    run_flipped(args, task, kFlip);
  }
  template <Flip kFlip = 0>
  static Kernel kernel() noexcept {
    return Kernel::of({run<kFlip>, tasks});
  }
};

// ---- logcumsumexp: the greatest so far, and the sum of exp(x - greatest) ----

struct LogShares {
  static constexpr int kLanes = 4;
  static constexpr double kNothing = -__builtin_inf();
  using V = Vec<double, kLanes>;

  // What the sum so far, or an element, counts for once the greatest is `higher`. Equal infinities have no difference.
  [[gnu::noinline]] static V share_of(V v, V higher) noexcept {
    return select(v == higher, broadcast<V>(1.0), exp(v - higher));
  }
  // Where all was minus infinity so far the result is, too; its sum is zero.
  [[gnu::noinline]] static V result_of(V higher, V sum) noexcept {
    return higher + select(higher == broadcast<V>(kNothing), broadcast<V>(0.0), log(sum));
  }
};

template <class T>
struct LogSums : LogShares {
  static ScanPlan plan_of(const KernelArgs& args) noexcept { return {args, args.attrs_as<ScanAttrs>().axis, 1}; }
  // A line in each lane.
  [[gnu::noinline]] static void walk_lanes(const T* from, int64_t step, T* to, int64_t out_step, int64_t length,
                                           int64_t lanes) noexcept {
    V top = broadcast<V>(kNothing);
    V sum = broadcast<V>(0.0);
    for (int64_t i = 0; i < length; ++i) {
      V v = broadcast<V>(0.0);
      for (int64_t j = 0; j < lanes; ++j) v.raw[j] = widen(from[i * step + j]);
      const V higher = maximum(top, v);  // NaN passes into it
      sum = sum * share_of(top, higher) + share_of(v, higher);
      sum = select(higher == broadcast<V>(kNothing), broadcast<V>(0.0), sum);
      top = higher;
      const V result = result_of(higher, sum);
      for (int64_t j = 0; j < lanes; ++j) to[i * out_step + j] = narrow<T>(result.raw[j]);
    }
  }
  // A single line, some elements of it at a time: only the sums wait for each other.
  [[gnu::noinline]] static void walk_line(const T* from, int64_t step, T* to, int64_t out_step,
                                          int64_t length) noexcept {
    double top = kNothing;
    double sum = 0.0;
    for (int64_t i = 0; i < length; i += kLanes) {
      const int64_t n = length - i < kLanes ? length - i : kLanes;
      V v = broadcast<V>(kNothing);
      V before = v;
      V higher = v;
      for (int64_t j = 0; j < n; ++j) {
        const double given = widen(from[(i + j) * step]);
        v.raw[j] = given;
        before.raw[j] = top;
        top = top != top || given < top ? top : given;
        higher.raw[j] = top;
      }
      const V old_share = share_of(before, higher);
      const V new_share = share_of(v, higher);
      V sums = broadcast<V>(0.0);
      for (int64_t j = 0; j < n; ++j) {
        sum = higher.raw[j] == kNothing ? 0.0 : sum * old_share.raw[j] + new_share.raw[j];
        sums.raw[j] = sum;
      }
      const V result = result_of(higher, sums);
      for (int64_t j = 0; j < n; ++j) to[(i + j) * out_step] = narrow<T>(result.raw[j]);
    }
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const ScanPlan plan = plan_of(args);
    const KOperand& x = args.in[0];
    const int64_t step = x.strides[plan.axis];
    for (int64_t unit = task * plan.units_per_task; unit < plan.last_unit(task); ++unit) {
      const int64_t line = plan.line_of(unit);
      const int64_t width = plan.width_of(unit);
      const T* from = x.as<const T>() + plan.begin_of(x, line);
      T* to = args.out[0].as<T>() + plan.out_begin(line, plan.length);
      int64_t begin = 0;
      for (; width - begin > 1; begin += kLanes) {
        walk_lanes(from + begin, step, to + begin, plan.inner, plan.length,
                   width - begin < kLanes ? width - begin : kLanes);
      }
      if (begin < width) walk_line(from + begin, step, to + begin, plan.inner, plan.length);
    }
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return args.out[0].numel == 0 ? 0 : plan_of(args).tasks(); }
  static Kernel kernel() noexcept { return Kernel::of({run, tasks}); }
};

template <class T>
void fill_extremes(KernelSink& sink) {
  constexpr DType d = kDTypeOf<T>;
  if constexpr (is_floating(d)) {
    sink.add("cummax", d, Extreme<T, true>::kernel());
    sink.add("cummin", d, Extreme<T, false>::kernel());
  } else {
    using I = SignedLike<T>;
    constexpr I kFlip = kOrderFlip<T>;
    sink.add("cummax", d, Extreme<I, true>::template kernel<kFlip>());
    sink.add("cummin", d, Extreme<I, true>::template kernel<static_cast<I>(~kFlip)>());
  }
}
template <class T>
void fill_scan_of(KernelSink& sink) {
  constexpr DType d = kDTypeOf<T>;
  if constexpr (d != DType::Bool) {
    using S = Wrapping<T>;
    sink.add("cumulative_sum", d, CumulativeSum<S>::kernel());
    sink.add("cumulative_prod", d, Carry<Product<S>>::kernel());
  }
  if constexpr (!is_complex(d)) fill_extremes<T>(sink);
  if constexpr (is_floating(d)) sink.add("logcumsumexp", d, LogSums<T>::kernel());
  if constexpr (is_inexact(d)) sink.add("linear_scan", d, Carry<Linear<T>>::kernel());
}

}  // namespace

void fill_scan(KernelSink& sink) {
#define GORGO_X(name, type, text) fill_scan_of<type>(sink);
  GORGO_FOR_EACH_DTYPE(GORGO_X)
#undef GORGO_X
}
#else  // inherited
void fill_scan(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS
