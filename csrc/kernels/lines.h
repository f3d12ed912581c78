// Lines: what a kernel walks that works along one axis (softmax and its kin), a line at a time or as many side by side as a
// vector has lanes.
//
// For kernel files (compiled per ISA). An op is written once against a walk W:
//     W::V, at.load(i) for input i, at.store(v), walk.fold<Combine>(f), walk.each(f)
// where fold gives each line's result in all the lanes that work on that line. Rows spread one line over the lanes, columns
// give every line a lane.
// Invariant: what a line yields depends on its length and its layout alone, never on how many lines there are.
// Read next: ops/softmax/kernels_cpu.cpp.
#pragma once

#include "core/kernel_args.h"
#include "kernels/fold.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

// How the lines along `axis` of one shape are shared out. Inputs have that shape and any strides.
struct LinePlan {
  static constexpr int64_t kTaskElements = 16384;

  int axis = 0;
  int64_t length = 1;
  int64_t inner = 1;  // lines that lie side by side
  int64_t outer = 1;
  bool by_columns = false;
  int64_t blocks = 1;  // by columns: groups of lanes in one outer position
  int64_t units = 0;   // lines or blocks
  int64_t units_per_task = 1;

  [[gnu::noinline]] LinePlan(const KernelArgs& args, int64_t given_axis, int inputs, int lanes) noexcept {
    const KOperand& x = args.in[0];
    axis = static_cast<int>(given_axis < 0 ? given_axis + x.rank : given_axis);
    if (x.rank == 0) axis = 0;
    for (int i = 0; i < x.rank; ++i) (i < axis ? outer : i == axis ? length : inner) *= x.shape[i];
    by_columns = inner > 1;
    for (int k = 0; k < inputs; ++k) by_columns = by_columns && is_dense_inside(args.in[k]);
    blocks = (inner + lanes - 1) / lanes;
    units = by_columns ? outer * blocks : outer * inner;
    const int64_t unit_elements = (by_columns ? (inner < lanes ? inner : lanes) : 1) * (length < 1 ? 1 : length);
    units_per_task = unit_elements >= kTaskElements ? 1 : kTaskElements / (unit_elements < 1 ? 1 : unit_elements);
  }
  [[nodiscard]] GORGO_INLINE int64_t tasks() const noexcept { return (units + units_per_task - 1) / units_per_task; }
  [[nodiscard]] GORGO_INLINE int64_t axis_stride(const KOperand& x) const noexcept {
    return x.rank == 0 ? 1 : x.strides[axis];
  }
  // Where a line begins; `line` numbers the positions of all other axes in row-major order.
  [[nodiscard]] GORGO_INLINE int64_t begin_of(const KOperand& x, int64_t line) const noexcept {
    if (x.contiguous) return inner == 1 ? line * length : line / inner * inner * length + line % inner;
    return begin_of_strided(x, line);
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
  [[nodiscard, gnu::noinline]] int64_t begin_of_strided(const KOperand& x, int64_t line) const noexcept {
    int64_t at = 0;
    for (int i = x.rank - 1; i >= 0; --i) {
      if (i == axis) continue;
      at += line % x.shape[i] * x.strides[i];
      line /= x.shape[i];
    }
    return at;
  }
};

template <class S, int kInputs>
struct LineOperands {
  const S* in[kInputs];
  int64_t in_stride[kInputs];
  S* out;
  int64_t out_stride;
  int64_t length;
};

template <class S, int kLanes, int kInputs, bool kWhole, bool kColumn>
struct LinePlace {
  using V = Vec<ComputeType<S>, kLanes>;
  const LineOperands<S, kInputs>& o;
  int64_t i;
  int n;

  [[nodiscard]] GORGO_INLINE V load(int k = 0) const {
    const S* p = o.in[k] + i * o.in_stride[k];
    if constexpr (kColumn) {
      return kWhole ? gorgo::GORGO_ISA_NS::load<S, kLanes>(p) : gorgo::GORGO_ISA_NS::load_partial<S, kLanes>(p, n);
    } else {
      if (o.in_stride[k] == 1) {
        return kWhole ? gorgo::GORGO_ISA_NS::load<S, kLanes>(p) : gorgo::GORGO_ISA_NS::load_partial<S, kLanes>(p, n);
      }
      S tile[kLanes] = {};
      gather(p, o.in_stride[k], kWhole ? kLanes : n, tile);
      return gorgo::GORGO_ISA_NS::load<S, kLanes>(tile);
    }
  }
  GORGO_INLINE void store(V v) const { put(v, o.out + i * o.out_stride); }
  // What was stored here before.
  [[nodiscard]] GORGO_INLINE V stored() const {
    const S* p = o.out + i * o.out_stride;
    if (kColumn || o.out_stride == 1) {
      return kWhole ? gorgo::GORGO_ISA_NS::load<S, kLanes>(p) : gorgo::GORGO_ISA_NS::load_partial<S, kLanes>(p, n);
    }
    S tile[kLanes] = {};
    gather(p, o.out_stride, kWhole ? kLanes : n, tile);
    return gorgo::GORGO_ISA_NS::load<S, kLanes>(tile);
  }

