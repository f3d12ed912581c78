// Fusion: connected elementwise nodes over one shape become one node, `fused`, whose interior values never reach memory.
//
// A pure function of the graph. What a fused node computes is the same, rounded after each instruction to its dtype, so captured
// stays equal to eager bit for bit. Values keep their ids; an interior one is no node's output any more. Nodes may change places,
// never against an edge.
// Read next: core/fused.h (the little program), fuse.cpp.
#pragma once

#include "graph/ir.h"

namespace gorgo {

// The same graph when there is nothing to fuse. Fewer nodes than `least` stay apart.
[[nodiscard]] Graph fuse_elementwise(const Graph& graph, int least = 2);

// How many nodes are worth fusing there: on a card the start of the kernel that interprets programs outweighs one launch.
[[nodiscard]] constexpr int least_fused(Device device) { return device.type == DeviceType::Cuda ? 3 : 2; }

// Whether plans for this device fuse: its kernels are there, and GORGO_FUSE is not 0.
[[nodiscard]] bool fuses_on(Device device);

}  // namespace gorgo
