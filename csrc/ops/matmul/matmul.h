// The matmul family: the matrix product and the fully connected layer. Typed calls through the funnel.
//
// Invariant: operands are read where they lie, whatever their strides; nothing is copied but what a kernel packs into its scratch.
// Read next: matmul.cpp (shapes, gradients), kernels_cpu.cpp, kernels/gemm/gemm.h.
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"

namespace gorgo {

void register_matmul(Registry& registry);

struct MatmulOps {
  const OpDef* matmul = nullptr;
  const OpDef* matmul_integer = nullptr;
  const OpDef* linear = nullptr;
};
extern MatmulOps matmul_ops;

// The array API's product: of vectors, of matrices, and of stacks of matrices under broadcasting.
[[nodiscard]] inline Tensor matmul(const Tensor& x1, const Tensor& x2) { return invoke(*matmul_ops.matmul, {x1, x2}); }
// x (..., in) times weight (out, in) transposed, plus bias (out) unless it is null.
[[nodiscard]] inline Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}) {
  return invoke(*matmul_ops.linear, {x, weight, bias});
}

}  // namespace gorgo
