// CPU kernels of the index family that write.
//
// Indices are checked, and for some ops turned into offsets, in a first phase; when one is out of range, the later phases write
// nothing. Scatters give each destination its contributions in the order of the indices, whatever the thread count: they are split
// over destinations that cannot meet.
// Compiled once per ISA. Read next: places.h, kernels_cpu_read.cpp, kernels_cpu_nonzero.cpp, index.cpp (what each op means).
#include "kernels/wrapping.h"
#include "ops/index/places.h"

namespace gorgo::GORGO_ISA_NS {

void fill_nonzero(KernelSink& sink);      // kernels_cpu_nonzero.cpp
void fill_index_reads(KernelSink& sink);  // kernels_cpu_read.cpp

#ifdef GORGO_WITH_RARE_KERNELS
namespace {

template <class T>
GORGO_INLINE void add_to(T& sum, T value) noexcept {
  if constexpr (std::is_same_v<T, bool>) {
    sum = sum || value;
  } else if constexpr (std::is_integral_v<T>) {  // wraps, and never promotes to an int that could overflow
    sum = static_cast<T>(static_cast<uint64_t>(sum) + static_cast<uint64_t>(value));
  } else {
    using C = ComputeType<T>;
    sum = static_cast<T>(static_cast<C>(sum) + static_cast<C>(value));
  }
}

using PutLayout = ListLayout<IndexPutAttrs, 2>;
using AdjointLayout = ListLayout<IndexAdjointAttrs, 1>;

// First phase: the offset of each index position in the output, by its strides, into the scratch memory.
template <class L>
struct Offsets {
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const KOperand& out = args.out[0];
    const IndexGeometry g = geometry_of<L>(args, out.rank);
    auto* offsets = static_cast<int64_t*>(args.scratch);
    const int64_t begin = task * kMoveGrain;
    offsets_of(g, args.in + L::kFirstIndex, out, begin, smaller(kMoveGrain, g.positions - begin), offsets + begin,
               args.fault);
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    return move_tasks(geometry_of<L>(args, args.out[0].rank).positions);
  }
  static size_t scratch(const KernelArgs& args) noexcept {
    return static_cast<size_t>(geometry_of<L>(args, args.out[0].rank).positions) * sizeof(int64_t);
  }
};

// ---- copies of the base, before something is put into it ----
template <class T>
struct CopyBase {
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const KOperand& x = args.in[0];
    const KOperand& out = args.out[0];
    if (x.data == out.data || args.fault->code() != 0) return;
    MovePlan plan;
    for (int32_t i = 0; i < x.rank; ++i) plan.add(x.shape[i], out.strides[i], x.strides[i]);
    const int64_t begin = task * kMoveGrain;
    move_range(plan, out.as<T>(), x.as<T>(), begin, smaller(begin + kMoveGrain, x.numel));
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return move_tasks(args.in[0].numel); }
};

template <class T>
struct ClearOutput {
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const KOperand& out = args.out[0];
    const int64_t begin = task * kMoveGrain;
    const int64_t end = smaller(begin + kMoveGrain, out.numel);
    std::memset(static_cast<void*>(out.as<T>() + begin), 0, static_cast<size_t>(end - begin) * sizeof(T));
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return move_tasks(args.out[0].numel); }
};

