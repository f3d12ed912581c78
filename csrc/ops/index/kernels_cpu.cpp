// CPU kernels of the index family: gathers and scatters.
//
// Compiled once per ISA. Indices are checked and turned into offsets in a first phase; when one is out of range, the later
// phases write nothing. Scatters give each destination its contributions in the order of the indices, whatever the thread
// count: they are split over destinations that cannot meet.
// Read next: kernels/move.h, kernels_cpu_nonzero.cpp, index.cpp (what each op means).
#include "kernels/move.h"
#include "ops/index/attrs.h"

namespace gorgo::GORGO_ISA_NS {

void fill_nonzero(KernelSink& sink);  // kernels_cpu_nonzero.cpp

#ifdef GORGO_WITH_MOVES
namespace {

GORGO_INLINE int64_t smaller(int64_t a, int64_t b) noexcept { return a < b ? a : b; }
GORGO_INLINE int64_t larger(int64_t a, int64_t b) noexcept { return a > b ? a : b; }
GORGO_INLINE int64_t tasks_of(int64_t count, int64_t per_task) noexcept { return (count + per_task - 1) / per_task; }

// Indices of the rarer integer types; the branch is the same for every element.
struct AnyIntegers {
  const void* data;
  DType dtype;
  GORGO_INLINE int64_t operator[](int64_t i) const noexcept {
    switch (dtype) {
      case DType::UInt8:
        return static_cast<const uint8_t*>(data)[i];
      case DType::UInt16:
        return static_cast<const uint16_t*>(data)[i];
      case DType::UInt32:
        return static_cast<const uint32_t*>(data)[i];
      case DType::Int8:
        return static_cast<const int8_t*>(data)[i];
      case DType::Int16:
        return static_cast<const int16_t*>(data)[i];
      default:
        return static_cast<const int64_t*>(data)[i];  // uint64 above the largest int64 is out of range either way
    }
  }
};

// Calls f with something that yields the operand's integers by position in memory.
template <class F>
GORGO_INLINE void with_integers(const KOperand& x, const F& f) noexcept {
  switch (x.dtype) {
    case DType::Int64:
      f(x.as<const int64_t>());
      break;
    case DType::Int32:
      f(x.as<const int32_t>());
      break;
    default:
      f(AnyIntegers{x.data, x.dtype});
      break;
  }
}

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

// ---- what all ops with index tensors on axes share ----
// Operand layout: `first` leading operands, then the index tensors.
struct IndexGeometry {
  int count = 0;          // index tensors
  int rank = 0;           // of the indexed tensor
  int place = 0;          // of the index axes in the result
  int index_rank = 0;     // broadcast rank of the index tensors
  int64_t positions = 1;  // their broadcast number of elements
  int64_t index_shape[32];
  int64_t axes[32];
  int rest = 0;  // axes of the indexed tensor that no index stands on
  int rest_axes[32];

