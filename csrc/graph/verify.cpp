#include "graph/verify.h"

#include <memory>

#include "opdef/core_ops.h"

namespace gorgo {
namespace {

constexpr Device kNowhere{DeviceType::Null, 0};

Tensor stand_in(DType dtype, const Shape& shape, const Strides* strides) {
  Storage* storage = Storage::imaginary(kNowhere, 0);
  Tensor t = make_tensor_over(storage, shape, dtype);
  storage->release();
  if (strides != nullptr && strides->size() == shape.size()) {
    t->strides = *strides;
    t->contiguous = is_contiguous(shape, *strides);
  }
  return t;
}

}  // namespace

Stand::Stand(const Graph& graph) : graph_(graph), tensors_(graph.values.size()) {
  for (size_t i = 0; i < graph.values.size(); ++i) {
    const IrValue& v = graph.values[i];
    if (v.kind != IrValue::Kind::Node) tensors_[i] = stand_in(v.dtype, v.shape, &v.strides);
  }
}

InferContext& Stand::infer(const IrNode& node) {
  args_.clear();
  for (const IrOperand& operand : node.inputs) {
    if (operand.is_scalar) {
      args_.emplace_back(operand.scalar);
    } else if (operand.value >= 0) {
      const Tensor& t = tensors_[static_cast<size_t>(operand.value)];
      if (!t) fail<StateError>("verify: value %", operand.value, " must be defined before ", node.op->name, " uses it");
      args_.emplace_back(t);
    } else {
      args_.emplace_back();
    }
  }
  context_ = std::make_unique<InferContext>(
      InferContext{*node.op, {args_.data(), static_cast<size_t>(args_.size())}, node.attrs.get()});
  node.op->infer(*context_);
  // A number written into a tensor takes the tensor's dtype and shape, as it did when it was recorded.
  if (node.op == core_ops().copy && node.inputs[0].is_scalar) {
    const IrValue& written = graph_.values[static_cast<size_t>(node.outputs[0])];
    context_->out[0].shape = Shape(written.shape);
    context_->out[0].dtype = context_->compute_dtype = written.dtype;
  }
  return *context_;
}

void Stand::place(const IrNode& node, const InferContext& context) {
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const IrValue& v = graph_.values[static_cast<size_t>(node.outputs[i])];
    Tensor t = stand_in(v.dtype, v.shape, nullptr);
    if (node.op->flags.view && i < static_cast<size_t>(context.out.size())) {
      const OutSpec& spec = context.out[static_cast<int>(i)];
      t->strides = spec.strides;
      t->offset = spec.offset;
      t->contiguous = is_contiguous(t->shape, t->strides);
    }
    tensors_[static_cast<size_t>(node.outputs[i])] = std::move(t);
  }
}

void verify(const Graph& graph) {
  Stand stand(graph);
  const auto in_range = [&](int32_t id) { return id >= 0 && static_cast<size_t>(id) < graph.values.size(); };
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const IrNode& node = graph.nodes[n];
    for (const IrOperand& operand : node.inputs) {
      if (operand.value >= 0 && !in_range(operand.value)) {
        fail<StateError>("verify: operand of ", node.op->name, " must be a value of the graph, got %", operand.value);
      }
    }
    const InferContext& said = stand.infer(node);
    for (int i = 0; i < said.out.size() && static_cast<size_t>(i) < node.outputs.size(); ++i) {
      const IrValue& v = graph.values[static_cast<size_t>(node.outputs[static_cast<size_t>(i)])];
      if (v.shape != said.out[i].shape || v.dtype != said.out[i].dtype) {
        fail<StateError>("verify: ", graph.describe(node.outputs[static_cast<size_t>(i)]), " must be what ",
                         node.op->name, " gives, ", said.out[i].dtype, ' ', said.out[i].shape);
      }
      if (v.node != static_cast<int32_t>(n)) {
        fail<StateError>("verify: %", node.outputs[static_cast<size_t>(i)], " must name its node ", n, ", got ",
                         v.node);
      }
    }
    stand.place(node, said);
  }
  for (const int32_t id : graph.outputs) {
    if (!in_range(id)) fail<StateError>("verify: output must be a value of the graph, got %", id);
  }
  for (const IrAssignment& a : graph.assignments) {
    const bool fits =
        in_range(a.target) && in_range(a.value) &&
        graph.values[static_cast<size_t>(a.target)].shape == graph.values[static_cast<size_t>(a.value)].shape &&
        graph.values[static_cast<size_t>(a.target)].dtype == graph.values[static_cast<size_t>(a.value)].dtype;
    if (!fits) fail<StateError>("verify: assignment must keep shape and dtype, got %", a.target, " <- %", a.value);
  }
}

}  // namespace gorgo
