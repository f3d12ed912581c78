#include "graph/passes/passes.h"

#include <utility>

#include "core/env.h"
#include "graph/passes/epilogue.h"
#include "graph/passes/fuse.h"

namespace gorgo {

std::optional<Graph> fused_for_its_device(const Graph& graph) {
  const std::optional<FusionLimits> limits = fusion_limits(graph.device);
  if (!limits) return {};
  std::optional<Graph> fused = fuse_elementwise(graph, *limits);
  const bool free_only = graph.device.type != DeviceType::Cuda && env_string("GORGO_FUSE") != "always";
  std::optional<Graph> joined = join_epilogues(fused ? *fused : graph, free_only);
  return joined ? std::move(joined) : std::move(fused);
}

}  // namespace gorgo
