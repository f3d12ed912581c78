// The fused updates of Adam, RMSprop and Adagrad on the CPU: one pass over parameters, gradients and state.
//
// Compiled once per ISA. Operands lie in one list: count parameters, count gradients, then count tensors for each array of
// state, then count step counters where the rule has them.
// Invariant: elements are independent, so neither the split into tasks nor vectors change a bit.
// Read next: elements.h.
#include "kernels/coverage.h"
#include "kernels/math.h"
#include "ops/update/elements.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

constexpr int kMaxArrays = 5;  // parameter, gradient and three of state

// base^n by squaring: the same bits on every instruction set.
GORGO_INLINE double power(double base, int64_t n) {
  double result = 1.0;
  for (; n > 0; n >>= 1) {
    if ((n & 1) != 0) result *= base;
    base *= base;
  }
  return result;
}

// A rule is made at the start of a task from the attributes and the number of this step, and holds what all elements share.
// step() gets the vectors of one place: [0] parameter, [1] gradient, [2...] state.

template <class V>
struct Adam {
  using Attrs = AdamAttrs;
  static constexpr bool kCountsSteps = true;
  V sign, decay, shrink, beta1, one_minus_beta1, beta2, one_minus_beta2, rate, root_scale, eps;
  bool decays, decoupled, amsgrad, mostly_new;

  GORGO_INLINE static int arrays(const KernelArgs& args) { return 2 + state_arrays(args.attrs_as<AdamAttrs>()); }
  GORGO_INLINE Adam(const AdamAttrs& a, int64_t step) {
    const double lr = a.lr.get();
    const double b1 = a.beta1.get();
    const double b2 = a.beta2.get();
    const double wd = a.weight_decay.get();
    sign = constant<V>(a.maximize ? -1.0 : 1.0);
    decay = constant<V>(wd);
    shrink = constant<V>(1.0 - lr * wd);
    beta1 = constant<V>(b1);
    one_minus_beta1 = constant<V>(1.0 - b1);
    beta2 = constant<V>(b2);
    one_minus_beta2 = constant<V>(1.0 - b2);
    rate = constant<V>(lr / (1.0 - power(b1, step)));
    root_scale = constant<V>(1.0 / __builtin_sqrt(1.0 - power(b2, step)));
    eps = constant<V>(a.eps.get());
    decays = wd != 0.0;  // 0 * inf must not appear
    decoupled = a.decoupled;
    amsgrad = a.amsgrad;
    mostly_new = b1 <= 0.5;
  }
  GORGO_INLINE void step(V* x) const {
    V g = sign * x[1];
    if (decays) {
      if (decoupled) {
        x[0] = x[0] * shrink;
      } else {
        g = g + decay * x[0];
      }
    }
    // Measured from the nearer end, so that a beta of 0 gives the gradient itself.
    x[2] = mostly_new ? g - (g - x[2]) * beta1 : x[2] + (g - x[2]) * one_minus_beta1;
    x[3] = x[3] * beta2 + one_minus_beta2 * g * g;
    V square = x[3];
    if (amsgrad) square = x[4] = maximum(x[4], x[3]);
    x[0] = x[0] - rate * x[2] / (sqrt(square) * root_scale + eps);
  }
};

template <class V>
struct Rmsprop {
  using Attrs = RmspropAttrs;
  static constexpr bool kCountsSteps = false;
  V sign, decay, alpha, one_minus_alpha, rate, momentum, eps, zero;
  bool decays, centered, buffered, mostly_new;

  // A momentum of zero leaves the buffers alone, as if they were not there; they are the last array.
  GORGO_INLINE static int arrays(const KernelArgs& args) {
    const auto& a = args.attrs_as<RmspropAttrs>();
    const int given = static_cast<int>(args.in_count / a.count);
    return a.momentum.get() != 0.0 ? given : 2 + state_arrays(a);
  }
  GORGO_INLINE Rmsprop(const RmspropAttrs& a, int64_t) {
    sign = constant<V>(a.maximize ? -1.0 : 1.0);
    decay = constant<V>(a.weight_decay.get());
    alpha = constant<V>(a.alpha.get());
    one_minus_alpha = constant<V>(1.0 - a.alpha.get());
    rate = constant<V>(a.lr.get());
    momentum = constant<V>(a.momentum.get());
    eps = constant<V>(a.eps.get());
    zero = constant<V>(0.0);
    decays = a.weight_decay.get() != 0.0;
    centered = a.centered;
    buffered = a.momentum.get() != 0.0;
    mostly_new = a.alpha.get() <= 0.5;
  }
  GORGO_INLINE void step(V* x) const {
    V g = sign * x[1];
    if (decays) g = g + decay * x[0];
    x[2] = x[2] * alpha + one_minus_alpha * g * g;
    V square = x[2];
    if (centered) {
      x[3] = mostly_new ? g - (g - x[3]) * alpha : x[3] + (g - x[3]) * one_minus_alpha;
      square = square - x[3] * x[3];
      square = select(square < zero, zero, square);  // a variance that rounding made negative
    }
    const V move = g / (sqrt(square) + eps);
    if (!buffered) {
      x[0] = x[0] - rate * move;
      return;
    }
    V& buffer = centered ? x[4] : x[3];
    buffer = momentum * buffer + move;
    x[0] = x[0] - rate * buffer;
  }
};

