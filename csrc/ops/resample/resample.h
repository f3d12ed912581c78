// The resample family: one axis sampled at other places, a linear map with a few weights for each result, and its
// adjoint.
//
// Invariant: which places and weights they are depends on attributes and sizes alone; sums go in the order of the
// results and taps.
// Read next: resample.cpp (shapes, gradients), kernels_cpu.cpp.
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/resample/attrs.h"

namespace gorgo {

void register_resample(Registry& registry);

struct ResampleOps {
  const OpDef* resample = nullptr;
  const OpDef* resample_grad = nullptr;
};
extern ResampleOps resample_ops;

[[nodiscard]] inline Tensor resample(const Tensor& x, const ResampleAttrs& attrs) {
  const ResampleForwardAttrs own(attrs);
  return invoke(*resample_ops.resample, {x}, &own);
}
// The adjoint of resample over an axis of attrs.input_size.
[[nodiscard]] inline Tensor resample_grad(const Tensor& g, const ResampleAttrs& attrs) {
  return invoke(*resample_ops.resample_grad, {g}, &attrs);
}

}  // namespace gorgo
