// gorgo.compile's callable: guards in front of recorded programs.
//
// A call flattens its arguments into leaves and a structure, finds a program whose guards hold, and runs it; else it records a
// new one while the function runs eagerly. Invariant: what a call returns and writes is what the eager call would have, bit for
// bit, or an exception says why not.
// Read next: compiled_function.cpp, graph/capture.h, graph/executor.h.
#pragma once

#include <memory>

#include "bindings/python.h"
#include "graph/ir.h"

namespace gorgo {

// Adds the type and the functions that recording code calls (guards, host effects).
void bind_compiled_function(PyObject* module);

// Records one call of `function` and returns the graph; its results are the graph's outputs, in flattened order.
[[nodiscard]] std::shared_ptr<Graph> trace_call(PyObject* function, PyObject* args, PyObject* kwargs);

// A new gorgo.graph.Graph (bind_graph.cpp).
[[nodiscard]] PyObject* wrap_graph(Graph graph);

}  // namespace gorgo