// ---- index_put and index_adjoint: out[pre..., offset of position, post...] gets values[pre..., position, post...] ----
// A task owns a range of the (pre, post) pairs and walks every position in order.
template <class T, class L, int kValues>
struct Put {
  struct Split {
    int64_t outer = 1;
    int64_t inner = 1;
    int64_t chunk = 1;  // of inner, per task
  };
  static Split split_of(const IndexGeometry& g, const KOperand& out) noexcept {
    Split s;
    for (int i = 0; i < g.rest; ++i) (i < g.place ? s.outer : s.inner) *= out.shape[g.rest_axes[i]];
    const bool small = s.outer * s.inner * g.positions <= kMoveGrain;
    s.chunk = small ? s.inner : smaller(s.inner, larger(64, (s.inner + 15) / 16));
    return s;
  }
  static bool accumulates(const KernelArgs& args) noexcept {
    if constexpr (kValues == 0) {
      return true;
    } else {
      return args.attrs_as<IndexPutAttrs>().accumulate;
    }
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    if (args.fault->code() != 0) return;
    const KOperand& values = args.in[kValues];
    const KOperand& out = args.out[0];
    const IndexGeometry g = geometry_of<L>(args, out.rank);
    const Split s = split_of(g, out);
    const auto* offsets = static_cast<const int64_t*>(args.scratch);
    const bool accumulate = accumulates(args);
    const int64_t chunks = tasks_of(s.inner, s.chunk);
    const int64_t begin = task % chunks * s.chunk;
    const int64_t end = smaller(begin + s.chunk, s.inner);
    const int value_rank = g.rest + g.index_rank;  // of the values' broadcast shape
    int64_t rest = task / chunks;
    int64_t to = 0;
    int64_t from = 0;
    for (int i = g.place - 1; i >= 0; --i) {
      const int axis = g.rest_axes[i];
      to += rest % out.shape[axis] * out.strides[axis];
      from += rest % out.shape[axis] * stride_along(values, value_rank, i, out.shape[axis]);
      rest /= out.shape[axis];
    }
    MovePlan post;
    for (int i = g.place; i < g.rest; ++i) {
      const int axis = g.rest_axes[i];
      post.add(out.shape[axis], out.strides[axis], stride_along(values, value_rank, i + g.index_rank, out.shape[axis]));
    }
    const int64_t to_stride = post.rank > 0 ? post.to[post.rank - 1] : 0;
    const int64_t from_stride = post.rank > 0 ? post.from[post.rank - 1] : 0;
    // The values' own steps along the index axes, by odometer.
    int64_t steps[32];
    int64_t at[32] = {};
    for (int i = 0; i < g.index_rank; ++i) {
      steps[i] = stride_along(values, value_rank, g.place + i, g.index_shape[i]);
    }
    if (post.rank == 0 && !accumulate && g.index_rank == 1) {
      using U = UnitLike<T>;
      U* target = reinterpret_cast<U*>(out.as<T>() + to);
      const U* source = reinterpret_cast<const U*>(values.as<T>() + from);
      for (int64_t p = 0; p < g.positions; ++p) target[offsets[p]] = source[p * steps[0]];
      return;
    }
    for (int64_t p = 0; p < g.positions; ++p) {
      T* target = out.as<T>() + to + offsets[p];
      const T* source = values.as<T>() + from;
      walk_lines(post, begin, end, [&](int64_t t, int64_t f, int64_t n) __attribute__((always_inline)) {
        if (accumulate) {
          for (int64_t i = 0; i < n; ++i) add_to(target[t + i * to_stride], source[f + i * from_stride]);
        } else {
          using U = UnitLike<T>;
          move_line(reinterpret_cast<U*>(target + t), to_stride, reinterpret_cast<const U*>(source + f), from_stride,
                    n);
        }
      });
      for (int i = g.index_rank - 1; i >= 0; --i) {
        from += steps[i];
        if (++at[i] < g.index_shape[i]) break;
        at[i] = 0;
        from -= steps[i] * g.index_shape[i];
      }
    }
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    const KOperand& out = args.out[0];
    if (out.numel == 0) return 0;
    const Split s = split_of(geometry_of<L>(args, out.rank), out);
    return s.outer * tasks_of(s.inner, s.chunk);
  }
  static Kernel kernel() noexcept {
    using First = Offsets<L>;
    Kernel k;
    k.phases[0] = {First::run, First::tasks};
    if constexpr (kValues == 0) {
      k.phases[1] = {ClearOutput<UnitLike<T>>::run, ClearOutput<UnitLike<T>>::tasks};
    } else {
      k.phases[1] = {CopyBase<UnitLike<T>>::run, CopyBase<UnitLike<T>>::tasks};
    }
    k.phases[2] = {run, tasks};
    k.phase_count = 3;
    k.scratch_bytes = First::scratch;
    return k;
  }
};
template <class T>
using IndexPut = Put<T, PutLayout, 1>;
template <class T>
using IndexAdjoint = Put<T, AdjointLayout, 0>;

// ---- scatter, scatter_add, take_along_axis_adjoint ----
template <class A>
GORGO_INLINE int64_t along_axis(const KernelArgs& args) noexcept {
  const int64_t axis = args.attrs_as<A>().axis;
  return axis < 0 ? axis + args.out[0].rank : axis;
}

// Finds the first index out of range, before anything is written.
template <class A>
struct CheckAlong {
  static constexpr int kIndex = 1;
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const KOperand& index = args.in[kIndex];
    const int64_t length = args.out[0].shape[along_axis<A>(args)];
    const MovePlan plan = plan_in_order(index);
    const int64_t end = smaller((task + 1) * kMoveGrain, index.numel);
    int64_t places[kIndexTile];
    for (int64_t begin = task * kMoveGrain; begin < end; begin += kIndexTile) {
      places_of(index, plan, begin, smaller(end - begin, kIndexTile), length, 1, false, places, args.fault);
    }
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return move_tasks(args.in[kIndex].numel); }
};

