// The op that capture's fusion puts in place of a chain of elementwise calls. Nobody calls it by hand.
// Read next: core/fused.h, graph/passes/fuse.h.
#pragma once

#include "opdef/registry.h"

namespace gorgo {

void register_fused(Registry& registry);

}  // namespace gorgo
