// Losses over classes and their gradients: softmax cross-entropy, fused (the probabilities are never stored by the forward
// pass), and the negative log-likelihood.
//
// Compiled once per ISA. Invariant: a target out of range is reported and its line yields nothing; ignored lines yield zero
// and do not count towards the mean. Sums over lines are made in double, merged in the order of the tasks.
// Read next: kernels/lines.h.
#include "kernels/coverage.h"
#include "kernels/lines.h"
#include "ops/loss/attrs.h"
#include "ops/loss/targets.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

template <class S>
GORGO_INLINE LinePlan plan_of(const KernelArgs& args) noexcept {
  return {args, args.in[0].rank == 1 ? 0 : 1, 1, RowWalk<S, 1>::kLanes};
}

// Logits and targets.
template <class S>
struct Forward {
  static bool reduces(const KernelArgs& args) noexcept {
    return args.attrs_as<CrossEntropyAttrs>().how() != LossReduction::None;
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return plan_of<S>(args).tasks(); }
  static int64_t merge_tasks(const KernelArgs& args) noexcept { return reduces(args) ? 1 : 0; }
  static size_t scratch_bytes(const KernelArgs& args) noexcept {
    return reduces(args) ? static_cast<size_t>(tasks(args)) * sizeof(LossPartial) : 0;
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const auto& attrs = args.attrs_as<CrossEntropyAttrs>();
    const LinePlan plan = plan_of<S>(args);
    const int64_t classes = plan.length;
    const bool reduced = reduces(args);
    LossPartial total;
    walk_lines_of<S, 1>(args, plan, task, [&](const auto& walk, int64_t line) GORGO_INLINE_LAMBDA {
      using V = typename std::decay_t<decltype(walk)>::V;
      using Lane = typename V::Lane;
      const V top = walk.template fold<FoldTop>([](const auto& at) GORGO_INLINE_LAMBDA { return at.load(); });
      const V sum =
          walk.template fold<FoldSum>([&](const auto& at) GORGO_INLINE_LAMBDA { return exp(at.load() - top); });
      const V lower = log(sum);
      V below = broadcast<V>(Lane{0});
      const auto smoothing = static_cast<Lane>(attrs.label_smoothing);
      if (smoothing != Lane{0}) {
        below = walk.template fold<FoldSum>([&](const auto& at) GORGO_INLINE_LAMBDA { return at.load() - top; });
      }
      for (int j = 0; j < walk.live; ++j) {
        const int64_t t = class_of(args, attrs.ignore_index, classes, line + j);
        Lane loss{0};
        if (t != kIgnored) {
          const auto x = static_cast<Lane>(walk.o.in[0][t * walk.o.in_stride[0] + j]);
          loss = lower.raw[j] - (x - top.raw[j]);
          if (smoothing != Lane{0}) {
            const Lane even = lower.raw[j] - below.raw[j] / static_cast<Lane>(classes);
            loss = (Lane{1} - smoothing) * loss + smoothing * even;
          }
        }
        if (reduced) {
          total.sum += static_cast<double>(loss);
          total.count += t != kIgnored ? 1.0 : 0.0;
        } else {
          args.out[0].as<S>()[line + j] = static_cast<S>(loss);
        }
      }
    });
    if (reduced) static_cast<LossPartial*>(args.scratch)[task] = total;
  }
  static void merge(const KernelArgs& args, int64_t) noexcept {
    merge_partials<S>(args, tasks(args), args.attrs_as<CrossEntropyAttrs>().how());
  }
  static Kernel kernel() noexcept { return Kernel::of({run, tasks}, {merge, merge_tasks}, scratch_bytes); }
};

