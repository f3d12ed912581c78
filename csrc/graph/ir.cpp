#include "graph/ir.h"

#include <ostream>

namespace gorgo {

int32_t Graph::add_value(IrValue::Kind kind, DType dtype, const Shape& shape) {
  IrValue& value = values.emplace_back();
  value.kind = kind;
  value.dtype = dtype;
  value.shape = shape;
  return static_cast<int32_t>(values.size()) - 1;
}

void Graph::define(int32_t node, int32_t value) {
  IrValue& made = values[static_cast<size_t>(value)];
  std::vector<int32_t>& outputs_of = nodes[static_cast<size_t>(node)].outputs;
  made.node = node;
  made.output = static_cast<int32_t>(outputs_of.size());
  outputs_of.push_back(value);
}

int64_t Graph::bytes_of(int32_t value) const {
  const IrValue& v = values[static_cast<size_t>(value)];
  return numel_of(v.shape) * dtype_size(v.dtype);
}

std::string Graph::describe(int32_t value) const {
  const IrValue& v = values[static_cast<size_t>(value)];
  return cat('%', value, ": ", v.dtype, ' ', v.shape);
}

void Graph::print(std::ostream& out) const {
  const auto list = [&](const char* title, const std::vector<int32_t>& ids) {
    for (const int32_t id : ids) {
      const IrValue& v = values[static_cast<size_t>(id)];
      out << title << ' ' << describe(id) << "  " << bytes_of(id) << " B" << (v.name.empty() ? "" : "  # ") << v.name
          << '\n';
    }
  };
  list("input", inputs);
  list("captured", captured);
  int64_t total = 0;
  for (const IrNode& node : nodes) {
    for (size_t i = 0; i < node.outputs.size(); ++i) out << (i > 0 ? ", " : "") << describe(node.outputs[i]);
    out << " = " << node.op->name << '(';
    const char* separator = "";
    for (const IrOperand& operand : node.inputs) {
      out << separator;
      separator = ", ";
      if (operand.is_scalar) {
        out << operand.scalar;
      } else if (operand.value >= 0) {
        out << '%' << operand.value;
      } else {
        out << "None";
      }
    }
    if (node.attrs.schema() != nullptr && node.attrs.schema()->count > 0) {
      out << separator;
      attrs_print(out, *node.attrs.schema(), node.attrs.get());
    }
    int64_t bytes = 0;
    if (!node.op->flags.view) {
      for (const int32_t id : node.outputs) bytes += bytes_of(id);
    }
    total += bytes;
    out << ")  " << bytes << " B" << (node.origin.empty() ? "" : "  # ") << node.origin << '\n';
  }
  for (const IrAssignment& a : assignments) out << "assign %" << a.target << " <- %" << a.value << '\n';
  out << "return";
  for (size_t i = 0; i < outputs.size(); ++i) out << (i > 0 ? ", %" : " %") << outputs[i];
  out << "\n# " << nodes.size() << " nodes, " << total << " bytes of results\n";
}

void Graph::dot(std::ostream& out) const {
  out << "digraph gorgo {\n  rankdir=TB;\n  node [shape=box, fontname=\"monospace\"];\n";
  for (size_t i = 0; i < values.size(); ++i) {
    const IrValue& v = values[i];
    if (v.kind == IrValue::Kind::Node) continue;
    const char* kind = v.kind == IrValue::Kind::Input ? "input" : "captured";
    out << "  v" << i << " [shape=ellipse, label=\"" << kind << ' ' << v.name << "\\n"
        << v.dtype << ' ' << v.shape << "\"];\n";
  }
  for (size_t n = 0; n < nodes.size(); ++n) {
    out << "  n" << n << " [label=\"" << nodes[n].op->name;
    for (const int32_t id : nodes[n].outputs) {
      out << "\\n" << values[static_cast<size_t>(id)].dtype << ' ' << values[static_cast<size_t>(id)].shape;
    }
    out << "\"];\n";
    for (const IrOperand& operand : nodes[n].inputs) {
      if (operand.value < 0) continue;
      const IrValue& from = values[static_cast<size_t>(operand.value)];
      if (from.kind == IrValue::Kind::Node) {
        out << "  n" << from.node << " -> n" << n << ";\n";
      } else {
        out << "  v" << operand.value << " -> n" << n << ";\n";
      }
    }
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const IrValue& from = values[static_cast<size_t>(outputs[i])];
    out << "  out" << i << " [shape=ellipse, label=\"output " << i << "\"];\n  ";
    if (from.kind == IrValue::Kind::Node) {
      out << 'n' << from.node;
    } else {
      out << 'v' << outputs[i];
    }
    out << " -> out" << i << ";\n";
  }
  out << "}\n";
}

}  // namespace gorgo
