// The passes that a recorded graph goes through before it is planned, in their order. A new pass is called here.
//
// Read next: fuse.h, epilogue.h, then planner.cpp.
#pragma once

#include <optional>

#include "graph/ir.h"

namespace gorgo {

// The graph as plans for its device run it: chains fused, then epilogues joined; none where nothing changes. Epilogues spare a card a
// launch. On a CPU they are joined where kernels apply them in registers; elsewhere they are one more pass over the result, as the op of its own
// is, and so are left out unless GORGO_FUSE is always.
[[nodiscard]] std::optional<Graph> fused_for_its_device(const Graph& graph);

}  // namespace gorgo
