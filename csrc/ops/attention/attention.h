// Attention: typed calls through the funnel.
// Read next: attention.cpp.
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/attention/attrs.h"

namespace gorgo {

void register_attention(Registry& registry);

struct AttentionOps {
  const OpDef* attention = nullptr;
  const OpDef* attention_backward = nullptr;
};
extern AttentionOps attention_ops;

}  // namespace gorgo
