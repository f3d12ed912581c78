// The scan family: what has been gathered up to each place of an axis. Typed calls through the funnel.
//
// Invariants: the order in which a line is summed depends on its length alone, never on other lines, its layout or threads.
// Read next: scan.cpp (what each op means), kernels_cpu.cpp.
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/scan/attrs.h"

namespace gorgo {

void register_scan(Registry& registry);

struct ScanOps {
  const OpDef* cumulative_sum = nullptr;
  const OpDef* cumulative_prod = nullptr;
  const OpDef* cummax = nullptr;
  const OpDef* cummin = nullptr;
  const OpDef* logcumsumexp = nullptr;
  const OpDef* linear_scan = nullptr;
};
extern ScanOps scan_ops;

[[nodiscard]] inline Tensor cumulative_sum(const Tensor& x, int64_t axis = -1) {
  const CumulativeAttrs attrs{axis, {}, false};
  return invoke(*scan_ops.cumulative_sum, {x}, &attrs);
}
// y[0] = b[0], y[i] = a[i] y[i - 1] + b[i] along an axis; a[0] is not looked at.
[[nodiscard]] inline Tensor linear_scan(const Tensor& a, const Tensor& b, int64_t axis = -1) {
  const ScanAttrs attrs{axis};
  return invoke(*scan_ops.linear_scan, {a, b}, &attrs);
}

}  // namespace gorgo
