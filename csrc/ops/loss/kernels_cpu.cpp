// Softmax cross-entropy and its gradient, fused: the probabilities are never stored by the forward pass.
//
// Compiled once per ISA. Invariant: a target out of range is reported and its line yields nothing; ignored lines yield zero
// and do not count towards the mean. Sums over lines are made in double, merged in the order of the tasks.
// Read next: kernels/lines.h.
#include "kernels/lines.h"
#include "ops/loss/attrs.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

// Where row-major position `at` lies.
GORGO_INLINE int64_t offset_of(const KOperand& x, int64_t at) noexcept {
  if (x.contiguous) return at;
  int64_t offset = 0;
  for (int i = x.rank - 1; i >= 0; --i) {
    offset += at % x.shape[i] * x.strides[i];
    at /= x.shape[i];
  }
  return offset;
}

[[gnu::noinline]] int64_t target_at(const KOperand& x, int64_t at) noexcept {
  const int64_t i = offset_of(x, at);
  switch (x.dtype) {
    case DType::Int64:
      return x.as<int64_t>()[i];
    case DType::Int32:
      return x.as<int32_t>()[i];
    case DType::Int16:
      return x.as<int16_t>()[i];
    case DType::Int8:
      return x.as<int8_t>()[i];
    case DType::UInt8:
      return x.as<uint8_t>()[i];
    case DType::UInt16:
      return x.as<uint16_t>()[i];
    case DType::UInt32:
      return x.as<uint32_t>()[i];
    default:
      break;
  }
  const uint64_t v = x.as<uint64_t>()[i];
  return v > static_cast<uint64_t>(INT64_MAX) ? INT64_MAX : static_cast<int64_t>(v);
}

// The class that a line's target names, or that the line is left out.
constexpr int64_t kIgnored = -1;
GORGO_INLINE int64_t class_of(const KernelArgs& args, int64_t classes, int64_t line) noexcept {
  const int64_t t = target_at(args.in[1], line);
  if (t == args.attrs_as<CrossEntropyAttrs>().ignore_index) return kIgnored;
  if (t >= 0 && t < classes) return t;
  args.fault->report(line, 1, t, classes);
  return kIgnored;
}

template <class S>
GORGO_INLINE LinePlan plan_of(const KernelArgs& args) noexcept {
  return {args, args.in[0].rank == 1 ? 0 : 1, 1, RowWalk<S, 1>::kLanes};
}

struct LossPartial {
  double sum = 0.0;
  double count = 0.0;
  GORGO_INLINE static LossPartial of(LossPartial a, LossPartial b) { return {a.sum + b.sum, a.count + b.count}; }
};

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
      const V top = walk.template fold<FoldLargest>([](const auto& at) GORGO_INLINE_LAMBDA { return at.load(); });
      const V sum =
          walk.template fold<FoldSum>([&](const auto& at) GORGO_INLINE_LAMBDA { return exp(at.load() - top); });
      const V lower = log(sum);
      V below = broadcast<V>(Lane{0});
      const auto smoothing = static_cast<Lane>(attrs.label_smoothing);
      if (smoothing != Lane{0}) {
        below = walk.template fold<FoldSum>([&](const auto& at) GORGO_INLINE_LAMBDA { return at.load() - top; });
      }
      for (int j = 0; j < walk.live; ++j) {
        const int64_t t = class_of(args, classes, line + j);
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
    PairwiseFolder<LossPartial, LossPartial> folder;
    const int64_t n = tasks(args);
    for (int64_t i = 0; i < n; ++i) folder.add(static_cast<const LossPartial*>(args.scratch)[i]);
    const LossPartial total = folder.finish();
    const bool mean = args.attrs_as<CrossEntropyAttrs>().how() == LossReduction::Mean;
    const double value = mean ? total.sum / total.count : total.sum;
    *args.out[0].as<S>() = static_cast<S>(static_cast<ComputeType<S>>(value));
  }
  static Kernel kernel() noexcept { return Kernel::of({run, tasks}, {merge, merge_tasks}, scratch_bytes); }
};

// Logits, targets and g: weight * (softmax - smoothed one-hot), where the weight is a line's share of g.
template <class S>
struct Backward {
  static constexpr int64_t kCountGrain = 65536;

  static int64_t count_tasks(const KernelArgs& args) noexcept {
    if (args.attrs_as<CrossEntropyAttrs>().how() != LossReduction::Mean || args.in[0].numel == 0) return 0;
    return (args.in[1].numel + kCountGrain - 1) / kCountGrain;
  }
  static size_t scratch_bytes(const KernelArgs& args) noexcept {
    return static_cast<size_t>(count_tasks(args)) * sizeof(int64_t);
  }
  static void count(const KernelArgs& args, int64_t task) noexcept {
    const int64_t ignored = args.attrs_as<CrossEntropyAttrs>().ignore_index;
    const int64_t begin = task * kCountGrain;
    const int64_t end = begin + kCountGrain < args.in[1].numel ? begin + kCountGrain : args.in[1].numel;
    int64_t found = 0;
    for (int64_t i = begin; i < end; ++i) found += target_at(args.in[1], i) != ignored ? 1 : 0;
    static_cast<int64_t*>(args.scratch)[task] = found;
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return args.in[0].numel == 0 ? 0 : plan_of<S>(args).tasks(); }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const auto& attrs = args.attrs_as<CrossEntropyAttrs>();
    const LinePlan plan = plan_of<S>(args);
    const int64_t classes = plan.length;
    double divisor = 1.0;
    if (const int64_t counts = count_tasks(args); counts > 0) {
      divisor = 0.0;
      for (int64_t i = 0; i < counts; ++i) divisor += static_cast<double>(static_cast<const int64_t*>(args.scratch)[i]);
    }
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
        wanted[j] = class_of(args, classes, line + j);
        if (wanted[j] == kIgnored) continue;
        const auto arrived = static_cast<Lane>(g.as<const S>()[each_line ? offset_of(g, line + j) : 0]);
        weight.raw[j] = static_cast<Lane>(static_cast<double>(arrived) / divisor);
      }
      if constexpr (!Walk::kColumn) weight = broadcast<V>(weight.raw[0]);
      const V top = walk.template fold<FoldLargest>([](const auto& at) GORGO_INLINE_LAMBDA { return at.load(); });
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
          if (wanted[j] == kIgnored) continue;
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

template <class S>
void fill(KernelSink& sink) {
  sink.add("cross_entropy", kDTypeOf<S>, Forward<S>::kernel());
  sink.add("cross_entropy_backward", kDTypeOf<S>, Backward<S>::kernel());
}

}  // namespace

void fill_loss(KernelSink& sink);
void fill_loss(KernelSink& sink) {
  fill<float>(sink);
  fill<double>(sink);
  fill<BFloat16>(sink);
  fill<Float16>(sink);
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
