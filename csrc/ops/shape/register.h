// What the host files of the shape family share: checks and answers of infer, and registration.
// Read next: shape.cpp, moves.cpp.
#pragma once

#include "opdef/registry.h"
#include "tensor/view.h"

namespace gorgo {

inline OutSpec& add_view(InferContext& c, const TensorImpl& x) {
  c.compute_dtype = x.dtype;
  OutSpec& out = c.out.emplace_back();
  out.dtype = x.dtype;
  out.offset = x.offset;
  return out;
}

// Throws unless the number of elements fits int64.
inline int64_t check_count(const Shape& shape, const char* op) { return numel_of(shape, op); }

inline OutSpec& add_moved(InferContext& c, const TensorImpl& x, const Shape& shape) {
  c.compute_dtype = x.dtype;
  check_count(shape, c.name());
  return c.add_output(x.dtype, shape);
}

// Asks the op what its outputs are for an input like the first one, contiguous at offset zero and without bytes.
inline SmallVector<OutSpec, 2> infer_again(const VjpContext& c) {
  const Tensor input = Tensor::adopt(TensorImpl::create());
  input->dtype = c.input_dtype(0);
  input->shape = c.input_shape(0);
  input->strides = contiguous_strides(input->shape);
  input->numel = check_count(input->shape, c.op.name);
  const Arg arg(input);
  InferContext infer(c.op, {&arg, 1}, c.attrs);
  c.op.infer(infer);
  return std::move(infer.out);
}

inline const OpDef* add_move_op(Registry& registry, OpDef op) {
  op.flags.linear = true;
  return &registry.add(std::move(op));
}

// The ops of moves.cpp.
void register_moves(Registry& registry);
// The ops of padding.cpp.
void register_padding(Registry& registry);

}  // namespace gorgo
