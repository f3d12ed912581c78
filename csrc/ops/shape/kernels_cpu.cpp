// CPU kernels of the shape family: those that move elements. Views have none.
//
// Compiled once per ISA. Kernels are made for element sizes, not dtypes, except where they add.
// Read next: kernels/move.h, shape.cpp (what each op means).
#include "kernels/move.h"
#include "ops/shape/attrs.h"
#include "ops/shape/rows.h"

namespace gorgo::GORGO_ISA_NS {

void fill_padding(KernelSink& sink);  // kernels_cpu_padding.cpp

#ifdef GORGO_WITH_RARE_KERNELS
namespace {

MovePlan plan_of_attrs(const int64_t* shape, const int64_t* strides, int32_t rank, const KOperand& src) noexcept {
  MovePlan plan;
  for (int32_t i = 0; i < rank; ++i) plan.add(shape[i], strides[i], stride_along(src, rank, i, shape[i]));
  return plan;
}

int64_t count_of(const Dims& shape) noexcept {
  int64_t n = 1;
  const int64_t* d = shape.data();
  for (int i = 0; i < shape.size(); ++i) n *= d[i];
  return n;
}

// ---- view_scatter: the base with the elements of a view replaced ----
template <class U>
struct ViewScatter {
  static void copy_base(const KernelArgs& args, int64_t task) noexcept {
    const KOperand& base = args.in[0];
    if (base.data == args.out[0].data) return;
    const int64_t begin = task * kMoveGrain;
    const int64_t end = begin + kMoveGrain < base.numel ? begin + kMoveGrain : base.numel;
    std::memcpy(args.out[0].as<U>() + begin, base.as<U>() + begin, static_cast<size_t>(end - begin) * sizeof(U));
  }
  static int64_t base_tasks(const KernelArgs& args) noexcept { return move_tasks(args.in[0].numel); }
  static void put(const KernelArgs& args, int64_t task) noexcept {
    const auto& a = args.attrs_as<RegionAttrs>();
    const int64_t count = count_of(a.shape);
    const MovePlan plan = plan_of_attrs(a.shape.data(), a.strides.data(), a.shape.size(), args.in[1]);
    const int64_t begin = task * kMoveGrain;
    move_range(plan, args.out[0].as<U>() + a.offset, args.in[1].as<U>(), begin,
               begin + kMoveGrain < count ? begin + kMoveGrain : count);
  }
  static int64_t put_tasks(const KernelArgs& args) noexcept {
    return move_tasks(count_of(args.attrs_as<RegionAttrs>().shape));
  }
  static Kernel kernel() noexcept { return Kernel::of({copy_base, base_tasks}, {put, put_tasks}); }
};

// ---- view_adjoint: zeros with a view's elements added in ----
template <class U>
void clear_output(const KernelArgs& args, int64_t task) noexcept {
  const int64_t count = args.out[0].numel;
  const int64_t begin = task * kMoveGrain;
  const int64_t end = begin + kMoveGrain < count ? begin + kMoveGrain : count;
  std::memset(static_cast<void*>(args.out[0].as<U>() + begin), 0, static_cast<size_t>(end - begin) * sizeof(U));
}
int64_t output_tasks(const KernelArgs& args) noexcept { return move_tasks(args.out[0].numel); }

template <class T>
struct ViewAdjoint {
  static void put(const KernelArgs& args, int64_t task) noexcept {
    const auto& a = args.attrs_as<ViewAdjointAttrs>();
    const int64_t count = count_of(a.shape);
    const MovePlan plan = plan_of_attrs(a.shape.data(), a.strides.data(), a.shape.size(), args.in[0]);
    T* to = args.out[0].as<T>() + a.offset;
    const T* from = args.in[0].as<T>();
    if (!a.accumulate) {
      const int64_t begin = task * kMoveGrain;
      move_range(plan, to, from, begin, begin + kMoveGrain < count ? begin + kMoveGrain : count);
      return;
    }
    const int64_t to_stride = plan.rank > 0 ? plan.to[plan.rank - 1] : 0;
    const int64_t from_stride = plan.rank > 0 ? plan.from[plan.rank - 1] : 0;
    walk_lines(plan, 0, count, [&](int64_t t, int64_t f, int64_t n) __attribute__((always_inline)) {
      using C = ComputeType<T>;
      for (int64_t i = 0; i < n; ++i) {
        T& sum = to[t + i * to_stride];
        sum = static_cast<T>(static_cast<C>(sum) + static_cast<C>(from[f + i * from_stride]));
      }
    });
  }
  // Elements that coincide are added by one task, in order: the same bits for any thread count.
  static int64_t put_tasks(const KernelArgs& args) noexcept {
    const auto& a = args.attrs_as<ViewAdjointAttrs>();
    const int64_t count = count_of(a.shape);
    return a.accumulate && count > 0 ? 1 : move_tasks(count);
  }
  static Kernel kernel() noexcept { return Kernel::of({clear_output<T>, output_tasks}, {put, put_tasks}); }
};

// ---- concat and stack: each input is moved to its place in the output ----
// Tasks are ranges of what lies before the axis, so that an output is written in order; or, where rows of the output are long, ranges
// of the inputs' elements laid end to end.
struct Joint {
  int64_t axis = 0;
  int64_t count = 0;  // elements
  int64_t outer = 1;  // rows
  int64_t rows_per_task = 0;
  bool flat = false;

