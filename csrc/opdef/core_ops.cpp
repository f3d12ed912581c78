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

Tensor cast_to(Tensor x, DType dtype) {
  if (x->dtype == dtype) return x;
  const CastAttrs attrs{dtype};
  return invoke(*core_ops().astype, {x}, &attrs);
}

Tensor copy_of(const Tensor& x) { return invoke(*core_ops().copy, {x}); }

Tensor contiguous_of(const Tensor& x) { return x->contiguous ? x : copy_of(x); }

Tensor dense_grad(const VjpContext& c, int i) {
  const Tensor& g = c.grad(i);
  return g ? contiguous_of(g) : g;
}

namespace {

// Shows x as `shape` by strides of zero, when it broadcasts to it; else x itself, which the caller will refuse.
Tensor broadcast(const Tensor& x, const Shape& shape) {
  const int lead = shape.size() - x->rank();
  bool fits = lead >= 0;
  for (int i = 0; fits && i < x->rank(); ++i) fits = x->shape[i] == shape[lead + i] || x->shape[i] == 1;
  if (!fits) return x;
  const Tensor flat = contiguous_of(x);
  Strides strides;
  for (int i = 0; i < shape.size(); ++i) {
    strides.push_back(i < lead || flat->shape[i - lead] == 1 ? 0 : flat->strides[i - lead]);
  }
  const RegionAttrs region{shape, strides, 0};
  return invoke(*core_ops().as_strided, {flat}, &region);
}

}  // namespace

void assign(const Tensor& target, const Arg& src) {
  if (src.is_tensor() && src.tensor->shape != target->shape) {
    const Tensor whole = broadcast(Tensor::share(src.tensor), target->shape);
    if (whole->shape == target->shape) {
      assign(target, Arg(whole));
      return;
    }
  }
  if (src.is_tensor() && src.tensor->dtype != target->dtype) {
    const CastAttrs attrs{target->dtype};
    invoke_into(*core_ops().astype, {src}, target, &attrs);
  } else {
    invoke_into(*core_ops().copy, {src}, target);
  }
}

}  // namespace gorgo