  IndexGeometry(const int64_t* given_axes, int axis_count, int tensor_rank, const KOperand* indices) noexcept
      : count(axis_count), rank(tensor_rank) {
    place = index_place(given_axes, count, rank);
    uint64_t indexed = 0;
    for (int k = 0; k < count; ++k) {
      axes[k] = given_axes[k] < 0 ? given_axes[k] + rank : given_axes[k];
      indexed |= uint64_t{1} << axes[k];
      index_rank = indices[k].rank > index_rank ? indices[k].rank : index_rank;
    }
    for (int i = 0; i < index_rank; ++i) {
      index_shape[i] = 1;
      for (int k = 0; k < count; ++k) {
        const int own = i - (index_rank - indices[k].rank);
        if (own >= 0 && indices[k].shape[own] != 1) index_shape[i] = indices[k].shape[own];
      }
      positions *= index_shape[i];
    }
    for (int i = 0; i < rank; ++i) {
      if ((indexed >> i & 1u) == 0) rest_axes[rest++] = i;
    }
  }
};

// What differs between the ops: where their axes and operands are.
struct TakeLayout {
  static constexpr int kFirstIndex = 1;
  static int axes(const KernelArgs& args, int64_t* out) noexcept {
    const auto& a = args.attrs_as<TakeAttrs>();
    out[0] = a.axis.has ? a.axis.value : 0;
    return 1;
  }
};
template <class A, int kFirst>
struct ListLayout {
  static constexpr int kFirstIndex = kFirst;
  static int axes(const KernelArgs& args, int64_t* out) noexcept {
    const Dims& axes = args.attrs_as<A>().axes;
    for (int k = 0; k < axes.size(); ++k) out[k] = axes.data()[k];
    return axes.size();
  }
};
using IndexLayout = ListLayout<IndexAttrs, 1>;
using PutLayout = ListLayout<IndexPutAttrs, 2>;
using AdjointLayout = ListLayout<IndexAdjointAttrs, 1>;

template <class L>
GORGO_INLINE IndexGeometry geometry_of(const KernelArgs& args, int rank) noexcept {
  int64_t axes[32];
  const int count = L::axes(args, axes);
  return {axes, count, rank, args.in + L::kFirstIndex};
}

// First phase: the offset of each index position in `target`, by its strides, into the scratch memory.
template <class L, bool kIntoOutput>
struct Offsets {
  static const KOperand& target(const KernelArgs& args) noexcept { return kIntoOutput ? args.out[0] : args.in[0]; }

