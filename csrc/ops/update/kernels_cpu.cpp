// The fused updates on the CPU: one pass over parameters, gradients and buffers; compiled once per instruction set.
//
// Invariant: elements are independent, so the split into tasks (by element ranges over all tensors) changes no bit.
#include "kernels/coverage.h"
#include "ops/update/elements.h"
#include "ops/update/rules.h"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

template <class T>
void sgd_range(const KernelArgs& args, int32_t tensor, int64_t first, int64_t last) noexcept {
  using C = ComputeType<T>;
  const auto& attrs = args.attrs_as<SgdAttrs>();
  const auto count = static_cast<int32_t>(attrs.count);
  const bool buffered = uses_buffers(args);
  const SgdNumbers<C> n = sgd_numbers(attrs).as<C>();
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
void add_update(KernelSink& sink) {
  sink.add("sgd_update", kDTypeOf<T>,
           Kernel::of(Phase{&sgd_run<T>, &element_tasks<SgdAttrs>}, Phase{&sgd_count_steps, nullptr}));
}

}  // namespace

void fill_update_adaptive(KernelSink& sink);
void fill_update(KernelSink& sink);
void fill_update(KernelSink& sink) {
  add_update<float>(sink);
  add_update<double>(sink);
  add_update<Float16>(sink);
  add_update<BFloat16>(sink);
  fill_update_adaptive(sink);
}

#else  // inherited
void fill_update(KernelSink& sink);
void fill_update(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS
