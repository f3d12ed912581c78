// Epilogues: an elementwise node that alone reads what a product, a convolution or the like makes becomes part of that node.
//
// A pure function of the graph, after elementwise chains have been fused: what is left alone is taken. The value between the two no
// longer exists, or comes to be after the elementwise op where it only was given another shape; the others keep their ids. Nodes
// move towards the front only, never before what they read.
// Read next: opdef/epilogue.h (the ops that result), epilogue.cpp.
#pragma once

#include <optional>

#include "graph/ir.h"

namespace gorgo {

// None when there is nothing to take. With `free_only` nothing is taken that costs its kernel another pass over the results.
[[nodiscard]] std::optional<Graph> join_epilogues(const Graph& graph, bool free_only = false);

}  // namespace gorgo
