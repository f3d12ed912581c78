// gorgo.Graph and the functions behind python/gorgo/graph.py.
#include <sstream>

#include "bindings/compiled_function.h"

#include <pybind11/pybind11.h>

#include "bindings/convert.h"
#include "bindings/module.h"
#include "bindings/tensor_type.h"
#include "graph/executor.h"
#include "graph/passes/passes.h"
#include "graph/verify.h"

namespace py = pybind11;

namespace gorgo {
namespace {

std::string text_of(const Graph& graph, void (Graph::*write)(std::ostream&) const) {
  std::ostringstream out;
  (graph.*write)(out);
  return std::move(out).str();
}

std::string attributes_of(const IrNode& node) {
  std::ostringstream out;
  if (node.attrs.schema() != nullptr && node.attrs.schema()->count > 0) {
    attrs_print(out, *node.attrs.schema(), node.attrs.get());
  }
  return std::move(out).str();
}

std::vector<Tensor> inputs_for(const Graph& graph, const py::args& args) {
  if (args.size() != graph.inputs.size()) {
    fail<TypeError>("Graph.run: inputs must be ", graph.inputs.size(), " tensors, got ", args.size());
  }
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < args.size(); ++i) {
    const Tensor& t = tensor_from(args[i].ptr(), "Graph.run", "input");
    const IrValue& v = graph.values[static_cast<size_t>(graph.inputs[i])];
    if (t->shape != v.shape || t->dtype != v.dtype) {
      fail<ValueError>("Graph.run: input ", i, " must be ", v.dtype, ' ', v.shape, ", got ", t->dtype, ' ', t->shape);
    }
    inputs.push_back(t);
  }
  return inputs;
}

py::object wrapped(const Tensor& t) { return py::reinterpret_steal<py::object>(wrap(t)); }

py::tuple describe_value(const Graph& graph, int32_t id) {
  const IrValue& v = graph.values[static_cast<size_t>(id)];
  return py::make_tuple(id, py::reinterpret_steal<py::object>(to_python(v.dtype)),
                        py::reinterpret_steal<py::object>(to_python(v.shape)), graph.bytes_of(id));
}

// The drawing is Python: it is needed seldom, and reads like a page.
py::object drawing() { return py::module_::import("gorgo.drawing"); }

py::object drawn(const py::object& graph, const std::string& layout) {
  return drawing().attr("svg")(graph, py::arg("layout") = layout);
}

constexpr const char* kSvgDoc = R"(Draw the graph as SVG; notebooks do it by themselves.

Args:
    layout: 'dot' for Graphviz's program, 'own' for the one built in, 'auto' for the first where it is installed.

Returns:
    str: one svg element.

Raises:
    RuntimeError: when layout is 'dot' and the program is missing or fails.
    ValueError: when layout is none of these.

Example:
    >>> import gorgo as gg
    >>> graph = gg.graph.trace(lambda x: (x * x).sum(), gg.ones((3,)))
    >>> graph.svg(layout="own").startswith("<svg ")
    True
)";

constexpr const char* kSaveDoc = R"(Write the graph to a file; its ending says how.

Args:
    path: a name that ends in .svg (drawn), .dot or .gv (Graphviz's language) or .txt (what print shows).

Raises:
    ValueError: when the ending is none of these.

Example:
    >>> import gorgo as gg
    >>> gg.graph.trace(lambda x: x + x, gg.ones((3,))).save("graph.svg")
)";

py::list describe_values(const Graph& graph, const std::vector<int32_t>& ids) {
  py::list out;
  for (const int32_t id : ids) out.append(describe_value(graph, id));
  return out;
}

}  // namespace

PyObject* wrap_graph(Graph graph) { return py::cast(std::make_shared<Graph>(std::move(graph))).release().ptr(); }

