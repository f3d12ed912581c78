// The fused updates of Adam, RMSprop and Adagrad on the CPU: one pass over parameters, gradients and state.
//
// Compiled once per ISA. Operands lie in one list: count parameters, count gradients, then count tensors for each array of
// state, then count step counters where the rule has them.
// Invariant: elements are independent, so neither the split into tasks nor vectors change a bit.
// Read next: rules.h, elements.h.
#include "kernels/coverage.h"
#include "ops/update/elements.h"
#include "ops/update/rules.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

constexpr int kMaxArrays = 5;  // parameter, gradient and three of state

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
#pragma GCC unroll 5
      for (int k = 0; k < kArrays; ++k) x[k] = load<T, kLanes>(start[k] + first);
      rule.step(x);
      store(start[0] + first, x[0]);
#pragma GCC unroll 5
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
    const Rule rule(numbers_of(attrs), step);
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
void add_adaptive(KernelSink& sink) {
  constexpr DType d = kDTypeOf<T>;
  sink.add("adam_update", d, Update<T, Adam>::kernel());
  sink.add("rmsprop_update", d, Update<T, Rmsprop>::kernel());
  sink.add("adagrad_update", d, Update<T, Adagrad>::kernel());
}

}  // namespace

void fill_update_adaptive(KernelSink& sink);
void fill_update_adaptive(KernelSink& sink) {
  add_adaptive<float>(sink);
  add_adaptive<double>(sink);
  add_adaptive<Float16>(sink);
  add_adaptive<BFloat16>(sink);
}

#else  // inherited
void fill_update_adaptive(KernelSink& sink);
void fill_update_adaptive(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
