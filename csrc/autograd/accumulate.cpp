#include "autograd/accumulate.h"

#include <array>
#include <mutex>

#include "opdef/core_ops.h"

namespace gorgo {

void (*leaf_grad_hook)(TensorImpl& leaf) = nullptr;

namespace {

std::mutex& lock_of(const TensorImpl& t) {
  static std::array<std::mutex, 64> stripes;
  return stripes[(reinterpret_cast<uintptr_t>(&t) >> 6) % stripes.size()];
}

Tensor sum_of(const Tensor& a, const Tensor& b) { return invoke(*core_ops().add, {a, b}); }

}  // namespace

void GradSum::add(Tensor g, bool create_graph) {
  if (!value) {
    value = std::move(g);
  } else if (owned && !create_graph && value->unique() && value->storage->unique()) {
    invoke_into(*core_ops().add, {value, g}, value);
  } else {
    value = sum_of(value, g);
    owned = true;
  }
}

void accumulate_grad(TensorImpl& leaf, Tensor g, bool create_graph) {
  // What is kept must be ours alone and laid out in order: later sums add into it.
  if (leaf_grad_hook != nullptr) leaf_grad_hook(leaf);
  bool may_keep = create_graph || (g->unique() && g->storage->unique() && g->contiguous && !g->base);
  for (;;) {
    Tensor current;
    {
      const std::lock_guard<std::mutex> guard(lock_of(leaf));
      leaf.grad_in_capture = false;
      if (!leaf.grad && may_keep) {
        leaf.grad = std::move(g);
        return;
      }
      current = std::exchange(leaf.grad, Tensor());
    }
    if (!current) {
      g = copy_of(g);
    } else if (create_graph || current->requires_grad) {
      g = sum_of(current, g);
    } else {
      invoke_into(*core_ops().add, {current, g}, current);
      g = std::move(current);
    }
    may_keep = true;
  }
}

Tensor read_grad(TensorImpl& t) {
  const std::lock_guard<std::mutex> guard(lock_of(t));
  return t.grad;
}

void write_grad(TensorImpl& t, Tensor g) {
  const std::lock_guard<std::mutex> guard(lock_of(t));
  t.grad_in_capture = false;
  std::swap(t.grad, g);  // the old one dies after the lock is gone
}

}  // namespace gorgo
