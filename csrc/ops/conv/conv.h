// The conv family: the two-dimensional convolution and its two gradients. Typed calls through the funnel.
//
// Invariant: all three are linear in each operand, and each one's gradients are the other two, so they can be differentiated any number of
// times.
// Read next: conv.cpp (shapes, gradients), kernels_cpu.cpp (how they run).
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/conv/attrs.h"

namespace gorgo {

void register_conv(Registry& registry);

struct ConvOps {
  const OpDef* conv2d = nullptr;
  const OpDef* conv2d_grad_input = nullptr;
  const OpDef* conv2d_grad_weight = nullptr;
};
extern ConvOps conv_ops;

// x (n, c, h, w), weight (o, c / groups, kh, kw), bias (o) or null.
[[nodiscard]] inline Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvAttrs& attrs) {
  return invoke(*conv_ops.conv2d, {x, weight, bias}, &attrs);
}
// g (n, o, oh, ow) back to (n, c, *input_size).
[[nodiscard]] inline Tensor conv2d_grad_input(const Tensor& g, const Tensor& weight, const ConvGradInputAttrs& attrs) {
  return invoke(*conv_ops.conv2d_grad_input, {g, weight}, &attrs);
}
// x and g to (o, c / groups, *kernel_size).
[[nodiscard]] inline Tensor conv2d_grad_weight(const Tensor& x, const Tensor& g, const ConvGradWeightAttrs& attrs) {
  return invoke(*conv_ops.conv2d_grad_weight, {x, g}, &attrs);
}

}  // namespace gorgo
