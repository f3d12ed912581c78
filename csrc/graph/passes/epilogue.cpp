#include "graph/passes/epilogue.h"

#include <algorithm>
#include <utility>

#include "opdef/epilogue.h"

namespace gorgo {
namespace {

constexpr int32_t kNone = -1;

class Joiner {
 public:
  Joiner(const Graph& graph, bool free_only)
      : graph_(graph),
        free_only_(free_only),
        readers_(graph.values.size(), 0),
        kept_(graph.values.size(), false),
        taken_(graph.nodes.size(), kNone),
        through_(graph.nodes.size(), kNone),
        joins_(graph.nodes.size(), nullptr) {}

  std::optional<Graph> run() {
    for (const IrNode& node : graph_.nodes) {
      for (const IrOperand& operand : node.inputs) {
        if (operand.value >= 0) ++readers_[static_cast<size_t>(operand.value)];
      }
    }
    for (const int32_t id : graph_.outputs) kept_[static_cast<size_t>(id)] = true;
    for (const IrAssignment& a : graph_.assignments) kept_[static_cast<size_t>(a.value)] = true;
    bool any = false;
    for (size_t n = 0; n < graph_.nodes.size(); ++n) any = join(static_cast<int32_t>(n)) || any;
    return any ? std::optional<Graph>(rewrite()) : std::nullopt;
  }

 private:
  [[nodiscard]] const IrNode& node(int32_t n) const { return graph_.nodes[static_cast<size_t>(n)]; }
  [[nodiscard]] const IrValue& value(int32_t id) const { return graph_.values[static_cast<size_t>(id)]; }
  [[nodiscard]] int32_t producer(int32_t id) const {
    return id >= 0 && value(id).kind == IrValue::Kind::Node ? value(id).node : kNone;
  }

  // Who makes a value that one operand alone reads; else kNone.
  [[nodiscard]] int32_t only_for_one(int32_t id) const {
    const int32_t from = producer(id);
    return from != kNone && readers_[static_cast<size_t>(id)] == 1 && !kept_[static_cast<size_t>(id)] ? from : kNone;
  }

  // Makes elementwise node n part of the node whose result it alone reads, perhaps in another shape, if it may be.
  bool join(int32_t n) {
    const IrNode& then = node(n);
    if (!then.op->flags.elementwise || then.outputs.size() != 1 || then.inputs.empty()) return false;
    int32_t from = only_for_one(then.inputs[0].value);
    int32_t through = kNone;
    if (from != kNone && node(from).op == reshape_) {
      through = from;
      from = only_for_one(node(from).inputs[0].value);
    }
    if (from == kNone) return false;
    const IrNode& base = node(from);
    if (base.outputs.size() != 1 || taken_[static_cast<size_t>(from)] != kNone) return false;
    const OpDef* joined = with_epilogue(*base.op, *then.op);
    const IrValue& result = value(then.outputs[0]);
    if (joined == nullptr || result.dtype != value(base.outputs[0]).dtype) return false;
    const auto device = static_cast<size_t>(graph_.device.type);
    const Kernel* kernel = joined->kernels[device][static_cast<size_t>(result.dtype)];
    if (kernel == nullptr || (free_only_ && !kernel->epilogue_is_free)) return false;
    const size_t saved = joined->inputs.size() - base.op->inputs.size();
    if (then.inputs.size() != 1 + saved) return false;
    if (saved == 1) {
      const int32_t id = then.inputs[1].value;
      if (id < 0 || value(id).dtype != result.dtype || value(id).shape != result.shape) return false;
    }
    taken_[static_cast<size_t>(from)] = n;
    through_[static_cast<size_t>(n)] = through;
    joins_[static_cast<size_t>(n)] = joined;
    return true;
  }

  // The joined node stands where its base stood, or where the elementwise node did if what that one reads comes later.
  Graph rewrite() {
    Graph out = graph_;
    out.nodes.clear();
    std::vector<int32_t> base_of(graph_.nodes.size(), kNone);
    std::vector<bool> moves(graph_.nodes.size(), false);  // changes of shape, which follow the joined node
    for (size_t n = 0; n < taken_.size(); ++n) {
      if (taken_[n] != kNone) base_of[static_cast<size_t>(taken_[n])] = static_cast<int32_t>(n);
      if (through_[n] != kNone) moves[static_cast<size_t>(through_[n])] = true;
    }
    for (int32_t n = 0; n < static_cast<int32_t>(graph_.nodes.size()); ++n) {
      const int32_t then = taken_[static_cast<size_t>(n)];
      const int32_t base = base_of[static_cast<size_t>(n)];
      if (then != kNone && stands_early(n, then)) {
        emit(n, then, out);
      } else if (base != kNone && !stands_early(base, n)) {
        emit(base, n, out);
      } else if (then == kNone && base == kNone && !moves[static_cast<size_t>(n)]) {
        const auto index = static_cast<int32_t>(out.nodes.size());
        out.nodes.push_back(node(n));
        for (const int32_t id : node(n).outputs) out.values[static_cast<size_t>(id)].node = index;
      }
    }
    return out;
  }
  [[nodiscard]] bool stands_early(int32_t base, int32_t then) const {
    const IrNode& n = node(then);
    return n.inputs.size() < 2 || place_of(producer(n.inputs[1].value)) < base;
  }
  // Where a node stands in the end, at the latest.
  [[nodiscard]] int32_t place_of(int32_t n) const {
    return n == kNone ? kNone : std::max(n, taken_[static_cast<size_t>(n)]);
  }

  void emit(int32_t base, int32_t then, Graph& out) {
    const auto index = static_cast<int32_t>(out.nodes.size());
    IrNode made;
    made.op = joins_[static_cast<size_t>(then)];
    made.attrs = node(base).attrs;
    made.origin = node(base).origin;
    made.inputs = node(base).inputs;
    made.inputs.resize(node(base).op->inputs.size());
    for (size_t i = 1; i < node(then).inputs.size(); ++i) made.inputs.push_back(node(then).inputs[i]);
    out.nodes.push_back(std::move(made));
    const int32_t own = node(base).outputs[0];
    const int32_t result = node(then).outputs[0];
    const int32_t through = through_[static_cast<size_t>(then)];
    if (through == kNone) {
      out.values[static_cast<size_t>(own)].node = kNone;
      out.define(index, result);
      return;
    }
    out.define(index, own);
    out.values[static_cast<size_t>(node(through).outputs[0])].node = kNone;
    out.nodes.push_back(node(through));
    out.nodes.back().outputs.clear();
    out.define(index + 1, result);
  }

  const Graph& graph_;
  bool free_only_;
  const OpDef* const reshape_ = Registry::instance().find("reshape");
  std::vector<int32_t> readers_;     // of each value, how many operands
  std::vector<bool> kept_;           // values that are wanted at the end
  std::vector<int32_t> taken_;       // by base: the elementwise node that it takes
  std::vector<int32_t> through_;     // by elementwise node: what gives the result another shape on the way to it
  std::vector<const OpDef*> joins_;  // by elementwise node: what it becomes part of
};

}  // namespace

std::optional<Graph> join_epilogues(const Graph& graph, bool free_only) { return Joiner(graph, free_only).run(); }

}  // namespace gorgo