void bind_graph(PyObject* module) {
  auto m = pybind11::reinterpret_borrow<pybind11::module_>(module);
  bind_compiled_function(module);
  py::class_<Graph, std::shared_ptr<Graph>>(m, "Graph", "A recorded program: nodes in topological order over values.")
      .def("__str__", [](const Graph& g) { return text_of(g, &Graph::print); })
      .def("__repr__",
           [](const Graph& g) {
             return cat("<gorgo.Graph: ", g.nodes.size(), " nodes, ", g.inputs.size(), " inputs, ", g.captured.size(),
                        " captured, ", g.outputs.size(), " outputs>");
           })
      .def("__len__", [](const Graph& g) { return g.nodes.size(); })
      .def(
          "dot", [](const Graph& g) { return text_of(g, &Graph::dot); }, "Return the graph in Graphviz's language.")
      .def("svg", &drawn, py::kw_only(), py::arg("layout") = "auto", kSvgDoc)
      .def("_repr_svg_", [](const py::object& g) { return drawing().attr("notebook_svg")(g); })
      .def(
          "save", [](const py::object& g, const py::object& path) { drawing().attr("save")(g, path); }, py::arg("path"),
          kSaveDoc)
      .def(
          "fused",
          [](const Graph& g) {
            std::optional<Graph> fused = fused_for_its_device(g);
            return fused ? std::make_shared<Graph>(*std::move(fused)) : std::make_shared<Graph>(g);
          },
          "Return the graph with chains of elementwise ops as one node each, and epilogues, as compiled functions run "
          "it.")
      .def(
          "verify", [](const Graph& g) { verify(g); },
          "Check the graph's invariants; RuntimeError tells what is wrong.")
      .def(
          "run",
          [](const Graph& g, const py::args& args) {
            py::list out;
            for (const Tensor& t : interpret(g, inputs_for(g, args))) out.append(wrapped(t));
            return out;
          },
          "Run the graph op by op on inputs of the recorded shapes and dtypes; return the outputs as a list.")
      .def(
          "run_planned",
          [](const Graph& g, const py::args& args) {
            const std::vector<Tensor> inputs = inputs_for(g, args);
            Program program(g);
            std::vector<Tensor> results;
            program.run(inputs, results);
            py::list out;
            for (const Tensor& t : results) out.append(wrapped(t));
            return out;
          },
          "Plan an arena for the graph and run it once from there; return the outputs as a list.")
      .def_property_readonly(
          "inputs", [](const Graph& g) { return describe_values(g, g.inputs); }, "Inputs as (id, dtype, shape, bytes).")
      .def_property_readonly(
          "captured", [](const Graph& g) { return describe_values(g, g.captured); },
          "Tensors captured by reference as (id, dtype, shape, bytes).")
      .def_property_readonly(
          "outputs", [](const Graph& g) { return describe_values(g, g.outputs); },
          "Outputs as (id, dtype, shape, bytes).")
      .def_property_readonly(
          "nodes",
          [](const Graph& g) {
            py::list out;
            for (const IrNode& node : g.nodes) {
              py::list inputs;
              for (const IrOperand& operand : node.inputs) {
                if (operand.is_scalar) {
                  inputs.append(py::reinterpret_steal<py::object>(to_python(operand.scalar)));
                } else if (operand.value >= 0) {
                  inputs.append(py::str(cat('%', operand.value)));
                } else {
                  inputs.append(py::none());
                }
              }
              out.append(py::make_tuple(node.op->name, inputs, describe_values(g, node.outputs), node.origin));
            }
            return out;
          },
          "Nodes in order as (op, inputs, outputs, where recorded).")
      .def_property_readonly(
          "assignments",
          [](const Graph& g) {
            py::list out;
            for (const IrAssignment& a : g.assignments) out.append(py::make_tuple(a.target, a.value));
            return out;
          },
          "What a run writes into captured tensors and inputs at its end, as (target's id, value's id).")
      .def_property_readonly(
          "_attributes",
          [](const Graph& g) {
            py::list out;
            for (const IrNode& node : g.nodes) out.append(attributes_of(node));
            return out;
          },
          "The attributes of each node as text, for the drawing.")
      .def_property_readonly(
          "_names",
          [](const Graph& g) {
            py::dict out;
            for (size_t i = 0; i < g.values.size(); ++i) {
              if (!g.values[i].name.empty()) out[py::int_(i)] = g.values[i].name;
            }
            return out;
          },
          "What the program calls its values, where it does, for the drawing.");
  m.def(
      "trace",
      [](const py::object& function, const py::tuple& args, const py::object& kwargs) {
        return trace_call(function.ptr(), args.ptr(), kwargs.is_none() ? nullptr : kwargs.ptr());
      },
      py::arg("function"), py::arg("args"), py::arg("kwargs") = py::none());
}

}  // namespace gorgo
