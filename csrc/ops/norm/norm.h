// The norms: which ops there are. Read next: norm.cpp.
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/norm/attrs.h"

namespace gorgo {

void register_norm(Registry& registry);

struct NormOps {
  const OpDef* layer_norm_backward = nullptr;
  const OpDef* rms_norm_backward = nullptr;
  const OpDef* group_norm_backward = nullptr;
  const OpDef* batch_norm_backward = nullptr;
};
extern NormOps norm_ops;

}  // namespace gorgo
