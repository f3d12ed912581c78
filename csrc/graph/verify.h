// Checks a graph's invariants: definitions before uses, shapes and dtypes as infer says, ids in range.
#pragma once

#include <memory>

#include "graph/ir.h"

namespace gorgo {

// Throws StateError naming the node and what is wrong.
void verify(const Graph& graph);

// Tensors of the null device that stand for values while ops are asked about shapes.
class Stand {
 public:
  explicit Stand(const Graph& graph);
  // Asks infer about a node, its operands standing where `offset_of` says; the result is valid until the next call.
  InferContext& infer(const IrNode& node);
  // The tensor that stands for a value; views stand on what they view.
  [[nodiscard]] TensorImpl& of(int32_t value) { return *tensors_[static_cast<size_t>(value)]; }
  // Makes the outputs of a node stand, after infer.
  void place(const IrNode& node, const InferContext& context);

 private:
  const Graph& graph_;
  std::vector<Tensor> tensors_;
  SmallVector<Arg, 4> args_;
  std::unique_ptr<InferContext> context_;
};

}  // namespace gorgo
