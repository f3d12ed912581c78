// The conv family: convolutions over one to three axes, the transposed ones, and the gradients by the kernels. Typed calls through the
// funnel.
//
// Invariant: all three are linear in each operand, and each one's gradients are the other two, so they can be differentiated any number of
// times. The attributes' number of strides says over how many axes.
// Read next: conv.cpp (shapes, gradients), kernels_cpu.cpp (how they run).
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/conv/attrs.h"

namespace gorgo {

void register_conv(Registry& registry);

constexpr int kMaxConvAxes = 3;

// By number of axes less one.
struct ConvOps {
  const OpDef* conv[kMaxConvAxes] = {};
  const OpDef* conv_transpose[kMaxConvAxes] = {};
  const OpDef* conv_grad_weight[kMaxConvAxes] = {};
};
extern ConvOps conv_ops;

// x (n, c, *size), weight (o, c / groups, *kernel), bias (o) or null.
[[nodiscard]] inline Tensor conv(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvAttrs& attrs) {
  return invoke(*conv_ops.conv[attrs.stride.size() - 1], {x, weight, bias}, &attrs);
}
// x (n, o, *windows) back to (n, c, *size): the gradient of conv by its images, plus a bias (c) or null.
[[nodiscard]] inline Tensor conv_transpose(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                           const ConvAttrs& attrs) {
  return invoke(*conv_ops.conv_transpose[attrs.stride.size() - 1], {x, weight, bias}, &attrs);
}
// x (n, c, *size) and g (n, o, *windows) to (o, c / groups, *kernel_size).
[[nodiscard]] inline Tensor conv_grad_weight(const Tensor& x, const Tensor& g, const ConvAttrs& attrs) {
  return invoke(*conv_ops.conv_grad_weight[attrs.stride.size() - 1], {x, g}, &attrs);
}

}  // namespace gorgo
