// The random family: pure functions of a key, and the one op that makes keys. Typed calls through the funnel.
//
// A generator is a uint64 tensor (seed, counter) on the CPU. random_key writes it: the counter goes up by one whatever is drawn
// with the key. Everything else depends on the key and the element's flat index alone.
// Read next: philox.h (the stream of bits), random.cpp, python/gorgo/random.py.
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/random/attrs.h"

namespace gorgo {

void register_random(Registry& registry);
void register_random_samples(Registry& registry);  // those whose parameters are tensors: random_sample.cpp

namespace random_rules {  // what both files check
void check_key(const InferContext& c, int operand, const char* what);
OpDef drawing_op(const char* name, const char* doc, const char* details);
}  // namespace random_rules

struct RandomOps {
  const OpDef* key = nullptr;
  const OpDef* uniform = nullptr;
  const OpDef* normal = nullptr;
  const OpDef* randint = nullptr;
  const OpDef* bernoulli = nullptr;
  const OpDef* permutation = nullptr;
  const OpDef* dropout = nullptr;
  const OpDef* dropout_adjoint = nullptr;
  const OpDef* gamma_slope = nullptr;
  const OpDef* truncated_slope = nullptr;
};
extern RandomOps random_ops;

// The next key of a generator's state.
[[nodiscard]] inline Tensor random_key(const Tensor& state) { return invoke(*random_ops.key, {state}); }

// Zero with probability p, else x / (1 - p); and the mask of what was kept.
[[nodiscard]] inline Outputs dropout(const Tensor& x, const Tensor& key, double p) {
  const DropoutAttrs attrs{p};
  const Arg args[2] = {x, key};
  return invoke_all(*random_ops.dropout, args, &attrs);
}
[[nodiscard]] inline Tensor dropout_adjoint(const Tensor& g, const Tensor& mask, double p) {
  const DropoutAttrs attrs{p};
  return invoke(*random_ops.dropout_adjoint, {g, mask}, &attrs);
}

}  // namespace gorgo
