// The skeleton that all reductions share: tasks, chunks, strips and the merging of partial results.
//
// A reduction is a Policy (what a partial result is and how runs and columns make one) and a Finish (how partial results
// become outputs). For kernel files (compiled per ISA). Invariant: partial results of one output are merged pairwise in the order
// of their chunks, whichever task made them.
// Read next: kernels_cpu.cpp (the policies), plan.h.
#pragma once

#include "kernels/fold.h"
#include "ops/reduce/plan.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

// Calls visit(offset, stride, n, position) for the runs of one chunk, in order; `position` counts elements of the output.
template <class Visit>
GORGO_INLINE void walk_chunk(const ReducePlan& plan, int64_t chunk, const Visit& visit) noexcept {
  const int64_t length = plan.reduced.inner_size();
  const int64_t stride = plan.reduced.inner_stride();
  const int outer = plan.reduced.rank > 0 ? plan.reduced.rank - 1 : 0;
  if (length >= ReducePlan::kRowChunk) {
    const int64_t line = chunk / plan.chunks_per_line;
    const int64_t begin = chunk % plan.chunks_per_line * ReducePlan::kRowChunk;
    const int64_t left = length - begin;
    const Cursor at(plan.reduced, outer, line);
    visit(at.in() + begin * stride, stride, left < ReducePlan::kRowChunk ? left : ReducePlan::kRowChunk,
          line * length + begin);
    return;
  }
  if (outer == 0) {
    visit(int64_t{0}, stride, length, int64_t{0});
    return;
  }
  const int64_t lines = plan.count / length;
  const int64_t first = chunk * plan.lines_per_chunk;
  const int64_t last = first + plan.lines_per_chunk < lines ? first + plan.lines_per_chunk : lines;
  Cursor at(plan.reduced, outer, first);
  for (int64_t line = first; line < last; ++line, at.next()) visit(at.in(), stride, length, line * length);
}

// Folds the rows of a chunk into `width` columns side by side, `step` elements apart: sixteen rows at a time, in lanes of V,
// then on into `into` in lanes of W.
template <class Source>
[[gnu::noinline]] void fold_columns(const Source& source, const typename Source::Storage* base, const ReducePlan& plan,
                                    int64_t chunk, int64_t step, int64_t width,
                                    typename Source::W::Lane* into) noexcept {
  using S = typename Source::Storage;
  using V = typename Source::V;
  using W = typename Source::W;
  using Combine = typename Source::Combine;
  constexpr int kLanes = V::kLanes;
  constexpr int kRows = 16;
  const int64_t begin = chunk * ReducePlan::kColumnChunk;
  const int64_t end = begin + ReducePlan::kColumnChunk < plan.count ? begin + ReducePlan::kColumnChunk : plan.count;
  Cursor at(plan.reduced, plan.reduced.rank, begin);
  for (int64_t row = begin; row < end; row += kRows) {
    const int rows = end - row < kRows ? static_cast<int>(end - row) : kRows;
    const S* line[kRows];
    for (int r = 0; r < rows; ++r, at.next()) line[r] = base + at.in();
    // Columns that are not dense, and the last ones, are gathered first; what a tile holds beyond them comes to nothing.
    S tile[kRows][kLanes];
    const S* gathered[kRows];
    for (int64_t j = 0; j < width; j += kLanes) {
      const S* const* from = line;
      int64_t at_column = j;
      if (step != 1 || j + kLanes > width) {
        const auto left = width - j < kLanes ? static_cast<int>(width - j) : kLanes;
        for (int r = 0; r < rows; ++r) {
          gather(line[r] + j * step, step, left, tile[r]);
          for (int l = left; l < kLanes; ++l) tile[r][l] = S{};
          gathered[r] = tile[r];
        }
        from = gathered;
        at_column = 0;
      }
      const auto load = [&](int r) GORGO_INLINE_LAMBDA { return source.load(from[r] + at_column, j); };
      V v;
      if (rows == kRows) {
        V part[4];
        for (int k = 0; k < 4; ++k) {
          part[k] =
              Combine::of(Combine::of(load(4 * k), load(4 * k + 1)), Combine::of(load(4 * k + 2), load(4 * k + 3)));
        }
        v = Combine::of(Combine::of(part[0], part[1]), Combine::of(part[2], part[3]));
      } else {
        v = load(0);
        for (int r = 1; r < rows; ++r) v = Combine::of(v, load(r));
      }
      W w = Source::widen(v);
      if (row != begin) w = Combine::of(load_raw<W>(into + j), w);
      store_raw(into + j, w);
    }
  }
}