  static void run(const KernelArgs& args, int64_t task) noexcept {
    const KOperand& t = target(args);
    const IndexGeometry g = geometry_of<L>(args, t.rank);
    auto* offsets = static_cast<int64_t*>(args.scratch);
    const int64_t begin = task * kMoveGrain;
    const int64_t end = smaller(begin + kMoveGrain, g.positions);
    for (int64_t p = begin; p < end; ++p) offsets[p] = 0;
    for (int k = 0; k < g.count; ++k) {
      const KOperand& index = args.in[L::kFirstIndex + k];
      const int64_t length = t.shape[g.axes[k]];
      const int64_t stride = t.strides[g.axes[k]];
      MovePlan plan;
      int64_t step = g.positions;
      for (int i = 0; i < g.index_rank; ++i) {
        step /= g.index_shape[i];
        plan.add(g.index_shape[i], step, stride_along(index, g.index_rank, i, g.index_shape[i]));
      }
      const int64_t to_stride = plan.rank > 0 ? plan.to[plan.rank - 1] : 0;
      const int64_t from_stride = plan.rank > 0 ? plan.from[plan.rank - 1] : 0;
      with_integers(index, [&](const auto from) __attribute__((always_inline)) {
        walk_lines(plan, begin, end, [&](int64_t to, int64_t at, int64_t n) __attribute__((always_inline)) {
          for (int64_t i = 0; i < n; ++i) {
            const auto given = static_cast<int64_t>(from[at + i * from_stride]);
            const int64_t value = given < 0 ? given + length : given;
            if (value < 0 || value >= length) [[unlikely]] {
              args.fault->report((to + i * to_stride) * g.count + k, 1 + k, given, length);
              continue;
            }
            offsets[to + i * to_stride] += value * stride;
          }
        });
      });
    }
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    return move_tasks(geometry_of<L>(args, target(args).rank).positions);
  }
  static size_t scratch(const KernelArgs& args) noexcept {
    return static_cast<size_t>(geometry_of<L>(args, target(args).rank).positions) * sizeof(int64_t);
  }
};

// ---- index and take: out[pre..., position, post...] = x[pre..., offset of position, post...] ----
template <class U, class L>
struct Gather {
  static int64_t inner_of(const IndexGeometry& g, const KOperand& x) noexcept {
    int64_t inner = 1;
    for (int i = g.place; i < g.rest; ++i) inner *= x.shape[g.rest_axes[i]];
    return inner;
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    if (args.fault->code() != 0) return;
    const KOperand& x = args.in[0];
    const KOperand& out = args.out[0];
    const IndexGeometry g = geometry_of<L>(args, x.rank);
    const auto* offsets = static_cast<const int64_t*>(args.scratch);
    const int64_t inner = inner_of(g, x);
    const int64_t per_task = larger(kMoveGrain / inner, 1);
    MovePlan post;
    int64_t step = inner;
    for (int i = g.place; i < g.rest; ++i) {
      step /= x.shape[g.rest_axes[i]];
      post.add(x.shape[g.rest_axes[i]], step, x.strides[g.rest_axes[i]]);
    }
    int64_t pair = task * per_task;
    const int64_t end = smaller(pair + per_task, out.numel / inner);
    while (pair < end) {
      int64_t rest = pair / g.positions;
      int64_t p = pair % g.positions;
      int64_t from = 0;
      for (int i = g.place - 1; i >= 0; --i) {
        const int axis = g.rest_axes[i];
        from += rest % x.shape[axis] * x.strides[axis];
        rest /= x.shape[axis];
      }
      const U* source = x.as<U>() + from;
      U* to = out.as<U>() + pair * inner;
      const int64_t last = smaller(g.positions, p + (end - pair));
      pair += last - p;
      if (inner == 1) {
        for (; p < last; ++p) *to++ = source[offsets[p]];
      } else if (post.rank == 1 && post.from[0] == 1) {
        for (; p < last; ++p, to += inner) move_line(to, 1, source + offsets[p], 1, inner);
      } else {
        for (; p < last; ++p, to += inner) move_range(post, to, source + offsets[p], 0, inner);
      }
    }
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    const KOperand& x = args.in[0];
    if (args.out[0].numel == 0) return 0;
    const int64_t inner = inner_of(geometry_of<L>(args, x.rank), x);
    return tasks_of(args.out[0].numel / inner, larger(kMoveGrain / inner, 1));
  }
  static Kernel kernel() noexcept {
    using First = Offsets<L, false>;
    return Kernel::of({First::run, First::tasks}, {run, tasks}, First::scratch);
  }
};
template <class U>
using Take = Gather<U, TakeLayout>;
template <class U>
using Index = Gather<U, IndexLayout>;

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
      if (accumulate) {
        walk_lines(post, begin, end, [&](int64_t t, int64_t f, int64_t n) __attribute__((always_inline)) {
          for (int64_t i = 0; i < n; ++i) add_to(target[t + i * to_stride], source[f + i * from_stride]);
        });
      } else {
        using U = UnitLike<T>;
        move_range(post, reinterpret_cast<U*>(target), reinterpret_cast<const U*>(source), begin, end);
      }
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
    using First = Offsets<L, true>;
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

// ---- take_along_axis ----
template <class U>
struct TakeAlong {
  static int64_t inner_of(const KOperand& out) noexcept { return out.rank > 0 ? out.shape[out.rank - 1] : 1; }
  static int64_t rows_per_task(const KOperand& out) noexcept {
    return larger(kMoveGrain / larger(inner_of(out), 1), 1);
  }

