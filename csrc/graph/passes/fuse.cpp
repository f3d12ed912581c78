#include "graph/passes/fuse.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <queue>
#include <string_view>
#include <unordered_map>

#include "core/env.h"
#include "core/fused.h"
#include "opdef/core_ops.h"
#include "opdef/registry.h"

namespace gorgo {
namespace {

// What a program computes in: float32 for that and the half types, float64, or either where there is bool alone.
enum class Compute : uint8_t { Any, Float, Double, Mixed };
Compute compute_of(DType d) {
  switch (d) {
    case DType::Bool:
      return Compute::Any;
    case DType::Float16:
    case DType::BFloat16:
    case DType::Float32:
      return Compute::Float;
    case DType::Float64:
      return Compute::Double;
    default:
      return Compute::Mixed;
  }
}
Compute together(Compute a, Compute b) {
  if (a == Compute::Any || a == b) return b;
  return b == Compute::Any ? a : Compute::Mixed;
}

// What an instruction reads: a value, or a number as the op's kernel would see it.
struct Read {
  int32_t value = -1;
  double number = 0.0;
};
// One instruction, before it is part of a program.
struct Piece {
  FusedOp op = FusedOp::Copy;
  DType dtype = DType::Float32;
  Read reads[3];
  int32_t makes = -1;  // the value
};
// A node as instructions: none when it cannot be fused.
struct Pieces {
  std::array<Piece, 2> list;
  int count = 0;
  Compute compute = Compute::Any;
};

enum class Form : uint8_t { Plain, Comparison, Logical, Backward };
struct Entry {
  FusedOp op;
  Form form;
};

const std::unordered_map<const OpDef*, Entry>& entries() {
  static const auto* table = [] {
    auto* t = new std::unordered_map<const OpDef*, Entry>;
    const auto add = [&](const char* name, FusedOp op, Form form) {
      if (const OpDef* found = Registry::instance().find(name)) t->insert({found, {op, form}});
    };
#define GORGO_X(Struct, name) add(#name, FusedOp::Struct, Form::Plain);
    GORGO_FOR_EACH_FUSED_UNARY(GORGO_X)
    GORGO_FOR_EACH_FUSED_BINARY(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name) add(#name, FusedOp::Struct, Form::Comparison);
    GORGO_FOR_EACH_FUSED_TEST(GORGO_X)
    GORGO_FOR_EACH_FUSED_COMPARISON(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name) add(#name, FusedOp::Struct, Form::Logical);
    GORGO_FOR_EACH_FUSED_LOGICAL(GORGO_X)
    GORGO_X(LogicalNot, logical_not)
#undef GORGO_X
#define GORGO_X(Struct, name) add(#name "_backward", FusedOp::Struct##Backward, Form::Plain);
    GORGO_FOR_EACH_FUSED_UNARY_BACKWARD(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name) add(#name "_backward", FusedOp::Struct##BackwardA, Form::Backward);
    GORGO_FOR_EACH_FUSED_BINARY_BACKWARD(GORGO_X)
#undef GORGO_X
    add("where", FusedOp::Where, Form::Plain);
    add("clip", FusedOp::Clip, Form::Plain);
    add("copy", FusedOp::Copy, Form::Plain);
    add("astype", FusedOp::Move, Form::Plain);
    add("pow", FusedOp::Square, Form::Plain);
    return t;
  }();
  return *table;
}

// Reads nodes as instructions.
class Reader {
 public:
  explicit Reader(const Graph& graph) : graph_(graph) {}

  [[nodiscard]] Pieces pieces_of(const IrNode& node) const {
    Pieces out;
    const auto found = entries().find(node.op);
    if (found == entries().end() || node.outputs.empty()) return out;
    const IrValue& result = value(node.outputs[0]);
    if (result.shape.size() > kFusedRank) return out;
    const int64_t numel = numel_of(result.shape);
    if (numel == 0 || numel > std::numeric_limits<int32_t>::max()) return out;
    if (!fill(node, found->second, out)) return {};
    for (int i = 0; i < out.count; ++i) {
      out.compute = together(out.compute, compute_of(out.list[static_cast<size_t>(i)].dtype));
      for (const Read& read : out.list[static_cast<size_t>(i)].reads) {
        if (read.value >= 0) out.compute = together(out.compute, compute_of(value(read.value).dtype));
      }
    }
    return out.compute == Compute::Mixed ? Pieces{} : out;
  }

 private:
  [[nodiscard]] const IrValue& value(int32_t id) const { return graph_.values[static_cast<size_t>(id)]; }

  // The number that a kernel computing in `dtype` is given.
  static double number_as(const Scalar& scalar, DType dtype, const char* op) {
    Element element;
    store_scalar(scalar, dtype, op, element.bytes);
    return load_scalar(element.bytes, dtype).to_complex().real();
  }

  bool fill(const IrNode& node, const Entry& entry, Pieces& out) const {
    if (node.op == core_ops().astype) return fill_cast(node, out);
    const IrValue& result = value(node.outputs[0]);
    Piece piece;
    piece.op = entry.op;
    piece.dtype = result.dtype;
    piece.makes = node.outputs[0];
    // The dtype in which operands meet; the condition of a choice stands apart.
    const size_t first = entry.op == FusedOp::Where ? 1 : 0;
    DType meets = entry.form == Form::Logical ? DType::Bool : result.dtype;
    if (entry.form == Form::Comparison) {
      for (const IrOperand& operand : node.inputs) {
        if (operand.value >= 0) meets = value(operand.value).dtype;
      }
      if (compute_of(meets) != Compute::Float && compute_of(meets) != Compute::Double) return false;
    }
    // Bits that no arithmetic has touched must not pass through float32: NaN would lose its payload.
    if ((entry.op == FusedOp::Where || entry.op == FusedOp::Copy) && result.dtype == DType::Float16) return false;
    if (node.inputs.size() > 3) return false;
    bool any = false;
    Shape shape;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const IrOperand& operand = node.inputs[i];
      Read& read = piece.reads[i];
      if (operand.is_scalar) {
        read.number = number_as(node.op->operand_of(operand.scalar), meets, node.op->name);
      } else if (operand.value >= 0) {
        const IrValue& from = value(operand.value);
        if (from.dtype != (i < first ? DType::Bool : meets)) return false;
        read.value = operand.value;
        shape = any ? broadcast_shapes(shape, from.shape, node.op->name) : Shape(from.shape);
        any = true;
      } else if (entry.op == FusedOp::Clip) {  // an absent bound
        read.number = i == 1 ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
      } else {
        return false;
      }
    }
    if (!any || shape != result.shape) return false;
    if (node.op->name == std::string_view("pow")) {  // the short cuts of its kernels
      if (!node.inputs[1].is_scalar) return false;
      const double exponent = piece.reads[1].number;
      if (exponent != 2.0 && exponent != 1.0) return false;
      piece.op = exponent == 2.0 ? FusedOp::Square : FusedOp::Move;
      piece.reads[1] = {};
    }
    if (entry.form == Form::Backward) return fill_backward(node, piece, out);
    if (node.outputs.size() != 1) return false;
    if (static_cast<int>(node.inputs.size()) < fused_arity(piece.op)) return false;
    out.list[0] = piece;
    out.count = 1;
    return true;
  }

  static bool fill_backward(const IrNode& node, Piece piece, Pieces& out) {
    const auto which = attribute(node, "which");
    if (which < 1 || which > 3 || node.inputs.size() != 3) return false;
    const auto by_b = static_cast<FusedOp>(static_cast<int>(piece.op) + 1);
    if (which != 1) piece.op = which == 2 ? by_b : piece.op;
    out.list[0] = piece;
    out.count = 1;
    if (which == 3) {
      piece.op = by_b;
      piece.makes = node.outputs[1];
      out.list[1] = piece;
      out.count = 2;
    }
    return true;
  }

  bool fill_cast(const IrNode& node, Pieces& out) const {
    const IrOperand& operand = node.inputs[0];
    if (operand.is_scalar || operand.value < 0) return false;
    const IrValue& from = value(operand.value);
    const IrValue& result = value(node.outputs[0]);
    if (from.shape != result.shape) return false;
    if (compute_of(from.dtype) == Compute::Mixed || compute_of(result.dtype) == Compute::Mixed) return false;
    Piece& piece = out.list[0];
    piece.op = from.dtype == result.dtype    ? FusedOp::Copy
               : result.dtype == DType::Bool ? FusedOp::Truth
                                             : FusedOp::Move;
    if (piece.op == FusedOp::Copy && result.dtype == DType::Float16) return false;
    piece.dtype = result.dtype;
    piece.reads[0].value = operand.value;
    piece.makes = node.outputs[0];
    out.count = 1;
    return true;
  }

  static int64_t attribute(const IrNode& node, std::string_view name) {
    const AttrSchema* schema = node.attrs.schema();
    for (int i = 0; schema != nullptr && i < schema->count; ++i) {
      if (name == schema->fields[i].name && schema->fields[i].kind == FieldKind::Int) {
        int64_t v = 0;
        std::memcpy(&v, static_cast<const unsigned char*>(node.attrs.get()) + schema->fields[i].offset, sizeof v);
        return v;
      }
    }
    return -1;
  }

  const Graph& graph_;
};

// Finds groups, then writes the graph anew. Reading order: run().
class Fuser {
 public:
  Fuser(const Graph& graph, FusionLimits limits)
      : graph_(graph),
        limits_(limits),
        pieces_(graph.nodes.size()),
        group_of_(graph.nodes.size(), -1),
        readers_(graph.values.size()),
        kept_(graph.values.size(), false) {}

  std::optional<Graph> run() {
    const Reader reader(graph_);
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      const IrNode& node = graph_.nodes[n];
      pieces_[n] = reader.pieces_of(node);
      for (const IrOperand& operand : node.inputs) {
        if (operand.value >= 0) readers_[static_cast<size_t>(operand.value)].push_back(static_cast<int32_t>(n));
      }
    }
    for (const int32_t id : graph_.outputs) kept_[static_cast<size_t>(id)] = true;
    for (const IrAssignment& a : graph_.assignments) kept_[static_cast<size_t>(a.value)] = true;
    for (size_t n = 0; n < graph_.nodes.size(); ++n) join(static_cast<int32_t>(n));
    for (Members& members : groups_) {
      if (members.size() >= static_cast<size_t>(limits_.nodes)) continue;
      for (const int32_t n : members) group(n) = -1;
      members.clear();
    }
    if (std::all_of(groups_.begin(), groups_.end(), [](const Members& m) { return m.empty(); })) return {};
    return rewrite();
  }

 private:
  using Members = std::vector<int32_t>;  // nodes in order

  [[nodiscard]] const IrNode& node(int32_t n) const { return graph_.nodes[static_cast<size_t>(n)]; }
  [[nodiscard]] const IrValue& value(int32_t id) const { return graph_.values[static_cast<size_t>(id)]; }
  [[nodiscard]] const Pieces& pieces(int32_t n) const { return pieces_[static_cast<size_t>(n)]; }
  [[nodiscard]] int32_t& group(int32_t n) { return group_of_[static_cast<size_t>(n)]; }
  [[nodiscard]] int32_t producer(int32_t id) const {
    return value(id).kind == IrValue::Kind::Node ? value(id).node : -1;
  }
  [[nodiscard]] const Shape& shape_of(int32_t n) const { return value(node(n).outputs[0]).shape; }

  // Puts node n into the groups of those that make what it reads, as far as they may become one.
  void join(int32_t n) {
    if (pieces(n).count == 0 || numel_of(shape_of(n)) < limits_.elements) return;
    group(n) = static_cast<int32_t>(groups_.size());
    groups_.push_back({n});
    for (const IrOperand& operand : node(n).inputs) {
      if (operand.value < 0) continue;
      const int32_t from = producer(operand.value);
      if (from < 0 || group(from) < 0 || group(from) == group(n) || shape_of(from) != shape_of(n)) continue;
      Members all;
      const Members& a = groups_[static_cast<size_t>(group(from))];
      const Members& b = groups_[static_cast<size_t>(group(n))];
      std::merge(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(all));
      if (!fits(all) || passes_outside(all, group(from), group(n))) continue;
      const int32_t kept = group(from);
      groups_[static_cast<size_t>(group(n))].clear();
      for (const int32_t m : all) group(m) = kept;
      groups_[static_cast<size_t>(kept)] = std::move(all);
    }
  }

  // A group's program: operands in memory, numbers, instructions, and which values are wanted outside.
  struct Program {
    std::vector<int32_t> inputs;
    std::vector<double> numbers;
    std::vector<Piece> pieces;
    std::vector<int32_t> outputs;
    Compute compute = Compute::Any;
  };
  [[nodiscard]] Program program_of(const Members& members) const {
    Program p;
    const auto inside = [&](int32_t n) { return std::binary_search(members.begin(), members.end(), n); };
    for (const int32_t n : members) {
      p.compute = together(p.compute, pieces(n).compute);
      for (int i = 0; i < pieces(n).count; ++i) {
        const Piece& piece = pieces(n).list[static_cast<size_t>(i)];
        p.pieces.push_back(piece);
        for (int k = 0; k < fused_arity(piece.op); ++k) {
          const Read& read = piece.reads[k];
          if (read.value < 0) {
            if (number_at(p, read.number) < 0) p.numbers.push_back(read.number);
          } else if (!inside(producer(read.value))) {
            if (std::find(p.inputs.begin(), p.inputs.end(), read.value) == p.inputs.end()) {
              p.inputs.push_back(read.value);
            }
          }
        }
      }
      for (const int32_t out : node(n).outputs) {
        const std::vector<int32_t>& readers = readers_[static_cast<size_t>(out)];
        if (kept_[static_cast<size_t>(out)] || !std::all_of(readers.begin(), readers.end(), inside)) {
          p.outputs.push_back(out);
        }
      }
    }
    return p;
  }
  // By bits, so that zeros of both signs stay two.
  static int number_at(const Program& p, double number) {
    for (size_t i = 0; i < p.numbers.size(); ++i) {
      if (std::bit_cast<uint64_t>(p.numbers[i]) == std::bit_cast<uint64_t>(number)) return static_cast<int>(i);
    }
    return -1;
  }

  [[nodiscard]] bool fits(const Members& members) const {
    if (members.size() > kFusedInstructions) return false;
    const Program p = program_of(members);
    return p.compute != Compute::Mixed && p.inputs.size() <= kFusedInputs && p.numbers.size() <= kFusedNumbers &&
           p.pieces.size() <= kFusedInstructions && p.outputs.size() <= kFusedOutputs && !p.outputs.empty();
  }

  // Would a way lead from the members through other nodes back to a member? Groups on the way count as the one node that they are.
  [[nodiscard]] bool passes_outside(const Members& members, int32_t one, int32_t other) {
    std::vector<bool> seen(graph_.nodes.size(), false);
    std::vector<int32_t> stack;
    const auto inside = [&](int32_t n) { return group(n) >= 0 && (group(n) == one || group(n) == other); };
    const auto push_operands = [&](int32_t n) {
      for (const IrOperand& operand : node(n).inputs) {
        const int32_t from = operand.value >= 0 ? producer(operand.value) : -1;
        if (from >= 0 && !seen[static_cast<size_t>(from)]) {
          seen[static_cast<size_t>(from)] = true;
          stack.push_back(from);
        }
      }
    };
    for (const int32_t n : members) {
      for (const IrOperand& operand : node(n).inputs) {
        const int32_t from = operand.value >= 0 ? producer(operand.value) : -1;
        if (from < 0 || inside(from) || seen[static_cast<size_t>(from)]) continue;
        seen[static_cast<size_t>(from)] = true;
        stack.push_back(from);
      }
    }
    while (!stack.empty()) {
      const int32_t n = stack.back();
      stack.pop_back();
      if (inside(n)) return true;
      if (group(n) < 0) {
        if (n > members.front()) push_operands(n);  // what comes before all members depends on none
        continue;
      }
      for (const int32_t m : groups_[static_cast<size_t>(group(n))]) push_operands(m);
    }
    return false;
  }

  // ---- the graph anew ----

  Graph rewrite() {
    Graph out = graph_;
    out.nodes.clear();
    // Nodes and groups in an order in which definitions come before uses, each as early as its last member was.
    const auto count = static_cast<int32_t>(graph_.nodes.size());
    const auto place_of = [&](int32_t n) { return group(n) < 0 ? n : groups_[static_cast<size_t>(group(n))].back(); };
    std::vector<std::vector<int32_t>> after(graph_.nodes.size());
    std::vector<int32_t> waits(graph_.nodes.size(), 0);
    for (int32_t n = 0; n < count; ++n) {
      for (const IrOperand& operand : node(n).inputs) {
        const int32_t from = operand.value >= 0 ? producer(operand.value) : -1;
        if (from < 0 || place_of(from) == place_of(n)) continue;
        after[static_cast<size_t>(place_of(from))].push_back(place_of(n));
        ++waits[static_cast<size_t>(place_of(n))];
      }
    }
    std::priority_queue<int32_t, std::vector<int32_t>, std::greater<>> ready;
    for (int32_t n = 0; n < count; ++n) {
      if (place_of(n) == n && waits[static_cast<size_t>(n)] == 0) ready.push(n);
    }
    while (!ready.empty()) {
      const int32_t n = ready.top();
      ready.pop();
      emit(n, out);
      for (const int32_t next : after[static_cast<size_t>(n)]) {
        if (--waits[static_cast<size_t>(next)] == 0) ready.push(next);
      }
    }
    return out;
  }

  void emit(int32_t n, Graph& out) {
    const auto index = static_cast<int32_t>(out.nodes.size());
    if (group(n) < 0) {
      out.nodes.push_back(node(n));
      for (const int32_t id : node(n).outputs) out.values[static_cast<size_t>(id)].node = index;
      return;
    }
    const Members& members = groups_[static_cast<size_t>(group(n))];
    const Program p = program_of(members);
    std::unordered_map<int32_t, int> number;  // of a value in the program
    IrNode made;
    made.op = Registry::instance().find("fused");
    made.origin = node(n).origin;
    for (const int32_t id : p.inputs) {
      number[id] = static_cast<int>(made.inputs.size());
      made.inputs.push_back(IrOperand{id, false, {}});
    }
    for (const double v : p.numbers) made.inputs.push_back(IrOperand{-1, true, Scalar::of_float(v)});
    FusedAttrs attrs;
    attrs.interpreted = limits_.interpreted;
    for (const Piece& piece : p.pieces) {
      FusedInstruction instruction;
      instruction.op = piece.op;
      instruction.dtype = piece.dtype;
      for (int k = 0; k < fused_arity(piece.op); ++k) {
        const Read& read = piece.reads[k];
        const int from =
            read.value >= 0 ? number.at(read.value) : static_cast<int>(p.inputs.size()) + number_at(p, read.number);
        instruction.reads[k] = static_cast<int8_t>(from);
      }
      number[piece.makes] = static_cast<int>(made.inputs.size()) + attrs.code.size();
      attrs.code.push_back(instruction.word());
    }
    for (const int32_t id : p.outputs) attrs.results.push_back(number.at(id));
    made.attrs = Attrs(made.op->attrs, &attrs);
    for (const int32_t m : members) {
      for (const int32_t id : node(m).outputs) out.values[static_cast<size_t>(id)].node = -1;
    }
    out.nodes.push_back(std::move(made));
    for (const int32_t id : p.outputs) out.define(index, id);
  }

  const Graph& graph_;
  FusionLimits limits_;
  std::vector<Pieces> pieces_;
  std::vector<int32_t> group_of_;
  std::vector<Members> groups_;
  std::vector<std::vector<int32_t>> readers_;
  std::vector<bool> kept_;
};

}  // namespace

std::optional<Graph> fuse_elementwise(const Graph& graph, FusionLimits limits) { return Fuser(graph, limits).run(); }

std::optional<FusionLimits> fusion_limits(Device device) {
  constexpr int64_t kBeyondCaches = int64_t{1} << 20;
  const OpDef* op = Registry::instance().find("fused");
  if (op == nullptr || op->kernels[static_cast<int>(device.type)][static_cast<int>(DType::Float32)] == nullptr)
    return {};
  FusionLimits limits;
  limits.interpreted = !env_flag("GORGO_FUSE_COMPILE", true);
  if (env_string("GORGO_FUSE") == "always") return limits;
  if (!env_flag("GORGO_FUSE", true)) return {};
  if (device.type == DeviceType::Cuda) {
    limits.nodes = limits.interpreted ? 3 : 2;
  } else {
    limits.elements = kBeyondCaches;
  }
  return limits;
}

}  // namespace gorgo
