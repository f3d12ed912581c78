// Losses of two tensors, element by element, and their gradients: one pass each, no tensor in between.
//
// Compiled once per ISA. A loss is a struct with its value and its slope by the input; the walk, the sums and the layouts are
// written once. Invariant: a sum runs in lanes within a tile, in double over tiles, and over tasks in their order; so it
// depends on the number of elements alone, not on layout or threads.
// Read next: pointwise.cpp.
#include "kernels/move.h"
#include "ops/loss/targets.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

struct SquaredError {
  using Attrs = LossAttrs;
  static double parameter(const Attrs&) noexcept { return 0.0; }
  template <class V>
  GORGO_INLINE static V value(V x, V t, V) {
    const V d = x - t;
    return d * d;
  }
  template <class V>
  GORGO_INLINE static V slope(V x, V t, V) {
    const V d = x - t;
    return d + d;
  }
};
struct AbsoluteError {
  using Attrs = LossAttrs;
  static double parameter(const Attrs&) noexcept { return 0.0; }
  template <class V>
  GORGO_INLINE static V value(V x, V t, V) {
    return abs(x - t);
  }
  template <class V>
  GORGO_INLINE static V slope(V x, V t, V) {
    return sign(x - t);
  }
};
struct SmoothAbsoluteError {
  using Attrs = SmoothL1Attrs;
  static double parameter(const Attrs& a) noexcept { return a.beta; }
  template <class V>
  GORGO_INLINE static V value(V x, V t, V beta) {
    const V d = abs(x - t);
    const V half = broadcast<V>(typename V::Lane(0.5));
    return select(d < beta, half * d * d / beta, d - half * beta);
  }
  template <class V>
  GORGO_INLINE static V slope(V x, V t, V beta) {
    const V d = x - t;
    return select(abs(d) < beta, d / beta, sign(d));
  }
};
struct Huber {
  using Attrs = HuberAttrs;
  static double parameter(const Attrs& a) noexcept { return a.delta; }
  template <class V>
  GORGO_INLINE static V value(V x, V t, V delta) {
    const V d = abs(x - t);
    const V half = broadcast<V>(typename V::Lane(0.5));
    return select(d <= delta, half * d * d, delta * (d - half * delta));
  }
  template <class V>
  GORGO_INLINE static V slope(V x, V t, V delta) {
    const V d = x - t;
    return select(abs(d) <= delta, d, delta * sign(d));
  }
};
// Of logits: softplus(x) - t x, with softplus from its larger term so that nothing overflows.
struct BinaryCrossEntropy {
  using Attrs = LossAttrs;
  static double parameter(const Attrs&) noexcept { return 0.0; }
  template <class V>
  GORGO_INLINE static V value(V x, V t, V) {
    const V zero = broadcast<V>(typename V::Lane(0));
    return maximum(x, zero) - x * t + log1p(exp(-abs(x)));
  }
  template <class V>
  GORGO_INLINE static V slope(V x, V t, V) {
    return sigmoid(x) - t;
  }
};

constexpr int64_t kGrain = 16384;
constexpr int64_t kTile = 512;  // elements brought side by side; tasks hold whole tiles

// Elements [begin, begin + n) in row-major order: where they lie, or brought into `tile`.
template <class S>
GORGO_INLINE const S* side_by_side(const KOperand& x, int64_t begin, int64_t n, S* tile) noexcept {
  if (x.contiguous) return x.as<const S>() + begin;
  MovePlan plan;
  int64_t run = x.numel;
  for (int i = 0; i < x.rank; ++i) {
    run /= x.shape[i];
    plan.add(x.shape[i], run, x.strides[i]);
  }
  const S* from = x.as<const S>();
  const int64_t from_stride = plan.rank > 0 ? plan.from[plan.rank - 1] : 0;
  walk_lines(plan, begin, begin + n, [&](int64_t t, int64_t f, int64_t count) GORGO_INLINE_LAMBDA {
    gather(from + f, from_stride, count, tile + (t - begin));
  });
  return tile;
}

template <class Loss, class S>
struct Pointwise {
  using Attrs = typename Loss::Attrs;
  using Lane = ComputeType<S>;
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Lane));
  using V = Vec<Lane, kLanes>;

  static LossReduction how(const KernelArgs& args) noexcept { return args.attrs_as<Attrs>().how(); }
  static V parameter(const KernelArgs& args) noexcept {
    return broadcast<V>(static_cast<Lane>(Loss::parameter(args.attrs_as<Attrs>())));
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return (args.in[0].numel + kGrain - 1) / kGrain; }
  static int64_t merge_tasks(const KernelArgs& args) noexcept { return how(args) != LossReduction::None ? 1 : 0; }
  static size_t scratch_bytes(const KernelArgs& args) noexcept {
    return how(args) != LossReduction::None ? static_cast<size_t>(tasks(args)) * sizeof(LossPartial) : 0;
  }
  template <class F>
  GORGO_INLINE static void each_tile(const KernelArgs& args, int64_t task, const F& f) noexcept {
    const int64_t numel = args.in[0].numel;
    const int64_t end = (task + 1) * kGrain < numel ? (task + 1) * kGrain : numel;
    for (int64_t at = task * kGrain; at < end; at += kTile) f(at, end - at < kTile ? end - at : kTile);
  }

  static void forward(const KernelArgs& args, int64_t task) noexcept {
    alignas(64) S tiles[2][kTile];
    const V p = parameter(args);
    const bool reduced = how(args) != LossReduction::None;
    double total = 0.0;
    int64_t count = 0;
    each_tile(args, task, [&](int64_t at, int64_t n) GORGO_INLINE_LAMBDA {
      const S* x = side_by_side(args.in[0], at, n, tiles[0]);
      const S* t = side_by_side(args.in[1], at, n, tiles[1]);
      const int64_t whole = n / kLanes * kLanes;
      const auto tail = static_cast<int>(n - whole);
      if (!reduced) {
        S* out = args.out[0].as<S>() + at;
        for (int64_t i = 0; i < whole; i += kLanes) {
          store(out + i, Loss::value(load<S, kLanes>(x + i), load<S, kLanes>(t + i), p));
        }
        if (tail != 0) {
          store_partial(
              out + whole,
              Loss::value(load_partial<S, kLanes>(x + whole, tail), load_partial<S, kLanes>(t + whole, tail), p), tail);
        }
        return;
      }
      V a = broadcast<V>(Lane{0});
      V b = a;
      int64_t i = 0;
      for (; i + 2 * kLanes <= whole; i += 2 * kLanes) {
        a = a + Loss::value(load<S, kLanes>(x + i), load<S, kLanes>(t + i), p);
        b = b + Loss::value(load<S, kLanes>(x + i + kLanes), load<S, kLanes>(t + i + kLanes), p);
      }
      if (i < whole) a = a + Loss::value(load<S, kLanes>(x + i), load<S, kLanes>(t + i), p);
      if (tail != 0) {
        const V last =
            Loss::value(load_partial<S, kLanes>(x + whole, tail), load_partial<S, kLanes>(t + whole, tail), p);
        b = b + keep_first(last, tail, Lane{0});
      }
      total += static_cast<double>(fold_lanes<FoldSum>(a + b));
      count += n;
    });
    if (reduced) static_cast<LossPartial*>(args.scratch)[task] = {total, static_cast<double>(count)};
  }
  static void merge(const KernelArgs& args, int64_t) noexcept { merge_partials<S>(args, tasks(args), how(args)); }

  // Input, target and g: the slope times an element's share of g.
  static void backward(const KernelArgs& args, int64_t task) noexcept {
    alignas(64) S tiles[3][kTile];
    const V p = parameter(args);
    const bool each = how(args) == LossReduction::None;
    V share = broadcast<V>(Lane{0});
    if (!each) {
      const auto arrived = static_cast<double>(static_cast<Lane>(*args.in[2].as<const S>()));
      const double parts = how(args) == LossReduction::Mean ? static_cast<double>(args.in[0].numel) : 1.0;
      share = broadcast<V>(static_cast<Lane>(arrived / parts));
    }
    each_tile(args, task, [&](int64_t at, int64_t n) GORGO_INLINE_LAMBDA {
      const S* x = side_by_side(args.in[0], at, n, tiles[0]);
      const S* t = side_by_side(args.in[1], at, n, tiles[1]);
      const S* g = each ? side_by_side(args.in[2], at, n, tiles[2]) : nullptr;
      S* out = args.out[0].as<S>() + at;
      const int64_t whole = n / kLanes * kLanes;
      const auto tail = static_cast<int>(n - whole);
      for (int64_t i = 0; i < whole; i += kLanes) {
        const V w = each ? load<S, kLanes>(g + i) : share;
        store(out + i, w * Loss::slope(load<S, kLanes>(x + i), load<S, kLanes>(t + i), p));
      }
      if (tail != 0) {
        const V w = each ? load_partial<S, kLanes>(g + whole, tail) : share;
        const V slope =
            Loss::slope(load_partial<S, kLanes>(x + whole, tail), load_partial<S, kLanes>(t + whole, tail), p);
        store_partial(out + whole, w * slope, tail);
      }
    });
  }
};

template <class Loss, class S>
void add_pointwise(KernelSink& sink, const char* name, const char* backward) {
  using P = Pointwise<Loss, S>;
  sink.add(name, kDTypeOf<S>, Kernel::of({P::forward, P::tasks}, {P::merge, P::merge_tasks}, P::scratch_bytes));
  sink.add(backward, kDTypeOf<S>, Kernel::of({P::backward, P::tasks}));
}

template <class S>
void add_binary_cross_entropy(KernelSink& sink) {
  add_pointwise<BinaryCrossEntropy, S>(sink, "binary_cross_entropy_with_logits",
                                       "binary_cross_entropy_with_logits_backward");
}
#ifdef GORGO_WITH_RARE_KERNELS
template <class S>
void fill_pointwise_of(KernelSink& sink) {
  add_pointwise<SquaredError, S>(sink, "mse_loss", "mse_loss_backward");
  add_pointwise<AbsoluteError, S>(sink, "l1_loss", "l1_loss_backward");
  add_pointwise<SmoothAbsoluteError, S>(sink, "smooth_l1_loss", "smooth_l1_loss_backward");
  add_pointwise<Huber, S>(sink, "huber_loss", "huber_loss_backward");
  add_binary_cross_entropy<S>(sink);
}
#endif

}  // namespace

void fill_pointwise_losses(KernelSink& sink);
void fill_pointwise_losses(KernelSink& sink) {
#ifdef GORGO_WITH_RARE_KERNELS
  fill_pointwise_of<float>(sink);
  fill_pointwise_of<double>(sink);
  fill_pointwise_of<BFloat16>(sink);
  fill_pointwise_of<Float16>(sink);
#else  // the rest is inherited: memory sets its pace
  add_binary_cross_entropy<float>(sink);
#endif
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
