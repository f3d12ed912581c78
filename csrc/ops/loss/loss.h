// The losses: typed calls through the funnel.
// Read next: loss.cpp.
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/loss/attrs.h"

namespace gorgo {

void register_loss(Registry& registry);
void register_pointwise_losses(Registry& registry);  // pointwise.cpp
void register_ctc(Registry& registry);               // ctc.cpp

struct LossOps {
  const OpDef* cross_entropy = nullptr;
  const OpDef* cross_entropy_backward = nullptr;
  const OpDef* nll_loss = nullptr;
  const OpDef* nll_loss_backward = nullptr;
  const OpDef* ctc_loss_backward = nullptr;
  const OpDef* ctc_loss_curvature = nullptr;
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