  Joint(const KernelArgs& args, bool stacks) noexcept {
    const KOperand& out = args.out[0];
    if (stacks) {
      axis = args.attrs_as<AxisAttrs>().axis;
    } else {
      const OptInt given = args.attrs_as<ConcatAttrs>().axis;
      flat = !given.has;
      axis = given.has ? given.value : 0;
    }
    if (axis < 0) axis += out.rank;
    for (int32_t k = 0; k < args.in_count; ++k) count += args.in[k].numel;
    for (int64_t i = 0; i < axis; ++i) outer *= out.shape[i];
    if (outer > 1 && count > 0) rows_per_task = kMoveGrain / (count / outer);
  }
  [[nodiscard]] int64_t tasks() const noexcept {
    return rows_per_task > 0 ? (outer + rows_per_task - 1) / rows_per_task : move_tasks(count);
  }
};

// `grain` rows from `first` on, or elements.
template <class U, bool kStacks>
[[gnu::noinline]] void join_part(const KernelArgs& args, const Joint& joint, int64_t first, int64_t grain) noexcept {
  const KOperand& out = args.out[0];
  int64_t before = 0;  // elements of the inputs so far
  int64_t at = 0;      // where input k starts along the axis
  for (int32_t k = 0; k < args.in_count; ++k) {
    const KOperand& x = args.in[k];
    const int64_t row = joint.rows_per_task > 0 ? x.numel / joint.outer : 1;
    int64_t begin = joint.rows_per_task > 0 ? first * row : first - before;
    const int64_t end = begin + grain * row < x.numel ? begin + grain * row : x.numel;
    if (begin < 0) begin = 0;
    if (begin < end) {
      MovePlan plan;
      int64_t step = x.numel;
      for (int32_t i = 0; i < x.rank; ++i) {
        step /= x.shape[i];
        plan.add(x.shape[i], joint.flat ? step : out.strides[kStacks && i >= joint.axis ? i + 1 : i], x.strides[i]);
      }
      move_rows(plan, out.as<U>() + at * out.strides[joint.axis], x.as<U>(), begin, end);
    }
    at += kStacks ? 1 : joint.flat ? x.numel : x.shape[joint.axis];
    before += x.numel;
  }
}
template <class U, bool kStacks>
void join(const KernelArgs& args, int64_t task) noexcept {
  const Joint joint(args, kStacks);
  if (joint.rows_per_task == 0) {
    join_part<U, kStacks>(args, joint, task * kMoveGrain, kMoveGrain);
    return;
  }
  // A few pages at a time, which memory likes to be written in order.
  constexpr int64_t kPart = 16384 / static_cast<int64_t>(sizeof(U));
  const int64_t row = joint.count / joint.outer;
  const int64_t rows = kPart > row ? kPart / row : 1;
  const int64_t end = (task + 1) * joint.rows_per_task;
  for (int64_t r = task * joint.rows_per_task; r < end && r < joint.outer; r += rows) {
    join_part<U, kStacks>(args, joint, r, r + rows < end ? rows : end - r);
  }
}
template <bool kStacks>
int64_t joined_tasks(const KernelArgs& args) noexcept {
  return Joint(args, kStacks).tasks();
}

template <class U>
struct Concat {
  static Kernel kernel() noexcept { return Kernel::of({join<U, false>, joined_tasks<false>}); }
};
template <class U>
struct Stack {
  static Kernel kernel() noexcept { return Kernel::of({join<U, true>, joined_tasks<true>}); }
};

// ---- tile and repeat: moves from a source with steps of zero ----
template <class U>
struct Tile {
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const KOperand& x = args.in[0];
    const KOperand& out = args.out[0];
    MovePlan plan;
    for (int32_t i = 0; i < out.rank; ++i) {
      const int32_t own = i - (out.rank - x.rank);
      const int64_t length = own >= 0 ? x.shape[own] : 1;
      plan.add(out.shape[i] / length, out.strides[i] * length, 0);
      plan.add(length, out.strides[i], own >= 0 ? x.strides[own] : 0);
    }
    const int64_t begin = task * kMoveGrain;
    move_rows(plan, out.as<U>(), x.as<U>(), begin, begin + kMoveGrain < out.numel ? begin + kMoveGrain : out.numel);
  }
  static Kernel kernel() noexcept { return Kernel::of({run, output_tasks}); }
};

template <class U>
struct Repeat {
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const auto& a = args.attrs_as<RepeatAttrs>();
    const KOperand& x = args.in[0];
    const KOperand& out = args.out[0];
    int64_t axis = a.axis.has ? a.axis.value : x.rank - 1;  // without an axis the last one repeats, then all is flat
    if (axis < 0) axis += x.rank;
    MovePlan plan;
    int64_t step = out.numel;
    for (int32_t i = 0; i < x.rank; ++i) {
      step /= x.shape[i] * (i == axis ? a.repeats : 1);
      plan.add(x.shape[i], step * (i == axis ? a.repeats : 1), x.strides[i]);
      if (i == axis) plan.add(a.repeats, step, 0);
    }
    if (x.rank == 0) plan.add(a.repeats, 1, 0);
    const int64_t begin = task * kMoveGrain;
    move_rows(plan, out.as<U>(), x.as<U>(), begin, begin + kMoveGrain < out.numel ? begin + kMoveGrain : out.numel);
  }
  static Kernel kernel() noexcept { return Kernel::of({run, output_tasks}); }
};

