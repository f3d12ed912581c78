// Sums of gradients: the first is borrowed, the second sum makes a tensor of its own, later ones add into it.
#pragma once

#include "tensor/tensor.h"

namespace gorgo {

// A gradient under way to a record's output.
struct GradSum {
  Tensor value;
  bool owned = false;  // made here, so it may be added into

  void add(Tensor g, bool create_graph);
};

// Adds `g` to leaf.grad. Safe from several threads; the lock guards the pointer only, never a kernel.
void accumulate_grad(TensorImpl& leaf, Tensor g, bool create_graph);
// Told of every leaf that receives a gradient; filled in by the funnel for the recorder. May be null.
extern void (*leaf_grad_hook)(TensorImpl& leaf);
[[nodiscard]] Tensor read_grad(TensorImpl& t);
void write_grad(TensorImpl& t, Tensor g);

}  // namespace gorgo