// Positions are those of `where` (the index tensor, or the gradient that it broadcasts to); a lane is all positions that
// differ along the axis alone, and lanes never share a destination.
enum class Combine : uint8_t { Set, Add, Multiply, Greatest, Least };

template <Combine kCombine, class T>
GORGO_INLINE void combine_into(T& target, T value) noexcept {
  using C = ComputeType<T>;
  if constexpr (kCombine == Combine::Set) {
    target = value;
  } else if constexpr (kCombine == Combine::Add) {
    add_to(target, value);
  } else if constexpr (kCombine == Combine::Multiply) {
    if constexpr (std::is_integral_v<T>) {
      target = static_cast<T>(static_cast<uint64_t>(target) * static_cast<uint64_t>(value));
    } else {
      target = static_cast<T>(static_cast<C>(target) * static_cast<C>(value));
    }
  } else {
    const C old = static_cast<C>(target);
    const C given = static_cast<C>(value);
    // NaN, once there, stays.
    bool replaces = kCombine == Combine::Greatest ? given > old : given < old;
    if constexpr (std::is_floating_point_v<C>) {
      replaces = __builtin_isnan(given) || (!__builtin_isnan(old) && replaces);
    }
    if (replaces) target = value;
  }
}

template <class T, class A, int kWhere, int kIndex, int kValues, Combine kCombine>
struct Scatter {
  static int64_t axis_of(const KernelArgs& args) noexcept { return along_axis<A>(args); }
  static int64_t lanes_of(const KernelArgs& args) noexcept {
    const KOperand& where = args.in[kWhere];
    return where.numel == 0 ? 0 : where.numel / where.shape[axis_of(args)];
  }
  static int64_t lanes_per_task(const KernelArgs& args) noexcept {
    return larger(kMoveGrain / larger(args.in[kWhere].shape[axis_of(args)], 1), 1);
  }
  static void set_single(const KOperand& where, const KOperand& index, const KOperand& values, const KOperand& out,
                         int32_t axis, int64_t begin, int64_t end) noexcept {
    const MovePlan indices = plan_in_order(where.shape, where.rank, index);
    MovePlan both;
    for (int32_t i = 0; i < where.rank; ++i) {
      if (i != axis) both.add(where.shape[i], out.strides[i], stride_along(values, out.rank, i, where.shape[i]));
    }
    const int64_t to_step = both.rank > 0 ? both.to[both.rank - 1] : 0;
    const int64_t from_step = both.rank > 0 ? both.from[both.rank - 1] : 0;
    int64_t offsets[kIndexTile];
    for (; begin < end; begin += kIndexTile) {
      const int64_t n = smaller(end - begin, kIndexTile);
      // They are known to be in range.
      places_of(index, indices, begin, n, out.shape[axis], out.strides[axis], false, offsets, nullptr);
      const int64_t* at = offsets;
      walk_lines(both, begin, begin + n, [&](int64_t to, int64_t from, int64_t line) __attribute__((always_inline)) {
        for (int64_t i = 0; i < line; ++i) {
          out.as<T>()[to + i * to_step + *at++] = values.as<T>()[from + i * from_step];
        }
      });
    }
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    if (args.fault->code() != 0) return;
    const KOperand& where = args.in[kWhere];
    const KOperand& index = args.in[kIndex];
    const KOperand& values = args.in[kValues];
    const KOperand& out = args.out[0];
    const int64_t axis = axis_of(args);
    const int64_t length = out.shape[axis];
    const int64_t step = out.strides[axis];
    const int64_t count = where.shape[axis];
    const int32_t rank = out.rank;
    const auto place = static_cast<int32_t>(axis);
    const int64_t index_step = stride_along(index, rank, place, count);
    const int64_t value_step = stride_along(values, rank, place, count);
    const int64_t begin = task * lanes_per_task(args);
    const int64_t end = smaller(begin + lanes_per_task(args), lanes_of(args));
    if constexpr (kCombine == Combine::Set) {
      if (count == 1) {  // lanes of one position are walked in order
        set_single(where, index, values, out, place, begin, end);
        return;
      }
    }
    for (int64_t lane = begin; lane < end; ++lane) {
      int64_t rest = lane;
      int64_t to = 0;
      int64_t index_at = 0;
      int64_t value_at = 0;
      for (int32_t i = rank - 1; i >= 0; --i) {
        if (i == axis) continue;
        const int64_t c = rest % where.shape[i];
        rest /= where.shape[i];
        to += c * out.strides[i];
        index_at += c * stride_along(index, rank, i, where.shape[i]);
        value_at += c * stride_along(values, rank, i, where.shape[i]);
      }
      T* const targets = out.as<T>() + to;
      for (int64_t j = 0; j < count; j += kIndexTile) {
        int64_t tile[kIndexTile];
        const int64_t n = smaller(count - j, kIndexTile);
        const int64_t* given = integers_of(index, index_at + j * index_step, index_step, n, tile);
        const T* value = values.as<T>() + value_at + j * value_step;
        for (int64_t i = 0; i < n; ++i) {
          combine_into<kCombine>(targets[(given[i] + (given[i] >> 63 & length)) * step], value[i * value_step]);
        }
      }
    }
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return tasks_of(lanes_of(args), lanes_per_task(args)); }
  static Kernel kernel() noexcept {
    Kernel k;
    k.phases[0] = {CheckAlong<A>::run, CheckAlong<A>::tasks};
    if constexpr (kValues == 0) {
      k.phases[1] = {ClearOutput<UnitLike<T>>::run, ClearOutput<UnitLike<T>>::tasks};
    } else {
      k.phases[1] = {CopyBase<UnitLike<T>>::run, CopyBase<UnitLike<T>>::tasks};
    }
    k.phases[2] = {run, tasks};
    k.phase_count = 3;
    return k;
  }
};
template <class U>
using ScatterSet = Scatter<U, AlongAxisAttrs, 1, 1, 2, Combine::Set>;
template <class T>
using ScatterAdd = Scatter<T, AlongAxisAttrs, 1, 1, 2, Combine::Add>;
template <class T>
using TakeAlongAdjoint = Scatter<T, AlongAxisAdjointAttrs, 0, 1, 0, Combine::Add>;
template <class T, Combine kCombine>
using ScatterCombined = Scatter<T, ScatterReduceAttrs, 1, 1, 2, kCombine>;

