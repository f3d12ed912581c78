// softmax and its kin: typed calls through the funnel, for gradient rules and bindings.
// Read next: softmax.cpp.
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/softmax/attrs.h"

namespace gorgo {

void register_softmax(Registry& registry);

struct SoftmaxOps {
  const OpDef* softmax = nullptr;
  const OpDef* log_softmax = nullptr;
  const OpDef* logsumexp = nullptr;
  const OpDef* softmax_backward = nullptr;
  const OpDef* log_softmax_backward = nullptr;
};
extern SoftmaxOps softmax_ops;

[[nodiscard]] inline Tensor softmax(const Tensor& x, int64_t axis = -1) {
  const SoftmaxAttrs attrs{axis};
  return invoke(*softmax_ops.softmax, {x}, &attrs);
}
[[nodiscard]] inline Tensor log_softmax(const Tensor& x, int64_t axis = -1) {
  const SoftmaxAttrs attrs{axis};
  return invoke(*softmax_ops.log_softmax, {x}, &attrs);
}
[[nodiscard]] inline Tensor logsumexp(const Tensor& x, int64_t axis = -1, bool keepdims = false) {
  const LogSumExpAttrs attrs{axis, keepdims};
  return invoke(*softmax_ops.logsumexp, {x}, &attrs);
}
// What softmax hands to x when g arrives at its result y: y * (g - sum(g * y)).
[[nodiscard]] inline Tensor softmax_backward(const Tensor& g, const Tensor& y, int64_t axis) {
  const SoftmaxAttrs attrs{axis};
  return invoke(*softmax_ops.softmax_backward, {g, y}, &attrs);
}
// What log_softmax hands to x when g arrives at its result y: g - exp(y) * sum(g).
[[nodiscard]] inline Tensor log_softmax_backward(const Tensor& g, const Tensor& y, int64_t axis) {
  const SoftmaxAttrs attrs{axis};
  return invoke(*softmax_ops.log_softmax_backward, {g, y}, &attrs);
}

}  // namespace gorgo
