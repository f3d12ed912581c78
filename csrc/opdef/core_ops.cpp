#include "opdef/core_ops.h"

#include "opdef/registry.h"

namespace gorgo {

const CoreOps& core_ops() {
  static const CoreOps ops = [] {
    const Registry& registry = Registry::instance();
    return CoreOps{&registry.get("astype"), &registry.get("copy"), &registry.get("add"), &registry.get("as_strided"),
                   &registry.get("view_scatter")};
  }();
  return ops;
}

Tensor cast_to(const Tensor& x, DType dtype) {
  if (x->dtype == dtype) return x;
  const CastAttrs attrs{dtype};
  return invoke(*core_ops().astype, {x}, &attrs);
}

Tensor copy_of(const Tensor& x) { return invoke(*core_ops().copy, {x}); }

Tensor contiguous_of(const Tensor& x) { return x->contiguous ? x : copy_of(x); }

void assign(const Tensor& target, const Arg& src) {
  if (src.is_tensor() && src.tensor->dtype != target->dtype) {
    const CastAttrs attrs{target->dtype};
    invoke_into(*core_ops().astype, {src}, target, &attrs);
  } else {
    invoke_into(*core_ops().copy, {src}, target);
  }
}

}  // namespace gorgo
