// The sort family: sort, argsort, topk, bucketize. Typed calls through the funnel.
//
// Invariants: every order is stable (equal elements keep theirs; zeros of both signs are equal); sort and argsort put NaN last
// in both directions, topk takes NaN for the greatest.
// Read next: sort.cpp, kernels_cpu.cpp.
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/sort/attrs.h"

namespace gorgo {

void register_sort(Registry& registry);

struct SortOps {
  const OpDef* sort = nullptr;
  const OpDef* argsort = nullptr;
  const OpDef* topk = nullptr;
  const OpDef* bucketize = nullptr;
};
extern SortOps sort_ops;

[[nodiscard]] inline Tensor sort(const Tensor& x, int64_t axis = -1, bool descending = false) {
  const SortAttrs attrs{axis, descending, true};
  return invoke(*sort_ops.sort, {x}, &attrs);
}
[[nodiscard]] inline Tensor argsort(const Tensor& x, int64_t axis = -1, bool descending = false) {
  const SortAttrs attrs{axis, descending, true};
  return invoke(*sort_ops.argsort, {x}, &attrs);
}
// (values, indices), from the greatest (or smallest) on.
[[nodiscard]] inline Outputs topk(const Tensor& x, int64_t k, int64_t axis = -1, bool largest = true) {
  const TopkAttrs attrs{k, axis, largest};
  const Arg arg(x);
  return invoke_all(*sort_ops.topk, {&arg, 1}, &attrs);
}

}  // namespace gorgo
