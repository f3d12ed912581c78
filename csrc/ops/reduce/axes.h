// Which axes a reduction takes away, as bits, from its attributes or from its result's shape. For kernel files, on every device.
// Read next: plan.h (the CPU's walk over them), kernels_cuda.cuh.
#pragma once

#include "core/kernel_args.h"
#include "ops/reduce/attrs.h"

namespace gorgo::GORGO_ISA_NS {

GORGO_INLINE uint32_t axes_mask(const OptInts& axis, int rank) noexcept {
  if (!axis.has) return ~0u;
  uint32_t mask = 0;
  for (const int64_t a : axis.value) mask |= 1u << (a < 0 ? a + rank : a);
  return mask;
}
GORGO_INLINE uint32_t reduced_axes(const ReduceAttrs& a, const KernelArgs& args) noexcept {
  return axes_mask(a.axis, args.in[0].rank);
}
GORGO_INLINE uint32_t reduced_axes(const SumAttrs& a, const KernelArgs& args) noexcept {
  return axes_mask(a.axis, args.in[0].rank);
}
GORGO_INLINE uint32_t reduced_axes(const VarAttrs& a, const KernelArgs& args) noexcept {
  return axes_mask(a.axis, args.in[0].rank);
}
GORGO_INLINE uint32_t reduced_axes(const ArgAttrs& a, const KernelArgs& args) noexcept {
  if (!a.axis.has) return ~0u;
  return 1u << (a.axis.value < 0 ? a.axis.value + args.in[0].rank : a.axis.value);
}
GORGO_INLINE uint32_t reduced_axes(const SumToAttrs&, const KernelArgs& args) noexcept {
  const KOperand& in = args.in[0];
  const KOperand& out = args.out[0];
  const int lead = in.rank - out.rank;
  uint32_t mask = 0;
  for (int i = 0; i < in.rank; ++i) {
    if (i < lead || (out.shape[i - lead] == 1 && in.shape[i] != 1)) mask |= 1u << i;
  }
  return mask;
}

}  // namespace gorgo::GORGO_ISA_NS