template <class V>
struct Adagrad {
  using Attrs = AdagradAttrs;
  static constexpr bool kCountsSteps = true;
  V sign, decay, rate, eps;
  bool decays;

  GORGO_INLINE static int arrays(const KernelArgs&) { return 3; }
  GORGO_INLINE Adagrad(const AdagradAttrs& a, int64_t step) {
    sign = constant<V>(a.maximize ? -1.0 : 1.0);
    decay = constant<V>(a.weight_decay.get());
    rate = constant<V>(a.lr.get() / (1.0 + static_cast<double>(step - 1) * a.lr_decay.get()));
    eps = constant<V>(a.eps.get());
    decays = a.weight_decay.get() != 0.0;
  }
  GORGO_INLINE void step(V* x) const {
    V g = sign * x[1];
    if (decays) g = g + decay * x[0];
    x[2] = x[2] + g * g;
    x[0] = x[0] - rate * g / (sqrt(x[2]) + eps);
  }
};

template <class T, template <class> class RuleOf>
struct Update {
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(ComputeType<T>));
  using V = Vec<ComputeType<T>, kLanes>;
  using Rule = RuleOf<V>;
  using Attrs = typename Rule::Attrs;

  GORGO_INLINE static V read(const KOperand& operand, int64_t i, int n) {
    if (operand.contiguous) {
      const T* p = operand.as<const T>() + i;
      return n == kLanes ? load<T, kLanes>(p) : load_partial<T, kLanes>(p, n);
    }
    T tile[kLanes] = {};
    for (int k = 0; k < n; ++k) tile[k] = operand.as<const T>()[place_of(operand, i + k)];
    return load<T, kLanes>(tile);
  }
  GORGO_INLINE static void write(const KOperand& operand, int64_t i, int n, V v) {
    if (operand.contiguous) {
      T* p = operand.as<T>() + i;
      if (n == kLanes) {
        store(p, v);
      } else {
        store_partial(p, v, n);
      }
      return;
    }
    T tile[kLanes];
    store(tile, v);
    for (int k = 0; k < n; ++k) operand.as<T>()[place_of(operand, i + k)] = tile[k];
  }

  template <int kArrays>
  GORGO_INLINE static void walk(const Rule& rule, const KOperand* const* operands, int64_t first, int64_t last) {
    bool in_order = true;
    T* start[kArrays];
    for (int k = 0; k < kArrays; ++k) {
      in_order = in_order && operands[k]->contiguous;
      start[k] = operands[k]->as<T>();
    }
    // Whole vectors of tensors in order, which is nearly everything, ask for nothing else.
    for (; in_order && first + kLanes <= last; first += kLanes) {
      V x[kMaxArrays];
      for (int k = 0; k < kArrays; ++k) x[k] = load<T, kLanes>(start[k] + first);
      rule.step(x);
      store(start[0] + first, x[0]);
      for (int k = 2; k < kArrays; ++k) store(start[k] + first, x[k]);
    }
    for (int64_t i = first; i < last; i += kLanes) {
      const int n = last - i < kLanes ? static_cast<int>(last - i) : kLanes;
      V x[kMaxArrays];
      for (int k = 0; k < kArrays; ++k) x[k] = read(*operands[k], i, n);
      rule.step(x);
      write(*operands[0], i, n, x[0]);
      for (int k = 2; k < kArrays; ++k) write(*operands[k], i, n, x[k]);
    }
  }
  static void range(const KernelArgs& args, int32_t tensor, int64_t first, int64_t last) noexcept {
    const auto& attrs = args.attrs_as<Attrs>();
    const auto count = static_cast<int32_t>(attrs.count);
    const int arrays = Rule::arrays(args);
    int64_t step = 1;
    if constexpr (Rule::kCountsSteps) step = *args.in[args.in_count - count + tensor].template as<int64_t>() + 1;
    const Rule rule(attrs, step);
    const KOperand* operands[kMaxArrays] = {};
    for (int k = 0; k < arrays; ++k) operands[k] = &args.in[k * count + tensor];
    if (arrays == 3) walk<3>(rule, operands, first, last);
    if (arrays == 4) walk<4>(rule, operands, first, last);
    if (arrays == 5) walk<5>(rule, operands, first, last);
  }

  static void run(const KernelArgs& args, int64_t task) noexcept {
    each_range<Attrs>(args, task,
                      [&](int32_t tensor, int64_t first, int64_t last) { range(args, tensor, first, last); });
  }
  static Kernel kernel() {
    const Phase update{&run, &element_tasks<Attrs>};
    if constexpr (Rule::kCountsSteps) {
      return Kernel::of(update, Phase{&count_steps<Attrs>, nullptr});
    } else {
      return Kernel::of(update);
    }
  }
};

template <class T>
void add(KernelSink& sink) {
  constexpr DType d = kDTypeOf<T>;
  sink.add("adam_update", d, Update<T, Adam>::kernel());
  sink.add("rmsprop_update", d, Update<T, Rmsprop>::kernel());
  sink.add("adagrad_update", d, Update<T, Adagrad>::kernel());
}

}  // namespace

void fill_update_adaptive(KernelSink& sink);
void fill_update_adaptive(KernelSink& sink) {
  add<float>(sink);
  add<double>(sink);
  add<Float16>(sink);
  add<BFloat16>(sink);
}

#else  // inherited
void fill_update_adaptive(KernelSink& sink);
void fill_update_adaptive(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