// ---- rows: ops whose lines depend on where they lie ----

template <class U>
struct Roll {
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const auto& a = args.attrs_as<RollAttrs>();
    const KOperand& x = args.in[0];
    const KOperand& out = args.out[0];
    if (!a.axis.has || x.rank == 0) {
      roll_flat(a, x, out, task);
      return;
    }
    int64_t shift[32] = {};
    for (int k = 0; k < a.axis.value.size(); ++k) {
      const int64_t given = a.axis.value.data()[k];
      const int64_t axis = given < 0 ? given + x.rank : given;
      const int64_t length = x.shape[axis];
      const int64_t by = a.shift.data()[a.shift.size() == 1 ? 0 : k] % length;
      shift[axis] = (shift[axis] + by + length) % length;
    }
    const int32_t last = x.rank - 1;
    const int64_t inner = x.shape[last];
    const auto [begin, end] = rows_of_task(out, task);
    bool within_rows = inner * static_cast<int64_t>(sizeof(U)) <= 64;
    for (int32_t i = 0; i < last; ++i) within_rows = within_rows && shift[i] == 0;
    if (within_rows) {  // short ones are moved part by part, each for all rows
      roll_part(x, out, begin, end, 0, inner - shift[last], shift[last]);
      roll_part(x, out, begin, end, shift[last], 0, inner - shift[last]);
      return;
    }
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row;
      int64_t from = 0;
      for (int32_t i = last - 1; i >= 0; --i) {
        const int64_t c = rest % x.shape[i] - shift[i];
        rest /= x.shape[i];
        from += (c < 0 ? c + x.shape[i] : c) * x.strides[i];
      }
      const int64_t s = shift[last];
      U* to = out.as<U>() + row * inner;
      const U* line = x.as<U>() + from;
      move_line(to, 1, line + (inner - s) * x.strides[last], x.strides[last], s);
      move_line(to + s, 1, line, x.strides[last], inner - s);
    }
  }
  // Columns [from, from + n) of the rows [begin, end) go to columns from `to` on.
  static void roll_part(const KOperand& x, const KOperand& out, int64_t begin, int64_t end, int64_t to, int64_t from,
                        int64_t n) noexcept {
    if (n == 0) return;
    MovePlan plan;
    for (int32_t i = 0; i + 1 < x.rank; ++i) plan.add(x.shape[i], out.strides[i], x.strides[i]);
    plan.add(n, 1, x.strides[x.rank - 1]);
    move_rows(plan, out.as<U>() + to, x.as<U>() + from * x.strides[x.rank - 1], begin * n, end * n);
  }
  static void roll_flat(const RollAttrs& a, const KOperand& x, const KOperand& out, int64_t task) noexcept {
    const MovePlan plan = plan_in_order(x);
    int64_t s = a.shift.data()[0] % x.numel;
    if (s < 0) s += x.numel;
    if (task == 0) {
      move_range(plan, out.as<U>() + s, x.as<U>(), 0, x.numel - s);
    } else {
      move_range(plan, out.as<U>() + s - x.numel, x.as<U>(), x.numel - s, x.numel);
    }
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    if (args.out[0].numel == 0) return 0;
    return !args.attrs_as<RollAttrs>().axis.has || args.in[0].rank == 0 ? 2 : row_tasks(args);
  }
  static Kernel kernel() noexcept { return Kernel::of({run, tasks}); }
};

