// CPU kernels of the index family that read: take, index, take_along_axis.
//
// Indices become offsets a tile at a time, so that nothing is kept but the result. Nothing is written for a tile with an index that is
// out of range.
// Compiled once per ISA. Read next: places.h, kernels/move.h, index.cpp (what each op means).
#include "ops/index/places.h"

namespace gorgo::GORGO_ISA_NS {

void fill_index_reads(KernelSink& sink);
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

// Lines of `bytes` each, from where the offsets say, in units of `size` bytes.
template <int kBytes>
GORGO_INLINE void copy_pieces(unsigned char* to, const unsigned char* from, const int64_t* offsets, int64_t n,
                              int64_t size) noexcept {
  for (int64_t i = 0; i < n; ++i) std::memcpy(to + i * kBytes, from + offsets[i] * size, kBytes);
}
[[gnu::noinline]] void copy_lines(void* target, const void* source, const int64_t* offsets, int64_t n, int64_t bytes,
                                  int64_t size) noexcept {
  auto* to = static_cast<unsigned char*>(target);
  const auto* from = static_cast<const unsigned char*>(source);
  if (bytes == 8) return copy_pieces<8>(to, from, offsets, n, size);
  if (bytes == 16) return copy_pieces<16>(to, from, offsets, n, size);
  if (bytes == 32) return copy_pieces<32>(to, from, offsets, n, size);
  if (bytes <= 64) {
    for (int64_t i = 0; i < n; ++i) copy_few(to + i * bytes, from + offsets[i] * size, bytes);
    return;
  }
  for (int64_t i = 0; i < n; ++i) std::memcpy(to + i * bytes, from + offsets[i] * size, static_cast<size_t>(bytes));
}

bool is_rising(const int64_t* offsets, int64_t n) noexcept {
  int64_t falls = 0;
  for (int64_t i = 1; i < n; ++i) falls |= offsets[i] - offsets[i - 1] - 1;
  return falls >= 0;
}

// ---- index and take: out[pre..., position, post...] = x[pre..., offset of position, post...] ----
template <class U>
struct Gather {
  static int64_t inner_of(const IndexGeometry& g, const KOperand& x) noexcept {
    int64_t inner = 1;
    for (int i = g.place; i < g.rest; ++i) inner *= x.shape[g.rest_axes[i]];
    return inner;
  }
  // Single elements. What masks choose are runs, more often than not.
  GORGO_INLINE static void gather_elements(U* to, const U* source, const int64_t* offsets, int64_t n) noexcept {
    constexpr int64_t kRun = 16;
    int64_t i = 0;
    if (n >= kRun && is_rising(offsets, n)) {
      for (; i + kRun <= n; i += kRun) {
        const int64_t first = offsets[i];
        if (offsets[i + kRun - 1] - first == kRun - 1) {
          std::memcpy(static_cast<void*>(to + i), source + first, kRun * sizeof(U));
        } else {
          for (int64_t j = i; j < i + kRun; ++j) to[j] = source[offsets[j]];
        }
      }
    }
    for (; i < n; ++i) to[i] = source[offsets[i]];
  }
  [[gnu::noinline]] static void run(const KernelArgs& args, int64_t task, const IndexGeometry& g) noexcept {
    const KOperand& x = args.in[0];
    const KOperand& out = args.out[0];
    const int64_t inner = inner_of(g, x);
    const int64_t per_task = larger(kMoveGrain / inner, 1);
    MovePlan post;
    int64_t step = inner;
    for (int i = g.place; i < g.rest; ++i) {
      step /= x.shape[g.rest_axes[i]];
      post.add(x.shape[g.rest_axes[i]], step, x.strides[g.rest_axes[i]]);
    }
    int64_t offsets[kIndexTile];
    int64_t first = 0;  // offsets are those of the positions [first, first + ready)
    int64_t ready = 0;
    int64_t pair = task * per_task;
    const int64_t end = smaller(pair + per_task, out.numel / inner);
    while (pair < end) {
      int64_t rest = pair / g.positions;
      const int64_t p = pair % g.positions;
      const int64_t n = smaller(smaller(kIndexTile, g.positions - p), end - pair);
      if (p != first || n > ready) {
        if (!offsets_of(g, args.in + 1, x, p, n, offsets, args.fault)) return;
        first = p;
        ready = n;
      }
      int64_t from = 0;
      for (int i = g.place - 1; i >= 0; --i) {
        const int axis = g.rest_axes[i];
        from += rest % x.shape[axis] * x.strides[axis];
        rest /= x.shape[axis];
      }
      const U* source = x.as<U>() + from;
      U* to = out.as<U>() + pair * inner;
      pair += n;
      if (inner == 1) {
        gather_elements(to, source, offsets, n);
      } else if (post.rank == 1 && post.from[0] == 1) {
        copy_lines(to, source, offsets, n, inner * static_cast<int64_t>(sizeof(U)), sizeof(U));
      } else {
        for (int64_t i = 0; i < n; ++i) move_range(post, to + i * inner, source + offsets[i], 0, inner);
      }
    }
  }
  template <class L>
  static void run_laid(const KernelArgs& args, int64_t task) noexcept {
    run(args, task, geometry_of<L>(args, args.in[0].rank));
  }
  template <class L>
  static int64_t tasks(const KernelArgs& args) noexcept {
    const KOperand& x = args.in[0];
    if (args.out[0].numel == 0) return 0;
    const int64_t inner = inner_of(geometry_of<L>(args, x.rank), x);
    return tasks_of(args.out[0].numel / inner, larger(kMoveGrain / inner, 1));
  }
  template <class L>
  static Kernel kernel() noexcept {
    return Kernel::of({run_laid<L>, tasks<L>});
  }
};

// What differs between the ops: where their axes are.
struct TakeLayout {
  static constexpr int kFirstIndex = 1;
  static int axes(const KernelArgs& args, int64_t* out) noexcept {
    const auto& a = args.attrs_as<TakeAttrs>();
    out[0] = a.axis.has ? a.axis.value : 0;
    return 1;
  }
};
template <class U>
struct Take {
  static Kernel kernel() noexcept { return Gather<U>::template kernel<TakeLayout>(); }
};
template <class U>
struct Index {
  static Kernel kernel() noexcept { return Gather<U>::template kernel<ListLayout<IndexAttrs, 1>>(); }
};

// ---- take_along_axis: positions are walked in order, with x standing still along the axis ----
template <class U>
struct TakeAlong {
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const KOperand& x = args.in[0];
    const KOperand& index = args.in[1];
    const KOperand& out = args.out[0];
    int64_t axis = args.attrs_as<AlongAxisAttrs>().axis;
    if (axis < 0) axis += out.rank;
    const MovePlan indices = plan_in_order(out.shape, out.rank, index);
    MovePlan others;
    int64_t weight = out.numel;
    for (int32_t i = 0; i < out.rank; ++i) {
      weight /= out.shape[i];
      others.add(out.shape[i], weight, i == axis ? 0 : stride_along(x, out.rank, i, out.shape[i]));
    }
    const int64_t step = others.rank > 0 ? others.from[others.rank - 1] : 0;
    int64_t offsets[kIndexTile];
    const int64_t end = smaller((task + 1) * kMoveGrain, out.numel);
    for (int64_t begin = task * kMoveGrain; begin < end; begin += kIndexTile) {
      const int64_t n = smaller(end - begin, kIndexTile);
      if (!places_of(index, indices, begin, n, x.shape[axis], x.strides[axis], false, offsets, args.fault)) return;
      walk_lines(others, begin, begin + n, [&](int64_t to, int64_t from, int64_t line) __attribute__((always_inline)) {
        const int64_t* at = offsets + (to - begin);
        const U* source = x.as<U>() + from;
        for (int64_t i = 0; i < line; ++i) out.as<U>()[to + i] = source[at[i] + i * step];
      });
    }
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return move_tasks(args.out[0].numel); }
  static Kernel kernel() noexcept { return Kernel::of({run, tasks}); }
};

}  // namespace

void fill_index_reads(KernelSink& sink) {
  add_by_size<Take>(sink, "take");
  add_by_size<Index>(sink, "index");
  add_by_size<TakeAlong>(sink, "take_along_axis");
}
#else  // inherited
void fill_index_reads(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS
