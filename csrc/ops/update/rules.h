// The optimizers' rules: what one step does to one element, written once for vectors (CPU) and for single numbers (CUDA).
//
// For kernel files (compiled per ISA). A rule is made from its numbers, read from the attributes when the kernel runs, and from
// the number of this step, and holds what all elements share, in the type of the arithmetic.
// Invariant: elements are independent, and no formula depends on how many are done side by side.
// Read next: elements.h, kernels_cpu_adaptive.cpp, kernels_cuda.cu.
#pragma once

#include <type_traits>

#include "kernels/math.h"
#include "ops/update/attrs.h"
#include "ops/update/elements.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

// ---- SGD ----

// Hyper-parameters as read at the start of a task, in the type of the arithmetic.
template <class C>
struct SgdNumbers {
  C lr, momentum, keep, weight_decay;
  bool nesterov;

  template <class D>
  [[nodiscard]] GORGO_INLINE SgdNumbers<D> as() const noexcept {
    return {static_cast<D>(lr), static_cast<D>(momentum), static_cast<D>(keep), static_cast<D>(weight_decay), nesterov};
  }
};
GORGO_INLINE SgdNumbers<double> sgd_numbers(const SgdAttrs& a) noexcept {
  return {a.lr.get(), a.momentum.get(), 1.0 - a.dampening.get(), a.weight_decay.get(), a.nesterov};
}

// What the loop must not ask for each element: with these fixed it becomes vector code at any level of optimization.
template <bool kDecays, bool kBuffered, bool kFirst, bool kNesterov>
struct SgdWay {
  static constexpr bool kUsesBuffer = kBuffered;

  template <class T, class C>
  GORGO_INLINE static void element(const SgdNumbers<C>& n, C sign, T& parameter, T gradient, T* buffer) {
    const C p = static_cast<C>(parameter);
    C g = sign * static_cast<C>(gradient);
    if constexpr (kDecays) g = g + n.weight_decay * p;  // not with a weight of 0: 0 * inf must not appear
    if constexpr (kBuffered) {
      C b = g;
      if constexpr (!kFirst) b = n.momentum * static_cast<C>(*buffer) + n.keep * g;
      *buffer = static_cast<T>(b);
      g = kNesterov ? g + n.momentum * b : b;
    }
    parameter = static_cast<T>(p - n.lr * g);
  }
};

template <class F>
GORGO_INLINE void choose(bool on, F&& f) {
  if (on) {
    f(std::true_type());
  } else {
    f(std::false_type());
  }
}

// Calls f with the way of these numbers.
template <class C, class F>
GORGO_INLINE void choose_way(const SgdNumbers<C>& n, bool buffered, bool first, F&& f) {
  choose(n.weight_decay != static_cast<C>(0), [&](auto decays) {
    if (!buffered) {
      f(SgdWay<decays.value, false, false, false>());
      return;
    }
    choose(first, [&](auto is_first) {
      choose(n.nesterov, [&](auto nesterov) { f(SgdWay<decays.value, true, is_first.value, nesterov.value>()); });
    });
  });
}

// A momentum of zero leaves buffers and counters alone, as if they were not there.
GORGO_INLINE bool uses_buffers(const KernelArgs& args) noexcept {
  const auto& attrs = args.attrs_as<SgdAttrs>();
  return args.in_count == 4 * attrs.count && attrs.momentum.get() != 0.0;
}

// ---- Adam, RMSprop, Adagrad ----

// base^n by squaring: the same bits on every instruction set.
GORGO_INLINE double power(double base, int64_t n) {
  double result = 1.0;
  for (; n > 0; n >>= 1) {
    if ((n & 1) != 0) result *= base;
    base *= base;
  }
  return result;
}

// The numbers of the attributes as they are now, host cells read.
struct AdamNumbers {
  double lr, beta1, beta2, eps, weight_decay;
  bool decoupled, amsgrad, maximize;
};
struct RmspropNumbers {
  double lr, alpha, eps, weight_decay, momentum;
  bool centered, maximize;
};
struct AdagradNumbers {
  double lr, lr_decay, weight_decay, eps;
  bool maximize;
};
GORGO_INLINE AdamNumbers numbers_of(const AdamAttrs& a) noexcept {
  return {a.lr.get(),           a.beta1.get(), a.beta2.get(), a.eps.get(),
          a.weight_decay.get(), a.decoupled,   a.amsgrad,     a.maximize};
}
GORGO_INLINE RmspropNumbers numbers_of(const RmspropAttrs& a) noexcept {
  return {a.lr.get(), a.alpha.get(), a.eps.get(), a.weight_decay.get(), a.momentum.get(), a.centered, a.maximize};
}
GORGO_INLINE AdagradNumbers numbers_of(const AdagradAttrs& a) noexcept {
  return {a.lr.get(), a.lr_decay.get(), a.weight_decay.get(), a.eps.get(), a.maximize};
}

// step() gets the vectors of one place: [0] parameter, [1] gradient, [2...] state.

template <class V>
struct Adam {
  using Attrs = AdamAttrs;
  static constexpr bool kCountsSteps = true;
  V sign, decay, shrink, beta1, one_minus_beta1, beta2, one_minus_beta2, rate, root_scale, eps;
  bool decays, decoupled, amsgrad, mostly_new;

  GORGO_INLINE static int arrays(const KernelArgs& args) { return 2 + state_arrays(args.attrs_as<AdamAttrs>()); }
  GORGO_INLINE Adam(const AdamNumbers& a, int64_t step) {
    const double lr = a.lr;
    const double b1 = a.beta1;
    const double b2 = a.beta2;
    const double wd = a.weight_decay;
    sign = constant<V>(a.maximize ? -1.0 : 1.0);
    decay = constant<V>(wd);
    shrink = constant<V>(1.0 - lr * wd);
    beta1 = constant<V>(b1);
    one_minus_beta1 = constant<V>(1.0 - b1);
    beta2 = constant<V>(b2);
    one_minus_beta2 = constant<V>(1.0 - b2);
    rate = constant<V>(lr / (1.0 - power(b1, step)));
    root_scale = constant<V>(1.0 / sqrt(1.0 - power(b2, step)));
    eps = constant<V>(a.eps);
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
  GORGO_INLINE Rmsprop(const RmspropNumbers& a, int64_t) {
    sign = constant<V>(a.maximize ? -1.0 : 1.0);
    decay = constant<V>(a.weight_decay);
    alpha = constant<V>(a.alpha);
    one_minus_alpha = constant<V>(1.0 - a.alpha);
    rate = constant<V>(a.lr);
    momentum = constant<V>(a.momentum);
    eps = constant<V>(a.eps);
    zero = constant<V>(0.0);
    decays = a.weight_decay != 0.0;
    centered = a.centered;
    buffered = a.momentum != 0.0;
    mostly_new = a.alpha <= 0.5;
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
  GORGO_INLINE Adagrad(const AdagradNumbers& a, int64_t step) {
    sign = constant<V>(a.maximize ? -1.0 : 1.0);
    decay = constant<V>(a.weight_decay);
    rate = constant<V>(a.lr / (1.0 + static_cast<double>(step - 1) * a.lr_decay));
    eps = constant<V>(a.eps);
    decays = a.weight_decay != 0.0;
  }
  GORGO_INLINE void step(V* x) const {
    V g = sign * x[1];
    if (decays) g = g + decay * x[0];
    x[2] = x[2] + g * g;
    x[0] = x[0] - rate * g / (sqrt(x[2]) + eps);
  }
};

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