 private:
  GORGO_INLINE void put(V v, S* p) const {
    if (kColumn || o.out_stride == 1) {
      if constexpr (kWhole) {
        gorgo::GORGO_ISA_NS::store(p, v);
      } else {
        store_partial(p, v, n);
      }
      return;
    }
    S tile[kLanes];
    gorgo::GORGO_ISA_NS::store(tile, v);
    const int count = kWhole ? kLanes : n;
    for (int j = 0; j < count; ++j) p[j * o.out_stride] = tile[j];
  }
};

// One line over all lanes.
template <class S, int kInputs>
struct RowWalk {
  using Storage = S;
  using Lane = ComputeType<S>;
  static constexpr bool kColumn = false;
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Lane));
  using V = Vec<Lane, kLanes>;
  LineOperands<S, kInputs> o;
  int live = 1;  // lines under way

  template <bool kWhole>
  using Place = LinePlace<S, kLanes, kInputs, kWhole, false>;

  template <class Combine, class F>
  GORGO_INLINE V fold(const F& f) const {
    const Lane nothing = Combine::template kIdentity<Lane>;
    const auto part = [&](int64_t i) GORGO_INLINE_LAMBDA {
      const auto n = static_cast<int>(o.length - i);
      return keep_first(f(Place<false>{o, i, n}), n, nothing);
    };
    if (o.length <= kLanes) return broadcast<V>(fold_lanes<Combine>(part(0)));
    V a = broadcast<V>(nothing);
    V b = a;
    using Wide = std::conditional_t<std::is_same_v<Lane, float>, double, Lane>;
    Wide total = Combine::template kIdentity<Wide>;
    constexpr int kChain = 16;
    int depth = 0;
    int64_t i = 0;
    for (; i + 2 * kLanes <= o.length; i += 2 * kLanes) {
      a = Combine::of(a, f(Place<true>{o, i, kLanes}));
      b = Combine::of(b, f(Place<true>{o, i + kLanes, kLanes}));
      if (++depth < kChain) continue;
      total = fold_two<Combine>(total, static_cast<Wide>(fold_lanes<Combine>(Combine::of(a, b))));
      a = b = broadcast<V>(nothing);
      depth = 0;
    }
    if (i + kLanes <= o.length) {
      a = Combine::of(a, f(Place<true>{o, i, kLanes}));
      i += kLanes;
    }
    if (i < o.length) b = Combine::of(b, part(i));
    total = fold_two<Combine>(total, static_cast<Wide>(fold_lanes<Combine>(Combine::of(a, b))));
    return broadcast<V>(static_cast<Lane>(total));
  }
  template <class F>
  GORGO_INLINE void each(const F& f) const {
    int64_t i = 0;
    for (; i + kLanes <= o.length; i += kLanes) f(Place<true>{o, i, kLanes});
    if (i < o.length) f(Place<false>{o, i, static_cast<int>(o.length - i)});
  }
};

// A lane for each line.
template <class S, int kInputs>
struct ColumnWalk {
  using Storage = S;
  using Lane = ComputeType<S>;
  static constexpr bool kColumn = true;
  static constexpr int kLanes = RowWalk<S, kInputs>::kLanes;
  using V = Vec<Lane, kLanes>;
  LineOperands<S, kInputs> o;
  int live = kLanes;

  template <bool kWhole>
  using Place = LinePlace<S, kLanes, kInputs, kWhole, true>;

  template <class Combine, class F>
  GORGO_INLINE V fold(const F& f) const {
    // Extremes are exact in any type.
    constexpr bool kRounds = !std::is_base_of_v<FoldLargest, Combine>;
    using Wide = std::conditional_t<std::is_same_v<Lane, float> && kRounds, double, Lane>;
    using W = Vec<Wide, kLanes>;
    W total = broadcast<W>(Combine::template kIdentity<Wide>);
    if (live == kLanes) {
      for (int64_t i = 0; i < o.length; ++i) total = Combine::of(total, convert<Wide>(f(Place<true>{o, i, kLanes})));
    } else {
      for (int64_t i = 0; i < o.length; ++i) total = Combine::of(total, convert<Wide>(f(Place<false>{o, i, live})));
    }
    return convert<Lane>(total);
  }
  template <class F>
  GORGO_INLINE void each(const F& f) const {
    if (live == kLanes) {
      for (int64_t i = 0; i < o.length; ++i) f(Place<true>{o, i, kLanes});
    } else {
      for (int64_t i = 0; i < o.length; ++i) f(Place<false>{o, i, live});
    }
  }
};

// Runs visit(walk, line) for the units of one task; `line` is the first line under way. The output, where the op has one of
// the inputs' shape, is contiguous.
template <class S, int kInputs, class Visit>
GORGO_INLINE void walk_lines_of(const KernelArgs& args, const LinePlan& plan, int64_t task,
                                const Visit& visit) noexcept {
  constexpr int kLanes = RowWalk<S, kInputs>::kLanes;
  const int64_t begin = task * plan.units_per_task;
  const int64_t end = begin + plan.units_per_task < plan.units ? begin + plan.units_per_task : plan.units;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t column = plan.by_columns ? unit % plan.blocks * kLanes : 0;
    const int64_t line = plan.by_columns ? unit / plan.blocks * plan.inner + column : unit;
    LineOperands<S, kInputs> o;
    for (int k = 0; k < kInputs; ++k) {
      o.in[k] = args.in[k].as<const S>() + plan.begin_of(args.in[k], line);
      o.in_stride[k] = plan.axis_stride(args.in[k]);
    }
    o.out = args.out[0].as<S>() + (line / plan.inner * plan.inner * plan.length + line % plan.inner);
    o.out_stride = plan.inner;
    o.length = plan.length;
    if (plan.by_columns) {
      const int64_t left = plan.inner - column;
      visit(ColumnWalk<S, kInputs>{o, left < kLanes ? static_cast<int>(left) : kLanes}, line);
    } else {
      visit(RowWalk<S, kInputs>{o}, line);
    }
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
