// The elements of all parameters laid end to end, shared out among tasks; the counters of steps behind the other operands.
//
// For kernel files (compiled per ISA). Operands lie in one list: `count` parameters, as many gradients, as many of each
// array of state, and where a rule counts its steps as many counters.
// Invariant: the split into tasks depends on sizes alone.
// Read next: attrs.h, kernels_cpu.cpp.
#pragma once

#include "core/kernel_args.h"
#include "ops/update/attrs.h"

namespace gorgo::GORGO_ISA_NS {

constexpr int64_t kTaskElements = 1 << 15;

// Where element i of a tensor lies, for layouts that are not in order.
GORGO_INLINE int64_t place_of(const KOperand& operand, int64_t i) noexcept {
  int64_t at = 0;
  for (int32_t axis = operand.rank; axis-- > 0;) {
    at += (i % operand.shape[axis]) * operand.strides[axis];
    i /= operand.shape[axis];
  }
  return at;
}

template <class Attrs>
int64_t element_tasks(const KernelArgs& args) noexcept {
  const int64_t count = args.attrs_as<Attrs>().count;
  int64_t elements = 0;
  for (int64_t i = 0; i < count; ++i) elements += args.in[i].numel;
  return (elements + kTaskElements - 1) / kTaskElements;
}

// Calls range(tensor, first, last) for the parts of parameters that are elements [task, task + 1) * kTaskElements.
template <class Attrs, class Range>
GORGO_INLINE void each_range(const KernelArgs& args, int64_t task, Range&& range) {
  const auto count = static_cast<int32_t>(args.attrs_as<Attrs>().count);
  const int64_t begin = task * kTaskElements;
  const int64_t end = begin + kTaskElements;
  int64_t start = 0;
  for (int32_t i = 0; i < count && start < end; ++i) {
    const int64_t stop = start + args.in[i].numel;
    if (stop > begin) range(i, (begin > start ? begin : start) - start, (end < stop ? end : stop) - start);
    start = stop;
  }
}

template <class Attrs>
void count_steps(const KernelArgs& args, int64_t) noexcept {
  const auto count = static_cast<int32_t>(args.attrs_as<Attrs>().count);
  for (int32_t i = args.in_count - count; i < args.in_count; ++i) ++*args.in[i].as<int64_t>();
}

}  // namespace gorgo::GORGO_ISA_NS