template <class Source>
[[gnu::noinline]] typename Source::W::Lane fold_rows(const Source& source, const typename Source::Storage* base,
                                                     const ReducePlan& plan, int64_t chunk) noexcept {
  if (plan.reduced.rank == 1 && plan.count <= kFewVectors * Source::V::kLanes) {
    typename Source::Storage tile[kFewVectors * Source::V::kLanes];
    if (plan.reduced.stride[0] == 1) return fold_few(source, base, plan.count);
    gather(base, plan.reduced.stride[0], plan.count, tile);
    return fold_few(source, tile, plan.count);
  }
  RunFolder<Source> folder(source);
  walk_chunk(plan, chunk, [&](int64_t offset, int64_t stride, int64_t n, int64_t) GORGO_INLINE_LAMBDA {
    folder.add(base + offset, stride, n);
  });
  return folder.finish();
}

template <class Source>
[[gnu::noinline]] typename Source::W::Lane fold_run(const Source& source, const typename Source::Storage* p,
                                                    int64_t n) noexcept {
  if (n <= kFewVectors * Source::V::kLanes) return fold_few(source, p, n);
  RunFolder<Source> folder(source);
  folder.add(p, 1, n);
  return folder.finish();
}

// How partial results become outputs: stores n of them, `stride` apart from `offset` on, each made of `count` elements.
template <class Partial>
using StoreFn = void (*)(const KernelArgs& args, int64_t offset, int64_t stride, const Partial* p, int64_t n,
                         int64_t count) noexcept;

// Outputs whose partial results a task merges.
constexpr int64_t kMergeGrain = 1024;

// The part that does not depend on the Finish, so that ops with one Policy share it.
// Policy: Storage, Partial, kOrdered; run(p, n), rows(base, plan, chunk), columns(base, plan, chunk, step, width, into);
// of(a, b) merges, empty() is the result over no elements, few(p, n) is run(p, n) for n up to kFew.
template <class Policy>
struct Runner {
  using S = typename Policy::Storage;
  using Partial = typename Policy::Partial;
  using Store = StoreFn<Partial>;

  [[gnu::noinline]] static void run(const KernelArgs& args, const ReducePlan& plan, int64_t task,
                                    Store store) noexcept {
    if (plan.count == 0) {
      const Partial p = Policy::empty();
      for (int64_t o = 0; o < plan.outputs; ++o) store(args, o, 1, &p, 1, 0);
      return;
    }
    const int64_t begin = task * plan.units_per_task;
    const int64_t end = begin + plan.units_per_task < plan.units ? begin + plan.units_per_task : plan.units;
    const S* base = args.in[0].as<const S>() + plan.base;
    auto* partials = static_cast<Partial*>(args.scratch);
    if (plan.by_columns) {
      run_columns(args, plan, base, begin, end, store);
      return;
    }
    if (plan.count <= Policy::kFew && plan.reduced.rank == 1 && plan.reduced.stride[0] == 1 && plan.kept.rank == 1) {
      run_few(args, plan, base, begin, end, store);
      return;
    }
    if (plan.chunks == 1) {
      Cursor at(plan.kept, plan.kept.rank, begin);
      for (int64_t o = begin; o < end; ++o, at.next()) {
        const Partial p = Policy::rows(base + at.in(), plan, 0);
        store(args, at.out(), 1, &p, 1, plan.count);
      }
      return;
    }
    for (int64_t unit = begin; unit < end; ++unit) {
      const Cursor at(plan.kept, plan.kept.rank, unit / plan.chunks);
      partials[unit] = Policy::rows(base + at.in(), plan, unit % plan.chunks);
    }
  }
  [[gnu::noinline]] static void merge(const KernelArgs& args, const ReducePlan& plan, int64_t task,
                                      Store store) noexcept {
    const int64_t begin = task * kMergeGrain;
    const int64_t end = begin + kMergeGrain < plan.outputs ? begin + kMergeGrain : plan.outputs;
    const auto* partials = static_cast<const Partial*>(args.scratch);
    Cursor at(plan.kept, plan.kept.rank, begin);
    for (int64_t o = begin; o < end; ++o, at.next()) {
      PairwiseFolder<Partial, Policy> folder;
      for (int64_t c = 0; c < plan.chunks; ++c) folder.add(partials[o * plan.chunks + c]);
      const Partial p = folder.finish();
      store(args, at.out(), 1, &p, 1, plan.count);
    }
  }

