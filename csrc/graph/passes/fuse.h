// Fusion: connected elementwise nodes over one shape become one node, `fused`, whose interior values never reach memory.
//
// A pure function of the graph. What a fused node computes is the same, rounded after each instruction to its dtype, so captured
// stays equal to eager bit for bit. Values keep their ids; an interior one is no node's output any more. Nodes may change places,
// never against an edge.
// Read next: core/fused.h (the little program), fuse.cpp.
#pragma once

#include "graph/ir.h"

namespace gorgo {

// The same graph when there is nothing to fuse.
[[nodiscard]] Graph fuse_elementwise(const Graph& graph);

// Whether plans for this device fuse: its kernels are there, and GORGO_FUSE is not 0.
[[nodiscard]] bool fuses_on(Device device);

}  // namespace gorgo
