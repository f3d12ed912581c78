// The fused updates on the CPU: one pass over parameters, gradients and buffers; compiled once per instruction set.
//
// Invariant: elements are independent, so the split into tasks (by element ranges over all tensors) changes no bit.
#include <type_traits>

#include "kernels/coverage.h"
#include "ops/update/elements.h"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

// Hyper-parameters as read at the start of a task, in the type of the arithmetic.
template <class C>
struct SgdNumbers {
  C lr, momentum, keep, weight_decay;
  bool nesterov;
};

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

template <class T>
void sgd_range(const KernelArgs& args, int32_t tensor, int64_t first, int64_t last) noexcept {
  using C = ComputeType<T>;
  const auto& attrs = args.attrs_as<SgdAttrs>();
  const auto count = static_cast<int32_t>(attrs.count);
  const bool buffered = uses_buffers(args);
  const SgdNumbers<C> n{static_cast<C>(attrs.lr.get()), static_cast<C>(attrs.momentum.get()),
                        static_cast<C>(1.0 - attrs.dampening.get()), static_cast<C>(attrs.weight_decay.get()),
                        attrs.nesterov};
  const C sign = attrs.maximize ? static_cast<C>(-1) : static_cast<C>(1);
  const KOperand& p = args.in[tensor];
  const KOperand& g = args.in[count + tensor];
  const KOperand* b = buffered ? &args.in[2 * count + tensor] : nullptr;
  const bool is_first = buffered && *args.in[3 * count + tensor].as<int64_t>() == 0;
  const bool in_order = p.contiguous && g.contiguous && (b == nullptr || b->contiguous);
  choose_way(n, buffered, is_first, [&](auto way) {
    using Way = decltype(way);
    if (in_order) {
      T* __restrict parameter = p.as<T>();
      const T* __restrict gradient = g.as<T>();
      T* __restrict buffer = buffered ? b->as<T>() : nullptr;
      for (int64_t i = first; i < last; ++i) {
        Way::element(n, sign, parameter[i], gradient[i], Way::kUsesBuffer ? buffer + i : nullptr);
      }
      return;
    }
    for (int64_t i = first; i < last; ++i) {
      T* buffer = buffered ? b->as<T>() + place_of(*b, i) : nullptr;
      Way::element(n, sign, p.as<T>()[place_of(p, i)], g.as<T>()[place_of(g, i)], buffer);
    }
  });
}

template <class T>
void sgd_run(const KernelArgs& args, int64_t task) noexcept {
  each_range<SgdAttrs>(args, task,
                       [&](int32_t tensor, int64_t first, int64_t last) { sgd_range<T>(args, tensor, first, last); });
}

void sgd_count_steps(const KernelArgs& args, int64_t task) noexcept {
  if (uses_buffers(args)) count_steps<SgdAttrs>(args, task);
}

template <class T>
void add(KernelSink& sink) {
  sink.add("sgd_update", kDTypeOf<T>,
           Kernel::of(Phase{&sgd_run<T>, &element_tasks<SgdAttrs>}, Phase{&sgd_count_steps, nullptr}));
}

}  // namespace

void fill_update_adaptive(KernelSink& sink);
void fill_update(KernelSink& sink);
void fill_update(KernelSink& sink) {
  add<float>(sink);
  add<double>(sink);
  add<Float16>(sink);
  add<BFloat16>(sink);
  fill_update_adaptive(sink);
}

#else  // inherited
void fill_update(KernelSink& sink);
void fill_update(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS
