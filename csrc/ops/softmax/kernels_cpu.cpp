// softmax, log_softmax, logsumexp and the gradients of the first two.
//
// Compiled once per ISA. Invariant: exponents are taken of differences from the line's largest element, so nothing
// overflows; a sum of float exponentials is made in float within short chains and in double beyond. A NaN need not be the
// largest: its own exponential makes the sum NaN.
// Read next: kernels/lines.h.
#include "kernels/lines.h"
#include "ops/softmax/attrs.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

struct Softmax {
  static constexpr int kInputs = 1;
  template <class Walk>
  GORGO_INLINE static void run(const Walk& walk) {
    using V = typename Walk::V;
    const V top = walk.template fold<FoldTop>([](const auto& at) GORGO_INLINE_LAMBDA { return at.load(); });
    if constexpr (kIsHalf<typename Walk::Storage>) {
      // Stored exponentials would be rounded twice, so they are made again.
      const V sum =
          walk.template fold<FoldSum>([&](const auto& at) GORGO_INLINE_LAMBDA { return exp(at.load() - top); });
      const V part = like(sum, 1) / sum;
      walk.each([&](const auto& at) GORGO_INLINE_LAMBDA { at.store(exp(at.load() - top) * part); });
    } else {
      const V sum = walk.template fold<FoldSum>([&](const auto& at) GORGO_INLINE_LAMBDA {
        const V e = exp(at.load() - top);
        at.store(e);
        return e;
      });
      const V part = like(sum, 1) / sum;  // a sum is at least one: the largest element's own part
      walk.each([&](const auto& at) GORGO_INLINE_LAMBDA { at.store(at.stored() * part); });
    }
  }
};

struct LogSoftmax {
  static constexpr int kInputs = 1;
  template <class Walk>
  GORGO_INLINE static void run(const Walk& walk) {
    using V = typename Walk::V;
    const V top = walk.template fold<FoldTop>([](const auto& at) GORGO_INLINE_LAMBDA { return at.load(); });
    const V sum = walk.template fold<FoldSum>([&](const auto& at) GORGO_INLINE_LAMBDA { return exp(at.load() - top); });
    const V lower = log(sum);
    walk.each([&](const auto& at) GORGO_INLINE_LAMBDA { at.store(at.load() - top - lower); });
  }
};

// y (g - sum(g y))
struct SoftmaxBackward {
  static constexpr int kInputs = 2;
  template <class Walk>
  GORGO_INLINE static void run(const Walk& walk) {
    using V = typename Walk::V;
    const V sum =
        walk.template fold<FoldSum>([](const auto& at) GORGO_INLINE_LAMBDA { return at.load(0) * at.load(1); });
    walk.each([&](const auto& at) GORGO_INLINE_LAMBDA { at.store(at.load(1) * (at.load(0) - sum)); });
  }
};

// g - exp(y) sum(g)
struct LogSoftmaxBackward {
  static constexpr int kInputs = 2;
  template <class Walk>
  GORGO_INLINE static void run(const Walk& walk) {
    using V = typename Walk::V;
    const V sum = walk.template fold<FoldSum>([](const auto& at) GORGO_INLINE_LAMBDA { return at.load(0); });
    walk.each([&](const auto& at) GORGO_INLINE_LAMBDA { at.store(at.load(0) - exp(at.load(1)) * sum); });
  }
};

template <class Op, class S>
struct AlongAxis {
  static LinePlan plan_of(const KernelArgs& args) noexcept {
    return {args, args.attrs_as<SoftmaxAttrs>().axis, Op::kInputs, RowWalk<S, 1>::kLanes};
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return args.in[0].numel == 0 ? 0 : plan_of(args).tasks(); }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    walk_lines_of<S, Op::kInputs>(args, plan_of(args), task,
                                  [](const auto& walk, int64_t) GORGO_INLINE_LAMBDA { Op::run(walk); });
  }
};

template <class S>
struct LogSumExp {
  static LinePlan plan_of(const KernelArgs& args) noexcept {
    return {args, args.attrs_as<LogSumExpAttrs>().axis, 1, RowWalk<S, 1>::kLanes};
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return plan_of(args).tasks(); }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    S* out = args.out[0].as<S>();
    walk_lines_of<S, 1>(args, plan_of(args), task, [=](const auto& walk, int64_t line) GORGO_INLINE_LAMBDA {
      using V = typename std::decay_t<decltype(walk)>::V;
      using Lane = typename V::Lane;
      const V top = walk.template fold<FoldTop>([](const auto& at) GORGO_INLINE_LAMBDA { return at.load(); });
      // A line of infinities, or an empty one, is measured from zero: the difference of infinities has no value.
      const V from = select(isfinite(top), top, broadcast<V>(Lane{0}));
      const V sum =
          walk.template fold<FoldSum>([&](const auto& at) GORGO_INLINE_LAMBDA { return exp(at.load() - from); });
      store_partial(out + line, from + log(sum), walk.live);
    });
  }
};

template <class S>
void fill_softmax_of(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  const auto add = [&](const char* name, auto op) {
    using Op = decltype(op);
    sink.add(name, d, Kernel::of({AlongAxis<Op, S>::run, AlongAxis<Op, S>::tasks}));
  };
  add("softmax", Softmax{});
  add("log_softmax", LogSoftmax{});
  add("softmax_backward", SoftmaxBackward{});
  add("log_softmax_backward", LogSoftmaxBackward{});
  sink.add("logsumexp", d, Kernel::of({LogSumExp<S>::run, LogSumExp<S>::tasks}));
}

}  // namespace

void fill_softmax(KernelSink& sink);
void fill_softmax(KernelSink& sink) {
  fill_softmax_of<float>(sink);
  fill_softmax_of<double>(sink);
  fill_softmax_of<BFloat16>(sink);
  fill_softmax_of<Float16>(sink);
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
