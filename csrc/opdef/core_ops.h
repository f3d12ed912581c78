// The few ops that the funnel, the tape and capture call themselves, with their attribute structs.
//
// They are defined in their families like all others (elementwise: astype, copy, add; shape: as_strided, view_scatter); only
// what their callers below must know stands here.
#pragma once

#include <array>

#include "core/region.h"
#include "opdef/invoke.h"

namespace gorgo {

// astype(x): the elements converted to `dtype`, always a copy.
struct CastAttrs {
  DType dtype = DType::Float32;
  static constexpr auto fields() { return std::array{GORGO_FIELD(CastAttrs, dtype).must()}; }
};

// astype(x, dtype): returns x itself when the dtype is right already. By value, so that a caller's last reference stays the
// only one (the tape keeps a gradient without a copy only then).
[[nodiscard]] Tensor cast_to(Tensor x, DType dtype);
// copy(x): a fresh contiguous tensor with the same elements.
[[nodiscard]] Tensor copy_of(const Tensor& x);
// x itself when contiguous, else a copy.
[[nodiscard]] Tensor contiguous_of(const Tensor& x);
// The gradient of output i for a kernel that walks lines or planes: one that was spread over a shape, as the gradient of a sum
// is, or that lies across, would be read an element at a time, and summed in another order. Null where none arrived.
[[nodiscard]] Tensor dense_grad(const VjpContext& c, int i = 0);
// Assigns src (broadcast, converted) to target in place.
void assign(const Tensor& target, const Arg& src);

struct CoreOps {
  const OpDef* astype = nullptr;
  const OpDef* copy = nullptr;
  const OpDef* add = nullptr;
  const OpDef* as_strided = nullptr;
  const OpDef* view_scatter = nullptr;
};
// Looked up in the registry when first used.
[[nodiscard]] const CoreOps& core_ops();

}  // namespace gorgo