  static void run(const KernelArgs& args, int64_t task) noexcept {
    const KOperand& x = args.in[0];
    const KOperand& index = args.in[1];
    const KOperand& out = args.out[0];
    int64_t axis = args.attrs_as<AlongAxisAttrs>().axis;
    if (axis < 0) axis += out.rank;
    const int64_t length = x.shape[axis];
    const int64_t step = x.strides[axis];
    const int32_t last = out.rank - 1;
    const int64_t inner = inner_of(out);
    const int64_t x_inner = last == axis ? 0 : stride_along(x, out.rank, last, inner);
    const int64_t index_inner = stride_along(index, out.rank, last, inner);
    const int64_t begin = task * rows_per_task(out);
    const int64_t end = smaller(begin + rows_per_task(out), out.numel / inner);
    with_integers(index, [&](const auto indices) __attribute__((always_inline)) {
      for (int64_t row = begin; row < end; ++row) {
        int64_t rest = row;
        int64_t x_at = 0;
        int64_t index_at = 0;
        for (int32_t i = last - 1; i >= 0; --i) {
          const int64_t c = rest % out.shape[i];
          rest /= out.shape[i];
          if (i != axis) x_at += c * stride_along(x, out.rank, i, out.shape[i]);
          index_at += c * stride_along(index, out.rank, i, out.shape[i]);
        }
        U* to = out.as<U>() + row * inner;
        const U* from = x.as<U>() + x_at;
        for (int64_t i = 0; i < inner; ++i) {
          const auto given = static_cast<int64_t>(indices[index_at + i * index_inner]);
          const int64_t value = given < 0 ? given + length : given;
          if (value < 0 || value >= length) [[unlikely]] {
            args.fault->report(row * inner + i, 1, given, length);
            continue;
          }
          to[i] = from[i * x_inner + value * step];
        }
      }
    });
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    const KOperand& out = args.out[0];
    return out.numel == 0 ? 0 : tasks_of(out.numel / inner_of(out), rows_per_task(out));
  }
  static Kernel kernel() noexcept { return Kernel::of({run, tasks}); }
};

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
    MovePlan plan;
    int64_t step = index.numel;
    for (int32_t i = 0; i < index.rank; ++i) {
      step /= index.shape[i];
      plan.add(index.shape[i], step, index.strides[i]);
    }
    const int64_t to_stride = plan.rank > 0 ? plan.to[plan.rank - 1] : 0;
    const int64_t from_stride = plan.rank > 0 ? plan.from[plan.rank - 1] : 0;
    const int64_t begin = task * kMoveGrain;
    with_integers(index, [&](const auto from) __attribute__((always_inline)) {
      walk_lines(plan, begin, smaller(begin + kMoveGrain, index.numel),
                 [&](int64_t to, int64_t at, int64_t n) __attribute__((always_inline)) {
                   for (int64_t i = 0; i < n; ++i) {
                     const auto given = static_cast<int64_t>(from[at + i * from_stride]);
                     if (given < -length || given >= length) [[unlikely]] {
                       args.fault->report(to + i * to_stride, 1, given, length);
                     }
                   }
                 });
    });
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
    with_integers(index, [&](const auto indices) __attribute__((always_inline)) {
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
        if constexpr (kCombine == Combine::Add) {
          if (index_step == 1 && value_step == 0) {  // so a number is counted
            const T value = values.as<T>()[value_at];
            T* const targets = out.as<T>() + to;
            for (int64_t j = index_at; j < index_at + count; ++j) {
              const auto given = static_cast<int64_t>(indices[j]);
              add_to(targets[(given + (given >> 63 & length)) * step], value);
            }
            continue;
          }
        }
        for (int64_t j = 0; j < count; ++j) {
          const auto given = static_cast<int64_t>(indices[index_at + j * index_step]);
          T& target = out.as<T>()[to + (given < 0 ? given + length : given) * step];
          const T value = values.as<T>()[value_at + j * value_step];
          combine_into<kCombine>(target, value);
        }
      }
    });
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

template <class T>
void fill_index_of(KernelSink& sink) {
  constexpr DType d = kDTypeOf<T>;
  sink.add("index_put", d, IndexPut<T>::kernel());
  sink.add("scatter_add", d, ScatterAdd<T>::kernel());
  if constexpr (d != DType::Bool) sink.add("scatter_combine", d, ScatterReduced<T>::kernel());
  if constexpr (is_inexact(d)) {
    sink.add("index_adjoint", d, IndexAdjoint<T>::kernel());
    sink.add("take_along_axis_adjoint", d, TakeAlongAdjoint<T>::kernel());
  }
}

}  // namespace

void fill_index(KernelSink& sink) {
  fill_nonzero(sink);
  add_by_size<Take>(sink, "take");
  add_by_size<Index>(sink, "index");
  add_by_size<TakeAlong>(sink, "take_along_axis");
  add_by_size<ScatterSet>(sink, "scatter");
#define GORGO_X(name, type, text) fill_index_of<type>(sink);
  GORGO_FOR_EACH_DTYPE(GORGO_X)
#undef GORGO_X
}
#else  // inherited
void fill_index(KernelSink& sink) { fill_nonzero(sink); }
#endif

}  // namespace gorgo::GORGO_ISA_NS