// Logits, targets and g: weight * (softmax - smoothed one-hot), where the weight is a line's share of g.
template <class S>
struct Backward {
  static int64_t count_tasks(const KernelArgs& args) noexcept {
    if (args.attrs_as<CrossEntropyAttrs>().how() != LossReduction::Mean || args.in[0].numel == 0) return 0;
    return TargetCount::tasks(args);
  }
  static size_t scratch_bytes(const KernelArgs& args) noexcept {
    return static_cast<size_t>(count_tasks(args)) * sizeof(int64_t);
  }
  static void count(const KernelArgs& args, int64_t task) noexcept {
    TargetCount::run(args, args.attrs_as<CrossEntropyAttrs>().ignore_index, task);
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return args.in[0].numel == 0 ? 0 : plan_of<S>(args).tasks(); }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const auto& attrs = args.attrs_as<CrossEntropyAttrs>();
    const LinePlan plan = plan_of<S>(args);
    const int64_t classes = plan.length;
    const double divisor = count_tasks(args) > 0 ? TargetCount::total(args) : 1.0;
    const KOperand& g = args.in[2];
    const bool each_line = attrs.how() == LossReduction::None;
    walk_lines_of<S, 1>(args, plan, task, [&](const auto& walk, int64_t line) GORGO_INLINE_LAMBDA {
      using Walk = std::decay_t<decltype(walk)>;
      using V = typename Walk::V;
      using Lane = typename V::Lane;
      const auto smoothing = static_cast<Lane>(attrs.label_smoothing);
      const Lane even = smoothing / static_cast<Lane>(classes);
      V weight = broadcast<V>(Lane{0});
      int64_t wanted[Walk::kLanes];
      for (int j = 0; j < walk.live; ++j) {
        wanted[j] = class_of(args, attrs.ignore_index, classes, line + j);
        if (wanted[j] == kIgnored) continue;
        const auto arrived = static_cast<Lane>(g.as<const S>()[each_line ? offset_of(g, line + j) : 0]);
        weight.raw[j] = static_cast<Lane>(static_cast<double>(arrived) / divisor);
      }
      if constexpr (!Walk::kColumn) weight = broadcast<V>(weight.raw[0]);
      const V top = walk.template fold<FoldTop>([](const auto& at) GORGO_INLINE_LAMBDA { return at.load(); });
      const V zero = broadcast<V>(Lane{0});
      const V off = weight * broadcast<V>(even);
      const Lane on = Lane{1} - smoothing;
      // A line without weight gets zeros even where its logits are not finite.
      if constexpr (kIsHalf<S>) {
        const V sum =
            walk.template fold<FoldSum>([&](const auto& at) GORGO_INLINE_LAMBDA { return exp(at.load() - top); });
        const V scale = weight / sum;
        walk.each([&](const auto& at) GORGO_INLINE_LAMBDA {
          at.store(select(weight == zero, zero, exp(at.load() - top) * scale - off));
        });
        for (int j = 0; j < walk.live; ++j) {
          if (wanted[j] == kIgnored || weight.raw[j] == Lane{0}) continue;
          const auto x = static_cast<Lane>(walk.o.in[0][wanted[j] * walk.o.in_stride[0] + j]);
          const Lane p = exp(broadcast<V>(x - top.raw[j])).raw[0] / sum.raw[j];
          walk.o.out[wanted[j] * walk.o.out_stride + j] = static_cast<S>(weight.raw[j] * (p - on - even));
        }
      } else {
        const V sum = walk.template fold<FoldSum>([&](const auto& at) GORGO_INLINE_LAMBDA {
          const V e = exp(at.load() - top);
          at.store(e);
          return e;
        });
        const V scale = weight / sum;
        walk.each([&](const auto& at)
                      GORGO_INLINE_LAMBDA { at.store(select(weight == zero, zero, at.stored() * scale - off)); });
        for (int j = 0; j < walk.live; ++j) {
          if (wanted[j] != kIgnored) walk.o.out[wanted[j] * walk.o.out_stride + j] -= weight.raw[j] * on;
        }
      }
    });
  }
  static Kernel kernel() noexcept { return Kernel::of({count, count_tasks}, {run, tasks}, scratch_bytes); }
};

// Log-probabilities and targets: minus the one at each line's target.
template <class S>
struct NllForward {
  static constexpr int64_t kGrain = 8192;  // lines

  static bool reduces(const KernelArgs& args) noexcept {
    return args.attrs_as<NllAttrs>().how() != LossReduction::None;
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return (args.in[1].numel + kGrain - 1) / kGrain; }
  static int64_t merge_tasks(const KernelArgs& args) noexcept { return reduces(args) ? 1 : 0; }
  static size_t scratch_bytes(const KernelArgs& args) noexcept {
    return reduces(args) ? static_cast<size_t>(tasks(args)) * sizeof(LossPartial) : 0;
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const auto& attrs = args.attrs_as<NllAttrs>();
    const LinePlan plan = plan_of<S>(args);
    const S* x = args.in[0].as<const S>();
    const int64_t step = plan.axis_stride(args.in[0]);
    const bool reduced = reduces(args);
    const int64_t lines = args.in[1].numel;
    const int64_t end = (task + 1) * kGrain < lines ? (task + 1) * kGrain : lines;
    LossPartial total;
    for (int64_t line = task * kGrain; line < end; ++line) {
      const int64_t t = class_of(args, attrs.ignore_index, plan.length, line);
      const bool counts = t != kIgnored;
      const auto loss =
          counts ? -static_cast<ComputeType<S>>(x[plan.begin_of(args.in[0], line) + t * step]) : ComputeType<S>{0};
      if (reduced) {
        total.sum += static_cast<double>(loss);
        total.count += counts ? 1.0 : 0.0;
      } else {
        args.out[0].as<S>()[line] = static_cast<S>(loss);
      }
    }
    if (reduced) static_cast<LossPartial*>(args.scratch)[task] = total;
  }
  static void merge(const KernelArgs& args, int64_t) noexcept {
    merge_partials<S>(args, tasks(args), args.attrs_as<NllAttrs>().how());
  }
  static Kernel kernel() noexcept { return Kernel::of({run, tasks}, {merge, merge_tasks}, scratch_bytes); }
};

// Log-probabilities (for their shape), targets and g: minus a line's share of g at its target, zero elsewhere.
template <class S>
struct NllBackward {
  static constexpr int64_t kGrain = 8192;  // lines
  static constexpr int64_t kZeroGrain = 65536;

  static int64_t count_tasks(const KernelArgs& args) noexcept {
    return args.attrs_as<NllAttrs>().how() == LossReduction::Mean ? TargetCount::tasks(args) : 0;
  }
  static size_t scratch_bytes(const KernelArgs& args) noexcept {
    return static_cast<size_t>(count_tasks(args)) * sizeof(int64_t);
  }
  static void count(const KernelArgs& args, int64_t task) noexcept {
    TargetCount::run(args, args.attrs_as<NllAttrs>().ignore_index, task);
  }
  static int64_t zero_tasks(const KernelArgs& args) noexcept {
    return (args.out[0].numel + kZeroGrain - 1) / kZeroGrain;
  }
  static void zero(const KernelArgs& args, int64_t task) noexcept {
    const int64_t begin = task * kZeroGrain;
    const int64_t left = args.out[0].numel - begin;
    __builtin_memset(static_cast<void*>(args.out[0].as<S>() + begin), 0,
                     static_cast<size_t>(left < kZeroGrain ? left : kZeroGrain) * sizeof(S));
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return (args.in[1].numel + kGrain - 1) / kGrain; }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const auto& attrs = args.attrs_as<NllAttrs>();
    const LinePlan plan = plan_of<S>(args);
    const bool each_line = attrs.how() == LossReduction::None;
    const double divisor = count_tasks(args) > 0 ? TargetCount::total(args) : 1.0;
    const KOperand& g = args.in[2];
    S* out = args.out[0].as<S>();
    const int64_t lines = args.in[1].numel;
    const int64_t end = (task + 1) * kGrain < lines ? (task + 1) * kGrain : lines;
    for (int64_t line = task * kGrain; line < end; ++line) {
      const int64_t t = class_of(args, attrs.ignore_index, plan.length, line);
      if (t == kIgnored) continue;
      const auto arrived = static_cast<ComputeType<S>>(g.as<const S>()[each_line ? offset_of(g, line) : 0]);
      const int64_t at = line / plan.inner * plan.inner * plan.length + line % plan.inner + t * plan.inner;
      out[at] = static_cast<S>(static_cast<ComputeType<S>>(-static_cast<double>(arrived) / divisor));
    }
  }
  static Kernel kernel() noexcept {
    return {{{count, count_tasks}, {zero, zero_tasks}, {run, tasks}}, 3, scratch_bytes};
  }
};

template <class S>
void add_cross_entropy(KernelSink& sink) {
  sink.add("cross_entropy", kDTypeOf<S>, Forward<S>::kernel());
  sink.add("cross_entropy_backward", kDTypeOf<S>, Backward<S>::kernel());
}
#ifdef GORGO_WITH_RARE_KERNELS
template <class S>
void fill_loss_of(KernelSink& sink) {
  sink.add("nll_loss", kDTypeOf<S>, NllForward<S>::kernel());
  sink.add("nll_loss_backward", kDTypeOf<S>, NllBackward<S>::kernel());
  add_cross_entropy<S>(sink);
}
#endif

}  // namespace

void fill_pointwise_losses(KernelSink& sink);  // kernels_cpu_pointwise.cpp
void fill_ctc(KernelSink& sink);               // kernels_cpu_ctc.cpp
void fill_loss(KernelSink& sink);
void fill_loss(KernelSink& sink) {
  fill_pointwise_losses(sink);
  fill_ctc(sink);
#ifdef GORGO_WITH_RARE_KERNELS
  fill_loss_of<float>(sink);
  fill_loss_of<double>(sink);
  fill_loss_of<BFloat16>(sink);
  fill_loss_of<Float16>(sink);
#else  // the rest is inherited
  add_cross_entropy<float>(sink);
#endif
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