template <class U, bool kLower>
void triangle(const KernelArgs& args, int64_t task) noexcept {
  const int64_t k = args.attrs_as<TriangleAttrs>().k;
  const KOperand& x = args.in[0];
  const KOperand& out = args.out[0];
  const int64_t height = out.shape[out.rank - 2];
  const int64_t width = out.shape[out.rank - 1];
  const int64_t step = x.strides[x.rank - 1];
  const auto [begin, end] = rows_of_task(out, task);
  for (int64_t row = begin; row < end; ++row) {
    int64_t rest = row;
    int64_t from = 0;
    for (int32_t i = x.rank - 2; i >= 0; --i) {
      from += rest % x.shape[i] * x.strides[i];
      rest /= x.shape[i];
    }
    // The first column right of the diagonal (lower) or on it (upper).
    int64_t cut = row % height + k + (kLower ? 1 : 0);
    cut = cut < 0 ? 0 : cut > width ? width : cut;
    U* to = out.as<U>() + row * width;
    const U* line = x.as<U>() + from;
    if constexpr (kLower) {
      move_line(to, 1, line, step, cut);
      std::memset(static_cast<void*>(to + cut), 0, static_cast<size_t>(width - cut) * sizeof(U));
    } else {
      std::memset(static_cast<void*>(to), 0, static_cast<size_t>(cut) * sizeof(U));
      move_line(to + cut, 1, line + cut * step, step, width - cut);
    }
  }
}
template <class U>
struct Tril {
  static Kernel kernel() noexcept { return Kernel::of({triangle<U, true>, row_tasks}); }
};
template <class U>
struct Triu {
  static Kernel kernel() noexcept { return Kernel::of({triangle<U, false>, row_tasks}); }
};

}  // namespace

void fill_shape(KernelSink& sink) {
  fill_padding(sink);
  add_by_size<ViewScatter>(sink, "view_scatter");
  add_by_size<Concat>(sink, "concat");
  add_by_size<Stack>(sink, "stack");
  add_by_size<Tile>(sink, "tile");
  add_by_size<Repeat>(sink, "repeat");
  add_by_size<Roll>(sink, "roll");
  add_by_size<Tril>(sink, "tril");
  add_by_size<Triu>(sink, "triu");
  sink.add("view_adjoint", DType::Float16, ViewAdjoint<Float16>::kernel());
  sink.add("view_adjoint", DType::BFloat16, ViewAdjoint<BFloat16>::kernel());
  sink.add("view_adjoint", DType::Float32, ViewAdjoint<float>::kernel());
  sink.add("view_adjoint", DType::Float64, ViewAdjoint<double>::kernel());
  sink.add("view_adjoint", DType::Complex64, ViewAdjoint<std::complex<float>>::kernel());
  sink.add("view_adjoint", DType::Complex128, ViewAdjoint<std::complex<double>>::kernel());
}
#else  // inherited
void fill_shape(KernelSink& sink) { fill_padding(sink); }
#endif

}  // namespace gorgo::GORGO_ISA_NS
