// The losses: typed calls through the funnel.
// Read next: loss.cpp.
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/loss/attrs.h"

namespace gorgo {

void register_loss(Registry& registry);

struct LossOps {
  const OpDef* cross_entropy = nullptr;
  const OpDef* cross_entropy_backward = nullptr;
};
extern LossOps loss_ops;

[[nodiscard]] inline Tensor cross_entropy(const Tensor& logits, const Tensor& target,
                                          const CrossEntropyAttrs& attrs = {}) {
  return invoke(*loss_ops.cross_entropy, {logits, target}, &attrs);
}
// What cross_entropy hands to the logits when g arrives at its result.
[[nodiscard]] inline Tensor cross_entropy_backward(const Tensor& logits, const Tensor& target, const Tensor& g,
                                                   const CrossEntropyAttrs& attrs) {
  return invoke(*loss_ops.cross_entropy_backward, {logits, target, g}, &attrs);
}

}  // namespace gorgo