 private:
  // Short dense rows, one after the other.
  static void run_few(const KernelArgs& args, const ReducePlan& plan, const S* base, int64_t begin, int64_t end,
                      Store store) noexcept {
    constexpr int64_t kAtOnce = 64;
    Partial strip[kAtOnce];
    const int64_t stride = plan.kept.stride[0];
    const int64_t out_stride = plan.kept.out[0];
    for (int64_t o = begin; o < end; o += kAtOnce) {
      const int64_t n = end - o < kAtOnce ? end - o : kAtOnce;
      for (int64_t i = 0; i < n; ++i) strip[i] = Policy::few(base + (o + i) * stride, plan.count);
      store(args, o * out_stride, out_stride, strip, n, plan.count);
    }
  }
  static void run_columns(const KernelArgs& args, const ReducePlan& plan, const S* base, int64_t begin, int64_t end,
                          Store store) noexcept {
    const int outer = plan.kept.rank - 1;
    const int64_t width = plan.kept.size[outer];
    const int64_t step = plan.kept.stride[outer];
    const int64_t out_step = plan.kept.out[outer];
    auto* partials = static_cast<Partial*>(args.scratch);
    alignas(64) Partial strip[ReducePlan::kStrip];
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t chunk = unit % plan.chunks;
      const int64_t place = unit / plan.chunks;
      const int64_t first = place % plan.strips * ReducePlan::kStrip;
      const int64_t n = width - first < ReducePlan::kStrip ? width - first : ReducePlan::kStrip;
      const int64_t line = place / plan.strips;
      const Cursor at(plan.kept, outer, line);
      Policy::columns(base + at.in() + first * step, plan, chunk, step, n, strip);
      if (plan.chunks == 1) {
        store(args, at.out() + first * out_step, out_step, strip, n, plan.count);
      } else {
        for (int64_t j = 0; j < n; ++j) partials[(line * width + first + j) * plan.chunks + chunk] = strip[j];
      }
    }
  }
};

// The part that looks at shapes alone, so that ops with equal attributes share it.
template <class Attrs, bool kOrdered, size_t kPartialBytes>
struct Shares {
  GORGO_INLINE static ReducePlan plan_of(const KernelArgs& args) noexcept {
    return {args.in[0], reduced_axes(args.attrs_as<Attrs>(), args), kOrdered};
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    if (is_one_run(args)) return 1;
    return plan_of(args).tasks();
  }
  static int64_t merge_tasks(const KernelArgs& args) noexcept {
    if (is_one_run(args)) return 0;
    const ReducePlan plan = plan_of(args);
    return plan.chunks > 1 ? (plan.outputs + kMergeGrain - 1) / kMergeGrain : 0;
  }
  static size_t scratch_bytes(const KernelArgs& args) noexcept {
    if (is_one_run(args)) return 0;
    const ReducePlan plan = plan_of(args);
    return plan.chunks > 1 ? static_cast<size_t>(plan.outputs * plan.chunks) * kPartialBytes : 0;
  }
};

// One kernel. Finish: Attrs, and run() of the type StoreFn.
template <class Policy, class Finish>
struct Reduction {
  using S = typename Policy::Storage;
  using Partial = typename Policy::Partial;
  using Shared = Shares<typename Finish::Attrs, Policy::kOrdered, sizeof(Partial)>;

  static void run(const KernelArgs& args, int64_t task) noexcept {
    if (is_one_run(args)) {
      const int64_t n = args.in[0].numel;
      const Partial p = n == 0 ? Policy::empty() : Policy::run(args.in[0].as<const S>(), n);
      Finish::run(args, 0, 1, &p, 1, n);
    } else {
      Runner<Policy>::run(args, Shared::plan_of(args), task, Finish::run);
    }
  }
  static void merge(const KernelArgs& args, int64_t task) noexcept {
    Runner<Policy>::merge(args, Shared::plan_of(args), task, Finish::run);
  }
  static Kernel kernel() noexcept {
    return Kernel::of({run, Shared::tasks}, {merge, Shared::merge_tasks}, Shared::scratch_bytes);
  }
};

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
