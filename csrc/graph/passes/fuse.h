// Fusion: connected elementwise nodes over one shape become one node, `fused`, whose interior values never reach memory.
//
// A pure function of the graph. What a fused node computes is the same, rounded after each instruction to its dtype, so captured
// stays equal to eager bit for bit. Values keep their ids; an interior one is no node's output any more. Nodes may change places,
// never against an edge.
// Read next: core/fused.h (the little program), fuse.cpp.
#pragma once

#include <optional>

#include "graph/ir.h"

namespace gorgo {

// What is worth fusing: so many nodes at least, over values of so many elements at least.
struct FusionLimits {
  int nodes = 2;
  int64_t elements = 1;
};

// None when there is nothing to fuse.
[[nodiscard]] std::optional<Graph> fuse_elementwise(const Graph& graph, FusionLimits limits = {});

// What plans for this device fuse; none where it has no kernels for that, or GORGO_FUSE is 0. On a CPU a chain pays where its values
// leave the caches, on a card from three nodes on: the kernel that interprets programs starts more slowly than one op's.
[[nodiscard]] std::optional<FusionLimits> fusion_limits(Device device);

}  // namespace gorgo
