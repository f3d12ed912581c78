// The largest and the smallest element on CUDA.
//
// Invariant: NaN wins over all numbers.
// Read next: kernels_cuda.cu (bool, whose largest is "any").
#include <limits>

#include "ops/reduce/kernels_cuda.cuh"

namespace gorgo::cuda {
namespace {

template <class S, bool kLargest>
struct OrderFold {
  using Storage = S;
  // Values that are shuffled between lanes have 32 bits or more.
  using Lane = std::conditional_t<std::is_integral_v<S> && sizeof(S) < 4, int32_t, ComputeType<S>>;
  using Partial = Lane;
  static constexpr bool kFlushes = false;

  GORGO_DEVICE static Lane map(S v) { return static_cast<Lane>(lift(v)); }
  GORGO_DEVICE static Lane identity() {
    if constexpr (std::is_floating_point_v<Lane>) {
      constexpr Lane kEnd = std::numeric_limits<Lane>::infinity();
      return kLargest ? -kEnd : kEnd;
    } else {
      return kLargest ? std::numeric_limits<Lane>::lowest() : std::numeric_limits<Lane>::max();
    }
  }
  GORGO_DEVICE static Lane fold(Lane a, Lane b) { return kLargest ? larger(a, b) : smaller(a, b); }
  GORGO_DEVICE static Partial widen(Lane v) { return v; }
  GORGO_DEVICE static Partial none() { return identity(); }
  GORGO_DEVICE static Partial merge(Partial a, Partial b) { return fold(a, b); }
  GORGO_DEVICE static void store(const Finish& f, int64_t at, Partial p) { static_cast<S*>(f.out)[at] = lower<S>(p); }
};

template <class S>
void fill_order(KernelSink& sink) {
  add_reduction<Folding<OrderFold<S, true>>, ReduceAttrs, Keep::Value>(sink, "max", kDTypeOf<S>);
  add_reduction<Folding<OrderFold<S, false>>, ReduceAttrs, Keep::Value>(sink, "min", kDTypeOf<S>);
}

}  // namespace

void fill_reduce_order(KernelSink& sink) {
  fill_order<float>(sink);
  fill_order<double>(sink);
  fill_order<BFloat16>(sink);
  fill_order<Float16>(sink);
  fill_order<int8_t>(sink);
  fill_order<int16_t>(sink);
  fill_order<int32_t>(sink);
  fill_order<int64_t>(sink);
  fill_order<uint8_t>(sink);
  fill_order<uint16_t>(sink);
  fill_order<uint32_t>(sink);
  fill_order<uint64_t>(sink);
}

}  // namespace gorgo::cuda
