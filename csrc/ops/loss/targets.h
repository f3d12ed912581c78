// What the kernels of several losses share: reading targets, counting those that count, merging partial sums.
//
// For kernel files (compiled per ISA).
// Read next: kernels_cpu.cpp.
#pragma once

#include "core/kernel_args.h"
#include "kernels/fold.h"
#include "ops/loss/attrs.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

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
GORGO_INLINE int64_t class_of(const KernelArgs& args, int64_t ignore_index, int64_t classes, int64_t line) noexcept {
  const int64_t t = target_at(args.in[1], line);
  if (t == ignore_index) return kIgnored;
  if (t >= 0 && t < classes) return t;
  args.fault->report(line, 1, t, classes);
  return kIgnored;
}

// How many targets count, as partial counts: what the gradient of a mean divides by.
struct TargetCount {
  static constexpr int64_t kGrain = 65536;

  GORGO_INLINE static int64_t tasks(const KernelArgs& args) noexcept {
    return (args.in[1].numel + kGrain - 1) / kGrain;
  }
  GORGO_INLINE static void run(const KernelArgs& args, int64_t ignored, int64_t task) noexcept {
    const int64_t begin = task * kGrain;
    const int64_t end = begin + kGrain < args.in[1].numel ? begin + kGrain : args.in[1].numel;
    int64_t found = 0;
    for (int64_t i = begin; i < end; ++i) found += target_at(args.in[1], i) != ignored ? 1 : 0;
    static_cast<int64_t*>(args.scratch)[task] = found;
  }
  GORGO_INLINE static double total(const KernelArgs& args) noexcept {
    double sum = 0.0;
    const int64_t n = tasks(args);
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(static_cast<const int64_t*>(args.scratch)[i]);
    return sum;
  }
};

// The sum over some cases and how many counted.
struct LossPartial {
  double sum = 0.0;
  double count = 0.0;
  GORGO_INLINE static LossPartial of(LossPartial a, LossPartial b) { return {a.sum + b.sum, a.count + b.count}; }
};

// The result of the partial sums that the first phase left in scratch, merged in the order of the tasks.
template <class S>
GORGO_INLINE void merge_partials(const KernelArgs& args, int64_t tasks, LossReduction how) noexcept {
  PairwiseFolder<LossPartial, LossPartial> folder;
  for (int64_t i = 0; i < tasks; ++i) folder.add(static_cast<const LossPartial*>(args.scratch)[i]);
  const LossPartial total = folder.finish();
  const double value = how == LossReduction::Mean ? total.sum / total.count : total.sum;
  *args.out[0].as<S>() = static_cast<S>(static_cast<ComputeType<S>>(value));
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop
