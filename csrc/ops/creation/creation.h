// The creation family: tensors made from nothing but numbers. They are ops, so that a captured program makes them anew at
// each run. Read next: attrs.h, bindings/bind_creation.cpp (the public functions, which compute these attributes).
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/creation/attrs.h"

namespace gorgo {

void register_creation(Registry& registry);

struct CreationOps {
  const OpDef* full = nullptr;
  const OpDef* ramp = nullptr;
  const OpDef* eye = nullptr;
};
extern CreationOps creation_ops;

[[nodiscard]] inline Tensor full(const Shape& shape, const Scalar& value, DType dtype) {
  const FullAttrs attrs{shape, value, dtype};
  return invoke(*creation_ops.full, {}, &attrs);
}

// 0, 1, ..., count - 1 as int64.
[[nodiscard]] inline Tensor whole_numbers(int64_t count) {
  RampAttrs attrs;
  attrs.start = Scalar::of_int(0);
  attrs.step = Scalar::of_int(1);
  attrs.count = count;
  attrs.dtype = DType::Int64;
  return invoke(*creation_ops.ramp, {}, &attrs);
}

}  // namespace gorgo
