// The IR: a functional program over values. What capture records, ONNX import yields and the executor runs.
//
// Invariants: every value is defined once, by an input, a constant, a captured outer tensor or a node; nodes are in an order
// in which definitions come before uses (verify.h checks it). A write to a captured tensor is a value plus an assignment.
// Read next: verify.h, capture.h, executor.h.
#pragma once

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "opdef/op.h"

namespace gorgo {

struct IrValue {
  enum class Kind : uint8_t { Input, Captured, Constant, Node };
  Kind kind = Kind::Node;
  DType dtype = DType::Float32;
  Shape shape;
  Strides strides;        // Input, Captured: as they were when recorded; the program is for these
  int32_t node = -1;      // defining node
  int32_t output = 0;     // which of its outputs
  int32_t position = -1;  // which input, or which captured tensor
  Tensor tensor;          // Captured: the outer tensor (its root); Constant: the value
  std::string name;
};

// An operand: a value, a scalar kept as such, or nothing.
struct IrOperand {
  int32_t value = -1;
  bool is_scalar = false;
  Scalar scalar;
};

struct IrNode {
  const OpDef* op = nullptr;
  Attrs attrs;
  std::vector<IrOperand> inputs;
  std::vector<int32_t> outputs;  // value ids
  std::string origin;            // the user's line
};

// At the end of a run, the bytes of the captured tensor or input take the value: a parameter's update.
struct IrAssignment {
  int32_t target = -1;  // value id of kind Captured or Input
  int32_t value = -1;
};

class Graph {
 public:
  std::vector<IrValue> values;
  std::vector<IrNode> nodes;
  std::vector<int32_t> inputs;    // value ids
  std::vector<int32_t> captured;  // value ids
  std::vector<int32_t> outputs;   // value ids
  std::vector<IrAssignment> assignments;
  Device device;  // where it was recorded, and runs

  int32_t add_value(IrValue::Kind kind, DType dtype, const Shape& shape);
  // Appends `value` to the node's outputs.
  void define(int32_t node, int32_t value);
  // Bytes of one value if it were stored contiguously.
  [[nodiscard]] int64_t bytes_of(int32_t value) const;
  // "%3: float32 (4, 5)".
  [[nodiscard]] std::string describe(int32_t value) const;
  // One line per node with shapes and bytes, then assignments, outputs and totals.
  void print(std::ostream& out) const;
  // Graphviz.
  void dot(std::ostream& out) const;
};

}  // namespace gorgo