template <class T>
struct ScatterReduced {
  static void run(const KernelArgs& args, int64_t task) noexcept {
    switch (static_cast<ScatterReduction>(args.attrs_as<ScatterReduceAttrs>().reduce.index)) {
      case ScatterReduction::Prod:
        ScatterCombined<T, Combine::Multiply>::run(args, task);
        return;
      case ScatterReduction::Max:
        if constexpr (!is_complex(kDTypeOf<T>)) ScatterCombined<T, Combine::Greatest>::run(args, task);
        return;
      case ScatterReduction::Min:
        if constexpr (!is_complex(kDTypeOf<T>)) ScatterCombined<T, Combine::Least>::run(args, task);
        return;
    }
  }
  static Kernel kernel() noexcept {
    Kernel k = ScatterCombined<T, Combine::Multiply>::kernel();
    k.phases[2].run = run;
    return k;
  }
};

// Base has all; AVX2 those of the dtypes that most programs write, since base is compiled to be small.
template <class T>
void fill_index_of(KernelSink& sink) {
  constexpr DType d = kDTypeOf<T>;
#ifndef GORGO_WITH_MOVES
  constexpr bool kHas = d == DType::Float32 || d == DType::Float64 || d == DType::Int64;
#else
  constexpr bool kHas = true;
#endif
  if constexpr (kHas) {
    sink.add("index_put", d, IndexPut<Wrapping<T>>::kernel());
    sink.add("scatter_add", d, ScatterAdd<Wrapping<T>>::kernel());
    if constexpr (is_inexact(d)) {
      sink.add("index_adjoint", d, IndexAdjoint<T>::kernel());
      sink.add("take_along_axis_adjoint", d, TakeAlongAdjoint<T>::kernel());
    }
  }
#ifdef GORGO_WITH_MOVES
  if constexpr (d != DType::Bool) sink.add("scatter_combine", d, ScatterReduced<T>::kernel());
#endif
}

}  // namespace

void fill_index(KernelSink& sink) {
  fill_nonzero(sink);
  fill_index_reads(sink);
#ifdef GORGO_WITH_MOVES
  add_by_size<ScatterSet>(sink, "scatter");
#endif
#define GORGO_X(name, type, text) fill_index_of<type>(sink);
  GORGO_FOR_EACH_DTYPE(GORGO_X)
#undef GORGO_X
}
#else  // inherited
void fill_index(KernelSink& sink) {
  fill_nonzero(sink);
  fill_index_reads(sink);
}
#endif

}  // namespace gorgo::GORGO_ISA_NS
